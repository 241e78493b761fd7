"""The transcription of one recording: what was played when, how loud, and how sure the model is."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import Onsets

__all__ = ["Transcription"]


@dataclass(frozen=True, eq=False)
class Transcription:
    """The onsets of one recording, in order of time. Its arrays cannot be written to.

    Parameters
    ----------
    time_s : float64 array, shape (n_onsets,)
        Seconds from the start of the recording, not decreasing.
    lane : int64 array, shape (n_onsets,)
        Indices into `drum_crnn.music.lanes.LANES`.
    velocity : int64 array, shape (n_onsets,)
        1..127.
    confidence : float64 array, shape (n_onsets,)
        How sure the model is of each onset, in [0, 1]: the height of its peak.
    duration_s : float
        Length of the recording in seconds.
    activation : float32 array, shape (n_frames, n_lanes), optional
        What the model said of every frame, if it was asked for.
    doubts : tuple of str
        What makes the transcription doubtful, and what to do; see `drum_crnn.music.condition`.

    Raises
    ------
    ValueError
        If the shapes differ, the times are not in order, or a value is out of range.

    Examples
    --------
    >>> beat = Transcription([0.0, 0.5], [0, 1], [100, 90], [0.99, 0.8], duration_s=1.0)
    >>> [(time_s, LANES[lane]) for time_s, lane in zip(beat.time_s.tolist(), beat.lane, strict=True)]
    [(0.0, 'kick'), (0.5, 'snare')]
    >>> len(beat.louder_than(95))
    1
    """

    time_s: NDArray[np.float64]
    lane: NDArray[np.int64]
    velocity: NDArray[np.int64]
    confidence: NDArray[np.float64]
    duration_s: float
    activation: NDArray[np.float32] | None = None
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked = Onsets(np.asarray(self.time_s), _integers(self.lane), _integers(self.velocity))
        confidence = np.array(self.confidence, dtype=np.float64)
        if confidence.shape != checked.time_s.shape:
            raise ValueError(f"there are {len(checked)} onsets, but confidences of shape {confidence.shape}")
        if confidence.size and not (confidence.min() >= 0 and confidence.max() <= 1):  # refuses NaN too
            raise ValueError("confidences should lie in [0, 1]")
        if checked.velocity.size and checked.velocity.min() < 1:
            raise ValueError("velocities should lie in 1..127; 0 would end a note in MIDI")
        if not 0.0 <= self.duration_s < np.inf:
            raise ValueError(f"the duration is {self.duration_s} s; it should be 0 or more")
        arrays = {
            "time_s": checked.time_s,
            "lane": checked.lane,
            "velocity": checked.velocity,
            "confidence": confidence,
        }
        for name, values in arrays.items():
            array = values.copy()  # whoever made it may go on writing into its own
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.activation is not None:
            activation = self.activation.view()
            activation.setflags(write=False)
            object.__setattr__(self, "activation", activation)

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def onsets(self) -> Onsets:
        """Times, lanes and velocities alone, as scores use them."""
        return Onsets(self.time_s, self.lane, self.velocity)

    def where(self, mask: NDArray[np.bool_]) -> "Transcription":
        """The onsets for which `mask`, shape (n_onsets,), is true."""
        return replace(
            self,
            time_s=self.time_s[mask],
            lane=self.lane[mask],
            velocity=self.velocity[mask],
            confidence=self.confidence[mask],
        )

    def of_lane(self, lane: int) -> "Transcription":
        """The onsets of one lane."""
        return self.where(self.lane == lane)

    def louder_than(self, velocity: int) -> "Transcription":
        """The onsets of that velocity or more."""
        return self.where(self.velocity >= velocity)

    def later(self, seconds: float) -> "Transcription":
        """The same onsets, that much later."""
        return replace(self, time_s=self.time_s + seconds)

    def rows(self) -> Iterator[tuple[float, str, int, float]]:
        """Time, lane's name, velocity and confidence of each onset."""
        columns = (self.time_s, self.lane, self.velocity, self.confidence)
        for time_s, lane, velocity, confidence in zip(*(column.tolist() for column in columns), strict=True):
            yield time_s, LANES[lane], velocity, confidence

    def counts(self) -> dict[str, int]:
        """Number of onsets of each lane, by its name."""
        return dict(zip(LANES, np.bincount(self.lane, minlength=len(LANES)).tolist(), strict=True))


def _integers(values: ArrayLike) -> NDArray[np.int64]:
    """An empty list becomes floats otherwise; `Onsets` refuses what else is no integer."""
    array: NDArray[np.int64] = np.asarray(values)
    return array if array.size else array.astype(np.int64)
