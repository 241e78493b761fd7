"""Onsets of one recording, labelled or predicted, and ignore windows, which no score counts.

Times are seconds as float64, lanes are indices into `drum_crnn.music.lanes.LANES`, velocities are MIDI's 0..127.
"""

from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drum_crnn.music.lanes import N_LANES

__all__ = ["IgnoreWindows", "Onsets"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Onsets:
    """The onsets of one recording, in order of time.

    Parameters
    ----------
    time_s : float64 array, shape (n_onsets,)
        Seconds from the start of the recording, finite, not negative, not decreasing.
    lane : int64 array, shape (n_onsets,)
        Indices into `LANES`.
    velocity : int64 array, shape (n_onsets,)
        0..127.

    Raises
    ------
    ValueError
        If the shapes differ, the times are not in order (see `Onsets.in_order`), or a value is out of range.
    """

    time_s: NDArray[np.float64]
    lane: NDArray[np.int64]
    velocity: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_s", _floats("time_s", self.time_s))
        object.__setattr__(self, "lane", _integers("lane", self.lane, below=N_LANES))
        object.__setattr__(self, "velocity", _integers("velocity", self.velocity, below=128))
        if not len(self.time_s) == len(self.lane) == len(self.velocity):
            raise ValueError(
                f"an onset has a time, a lane and a velocity, but there are {len(self.time_s)} times, "
                f"{len(self.lane)} lanes and {len(self.velocity)} velocities"
            )
        if (self.time_s < 0).any():
            raise ValueError(f"an onset lies at {self.time_s.min()} s, before the recording starts")
        if (np.diff(self.time_s) < 0).any():
            raise ValueError("the onsets are not in order of time; Onsets.in_order sorts them")

    @classmethod
    def in_order(cls, time_s: ArrayLike, lane: ArrayLike, velocity: ArrayLike) -> Self:
        """Onsets given in any order, sorted by time, then lane, then velocity."""
        times, lanes, velocities = np.asarray(time_s), np.asarray(lane), np.asarray(velocity)
        order = np.lexsort((velocities, lanes, times))
        return cls(times[order], lanes[order], velocities[order])

    @classmethod
    def unchecked(cls, time_s: NDArray[np.float64], lane: NDArray[np.int64], velocity: NDArray[np.int64]) -> Self:
        """Onsets of arrays that are known to be valid: training reads thousands a second."""
        return _unchecked(cls, time_s=time_s, lane=lane, velocity=velocity)

    @classmethod
    def empty(cls) -> Self:
        """No onsets."""
        return cls(np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.time_s)

    def where(self, mask: NDArray[np.bool_]) -> "Onsets":
        """The onsets for which `mask`, shape (n_onsets,), is true."""
        return Onsets(self.time_s[mask], self.lane[mask], self.velocity[mask])

    def of_lane(self, lane: int) -> "Onsets":
        """The onsets of one lane."""
        return self.where(self.lane == lane)


@dataclass(frozen=True, eq=False)
class IgnoreWindows:
    """Stretches of single lanes that are excluded from loss and scores, both ends inclusive; they may overlap.

    Parameters
    ----------
    start_s, end_s : float64 array, shape (n_windows,)
        Seconds, finite, `start_s <= end_s`; a window may begin before the recording does.
    lane : int64 array, shape (n_windows,)
        Indices into `LANES`.

    Raises
    ------
    ValueError
        If the shapes differ, a window ends before it starts, or a value is out of range.
    """

    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    lane: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "start_s", _floats("start_s", self.start_s))
        object.__setattr__(self, "end_s", _floats("end_s", self.end_s))
        object.__setattr__(self, "lane", _integers("lane", self.lane, below=N_LANES))
        if not len(self.start_s) == len(self.end_s) == len(self.lane):
            raise ValueError(
                f"an ignore window has a start, an end and a lane, but there are {len(self.start_s)} starts, "
                f"{len(self.end_s)} ends and {len(self.lane)} lanes"
            )
        if (self.end_s < self.start_s).any():
            raise ValueError("an ignore window ends before it starts")

    @classmethod
    def unchecked(cls, start_s: NDArray[np.float64], end_s: NDArray[np.float64], lane: NDArray[np.int64]) -> Self:
        """Windows of arrays that are known to be valid."""
        return _unchecked(cls, start_s=start_s, end_s=end_s, lane=lane)

    @classmethod
    def empty(cls) -> Self:
        """No windows: everything counts."""
        return cls(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.start_s)

    def cover(self, time_s: ArrayLike, *, lane: int, margin_s: float = 0.0) -> NDArray[np.bool_]:
        """Which times lie in a window of `lane` that is `margin_s` longer at both ends; shape as `time_s`."""
        times = np.asarray(time_s, dtype=np.float64)
        are_mine = self.lane == lane
        starts, ends = self.start_s[are_mine], self.end_s[are_mine]
        order = np.argsort(starts)
        starts = starts[order] - margin_s
        # Of all windows that have begun, the one that ends last decides; before the first window, none does.
        last_end = np.concatenate([[-np.inf], np.maximum.accumulate(ends[order] + margin_s)])
        covered: NDArray[np.bool_] = times <= last_end[np.searchsorted(starts, times, side="right")]
        return covered


def _unchecked(cls: type[T], **arrays: NDArray[Any]) -> T:
    made = object.__new__(cls)
    for name, values in arrays.items():
        object.__setattr__(made, name, values)
    return made


def _floats(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} should be 1-D, but its shape is {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or an infinity")
    return array


def _integers(name: str, values: ArrayLike, *, below: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} should be 1-D, but its shape is {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} should be integers, not {array.dtype}")
    if array.size and not (array.min() >= 0 and array.max() < below):
        raise ValueError(f"{name} should lie in 0..{below - 1}, but goes from {array.min()} to {array.max()}")
    return array.astype(np.int64, copy=False)
