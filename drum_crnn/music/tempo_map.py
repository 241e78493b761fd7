"""Seconds and beats: tempo changes and time signatures of one recording.

A beat is a quarter note, whatever the time signature, as in MIDI files and charts. Beat 0 is the start of the
recording. The first tempo and the first time signature also hold before their own time, and the last ones for ever.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Signature", "Tempo", "TempoMap"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tempo:
    """From `time_s` on, there are `bpm` quarter notes a minute."""

    time_s: float
    bpm: float


@dataclass(frozen=True, slots=True)
class Signature:
    """From `time_s` on, a bar has `numerator` notes of 1/`denominator`; a bar begins at `time_s`."""

    time_s: float
    numerator: int
    denominator: int

    @property
    def quarters(self) -> float:
        """Quarter notes in a bar."""
        return 4.0 * self.numerator / self.denominator


@dataclass(frozen=True)
class TempoMap:
    """Converts between seconds and beats.

    Parameters
    ----------
    tempos : tuple of Tempo
        At least one, in order of time.
    signatures : tuple of Signature
        At least one, in order of time.

    Raises
    ------
    ValueError
        If there is no tempo or no signature, their times are negative, not finite or not increasing, a tempo is not
        above 0, a numerator is below 1, or a denominator is not a power of two.

    Examples
    --------
    >>> waltz = TempoMap((Tempo(0.0, 120.0), Tempo(2.0, 60.0)), (Signature(0.0, 3, 4),))
    >>> waltz.beats_of([1.0, 2.0, 3.0])
    array([2., 4., 5.])
    >>> waltz.seconds_of([2.0, 4.0, 5.0])
    array([1., 2., 3.])
    """

    tempos: tuple[Tempo, ...]
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        _check_times("tempo", [tempo.time_s for tempo in self.tempos])
        _check_times("time signature", [signature.time_s for signature in self.signatures])
        for tempo in self.tempos:
            if not 0.0 < tempo.bpm < math.inf:
                raise ValueError(f"a tempo is {tempo.bpm} bpm; it should be above 0")
        for signature in self.signatures:
            denominator = signature.denominator
            if signature.numerator < 1 or denominator < 1 or denominator & (denominator - 1):
                raise ValueError(
                    f"a time signature is {signature.numerator}/{denominator}; the numerator should be 1 or more, "
                    "the denominator a power of two"
                )

    @classmethod
    def constant(cls, bpm: float = 120.0, numerator: int = 4, denominator: int = 4) -> "TempoMap":
        """One tempo and one time signature for the whole recording."""
        return cls((Tempo(0.0, bpm),), (Signature(0.0, numerator, denominator),))

    def beats_of(self, time_s: ArrayLike) -> FloatArray:
        """Quarter notes from the start of the recording to each time; shape as `time_s`."""
        times = np.asarray(time_s, dtype=np.float64)
        starts_s, starts, rates = self._segments()
        at = np.maximum(np.searchsorted(starts_s, times, side="right") - 1, 0)
        return np.asarray(starts[at] + (times - starts_s[at]) * rates[at])

    def seconds_of(self, beats: ArrayLike) -> FloatArray:
        """Time of each beat, in quarter notes from the start of the recording; shape as `beats`."""
        wanted = np.asarray(beats, dtype=np.float64)
        starts_s, starts, rates = self._segments()
        at = np.maximum(np.searchsorted(starts, wanted, side="right") - 1, 0)
        return np.asarray(starts_s[at] + (wanted - starts[at]) / rates[at])

    def _segments(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Of each tempo: where it begins, in seconds and in beats, and its beats a second."""
        starts_s = np.array([tempo.time_s for tempo in self.tempos])
        rates = np.array([tempo.bpm for tempo in self.tempos]) / 60.0
        first = starts_s[0] * rates[0]  # the first tempo reaches back to the start of the recording
        return starts_s, np.concatenate([[first], first + np.cumsum(np.diff(starts_s) * rates[:-1])]), rates


def _check_times(kind: str, times_s: Sequence[float]) -> None:
    if not times_s:
        raise ValueError(f"there is no {kind}; TempoMap.constant gives one of each")
    if not all(0.0 <= time_s < math.inf for time_s in times_s):
        raise ValueError(f"a {kind} lies before the start of the recording, or at no finite time")
    if any(later <= earlier for earlier, later in pairwise(times_s)):
        raise ValueError(f"the {kind}s are not in order of time, or two are at the same time")
