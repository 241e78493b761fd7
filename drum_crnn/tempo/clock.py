"""The beat that sounds at each time: a piecewise linear function, and its inverse."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BeatClock"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BeatClock:
    """Beats at some times, both increasing, at least two; straight lines between them and beyond.

    Parameters
    ----------
    time_s, beat : float64 array, shape (n_points,)
    """

    time_s: FloatArray
    beat: FloatArray

    @classmethod
    def of_periods(cls, time_s: FloatArray, period_s: FloatArray) -> Self:
        """The clock whose beat has a known length at each time, by the trapezoidal rule."""
        rate = 1.0 / period_s
        steps = np.diff(time_s) * (rate[1:] + rate[:-1]) / 2
        return cls(time_s, np.concatenate([[0.0], np.cumsum(steps)]))

    def scaled(self, ratio: float) -> "BeatClock":
        """The clock that counts `ratio` beats where this one counts one."""
        return BeatClock(self.time_s, self.beat * ratio)

    def beats_of(self, time_s: ArrayLike) -> FloatArray:
        """Beats at times in seconds; same shape."""
        return _interpolate(np.asarray(time_s, dtype=np.float64), self.time_s, self.beat)

    def seconds_of(self, beats: ArrayLike) -> FloatArray:
        """Times in seconds of beats; same shape."""
        return _interpolate(np.asarray(beats, dtype=np.float64), self.beat, self.time_s)

    def rate(self, time_s: FloatArray) -> FloatArray:
        """Beats a second, over half a second around each time."""
        return 2.0 * (self.beats_of(time_s + 0.25) - self.beats_of(time_s - 0.25))


def _interpolate(x: FloatArray, xs: FloatArray, ys: FloatArray) -> FloatArray:
    segment = np.clip(np.searchsorted(xs, x, side="right") - 1, 0, len(xs) - 2)
    slope = (ys[segment + 1] - ys[segment]) / (xs[segment + 1] - xs[segment])
    values: FloatArray = ys[segment] + (x - xs[segment]) * slope
    return values
