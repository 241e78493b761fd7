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
IntArray = NDArray[np.int64]

BEATS = 4  # in a bar of the grooves
SLOTS_PER_BEAT = 24  # holds sixteenths and triplets
SLOTS = BEATS * SLOTS_PER_BEAT
N_CHANNELS = 16  # each lane, soft and loud
_LOUD = 64  # velocity
_FILE = Path(__file__).with_name("grooves.npz")
_BARS_AT_ONCE = 256  # bounds the memory


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
        """Of the logarithms of the rates, shape (n_frequencies, N_CHANNELS, n_grooves)."""
        spectrum = np.fft.rfft(np.log(self.rates), axis=-1).transpose(2, 1, 0)
        return np.ascontiguousarray(spectrum.astype(np.complex64))

    def log_likelihood(self, bars: FloatArray, shares_of_bars: FloatArray) -> FloatArray:
        """Log-likelihood of bars of onsets, if each is moved by 0, 1, … slots.

        Parameters
        ----------
        bars : float64 array, shape (n_bars, N_CHANNELS, SLOTS)
            Onsets in each slot.
        shares_of_bars : float64 array, shape (n_bars,)
            How much of each bar was heard, 0..1: the first and the last are parts.

        Returns
        -------
        float64 array, shape (n_bars, SLOTS)
            0 in bars without onsets: a pause says nothing about tempo.
        """
        result = np.zeros((len(bars), SLOTS))
        expected = self.rates.sum(axis=(1, 2))
        for first in range(0, len(bars), _BARS_AT_ONCE):
            some = slice(first, first + _BARS_AT_ONCE)
            # A circular correlation over slots, summed over channels.
            spectrum = np.conj(np.fft.rfft(bars[some], axis=-1)).astype(np.complex64).transpose(2, 0, 1)
            fits = np.fft.irfft((spectrum @ self._spectrum).transpose(1, 2, 0), n=SLOTS, axis=-1)
            fits += np.log(self.shares)[:, None] - shares_of_bars[some, None, None] * expected[:, None]
            best = fits.max(axis=1)
            result[some] = best + np.log(np.exp(fits - best[:, None]).sum(axis=1))
        result[bars.sum(axis=(1, 2)) == 0] = 0.0
        return result
