"""What drummers play where in a bar: a mixture of grooves, learned from performances, and how well onsets fit it.

`grooves.npz` was learned from the train split of the Groove MIDI data set by Google's Magenta team, CC BY 4.0
(https://magenta.tensorflow.org/datasets/groove; Gillick et al., "Learning to Groove with Inverse Sequence
Transformations", ICML 2019). It holds rates and weights, and none of the performances.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEATS", "N_CHANNELS", "SLOTS", "SLOTS_PER_BEAT", "Grooves", "channels_of"]

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

BEATS = 4  # in a bar of the grooves
SLOTS_PER_BEAT = 24  # holds sixteenths and triplets
SLOTS = BEATS * SLOTS_PER_BEAT
N_CHANNELS = 16  # each lane, soft and loud
_LOUD = 64  # velocity
_FILE = Path(__file__).with_name("grooves.npz")


def channels_of(lane: IntArray, velocity: IntArray) -> IntArray:
    """Channel of each onset, 0..`N_CHANNELS` - 1: its lane, soft or loud."""
    return 2 * lane + (velocity >= _LOUD)


@dataclass(frozen=True, eq=False)
class Grooves:
    """A mixture of grooves. In each, onsets come as in a Poisson process whose rate depends on the place in the bar.

    Parameters
    ----------
    rates : float64 array, shape (n_grooves, N_CHANNELS, SLOTS)
        Expected onsets of each channel in each slot of a bar, all positive.
    shares : float64 array, shape (n_grooves,)
        How frequent each groove is; they sum to 1.
    weights : float64 array, shape (n_features,)
        Of the features by which `drum_crnn.tempo.levels` chooses among tempi.
    """

    rates: FloatArray
    shares: FloatArray
    weights: FloatArray

    @classmethod
    def load(cls, path: Path = _FILE) -> Self:
        """Read what `python -m benchmarks.tempo_learning` wrote; by default, the file of the package."""
        with np.load(path) as arrays:
            return cls(*(arrays[name].astype(np.float64) for name in ("rates", "shares", "weights")))

    @functools.cached_property
    def _spectrum(self) -> NDArray[np.complex64]:
        """Of the logarithms of the rates, shape (n_frequencies, n_grooves, N_CHANNELS)."""
        spectrum = np.fft.rfft(np.log(self.rates), axis=-1).transpose(2, 0, 1)
        return np.ascontiguousarray(spectrum.astype(np.complex64))

    def log_likelihood(self, bars: FloatArray, shares_of_bars: FloatArray) -> Float32Array:
        """Log-likelihood of bars of onsets, if each is moved by 0, 1, … slots.

        Parameters
        ----------
        bars : float64 array, shape (n_bars, N_CHANNELS, SLOTS)
            Onsets in each slot.
        shares_of_bars : float64 array, shape (n_bars,)
            How much of each bar was heard, 0..1: the first and the last are parts.

        Returns
        -------
        float32 array, shape (n_bars, SLOTS)
            0 in bars without onsets: a pause says nothing about tempo.
        """
        # A circular correlation over slots, summed over channels. In single precision, it takes half the time.
        spectrum = np.conj(np.fft.rfft(bars.astype(np.float32), axis=-1)).transpose(2, 1, 0)
        fits = np.empty((len(self.rates), *bars[:, 0].shape), dtype=np.float32)  # (grooves, bars, slots)
        np.fft.irfft((self._spectrum @ spectrum).transpose(1, 2, 0), n=SLOTS, axis=-1, out=fits)
        expected = self.rates.sum(axis=(1, 2))[:, None] * shares_of_bars
        fits += (np.log(self.shares)[:, None] - expected)[:, :, None]
        best = fits.max(axis=0)
        result: Float32Array = best + np.log(np.exp(fits - best).sum(axis=0))
        result[bars.sum(axis=(1, 2)) == 0] = 0.0
        return result
