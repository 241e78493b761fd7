"""An exact sweep of the threshold: the counts of a lane at every threshold.

The F of a lane changes only at the activations of its peaks, so a sweep over them is exact, and no grid is needed.
Peaks are added to a maximum matching with the references, from the highest activation downwards. A peak raises the size
of the matching by one or not at all; if it does, by an augmenting path that starts at the peak. So after each peak, the
number of pairs is the one that `mir_eval.util.match_events` finds among the peaks so far (a test compares them). Ignore
windows follow the rules of `drum_crnn.scoring.counting`, which leave out the same peaks at every threshold.

References
----------
Berge, "Two theorems in graph theory", 1957 (augmenting paths); Kuhn, "The Hungarian method for the assignment
problem", 1955.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drum_crnn.model.peak_picking import PeakPickingParams, are_peaks, pooled_toms, refined
from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.music.timing import frame_to_time
from drum_crnn.scoring.counting import LaneCounts, apply_ignore_windows, near_range

__all__ = [
    "BestPoint",
    "LanePeaks",
    "ThresholdCurve",
    "best_counts",
    "best_f",
    "counts_at",
    "merge_curves",
    "peaks_of_lanes",
    "pooled_best_f",
    "sweep_lane",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LanePeaks:
    """The peaks of one lane in one recording, and its reference onsets.

    Parameters
    ----------
    lane : int
        Index into `LANES`.
    time_s : float64 array, shape (n_peaks,)
        Seconds.
    activation : float32 array, shape (n_peaks,)
        In [0, 1].
    reference_s : float64 array, shape (n_references,)
        Seconds, not decreasing.
    ignore : IgnoreWindows
        Those of the recording; windows of other lanes have no effect.
    """

    lane: int
    time_s: FloatArray
    activation: NDArray[np.float32]
    reference_s: FloatArray
    ignore: IgnoreWindows


def peaks_of_lanes(
    activation: NDArray[np.float32],
    reference: Onsets,
    ignore: IgnoreWindows,
    *,
    frame_rate: float,
    min_activation: float,
    params: PeakPickingParams,
) -> list[LanePeaks]:
    """Find the peaks of every lane of one recording; `params` say whether toms are pooled.

    Parameters
    ----------
    activation : float32 array, shape (n_frames, n_lanes)
        Probabilities in [0, 1]; not logits.
    frame_rate : float
        Frames a second.
    min_activation : float
        Lower peaks are left out, which saves time. The counts are then wrong at thresholds below it.

    Returns
    -------
    list of LanePeaks, one a lane
    """
    lanes = []
    unpooled, activation = activation, pooled_toms(activation, params=params)
    # As float64: otherwise the limit would be rounded to the precision of the activations before the comparison.
    are_high = are_peaks(activation, params=params) & (activation.astype(np.float64) >= min_activation)
    for lane in range(N_LANES):
        peaks = np.flatnonzero(are_high[:, lane])
        times = frame_to_time(refined(peaks, unpooled[:, lane]), frame_rate)
        reference_s = reference.time_s[reference.lane == lane]
        lanes.append(LanePeaks(lane, times, activation[peaks, lane], reference_s, ignore))
    return lanes


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """Counts of a lane at every threshold, recordings pooled.

    Parameters
    ----------
    threshold : float64 array, shape (n_thresholds,)
        The distinct activations of the peaks, decreasing. Thresholds are inclusive: a peak of that activation counts.
    tp, fp : int64 array, shape (n_thresholds,)
        True and false positives at each threshold.
    n_references : int
        Reference onsets that count: true positives and false negatives together.
    """

    threshold: FloatArray
    tp: IntArray
    fp: IntArray
    n_references: int

    @property
    def fn(self) -> IntArray:
        """False negatives at each threshold, shape (n_thresholds,)."""
        return self.n_references - self.tp

    def at(self, threshold: FloatArray) -> LaneCounts:
        """Counts at any thresholds, shape (n,), as arrays of the same shape."""
        n_above = np.searchsorted(-self.threshold, -threshold, side="right")
        tp = np.concatenate([[0], self.tp])[n_above]
        return LaneCounts(tp, np.concatenate([[0], self.fp])[n_above], self.n_references - tp)


class BestPoint(NamedTuple):
    """The best F of a curve, its threshold, and the counts there.

    If several thresholds give the best F, `threshold` is the highest of them. Without references or without peaks it is
    NaN, and the counts are those without estimates. F is then NaN if there are no references, and otherwise 0.
    """

    f: float
    threshold: float
    tp: int
    fp: int
    fn: int


def sweep_lane(recordings: Iterable[LanePeaks], *, tolerance_s: float) -> ThresholdCurve:
    """Count matches at every threshold, pooled over recordings.

    At each threshold the counts equal those of `drum_crnn.scoring.metrics.count_matches` for the peaks that reach it.

    Parameters
    ----------
    tolerance_s : float
        Seconds; an estimate may be this much early or late.
    """
    if not tolerance_s > 0:
        raise ValueError(f"tolerance_s should be greater than 0, not {tolerance_s}")
    none = np.empty(0, np.int64)
    activations, firsts, ends, n_references = [np.empty(0)], [none], [none], 0
    for peaks in recordings:
        keep_reference, keep_peak = apply_ignore_windows(
            peaks.reference_s, peaks.time_s, peaks.ignore, lane=peaks.lane, tolerance_s=tolerance_s
        )
        reference_s = peaks.reference_s[keep_reference]
        first, end = near_range(peaks.time_s[keep_peak], reference_s, tolerance_s=tolerance_s)
        activations.append(peaks.activation[keep_peak].astype(np.float64))
        # The references of all recordings are numbered in one row, so that they are matched in one go.
        firsts.append(first + n_references)
        ends.append(end + n_references)
        n_references += len(reference_s)
    activation = np.concatenate(activations)
    loudest_first = np.argsort(-activation, kind="stable")
    hit = _matching_growth(np.concatenate(firsts)[loudest_first], np.concatenate(ends)[loudest_first], n_references)
    return _curve_of_steps(activation[loudest_first], hit, 1 - hit, n_references)


def merge_curves(curves: Sequence[ThresholdCurve]) -> ThresholdCurve:
    """Pool curves of different recordings or lanes under one common threshold."""
    return _curve_of_steps(
        np.concatenate([curve.threshold for curve in curves]),
        np.concatenate([np.diff(curve.tp, prepend=0) for curve in curves]),
        np.concatenate([np.diff(curve.fp, prepend=0) for curve in curves]),
        sum(curve.n_references for curve in curves),
    )


def best_f(curve: ThresholdCurve) -> BestPoint:
    """The point of a curve with the best F."""
    if curve.n_references == 0 or len(curve.threshold) == 0:
        return BestPoint(math.nan if curve.n_references == 0 else 0.0, math.nan, 0, 0, curve.n_references)
    f = LaneCounts(curve.tp, curve.fp, curve.fn).f()
    best = int(np.argmax(f))
    return BestPoint(
        float(f[best]), float(curve.threshold[best]), int(curve.tp[best]), int(curve.fp[best]), int(curve.fn[best])
    )


def best_counts(curves: Sequence[ThresholdCurve]) -> LaneCounts:
    """Counts of each curve at its own best threshold, shape (n_curves,)."""
    points = [best_f(curve) for curve in curves]
    return LaneCounts(
        np.array([point.tp for point in points], dtype=np.int64),
        np.array([point.fp for point in points], dtype=np.int64),
        np.array([point.fn for point in points], dtype=np.int64),
    )


def pooled_best_f(curves: Sequence[ThresholdCurve]) -> float:
    """F of all onsets pooled, each lane at its own best threshold; NaN if no lane has references."""
    return float(best_counts(curves).sum_f())


def counts_at(curves: Sequence[ThresholdCurve], threshold: FloatArray) -> LaneCounts:
    """Counts of each lane at its own threshold; `threshold` and the counts have shape (n_lanes,)."""
    of_lane = [curve.at(threshold[lane : lane + 1]) for lane, curve in enumerate(curves)]
    return LaneCounts(*(np.concatenate([getattr(counts, part) for counts in of_lane]) for part in ("tp", "fp", "fn")))


def _matching_growth(firsts: IntArray, ends: IntArray, n_references: int) -> IntArray:
    """By how much (0 or 1) each estimate, added in the order given, raises the size of the maximum matching.

    Shape (n_estimates,). Estimate n can be in a pair with the references `firsts[n]` to `ends[n]`. The search for an
    augmenting path goes breadth first. A search that fails has reached a set of references that are all matched, to
    estimates that can only exchange them among themselves. No later path can end in that set or lead through it. So it
    is never searched again, and all failures together visit each edge once.
    """
    growth, is_settled = _growth_of_simple(firsts, ends, n_references)
    first, end = firsts.tolist(), ends.tolist()
    estimate_of = [-1] * n_references
    reference_of = [-1] * len(firsts)
    is_closed = bytearray(n_references)

    def augment(start: int) -> bool:
        reached_from: dict[int, int] = {}
        frontier = [start]
        for estimate in frontier:  # grows during the loop
            for reference in range(first[estimate], end[estimate]):
                if is_closed[reference] or reference in reached_from:
                    continue
                reached_from[reference] = estimate
                if estimate_of[reference] < 0:
                    flip_path(reference, reached_from)
                    return True
                frontier.append(estimate_of[reference])
        for reference in reached_from:
            is_closed[reference] = True
        return False

    def flip_path(reference: int, reached_from: dict[int, int]) -> None:
        while reference >= 0:
            estimate = reached_from[reference]
            estimate_of[reference] = estimate
            reference, reference_of[estimate] = reference_of[estimate], reference

    for estimate in np.flatnonzero(~is_settled).tolist():
        growth[estimate] = augment(estimate)
    return growth


def _growth_of_simple(first: IntArray, end: IntArray, n_references: int) -> tuple[IntArray, NDArray[np.bool_]]:
    """The result of `_matching_growth` where no path is needed, and where that is: both of shape (n_estimates,).

    Estimate n is near the references `first[n]` to `end[n]`. If there are none, it is in no pair. If all estimates near
    a reference are near no other one, the first of them is its pair. In music, most estimates are one or the other.
    """
    n_near = end - first
    growth = np.zeros(len(first), np.int64)
    # How many estimates with several references each reference is near: +1 where their range begins, -1 where it ends.
    edges = np.zeros(n_references + 1, np.int64)
    np.add.at(edges, first[n_near > 1], 1)
    np.add.at(edges, end[n_near > 1], -1)
    is_contested = np.cumsum(edges) > 0
    is_simple = n_near == 1
    is_simple[is_simple] = ~is_contested[first[is_simple]]
    places = np.flatnonzero(is_simple)
    _, earliest = np.unique(first[places], return_index=True)
    growth[places[earliest]] = 1
    return growth, is_simple | (n_near == 0)


def _curve_of_steps(activation: FloatArray, tp: IntArray, fp: IntArray, n_references: int) -> ThresholdCurve:
    """The curve of true and false positives that begin to count at `activation`; all have shape (n_steps,)."""
    order = np.argsort(-activation, kind="stable")
    threshold = activation[order]
    last_of_equals = np.flatnonzero(np.diff(threshold, append=-np.inf))
    return ThresholdCurve(
        threshold[last_of_equals],
        np.cumsum(tp[order])[last_of_equals],
        np.cumsum(fp[order])[last_of_equals],
        n_references,
    )
