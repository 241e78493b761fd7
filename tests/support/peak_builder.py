"""Peaks of one lane, drawn at random, and curves given point by point."""

import numpy as np
from hypothesis import strategies as st

from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.metrics import count_matches
from drum_crnn.scoring.sweep import LanePeaks, ThresholdCurve

LANE = 2
TOLERANCE_S = 1 / 16
# Coarse binary grids: equal activations, and differences equal to the tolerance, are common and exact.
GRID = st.integers(0, 60).map(lambda n: n / 64)
LEVELS = st.integers(1, 8).map(lambda n: n / 8)


@st.composite
def lane_peaks(draw: st.DrawFn) -> LanePeaks:
    peaks = sorted(draw(st.lists(st.tuples(GRID, LEVELS), max_size=20, unique_by=lambda peak: peak[0])))
    references = sorted(draw(st.lists(GRID, max_size=15)))
    windows = draw(st.lists(st.tuples(GRID, GRID, st.sampled_from([LANE, LANE, LANE + 1])), max_size=3))
    return LanePeaks(
        LANE,
        np.array([time for time, _ in peaks]),
        np.array([level for _, level in peaks], dtype=np.float32),
        np.array(references, dtype=np.float64),
        IgnoreWindows(
            np.array([min(a, b) for a, b, _ in windows]),
            np.array([max(a, b) for a, b, _ in windows]),
            np.array([lane for _, _, lane in windows], dtype=int),
        ),
    )


def curve(*rows: tuple[float, int, int], n_references: int) -> ThresholdCurve:
    """A curve from (threshold, tp, fp), highest threshold first."""
    threshold, tp, fp = (np.array(column) for column in zip(*rows, strict=True))
    return ThresholdCurve(threshold.astype(float), tp, fp, n_references)


def counts_from_scratch(recordings: list[LanePeaks], threshold: float) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of the peaks that reach a threshold, by `count_matches`."""
    total = np.zeros(3, dtype=int)
    for peaks in recordings:
        estimate = _onsets(peaks.time_s[peaks.activation >= threshold])
        counts = count_matches(_onsets(peaks.reference_s), estimate, peaks.ignore, tolerance_s=TOLERANCE_S)
        total += [counts.tp[LANE], counts.fp[LANE], counts.fn[LANE]]
    return tuple(total.tolist())


def _onsets(time_s: np.ndarray) -> Onsets:
    return Onsets(time_s, np.full(len(time_s), LANE), np.full(len(time_s), 64))
