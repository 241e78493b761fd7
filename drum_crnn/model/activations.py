"""The predictions of a model for each frame, and the onsets that they mean."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drum_crnn.model.peak_picking import PeakPickingParams, pick_peaks, pooled_toms, refined
from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.timing import frame_to_time

__all__ = ["Activations", "onsets_and_heights", "onsets_of"]

FloatArray = NDArray[np.float32]


class Activations(NamedTuple):
    """The predictions of the model: float32 arrays, shape (frames, lanes).

    `onset` holds probabilities in [0, 1]. `velocity` is the velocity, 0 to 127, that an onset at that frame would have.
    """

    onset: FloatArray
    velocity: FloatArray

    @classmethod
    def concatenate(cls, parts: Iterable["Activations"]) -> "Activations":
        """Join consecutive parts."""
        nothing = np.zeros((0, N_LANES), np.float32)
        onset, velocity = zip((nothing, nothing), *parts, strict=True)
        return cls(np.concatenate(onset), np.concatenate(velocity))


def onsets_of(
    activations: Activations, *, thresholds: Sequence[float], peak_picking: PeakPickingParams, frame_rate: float
) -> Onsets:
    """Onsets of a recording: the peaks of each lane's activation that reach its threshold.

    `peak_picking` says whether toms are pooled first. Times lie between frames, where the peaks do (`refined`).

    Parameters
    ----------
    thresholds : sequence of float
        One per lane, inclusive, in (0, 1].

    Returns
    -------
    Onsets
        In order of time, with velocities from 1 to 127.
    """
    return onsets_and_heights(activations, thresholds=thresholds, peak_picking=peak_picking, frame_rate=frame_rate)[0]


def onsets_and_heights(
    activations: Activations, *, thresholds: Sequence[float], peak_picking: PeakPickingParams, frame_rate: float
) -> tuple[Onsets, NDArray[np.float64]]:
    """As `onsets_of`, and the height of each onset's peak, with toms pooled if they are: float64, shape (n_onsets,)."""
    frames, times, lanes = [], [], []
    onset = pooled_toms(activations.onset, params=peak_picking)
    for lane in range(N_LANES):
        peaks = pick_peaks(onset[:, lane], threshold=thresholds[lane], params=peak_picking)
        frames.append(peaks)
        times.append(frame_to_time(refined(peaks, activations.onset[:, lane]), frame_rate))
        lanes.append(np.full(len(peaks), lane))
    frame, lane_of = np.concatenate(frames), np.concatenate(lanes)
    time_s = np.concatenate(times)
    velocity = np.clip(np.rint(activations.velocity[frame, lane_of]), 1, 127).astype(np.int64)
    order = np.lexsort((velocity, lane_of, time_s))
    heights = onset[frame, lane_of].astype(np.float64)
    return Onsets(time_s[order], lane_of[order], velocity[order]), heights[order]
