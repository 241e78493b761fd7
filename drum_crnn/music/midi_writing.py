"""Writing drum performances as MIDI files, with tempo changes and time signatures that move no note."""

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import mido

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.music.midi import DRUM_CHANNEL, Note
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.ticks import Timeline, resolution_for

__all__ = ["SAMPLE_EXACT_TICKS", "encode_midi", "timeline_of", "write_midi"]

# At 120 bpm one tick is exactly one sample of 44.1 kHz; at 60 bpm, two, so that rounding is never off by more than one.
SAMPLE_EXACT_TICKS = 22_050

_MAX_TICKS_PER_BEAT = 0x7FFF
_MAX_DELTA = 0x0FFF_FFFF  # ticks; four bytes of seven bits
_LONGEST_BEAT_US = 0xFF_FFFF  # three bytes
_LARGEST_NUMERATOR = 255
_NOTE_LENGTH_S = 0.05  # drums have none; long enough to be seen in a piano roll

# What comes first at one tick. Ends of notes come before the starts of others.
_NAME, _SIGNATURE, _TEMPO, _OFF, _ON = range(5)


def write_midi(
    path: Path,
    notes: Sequence[Note],
    *,
    bpm: float = 120.0,
    tempo_map: TempoMap | None = None,
    ticks_per_beat: int | None = None,
) -> None:
    """Write `notes` as a type 0 file on channel 10, whole or not at all; parameters and errors as `encode_midi`."""
    content = encode_midi(notes, bpm=bpm, tempo_map=tempo_map, ticks_per_beat=ticks_per_beat)
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def encode_midi(
    notes: Sequence[Note],
    *,
    bpm: float = 120.0,
    tempo_map: TempoMap | None = None,
    ticks_per_beat: int | None = None,
    name: str = "",
) -> bytes:
    """The bytes of a type 0 file with `notes` on channel 10.

    Parameters
    ----------
    notes : sequence of Note
        In any order; times in seconds, none negative.
    bpm : float
        Tempo of the one tempo event, 3.6 or more. It sets the beats that an editor shows, and changes no time.
    tempo_map : TempoMap, optional
        Written in place of `bpm`, with its time signatures. It changes no time, either.
    ticks_per_beat : int, optional
        Resolution; each time is rounded to its nearest tick, so that errors do not add up. By default 480 or a
        multiple, so that each time is right to half a millisecond.
    name : str
        Of the track; none if empty.

    Raises
    ------
    ValueError
        If a time is negative or not finite, a note is not 0–127 or a velocity not 1–127, or a tempo, a time signature
        or the resolution does not fit into the format.
    """
    if ticks_per_beat is not None and not 0 < ticks_per_beat <= _MAX_TICKS_PER_BEAT:
        raise ValueError(f"ticks_per_beat is {ticks_per_beat}; the format allows 1 to {_MAX_TICKS_PER_BEAT}")
    if tempo_map is None:
        _beat_s(bpm)
    timeline = timeline_of(tempo_map or TempoMap.constant(bpm), ticks_per_beat)
    # Sorted by tick, kind, number and velocity.
    events: list[tuple[tuple[int, int, int, int], mido.Message | mido.MetaMessage]] = []
    if name:
        events.append(((0, _NAME, 0, 0), mido.MetaMessage("track_name", name=name)))
    for tick, numerator, denominator in timeline.signatures if tempo_map is not None else ():
        if numerator > _LARGEST_NUMERATOR:
            raise ValueError(f"a time signature is {numerator}/{denominator}; MIDI allows 255 notes in a bar")
        signature = mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)
        events.append(((tick, _SIGNATURE, 0, 0), signature))
    for tick, beat_s in timeline.tempos:
        events.append(((tick, _TEMPO, 0, 0), mido.MetaMessage("set_tempo", tempo=int(beat_s * 1_000_000))))
    strikes = _strikes(notes, timeline)
    for start, number, velocity, _ in strikes:
        on = mido.Message("note_on", channel=DRUM_CHANNEL, note=number, velocity=velocity)
        events.append(((start, _ON, number, velocity), on))
    for end, number in _note_offs([(start, number, length) for start, number, _, length in strikes]):
        off = mido.Message("note_off", channel=DRUM_CHANNEL, note=number, velocity=0)
        events.append(((end, _OFF, number, 0), off))
    track = mido.MidiTrack()
    now = 0
    for (tick, *_), message in sorted(events, key=lambda event: event[0]):
        if tick - now > _MAX_DELTA:
            raise ValueError(f"a pause of {tick - now} ticks is too long for the format; lower ticks_per_beat")
        message.time = tick - now
        track.append(message)
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    buffer = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=timeline.resolution, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def timeline_of(tempo_map: TempoMap, ticks_per_beat: int | None = None) -> Timeline:
    """The ticks of a MIDI file with this tempo map; raises ValueError for a tempo that the format cannot hold."""
    resolution = resolution_for(tempo_map) if ticks_per_beat is None else ticks_per_beat
    return Timeline.of(tempo_map, resolution=resolution, rounded=_beat_s)


def _beat_s(bpm: float) -> Fraction:
    """Seconds a beat, in the whole microseconds that the format holds."""
    microseconds = round(60e6 / bpm) if 0.0 < bpm < math.inf else 0
    if not 0 < microseconds <= _LONGEST_BEAT_US:
        raise ValueError(f"the tempo is {bpm} bpm; MIDI allows {60e6 / _LONGEST_BEAT_US:.1f} to 60,000,000")
    return Fraction(microseconds, 1_000_000)


def _strikes(notes: Sequence[Note], timeline: Timeline) -> list[tuple[int, int, int, int]]:
    """Tick, number, velocity and length in ticks of each note."""
    for note in notes:
        if not 0.0 <= note.time_s < math.inf:
            raise ValueError(f"a note at {note.time_s} s; times are seconds from the start")
        if not (0 <= note.note <= 127 and 1 <= note.velocity <= 127):
            raise ValueError(f"note {note.note} with velocity {note.velocity}; they are 0–127 and 1–127")
    times_s = [note.time_s for note in notes]
    ticks, rates = timeline.ticks_of(times_s).tolist(), timeline.rates_at(times_s).tolist()
    return [
        (tick, note.note, note.velocity, max(round(_NOTE_LENGTH_S * rate), 1))
        for note, tick, rate in zip(notes, ticks, rates, strict=True)
    ]


def _note_offs(strikes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Tick and number of one note-off for each strike (tick, number, length), no later than the next of its number."""
    next_start: dict[int, int] = {}
    offs = []
    for tick, number, length in sorted(strikes, reverse=True):
        offs.append((min(tick + length, next_start.get(number, tick + length)), number))
        next_start[number] = tick
    return offs
