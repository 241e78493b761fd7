"""MIDI: one track on channel 10, with the tempo changes and time signatures of a tempo map."""

from drum_crnn.formats.note_maps import GENERAL_MIDI, NoteMap
from drum_crnn.music.midi import Note
from drum_crnn.music.midi_writing import encode_midi, timeline_of
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["midi_bytes"]


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
        If a tempo is below 3.6 bpm or above 60,000,000, or a bar has more than 255 beats, which the format cannot hold.
    """
    tempo_map = tempo_map or TempoMap.constant()
    ticks = timeline_of(tempo_map).ticks_of(transcription.time_s).tolist()
    columns = (transcription.time_s.tolist(), transcription.lane.tolist(), transcription.velocity.tolist())
    notes: dict[tuple[int, int], Note] = {}  # by tick and number
    for tick, time_s, lane, velocity in zip(ticks, *columns, strict=True):
        number = note_map.notes[lane]
        if number is not None:
            # Lanes that share a note may meet at one tick, where only one of them can sound: the louder one.
            before = notes.get((tick, number))
            if before is None or before.velocity < velocity:
                notes[tick, number] = Note(time_s, number, velocity)
    return encode_midi(list(notes.values()), tempo_map=tempo_map, name="Drums")
