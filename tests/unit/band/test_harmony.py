"""Chords, scales, and progressions that tests keep for themselves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.band.harmony import HEARD, HELD_OUT, Chord, Harmony, draw_harmony

PROGRESSIONS = st.sampled_from([*HEARD, *HELD_OUT])


def test_no_progression_that_is_held_out_is_heard() -> None:
    """Nor a rotation of one, which would sound the same after a bar."""
    heard = {chords[n:] + chords[:n] for _, chords in HEARD for n in range(len(chords))}
    assert not heard & {chords for _, chords in HELD_OUT}


@given(progression=PROGRESSIONS, key=st.integers(0, 11), lowest=st.integers(20, 80), n=st.integers(1, 8))
def test_a_voicing_has_the_lowest_tones_of_the_chord(
    progression: tuple[str, tuple[tuple[int, str], ...]], key: int, lowest: int, n: int
) -> None:
    for chord in Harmony.of(key, progression, 1.0).chords:
        pitches = chord.voicing(lowest, n)
        tones = {(chord.root + tone) % 12 for tone in chord.tones}
        assert pitches == [pitch for pitch in range(lowest, lowest + 200) if pitch % 12 in tones][:n]
        assert lowest <= chord.near(lowest) < lowest + 12
        assert chord.near(lowest) % 12 == chord.root


def test_chords_follow_each_other_at_their_pace() -> None:
    progression = ("minor", ((0, "minor"), (7, "power")))
    first, second = Chord(2, (0, 3, 7)), Chord(9, (0, 7))
    for pace, places in ((0.5, (0.0, 0.5, 1.0)), (1.0, (0.9, 1.0, 2.0)), (2.0, (1.9, 2.0, 4.0))):
        harmony = Harmony.of(2, progression, pace)
        assert [harmony.chord_at(place) for place in places] == [first, second, first]
    assert harmony.scale == (2, 4, 5, 7, 9, 10, 0)


def test_tests_and_training_draw_from_their_own() -> None:
    rng = np.random.default_rng(0)
    for held_out, known in ((False, HEARD), (True, HELD_OUT)):
        lengths = {len(draw_harmony(rng, 0, held_out=held_out).chords) for _ in range(200)}
        assert lengths == {len(chords) for _, chords in known}
