"""Sections and players: notes that fit the drums and the chords."""

import numpy as np
import pytest
from beats import beat

from drum_crnn.band import players
from drum_crnn.band.arrangement import Section, arrange
from drum_crnn.band.grid import Grid
from drum_crnn.band.harmony import HEARD, Harmony
from drum_crnn.band.players import PLAYERS, play

DRUMS = beat(110.0, 0.3, n_bars=16)
GRID = Grid.of(DRUMS, bpm=110.0, n_beats=4, end_s=DRUMS[-1].time_s + 0.5)
SEEDS = range(25)


def song(seed: int, *, alone: float = 0.0) -> list[Section]:
    return arrange(np.random.default_rng(seed), GRID, sorted(PLAYERS), alone=alone, held_out=False)


def everyone() -> list[Section]:
    harmony = Harmony.of(4, HEARD[0], 1.0)
    return [Section(0, GRID.n_bars, harmony, frozenset(PLAYERS), 1.0)]


@pytest.mark.parametrize("seed", SEEDS)
def test_sections_follow_each_other_without_a_gap(seed: int) -> None:
    sections = song(seed)
    bar = 0
    for section in sections:
        assert section.first_bar == bar
        bar += section.n_bars
    assert bar >= GRID.n_bars > sections[-1].first_bar
    assert len({section.harmony.chords[0].root for section in sections}) <= 3


def test_drums_can_be_alone() -> None:
    assert not any(section.players for section in song(0, alone=1.0))
    assert not play(np.random.default_rng(0), "bass", GRID, song(0, alone=1.0), DRUMS).tones


@pytest.mark.parametrize("player", PLAYERS)
def test_tones_are_playable_in_key_and_in_time(player: str) -> None:
    n_tones = 0
    for seed in SEEDS:
        part = play(np.random.default_rng(seed), player, GRID, everyone(), DRUMS)
        assert part == play(np.random.default_rng(seed), player, GRID, everyone(), DRUMS)
        assert part.program in PLAYERS[player].programs
        assert list(part.tones) == sorted(part.tones)
        for tone in part.tones:
            assert 0.0 <= tone.time_s < GRID.end_s
            assert tone.duration_s >= 0.05
            assert 20 <= tone.pitch <= 108
            assert 1 <= tone.velocity <= 127
        in_key = [tone.pitch % 12 in everyone()[0].harmony.scale for tone in part.tones]
        assert np.mean(in_key) >= 0.75  # a walking bass has notes between
        n_tones += len(part.tones)
    assert n_tones > 20 * len(SEEDS)


def test_a_bass_can_follow_the_kick(monkeypatch: pytest.MonkeyPatch) -> None:
    one = players._Player((33,), (30, 30), (players._bass_with_kick,))
    monkeypatch.setitem(PLAYERS, "bass", one)
    kicks = [note.time_s for note in DRUMS if note.note == 36]
    tones = [
        tone for seed in SEEDS for tone in play(np.random.default_rng(seed), "bass", GRID, everyone(), DRUMS).tones
    ]
    near = [min(abs(tone.time_s - kick) for tone in tones) < 0.05 for kick in kicks]
    assert all(near)
    assert len(tones) > 0.6 * len(SEEDS) * len(kicks)


def test_a_player_is_silent_where_others_play() -> None:
    harmony = Harmony.of(0, HEARD[0], 1.0)
    sections = [
        Section(0, 4, harmony, frozenset({"keys"}), 0.5),
        Section(4, GRID.n_bars - 4, harmony, frozenset({"bass"}), 0.5),
    ]
    change_s = GRID.time_s(4, 0)
    for seed in SEEDS:
        keys, bass = (play(np.random.default_rng(seed), player, GRID, sections, DRUMS) for player in ("keys", "bass"))
        assert all(tone.time_s < change_s + 0.2 for tone in keys.tones)
        assert all(tone.time_s > change_s - 0.1 for tone in bass.tones)
