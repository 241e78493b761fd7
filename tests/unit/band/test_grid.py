"""Beats and bars are found in the strokes of a performance."""

import pytest
from beats import beat
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.band.grid import Grid, beats_per_bar, strokes
from drum_crnn.music.lanes import LANES
from drum_crnn.music.midi import Note


@given(bpm=st.floats(60.0, 200.0), start_s=st.floats(0.0, 3.0), n_beats=st.sampled_from([3, 4]))
def test_bars_begin_where_the_drummer_has_them(bpm: float, start_s: float, n_beats: int) -> None:
    notes = beat(bpm, start_s, n_beats=n_beats)
    grid = Grid.of(notes, bpm=bpm, n_beats=n_beats, end_s=notes[-1].time_s + 1.0)
    bar_s = n_beats * 60.0 / bpm
    assert -bar_s - 1e-6 <= grid.origin_s <= 1e-6
    bars = (start_s - grid.origin_s) / bar_s
    assert abs(bars - round(bars)) * bar_s < 0.01
    assert grid.time_s(grid.n_bars, 0) >= grid.end_s
    assert grid.time_s(grid.n_bars - 1, 0) < grid.end_s


def test_without_strokes_it_begins_at_the_beginning() -> None:
    grid = Grid.of([], bpm=120.0, n_beats=4, end_s=5.0)
    assert (grid.origin_s, grid.n_bars, grid.n_steps) == (0.0, 3, 16)
    assert grid.time_s(1, 4) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("written", "n_beats"),
    [("4-4", 4), ("3/4", 3), ("6-8", 3), ("2-4", 2), ("1-4", 2), ("5-4", 5), ("", 4), ("4-0", 4)],
)
def test_beats_of_a_bar(written: str, n_beats: int) -> None:
    assert beats_per_bar(written) == n_beats


def test_strokes_of_a_lane() -> None:
    notes = [Note(0.0, 35, 90), Note(0.1, 38, 90), Note(0.2, 36, 90), Note(0.3, 54, 90)]
    assert [note.note for note in strokes(notes, LANES.index("kick"))] == [35, 36]
