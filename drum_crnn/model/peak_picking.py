"""From activations to onset frames: which frames are peaks, and which peaks are high enough to be onsets.

The two questions are separate: whether a frame is a peak never depends on the threshold. So the onsets at a high
threshold are a subset of those at a lower one, and `drum_crnn.scoring.sweep` can sweep every threshold exactly in one
pass over the peaks. (A rule such as "at least so many frames after the previous *onset*" would break this.)
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drum_crnn.foundation.params import ParamsSection
from drum_crnn.music.lanes import N_LANES, TOM_LANES

__all__ = ["PeakPickingParams", "are_peaks", "find_peaks", "pick_peaks", "pooled_toms", "refined"]


_ALMOST_HALF = 0.499  # a frame


class PeakPickingParams(ParamsSection):
    """Section `peak_picking` of `params.yaml`."""

    section: ClassVar[str] = "peak_picking"

    # A peak is the maximum of this many frames on either side; two onsets of a lane are further apart than this.
    max_radius: int = Field(ge=1)
    # Whether the likeliest tom gets the activation of all three (`pooled_toms`); older model files lack this key.
    pool_toms: bool = False


def find_peaks(activation: NDArray[np.floating], *, params: PeakPickingParams) -> NDArray[np.int64]:
    """Locate all peaks of one lane's activation, however low.

    Frame n is a peak when it is greater than each of the `max_radius` frames before it and not smaller than any of the
    `max_radius` frames after it. So the earliest frame of a plateau wins, and two peaks are always more than
    `max_radius` frames apart. At the ends of the array, only existing frames are compared.

    Parameters
    ----------
    activation : float array, shape (n_frames,)
        Probabilities in [0, 1]; not logits.

    Returns
    -------
    int array, shape (n_peaks,)
        Increasing frame indices.

    Raises
    ------
    ValueError
        If `activation` is not 1-D, or holds NaN or values outside [0, 1] (were logits passed?).

    References
    ----------
    After the local-maximum condition of Böck, Krebs & Schedl, "Evaluating the Online Capabilities of Onset Detection
    Methods", ISMIR 2012.
    """
    if activation.ndim != 1:
        raise ValueError(f"an activation is 1-D, one lane at a time, but its shape is {activation.shape}")
    return np.flatnonzero(are_peaks(activation, params=params))


def are_peaks(activation: NDArray[np.floating], *, params: PeakPickingParams) -> NDArray[np.bool_]:
    """Which frames are peaks, as `find_peaks` says, for one lane or for several at once.

    Parameters
    ----------
    activation : float array, shape (n_frames,) or (n_frames, n_lanes)
        Probabilities in [0, 1]; not logits.

    Returns
    -------
    bool array of the same shape

    Raises
    ------
    ValueError
        As `find_peaks`.
    """
    are = np.ones(activation.shape, np.bool_)
    if activation.size == 0:
        return are
    if not (activation.min() >= 0 and activation.max() <= 1):  # this form rejects NaN as well
        raise ValueError(
            f"activations should lie in [0, 1], but go from {activation.min()} to {activation.max()}: "
            "did you pass logits?"
        )
    for distance in range(1, min(params.max_radius, len(activation) - 1) + 1):
        is_higher = activation[distance:] > activation[:-distance]
        are[distance:] &= is_higher
        are[:-distance] &= ~is_higher
    return are


def pick_peaks(activation: NDArray[np.floating], *, threshold: float, params: PeakPickingParams) -> NDArray[np.int64]:
    """Locate one lane's onsets, in frames: the peaks (see `find_peaks`) that reach `threshold`.

    Parameters
    ----------
    activation : float array, shape (n_frames,)
        Probabilities in [0, 1]; not logits.
    threshold : float
        Inclusive, in (0, 1].

    Returns
    -------
    int array, shape (n_onsets,)
        Increasing frame indices; empty if no peak reaches `threshold`.

    Raises
    ------
    ValueError
        As `find_peaks`, and if `threshold` is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold should lie in (0, 1], not {threshold}")
    peaks = find_peaks(activation, params=params)
    # As float64: otherwise the threshold would be rounded to the activations' precision before the comparison.
    return peaks[activation[peaks].astype(np.float64) >= threshold]


def refined(peaks: NDArray[np.int64], activation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where peaks lie between frames: the tops of the parabolas through each peak and its two neighbours.

    Frames of 10 ms alone have a median error of 2.5 ms at best, even if every peak is right.

    Parameters
    ----------
    peaks : int array, shape (n_peaks,)
        As `find_peaks` returns them.
    activation : float array, shape (n_frames,)
        Of the peaks' lane, before toms are pooled.

    Returns
    -------
    float64 array, shape (n_peaks,)
        Frames, less than half a frame from `peaks`, so that each still rounds to its peak. A peak at either end of the
        recording stays where it is.

    References
    ----------
    Smith, "Spectral Audio Signal Processing", 2011: quadratic interpolation of spectral peaks.
    """
    inner = (peaks > 0) & (peaks < len(activation) - 1)
    before, at, after = (activation[peaks[inner] + step].astype(np.float64) for step in (-1, 0, 1))
    curvature = before - 2.0 * at + after  # negative, since a peak is higher than the frame before it
    shift = np.zeros(len(peaks))
    # In pooled toms, a peak need not be one of its own lane.
    shift[inner] = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, 1.0), 0.0)
    frames: NDArray[np.float64] = peaks.astype(np.float64) + np.clip(shift, -_ALMOST_HALF, _ALMOST_HALF)
    return frames


def pooled_toms(activation: NDArray[np.floating], *, params: PeakPickingParams) -> NDArray[np.floating]:
    """Raise the peaks of the likeliest tom to the sum of all three toms' activations.

    A model often detects that a tom was struck, but not which one. Then no lane reaches its threshold, and the stroke
    is missed. A stroke hits only one tom, so the probabilities of the three lanes add up to that of any tom. A peak of
    the lane with the highest activation within `max_radius` frames is raised to the sum at its frame, at most 1.
    Nothing else changes: peaks stay where they are, and two toms struck at once remain two onsets.

    Parameters
    ----------
    activation : float array, shape (n_frames, n_lanes)
        Probabilities in [0, 1] of all frames of a recording.

    Returns
    -------
    float array, shape (n_frames, n_lanes)
        Of the same dtype; `activation` itself if `params.pool_toms` is false.
    """
    if activation.ndim != 2 or activation.shape[1] != N_LANES:
        raise ValueError(f"activations have shape (frames, {N_LANES}), not {activation.shape}")
    if not params.pool_toms or not len(activation):
        return activation
    from scipy.ndimage import maximum_filter1d  # a tenth of a second to import

    toms = activation[:, TOM_LANES]
    likeliest = maximum_filter1d(toms, size=2 * params.max_radius + 1, axis=0).argmax(axis=1)
    total = np.minimum(toms.sum(axis=1), 1)
    pooled = activation.copy()
    are_likeliest = are_peaks(toms, params=params) & (likeliest[:, None] == np.arange(len(TOM_LANES)))
    for index, lane in enumerate(TOM_LANES):
        pooled[are_likeliest[:, index], lane] = total[are_likeliest[:, index]]
    return pooled
