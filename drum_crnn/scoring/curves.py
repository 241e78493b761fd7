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

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from drum_crnn.scoring.sweep import ThresholdCurve

__all__ = ["N_BINS", "PrecisionRecall", "Reliability", "average_precision", "precision_recall", "reliability"]

N_BINS = 10  # of equal width, so that each can be named: "confidence 0.6 to 0.7"

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PrecisionRecall(NamedTuple):
    """Precision and recall at every distinct activation of the peaks.

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


def precision_recall(curve: ThresholdCurve) -> PrecisionRecall:
    """The precision–recall curve of a lane; empty if no reference is found, at any threshold."""
    if _n_found(curve) == 0:
        return PrecisionRecall(np.empty(0), np.empty(0), np.empty(0))
    precision, recall, threshold = precision_recall_curve(*_detections(curve))
    # Thresholds come in increasing order, and one point more, at recall 0, that belongs to none of them.
    return PrecisionRecall(threshold[::-1], precision[:-1][::-1], recall[:-1][::-1] * _found_share(curve))


def average_precision(curve: ThresholdCurve) -> float:
    """Average precision of a lane, in [0, 1]; NaN if it has no references."""
    if curve.n_references == 0:
        return math.nan
    if _n_found(curve) == 0:
        return 0.0
    return float(average_precision_score(*_detections(curve))) * _found_share(curve)


def reliability(*curves: ThresholdCurve) -> Reliability:
    """How often the peaks of all curves are right, by their activation, in `N_BINS` bins of equal width.

    Empty without peaks. A bin holds its upper end and not its lower one; the first bin holds both. Curves are counted
    one after the other: those of all lanes of E-GMD's test split have 15 million peaks, too many to be pooled first.
    """
    edges = np.linspace(0, 1, N_BINS + 1)[1:-1]
    n_peaks, n_right = np.zeros(N_BINS, np.int64), np.zeros(N_BINS)
    sum_activation = np.zeros(N_BINS)
    for curve in curves:
        is_right, activation = _detections(curve)
        bins = np.searchsorted(edges, activation)
        n_peaks += np.bincount(bins, minlength=N_BINS)
        n_right += np.bincount(bins, weights=is_right, minlength=N_BINS)
        sum_activation += np.bincount(bins, weights=activation, minlength=N_BINS)
    held = n_peaks > 0
    return Reliability(sum_activation[held] / n_peaks[held], n_right[held] / n_peaks[held], n_peaks[held])


def _detections(curve: ThresholdCurve) -> tuple[IntArray, FloatArray]:
    """Whether each peak is right (1) or not (0), and its activation; both shape (n_peaks,)."""
    n_right, n_wrong = np.diff(curve.tp, prepend=0), np.diff(curve.fp, prepend=0)
    is_right = np.repeat([1, 0], [n_right.sum(), n_wrong.sum()])
    return is_right, np.concatenate([np.repeat(curve.threshold, n_right), np.repeat(curve.threshold, n_wrong)])


def _n_found(curve: ThresholdCurve) -> int:
    """References that are found at the lowest threshold."""
    return int(curve.tp[-1]) if len(curve.tp) else 0


def _found_share(curve: ThresholdCurve) -> float:
    return _n_found(curve) / curve.n_references
