"""Scores of onsets: how many are found, how exact their times and velocities are, which lanes are confused.

Conventions
-----------
An estimate can match a reference of its own lane within the tolerance window, ± `tolerance_s` inclusive. Each onset is
matched at most once. `mir_eval.util.match_events`, which `mir_eval.onset` uses as well, finds as many pairs as there
can be. Matched pairs are true positives (tp), unmatched estimates false positives (fp), unmatched references false
negatives (fn).

Ignore windows and empty lanes: `drum_crnn.scoring.counting`.

References
----------
Raffel et al., "mir_eval: a transparent implementation of common MIR metrics", ISMIR 2014.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mir_eval
import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import LANES, N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.counting import LaneCounts, apply_ignore_windows, near_any, ratio

__all__ = [
    "CLASSES",
    "Interval",
    "Matches",
    "PairErrors",
    "bootstrap_interval",
    "count_by_group",
    "count_classes",
    "count_matches",
    "match_onsets",
    "timing_of_lanes",
    "velocity_mae",
]


# The five classes that most of the field scores; they do not tell toms apart, nor cymbals.
CLASSES: dict[str, tuple[str, ...]] = {
    "kick": ("kick",),
    "snare": ("snare",),
    "hihat": ("hihat",),
    "toms": ("high_tom", "mid_tom", "low_tom"),
    "cymbals": ("crash", "ride"),
}
# Onsets of a class that are closer than this count as one, references and estimates alike: two toms struck at once are
# one stroke on the toms. Labels of a lane are merged in the same way (`labels.merge_window_s`).
_ONE_STROKE_S = 0.015

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PairErrors:
    """Errors of matched onsets, estimate minus reference. Those of all recordings are kept, so they are small.

    Parameters
    ----------
    lane : int8 array, shape (n_pairs,)
    time_s : float64 array, shape (n_pairs,)
        Seconds, positive where the estimate is late.
    velocity : int8 array, shape (n_pairs,)
        In MIDI's steps of 0..127.
    """

    lane: NDArray[np.int8]
    time_s: FloatArray
    velocity: NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Matches:
    """The onsets of one recording that count, and which estimate is matched to which reference.

    Parameters
    ----------
    reference, estimate : Onsets
        Those that ignore windows do not leave out.
    pairs : int array, shape (n_pairs, 2)
        Indices into `reference` and `estimate`; both onsets of a pair are of one lane.
    tolerance_s : float
        Seconds; half the width of the tolerance window.
    """

    reference: Onsets
    estimate: Onsets
    pairs: IntArray
    tolerance_s: float

    @property
    def lane(self) -> IntArray:
        """Lane of each pair, shape (n_pairs,)."""
        return self.reference.lane[self.pairs[:, 0]]

    def counts(self) -> LaneCounts:
        """True positives, false positives and false negatives of each lane."""
        return self._counts(self.lane)

    def errors(self) -> "PairErrors":
        """Errors of time and velocity of the pairs.

        The matching has as many pairs as possible. It does not prefer near pairs: where onsets of a lane follow each
        other within the tolerance, another reference may be nearer.
        """
        of_reference, of_estimate = self.pairs.T
        return PairErrors(
            self.lane.astype(np.int8),
            self.estimate.time_s[of_estimate] - self.reference.time_s[of_reference],
            (self.estimate.velocity[of_estimate] - self.reference.velocity[of_reference]).astype(np.int8),
        )

    def velocity_counts(self, *, velocity_tolerance: float = 0.1) -> LaneCounts:
        """Counts in which a pair is a true positive only if its velocity is right as well, for the velocity F.

        The procedure is that of `mir_eval.transcription_velocity`. The reference velocities of the recording are scaled
        to [0, 1]. The estimated velocities of the pairs are fitted to them by a straight line (least squares). What
        then differs by less than `velocity_tolerance` is right. mir_eval's own function would match the onsets again,
        as notes with a pitch and an end, in a table of every reference by every estimate. A test compares the two.

        References
        ----------
        Hawthorne et al., "Onsets and Frames: Dual-Objective Piano Transcription", ISMIR 2018.
        """
        if len(self.pairs) == 0:
            return self.counts()
        lowest = self.reference.velocity.min()
        span = max(1, self.reference.velocity.max() - lowest)
        reference = (self.reference.velocity[self.pairs[:, 0]] - lowest) / span
        estimate = self.estimate.velocity[self.pairs[:, 1]].astype(np.float64)
        basis = np.stack([estimate, np.ones_like(estimate)], axis=1)
        slope, intercept = np.linalg.lstsq(basis, reference, rcond=None)[0]
        right = np.abs(slope * estimate + intercept - reference) < velocity_tolerance
        return self._counts(self.lane[right])

    def confusion(self) -> IntArray:
        """The confusion matrix of the lanes.

        Estimates without a match are matched to references without a match, of other lanes, by mir_eval and within the
        same tolerance. Where several lanes strike at once, the order of time and then of lanes decides.

        Returns
        -------
        int array, shape (n_lanes + 1, n_lanes + 1)
            Rows are the lanes of the references, columns those of the estimates. The last row holds estimates without
            any match, the last column references without any match. A lane's row adds up to its number of references,
            its column to its number of estimates, and the diagonal holds its true positives. Matrices of recordings can
            be added.
        """
        free_reference = np.setdiff1d(np.arange(len(self.reference)), self.pairs[:, 0])
        free_estimate = np.setdiff1d(np.arange(len(self.estimate)), self.pairs[:, 1])
        # No two unmatched onsets of one lane are within the tolerance, or there would be one more pair in that lane. So
        # all pairs that are found here are of different lanes.
        swapped = _match(
            self.reference.time_s[free_reference], self.estimate.time_s[free_estimate], tolerance_s=self.tolerance_s
        )
        played = np.full(len(self.estimate), N_LANES)
        played[self.pairs[:, 1]] = self.lane
        played[free_estimate[swapped[:, 1]]] = self.reference.lane[free_reference[swapped[:, 0]]]
        table = np.zeros((N_LANES + 1, N_LANES + 1), dtype=np.int64)
        np.add.at(table, (played, self.estimate.lane), 1)
        missed = np.delete(free_reference, swapped[:, 0])
        table[:, N_LANES] = np.bincount(self.reference.lane[missed], minlength=N_LANES + 1)
        return table

    def _counts(self, lane_of_hits: IntArray) -> LaneCounts:
        tp = np.bincount(lane_of_hits, minlength=N_LANES)
        return LaneCounts(
            tp,
            np.bincount(self.estimate.lane, minlength=N_LANES) - tp,
            np.bincount(self.reference.lane, minlength=N_LANES) - tp,
        )


class Interval(NamedTuple):
    """A confidence interval; each end has the shape of the statistic."""

    low: FloatArray
    high: FloatArray


def match_onsets(reference: Onsets, estimate: Onsets, ignore: IgnoreWindows, *, tolerance_s: float) -> Matches:
    """Match the estimated onsets of one recording to the reference, lane by lane.

    Parameters
    ----------
    tolerance_s : float
        Seconds; an estimate may be this much early or late (0.05 is mir_eval's default).
    """
    if not tolerance_s > 0:
        raise ValueError(f"tolerance_s should be greater than 0, not {tolerance_s}")
    keep_reference = np.empty(len(reference), dtype=np.bool_)
    keep_estimate = np.empty(len(estimate), dtype=np.bool_)
    for lane in range(N_LANES):
        of_reference, of_estimate = reference.lane == lane, estimate.lane == lane
        keep_reference[of_reference], keep_estimate[of_estimate] = apply_ignore_windows(
            reference.time_s[of_reference], estimate.time_s[of_estimate], ignore, lane=lane, tolerance_s=tolerance_s
        )
    reference, estimate = reference.where(keep_reference), estimate.where(keep_estimate)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for lane in range(N_LANES):
        in_reference, in_estimate = np.flatnonzero(reference.lane == lane), np.flatnonzero(estimate.lane == lane)
        found = _match(reference.time_s[in_reference], estimate.time_s[in_estimate], tolerance_s=tolerance_s)
        pairs.append(np.stack([in_reference[found[:, 0]], in_estimate[found[:, 1]]], axis=1))
    return Matches(reference, estimate, np.concatenate(pairs), tolerance_s)


def count_matches(reference: Onsets, estimate: Onsets, ignore: IgnoreWindows, *, tolerance_s: float) -> LaneCounts:
    """True positives, false positives and false negatives of one recording; see `match_onsets`."""
    return match_onsets(reference, estimate, ignore, tolerance_s=tolerance_s).counts()


def count_classes(reference: Onsets, estimate: Onsets, ignore: IgnoreWindows, *, tolerance_s: float) -> LaneCounts:
    """True positives, false positives and false negatives of each of `CLASSES` in one recording, shape (n_classes,).

    A class has the onsets of all its lanes. Onsets that follow another within 15 ms are merged with it, references and
    estimates alike. Ignore windows decide lane by lane which references count. An estimate is left out if it lies in a
    window of any lane of the class, and no reference of the class that counts is near.
    """
    counts = []
    for names in CLASSES.values():
        lanes = [LANES.index(name) for name in names]
        covered = [(reference.lane == lane) & ignore.cover(reference.time_s, lane=lane) for lane in lanes]
        reference_s = _strokes(reference.where(~np.any(covered, axis=0)), lanes)
        estimate_s = _strokes(estimate, lanes)
        covered = [ignore.cover(estimate_s, lane=lane, margin_s=tolerance_s) for lane in lanes]
        is_near = near_any(estimate_s, reference_s, tolerance_s=tolerance_s)
        estimate_s = estimate_s[is_near | ~np.any(covered, axis=0)]
        n_pairs = len(_match(reference_s, estimate_s, tolerance_s=tolerance_s))
        counts.append((n_pairs, len(estimate_s) - n_pairs, len(reference_s) - n_pairs))
    return LaneCounts(*np.array(counts, dtype=np.int64).T)


def count_by_group(counts: Iterable[tuple[str, LaneCounts]]) -> dict[str, LaneCounts]:
    """Add up the counts of recordings with the same name, such as a performance, kit or style; sorted by name."""
    groups: dict[str, LaneCounts] = {}
    for name, of_recording in counts:
        groups[name] = groups.get(name, LaneCounts.zeros()) + of_recording
    return dict(sorted(groups.items()))


def velocity_mae(errors: Iterable[PairErrors]) -> tuple[float, FloatArray]:
    """Mean absolute error of the velocity of matched onsets, in MIDI's steps of 0..127.

    Returns
    -------
    float
        Over all matched onsets of all recordings; NaN if there are none.
    float array, shape (n_lanes,)
        The same for each lane.
    """
    total, n_pairs = np.zeros(N_LANES), np.zeros(N_LANES)
    for of_recording in errors:
        steps = np.abs(of_recording.velocity.astype(np.float64))
        total += np.bincount(of_recording.lane, weights=steps, minlength=N_LANES)
        n_pairs += np.bincount(of_recording.lane, minlength=N_LANES)
    pooled = ratio(total.sum(), n_pairs.sum(), where_zero=np.nan)
    return float(pooled), ratio(total, n_pairs, where_zero=np.nan)


def timing_of_lanes(errors: Sequence[PairErrors]) -> tuple[FloatArray, FloatArray]:
    """Bias and error of the times of matched onsets.

    Returns
    -------
    bias_s, error_s : float arrays, shape (n_lanes + 1,)
        Seconds: the median of estimate minus reference, positive where estimates are late, and the median of its
        absolute value. The last is of all lanes together. NaN where nothing is matched.
    """
    nothing = [np.zeros(0)]
    errors_s = np.concatenate([*nothing, *(of_recording.time_s for of_recording in errors)])
    lanes = np.concatenate([*nothing, *(of_recording.lane for of_recording in errors)])
    groups = [*(errors_s[lanes == lane] for lane in range(N_LANES)), errors_s]
    bias_s, error_s = (
        np.array([np.median(group) if len(group) else np.nan for group in each])
        for each in (groups, map(np.abs, groups))
    )
    return bias_s, error_s


def bootstrap_interval(
    per_performance: Mapping[str, LaneCounts],
    statistic: Callable[[LaneCounts], FloatArray],
    *,
    n_resamples: int,
    confidence: float,
    seed: int,
) -> Interval:
    """Percentile bootstrap over performances.

    A resample draws as many performances as there are, with replacement, and adds up their counts. All recordings of a
    performance are drawn together, since its kits are no independent evidence.

    Parameters
    ----------
    per_performance : mapping of name to counts, shape (n_lanes,)
        All recordings of a performance added up (see `count_by_group`); the order does not matter.
    statistic : callable
        From counts of shape (n_resamples, n_lanes) to an array of shape (n_resamples, ...), such as
        `LaneCounts.sum_f`, `LaneCounts.mean_f` or `LaneCounts.f`.
    confidence : float
        In (0, 1), such as 0.95.

    Returns
    -------
    Interval
        Resamples in which the statistic is undefined are left out; NaN if it is undefined in all of them.

    References
    ----------
    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if not per_performance:
        raise ValueError("there is no performance to resample")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence should lie between 0 and 1, not {confidence}")
    names = sorted(per_performance)
    rng = np.random.default_rng(seed)
    n_drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples).astype(np.float64)

    def resampled(of_one: Callable[[LaneCounts], IntArray]) -> IntArray:
        # float64 holds the counts exactly, and its matrix product is fast.
        return np.rint(n_drawn @ np.stack([of_one(per_performance[name]) for name in names])).astype(np.int64)

    resamples = LaneCounts(resampled(lambda c: c.tp), resampled(lambda c: c.fp), resampled(lambda c: c.fn))
    values = statistic(resamples)
    low, high = (_quantile(values, share) for share in ((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(low, high)


def _strokes(onsets: Onsets, lanes: Sequence[int]) -> FloatArray:
    """Times of the onsets in `lanes`, each group of those that follow each other within 15 ms as its first."""
    time_s = np.sort(onsets.time_s[np.isin(onsets.lane, lanes)])
    return time_s[np.diff(time_s, prepend=-np.inf) >= _ONE_STROKE_S]


def _match(reference_s: FloatArray, estimate_s: FloatArray, *, tolerance_s: float) -> IntArray:
    """As many pairs as possible within the tolerance, as indices, shape (n_pairs, 2). Times must not decrease."""
    pairs = mir_eval.util.match_events(reference_s, estimate_s, tolerance_s)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _quantile(values: FloatArray, share: float) -> FloatArray:
    """Quantile over the first axis; NaNs are left out, and where there are only NaNs the result is NaN."""
    nothing = np.isnan(values).all(axis=0)
    return np.where(nothing, np.nan, np.nanquantile(np.where(nothing, 0.0, values), share, axis=0))
