"""Frame labels: what the network should predict at each frame of an excerpt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.music.timing import time_to_frame

__all__ = ["Place", "TargetArrays", "frame_targets"]

FloatArray = NDArray[np.float32]


class Place(NamedTuple):
    """Where an excerpt lies: onsets and ignore windows of its recording, by time; its first second; its tempo.

    `stretch` is how many seconds of the recording are in one second of the excerpt.
    """

    onsets: Onsets
    ignored: IgnoreWindows
    start_s: float = 0.0
    stretch: float = 1.0


@dataclass(frozen=True, slots=True)
class TargetArrays:
    """The fields of `loss.Targets`: float32 arrays, shape (excerpts, frames, lanes)."""

    onset: FloatArray
    onset_mask: FloatArray
    velocity: FloatArray
    velocity_mask: FloatArray


def frame_targets(
    places: Sequence[Place], *, n_frames: int, frame_rate: float, widening: Sequence[float], between_frames: bool
) -> TargetArrays:
    """Make the frame labels of excerpts.

    Parameters
    ----------
    places : sequence of Place
        One for each excerpt.
    n_frames : int
        Length of an excerpt.
    widening : sequence of float
        Target at a distance of 0, 1, 2… frames from an onset; between two onsets, the greater target counts.
    between_frames : bool
        Whether the distance is that from the onset's exact time, with targets interpolated linearly; otherwise that
        from its nearest frame.

    Returns
    -------
    TargetArrays
        An onset just outside an excerpt still widens into it.
    """
    shape = (len(places), n_frames, N_LANES)
    onset, velocity = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    onset_mask, velocity_mask = np.ones(shape, np.float32), np.zeros(shape, np.float32)

    reach = len(widening) - 1 + between_frames
    near = [_near(place, n_frames=n_frames + reach, reach=reach, frame_rate=frame_rate) for place in places]
    excerpt = np.repeat(np.arange(len(places)), [len(of_excerpt.lane) for of_excerpt in near])
    frames, remainders, lanes, velocities = (np.concatenate(column) for column in zip(*near, strict=True))
    if not between_frames:
        remainders = np.zeros_like(remainders)
    distances, heights = np.arange(len(widening) + 1), np.array([*widening, 0.0])
    # The largest distance first: the velocity of the nearer onset overwrites that of the farther one.
    for distance in range(reach, -1, -1):
        for side in (-1, 1):
            at = frames + side * distance
            height = np.interp(np.abs(side * distance - remainders), distances, heights).astype(np.float32)
            inside = (at >= 0) & (at < n_frames) & (height > 0)
            points = (excerpt[inside], at[inside], lanes[inside])
            onset[points] = np.maximum(onset[points], height[inside])
            velocity[points] = velocities[inside] / np.float32(127.0)
            velocity_mask[points] = 1.0
    for number, place in enumerate(places):
        ends_s = place.start_s + np.array([-1, n_frames + 1]) / frame_rate * place.stretch
        for index in np.flatnonzero((place.ignored.start_s <= ends_s[1]) & (place.ignored.end_s >= ends_s[0])):
            times_s = np.array([place.ignored.start_s[index], place.ignored.end_s[index]])
            first, last = time_to_frame((times_s - place.start_s) / place.stretch, frame_rate)
            window = slice(max(0, first), max(0, last + 1))
            onset_mask[number, window, place.ignored.lane[index]] = 0.0
            velocity_mask[number, window, place.ignored.lane[index]] = 0.0
    return TargetArrays(onset, onset_mask, velocity, velocity_mask)


class _Near(NamedTuple):
    frames: NDArray[np.int64]
    remainders: NDArray[np.float64]
    lane: NDArray[np.int64]
    velocity: NDArray[np.int64]


def _near(place: Place, *, n_frames: int, reach: int, frame_rate: float) -> _Near:
    """The onsets from `reach` frames before an excerpt to its frame `n_frames`.

    For each: its nearest frame, the remainder from there to its exact time in frames, its lane and its velocity.
    """
    ends_s = place.start_s + np.array([-reach - 1, n_frames + 1]) / frame_rate * place.stretch
    first, last = np.searchsorted(place.onsets.time_s, ends_s)
    times_s = (place.onsets.time_s[first:last] - place.start_s) / place.stretch
    frames = time_to_frame(times_s, frame_rate)
    inside = (frames >= -reach) & (frames < n_frames)
    remainders = times_s * frame_rate - frames
    of_near = place.onsets.lane[first:last], place.onsets.velocity[first:last]
    return _Near(frames[inside], remainders[inside], *(values[inside] for values in of_near))
