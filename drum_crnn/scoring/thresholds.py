"""Choosing thresholds: a choice for each lane that should hold on other recordings as well."""

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


class TunedThresholds(NamedTuple):
    """The thresholds of all lanes and how they came about."""

    threshold: FloatArray  # shape (n_lanes,), inclusive
    pooled: float  # what lanes with too few onsets take
    is_pooled: BoolArray  # shape (n_lanes,): which lanes these are


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


def tune(curves: Sequence[ThresholdCurve], *, params: ThresholdParams) -> TunedThresholds:
    """Choose the threshold of each lane.

    A lane with fewer than `min_onsets` references takes the threshold chosen for all lanes together. The rule
    "together" looks at all lanes at once: it wants the best F of all onsets pooled. What is best for a rare lane alone
    may be many false alarms for a few onsets more, which the pooled F does not pay for. The rule "given" takes
    `params.given`: thresholds that were chosen elsewhere, for a model that has heard every kit there is to choose on.

    Parameters
    ----------
    curves : sequence of ThresholdCurve
        One a lane, from the validation split.

    Raises
    ------
    DrumCrnnError
        If there are no reference onsets in any lane.
    """
    everything = merge_curves(curves)
    if everything.n_references == 0:
        raise DrumCrnnError(
            "thresholds: the validation split has no onset in any lane, so there is nothing to tune by; "
            "put recordings with onsets in the validation split"
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
