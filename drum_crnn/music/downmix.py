"""From the channels of a recording to one: their mean, except where they cancel each other in it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Downmix"]

FloatArray = NDArray[np.float32]

# Choices, made once and tested on both sides. Channels cancel where their sum has less than a fifth of the energy that
# it would have if they were unrelated. For two channels this is a mean 10 dB below them; wide stereo stays above −6 dB.
_CANCELS = 0.2
_PAST, _PAST_S = 1 / 16, 1.0  # the weight of what was so long before: enough to decide a last block of a few samples
_SILENCE = 10 ** (-110 / 10)  # power of full scale is 1; below, a sign would be that of rounding errors
_SHORTEST_S = 0.1  # by chance, a few samples cancel
_FADE_S = 0.05  # from one sum to another, so that nothing clicks


class Downmix:
    """Mixes the blocks of one recording down, in order.

    A block is decided on by its own energies, and by those before it, whose weight falls to a sixteenth in a second:
    the blocks of a stream are short. Where channels cancel, each enters with the sign of its correlation with the
    loudest one: of two channels, half the difference is used. Otherwise the result is their mean, bit by bit.

    Attributes
    ----------
    cancels : bool
        Whether the channels cancel in the last block.
    """

    def __init__(self, sample_rate: int) -> None:
        self.cancels = False
        self._rate = sample_rate
        self._gram: NDArray[np.float64] | None = None  # (channels, channels): sums of products, means taken off
        self._n_samples = 0.0
        self._signs: FloatArray | None = None

    def __call__(self, block: NDArray[Any]) -> FloatArray:
        """Mix one block.

        Parameters
        ----------
        block : float or int16 array, shape (n_samples, n_channels)

        Returns
        -------
        float32 array, shape (n_samples,)
            In [-1, 1], if the block is.
        """
        scale = np.float32(32768.0 if block.dtype == np.int16 else 1.0)
        mono = _mean(block)
        if scale != 1:
            mono /= scale
        if block.shape[1] == 1 or not len(block):
            return mono
        samples = block.astype(np.float32, copy=False)
        self._add(samples, float(scale))
        signs = self._chosen(np.ones(block.shape[1], np.float32) if self._signs is None else self._signs)
        before = signs if self._signs is None else self._signs  # nothing fades in at the beginning
        self.cancels = bool((signs < 0).any())
        self._signs = signs
        if self.cancels:
            mono = samples @ (signs / (len(signs) * scale))
        if (signs != before).any():
            n_fade = min(len(mono), round(_FADE_S * self._rate))
            old = samples[:n_fade] @ (before / (len(before) * scale))
            ramp = np.arange(n_fade, dtype=np.float32) / np.float32(max(1, n_fade))
            mono[:n_fade] = (1 - ramp) * old + ramp * mono[:n_fade]
        return mono

    def _add(self, samples: FloatArray, scale: float) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            sums = (np.ones(len(samples), np.float32) @ samples).astype(np.float64)
            gram = (samples.T @ samples).astype(np.float64) - np.outer(sums, sums) / len(samples)
            gram /= scale**2
        if not np.isfinite(gram).all():
            return  # the decoder will say so
        past = _PAST ** min(1.0, len(samples) / (_PAST_S * self._rate))
        self._gram = gram if self._gram is None else past * self._gram + gram
        self._n_samples = past * self._n_samples + len(samples)

    def _chosen(self, before: FloatArray) -> FloatArray:
        gram, ones = self._gram, np.ones_like(before)
        if gram is None or self._n_samples < _SHORTEST_S * self._rate:
            return ones
        of_channels = float(np.trace(gram))
        if of_channels < _SILENCE * self._n_samples * len(gram) or gram.sum() >= _CANCELS * of_channels:
            return ones
        signs = np.where(gram[np.argmax(np.diag(gram))] < 0, -1, 1).astype(np.float32)
        return -signs if signs @ before < 0 else signs


def _mean(block: NDArray[Any]) -> FloatArray:
    mono: FloatArray
    if block.shape[1] == 1:
        mono = block[:, 0].astype(np.float32)
    elif block.shape[1] == 2 and block.dtype.itemsize <= 4:  # the same bits as below, and ten times as fast
        mono = np.add(block[:, 0], block[:, 1], dtype=np.float32) / np.float32(2)
    else:
        mono = block.mean(axis=1, dtype=np.float32)
    return mono
