"""Frame labels: what the network should predict at each frame of an excerpt."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.music.timing import time_to_frame

__all__ = [
    "TargetArrays",
    "frame_targets",
]

FloatArray = NDArray[np.float32]


class TargetArrays(NamedTuple):
    """The fields of `loss.Targets` for one excerpt: float32 arrays, shape (frames, lanes)."""

    onset: FloatArray
    onset_mask: FloatArray
    velocity: FloatArray
    velocity_mask: FloatArray


def frame_targets(
    onsets: Onsets,
    ignored: IgnoreWindows,
    *,
    n_frames: int,
    frame_rate: float,
    widening: Sequence[float],
    start_s: float = 0.0,
    stretch: float = 1.0,
) -> TargetArrays:
    """Make the frame labels of an excerpt.

    Parameters
    ----------
    onsets, ignored : Onsets, IgnoreWindows
        Of the whole recording.
    n_frames : int
        Length of the excerpt.
    widening : sequence of float
        Target at a distance of 0, 1, 2… frames from an onset; between two onsets, the greater target counts.
    start_s : float
        Where in the recording the excerpt begins.
    stretch : float
        Seconds of the recording in one second of the excerpt.

    Returns
    -------
    TargetArrays
        An onset just outside the excerpt still widens into it.
    """
    onset = np.zeros((n_frames, N_LANES), np.float32)
    velocity = np.zeros((n_frames, N_LANES), np.float32)
    onset_mask = np.ones((n_frames, N_LANES), np.float32)
    velocity_mask = np.zeros((n_frames, N_LANES), np.float32)

    def to_frame(time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        return time_to_frame((time_s - start_s) / stretch, frame_rate)

    reach = len(widening) - 1
    frames = to_frame(onsets.time_s)
    near = (frames >= -reach) & (frames < n_frames + reach)
    frames, lanes, velocities = frames[near], onsets.lane[near], onsets.velocity[near]
    # The largest distance first: the velocity of the nearer onset overwrites that of the farther one.
    for distance in range(reach, -1, -1):
        for side in (-1, 1):
            at = frames + side * distance
            inside = (at >= 0) & (at < n_frames)
            place = (at[inside], lanes[inside])
            onset[place] = np.maximum(onset[place], np.float32(widening[distance]))
            velocity[place] = velocities[inside] / np.float32(127.0)
            velocity_mask[place] = 1.0
    first, last = to_frame(ignored.start_s), to_frame(ignored.end_s)
    for index in np.flatnonzero((last >= 0) & (first < n_frames)):
        window = slice(max(0, first[index]), last[index] + 1)
        onset_mask[window, ignored.lane[index]] = 0.0
        velocity_mask[window, ignored.lane[index]] = 0.0
    return TargetArrays(onset, onset_mask, velocity, velocity_mask)
