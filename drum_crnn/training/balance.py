"""How often each recording is drawn: so that long performances, frequent styles and single kits do not rule a training.

Played as they are, the longest tenth of E-GMD's performances would get half of all excerpts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drum_crnn.foundation.params import StrictModel

__all__ = ["BalanceParams", "draw_weights"]

FloatArray = NDArray[np.float64]

# Rounds in which kits and performances are scaled in turn. A corpus in which every performance is played on every kit
# needs one. Others may have no weights that are right for both; then performances come first.
_ROUNDS = 20


class BalanceParams(StrictModel):
    """Section `train.balance`.

    Attributes
    ----------
    long_s : float
        Performances up to this long are drawn in proportion to their duration: an excerpt of a short fill is mostly the
        silence around it.
    duration : float
        Longer ones are drawn in proportion to their duration to this power.
    kits : bool
        Whether every kit is drawn equally often, as far as the performances allow it.
    rarest_style : float
        No style is drawn more rarely than this share of what it had if all were equally frequent.
    """

    long_s: float = Field(gt=0)
    duration: float = Field(ge=0, le=1)
    kits: bool
    rarest_style: float = Field(ge=0, le=1)

    @property
    def is_neutral(self) -> bool:
        """Whether every second of the corpus is drawn equally often."""
        return self.duration == 1.0 and not self.kits and self.rarest_style == 0.0


def draw_weights(
    lengths_s: FloatArray,
    performances: Sequence[str],
    kits: Sequence[str],
    styles: Sequence[str],
    params: BalanceParams,
) -> FloatArray:
    """How often each recording is drawn.

    Parameters
    ----------
    lengths_s : float array, shape (n_recordings,)
    performances, kits, styles : sequences of str, one for each recording
        A performance has one style; what follows a `/` in a style does not count.
    params : BalanceParams

    Returns
    -------
    float array, shape (n_recordings,)
        Shares of all excerpts; their sum is 1.
    """
    _, performance = np.unique(np.asarray(performances), return_inverse=True)
    _, kit = np.unique(np.asarray(kits), return_inverse=True)
    _, style = np.unique(np.asarray([style.split("/")[0] for style in styles]), return_inverse=True)
    weights = np.maximum(lengths_s, 0.01)
    seconds = np.asarray(np.bincount(performance, weights), np.float64)  # over all its recordings
    durations = seconds / np.bincount(performance)
    style_of = np.zeros(len(durations), np.int64)
    style_of[performance] = style
    times_too_long = np.maximum(durations / params.long_s, 1.0)
    wanted = _with_rare_styles(seconds * np.power(times_too_long, params.duration - 1.0), style_of, params.rarest_style)
    weights = _scaled(weights, performance, wanted)
    if params.kits:
        for _ in range(_ROUNDS):
            weights = _scaled(weights, kit, np.ones(int(kit.max()) + 1))
            weights = _scaled(weights, performance, wanted)
    return np.asarray(weights / weights.sum(), np.float64)


def _scaled(weights: FloatArray, group: NDArray[np.int64], totals: FloatArray) -> FloatArray:
    """Scale the weights of each group, so that they add up to its total."""
    return np.asarray(weights * (totals / np.bincount(group, weights))[group], np.float64)


def _with_rare_styles(weights: FloatArray, style: NDArray[np.int64], rarest: float) -> FloatArray:
    """Raise the weights of rare styles to the share `rarest / n_styles`, at the expense of the others."""
    shares = np.bincount(style, weights) / weights.sum()
    least = rarest / len(shares)
    raised = np.zeros(len(shares), np.bool_)
    while (low := (shares < least * (1 - 1e-12)) & ~raised).any():
        raised |= low  # lowering the others may bring more of them below
        rest = 1.0 - least * raised.sum()
        shares = np.where(raised, least, shares * rest / shares[~raised].sum())
    return _scaled(weights, style, shares)
