"""The quick reading of MIDI files: mido, which it is to agree with, is the oracle."""

import io
import struct
from fractions import Fraction
from unittest.mock import patch

import mido
import mido.midifiles.meta as mido_meta
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drum_crnn.music.midi_scan import ScannedFile, ScannedTrack, scan_midi

CHANNELS = st.integers(0, 15)
DATA = st.integers(0, 127)


def variable(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(0x80 | (value & 0x7F))
    return bytes(reversed(groups))


def file(*tracks: bytes, kind: int = 1, division: int = 480) -> bytes:
    chunks = (b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)
    return b"MThd" + struct.pack(">IHHh", 6, kind, len(tracks), division) + b"".join(chunks)


# Any event but tempo and end of track is a sequencer's own. (Of kinds that mido does not know, it loses the time.)
SPECS = mido_meta._META_SPECS
KNOWN = dict.fromkeys(range(256), SPECS[0x7F]) | {kind: SPECS[kind] for kind in (0x2F, 0x51)}


def of_mido(content: bytes) -> ScannedFile:
    """What mido makes of a file if it knows no meta event but tempo and end of track; raises if it cannot read it."""
    with patch.object(mido_meta, "_META_SPECS", KNOWN):
        midi = mido.MidiFile(file=io.BytesIO(content), clip=True)
    tracks = []
    for track in midi.tracks:
        tick, strikes, tempi = 0, [], []
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                strikes.append((tick, message.channel, message.note, message.velocity))
            if message.type == "set_tempo":
                tempi.append((tick, message.tempo))
        tracks.append(ScannedTrack(strikes, tempi, []))
    return ScannedFile(midi.type, midi.ticks_per_beat, tracks)


def without_bars(scanned: ScannedFile | None) -> ScannedFile | None:
    return scanned and scanned._replace(tracks=[track._replace(bars=[]) for track in scanned.tracks])


def event(status: int, *data: int) -> bytes:
    return bytes([status, *data])


TWO_BYTES = st.builds(event, st.sampled_from([*range(0x80, 0xC0), *range(0xE0, 0xF0)]), DATA, DATA)
STRIKES = st.builds(lambda channel, note, velocity: event(0x90 | channel, note, velocity), CHANNELS, DATA, DATA)
ONE_BYTE = st.builds(event, st.integers(0xC0, 0xDF), DATA)
TEMPI = st.integers(1, 0xFF_FFFF).map(lambda tempo: b"\xff\x51\x03" + tempo.to_bytes(3, "big"))
TEXTS = st.binary(max_size=200).map(lambda text: b"\xff\x01" + variable(len(text)) + text)
SYSEX = st.binary(max_size=20).map(lambda data: b"\xf0" + variable(len(data)) + data)
EVENTS = st.tuples(st.integers(0, 0xFFF_FFFF), st.one_of(STRIKES, STRIKES, TWO_BYTES, ONE_BYTE, TEMPI, TEXTS, SYSEX))


def track(events: list[tuple[int, bytes]], *, running: bool) -> bytes:
    """A track, whose events leave out a status that is that of the event before, if `running`."""
    content, status = b"", 0
    for delta, data in [*events, (0, b"\xff\x2f\x00")]:
        is_repeated = running and data[0] == status
        content += variable(delta) + (data[1:] if is_repeated else data)
        if data[0] != 0xFF:
            status = data[0] if data[0] < 0xF0 else 0
    return content


@given(tracks=st.lists(st.lists(EVENTS, max_size=20), max_size=3), kind=st.integers(0, 2), running=st.booleans())
def test_an_ordinary_file_is_read_as_mido_reads_it(
    tracks: list[list[tuple[int, bytes]]], kind: int, running: bool
) -> None:
    content = file(*(track(events, running=running) for events in tracks), kind=kind)
    assert without_bars(scan_midi(content)) == of_mido(content)


GOOD = file(
    track([(0, b"\xff\x51\x03\x07\xa1\x20"), (9, b"\xff\x59\x02\x00\x00")], running=True),
    track(
        [(200, event(0x99, 36, 100)), (0, event(0x99, 36, 0)), (3, event(0xC9, 1)), (5, b"\xf0\x02\x01\xf7")],
        running=True,
    ),
)


@given(
    changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=3), cut=st.integers(0, 9)
)
@example(changes=[], cut=0)
@example(changes=[(12, 0xE7)], cut=0)  # frames of SMPTE
@example(changes=[(34, 8)], cut=0)  # a key of eight sharps, which mido alone would refuse
def test_a_damaged_file_is_left_to_mido_or_read_as_it_would(changes: list[tuple[int, int]], cut: int) -> None:
    """So nothing that mido refuses passes for a file that is in order."""
    damaged = bytearray(GOOD[: len(GOOD) - cut])
    for position, byte in changes:
        if position < len(damaged):
            damaged[position] = byte
    content = bytes(damaged)
    found = scan_midi(content)
    if found is not None:
        expected = of_mido(content)
        assert [track.strikes for track in found.tracks] == [track.strikes for track in expected.tracks]
        if not found.in_frames:
            assert without_bars(found) == expected
    if not changes and not cut:
        assert found is not None


def test_lengths_that_mido_refuses_are_left_to_it() -> None:
    long = b"\0\xff\x01" + variable(1_000_001) + bytes(1_000_001)
    assert scan_midi(file(long)) is None
    assert scan_midi(file(variable(1 << 28) + event(0x99, 36, 100))) is None


STROKE = event(0x99, 36, 100)


@pytest.mark.parametrize(("frames", "a_second"), [(24, 24), (25, 25), (29, Fraction(30_000, 1001)), (30, 30)])
def test_ticks_of_smpte_are_fractions_of_a_second(frames: int, a_second: Fraction) -> None:
    """A beat of half a second has half of the ticks of a second; tempi have no meaning."""
    content = file(track([(0, b"\xff\x51\x03\x01\x02\x03"), (7, STROKE)], running=False), division=-frames * 256 + 40)
    found = scan_midi(content)
    assert found is not None
    assert found.in_frames
    assert found.ticks_per_beat == Fraction(a_second) * 40 / 2
    assert found.tracks == [ScannedTrack([(7, 9, 36, 100)], [], [])]
    assert scan_midi(file(track([(7, STROKE)], running=False), division=-23 * 256 + 40)) is None


def test_chunks_that_are_no_tracks_are_passed_over() -> None:
    content = file(track([(7, STROKE)], running=False))
    for at in (14, len(content)):
        foreign = content[:at] + b"XFIH" + struct.pack(">I", 3) + b"abc" + content[at:]
        assert scan_midi(foreign) == scan_midi(content)
    assert scan_midi(content[:14] + b"XFIH" + struct.pack(">I", 1000) + content[14:]) is None


def test_time_signatures_are_found_and_odd_ones_passed_over() -> None:
    bars = [(5, b"\xff\x58\x04\x07\x03\x18\x08"), (5, b"\xff\x58\x02\x03\x02"), (5, b"\xff\x58\x01\x03"), (0, STROKE)]
    found = scan_midi(file(track(bars, running=False)))
    assert found is not None
    assert found.tracks[0].bars == [(5, 7, 8), (10, 3, 4)]
