"""Drum performances as MIDI files."""

import io
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mido

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE

__all__ = ["DRUM_CHANNEL", "SAMPLE_EXACT_TICKS", "Note", "canonical_midi", "read_midi", "write_midi"]

DRUM_CHANNEL = 9  # called channel 10, since musicians count from one

# At 120 bpm one tick is exactly one sample of 44.1 kHz; at 60 bpm, two, so that rounding is never off by more than one.
SAMPLE_EXACT_TICKS = 22_050

_DEFAULT_TEMPO = 500_000  # microseconds a beat, the format's default before the first tempo event
_MAX_TICKS_PER_BEAT = 0x7FFF
_MAX_DELTA = 0x0FFF_FFFF  # ticks; four bytes of seven bits
_MAX_TEMPO = 0xFF_FFFF  # microseconds a beat; three bytes
_CONTENT_RESOLUTION_S = 0.001  # notes of two files at the same millisecond are the same
_NOTE_LENGTH_S = 0.05  # drums have none; long enough to be seen in a piano roll


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One struck note: time in seconds, General MIDI note number, velocity 1–127."""

    time_s: float
    note: int
    velocity: int


def read_midi(path: Path) -> list[Note]:
    """Read the struck notes of a MIDI file of type 0, 1 or 2.

    These are the notes on channel 10; if there are none, those of every channel (some drum machines write channel 1).
    Tempo changes of any track apply to all tracks. Only in type 2, each track has its own.

    Returns
    -------
    list of Note
        Sorted by time, then note. Note-ons of velocity 0 are note-offs, and are left out.

    Raises
    ------
    DrumCrnnError
        If the file cannot be read or is no MIDI file, with the path and the reason.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DrumCrnnError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        midi = mido.MidiFile(file=io.BytesIO(content), clip=True)
    except (OSError, EOFError, ValueError, LookupError, mido.KeySignatureError) as error:
        # mido signals a malformed file by any of these, depending on the byte at which it stops.
        reason = str(error) or "it ends too early"
        raise DrumCrnnError(f"{path}: not a readable MIDI file ({reason}); export it again") from None
    if midi.ticks_per_beat < 0:
        raise DrumCrnnError(f"{path}: counts time in SMPTE frames, not supported here; export it with ticks per beat")
    if midi.ticks_per_beat == 0:
        raise DrumCrnnError(f"{path}: not a readable MIDI file (a beat has no ticks); export it again")
    if any(message.time > _MAX_DELTA for track in midi.tracks for message in track):
        raise DrumCrnnError(f"{path}: not a readable MIDI file (a delta time is out of range); export it again")
    channels: dict[int, list[Note]] = {}
    for tracks in [[track] for track in midi.tracks] if midi.type == 2 else [midi.tracks]:
        for channel, note in _struck_notes(tracks, midi.ticks_per_beat):
            channels.setdefault(channel, []).append(note)
    if DRUM_CHANNEL in channels:
        return sorted(channels[DRUM_CHANNEL])
    return sorted(note for notes in channels.values() for note in notes)


def _struck_notes(tracks: Sequence[mido.MidiTrack], ticks_per_beat: int) -> Iterator[tuple[int, Note]]:
    """Channel and note of each struck note of tracks that share their tempo changes.

    Ticks are converted to seconds here and not by mido, whose merging of tracks takes twice as long as its parsing.
    """
    changes = [(0, _DEFAULT_TEMPO)]
    strikes: list[tuple[int, int, int, int]] = []  # tick, channel, note, velocity
    for track in tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on":
                if message.velocity > 0:
                    strikes.append((tick, message.channel, message.note, message.velocity))
            elif message.type == "set_tempo":
                changes.append((tick, message.tempo))
    changes.sort(key=lambda change: change[0])  # of several at one tick, the last in the file applies
    # Ticks times tempo is an integer: only the result is rounded.
    elapsed = [0]
    for (tick, tempo), (next_tick, _) in pairwise(changes):
        elapsed.append(elapsed[-1] + (next_tick - tick) * tempo)
    for tick, channel, note, velocity in strikes:
        last = bisect_right(changes, tick, key=lambda change: change[0]) - 1
        since, tempo = changes[last]
        time_s = (elapsed[last] + (tick - since) * tempo) / (ticks_per_beat * 1_000_000)
        yield channel, Note(time_s, note, velocity)


def write_midi(path: Path, notes: Sequence[Note], *, bpm: float = 120.0, ticks_per_beat: int = 480) -> None:
    """Write `notes` as a type 0 file on channel 10, whole or not at all.

    Parameters
    ----------
    path : Path
    notes : sequence of Note
        In any order; times in seconds, none negative.
    bpm : float
        Tempo of the one tempo event, 3.6 or more. It sets the beats that an editor shows, and changes no time.
    ticks_per_beat : int
        Resolution; each time is rounded to its nearest tick, so that errors do not add up.

    Raises
    ------
    ValueError
        If a time is negative or not finite, a note is not 0–127 or a velocity not 1–127, or the tempo or the
        resolution does not fit into the format.
    """
    if not 0 < ticks_per_beat <= _MAX_TICKS_PER_BEAT:
        raise ValueError(f"ticks_per_beat is {ticks_per_beat}; the format allows 1 to {_MAX_TICKS_PER_BEAT}")
    tempo = round(60e6 / bpm) if 0.0 < bpm < math.inf else 0
    if not 0 < tempo <= _MAX_TEMPO:
        raise ValueError(f"bpm is {bpm}; the format allows {60e6 / _MAX_TEMPO:.1f} and more")
    ticks_per_second = ticks_per_beat * 1e6 / tempo
    events: list[tuple[int, int, int, int]] = []  # tick, 0 for off and 1 for on, note, velocity
    for note in notes:
        if not 0.0 <= note.time_s < math.inf:
            raise ValueError(f"{path}: a note at {note.time_s} s; times are seconds from the start")
        if not (0 <= note.note <= 127 and 1 <= note.velocity <= 127):
            raise ValueError(f"{path}: note {note.note} with velocity {note.velocity}; they are 0–127 and 1–127")
        start = round(note.time_s * ticks_per_second)
        events.append((start, 1, note.note, note.velocity))
    events.extend(_note_offs(events, round(_NOTE_LENGTH_S * ticks_per_second)))
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo)])
    now = 0
    for tick, is_on, number, velocity in sorted(events):
        if tick - now > _MAX_DELTA:
            raise ValueError(f"{path}: a pause of {tick - now} ticks is too long for the format; lower ticks_per_beat")
        kind = "note_on" if is_on else "note_off"
        track.append(mido.Message(kind, channel=DRUM_CHANNEL, note=number, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    with replace_file(path) as temporary:
        mido.MidiFile(type=0, ticks_per_beat=ticks_per_beat, tracks=[track]).save(temporary)


def _note_offs(ons: Sequence[tuple[int, int, int, int]], length: int) -> list[tuple[int, int, int, int]]:
    """One note-off for each note-on, no later than the next note-on of the same note."""
    next_start: dict[int, int] = {}
    offs = []
    for tick, _, number, _ in sorted(ons, reverse=True):
        end = min(tick + max(length, 1), next_start.get(number, tick + max(length, 1)))
        offs.append((end, 0, number, 0))
        next_start[number] = tick
    return offs


def canonical_midi(notes_of_recording: Sequence[Sequence[Note]]) -> int:
    """Index of the recording whose MIDI represents the performance.

    The content that most recordings share wins. Two contents are the same if their notes have the same numbers at the
    same milliseconds. Of equally frequent contents, the one with more notes of a lane wins (a pad map rather loses
    such notes than invents them), then the one with more notes, then the first.
    """
    first_of: dict[tuple[tuple[int, int], ...], int] = {}
    count: Counter[tuple[tuple[int, int], ...]] = Counter()
    for index, notes in enumerate(notes_of_recording):
        content = tuple(sorted((round(note.time_s / _CONTENT_RESOLUTION_S), note.note) for note in notes))
        first_of.setdefault(content, index)
        count[content] += 1

    def rank(content: tuple[tuple[int, int], ...]) -> tuple[int, int, int, int]:
        n_mapped = sum(note in LANE_OF_NOTE for _, note in content)
        return count[content], n_mapped, len(content), -first_of[content]

    return first_of[max(first_of, key=rank)]
