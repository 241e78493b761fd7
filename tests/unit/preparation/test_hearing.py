"""Hearing whether notes belong to audio: with clicks whose places are known, and noise in which there are none."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from drum_crnn.music.midi import Note
from drum_crnn.preparation.hearing import FEATURES, MIN_NOTES, Ear, match_notes

RATE = FEATURES.sample_rate
HIT_S = 0.15
FREQUENCY = {36: 60.0, 38: 250.0, 42: 9000.0, 49: 5000.0}


def played(*, seed: int = 0, n: int = 40) -> list[Note]:
    """Notes at uneven times."""
    rng = np.random.default_rng(seed)
    times = 0.3 + np.cumsum(rng.uniform(0.08, 0.4, n))
    return [
        Note(float(time_s), int(note), int(velocity))
        for time_s, note, velocity in zip(times, rng.choice([36, 38, 42], n), rng.integers(50, 127, n), strict=True)
    ]


def sound(notes: list[Note], *, later_s: float = 0.0, noise: float = 0.0) -> NDArray[np.float32]:
    """Each note as a decaying tone of its own, sample-exact."""
    audio = np.zeros(round((notes[-1].time_s + later_s + 1.0) * RATE))
    t = np.arange(round(HIT_S * RATE)) / RATE
    for note in notes:
        start = round((note.time_s + later_s) * RATE)
        hit = note.velocity / 127 * np.cos(2 * np.pi * FREQUENCY[note.note] * t) * np.exp(-t / 0.03)
        skipped = max(0, -start)
        audio[max(0, start) : start + len(hit)] += hit[skipped:]
    audio += noise * np.random.default_rng(9).standard_normal(len(audio))
    return (0.3 * audio).astype(np.float32)


def strength_of(audio: NDArray[np.float32], *, block: int = 100_000) -> NDArray[np.float64]:
    return Ear.hear(audio[i : i + block] for i in range(0, len(audio), block)).strength()


@pytest.mark.parametrize("later_s", [0.0, 0.003, 0.025, -0.025, 0.2, -0.25, 1.234, 3.0, 8.0])
def test_an_offset_is_found_to_a_few_milliseconds(later_s: float) -> None:
    notes = played()
    match = match_notes(strength_of(sound(notes, later_s=later_s)), notes)
    assert match is not None
    assert match.is_unique
    assert match.offset_s == pytest.approx(later_s, abs=0.005)
    assert match.agreement > 0.5
    assert (match.unmoved == pytest.approx(match.agreement, rel=0.1)) == (abs(later_s) < 0.01)


def test_loudness_and_noise_matter_little() -> None:
    notes = played()
    plain = strength_of(sound(notes))
    np.testing.assert_allclose(strength_of(0.1 * sound(notes)), plain, atol=1e-3)
    noisy = match_notes(strength_of(sound(notes, noise=0.01)), notes)
    assert noisy is not None
    assert noisy.is_unique
    assert abs(noisy.offset_s) < 0.005


def test_blocks_do_not_matter() -> None:
    audio = sound(played())
    np.testing.assert_array_equal(strength_of(audio, block=1000), strength_of(audio, block=10**9))


@pytest.mark.parametrize("seed", range(1, 6))
def test_notes_of_another_performance_fit_nowhere(seed: int) -> None:
    own = match_notes(strength_of(sound(played())), played())
    other = match_notes(strength_of(sound(played())), played(seed=seed))
    assert own is not None
    assert other is not None
    assert other.agreement < 0.3 * own.agreement
    assert not other.is_unique


def test_the_kind_of_drum_matters() -> None:
    """Straight eighths would fit as well at any other, were all of them the same drum."""
    notes = [Note(0.5 + 0.25 * i, (36, 42, 38, 42, 36, 36, 38, 42)[i % 8], 100) for i in range(64)]
    match = match_notes(strength_of(sound(notes, later_s=0.5)), notes)
    assert match is not None
    assert match.offset_s == pytest.approx(0.5, abs=0.005)
    assert match.unmoved < 0.85 * match.agreement


def test_notes_of_no_lane_are_heard_as_well() -> None:
    """Some kits send their hi-hats to the tambourine."""
    notes = played()
    strength = strength_of(sound(notes))
    renamed = [replace(note, note=54) if note.note == 42 else note for note in notes]
    one, other = match_notes(strength, notes), match_notes(strength, renamed)
    assert one is not None
    assert other is not None
    assert other.agreement == pytest.approx(one.agreement)


def test_nothing_is_said_about_few_notes_nothing_and_silence() -> None:
    notes = played()
    strength = strength_of(sound(notes))
    assert match_notes(strength, notes[: MIN_NOTES - 1]) is None
    assert match_notes(strength, notes[:MIN_NOTES]) is not None
    assert match_notes(strength, []) is None
    assert match_notes(np.zeros((0, 6)), notes) is None
    assert match_notes(strength_of(np.zeros(RATE, np.float32)), notes) is None
    assert match_notes(strength[:100], notes) is None  # at no offset are most notes inside


def test_notes_after_half_an_hour_are_not_missed() -> None:
    notes = played()
    strength = strength_of(sound(notes))
    later = [replace(note, time_s=note.time_s + 2000) for note in notes]
    assert match_notes(strength, [*notes, *later]) == match_notes(strength, notes)


def test_the_ear_stops_listening_after_half_an_hour() -> None:
    ear = Ear()
    frames = np.zeros((60_000, FEATURES.n_mels), np.float32)
    for _ in range(5):
        ear.listen(frames)
    assert len(ear.levels_db()) == 180_000
