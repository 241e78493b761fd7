"""Charts, read back by a parser written from the format's documentation; and parts that people can play."""

import configparser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from chart_reader import Chart
from hypothesis import given
from hypothesis import strategies as st
from transcriptions import any_tempo_map, any_transcription, rock_beat, transcription

from drum_crnn.formats.chart import chart_text, song_ini_text
from drum_crnn.formats.drum_part import DIFFICULTIES, drum_parts
from drum_crnn.formats.song import Song
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.music.transcription import Transcription

SONG = Song.of(Path("The Band - A Song.wav"))
EASIER = [f"{name}Drums" for name in DIFFICULTIES]


def chart(made: Transcription, tempo_map: TempoMap | None = None) -> Chart:
    return Chart(chart_text(made, song=SONG, audio="song.ogg", tempo_map=tempo_map))


def strokes(made: Transcription, level: str = "Expert") -> list[tuple[float, set[str], set[str]]]:
    """Seconds, gems and cymbals of each tick."""
    return [(round(one.time_s, 3), one.gems, one.cymbals) for one in chart(made).tracks[f"{level}Drums"].values()]


def test_song_and_sync_are_as_documented() -> None:
    tempo_map = TempoMap((Tempo(0.0, 150.325), Tempo(6.0, 60.0)), (Signature(0.0, 7, 16), Signature(7.0, 3, 8)))
    read = chart(rock_beat(2), tempo_map)
    assert read.song["Name"] == '"A Song"'
    assert read.song["Artist"] == '"The Band"'
    assert read.song["MusicStream"] == '"song.ogg"'
    assert [bpm for _, bpm in read.tempos] == [150.325, 60.0]
    assert [signature[1:] for signature in read.signatures] == [(7, 16), (3, 8)]
    assert read.seconds(read.tempos[1][0]) == pytest.approx(6.0, abs=0.001)
    assert read.seconds(read.signatures[1][0]) == pytest.approx(7.0, abs=0.001)
    assert list(read.tracks) == EASIER


@pytest.mark.parametrize(
    ("lane", "gem", "is_cymbal"),
    [
        ("kick", "kick", False),
        ("snare", "red", False),
        ("hihat", "yellow", True),
        ("high_tom", "yellow", False),
        ("mid_tom", "blue", False),
        ("low_tom", "green", False),
        ("crash", "green", True),
        ("ride", "blue", True),
    ],
)
def test_each_lane_has_its_pad(lane: str, gem: str, is_cymbal: bool) -> None:
    assert strokes(transcription([(1.0, lane, 90)])) == [(1.0, {gem}, {gem} if is_cymbal else set())]


def test_a_rock_beat_in_all_difficulties() -> None:
    """By hand: what a charter would leave of one bar of eighths at 120 bpm."""
    read = chart(rock_beat(2), TempoMap.constant(120))
    second_bar = {
        level: [
            (round(one.time_s - 2.0, 3), "+".join(sorted(one.gems)))
            for one in read.tracks[f"{level}Drums"].values()
            if one.time_s > 1.99
        ]
        for level in DIFFICULTIES
    }
    hats = {0.25: "yellow", 0.75: "yellow", 1.25: "yellow", 1.75: "yellow"}
    beats = {0.0: "kick+yellow", 0.5: "red+yellow", 1.0: "kick+yellow", 1.5: "red+yellow"}
    assert second_bar["Expert"] == second_bar["Hard"] == second_bar["Medium"] == sorted((hats | beats).items())
    assert second_bar["Easy"] == [(0.0, "kick+yellow"), (0.5, "red"), (1.0, "kick+yellow"), (1.5, "red")]


@pytest.mark.parametrize("tempo_map", [None, TempoMap.constant(150)])
def test_thinning_treats_equal_bars_alike(tempo_map: TempoMap | None) -> None:
    made = rock_beat(12, bpm=150)
    for level in DIFFICULTIES:
        bars = [[] for _ in range(12)]
        for chord in drum_parts(made, tempo_map=tempo_map)[level]:
            bar = int((chord.time_s + 0.001) // 1.6)
            bars[bar].append(
                (round(chord.time_s - 1.6 * bar, 3), chord.kick is not None, [g.lane for g in chord.hands])
            )
        assert all(bar == bars[1] for bar in bars[2:]), level


def test_strokes_of_one_moment_are_one_chord() -> None:
    made = transcription([(1.0, "hihat", 80), (1.01, "snare", 100), (1.02, "kick", 90), (1.05, "hihat", 80)])
    [first, second] = strokes(made)
    assert (first[1], first[2]) == ({"kick", "red", "yellow"}, {"yellow"})
    assert first[0] == pytest.approx(1.01, abs=0.001)
    assert second == (1.05, {"yellow"}, {"yellow"})


@pytest.mark.parametrize(
    ("drum", "cymbal", "gems", "cymbals"),
    [
        ("high_tom", "hihat", {"yellow", "blue"}, {"blue"}),
        ("mid_tom", "ride", {"blue", "green"}, {"green"}),
        ("low_tom", "crash", {"green", "blue"}, {"blue"}),
    ],
)
def test_a_cymbal_moves_away_from_a_drum_of_its_colour(
    drum: str, cymbal: str, gems: set[str], cymbals: set[str]
) -> None:
    assert strokes(transcription([(1.0, drum, 90), (1.0, cymbal, 90)])) == [(1.0, gems, cymbals)]


def test_fast_runs_of_kicks_alternate_with_optional_ones() -> None:
    run = [(1.0 + 0.1 * n, "kick", 100) for n in range(5)]
    slow = [(3.0 + 0.25 * n, "kick", 100) for n in range(4)]
    pairs = [(5.0, "kick", 100), (5.15, "kick", 100), (6.0, "kick", 100), (6.08, "kick", 100)]
    gems = ["".join(one) for _, one, _ in strokes(transcription([*run, *slow, *pairs]))]
    double = ["kick", "optional kick"]
    assert gems == [*double, *double, "kick", *["kick"] * 4, "kick", "kick", *double]
    assert all("optional kick" not in one for _, one, _ in strokes(transcription(run), "Hard"))


def test_ghosts_and_accents_come_from_velocities() -> None:
    loud = [(2.0 * n, "snare", 100) for n in range(8)]
    made = transcription([*loud, (1.0, "snare", 40), (3.0, "snare", 126), (5.0, "kick", 20)])
    read = chart(made).tracks
    ghosts = [one.time_s for one in read["ExpertDrums"].values() if one.ghosts]
    accents = [one.time_s for one in read["ExpertDrums"].values() if one.accents]
    assert (ghosts, accents) == ([pytest.approx(1.0, abs=0.001)], [pytest.approx(3.0, abs=0.001)])
    assert not any(one.ghosts or one.accents for level in EASIER[1:] for one in read[level].values())
    assert min(abs(one.time_s - 1.0) for one in read["HardDrums"].values()) > 0.5  # the ghost is gone


@given(any_transcription(), st.none() | any_tempo_map())
def test_any_part_can_be_played_and_each_difficulty_is_part_of_the_harder_one(
    made: Transcription, tempo_map: TempoMap | None
) -> None:
    tracks = chart(made, tempo_map).tracks
    for strokes_of in tracks.values():
        for one in strokes_of.values():
            assert len(one.gems - {"kick", "optional kick"}) <= 2
            assert not {"kick", "optional kick"} <= one.gems
    for harder, easier in pairwise(EASIER):
        for tick, one in tracks[easier].items():
            assert one.gems <= tracks[harder][tick].gems
            assert one.cymbals <= tracks[harder][tick].cymbals
    for level, hands_s, kicks_s in (("Hard", 0.12, 0.19), ("Medium", 0.23, 0.38), ("Easy", 0.42, 0.8)):
        chords = tracks[f"{level}Drums"].values()
        for gap_s, of in ((hands_s, {"red", "yellow", "blue", "green"}), (kicks_s, {"kick"})):
            times = [one.time_s for one in chords if one.gems & of]
            assert np.diff(times).min(initial=9.0) >= gap_s - 0.0021


@given(any_transcription(), any_tempo_map())
def test_onsets_far_from_others_keep_their_time_and_no_moment_is_lost(made: Transcription, tempo_map: TempoMap) -> None:
    times = np.array([one.time_s for one in chart(made, tempo_map).tracks["ExpertDrums"].values()])
    for time_s in made.time_s:
        alone = np.sum(np.abs(made.time_s - time_s) <= 0.05) == 1
        assert np.abs(times - time_s).min() <= (0.0006 if alone else 0.026)


def test_names_with_quotes_and_line_breaks_stay_one_value() -> None:
    song = Song.of(Path('Some "Band"\n- x - [Song]\r\n}.wav'))
    read = Chart(chart_text(rock_beat(1), song=song, audio="song.ogg"))
    assert read.song["Name"] == '"x - [Song] }"' or read.song["Artist"] == "\"Some 'Band'\""


@pytest.mark.parametrize("title", ["A Song", "50% = half", "# 1; hits", "caf\udce9", "ドラム"])
def test_song_ini_is_read_by_configparser(title: str) -> None:
    ini = configparser.RawConfigParser(strict=True)
    ini.read_string(song_ini_text(rock_beat(4), song=Song.of(Path(f"The Band - {title}.wav"))))
    values = ini["song"]
    assert values["name"] == title.replace("\udce9", "\\xe9")
    assert (values["artist"], values["pro_drums"]) == ("The Band", "True")
    assert int(values["song_length"]) == round(1000 * rock_beat(4).duration_s)
    assert 0 <= int(values["diff_drums"]) <= 6


def test_nothing_transcribed_is_a_chart_without_notes() -> None:
    empty = transcription([])
    assert all(not track for track in chart(empty).tracks.values())
    assert "diff_drums = 0" in song_ini_text(empty, song=SONG)


def test_every_lane_is_struck_somewhere_in_expert() -> None:
    made = transcription([(0.5 * lane, name, 90) for lane, name in enumerate(LANES)])
    assert len(strokes(made)) == len(LANES)
