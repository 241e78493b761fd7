"""The offset of one MIDI from another: by an oracle that tries every offset, and by what kits do to notes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.music.midi import Note
from drum_crnn.preparation.alignment import SMALL_OFFSET_S, _most_frequent, estimate_offset, moved


def played(n: int = 40, *, seed: int = 0) -> list[Note]:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.05, 0.4, n))
    return [Note(float(time_s), int(note), 90) for time_s, note in zip(times, rng.choice([36, 38, 42], n), strict=True)]


@pytest.mark.parametrize("offset_s", [0.0, 0.001, 0.003, -0.003, 0.0099, 0.0101, -0.02, 0.05, 0.7, -0.6, 3.0, 9.9])
def test_an_offset_is_found(offset_s: float) -> None:
    notes = [replace(note, time_s=note.time_s + 1.0) for note in played()]
    found = estimate_offset(notes, moved(notes, offset_s))
    assert found.offset_s == pytest.approx(offset_s, abs=1e-9)
    assert found.share == 1.0


@pytest.mark.parametrize("offset_s", [0.003, 0.03, 2.0])
def test_what_kits_do_to_notes_does_not_matter(offset_s: float) -> None:
    """They rename notes, lose some, double others, and round to their ticks."""
    notes, rng = played(), np.random.default_rng(1)
    own = [replace(note, note=54) if note.note == 42 else note for note in notes if note.note != 38]
    own += [replace(note, note=39) for note in notes if note.note == 36]
    own = sorted(replace(note, time_s=note.time_s + offset_s + rng.uniform(-0.001, 0.001)) for note in own)
    assert estimate_offset(notes, own).offset_s == pytest.approx(offset_s, abs=0.001)


def test_a_beat_that_repeats_is_not_moved_by_a_beat() -> None:
    clicks = [Note(0.5 * i, 42, 90) for i in range(40)]
    assert estimate_offset(clicks, clicks[:-1]).offset_s == 0.0
    assert estimate_offset(clicks, clicks[1:]).offset_s == 0.0
    assert estimate_offset(clicks, moved(clicks, 0.02)).offset_s == pytest.approx(0.02)


def test_few_notes_have_no_large_offset() -> None:
    notes = played(7)
    assert estimate_offset(notes, moved(notes, 0.2)).offset_s == 0.0
    assert estimate_offset(notes, moved(notes, 0.004)).offset_s == pytest.approx(0.004)
    assert estimate_offset(notes, []).offset_s == estimate_offset([], notes).offset_s == 0.0


@pytest.mark.parametrize("seed", range(1, 9))
def test_another_performance_has_no_offset(seed: int) -> None:
    found = estimate_offset(played(), played(seed=seed))
    assert found.offset_s == 0.0
    assert found.share < 0.5


def test_notes_do_not_begin_before_the_start() -> None:
    assert [note.time_s for note in moved([Note(0.1, 36, 90), Note(0.5, 36, 90)], -0.2)] == [0.0, 0.3]


@settings(deadline=None)
@given(st.lists(st.integers(-100, 100).map(lambda n: n / 10_000), min_size=1, max_size=30))
def test_the_fullest_window_is_found(values: list[float]) -> None:
    found_s, count = _most_frequent(np.array(sorted(values)))
    most = max(sum(start - 1e-12 <= value <= start + 0.005 + 1e-12 for value in values) for start in values)
    assert count in (most, most - 1)  # the ends of windows round
    assert min(values) <= found_s <= max(values)
    assert abs(found_s) <= SMALL_OFFSET_S
