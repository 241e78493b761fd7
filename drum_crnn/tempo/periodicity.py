"""The length of a beat over time, up to a simple ratio: a tempogram of onset intervals, and a path through it."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["BPM_RANGE", "follow_period"]

FloatArray = NDArray[np.float64]

BPM_RANGE = (38.0, 310.0)

_HOP_S = 1.0
_WINDOW_S = 10.0
_LAG_S = 0.01  # resolution of intervals
_MAX_LAG_S = 5.0
_JITTER_S = 0.018  # standard deviation of an interval that is played twice
_PERIODS_S = np.exp(np.arange(np.log(60 / 320), np.log(60 / 36), 0.02))
_MULTIPLES = ((1, 1.0), (2, 1.0), (3, 0.7), (4, 1.0))  # of the period, with their weights
_MAX_STEPS = 4  # periods by which the tempo may change in a hop: 8 % in a second
_COST_OF_STEP = 1.0
_HOPS_AT_ONCE = 256  # bounds the memory
_GAIN = 2.0  # weight of the tempogram against the cost of changes


def follow_period(time_s: FloatArray, weight: FloatArray, *, bpm_hint: float | None = None) -> tuple[FloatArray, ...]:
    """Follow the period that repeats best.

    Intervals between any two onsets make up a tempogram, as an autocorrelation would, but without a grid of frames.
    The period whose multiples are frequent intervals is followed by dynamic programming.

    Parameters
    ----------
    time_s : float64 array, shape (n_onsets,)
        Seconds, in order, the first at 0; at least two.
    weight : float64 array, shape (n_onsets,)
        How much each onset counts.
    bpm_hint : float, optional
        Confines the path to tempi within 15 % of it.

    Returns
    -------
    tuple of two float64 arrays, shape (n_hops,)
        Times in seconds, and the period in seconds there.

    References
    ----------
    Grosche, Müller & Kurth, "Cyclic Tempogram", ICASSP 2010, for the representation.
    """
    n_hops = int(time_s[-1] / _HOP_S) + 2
    support = np.empty((n_hops, len(_PERIODS_S)))
    for first in range(0, n_hops, _HOPS_AT_ONCE):
        some = range(first, min(first + _HOPS_AT_ONCE, n_hops))
        support[some.start : some.stop] = _support(_tempogram(time_s, weight, some))
    if bpm_hint is not None:
        support[:, np.abs(np.log(_PERIODS_S * bpm_hint / 60)) > np.log(1.15)] = -1e6
    path = _best_path(support)
    padded = np.pad(np.log(_PERIODS_S[path]), 2, mode="edge")
    period_s = np.exp(np.convolve(padded, np.full(5, 0.2), "valid"))
    return np.arange(n_hops, dtype=np.float64) * _HOP_S, np.asarray(period_s, dtype=np.float64)


def _support(tempogram: FloatArray) -> FloatArray:
    """How much speaks for each period at each hop, shape (n_hops, n_periods)."""
    n_hops, n_lags = tempogram.shape
    support = np.zeros((n_hops, len(_PERIODS_S)))
    for multiple, gain in _MULTIPLES:
        lag = np.minimum(multiple * _PERIODS_S / _LAG_S, n_lags - 2.0)
        lower = lag.astype(np.int64)
        rest = lag - lower
        support += gain * (tempogram[:, lower] * (1.0 - rest) + tempogram[:, lower + 1] * rest)
    support *= _GAIN * n_lags / (tempogram.sum(axis=1, keepdims=True) + 1e-9)  # relative to all lags alike
    return support


def _tempogram(time_s: FloatArray, weight: FloatArray, hops: range) -> FloatArray:
    """Weight of the intervals of each length around each hop, shape (n_hops, n_lags)."""
    over_time = np.hanning(round(_WINDOW_S / _HOP_S) + 3)[1:-1]
    margin = len(over_time) // 2
    first, n_hops, n_lags = hops.start - margin, len(hops) + 2 * margin, round(_MAX_LAG_S / _LAG_S)
    near_s = (margin + 1) * _HOP_S + _MAX_LAG_S / 2
    near = slice(*np.searchsorted(time_s, [hops.start * _HOP_S - near_s, hops.stop * _HOP_S + near_s]))
    time_s, weight = time_s[near], weight[near]
    places, gains = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for distance in range(1, len(time_s)):
        interval = time_s[distance:] - time_s[:-distance]
        counts = interval < _MAX_LAG_S - 0.1
        if not counts.any():
            break
        counts &= interval > 0.08  # flams, and lanes that are struck together
        hop = np.rint((time_s[distance:] + time_s[:-distance]) / 2 / _HOP_S).astype(np.int64) - first
        counts &= (hop >= 0) & (hop < n_hops)
        lag = interval[counts] / _LAG_S
        lower = lag.astype(np.int64)
        product = (weight[distance:] * weight[:-distance])[counts]
        place = hop[counts] * n_lags + lower
        places += [place, place + 1]
        gains += [product * (1.0 - (lag - lower)), product * (lag - lower)]
    flat = np.bincount(np.concatenate(places), np.concatenate(gains), n_hops * n_lags)
    tempogram = np.asarray(flat, dtype=np.float64).reshape(n_hops, n_lags)
    reach = np.arange(-6, 7) * _LAG_S / _JITTER_S
    tempogram = _smoothed(tempogram, np.exp(-0.5 * reach**2) / np.exp(-0.5 * reach**2).sum(), axis=1)
    return _smoothed(tempogram, over_time, axis=0)[margin:-margin]


def _smoothed(array: FloatArray, kernel: FloatArray, *, axis: int) -> FloatArray:
    """Convolved with a symmetric kernel of odd length; nothing lies beyond the ends."""
    radius = len(kernel) // 2
    rows = np.moveaxis(array, axis, 0)
    padded = np.concatenate([np.zeros((radius, rows.shape[1])), rows, np.zeros((radius, rows.shape[1]))])
    total = np.zeros_like(rows)
    for shift, gain in enumerate(kernel):
        total += gain * padded[shift : shift + len(rows)]
    return np.moveaxis(total, 0, axis)


def _best_path(gain: FloatArray) -> NDArray[np.int64]:
    """Indices, shape (n_steps,), of the path with the greatest sum of gains less the costs of its changes."""
    n_steps, n_states = gain.shape
    shifts = np.arange(-_MAX_STEPS, _MAX_STEPS + 1)
    costs = _COST_OF_STEP * np.abs(shifts)[:, None]
    padded = np.full(n_states + 2 * _MAX_STEPS, -np.inf)
    total, options = padded[_MAX_STEPS:-_MAX_STEPS], sliding_window_view(padded, n_states)  # both see what changes
    came_from = np.zeros((n_steps, n_states), dtype=np.int8)  # less the index
    total[:] = gain[0]
    for step in range(1, n_steps):
        worth = options - costs
        came_from[step] = worth.argmax(axis=0) - _MAX_STEPS
        total[:] = worth.max(axis=0) + gain[step]
    path = np.empty(n_steps, dtype=np.int64)
    path[-1] = total.argmax()
    for step in range(n_steps - 1, 0, -1):
        path[step - 1] = path[step] + came_from[step, path[step]]
    return path
