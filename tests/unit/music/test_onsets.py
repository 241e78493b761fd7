"""Onsets and ignore windows: what they accept, and which times a window covers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.music.onsets import IgnoreWindows, Onsets

TIMES = st.integers(0, 40).map(lambda n: n / 8)  # a coarse binary grid: ends of windows are met often, and exactly


def test_in_order_sorts_by_time_then_lane() -> None:
    onsets = Onsets.in_order([2.0, 1.0, 1.0], [0, 7, 3], [10, 20, 30])
    assert onsets.time_s.tolist() == [1.0, 1.0, 2.0]
    assert onsets.lane.tolist() == [3, 7, 0]
    assert onsets.velocity.tolist() == [30, 20, 10]


def test_of_lane_keeps_times_and_velocities_together() -> None:
    onsets = Onsets(np.array([0.5, 1.0, 1.5]), np.array([1, 2, 1]), np.array([5, 6, 7]))
    snare = onsets.of_lane(1)
    assert len(snare) == 2
    assert snare.time_s.tolist() == [0.5, 1.5]
    assert snare.velocity.tolist() == [5, 7]
    assert len(Onsets.empty().of_lane(0)) == 0


@pytest.mark.parametrize(
    ("time_s", "lane", "velocity", "message"),
    [
        ([1.0, 0.5], [0, 0], [1, 1], "in order"),
        ([-0.1], [0], [1], "before the recording starts"),
        ([np.nan], [0], [1], "NaN"),
        ([1.0], [8], [1], r"lane should lie in 0\.\.7"),
        ([1.0], [-1], [1], r"lane should lie in 0\.\.7"),
        ([1.0], [0], [128], r"velocity should lie in 0\.\.127"),
        ([1.0], [0.0], [1], "lane should be integers"),
        ([1.0, 2.0], [0], [1], "2 times, 1 lanes and 1 velocities"),
        ([[1.0]], [0], [1], "time_s should be 1-D"),
    ],
)
def test_onsets_refuse(time_s: list[float], lane: list[int], velocity: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Onsets(np.array(time_s), np.array(lane), np.array(velocity))


@pytest.mark.parametrize(
    ("start_s", "end_s", "lane", "message"),
    [
        ([1.0], [0.5], [0], "ends before it starts"),
        ([1.0], [np.inf], [0], "NaN or an infinity"),
        ([1.0], [2.0, 3.0], [0], "1 starts, 2 ends and 1 lanes"),
        ([1.0], [2.0], [8], "lane should lie"),
    ],
)
def test_windows_refuse(start_s: list[float], end_s: list[float], lane: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IgnoreWindows(np.array(start_s), np.array(end_s), np.array(lane))


@given(
    st.lists(st.tuples(TIMES, TIMES, st.integers(0, 2)), max_size=6),
    st.lists(TIMES, max_size=10),
    st.sampled_from([0.0, 0.125]),
)
def test_cover_equals_looking_at_every_window(
    windows: list[tuple[float, float, int]], times: list[float], margin_s: float
) -> None:
    ignore = IgnoreWindows(
        np.array([min(a, b) for a, b, _ in windows]),
        np.array([max(a, b) for a, b, _ in windows]),
        np.array([lane for _, _, lane in windows], dtype=int),
    )
    expected = [
        any(lane == 1 and min(a, b) - margin_s <= time <= max(a, b) + margin_s for a, b, lane in windows)
        for time in times
    ]
    assert ignore.cover(times, lane=1, margin_s=margin_s).tolist() == expected
