"""Multi-track MIDI songs: the drum channel is a performance, the other channels are its band."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pretty_midi

from drum_crnn.band.players import Part, Tone
from drum_crnn.foundation.console import track
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import read_midi
from drum_crnn.studio.performances import Performance, midi_files

__all__ = ["cut_parts", "faster_parts", "read_songs"]

_PERCUSSIVE = range(112, 120)  # taiko, melodic tom, synth drum and others: strokes that no label would name


def read_songs(root: Path) -> list[Performance]:
    """Read the songs below a folder that have drums and other instruments, for the train split.

    Parts of General MIDI's percussive programs, such as taiko drums, are left out.

    Raises
    ------
    DrumCrnnError
        If the folder holds no MIDI file or no such song, or a file cannot be read.
    """
    songs = [song for path in track(midi_files(root), description="reading songs") if (song := _read(path, root))]
    if not songs:
        raise DrumCrnnError(f"{root}: no file has notes on channel 10 and on others; see render.songs")
    return songs


def _read(path: Path, root: Path) -> Performance | None:
    notes = read_midi(path)  # says what is wrong with a file
    try:
        midi = pretty_midi.PrettyMIDI(str(path))
    except (OSError, EOFError, ValueError, LookupError, ZeroDivisionError) as error:
        raise DrumCrnnError(f"{path}: not a readable MIDI file ({error}); export it again") from None
    parts = [
        Part(f"written_{number}", instrument.program, _tones(instrument))
        for number, instrument in enumerate(midi.instruments)
        if not instrument.is_drum and instrument.program not in _PERCUSSIVE and instrument.notes
    ]
    if not parts or not any(instrument.is_drum and instrument.notes for instrument in midi.instruments):
        return None
    tempo = midi.get_tempo_changes()[1]
    signature = midi.time_signature_changes[0] if midi.time_signature_changes else None
    return Performance(
        id=f"songs/{path.relative_to(root).with_suffix('').as_posix()}",
        drummer="unknown",
        session="songs",
        style="song",
        bpm=float(tempo[0]) if len(tempo) else 120.0,
        beat_type="beat",
        time_signature=f"{signature.numerator}-{signature.denominator}" if signature else "4-4",
        split="train",
        notes=tuple(notes),
        parts=tuple(parts),
    )


def _tones(instrument: pretty_midi.Instrument) -> tuple[Tone, ...]:
    return tuple(
        sorted(
            Tone(note.start, max(0.0, note.end - note.start), note.pitch, note.velocity) for note in instrument.notes
        )
    )


def cut_parts(parts: Iterable[Part], start_s: float, end_s: float, *, lead_s: float) -> list[Part]:
    """What sounds from `start_s` up to `end_s`, moved so that `start_s` becomes `lead_s`; as `playing.cut` does.

    A tone that has begun before begins at `start_s`.
    """
    return [replace(part, tones=tuple(_within(part.tones, start_s, end_s, lead_s))) for part in parts]


def _within(tones: Sequence[Tone], start_s: float, end_s: float, lead_s: float) -> Iterable[Tone]:
    for tone in tones:
        begins, ends = max(tone.time_s, start_s), min(tone.time_s + tone.duration_s, end_s)
        if begins < ends:
            yield tone._replace(time_s=begins - start_s + lead_s, duration_s=ends - begins)


def faster_parts(parts: Iterable[Part], tempo: float) -> list[Part]:
    """The parts at another tempo, of which `tempo` is the factor."""
    return [
        replace(
            part,
            tones=tuple(
                tone._replace(time_s=tone.time_s / tempo, duration_s=tone.duration_s / tempo) for tone in part.tones
            ),
        )
        for part in parts
    ]
