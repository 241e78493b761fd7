"""Counts of hits, extras and misses: the part of scoring that training, tuning and evaluation share.

Conventions
-----------
True positives (tp) are matched pairs of a reference and an estimate, false positives (fp) unmatched estimates, false
negatives (fn) unmatched references. `drum_crnn.scoring.metrics` says how pairs are made.

**Ignore windows** mark times of a lane that cannot be scored. Two rules apply before onsets are matched:

1. A reference inside a window of its lane is left out.
2. An estimate inside a window of its lane, made longer by the tolerance at both ends, is left out. It is kept if a
   reference that was kept lies within the tolerance.

The rest is scored as if there were no windows. Both rules look at single onsets, and never at pairs. So they leave out
the same estimates at every threshold, which `drum_crnn.scoring.sweep` relies on.

**Empty lanes.** Counts are added up over recordings first. If a lane then has neither references nor estimates, its
precision, recall and F are undefined: they are NaN, and the mean over lanes leaves them out. If a lane has only
references or only estimates, all three are 0. (`mir_eval.onset.f_measure` gives 0 in both cases.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import IgnoreWindows

__all__ = [
    "STRICT_TOLERANCE_S",
    "TOLERANCE_S",
    "LaneCounts",
    "apply_ignore_windows",
    "near_any",
    "near_range",
    "ratio",
]

# Half the width of the tolerance window, in seconds: the usual one of the field, and a stricter one.
TOLERANCE_S = 0.050
STRICT_TOLERANCE_S = 0.025

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LaneCounts:
    """True positives, false positives and false negatives of each lane. Counts of recordings can be added.

    Parameters
    ----------
    tp, fp, fn : int array, shape (..., n_lanes)
        Every score keeps the leading axes, if there are any: `bootstrap_interval` puts its resamples there. The last
        axis can also be that of `CLASSES`.
    """

    tp: IntArray
    fp: IntArray
    fn: IntArray

    @classmethod
    def zeros(cls) -> "LaneCounts":
        """Counts of no recording."""
        nothing = np.zeros(N_LANES, dtype=np.int64)
        return cls(nothing, nothing, nothing)

    def __add__(self, other: "LaneCounts") -> "LaneCounts":
        return LaneCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def precision(self) -> FloatArray:
        """Share of the estimates that are right, shape (..., n_lanes); empty lanes as the module says."""
        return self._share(self.tp, self.tp + self.fp)

    def recall(self) -> FloatArray:
        """Share of the references that are found, shape (..., n_lanes); empty lanes as the module says."""
        return self._share(self.tp, self.tp + self.fn)

    def f(self) -> FloatArray:
        """F-measure: harmonic mean of precision and recall, shape (..., n_lanes); empty lanes as the module says."""
        return self._share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def pooled(self) -> "LaneCounts":
        """Counts of all lanes together, as of a single lane; shape (..., 1)."""
        return LaneCounts(*(count.sum(axis=-1, keepdims=True) for count in (self.tp, self.fp, self.fn)))

    def sum_f(self) -> FloatArray:
        """F-measure of all onsets pooled, shape (...)."""
        return np.asarray(self.pooled().f()[..., 0])

    def mean_f(self) -> FloatArray:
        """Mean of the lanes' F-measures, shape (...); lanes without references and estimates are left out."""
        f = self.f()
        defined = ~np.isnan(f)
        return ratio(np.where(defined, f, 0.0).sum(axis=-1), defined.sum(axis=-1), where_zero=np.nan)

    def _share(self, part: IntArray, whole: IntArray) -> FloatArray:
        empty = self.tp + self.fp + self.fn == 0
        return np.where(empty, np.nan, ratio(part, whole, where_zero=0.0))


def apply_ignore_windows(
    reference_s: FloatArray, estimate_s: FloatArray, ignore: IgnoreWindows, *, lane: int, tolerance_s: float
) -> tuple[BoolArray, BoolArray]:
    """Which references and which estimates of a lane count, by the rules for ignore windows in this module's docstring.

    Parameters
    ----------
    reference_s : float array, shape (n_references,)
        Seconds, increasing.
    estimate_s : float array, shape (n_estimates,)
        Seconds.

    Returns
    -------
    bool arrays, shapes (n_references,) and (n_estimates,)
    """
    keep_reference = ~ignore.cover(reference_s, lane=lane)
    is_near = near_any(estimate_s, reference_s[keep_reference], tolerance_s=tolerance_s)
    return keep_reference, is_near | ~ignore.cover(estimate_s, lane=lane, margin_s=tolerance_s)


def near_any(times_s: FloatArray, others_s: FloatArray, *, tolerance_s: float) -> BoolArray:
    """Which of the times have one of `others_s`, which must not decrease, within the tolerance."""
    first, end = near_range(times_s, others_s, tolerance_s=tolerance_s)
    return first < end


def near_range(
    times_s: FloatArray, others_s: FloatArray, *, tolerance_s: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of `others_s`, which must not decrease, are within the tolerance of each time: from first to before end."""
    # The same comparisons as in mir_eval.util.match_events, so that the two agree to the last bit.
    first = np.searchsorted(others_s, times_s - tolerance_s, side="left")
    end = np.searchsorted(others_s, times_s + tolerance_s, side="right")
    return first, end


def ratio(part: NDArray[np.number], whole: NDArray[np.number], *, where_zero: float) -> FloatArray:
    """`part / whole`, element by element; `where_zero` where `whole` is 0."""
    zero = np.equal(whole, 0)
    return np.where(zero, where_zero, part / np.where(zero, 1, whole))
