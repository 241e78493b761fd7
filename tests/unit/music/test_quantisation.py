"""Eight bits hold every level that a frame can have, to within half a step."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.music.quantisation import STEP_DB, decibels, rounded, steps


@given(level_db=st.floats(-120.0, 6.0), floor_db=st.sampled_from([-120.0, -90.0, -60.5]))
def test_rounding_changes_by_half_a_step_at_most(level_db: float, floor_db: float) -> None:
    frames = np.array([[max(level_db, floor_db)]], np.float32)
    assert abs(rounded(frames, floor_db=floor_db) - frames).max() <= STEP_DB / 2 + 1e-5


def test_steps_and_decibels_are_inverse() -> None:
    every = np.arange(256, dtype=np.uint8)
    levels = decibels(every.astype(np.float32), floor_db=-90.0)
    np.testing.assert_array_equal(steps(levels, floor_db=-90.0), every)
    np.testing.assert_array_equal(levels.astype(np.float16), levels)  # no rounding in half floats either


def test_beyond_the_last_step_is_the_last() -> None:
    np.testing.assert_array_equal(steps(np.array([-200.0, -90.0, 1000.0]), floor_db=-90.0), [0, 0, 255])
