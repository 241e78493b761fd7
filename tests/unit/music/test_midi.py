"""MIDI files: what is written comes back, and files built byte by byte are read as the format says.

Three modules have one test, since what one writes the others read.
"""

import contextlib
import itertools
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import mido
import pretty_midi
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.midi_tempo import read_tempo_map
from drum_crnn.music.midi_writing import SAMPLE_EXACT_TICKS, write_midi
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap

END = (0, b"\xff\x2f\x00")


def variable(value: int) -> bytes:
    """A variable-length quantity: seven bits a byte, the highest first, all but the last marked."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | (value & 0x7F))
    return bytes(reversed(groups))


def track(*events: tuple[int, bytes]) -> bytes:
    """A chunk of (delta, bytes of the event)."""
    content = b"".join(variable(delta) + event for delta, event in events)
    return b"MTrk" + struct.pack(">I", len(content)) + content


def midi(*tracks: bytes, kind: int | None = None, division: int = 480) -> bytes:
    """A file; of type 0 or 1 by its number of tracks, if `kind` does not say."""
    kind = (0 if len(tracks) == 1 else 1) if kind is None else kind
    return b"MThd" + struct.pack(">IHHH", 6, kind, len(tracks), division) + b"".join(tracks)


def on(note: int, velocity: int = 100, *, channel: int = 9) -> bytes:
    return bytes([0x90 | channel, note, velocity])


def off(note: int, *, channel: int = 9) -> bytes:
    return bytes([0x80 | channel, note, 64])


def tempo(microseconds: int) -> bytes:
    return b"\xff\x51\x03" + microseconds.to_bytes(3, "big")


def read(tmp_path: Path, content: bytes) -> list[Note]:
    (tmp_path / "file.mid").write_bytes(content)
    return read_midi(tmp_path / "file.mid")


# ----------------------------------------------------------------------------------------------------- reading


def test_a_plain_file_and_the_default_tempo(tmp_path: Path) -> None:
    """Without a tempo event a beat is half a second; the first note is at tick 0."""
    content = midi(track((0, on(36)), (0, on(42, 80)), (240, off(36)), (240, on(38, 1)), (960, on(42, 127)), END))
    assert read(tmp_path, content) == [Note(0.0, 36, 100), Note(0.0, 42, 80), Note(0.5, 38, 1), Note(1.5, 42, 127)]


def test_running_status_and_note_ons_of_velocity_0(tmp_path: Path) -> None:
    """Events without a status byte repeat the last one, also after a meta event; velocity 0 is an off."""
    text = b"\xff\x01\x02hi"
    content = midi(
        track((0, on(36)), (480, bytes([36, 0])), (0, bytes([38, 90])), (0, text), (480, bytes([42, 70])), END)
    )
    assert read(tmp_path, content) == [Note(0.0, 36, 100), Note(0.5, 38, 90), Note(1.0, 42, 70)]


def test_a_track_without_its_end(tmp_path: Path) -> None:
    assert read(tmp_path, midi(track((0, on(36)), (480, on(38))))) == [Note(0.0, 36, 100), Note(0.5, 38, 100)]
    assert read(tmp_path, midi(track())) == []
    assert read(tmp_path, midi()) == []


def test_tempo_changes_of_one_track_hold_for_all(tmp_path: Path) -> None:
    """As in type 1: the first track is a map of tempi, the second plays."""
    content = midi(
        track((0, tempo(1_000_000)), (480, tempo(250_000)), (960, tempo(500_000)), END),
        track((0, on(36)), (480, on(38)), (480, on(38)), (480, on(38)), (480, on(42)), END),
    )
    assert read(tmp_path, content) == [
        Note(0.0, 36, 100),
        Note(1.0, 38, 100),  # a beat of a second; a change on the tick of a note does not move it
        Note(1.25, 38, 100),
        Note(1.5, 38, 100),
        Note(2.0, 42, 100),
    ]


def test_the_last_of_several_tempi_at_one_tick_holds(tmp_path: Path) -> None:
    content = midi(track((0, tempo(1_000_000)), (0, tempo(250_000)), END), track((480, on(36)), END))
    assert read(tmp_path, content) == [Note(0.25, 36, 100)]


def test_a_tempo_before_the_end_of_a_long_track_is_found(tmp_path: Path) -> None:
    """The order of tracks is not that of time: a later track may change the tempo of an earlier one."""
    content = midi(track((960, on(36)), END), track((480, tempo(1_000_000)), END))
    assert read(tmp_path, content) == [Note(1.5, 36, 100)]


def test_tracks_of_type_2_are_independent(tmp_path: Path) -> None:
    content = midi(track((0, tempo(1_000_000)), (480, on(36)), END), track((480, on(38)), (480, on(38)), END), kind=2)
    assert read(tmp_path, content) == [Note(0.5, 38, 100), Note(1.0, 36, 100), Note(1.0, 38, 100)]


def test_channel_10_or_every_channel(tmp_path: Path) -> None:
    drums = track((0, on(38)), (0, on(60, channel=0)), (0, on(61, channel=1)), END)
    assert read(tmp_path, midi(drums)) == [Note(0.0, 38, 100)]
    elsewhere = track((0, on(38, channel=0)), (0, on(36, channel=5)), END)
    assert read(tmp_path, midi(elsewhere)) == [Note(0.0, 36, 100), Note(0.0, 38, 100)]
    silent = track((0, on(38, 0)), (0, on(60, channel=0)), END)  # nothing struck on channel 10
    assert read(tmp_path, midi(silent)) == [Note(0.0, 60, 100)]


def test_other_events_are_passed_over(tmp_path: Path) -> None:
    content = midi(
        track(
            (0, b"\xff\x58\x04\x04\x02\x18\x08"),  # 4/4
            (0, b"\xff\x03\x04\xe4\xf6\xfc\xdf"),  # a name, in no particular encoding
            (0, b"\xf0\x03\x43\x12\xf7"),  # system exclusive
            (0, b"\xc9\x00"),  # program
            (0, b"\xb9\x04\x5a"),  # hi-hat pedal
            (0, b"\xff\x7f\x02\x01\x02"),  # a sequencer's own
            (480, on(46)),
            (0, b"\xe9\x00\x40"),  # pitch bend
            (0, b"\xa9\x2e\x40"),  # aftertouch: a cymbal is choked
            END,
        )
    )
    assert read(tmp_path, content) == [Note(0.5, 46, 100)]


@pytest.mark.parametrize(
    "odd",
    [
        b"\xff\x59\x02\x08\x00",  # a key of eight sharps
        b"\xff\x59\x01\x00",
        b"\xff\x58\x03\x04\x02\x18",  # a time signature that lacks a byte
        b"\xff\x54\x02\x00\x00",  # an SMPTE offset that lacks three
        b"\xff\x20\x02\x00\x00",  # a channel prefix that has one too many
        b"\xff\x58\x00",
    ],
)
def test_only_a_broken_tempo_refuses_a_file(tmp_path: Path, odd: bytes) -> None:
    content = midi(track((0, odd), (480, on(46)), END))
    assert read(tmp_path, content) == [Note(0.5, 46, 100)]
    assert read_tempo_map(tmp_path / "file.mid").tempos == (Tempo(0.0, 120.0),)


def test_ticks_of_smpte_frames(tmp_path: Path) -> None:
    content = midi(track((0, tempo(1_000_000)), (1000, on(36)), (500, on(38)), END), division=0xE728)
    assert read(tmp_path, content) == [Note(1.0, 36, 100), Note(1.5, 38, 100)]
    with pytest.raises(DrumCrnnError, match=r"file\.mid: counts time in SMPTE frames, so it has no tempo"):
        read_tempo_map(tmp_path / "file.mid")


CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 0xFF_FFFF)), max_size=6)


@given(
    changes=st.lists(CHANGES, min_size=1, max_size=3),
    ticks=st.lists(st.integers(0, 20_000), max_size=10),
    division=st.integers(1, 0x7FFF),
)
def test_times_are_the_sum_of_all_ticks_before(
    tmp_path_factory: pytest.TempPathFactory, changes: list[list[tuple[int, int]]], ticks: list[int], division: int
) -> None:
    """An oracle that goes tick by tick, at the tempo of each tick."""

    def in_order(events: Sequence[tuple[int, bytes]]) -> bytes:
        now, deltas = 0, []
        for tick, event in events:
            deltas.append((tick - now, event))
            now = tick
        return track(*deltas, END)

    tracks = [[(tick, tempo(value)) for tick, value in sorted(own, key=lambda change: change[0])] for own in changes]
    notes = in_order([(tick, on(38)) for tick in sorted(ticks)])
    content = midi(*(in_order(own) for own in tracks), notes, division=division)
    tempo_at: dict[int, int] = {}
    for own in changes:
        tempo_at |= dict(sorted(own, key=lambda change: change[0]))
    elapsed, holds, expected = 0, 500_000, []
    for tick in range(max(ticks, default=-1) + 1):
        holds = tempo_at.get(tick, holds)
        expected += [elapsed / division / 1e6] * ticks.count(tick)
        elapsed += holds
    found = read(tmp_path_factory.mktemp("midi"), content)
    assert [note.time_s for note in found] == pytest.approx(expected, rel=1e-12)


# ----------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it ends too early"),
        (b"There is no music in here.\n", "MThd not found"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "MThd not found"),
        (b"MThd\x00\x00\x00\x06\x00", "it ends too early"),
        (midi(track((0, on(36)), END))[:-6], "it ends too early"),
        (midi(track((0, on(36)), END), kind=1)[:20], "it ends too early"),
        (midi(track((0, on(36)), END)).replace(b"MTrk", b"XTrk"), "no MTrk header"),  # and no track behind it
        (midi(track((0, bytes([36, 100])), END)), "running status without last_status"),
        (midi(track((0, b"\xf5\x00"), END)), "undefined status byte"),
        (midi(track((0, b"\xff\x51\x01\x07"), END)), "not a readable MIDI file"),  # a tempo of one byte
        (midi(track((1 << 40, on(36)), END)), "delta time is out of range"),
        (midi(track(END), division=0), "a beat has no ticks"),
        (midi(track(END), division=0xE928), "counts time in frames of an unknown kind"),
    ],
)
def test_what_is_no_valid_midi_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DrumCrnnError, match=rf"^{tmp_path}/file\.mid: .*{message}"):
        read(tmp_path, content)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"nothing\.mid: there is no such file"):
        read_midi(tmp_path / "nothing.mid")
    with pytest.raises(DrumCrnnError, match=rf"{tmp_path}: cannot be read: Is a directory"):
        read_midi(tmp_path)


SOUND = midi(
    track(
        (0, tempo(400_000)),
        (0, b"\xff\x58\x04\x04\x02\x18\x08"),  # 4/4
        (0, b"\xff\x59\x02\x00\x00"),  # C major
        (0, b"\xff\x54\x05\x00\x00\x00\x00\x00"),  # SMPTE offset
        END,
    ),
    track(
        (0, b"\xff\x00\x02\x00\x01"),  # number of the sequence
        (0, b"\xf0\x02\x43\xf7"),
        (10, on(36)),
        (5, off(36)),
        (300, bytes([38, 9])),
        END,
    ),
)


@given(at=st.integers(0, len(SOUND) - 1), value=st.integers(0, 255), cut=st.integers(0, len(SOUND)))
@example(at=0, value=SOUND[0], cut=len(SOUND))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, cut: int
) -> None:
    content = (SOUND[:at] + bytes([value]) + SOUND[at + 1 :])[:cut]
    notes: list[Note] = []
    with contextlib.suppress(DrumCrnnError):
        notes = read(tmp_path_factory.mktemp("midi"), content)
    assert all(0 <= note.note <= 127 and 1 <= note.velocity <= 127 and note.time_s >= 0 for note in notes)


# ----------------------------------------------------------------------------------------------------- writing

NOTES = st.lists(
    st.builds(Note, time_s=st.floats(0.0, 500.0), note=st.integers(0, 127), velocity=st.integers(1, 127)), max_size=30
)


@given(notes=NOTES, bpm=st.floats(3.7, 960.0), ticks_per_beat=st.sampled_from([1, 96, 480, SAMPLE_EXACT_TICKS, 32_767]))
@example(notes=[Note(0.0, 38, 1), Note(0.0, 38, 127), Note(1e-9, 38, 64)], bpm=120.0, ticks_per_beat=480)
def test_what_is_written_comes_back_to_the_nearest_tick(
    tmp_path_factory: pytest.TempPathFactory, notes: list[Note], bpm: float, ticks_per_beat: int
) -> None:
    path = tmp_path_factory.mktemp("midi") / "file.mid"
    write_midi(path, notes, bpm=bpm, ticks_per_beat=ticks_per_beat)
    tick_s = round(60e6 / bpm) / 1e6 / ticks_per_beat
    # Multiplied, as the writer does: at half a tick, a quotient may be rounded to the other side.
    expected = sorted(
        (round(note.time_s * (ticks_per_beat * 1e6 / round(60e6 / bpm))), note.note, note.velocity) for note in notes
    )
    found = read_midi(path)
    assert found == sorted(found)
    assert [(round(note.time_s / tick_s), note.note, note.velocity) for note in found] == expected
    assert all(
        abs(one.time_s - tick * tick_s) < 1e-6 * tick_s + 1e-9
        for one, (tick, _, _) in zip(found, expected, strict=True)
    )


def test_a_tick_can_be_one_sample(tmp_path: Path) -> None:
    notes = [Note(n / 44_100, 38, 100) for n in (0, 1, 440, 44_101, 10_000_019)]
    write_midi(tmp_path / "file.mid", notes, ticks_per_beat=SAMPLE_EXACT_TICKS)
    assert [note.time_s * 44_100 for note in read_midi(tmp_path / "file.mid")] == pytest.approx(
        [0, 1, 440, 44_101, 10_000_019], abs=1e-6
    )


def test_the_bytes_are_those_of_a_small_file(tmp_path: Path) -> None:
    """Written out by hand: type 0, one tempo, on and off on channel 10."""
    write_midi(tmp_path / "file.mid", [Note(0.5, 38, 90), Note(0.0, 36, 100)], ticks_per_beat=100)
    offs = bytes([0x89, 36, 0]), bytes([0x89, 38, 0])
    assert (tmp_path / "file.mid").read_bytes() == midi(
        track(
            (0, tempo(500_000)),
            (0, on(36)),
            (10, offs[0]),
            (90, on(38, 90)),
            (10, offs[1]),
            END,
        ),
        division=100,
    )


def test_a_note_ends_before_the_next_of_its_number(tmp_path: Path) -> None:
    """Otherwise the off of the first would cut the second short in an editor."""
    write_midi(tmp_path / "file.mid", [Note(0.0, 38, 90), Note(0.02, 38, 90)], ticks_per_beat=100)
    assert (tmp_path / "file.mid").read_bytes() == midi(
        track(
            (0, tempo(500_000)),
            (0, on(38, 90)),
            (4, bytes([0x89, 38, 0])),
            (0, on(38, 90)),
            (10, bytes([0x89, 38, 0])),
            END,
        ),
        division=100,
    )


def test_no_notes_make_a_file_without_notes(tmp_path: Path) -> None:
    write_midi(tmp_path / "new" / "file.mid", [])
    assert read_midi(tmp_path / "new" / "file.mid") == []


@pytest.mark.parametrize(
    ("note", "options", "message"),
    [
        (Note(-0.001, 38, 90), {}, "a note at -0.001 s"),
        (Note(math.nan, 38, 90), {}, "a note at nan s"),
        (Note(math.inf, 38, 90), {}, "a note at inf s"),
        (Note(0.0, 128, 90), {}, "note 128 with velocity 90"),
        (Note(0.0, 38, 0), {}, "note 38 with velocity 0"),  # would be read as an off, and be lost
        (Note(0.0, 38, 128), {}, "note 38 with velocity 128"),
        (Note(300_000.0, 38, 90), {}, "a pause of 575999904 ticks is too long"),
        (Note(0.0, 38, 90), {"bpm": 0.0}, "the tempo is 0.0 bpm"),
        (Note(0.0, 38, 90), {"bpm": 3.5}, r"the tempo is 3\.5 bpm; MIDI allows 3\.6 to 60,000,000"),
        (Note(0.0, 38, 90), {"bpm": math.nan}, "the tempo is nan bpm"),
        (Note(0.0, 38, 90), {"ticks_per_beat": 0}, "ticks_per_beat is 0"),
        (Note(0.0, 38, 90), {"ticks_per_beat": 32_768}, "ticks_per_beat is 32768"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_nothing_written(
    tmp_path: Path, note: Note, options: dict[str, float], message: str
) -> None:
    path = tmp_path / "file.mid"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write_midi(path, [Note(0.0, 36, 100), note], **options)
    assert path.read_text() == "old"


# ----------------------------------------------------------------------------------------------------- tempo maps


@st.composite
def tempo_maps(draw: st.DrawFn) -> TempoMap:
    gaps = draw(st.lists(st.floats(0.01, 30.0), max_size=8))
    times = [0.0, *itertools.accumulate(gaps)]
    bpms = draw(st.lists(st.floats(3.6, 1000.0), min_size=len(times), max_size=len(times)))
    denominators = st.sampled_from([1, 2, 4, 8, 16, 32, 64])
    bars = draw(st.lists(st.tuples(st.integers(1, 16), denominators), min_size=len(times), max_size=len(times)))
    return TempoMap(
        tuple(Tempo(time_s, bpm) for time_s, bpm in zip(times, bpms, strict=True)),
        tuple(Signature(time_s, *bar) for time_s, bar in zip(times, bars, strict=True)),
    )


@given(tempo_map=tempo_maps(), notes=NOTES)
def test_a_tempo_map_moves_no_note_by_a_millisecond(
    tmp_path_factory: pytest.TempPathFactory, tempo_map: TempoMap, notes: list[Note]
) -> None:
    """As read by this project, and by two readers that know nothing of it."""
    path = tmp_path_factory.mktemp("midi") / "file.mid"
    write_midi(path, notes, tempo_map=tempo_map)
    expected = sorted(note.time_s for note in notes)
    assert [note.time_s for note in read_midi(path)] == pytest.approx(expected, abs=0.0006)
    file = mido.MidiFile(path)
    now, found = 0.0, []
    for message in file:
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append(now)
    assert found == pytest.approx(expected, abs=0.0006)
    if sum(message.time for message in file.tracks[0]) > pretty_midi.pretty_midi.MAX_TICK:
        return  # longer than it reads
    drums = pretty_midi.PrettyMIDI(str(path)).instruments
    found = sorted(note.start for drum in drums for note in drum.notes)
    # It drops notes whose length is zero: those of one number at the same tick.
    assert all(min(abs(start - time_s) for time_s in expected) < 0.0006 for start in found)
    assert len(found) >= len({(round(note.time_s, 2), note.note) for note in notes}) / 2


@given(tempo_map=tempo_maps())
def test_a_tempo_map_comes_back(tmp_path_factory: pytest.TempPathFactory, tempo_map: TempoMap) -> None:
    """But for what the format rounds: tempi to microseconds, changes to ticks."""
    path = tmp_path_factory.mktemp("midi") / "file.mid"
    write_midi(path, [], tempo_map=tempo_map)
    found = read_tempo_map(path)
    middles = [(one.time_s + other.time_s) / 2 for one, other in itertools.pairwise(tempo_map.tempos)]
    beats = tempo_map.beats_of(middles)
    assert found.seconds_of(beats) == pytest.approx(middles, abs=0.005 * len(tempo_map.tempos))
    last = tempo_map.signatures[-1], found.signatures[-1]
    assert (last[0].numerator, last[0].denominator) == (last[1].numerator, last[1].denominator)


@given(tempo_map=tempo_maps())
def test_a_tempo_map_that_was_read_is_written_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, tempo_map: TempoMap
) -> None:
    """Once rounded, nothing drifts however often a file is read and written."""
    path = tmp_path_factory.mktemp("midi") / "file.mid"
    write_midi(path, [], tempo_map=tempo_map)
    once = path.read_bytes()
    write_midi(path, [], tempo_map=read_tempo_map(path))
    assert path.read_bytes() == once


@pytest.mark.parametrize("bpm", [3.6, 4.0, 20.0, 59.0, 62.4, 120.0, 999.0])
def test_times_stay_within_a_millisecond_at_every_tempo(tmp_path: Path, bpm: float) -> None:
    times = [0.2, 0.7, 1.2003, 1.70077, 100.123456]
    write_midi(tmp_path / "file.mid", [Note(time_s, 38, 90) for time_s in times], bpm=bpm)
    assert [note.time_s for note in read_midi(tmp_path / "file.mid")] == pytest.approx(times, abs=0.0006)


def test_a_tempo_map_is_read_from_any_track(tmp_path: Path) -> None:
    three_four = b"\xff\x58\x04\x03\x02\x18\x08"
    (tmp_path / "file.mid").write_bytes(
        midi(track((480, three_four), END), track((960, tempo(250_000)), (0, on(36)), END))
    )
    assert read_tempo_map(tmp_path / "file.mid") == TempoMap(
        (Tempo(0.0, 120.0), Tempo(1.0, 240.0)), (Signature(0.0, 4, 4), Signature(0.5, 3, 4))
    )


@pytest.mark.parametrize("beat_us", [0, 1, 5_999])
def test_a_tempo_that_no_music_has_is_refused_by_name(tmp_path: Path, beat_us: int) -> None:
    (tmp_path / "file.mid").write_bytes(midi(track((0, tempo(beat_us)), END)))
    with pytest.raises(DrumCrnnError, match=r"file\.mid: has a tempo above 10,000 bpm"):
        read_tempo_map(tmp_path / "file.mid")


def test_a_time_signature_that_no_music_has_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file.mid").write_bytes(midi(track((0, b"\xff\x58\x04\x04\xff\x18\x08"), END)))
    with pytest.raises(DrumCrnnError, match=r"file\.mid: has a time signature of notes shorter than 1/64"):
        read_tempo_map(tmp_path / "file.mid")
