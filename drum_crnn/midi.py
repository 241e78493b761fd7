"""Drum performances as MIDI files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mido

from drum_crnn.atomic import replace_file
from drum_crnn.errors import DrumCrnnError

__all__ = ["DRUM_CHANNEL", "SAMPLE_EXACT_TICKS", "Note", "read_midi", "write_midi"]

DRUM_CHANNEL = 9  # "channel 10" to people, who count from one

# At 120 bpm one tick is exactly one sample of 44.1 kHz; at 60 bpm, two, so that rounding is never off by more than one.
SAMPLE_EXACT_TICKS = 22_050

_DEFAULT_TEMPO = 500_000  # microseconds a beat, which the format prescribes until a tempo event
_MAX_TICKS_PER_BEAT = 0x7FFF
_NOTE_LENGTH_S = 0.05  # drums have none; long enough to be seen in a piano roll


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One struck note: time in seconds, General MIDI note number, velocity 1–127."""

    time_s: float
    note: int
    velocity: int


def read_midi(path: Path) -> list[Note]:
    """Read the struck notes of a MIDI file of type 0, 1 or 2.

    Notes on channel 10 are taken; if there are none, those of every channel (some drum machines write channel 1).
    Tempo changes of any track hold for all tracks, except in type 2, whose tracks are independent and read one after
    another as the file orders them.

    Returns
    -------
    list of Note
        Sorted by time, then note. Note-ons of velocity 0 are note-offs, and not in it.

    Raises
    ------
    DrumCrnnError
        If the file cannot be read or is no MIDI file, with the path and the reason.
    """
    try:
        midi = mido.MidiFile(path, clip=True)
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file") from None
    except (OSError, EOFError, ValueError, IndexError, KeyError) as error:
        # mido signals a malformed file by any of these, depending on the byte on which it gives up.
        reason = str(error) or "it ends too early"
        raise DrumCrnnError(f"{path}: not a readable MIDI file ({reason}); export it again") from None
    if midi.ticks_per_beat <= 0:
        raise DrumCrnnError(f"{path}: counts time in SMPTE frames, which is not supported; export it with ticks a beat")
    tracks = midi.tracks if midi.type == 2 else [mido.merge_tracks(midi.tracks)]
    channels: dict[int, list[Note]] = {}
    for track in tracks:
        for channel, note in _notes_of_track(track, midi.ticks_per_beat):
            channels.setdefault(channel, []).append(note)
    if DRUM_CHANNEL in channels:
        return sorted(channels[DRUM_CHANNEL])
    return sorted(note for notes in channels.values() for note in notes)


def _notes_of_track(track: mido.MidiTrack, ticks_per_beat: int) -> Iterator[tuple[int, Note]]:
    """Channel and note of each struck note, in the order of the track."""
    time_s, tempo = 0.0, _DEFAULT_TEMPO
    for message in track:
        time_s += mido.tick2second(message.time, ticks_per_beat, tempo)
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.type == "note_on" and message.velocity > 0:
            yield message.channel, Note(time_s, message.note, message.velocity)


def write_midi(path: Path, notes: Sequence[Note], *, bpm: float = 120.0, ticks_per_beat: int = 480) -> None:
    """Write `notes` as a type 0 file on channel 10, whole or not at all.

    Parameters
    ----------
    path : Path
    notes : sequence of Note
        In any order; times in seconds, none negative.
    bpm : float
        Tempo of the one tempo event. Times are the same whatever it is; the beats of an editor follow it.
    ticks_per_beat : int
        Resolution; each time is rounded to the nearest tick on its own, so that errors do not add up.

    Raises
    ------
    ValueError
        If a time is negative or not finite, or the resolution does not fit into the format.
    """
    if not 0 < ticks_per_beat <= _MAX_TICKS_PER_BEAT:
        raise ValueError(f"ticks_per_beat is {ticks_per_beat}; the format takes 1 to {_MAX_TICKS_PER_BEAT}")
    tempo = mido.bpm2tempo(bpm)
    ticks_per_second = ticks_per_beat * 1e6 / tempo
    events: list[tuple[int, int, int, int]] = []  # tick, 0 for off and 1 for on, note, velocity
    for note in notes:
        if not 0.0 <= note.time_s < float("inf"):
            raise ValueError(f"{path}: a note at {note.time_s} s; times are seconds from the start")
        start = round(note.time_s * ticks_per_second)
        events.append((start, 1, note.note, note.velocity))
    events.extend(_note_offs(events, round(_NOTE_LENGTH_S * ticks_per_second)))
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo)])
    now = 0
    for tick, is_on, number, velocity in sorted(events):
        kind = "note_on" if is_on else "note_off"
        track.append(mido.Message(kind, channel=DRUM_CHANNEL, note=number, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    with replace_file(path) as temporary:
        mido.MidiFile(type=0, ticks_per_beat=ticks_per_beat, tracks=[track]).save(temporary)


def _note_offs(ons: Sequence[tuple[int, int, int, int]], length: int) -> list[tuple[int, int, int, int]]:
    """One note-off a note-on, no later than the next note-on of the same note."""
    next_start: dict[int, int] = {}
    offs = []
    for tick, _, number, _ in sorted(ons, reverse=True):
        end = min(tick + max(length, 1), next_start.get(number, tick + max(length, 1)))
        offs.append((end, 0, number, 0))
        next_start[number] = tick
    return offs
