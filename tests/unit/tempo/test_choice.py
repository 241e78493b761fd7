"""The choices of `--tempo`: which bars they give, and what they tell."""

from pathlib import Path

import numpy as np
import pytest
from groove_builder import HALF_TIME, ROCK, SIX_EIGHT, WALTZ, drifting, groove, steady

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi_writing import write_midi
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.tempo.choice import read_choice
from drum_crnn.tempo.estimation import estimate_tempo_map


def free_time(n_onsets: int = 200, *, seed: int = 0) -> Onsets:
    """As if somebody hit the drums without a beat, four times a second."""
    rng = np.random.default_rng(seed)
    return Onsets.in_order(
        rng.uniform(0.0, n_onsets / 4, n_onsets), rng.integers(0, 8, n_onsets), rng.integers(20, 127, n_onsets)
    )


def test_auto_gives_the_estimate_and_tells_how_to_choose_the_other_level() -> None:
    onsets, _ = groove(ROCK, 4, steady(132.0))
    tempo_map, told = read_choice("auto")(onsets)
    assert tempo_map == estimate_tempo_map(onsets).tempo_map
    assert told == "132 bpm, 4/4; if the bars are half as long as they should be: --tempo 66"


def test_what_it_tells_to_write_does_what_it_says() -> None:
    onsets, _ = groove(HALF_TIME, 4, steady(140.0))
    tempo_map, told = read_choice("auto")(onsets)
    other_map, other_told = read_choice(told.rpartition(" ")[2])(onsets)
    assert tempo_map is not None
    assert other_map is not None
    ratio = other_map.tempos[-1].bpm / tempo_map.tempos[-1].bpm
    assert ratio == pytest.approx(2.0 if "twice as long" in told else 0.5, rel=0.01)
    assert f"{tempo_map.tempos[-1].bpm:g} bpm" in told
    assert other_told.endswith(f"--tempo {tempo_map.tempos[-1].bpm:g}")  # and back


def test_a_number_follows_the_playing_near_it() -> None:
    onsets, beats_s = groove(ROCK, 4, drifting(110.0, depth=0.05))
    tempo_map, told = read_choice("108")(onsets)
    assert tempo_map is not None
    assert told.startswith("about 1")
    first_bar_s = tempo_map.signatures[1].time_s  # after the pickup
    beats = tempo_map.beats_of(beats_s[4:-4]) - tempo_map.beats_of(first_bar_s)
    assert np.abs(beats - np.rint(beats)).max() < 0.1
    assert all(108 * 0.85 < tempo.bpm < 108 * 1.15 for tempo in tempo_map.tempos[1:])


@pytest.mark.parametrize(
    ("bar", "n_beats", "bpm", "words"),
    [(WALTZ, 3, 110, "110 bpm, 3/4"), (SIX_EIGHT, 2, 70, "70 dotted quarters a minute, 6/8")],
)
def test_other_metres_are_told(bar: dict, n_beats: int, bpm: int, words: str) -> None:
    onsets, _ = groove(bar, n_beats, steady(float(bpm)), n_bars=32)
    assert read_choice(str(bpm))(onsets)[1].startswith(words)


@pytest.mark.parametrize(
    ("onsets", "reason"),
    [
        (Onsets.empty(), "there are too few onsets"),
        (free_time(), "the onsets follow no regular beat"),
        (free_time(40, seed=1), "the onsets follow no regular beat"),
    ],
)
def test_what_has_no_beat_gets_a_constant_tempo_and_a_reason(onsets: Onsets, reason: str) -> None:
    tempo_map, told = read_choice("auto")(onsets)
    assert tempo_map is None
    assert told == f"no tempo found, since {reason}; bars are those of 120 bpm; to set one: --tempo 97"
    tempo_map, told = read_choice("97")(onsets)
    assert tempo_map == TempoMap.constant(97.0)
    assert told == f"97 bpm from the start, not following the playing, since {reason}"


def test_free_time_is_seldom_taken_for_a_beat_and_a_groove_never_for_free_time() -> None:
    assert sum(estimate_tempo_map(free_time(80, seed=seed)).is_trustworthy for seed in range(20)) <= 1
    for n_bars in (2, 4, 16):
        for seed in range(5):
            onsets, _ = groove(ROCK, 4, steady(101.0), n_bars=n_bars, jitter_s=0.012, seed=seed)
            assert estimate_tempo_map(onsets).is_trustworthy


def test_none_knows_no_tempo() -> None:
    assert read_choice("none")(free_time()) == (None, "")


def test_a_midi_file_gives_its_tempos_and_time_signatures(tmp_path: Path) -> None:
    tempo_map = TempoMap((Tempo(0.0, 120.0), Tempo(2.0, 60.0)), (Signature(0.0, 4, 4), Signature(2.0, 3, 4)))
    write_midi(tmp_path / "bars.mid", [], tempo_map=tempo_map)
    assert read_choice(str(tmp_path / "bars.mid"))(free_time()) == (
        tempo_map,
        f"tempo and bars are those of {tmp_path / 'bars.mid'}",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "--tempo fast: write auto, none, beats a minute such as 97, or the path of a MIDI file"),
        ("", "--tempo : write auto"),
        ("19.9", "--tempo 19.9: a tempo should lie between 20 and 400"),
        ("-97", "should lie between"),
        ("nan", "should lie between"),
        ("missing.mid", "missing.mid: there is no such file"),
        ("missing.MIDI", "missing.MIDI: there is no such file"),
        (__file__, "not a readable MIDI file"),
    ],
)
def test_what_is_no_choice_is_refused(text: str, message: str) -> None:
    with pytest.raises(DrumCrnnError) as refused:
        read_choice(text)
    assert message in str(refused.value)
