"""Reading drum performances from MIDI files. `midi_writing` writes them."""

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mido

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE

__all__ = ["DEFAULT_TEMPO", "DRUM_CHANNEL", "Note", "canonical_midi", "parse_midi", "read_midi"]

DRUM_CHANNEL = 9  # called channel 10, since musicians count from one

DEFAULT_TEMPO = 500_000  # microseconds a beat, the format's default before the first tempo event
_MAX_DELTA = 0x0FFF_FFFF  # ticks; four bytes of seven bits
_CONTENT_RESOLUTION_S = 0.001  # notes of two files at the same millisecond are the same


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
    midi = parse_midi(path)
    channels: dict[int, list[Note]] = {}
    for tracks in [[track] for track in midi.tracks] if midi.type == 2 else [midi.tracks]:
        for channel, note in _struck_notes(tracks, midi.ticks_per_beat):
            channels.setdefault(channel, []).append(note)
    if DRUM_CHANNEL in channels:
        return sorted(channels[DRUM_CHANNEL])
    return sorted(note for notes in channels.values() for note in notes)


def parse_midi(path: Path) -> mido.MidiFile:
    """Parse a MIDI file whose times are ticks; raises what `read_midi` raises."""
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
    return midi


def _struck_notes(tracks: Sequence[mido.MidiTrack], ticks_per_beat: int) -> Iterator[tuple[int, Note]]:
    """Channel and note of each struck note of tracks that share their tempo changes.

    Ticks are converted to seconds here and not by mido, whose merging of tracks takes twice as long as its parsing.
    """
    changes = [(0, DEFAULT_TEMPO)]
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
