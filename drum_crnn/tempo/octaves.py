"""Beats at half or double the tempo, so that bars keep beginning where they began."""

import numpy as np
from numpy.typing import NDArray

from drum_crnn.tempo.bars import Metre

__all__ = ["doubled", "halved"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def doubled(beats_s: FloatArray, downbeats: IntArray, metre: Metre) -> tuple[FloatArray, IntArray]:
    """A beat more between any two, and bars that are half as long.

    Parameters
    ----------
    beats_s : float64 array, shape (n_beats,)
        Increasing times in seconds.
    downbeats : int64 array, shape (n_downbeats,)
        Indices into `beats_s`, increasing, at least one.

    Returns
    -------
    tuple of beats_s and downbeats
        The same of the other tempo. Where a bar began, one begins.
    """
    places = np.arange(2 * len(beats_s) - 1) / 2
    starts = 2 * downbeats
    ends = [*starts[1:].tolist(), len(places)]
    bars = [np.arange(start, end, metre.n_beats) for start, end in zip(starts.tolist(), ends, strict=True)]
    return np.interp(places, np.arange(len(beats_s)), beats_s), np.concatenate(bars)


def halved(beats_s: FloatArray, downbeats: IntArray, accent: FloatArray) -> tuple[FloatArray, IntArray]:
    """Every second beat, and bars that are twice as long; parameters as in `doubled`.

    Parameters
    ----------
    accent : float64 array, shape (n_beats,)
        How much each beat sounds like the beginning of a bar. Of every two bars, the one with more stays.

    Returns
    -------
    tuple of beats_s and downbeats
        Bars begin where bars began, but not where an odd number of beats lies between them.
    """
    later = len(downbeats) > 1 and accent[downbeats[1::2]].mean() > accent[downbeats[::2]].mean()
    chosen = downbeats[1::2] if later else downbeats[::2]
    first = int(chosen[0]) % 2
    kept = chosen[chosen % 2 == first]
    return beats_s[first::2], kept // 2
