"""MIDI files, as mido and pretty_midi read them."""

import io

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given
from transcriptions import any_tempo_map, any_transcription, rock_beat, transcription

from drum_crnn.formats.midi_file import midi_bytes
from drum_crnn.formats.note_maps import GENERAL_MIDI, NOTE_MAPS, NoteMap
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.music.transcription import Transcription


def read(content: bytes) -> mido.MidiFile:
    return mido.MidiFile(file=io.BytesIO(content))


def struck(content: bytes) -> list[tuple[float, int, int]]:
    """Seconds, note and velocity of each note-on, by mido's own clock."""
    now, found = 0.0, []
    for message in read(content):
        now += message.time
        if message.type == "note_on" and message.velocity:
            assert message.channel == 9
            found.append((now, message.note, message.velocity))
    return sorted(found)


def expected(made: Transcription, note_map: NoteMap = GENERAL_MIDI) -> list[tuple[float, int, int]]:
    columns = (made.time_s.tolist(), made.lane.tolist(), made.velocity.tolist())
    return sorted((time_s, note_map.notes[lane], velocity) for time_s, lane, velocity in zip(*columns, strict=True))  # type: ignore[misc]


def check_same(found: list[tuple[float, int, int]], wanted: list[tuple[float, int, int]]) -> None:
    """The same notes within a millisecond."""
    by_note = [sorted(rows, key=lambda row: (row[1], row[0])) for rows in (found, wanted)]
    assert [row[1:] for row in by_note[0]] == [row[1:] for row in by_note[1]]
    times = [[row[0] for row in rows] for rows in by_note]
    np.testing.assert_allclose(times[0], times[1], atol=0.0006)


@given(any_transcription(), any_tempo_map())
def test_every_onset_keeps_its_time_within_a_millisecond(made: Transcription, tempo_map: TempoMap) -> None:
    found, wanted = struck(midi_bytes(made, tempo_map=tempo_map)), expected(made)
    if len(found) == len(wanted):
        check_same(found, wanted)
    else:  # two strokes of one lane within a tick are one note
        closest = min(np.diff(made.time_s[made.lane == lane]).min(initial=1.0) for lane in range(8))
        assert closest < 0.0021


@pytest.mark.parametrize("bpm", [4.0, 7.3, 60.0, 97.0, 120.0, 333.3, 1000.0])
def test_times_do_not_depend_on_the_tempo(bpm: float) -> None:
    made = rock_beat(40, bpm=123.4, start_s=0.137)
    check_same(struck(midi_bytes(made, tempo_map=TempoMap.constant(bpm))), expected(made))


def test_three_hours_do_not_drift() -> None:
    """97 bpm is no whole number of microseconds a beat."""
    made = transcription([(time_s, "kick", 100) for time_s in (0.0, 3_600.0, 10_799.99)])
    check_same(struck(midi_bytes(made, tempo_map=TempoMap.constant(97.0))), expected(made))


def test_pretty_midi_reads_notes_tempos_and_downbeats() -> None:
    """An independent reader of another author than mido's."""
    tempo_map = TempoMap((Tempo(0.0, 120.0), Tempo(4.0, 60.0)), (Signature(0.0, 4, 4), Signature(4.0, 3, 4)))
    made = rock_beat(4)
    read_back = pretty_midi.PrettyMIDI(io.BytesIO(midi_bytes(made, tempo_map=tempo_map)))
    [drums] = read_back.instruments
    assert drums.is_drum
    check_same([(note.start, note.pitch, note.velocity) for note in drums.notes], expected(made))
    times, tempos = read_back.get_tempo_changes()
    np.testing.assert_allclose(times, [0.0, 4.0], atol=1e-6)
    np.testing.assert_allclose(tempos, [120.0, 60.0], atol=1e-6)
    np.testing.assert_allclose(read_back.get_downbeats()[:4], [0.0, 2.0, 4.0, 7.0], atol=1e-6)
    assert [(s.numerator, s.denominator) for s in read_back.time_signature_changes] == [(4, 4), (3, 4)]


def test_without_a_tempo_map_there_is_120_in_four() -> None:
    track = read(midi_bytes(rock_beat(1))).tracks[0]
    assert [message.tempo for message in track if message.type == "set_tempo"] == [500_000]
    assert [(m.numerator, m.denominator) for m in track if m.type == "time_signature"] == [(4, 4)]


@pytest.mark.parametrize("name", NOTE_MAPS)
def test_each_note_map_is_the_one_written(name: str) -> None:
    made = transcription([(0.1 * lane, LANES[lane], 10 + lane) for lane in range(8)])
    check_same(struck(midi_bytes(made, note_map=NOTE_MAPS[name])), expected(made, NOTE_MAPS[name]))


def test_lanes_without_a_note_are_left_out_and_lanes_that_share_one_do_not_cut_each_other() -> None:
    note_map = NoteMap("mine", (36, 38, 42, 45, 45, 45, None, 51))
    made = transcription([(0.5, "high_tom", 50), (0.5, "low_tom", 90), (0.52, "mid_tom", 70), (0.7, "crash", 80)])
    content = midi_bytes(made, note_map=note_map)
    check_same(struck(content), [(0.5, 45, 90), (0.52, 45, 70)])
    kinds = [(message.type, message.note) for message in read(content).tracks[0] if message.type.startswith("note")]
    assert kinds == [("note_on", 45), ("note_off", 45)] * 2


def test_every_note_ends() -> None:
    made = transcription([(0.5, "snare", 90), (0.52, "snare", 80), (9.0, "kick", 1)])
    track = read(midi_bytes(made, tempo_map=TempoMap.constant(30.0))).tracks[0]
    sounding: set[int] = set()
    for message in track:
        if message.type == "note_on":
            assert message.note not in sounding
            sounding.add(message.note)
        elif message.type == "note_off":
            sounding.remove(message.note)
    assert not sounding


def test_no_onsets_make_a_readable_file() -> None:
    assert struck(midi_bytes(transcription([]))) == []


@pytest.mark.parametrize("bpm", [3.5, 1e9])
def test_tempo_that_midi_cannot_hold_is_refused(bpm: float) -> None:
    with pytest.raises(ValueError, match=r"MIDI allows 3\.6 to 60,000,000"):
        midi_bytes(rock_beat(1), tempo_map=TempoMap.constant(bpm))
