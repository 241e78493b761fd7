"""Ghost notes and accents, from velocities."""

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import LANES
from drum_crnn.music.transcription import Transcription

__all__ = ["ACCENT", "GHOST", "PLAIN", "dynamics_of"]

GHOST, PLAIN, ACCENT = -1, 0, 1

# Of the lane's median velocity. Relative, since models and mixes differ in level far more than strokes of one song do.
_GHOST_BELOW, _ACCENT_ABOVE = 0.6, 1.2
_ACCENT_VELOCITY = 100  # in a soft part nothing is an accent
_SURROUNDINGS_S = 15.0
_KICK = LANES.index("kick")


def dynamics_of(transcription: Transcription) -> NDArray[np.int64]:
    """GHOST, PLAIN or ACCENT of each onset, compared with the strokes of its lane within 15 seconds.

    A ghost is much softer, an accent clearly louder. Kicks are always plain: a foot has less range, and games know no
    dynamics of kicks.
    """
    dynamics = np.full(len(transcription), PLAIN, dtype=np.int64)
    for lane in range(len(LANES)):
        at = np.flatnonzero(transcription.lane == lane)
        if lane == _KICK or not len(at):
            continue
        times, velocities = transcription.time_s[at], transcription.velocity[at]
        first = np.searchsorted(times, times - _SURROUNDINGS_S, side="left")
        last = np.searchsorted(times, times + _SURROUNDINGS_S, side="right")
        usual = np.array([np.median(velocities[start:end]) for start, end in zip(first, last, strict=True)])
        dynamics[at[velocities < _GHOST_BELOW * usual]] = GHOST
        dynamics[at[(velocities > _ACCENT_ABOVE * usual) & (velocities >= _ACCENT_VELOCITY)]] = ACCENT
    return dynamics
