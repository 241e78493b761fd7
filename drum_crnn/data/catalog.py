"""The catalog: the usable recordings of a corpus, with the size and checksum of every file.

Stage `catalog` makes it from a corpus, and the later stages read it. It depends on the content of the files alone, not
on times or absolute paths. So it has the same bytes in every clone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveInt

from drum_crnn.data.problems import Problem
from drum_crnn.foundation.tables import PositiveNumber, read_rows, write_rows

__all__ = ["Catalog", "CatalogEntry"]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One usable recording; the fields are the columns of `data/catalog.csv`.

    Attributes
    ----------
    recording : str
        Id of the recording: its audio path without suffix.
    performance, kit : str
        What was played, and on which kit; recordings of one performance share all onsets.
    split : str
        The official split, or empty.
    condition : str
        How the recording was made, from the corpus's table; or empty.
    audio_path, midi_path : str
        Relative to the corpus, with `/`.
    n_samples, sample_rate : int
        Length per channel, and rate in Hz, from the audio's header.
    audio_bytes, audio_sha256, midi_bytes, midi_sha256
        Size and checksum of both files.
    """

    recording: str
    performance: str
    kit: str
    drummer: str
    session: str
    style: str
    bpm: PositiveNumber
    beat_type: str
    time_signature: str
    split: Literal["train", "validation", "test", ""]
    condition: str
    audio_path: str
    midi_path: str
    n_samples: PositiveInt
    sample_rate: PositiveInt
    audio_bytes: NonNegativeInt
    audio_sha256: str
    midi_bytes: NonNegativeInt
    midi_sha256: str

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True, slots=True)
class Catalog:
    """The usable recordings, sorted by id, and the problems of the others.

    `problems` is known when the catalog is built, and empty when it is read.
    """

    entries: tuple[CatalogEntry, ...]
    problems: tuple[Problem, ...] = ()

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def performances(self) -> dict[str, list[CatalogEntry]]:
        """The recordings of each performance: performances in sorted order, recordings in the catalog's."""
        groups: dict[str, list[CatalogEntry]] = {}
        for entry in sorted(self.entries, key=lambda entry: entry.performance):
            groups.setdefault(entry.performance, []).append(entry)
        return groups

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `data/catalog.csv`.

        Raises
        ------
        DrumCrnnError
            If the file is missing or damaged.
        """
        entries = read_rows(path, CatalogEntry, key="recording", stage="catalog")
        return cls(tuple(entries))

    def write(self, path: Path) -> None:
        """Write the recordings as CSV, whole or not at all."""
        write_rows(path, CatalogEntry, self.entries)

    def write_problems(self, path: Path) -> None:
        """Write the problems as CSV: file, line of the corpus's table, what is wrong."""
        write_rows(path, Problem, self.problems)
