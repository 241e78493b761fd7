"""Tablature, read back by a small parser, and bars counted by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcriptions import any_tempo_map, any_transcription, rock_beat, transcription

from drum_crnn.formats.bars import bars_until
from drum_crnn.formats.song import Song
from drum_crnn.formats.tablature import ROWS, tablature_text
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.music.transcription import Transcription

SONG = Song.of(Path("The Band - A Song.wav"))
LANE_OF = {sign: lane for lane, sign in ROWS.items()}


def read_bars(text: str) -> list[dict[str, str]]:
    """The rows of each bar, by lane."""
    bars: list[dict[str, str]] = []
    for system in text.split("\n\n")[1:]:
        heading, _, *rows = system.rstrip("\n").split("\n")
        assert re.match(r"bar \d+, [\d.e+]+ bpm, \d+/\d+$", heading)
        cells = {LANE_OF[row[:2]]: row[3:-1].split("|") for row in rows}
        assert all(row[2] == "|" == row[-1] for row in rows)
        n_bars = len(cells["kick"])
        assert f"bar {len(bars) + 1}," in heading
        assert all(len(row) == n_bars for row in cells.values())
        bars += [{lane: row[index] for lane, row in cells.items()} for index in range(n_bars)]
    assert all(len(set(map(len, bar.values()))) == 1 for bar in bars)
    return bars


def hits(bars: list[dict[str, str]], lengths: list[float]) -> set[tuple[float, str]]:
    """Quarter notes from the start, and lane, of every stroke."""
    found = set()
    start = 0.0
    for bar, length in zip(bars, lengths, strict=True):
        for lane, row in bar.items():
            found |= {(round(start + length * n / len(row), 4), lane) for n, sign in enumerate(row) if sign != "-"}
        start += length
    return found


def test_a_rock_beat_looks_as_drummers_write_it() -> None:
    assert tablature_text(rock_beat(2), song=SONG, tempo_map=TempoMap.constant(120)) == (
        "The Band - A Song\n"
        "x cymbal  X accent   o drum  O accent  g ghost   d two strokes in one step\n"
        "\n"
        "bar 1, 120 bpm, 4/4\n"
        "   1 + 2 + 3 + 4 +  1 + 2 + 3 + 4 +\n"
        "CC|x---------------|----------------|\n"
        "HH|x-x-x-x-x-x-x-x-|x-x-x-x-x-x-x-x-|\n"
        "SD|----o-------o---|----o-------o---|\n"
        "BD|o-------o-------|o-------o-------|\n"
    )


@given(
    st.sets(st.tuples(st.integers(0, 127), st.sampled_from(sorted(ROWS))), min_size=1),
    st.sampled_from([60.0, 97.3, 140.0]),
    st.sampled_from([(4, 4), (3, 4), (6, 8), (7, 8), (5, 4)]),
)
def test_sixteenths_come_back(strokes: set[tuple[int, str]], bpm: float, metre: tuple[int, int]) -> None:
    sixteenth_s = 15 / bpm
    made = transcription([(step * sixteenth_s, lane, 90) for step, lane in strokes])
    bars = read_bars(tablature_text(made, song=SONG, tempo_map=TempoMap.constant(bpm, *metre)))
    wanted = {(step / 4, lane) for step, lane in strokes}
    assert hits(bars, [4 * metre[0] / metre[1]] * len(bars)) == wanted


def test_triplets_get_a_bar_of_triplets_and_the_next_bar_stays_straight() -> None:
    shuffle = [(time_s / 6, "hihat", 90) for time_s in (0, 2, 3, 5, 6, 8, 9, 11)]  # beats and last thirds
    straight = [(2.0 + 0.25 * n, "hihat", 90) for n in range(8)]
    first, second = read_bars(
        tablature_text(transcription(shuffle + straight), song=SONG, tempo_map=TempoMap.constant())
    )
    assert first["hihat"] == "x-xx-xx-xx-x"
    assert second["hihat"] == "x-x-x-x-x-x-x-x-"


def test_played_strokes_near_the_grid_are_on_it_and_one_just_before_the_bar_is_in_it() -> None:
    rng = np.random.default_rng(0)
    played = [(0.5 + 0.25 * n + float(rng.uniform(-0.02, 0.02)), "ride", 90) for n in range(15)]
    made = transcription([*played, (1.98, "kick", 100)])
    bars = read_bars(tablature_text(made, song=SONG, tempo_map=TempoMap.constant()))
    assert "".join(bar["ride"] for bar in bars) == "----" + "x-" * 14 + "x" + "-" * (16 * len(bars) - 33)
    assert bars[1]["kick"] == "o---------------"


def test_symbols() -> None:
    snares = [(0.5 * n, "snare", 100) for n in range(12)]
    hats = [(0.5 * n, "hihat", 80) for n in range(12)]
    made = transcription([*snares, *hats, (0.25, "snare", 30), (0.75, "snare", 127), (1.25, "hihat", 120)])
    [first, *_] = read_bars(tablature_text(made, song=SONG, tempo_map=TempoMap.constant()))
    assert first["snare"] == "o-g-o-O-o---o---"
    assert first["hihat"] == "x---x---x-X-x---"


def test_two_strokes_in_one_step_are_told() -> None:
    made = transcription([(0.5, "snare", 100), (0.531, "snare", 90), (0.56, "snare", 90)])
    [bar] = read_bars(tablature_text(made, song=SONG, tempo_map=TempoMap.constant(40)))
    assert "d" in bar["snare"]


def test_lines_fit_and_a_new_signature_begins_a_line() -> None:
    tempo_map = TempoMap((Tempo(0.0, 120.0),), (Signature(0.0, 4, 4), Signature(4.0, 3, 4)))
    text = tablature_text(rock_beat(8), song=SONG, tempo_map=tempo_map)
    assert max(map(len, text.splitlines())) <= 80
    assert "bar 3, 120 bpm, 3/4" in text
    assert [len(bar["kick"]) for bar in read_bars(text)][:4] == [16, 16, 12, 12]


def test_without_a_tempo_map_it_says_so() -> None:
    assert "The tempo is not known" in tablature_text(rock_beat(1), song=SONG)
    assert read_bars(tablature_text(transcription([]), song=SONG)) == [
        dict.fromkeys(("hihat", "snare", "kick"), "-" * 16)
    ]


@given(any_transcription(), any_tempo_map())
def test_anything_can_be_written_and_no_lane_is_lost(made: Transcription, tempo_map: TempoMap) -> None:
    bars = read_bars(tablature_text(made, song=SONG, tempo_map=tempo_map))
    written = {lane for bar in bars for lane, row in bar.items() if set(row) != {"-"}}
    assert written == {lane for lane, count in made.counts().items() if count}


@pytest.mark.parametrize(
    ("signatures", "end_s", "expected"),
    [
        ([(0.0, 4, 4)], 3.9, [(0.0, 4.0), (4.0, 4.0)]),
        ([(0.0, 6, 8)], 1.6, [(0.0, 3.0), (3.0, 3.0)]),
        ([(0.0, 4, 4), (3.0, 3, 4)], 3.2, [(0.0, 4.0), (4.0, 2.0), (6.0, 3.0)]),  # one bar is cut short
        ([(0.5, 4, 4)], 1.0, [(0.0, 1.0), (1.0, 4.0)]),  # an upbeat of a quarter
        ([(0.0, 4, 4)], 0.0, [(0.0, 4.0)]),
    ],
)
def test_bars_by_hand(
    signatures: list[tuple[float, int, int]], end_s: float, expected: list[tuple[float, float]]
) -> None:
    tempo_map = TempoMap((Tempo(0.0, 120.0),), tuple(Signature(*one) for one in signatures))
    assert [(bar.start, bar.length) for bar in bars_until(tempo_map, end_s)] == expected
