"""Log-mel spectrograms in decibels.

A frame is centred on its time: frame n covers the `n_fft` samples around sample `n * hop_length`; the signal continues
with zeros at both ends. The window is scaled so that a full-scale sine has 0 dB in its FFT bin, whatever `n_fft`. A
band sums its weighted bins, and shows that sine at 0 ± 2 dB. No value is below `floor_db`.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Self

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field, model_validator

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.music.timing import n_frames_of

__all__ = ["FeatureParams", "LogMel"]

FloatArray = NDArray[np.float32]

# Frames are always computed in groups of this size, aligned to the start of the recording and padded at its end. So the
# bits of a frame depend on the recording alone, not on the blocks in which it was decoded. A group fits the L2 cache.
_GROUP = 64

# Bands are computed in this many groups, each from the bins of nonzero weight. Together, these are a seventh of the
# filter bank.
_BAND_GROUPS = 6


class FeatureParams(ParamsSection):
    """Section `features`: what one frame is, and how frames are stored."""

    section: ClassVar[str] = "features"

    sample_rate: int = Field(gt=0)
    hop_length: int = Field(gt=0)
    n_fft: int = Field(gt=0)
    n_mels: int = Field(gt=0)
    fmin: float = Field(ge=0)
    fmax: float = Field(gt=0)
    floor_db: float = Field(lt=0)
    n_shards: int = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(f"fmin < fmax <= sample_rate / 2 = {self.sample_rate / 2:g} Hz must hold")
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft, or the samples between frames are lost")
        return self

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length


class LogMel:
    """Computes log-mel frames; holds the window and the filter bank.

    Raises
    ------
    DrumCrnnError
        If there are more bands than an FFT of this length can resolve.

    See Also
    --------
    librosa.filters.mel : the filter bank (Slaney's scale, area-normalised filters rescaled to peak 1).
    """

    def __init__(self, params: FeatureParams) -> None:
        from librosa.filters import (
            get_window,
            mel,
        )  # half a second to import, and only workers that compute frames need it

        self.params = params
        window = get_window("hann", params.n_fft).astype(np.float32)
        self._window = window * np.float32(2.0 / window.sum())
        filters = mel(
            sr=params.sample_rate,
            n_fft=params.n_fft,
            n_mels=params.n_mels,
            fmin=params.fmin,
            fmax=params.fmax,
            norm=None,
        )
        n_empty = int((filters.max(axis=1) <= 0).sum())
        if n_empty:
            raise DrumCrnnError(
                f"features.n_mels: {params.n_mels} bands from {params.fmin:g} to {params.fmax:g} Hz are too many for "
                f"features.n_fft {params.n_fft}: {n_empty} of them hold no FFT bin; choose fewer, or a larger n_fft"
            )
        self._groups = _grouped(filters.T.astype(np.float32))

    def __call__(self, audio: FloatArray) -> FloatArray:
        """Frames of a whole recording.

        Parameters
        ----------
        audio : float32 array, shape (n_samples,)

        Returns
        -------
        float32 array, shape (n_frames, n_mels)
            Decibels in [floor_db, about 6].
        """
        groups = list(self.stream([audio]))
        return np.concatenate(groups) if groups else np.zeros((0, self.params.n_mels), np.float32)

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Frames of a recording that arrives in blocks of any size; the result does not depend on the sizes.

        Yields
        ------
        float32 array, shape (n_frames, n_mels)
            Concatenated: the same bits as `self(np.concatenate(blocks))`.
        """
        hop, half = self.params.hop_length, self.params.n_fft // 2
        group_span = (_GROUP - 1) * hop + self.params.n_fft
        buffer = np.zeros(half, np.float32)  # the zeros before the first sample
        n_samples = n_done = 0
        for block in blocks:
            n_samples += len(block)
            buffer = np.concatenate([buffer, block])
            n_groups = max(0, (len(buffer) - group_span) // (_GROUP * hop) + 1)
            if n_groups:
                windows = sliding_window_view(buffer, self.params.n_fft)[::hop]  # once for each block, since it is slow
                for first in range(0, n_groups * _GROUP, _GROUP):
                    yield self._group(windows[first : first + _GROUP])
                buffer = buffer[n_groups * _GROUP * hop :]
                n_done += n_groups * _GROUP
        n_left = n_frames_of(n_samples, hop) - n_done
        # The zeros after the last sample can fill one more group, so there may be two groups left.
        while n_left > 0:
            padded = np.zeros(group_span, np.float32)
            padded[: min(len(buffer), group_span)] = buffer[:group_span]
            yield self._group(sliding_window_view(padded, self.params.n_fft)[::hop])[:n_left]
            buffer = buffer[_GROUP * hop :]
            n_left -= _GROUP

    def _group(self, windows: FloatArray) -> FloatArray:
        spectrum = scipy.fft.rfft(windows * self._window)
        # Real and imaginary parts alternate. The filters hold every bin twice, so they add up the squares of both.
        squares = spectrum.view(np.float32)
        np.square(squares, out=squares)
        bands = np.empty((len(squares), self.params.n_mels), np.float32)
        for parts, mels, filters in self._groups:
            np.matmul(squares[:, parts], filters, out=bands[:, mels])
        np.maximum(bands, np.float32(10.0 ** (self.params.floor_db / 10.0)), out=bands)
        np.log10(bands, out=bands)
        bands *= np.float32(10.0)
        return bands


def _grouped(filters: FloatArray) -> list[tuple[slice, slice, FloatArray]]:
    """Cut a filter bank (n_bins, n_mels) into groups of neighbouring bands.

    Each group has a slice of a spectrum's real and imaginary parts (those of bin b are at 2b and 2b + 1), a slice of
    the bands, and the filters that map the one to the other.
    """
    groups = []
    for mels in np.array_split(np.arange(filters.shape[1]), min(_BAND_GROUPS, filters.shape[1])):
        columns = slice(int(mels[0]), int(mels[-1]) + 1)
        used = np.flatnonzero(filters[:, columns].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1)
        parts = slice(2 * bins.start, 2 * bins.stop)
        groups.append((parts, columns, np.repeat(filters[bins, columns], 2, axis=0)))
    return groups
