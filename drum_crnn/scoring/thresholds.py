"""Choosing a threshold for each lane that should also suit other recordings."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.music.lanes import LANES
from drum_crnn.scoring.sweep import ThresholdCurve, counts_at, merge_curves, pooled_best_f

__all__ = [
    "RULES",
    "ThresholdParams",
    "Transfer",
    "TunedThresholds",
    "choose_threshold",
    "transfers",
    "tune",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


Rule = Literal["best", "plateau", "halfway", "fixed", "together", "given"]
# The rules that choose by the curves; "given" does not.
RULES: tuple[Rule, ...] = ("best", "plateau", "halfway", "fixed", "together")
_FIXED = 0.5  # with reliable activations, a peak above it is more often right than wrong


class ThresholdParams(ParamsSection):
    """Section `thresholds` of `params.yaml`."""

    section: ClassVar[str] = "thresholds"

    # Limits of the thresholds, so that a handful of onsets cannot give a rare lane an extreme one.
    floor: float = Field(gt=0, lt=1)
    ceiling: float = Field(gt=0, le=1)
    # A lane with fewer reference onsets gets the threshold that is chosen for all lanes together.
    min_onsets: int = Field(ge=1)
    # An F this much below the best counts as equally good (0.002 is a fifth of a percentage point).
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


class TunedThresholds(NamedTuple):
    """The thresholds of all lanes, and which of them were chosen for all lanes together."""

    threshold: FloatArray  # shape (n_lanes,), inclusive
    pooled: float  # the threshold of lanes with too few onsets; NaN if none has too few
    is_pooled: BoolArray  # shape (n_lanes,): which lanes have too few


def choose_threshold(curve: ThresholdCurve, *, params: ThresholdParams) -> float:
    """Choose the threshold of one curve by `params.rule`, between `floor` and `ceiling`.

    - best: the highest threshold with the best F.
    - plateau: the thresholds whose F is within `tie_tolerance` of the best form one or more intervals. The middle of
      the widest interval is chosen (the lowest of equals). The best F itself may be a chance peak beside a steep slope,
      which other recordings will not repeat.
    - halfway: between the middle of the plateau and 0.5, since a choice on few kits is partly chance.
    - fixed: 0.5.
    - together, given: these rules concern all lanes at once, see `tune`; for a single curve, as plateau.

    Raises
    ------
    ValueError
        If the curve has no references, so that no threshold is better than another.
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
    """Ends of the intervals (low, high] from `floor` to `ceiling` in which counts stay the same.

    The first interval holds its lower end too.
    """
    inner = curve.threshold[(curve.threshold >= params.floor) & (curve.threshold < params.ceiling)][::-1]
    return np.concatenate([[params.floor], inner]), np.concatenate([inner, [params.ceiling]])


def _middle_of_plateau(low: FloatArray, high: FloatArray, score: FloatArray, *, tolerance: float) -> float:
    """Middle of the widest run of intervals that score within `tolerance` of the best; the lowest of equals."""
    is_good = score >= score.max() - tolerance
    edges = np.flatnonzero(np.diff(is_good, prepend=False, append=False))
    first, last = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(high[last] - low[first]))
    return float(low[first[widest]] + high[last[widest]]) / 2


def _best_together(curves: Sequence[ThresholdCurve], params: ThresholdParams) -> FloatArray:
    """Thresholds that give the best F of all lanes pooled, shape (n_lanes,).

    Over all lanes, F = 2 tp / (tp + fp + references). At the best F, each lane's threshold therefore maximises
    2 tp − F (tp + fp). F and the thresholds are computed from each other in turn, until F stops growing.

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
    """The score that thresholds chosen on one group of recordings give on another.

    `f` is the F of all lanes pooled on `used_on`, with the thresholds chosen on `chosen_on`. `f_own` is the F with the
    thresholds that give each lane's best F on `used_on` itself.
    """

    rule: Rule
    chosen_on: str
    used_on: str
    f: float
    f_own: float


def transfers(curves_of: Mapping[str, Sequence[ThresholdCurve]], *, params: ThresholdParams) -> list[Transfer]:
    """Score the thresholds of each group on every other group, for every rule.

    Parameters
    ----------
    curves_of : mapping of str to sequence of ThresholdCurve
        One curve a lane for each group; groups without references are left out.
    """
    groups = {name: curves for name, curves in curves_of.items() if any(curve.n_references for curve in curves)}
    own = {name: pooled_best_f(curves) for name, curves in groups.items()}
    found = []
    for rule in RULES:
        by_rule = params.model_copy(update={"rule": rule})
        for chosen_on, curves in groups.items():
            threshold = tune(curves, params=by_rule).threshold
            for used_on, others in groups.items():
                if used_on != chosen_on:
                    f = float(counts_at(others, threshold).sum_f())
                    found.append(Transfer(rule, chosen_on, used_on, f, own[used_on]))
    return found


def tune(curves: Sequence[ThresholdCurve], *, params: ThresholdParams) -> TunedThresholds:
    """Choose the threshold of each lane.

    A lane with fewer than `min_onsets` references gets the threshold chosen for all lanes together. The rule "together"
    maximises the F of all onsets pooled. (The best F of a rare lane may cost many false positives for a few more hits,
    which lowers the pooled F.) The rule "given" uses `params.given`: thresholds chosen elsewhere, for a model that is
    trained on all kits, so that none is left to choose on.

    Parameters
    ----------
    curves : sequence of ThresholdCurve
        One a lane, from the validation split.

    Raises
    ------
    DrumCrnnError
        If there are no reference onsets in any lane.
    """
    if not any(curve.n_references for curve in curves):
        raise DrumCrnnError(
            "thresholds: the validation split has no onset in any lane, so thresholds cannot be tuned; "
            "put recordings with onsets in the validation split"
        )
    is_pooled = np.array([curve.n_references < params.min_onsets for curve in curves])
    # Only if it is needed: the curve of all lanes together is as large as all theirs.
    pooled = choose_threshold(merge_curves(curves), params=params) if is_pooled.any() else math.nan
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
