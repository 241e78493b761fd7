"""Which of several tempi people would tap: the one that fits, a half, a double, or another simple ratio of it."""

import numpy as np
from numpy.typing import NDArray

from drum_crnn.tempo.alignment import Alignment
from drum_crnn.tempo.grooves import SLOTS

__all__ = ["features_of", "probabilities"]

FloatArray = NDArray[np.float64]

_USUAL_BPM = 105.0
# Groups of channels (`channels_of`): lanes are kick, snare, hi-hat, three toms, crash, ride, each soft and loud.
_RATES = ((1,), (0,), (3,), (2,), (4, 5, 14, 15), (6, 7, 8, 9, 10, 11), (12, 13))
_PATTERNS = ((0, 1), (2, 3), (4, 5, 14, 15))
_PARTS = (2, 4, 8, 3)  # of a bar


def features_of(alignment: Alignment, *, bpm: float, duration_s: float) -> FloatArray:
    """What tells levels apart, shape (22,).

    The logarithm of the tempo and its square, the log-likelihood a second, the density of each group of lanes in a
    bar, and how well the kick, the snare and the hi-hat or ride repeat after a half, a quarter, an eighth and a third
    of a bar.
    """
    octaves = np.log(bpm / _USUAL_BPM)
    features = [octaves, octaves**2, 0.4 * alignment.score / duration_s]
    features += [np.log(0.1 + alignment.profile[list(group)].sum()) for group in _RATES]
    for group in _PATTERNS:
        pattern = alignment.profile[list(group)].sum(axis=0)
        pattern = (np.roll(pattern, 1) + np.roll(pattern, -1)) / 2 + pattern
        energy = (pattern**2).sum() + 0.01
        features += [(pattern * np.roll(pattern, SLOTS // part)).sum() / energy for part in _PARTS]
    return np.array(features)


def probabilities(features: FloatArray, weights: FloatArray) -> FloatArray:
    """Of each candidate, shape (n_candidates,), by a conditional logit model.

    Parameters
    ----------
    features : float64 array, shape (n_candidates, n_features)
    weights : float64 array, shape (n_features,)

    References
    ----------
    McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.
    """
    scores = features @ weights
    chances = np.exp(scores - scores.max())
    return np.asarray(chances / chances.sum())
