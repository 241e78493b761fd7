"""Reading what a performance needs from a MIDI file, ten times as fast as mido, which builds every message.

Notes, tempi and time signatures alone are looked at. So an odd key signature, text of any kind, or a chunk that is no
track refuses no file. Whatever else is unusual or damaged is left to mido: it decides what a file means, and what is
wrong with it.
"""

import struct
from fractions import Fraction
from typing import NamedTuple

from mido.midifiles.meta import build_meta_message

__all__ = ["ScannedFile", "ScannedTrack", "scan_midi"]

_META, _SYSEX, _SET_TEMPO, _TIME_SIGNATURE = 0xFF, 0xF0, 0x51, 0x58
_FRAMES_A_SECOND = {24: Fraction(24), 25: Fraction(25), 29: Fraction(30_000, 1001), 30: Fraction(30)}  # of SMPTE
_NOTE_ON = 0x90
_LONGEST = 1 << 16  # bytes of a meta event or a system exclusive one
_MAX_DELTA_BYTES = 4


class ScannedTrack(NamedTuple):
    """One track: its notes as (tick, channel, note, velocity), its changes of tempo as (tick, µs a beat), its bars.

    A bar is (tick, numerator, denominator).
    """

    strikes: list[tuple[int, int, int, int]]
    tempi: list[tuple[int, int]]
    bars: list[tuple[int, int, int]]


class ScannedFile(NamedTuple):
    """Type of the file (0, 1 or 2), ticks a beat, tracks.

    A file `in_frames` of SMPTE has no beats: its ticks are fractions of a second. Then a beat is half a second, which
    is the default tempo, and there are no tempi.
    """

    type: int
    ticks_per_beat: int | Fraction
    tracks: list[ScannedTrack]
    in_frames: bool = False


class _UnusualError(Exception):
    """The file needs mido."""


def scan_midi(content: bytes) -> ScannedFile | None:
    """The notes and tempi of a MIDI file, as mido finds them; None if the file is unusual or damaged."""
    try:
        name, size, kind, n_tracks, division = struct.unpack_from(">4sLhhh", content)
        if name != b"MThd" or size < 6:
            return None
        in_frames = division < 0
        # The upper byte is minus the frames a second, the lower one the ticks a frame.
        ticks_per_beat = _FRAMES_A_SECOND[-(division >> 8)] * (division & 0xFF) / 2 if in_frames else division
        if not ticks_per_beat:
            return None
        tracks: list[ScannedTrack] = []
        position = 8 + size
        while len(tracks) < n_tracks:
            name, size = struct.unpack_from(">4sL", content, position)
            start, position = position + 8, position + 8 + size
            if position > len(content):
                return None
            if name == b"MTrk":  # the standard says to pass over other chunks
                tracks.append(_scan_track(content[start:position]))
    except (_UnusualError, struct.error, LookupError, ValueError):
        return None
    if in_frames:
        tracks = [track._replace(tempi=[]) for track in tracks]
    return ScannedFile(kind, ticks_per_beat, tracks, in_frames)


def _scan_track(data: bytes) -> ScannedTrack:
    strikes: list[tuple[int, int, int, int]] = []
    tempi: list[tuple[int, int]] = []
    bars: list[tuple[int, int, int]] = []
    tick = position = status = 0
    n_bytes = len(data)
    while position < n_bytes:
        byte = data[position]
        if byte < 0x80:  # nearly all
            position += 1
        else:
            byte, position = _variable(data, position)
        tick += byte
        byte = data[position]
        if byte >= 0x80:
            position += 1
            if byte >= _SYSEX:
                if byte not in (_META, _SYSEX):
                    raise _UnusualError
                kind = data[position] if byte == _META else None
                size, start = _variable(data, position + (byte == _META))
                position = start + size
                if size > _LONGEST:
                    raise _UnusualError
                if kind is None:
                    status = 0
                    continue
                if kind == _SET_TEMPO:
                    tempi.append((tick, build_meta_message(kind, data[start:position]).tempo))  # raises if damaged
                elif kind == _TIME_SIGNATURE and size >= 2:
                    bars.append((tick, data[start], 2 ** data[start + 1]))
                continue
            status = byte
        elif not status:
            raise _UnusualError
        if 0xC0 <= status < 0xE0:  # program and pressure have one byte, all others two
            position += 1
            continue
        if _NOTE_ON <= status < 0xA0:
            note, velocity = data[position], data[position + 1]
            if note >= 0x80 or velocity >= 0x80:
                raise _UnusualError
            if velocity:
                strikes.append((tick, status - _NOTE_ON, note, velocity))
        position += 2
    if position != n_bytes:
        raise _UnusualError
    return ScannedTrack(strikes, tempi, bars)


def _variable(data: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the position after it."""
    value = 0
    for end in range(position, position + _MAX_DELTA_BYTES):
        value = value << 7 | data[end] & 0x7F
        if data[end] < 0x80:
            return value, end + 1
    raise _UnusualError
