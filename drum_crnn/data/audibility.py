"""The audibility of each note of a recording, which the studio measures.

`X.audibility.csv` beside `X.midi` has one row for each note of the MIDI file, in the order of `midi.read_midi`: time in
seconds, note, velocity, and the audibility in dB that `studio.masking` defines. Recorded corpora have no such files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import FiniteFloat

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.tables import columns_of, read_rows, write_table
from drum_crnn.music.midi import Note

__all__ = ["audibility_path", "read_audibility", "write_audibility"]


@dataclass(frozen=True, slots=True)
class _Row:
    """One note; the fields are the columns of the file."""

    time_s: FiniteFloat
    note: int
    velocity: int
    audibility_db: FiniteFloat


def audibility_path(midi: Path) -> Path:
    """The path of the file that belongs to a MIDI file."""
    return midi.with_suffix(".audibility.csv")


def write_audibility(midi: Path, notes: Sequence[Note], audibility_db: Sequence[float]) -> None:
    """Write the audibility of each note; `notes` are in the order of the MIDI file."""
    rows = (
        (f"{note.time_s:.6f}", note.note, note.velocity, f"{db:.1f}")
        for note, db in zip(notes, audibility_db, strict=True)
    )
    write_table(audibility_path(midi), columns_of(_Row), rows)


def read_audibility(midi: Path, notes: Sequence[Note]) -> list[float] | None:
    """The audibility in dB of each of `notes`, which are all notes of the MIDI file; None if it was not measured.

    Raises
    ------
    DrumCrnnError
        If the file is damaged, or does not list the notes of the MIDI file.
    """
    path = audibility_path(midi)
    if not path.is_file():
        return None
    rows = read_rows(path, _Row, stage="render")
    # By note and velocity: simultaneous notes may have changed places when their times were rounded to ticks.
    of_note: dict[tuple[int, int], list[float]] = {}
    for row in reversed(rows):
        of_note.setdefault((row.note, row.velocity), []).append(row.audibility_db)
    try:
        values = [of_note[note.note, note.velocity].pop() for note in notes]
    except LookupError:
        values = []
    if len(values) != len(notes) or any(of_note.values()):
        raise DrumCrnnError(f"{path}: does not list the notes of {midi.name}; render the corpus again")
    return values
