"""Which activation makes an onset: an exact sweep of the threshold for each lane, and a choice that travels.

The onset F of a lane changes only at the activations of its peaks, so it can be computed at every threshold there is
instead of on a grid. Peaks are taken from the highest activation downwards and added to a maximum matching with the
references, one augmenting path at a time. A peak raises the size of the matching by one or by nothing, and if it
does, by a path that starts at it. So after each peak the number of pairs is the one `mir_eval.util.match_events` finds
among the peaks so far (a test compares them). Ignore windows follow the rule of `drum_crnn.metrics`, which leaves the
same peaks out at every threshold.

References
----------
Berge, "Two theorems in graph theory", 1957 (augmenting paths); Kuhn, "The Hungarian method for the assignment
problem", 1955.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from drum_crnn.errors import DrumCrnnError
from drum_crnn.lanes import LANES, N_LANES
from drum_crnn.metrics import LaneCounts, counted
from drum_crnn.onsets import IgnoreWindows, Onsets
from drum_crnn.params import ParamsSection
from drum_crnn.peak_picking import PeakPickingParams, find_peaks, pooled_toms
from drum_crnn.timing import frame_to_time

__all__ = [
    "RULES",
    "BestPoint",
    "LanePeaks",
    "ThresholdCurve",
    "ThresholdParams",
    "Transfer",
    "TunedThresholds",
    "best_counts",
    "best_f",
    "choose_threshold",
    "counts_at",
    "merge_curves",
    "peaks_of_lanes",
    "pooled_best_f",
    "sweep_lane",
    "transfers",
    "tune",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


Rule = Literal["best", "plateau", "halfway", "fixed", "together", "given"]
# Those that choose; "given" does not.
RULES: tuple[Rule, ...] = ("best", "plateau", "halfway", "fixed", "together")
_FIXED = 0.5  # what a calibrated activation would be cut at


class ThresholdParams(ParamsSection):
    """Section `thresholds` of `params.yaml`."""

    section: ClassVar[str] = "thresholds"

    # Thresholds stay within these, so that no rare lane gets an extreme one that a handful of onsets won.
    floor: float = Field(gt=0, lt=1)
    ceiling: float = Field(gt=0, le=1)
    # A lane with fewer reference onsets than this takes the threshold that is best for all lanes together.
    min_onsets: int = Field(ge=1)
    # F this much below the best counts as just as good (0.002 is a fifth of a percentage point).
    tie_tolerance: float = Field(ge=0, lt=1)
    # How a threshold is chosen from a curve: see `choose_threshold`.
    rule: Rule
    # Threshold of each lane for the rule "given".
    given: dict[str, float] | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rule == "given" and self.given is None:
            raise ValueError("given must hold the threshold of each lane, since rule is 'given'")
        if self.given is not None and set(self.given) != set(LANES):
            raise ValueError(f"given must hold the threshold of each lane, and nothing else: {', '.join(LANES)}")
        for lane, threshold in (self.given or {}).items():
            if not 0 < threshold <= 1:
                raise ValueError(f"given.{lane} should be above 0 and not above 1 (found {threshold})")
        if self.floor > self.ceiling:
            raise ValueError(f"floor ({self.floor}) should not be above ceiling ({self.ceiling})")
        return self


@dataclass(frozen=True, eq=False)
class LanePeaks:
    """The peaks of one lane in one recording, and the reference onsets to be found there.

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
        Those of the recording; other lanes' do no harm.
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
    """Find the peaks of every lane of one recording, toms pooled or not as `params` say.

    Parameters
    ----------
    activation : float32 array, shape (n_frames, n_lanes)
        Probabilities in [0, 1]; not logits.
    frame_rate : float
        Frames a second.
    min_activation : float
        Lower peaks are left out, which saves time; no threshold below it may then be looked at.

    Returns
    -------
    list of LanePeaks, one a lane
    """
    lanes = []
    activation = pooled_toms(activation, params=params)
    for lane in range(N_LANES):
        of_lane = np.ascontiguousarray(activation[:, lane])
        peaks = find_peaks(of_lane, params=params)
        peaks = peaks[of_lane[peaks].astype(np.float64) >= min_activation]
        times = frame_to_time(peaks, frame_rate)
        lanes.append(LanePeaks(lane, times, of_lane[peaks], reference.of_lane(lane).time_s, ignore))
    return lanes


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """What a lane scores at every threshold there is, recordings pooled.

    Parameters
    ----------
    threshold : float64 array, shape (n_thresholds,)
        The distinct activations of the peaks, decreasing. A peak of that activation is an onset: it is inclusive.
    tp, fp : int64 array, shape (n_thresholds,)
        True and false positives at each threshold.
    n_references : int
        Reference onsets that count; what is not a true positive is a false negative.
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
    """The best F of a curve, and where it is.

    `threshold` is the highest one that gives it. Where nothing can be found (no references, or no peaks), it is NaN
    and the counts are those of no estimates at all; F is NaN if there are no references, else 0.
    """

    f: float
    threshold: float
    tp: int
    fp: int
    fn: int


class TunedThresholds(NamedTuple):
    """The thresholds of all lanes and how they came about."""

    threshold: FloatArray  # shape (n_lanes,), inclusive
    pooled: float  # what lanes with too few onsets take
    is_pooled: BoolArray  # shape (n_lanes,): which lanes these are


def sweep_lane(recordings: Iterable[LanePeaks], *, tolerance_s: float) -> ThresholdCurve:
    """Count matches at every threshold, pooled over recordings.

    At each threshold the counts equal those of `drum_crnn.metrics.count_matches` for the peaks that reach it.

    Parameters
    ----------
    tolerance_s : float
        Seconds; an estimate may be this much early or late.
    """
    if not tolerance_s > 0:
        raise ValueError(f"tolerance_s should be greater than 0, not {tolerance_s}")
    activations, hits, n_references = [np.empty(0)], [np.empty(0, dtype=np.int64)], 0
    for peaks in recordings:
        keep_reference, keep_peak = counted(
            peaks.reference_s, peaks.time_s, peaks.ignore, lane=peaks.lane, tolerance_s=tolerance_s
        )
        loudest_first = np.flatnonzero(keep_peak)
        loudest_first = loudest_first[np.argsort(-peaks.activation[loudest_first], kind="stable")]
        reference_s = peaks.reference_s[keep_reference]
        activations.append(peaks.activation[loudest_first].astype(np.float64))
        hits.append(_matching_growth(peaks.time_s[loudest_first], reference_s, tolerance_s=tolerance_s))
        n_references += len(reference_s)
    hit = np.concatenate(hits)
    return _curve_of_steps(np.concatenate(activations), hit, 1 - hit, n_references)


def merge_curves(curves: Sequence[ThresholdCurve]) -> ThresholdCurve:
    """Pool curves of different recordings or lanes under one common threshold."""
    return _curve_of_steps(
        np.concatenate([curve.threshold for curve in curves]),
        np.concatenate([np.diff(curve.tp, prepend=0) for curve in curves]),
        np.concatenate([np.diff(curve.fp, prepend=0) for curve in curves]),
        sum(curve.n_references for curve in curves),
    )


def best_f(curve: ThresholdCurve) -> BestPoint:
    """The best F of a curve, whatever its threshold."""
    if curve.n_references == 0 or len(curve.threshold) == 0:
        return BestPoint(math.nan if curve.n_references == 0 else 0.0, math.nan, 0, 0, curve.n_references)
    f = LaneCounts(curve.tp, curve.fp, curve.fn).f()
    best = int(np.argmax(f))
    return BestPoint(
        float(f[best]), float(curve.threshold[best]), int(curve.tp[best]), int(curve.fp[best]), int(curve.fn[best])
    )


def best_counts(curves: Sequence[ThresholdCurve]) -> LaneCounts:
    """Counts of each curve at its own best threshold, shape (n_curves,); precision, recall and F follow from them."""
    points = [best_f(curve) for curve in curves]
    return LaneCounts(
        np.array([point.tp for point in points], dtype=np.int64),
        np.array([point.fp for point in points], dtype=np.int64),
        np.array([point.fn for point in points], dtype=np.int64),
    )


def pooled_best_f(curves: Sequence[ThresholdCurve]) -> float:
    """F of all onsets pooled, each lane at its own best threshold; NaN if no lane has references."""
    return float(best_counts(curves).sum_f())


def choose_threshold(curve: ThresholdCurve, *, params: ThresholdParams) -> float:
    """Choose a threshold that is good here and should be elsewhere, by `params.rule`.

    - best: the highest one that gives the best F here.
    - plateau: of the thresholds from `floor` to `ceiling`, those whose F is within `tie_tolerance` of the best among
      them form one or more intervals; the middle of the widest one is taken (the lowest of equals). The chance peak of
      the curve, which another recording will not repeat, may lie at the edge of a steep side.
    - halfway: between the middle of the plateau and 0.5, since what is chosen on few kits is partly chance.
    - fixed: 0.5.
    - together, given: not lane by lane, see `tune`; for a single curve, as plateau.

    Raises
    ------
    ValueError
        If the curve has no references: nothing tells one threshold from another.
    """
    if curve.n_references == 0:
        raise ValueError("a curve without reference onsets has no best threshold")
    if params.rule == "fixed":
        return float(np.clip(_FIXED, params.floor, params.ceiling))
    low, high = _stretches(curve, params)
    f = curve.at(high).f()
    if params.rule == "best":
        return float(high[np.flatnonzero(f == f.max())[-1]])
    middle = _middle_of_plateau(low, high, f, tolerance=params.tie_tolerance)
    if params.rule == "halfway":
        middle = float(np.clip((middle + _FIXED) / 2, params.floor, params.ceiling))
    return middle


def _stretches(curve: ThresholdCurve, params: ThresholdParams) -> tuple[FloatArray, FloatArray]:
    """Ends of the stretches from `floor` to `ceiling` within which nothing changes: (low, high], the first with its
    lower end."""
    inner = curve.threshold[(curve.threshold >= params.floor) & (curve.threshold < params.ceiling)][::-1]
    return np.concatenate([[params.floor], inner]), np.concatenate([inner, [params.ceiling]])


def _middle_of_plateau(low: FloatArray, high: FloatArray, score: FloatArray, *, tolerance: float) -> float:
    """Middle of the widest interval of stretches that score within `tolerance` of the best; the lowest of equals."""
    is_good = score >= score.max() - tolerance
    edges = np.flatnonzero(np.diff(is_good, prepend=False, append=False))
    first, last = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(high[last] - low[first]))
    return float(low[first[widest]] + high[last[widest]]) / 2


def _best_together(curves: Sequence[ThresholdCurve], params: ThresholdParams) -> FloatArray:
    """Thresholds that give the best F of all lanes pooled, shape (n_lanes,).

    Where F is the best there is, no lane gains by a change: each maximises 2 tp − F (tp + fp), since
    F = 2 tp / (tp + fp + references) over all lanes. In turn, F and the thresholds follow from each other.

    References
    ----------
    Dinkelbach, "On nonlinear fractional programming", Management Science, 1967.
    """
    n_references = sum(curve.n_references for curve in curves)
    f, threshold = 0.0, np.full(len(curves), params.floor)
    while True:
        chosen = []
        for curve in curves:
            low, high = _stretches(curve, params)
            counts = curve.at(high)
            gain = (2 * counts.tp - f * (counts.tp + counts.fp)) / n_references
            chosen.append(_middle_of_plateau(low, high, gain, tolerance=params.tie_tolerance / len(curves)))
        best = float(counts_at(curves, np.array(chosen)).sum_f())
        if not best > f:
            return threshold
        f, threshold = best, np.array(chosen)


class Transfer(NamedTuple):
    """What the thresholds chosen on one group of recordings are worth on another.

    `f` is the F of all lanes pooled on `used_on` with the thresholds chosen on `chosen_on`; `f_own` with those that
    give each lane's best F on `used_on` itself.
    """

    rule: Rule
    chosen_on: str
    used_on: str
    f: float
    f_own: float


def transfers(curves_of: Mapping[str, Sequence[ThresholdCurve]], *, params: ThresholdParams) -> list[Transfer]:
    """Use the thresholds of each group on every other group, by every rule.

    Parameters
    ----------
    curves_of : mapping of str to sequence of ThresholdCurve
        One curve a lane, of each group; groups without a reference are left out.
    """
    groups = {name: curves for name, curves in curves_of.items() if any(curve.n_references for curve in curves)}
    found = []
    for rule in RULES:
        by_rule = params.model_copy(update={"rule": rule})
        for chosen_on, curves in groups.items():
            threshold = tune(curves, params=by_rule).threshold
            for used_on, others in groups.items():
                if used_on != chosen_on:
                    f = float(counts_at(others, threshold).sum_f())
                    found.append(Transfer(rule, chosen_on, used_on, f, pooled_best_f(others)))
    return found


def counts_at(curves: Sequence[ThresholdCurve], threshold: FloatArray) -> LaneCounts:
    """Counts of each lane at its own threshold; `threshold` and the counts have shape (n_lanes,)."""
    of_lane = [curve.at(threshold[lane : lane + 1]) for lane, curve in enumerate(curves)]
    return LaneCounts(*(np.concatenate([getattr(counts, part) for counts in of_lane]) for part in ("tp", "fp", "fn")))


def tune(curves: Sequence[ThresholdCurve], *, params: ThresholdParams) -> TunedThresholds:
    """Choose the threshold of each lane.

    A lane with fewer than `min_onsets` references takes the threshold chosen for all lanes together. The rule
    "together" looks at all lanes at once: it wants the best F of all onsets pooled. What is best for a rare lane alone
    may be many false alarms for a few onsets more, which the pooled F does not pay for. The rule "given" takes
    `params.given`: thresholds that were chosen elsewhere, for a model that has heard every kit there is to choose on.

    Parameters
    ----------
    curves : sequence of ThresholdCurve
        One a lane, from the validation side.

    Raises
    ------
    DrumCrnnError
        If there are no reference onsets in any lane.
    """
    everything = merge_curves(curves)
    if everything.n_references == 0:
        raise DrumCrnnError(
            "thresholds: the validation side has no onset in any lane, so there is nothing to tune by; "
            "put recordings with onsets on the validation side"
        )
    pooled = choose_threshold(everything, params=params)
    is_pooled = np.array([curve.n_references < params.min_onsets for curve in curves])
    if params.rule == "given" and params.given is not None:
        given = np.array([params.given[lane] for lane in LANES])
        return TunedThresholds(given, pooled, np.zeros(len(curves), dtype=np.bool_))
    if params.rule == "together":
        return TunedThresholds(_best_together(curves, params), pooled, np.zeros(len(curves), dtype=np.bool_))
    own = [
        pooled if is_scarce else choose_threshold(curve, params=params)
        for curve, is_scarce in zip(curves, is_pooled, strict=True)
    ]
    return TunedThresholds(np.array(own), pooled, is_pooled)


def _matching_growth(estimate_s: FloatArray, reference_s: FloatArray, *, tolerance_s: float) -> IntArray:
    """By how much (0 or 1) each estimate, added in the order given, raises the size of the maximum matching.

    Shape (n_estimates,). The search for an augmenting path goes breadth first. One that fails has reached a set of
    references which are all taken, by estimates that can only swap them among themselves: no later path can end in
    it or lead through it, so it is never searched again, and all failures together look at each edge but once.
    """
    # The same comparisons as in mir_eval.util.match_events, so that the two agree to the last bit.
    first = np.searchsorted(reference_s, estimate_s - tolerance_s, side="left").tolist()
    end = np.searchsorted(reference_s, estimate_s + tolerance_s, side="right").tolist()
    estimate_of = [-1] * len(reference_s)
    reference_of = [-1] * len(estimate_s)
    is_closed = bytearray(len(reference_s))

    def augment(start: int) -> bool:
        reached_from: dict[int, int] = {}
        frontier = [start]
        for estimate in frontier:  # grows while it is walked through
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

    return np.array([augment(estimate) for estimate in range(len(estimate_s))], dtype=np.int64)


def _curve_of_steps(activation: FloatArray, tp: IntArray, fp: IntArray, n_references: int) -> ThresholdCurve:
    """Add up true and false positives that appear at `activation`, all shape (n_steps,), from above."""
    order = np.argsort(-activation, kind="stable")
    threshold = activation[order]
    last_of_equals = np.flatnonzero(np.diff(threshold, append=-np.inf))
    return ThresholdCurve(
        threshold[last_of_equals],
        np.cumsum(tp[order])[last_of_equals],
        np.cumsum(fp[order])[last_of_equals],
        n_references,
    )
