"""Reading drum performances from MIDI files. `midi_writing` writes them."""

import io
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import mido

from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.music.lanes import LANE_OF_NOTE
from drum_crnn.music.midi_scan import ScannedFile, ScannedTrack, scan_midi

__all__ = ["DEFAULT_TEMPO", "DRUM_CHANNEL", "Note", "canonical_midi", "read_midi", "scanned_file"]

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
    Tempo changes of any track apply to all tracks. Only in type 2, each track has its own. Ticks of SMPTE frames are
    read, too.

    Returns
    -------
    list of Note
        Sorted by time, then note. Note-ons of velocity 0 are note-offs, and are left out.

    Raises
    ------
    DrumCrnnError
        If the file cannot be read or is no MIDI file, with the path and the reason.
    """
    file = scanned_file(path)
    channels: dict[int, list[tuple[float, int, int]]] = {}
    for tracks in [[track] for track in file.tracks] if file.type == 2 else [file.tracks]:
        for channel, struck in _struck_notes(tracks, file.ticks_per_beat):
            channels.setdefault(channel, []).append(struck)
    drums = channels.get(DRUM_CHANNEL) or [note for notes in channels.values() for note in notes]
    return [Note(*struck) for struck in sorted(drums)]


def scanned_file(path: Path) -> ScannedFile:
    """Notes, tempi and time signatures of a MIDI file, in ticks; raises what `read_midi` raises."""
    content = _content(path)
    return scan_midi(content) or _scanned(_parse(path, content))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file") from None
    except OSError as error:
        raise refused_error(path, error) from None


def _parse(path: Path, content: bytes) -> mido.MidiFile:
    try:
        midi = mido.MidiFile(file=io.BytesIO(content), clip=True)
    except (OSError, EOFError, ValueError, LookupError, mido.KeySignatureError) as error:
        # mido signals a malformed file by any of these, depending on the byte at which it stops.
        reason = str(error) or "it ends too early"
        raise DrumCrnnError(f"{path}: not a readable MIDI file ({reason}); export it again") from None
    if midi.ticks_per_beat < 0:  # `scan_midi` reads the usual ones
        raise DrumCrnnError(f"{path}: counts time in frames of an unknown kind; export it with ticks per beat")
    if midi.ticks_per_beat == 0:
        raise DrumCrnnError(f"{path}: not a readable MIDI file (a beat has no ticks); export it again")
    if any(message.time > _MAX_DELTA for track in midi.tracks for message in track):
        raise DrumCrnnError(f"{path}: not a readable MIDI file (a delta time is out of range); export it again")
    return midi


def _scanned(midi: mido.MidiFile) -> ScannedFile:
    """What mido has parsed, in the form of `scan_midi`."""
    tracks = []
    for messages in midi.tracks:
        track = ScannedTrack([], [], [])
        tick = 0
        for message in messages:
            tick += message.time
            if message.type == "note_on":
                if message.velocity > 0:
                    track.strikes.append((tick, message.channel, message.note, message.velocity))
            elif message.type == "set_tempo":
                track.tempi.append((tick, message.tempo))
            elif message.type == "time_signature":
                track.bars.append((tick, message.numerator, message.denominator))
        tracks.append(track)
    return ScannedFile(midi.type, midi.ticks_per_beat, tracks)


def _struck_notes(
    tracks: Sequence[ScannedTrack], ticks_per_beat: int | Fraction
) -> Iterator[tuple[int, tuple[float, int, int]]]:
    """Channel, and time, note and velocity of each struck note of tracks that share their tempo changes."""
    changes = [(0, DEFAULT_TEMPO), *(change for track in tracks for change in track.tempi)]
    changes.sort(key=lambda change: change[0])  # of several at one tick, the last in the file applies
    # Ticks times tempo is an integer: only the result is rounded.
    elapsed = [0]
    for (tick, tempo), (next_tick, _) in pairwise(changes):
        elapsed.append(elapsed[-1] + (next_tick - tick) * tempo)
    begins = [tick for tick, _ in changes]
    for track in tracks:
        for tick, channel, note, velocity in track.strikes:
            last = bisect_right(begins, tick) - 1
            since, tempo = changes[last]
            time_s = (elapsed[last] + (tick - since) * tempo) / (ticks_per_beat * 1_000_000)
            yield channel, (float(time_s), note, velocity)


def canonical_midi(notes_of_recording: Sequence[Sequence[Note]]) -> int:
    """Index of the recording whose MIDI represents the performance.

    The content that most recordings share wins. Two contents are the same if their notes have the same numbers at the
    same milliseconds. Of equally frequent contents, the one with more notes of a lane wins (a pad map rather loses
    such notes than invents them), then the one with more notes, then the first.
    """
    first_of: dict[tuple[tuple[int, int], ...], int] = {}
    count: Counter[tuple[tuple[int, int], ...]] = Counter()
    content_of = {  # once for recordings that share a list
        id(notes): tuple(sorted((round(note.time_s / _CONTENT_RESOLUTION_S), note.note) for note in notes))
        for notes in {id(notes): notes for notes in notes_of_recording}.values()
    }
    for index, notes in enumerate(notes_of_recording):
        content = content_of[id(notes)]
        first_of.setdefault(content, index)
        count[content] += 1

    def rank(content: tuple[tuple[int, int], ...]) -> tuple[int, int, int, int]:
        n_mapped = sum(note in LANE_OF_NOTE for _, note in content)
        return count[content], n_mapped, len(content), -first_of[content]

    return first_of[max(first_of, key=rank)]
