"""Performances, which the studio plays: generated, or read from MIDI files."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drum_crnn.band.players import Part
from drum_crnn.data.corpus import Corpus, Recording
from drum_crnn.foundation.console import track
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import Note, canonical_midi, read_midi
from drum_crnn.music.recordings import is_hidden, visible_files

__all__ = ["Performance", "midi_files", "read_performances", "select_hours"]


@dataclass(frozen=True, slots=True)
class Performance:
    """One human or generated performance; fields are named as in E-GMD's table.

    Attributes
    ----------
    id : str
        Unique, and usable as a relative path: "drummer1/session1/12".
    split : str
        "train", "validation" or "test"; empty if it is not decided.
    notes : tuple of Note
        Sorted by time.
    parts : tuple of Part
        What other instruments play with it, in a song (`drum_crnn.studio.songs`).
    """

    id: str
    drummer: str
    session: str
    style: str
    bpm: float
    beat_type: str
    time_signature: str
    split: str
    notes: tuple[Note, ...]
    parts: tuple[Part, ...] = ()

    @property
    def last_onset_s(self) -> float:
        """Time of the last note, in seconds."""
        return self.notes[-1].time_s if self.notes else 0.0


def read_performances(root: Path) -> list[Performance]:
    """Read the performances below a folder: a tree with Groove's or E-GMD's table, or any folder of MIDI files.

    Raises
    ------
    DrumCrnnError
        If the folder holds neither a table nor a `.mid` or `.midi` file, the table has a broken row, or a file cannot
        be read.
    """
    if any(not is_hidden(Path(path.name)) for path in root.glob("*.csv")):
        return _read_table(Corpus.open(root))
    performances = []
    for path in midi_files(root):
        name = path.relative_to(root).with_suffix("").as_posix()
        group = path.parent.name if path.parent != root else "midi"
        performances.append(
            Performance(
                id=name,
                drummer="unknown",
                session=group,
                style=group,
                bpm=120.0,
                beat_type="beat",
                time_signature="4-4",
                split="",
                notes=tuple(read_midi(path)),
            )
        )
    return performances


def midi_files(root: Path) -> list[Path]:
    """The MIDI files below a folder, in order of their paths.

    Raises
    ------
    DrumCrnnError
        If there is none.
    """
    paths = [path for path in visible_files(root) if path.suffix.lower() in (".mid", ".midi")]
    if not paths:
        raise DrumCrnnError(
            f"{root}: holds no table and no .mid or .midi file; set render.performances, or render.songs, to a folder "
            "that holds one"
        )
    return paths


def _read_table(corpus: Corpus) -> list[Performance]:
    if corpus.problems:
        raise DrumCrnnError(f"{corpus.csv_path}: {corpus.problems[0]}")
    rows_of: dict[str, list[Recording]] = {}
    for row in corpus.recordings:
        rows_of.setdefault(row.performance, []).append(row)
    performances = []
    for name, rows in track(rows_of.items(), description="reading performances", total=len(rows_of)):
        # E-GMD lists a performance once for each kit; the MIDI is as that kit's pad map changed it.
        notes_of_row = [read_midi(corpus.root / row.midi_path) for row in rows]
        row = rows[0]
        performances.append(
            Performance(
                id=name,
                drummer=row.drummer,
                session=row.session,
                style=row.style,
                bpm=row.bpm,
                beat_type=row.beat_type,
                time_signature=row.time_signature,
                split=row.split,
                notes=tuple(notes_of_row[canonical_midi(notes_of_row)]),
            )
        )
    return performances


def select_hours(
    performances: Iterable[Performance], hours: Mapping[str, float | None], *, seed: int
) -> list[Performance]:
    """Select performances of each split, in an order drawn from the seed, until the split's hours are reached.

    Parameters
    ----------
    hours : mapping
        Hours of each split; None, or a missing split, selects all.

    Returns
    -------
    list of Performance
        Sorted by id. A selection of more hours contains that of fewer.
    """

    def draw(performance: Performance) -> float:
        return float(np.random.default_rng([seed, zlib.crc32(performance.id.encode())]).random())

    selected_s: dict[str, float] = {}
    selected = []
    for performance in sorted(performances, key=lambda p: (draw(p), p.id)):
        limit = hours.get(performance.split)
        so_far = selected_s.get(performance.split, 0.0)
        if limit is None or so_far < 3600.0 * limit:
            selected.append(performance)
            selected_s[performance.split] = so_far + performance.last_onset_s
    return sorted(selected, key=lambda performance: performance.id)
