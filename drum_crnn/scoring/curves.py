"""Scores without a threshold: precision–recall curves, average precision, and the reliability of activations.

Conventions
-----------
Every peak of a lane's activation is a detection, however low it is, and the activation is its confidence. Peaks are
matched from the highest downwards, as `drum_crnn.scoring.sweep` does. A peak is **right** if it raises the number of
matched pairs: of two peaks at one reference, the higher one is right. The right peaks above a threshold are therefore
the true positives at that threshold. Ignore windows follow the rule of `drum_crnn.scoring.counting`.

**Recall** is relative to all references that count, including those that no peak ever finds. scikit-learn sees the
peaks alone, so its recall is relative to the references that are found at all. Its values are scaled by their share.

**Average precision** is the mean precision over recall: at each threshold, from the highest downwards, precision times
the growth of recall, summed. References that are never found add nothing. It is 1 if every reference has a peak, and
all these peaks are higher than all others. It is NaN without references, and 0 where none of them is found.

**Reliability** compares confidence with truth: of all peaks with an activation near 0.7, which share is right?

References
----------
Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010 (average precision of detections);
Niculescu-Mizil & Caruana, "Predicting Good Probabilities With Supervised Learning", ICML 2005 (reliability).
"""

import functools
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from drum_crnn.scoring.sweep import LanePeaks, ThresholdCurve, sweep_lane

__all__ = [
    "N_BINS",
    "Detections",
    "PrecisionRecall",
    "Reliability",
    "ReliabilityBins",
    "average_precision",
    "precision_recall",
]

N_BINS = 10  # of equal width, so that each can be named: "confidence 0.6 to 0.7"
_EDGES = np.linspace(0, 1, N_BINS + 1)[1:-1]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PrecisionRecall(NamedTuple):
    """Precision and recall at every point of a curve.

    All have shape (n_thresholds,). Thresholds decrease, so recall does not decrease.
    """

    threshold: FloatArray
    precision: FloatArray
    recall: FloatArray


class Reliability(NamedTuple):
    """What peaks of similar activation are worth: one value for each bin that holds peaks, all shape (n_bins,)."""

    confidence: FloatArray  # mean activation; increases
    share_right: FloatArray
    n_peaks: IntArray


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """What bins of equal width hold; those of several recordings or lanes can be added.

    A bin holds its upper end and not its lower one; the first bin holds both.

    Parameters
    ----------
    n_peaks, n_right : int64 array, shape (N_BINS,)
    sum_activation : float64 array, shape (N_BINS,)
    """

    n_peaks: IntArray
    n_right: IntArray
    sum_activation: FloatArray

    @classmethod
    def of(cls, curve: ThresholdCurve) -> Self:
        """Put the peaks of a curve into bins."""
        bins = np.searchsorted(_EDGES, curve.threshold)
        n_right, n_wrong = _steps(curve)
        n_peaks = n_right + n_wrong
        held = (n_peaks, n_right, n_peaks * curve.threshold)
        sums = [np.bincount(bins, np.asarray(weights, np.float64), N_BINS) for weights in held]
        return cls(sums[0].astype(np.int64), sums[1].astype(np.int64), np.asarray(sums[2], np.float64))

    @classmethod
    def total(cls, bins: Iterable[Self]) -> Self:
        """All of them together."""
        nothing = np.zeros(N_BINS, np.int64)
        return functools.reduce(operator.add, bins, cls(nothing, nothing, np.zeros(N_BINS)))

    def __add__(self, other: Self) -> Self:
        names = ("n_peaks", "n_right", "sum_activation")
        return type(self)(*(getattr(self, name) + getattr(other, name) for name in names))

    def reliability(self) -> Reliability:
        """How often the peaks of each bin are right; empty without peaks."""
        held = self.n_peaks > 0
        n_peaks = self.n_peaks[held]
        return Reliability(self.sum_activation[held] / n_peaks, self.n_right[held] / n_peaks, n_peaks)


class Detections:
    """The peaks of a lane in all recordings, and which of them are right.

    E-GMD's test split has millions of peaks in each lane. So a peak takes four bytes here, and a curve has few of them.
    """

    def __init__(self) -> None:
        self.bins = ReliabilityBins.total(())
        self._right: list[NDArray[np.float32]] = []
        self._wrong: list[NDArray[np.float32]] = []
        self._n_references = 0

    def add(self, peaks: LanePeaks, *, tolerance_s: float) -> None:
        """Add the peaks of a recording, which can only match its own references; parameters as for `sweep_lane`."""
        curve = sweep_lane([peaks], tolerance_s=tolerance_s)
        activation = curve.threshold.astype(peaks.activation.dtype)  # exact: they were of this type
        n_right, n_wrong = _steps(curve)
        self._right.append(np.repeat(activation, n_right))
        self._wrong.append(np.repeat(activation, n_wrong))
        self._n_references += curve.n_references
        self.bins += ReliabilityBins.of(curve)

    def curve(self, *, threshold: float) -> ThresholdCurve:
        """The points of the lane's curve where recall grows, and the last one that reaches `threshold`, if any does.

        Average precision, and precision at each recall, are those of the whole curve. Between the points, `fp` is not
        known.
        """
        nothing = np.empty(0, np.float32)
        right, wrong = (np.sort(np.concatenate([nothing, *parts])) for parts in (self._right, self._wrong))
        # As float64: otherwise the threshold would be rounded to the precision of the activations.
        reaching = [each[np.searchsorted(each, np.float64(threshold)) :][:1] for each in (right, wrong)]
        points = np.unique(np.concatenate([right, np.sort(np.concatenate(reaching))[:1]]))[::-1]
        tp, fp = (len(each) - np.searchsorted(each, points) for each in (right, wrong))
        return ThresholdCurve(points.astype(np.float64), tp, fp, self._n_references)


def precision_recall(curve: ThresholdCurve) -> PrecisionRecall:
    """The precision–recall curve of a lane; empty if no reference is found, at any threshold."""
    if _n_found(curve) == 0:
        return PrecisionRecall(np.empty(0), np.empty(0), np.empty(0))
    labels, scores, weights = _detections(curve)
    precision, recall, threshold = precision_recall_curve(labels, scores, sample_weight=weights)
    # Thresholds come in increasing order, and one point more, at recall 0, that belongs to none of them.
    return PrecisionRecall(threshold[::-1], precision[:-1][::-1], recall[:-1][::-1] * _found_share(curve))


def average_precision(curve: ThresholdCurve) -> float:
    """Average precision of a lane, in [0, 1]; NaN if it has no references."""
    if curve.n_references == 0:
        return math.nan
    if _n_found(curve) == 0:
        return 0.0
    labels, scores, weights = _detections(curve)
    return float(average_precision_score(labels, scores, sample_weight=weights)) * _found_share(curve)


def _detections(curve: ThresholdCurve) -> tuple[IntArray, FloatArray, IntArray]:
    """Right (1) and wrong (0) peaks of each activation, these activations, and how many there are: shape (2 n_steps,).

    For scikit-learn: labels, scores and sample weights.
    """
    labels = np.repeat([1, 0], len(curve.threshold))
    return labels, np.tile(curve.threshold, 2), np.concatenate(_steps(curve))


def _steps(curve: ThresholdCurve) -> tuple[IntArray, IntArray]:
    """How many peaks are right and how many wrong at each point, and not above it; both shape (n_thresholds,)."""
    return np.diff(curve.tp, prepend=0), np.diff(curve.fp, prepend=0)


def _n_found(curve: ThresholdCurve) -> int:
    """References that are found at the lowest threshold."""
    return int(curve.tp[-1]) if len(curve.tp) else 0


def _found_share(curve: ThresholdCurve) -> float:
    return _n_found(curve) / curve.n_references
