"""MIDI: one track on channel 10, with the tempo changes and time signatures of a tempo map."""

import io
from fractions import Fraction

import mido

from drum_crnn.formats.note_maps import GENERAL_MIDI, NoteMap
from drum_crnn.formats.ticks import Timeline, resolution_for
from drum_crnn.music.midi import DRUM_CHANNEL
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["midi_bytes"]

_NOTE_LENGTH_S = 0.05  # drums have none; long enough to be seen in a piano roll
_LONGEST_BEAT_US = 0xFF_FFFF  # three bytes
_LARGEST_NUMERATOR = 255
# Of several events at one tick, signatures come first and ends of notes come before the starts of others.
_META, _OFF, _ON = range(3)


def midi_bytes(
    transcription: Transcription, *, tempo_map: TempoMap | None = None, note_map: NoteMap = GENERAL_MIDI
) -> bytes:
    """A MIDI file of type 0.

    Each onset keeps its time to half a millisecond, whatever the tempo. The resolution is 480 ticks a beat or a
    multiple, as the slowest tempo needs.

    Parameters
    ----------
    tempo_map : TempoMap, optional
        Sets the bars and beats that an editor shows, and changes no time. By default 120 bpm in 4/4.
    note_map : NoteMap
        The note of each lane. Lanes without one are left out.

    Raises
    ------
    ValueError
        If a tempo is below 3.6 bpm or above 1,000,000, or a bar has more than 255 beats, which the format cannot hold.
    """
    tempo_map = tempo_map or TempoMap.constant()
    timeline = Timeline.of(tempo_map, resolution=resolution_for(tempo_map), rounded=_rounded)
    events: list[tuple[int, int, mido.Message | mido.MetaMessage]] = [
        (0, _META, mido.MetaMessage("track_name", name="Drums"))
    ]
    for tick, numerator, denominator in timeline.signatures:
        if numerator > _LARGEST_NUMERATOR:
            raise ValueError(f"a time signature is {numerator}/{denominator}; MIDI allows 255 notes in a bar")
        signature = mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)
        events.append((tick, _META, signature))
    for tick, beat_s in timeline.tempos:
        events.append((tick, _META, mido.MetaMessage("set_tempo", tempo=int(beat_s * 1_000_000))))
    events.extend(_note_events(transcription, timeline, note_map))
    track = mido.MidiTrack()
    now = 0
    for tick, _, message in sorted(events, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    buffer = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=timeline.resolution, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def _rounded(bpm: float) -> Fraction:
    microseconds = round(60e6 / bpm)
    if not 0 < microseconds <= _LONGEST_BEAT_US:
        raise ValueError(f"the tempo is {bpm} bpm; MIDI allows {60e6 / _LONGEST_BEAT_US:.1f} to 60,000,000")
    return Fraction(microseconds, 1_000_000)


def _note_events(
    transcription: Transcription, timeline: Timeline, note_map: NoteMap
) -> list[tuple[int, int, mido.Message]]:
    """On and off of each note; a note ends no later than the next one of the same number starts."""
    starts = timeline.ticks_of(transcription.time_s).tolist()
    ends = timeline.ticks_of(transcription.time_s + _NOTE_LENGTH_S).tolist()
    struck: dict[int, dict[int, tuple[int, int]]] = {}  # note -> start -> end and velocity
    for lane, start, end, velocity in zip(
        transcription.lane.tolist(), starts, ends, transcription.velocity.tolist(), strict=True
    ):
        note = note_map.notes[lane]
        if note is not None:
            # Lanes that share a note may meet at one tick, where only one of them can sound: the louder one.
            _, before = struck.setdefault(note, {}).get(start, (0, 0))
            struck[note][start] = (max(end, start + 1), max(velocity, before))
    events: list[tuple[int, int, mido.Message]] = []
    for note, of_note in struck.items():
        following = [*sorted(of_note)[1:], None]
        for start, after in zip(sorted(of_note), following, strict=True):
            end, velocity = of_note[start]
            end = end if after is None else min(end, after)
            values = {"channel": DRUM_CHANNEL, "note": note}
            events.append((start, _ON, mido.Message("note_on", velocity=velocity, **values)))
            events.append((end, _OFF, mido.Message("note_off", velocity=0, **values)))
    return events
