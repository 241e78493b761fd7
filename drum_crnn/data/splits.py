"""Splits: which recordings train, validate and test the model.

All recordings of a performance are in one split, since they share every onset. Held-out kits are in the test split
alone; their recordings of other performances are `unused`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.foundation.tables import read_rows, write_rows

__all__ = ["SPLITS", "Split", "SplitRow", "Splits", "check_no_leak", "leak_error"]

Split = Literal["train", "validation", "test", "unused"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class SplitRow:
    """The split of one recording; the fields are the columns of `data/splits.csv`."""

    recording: str
    performance: str
    kit: str
    split: Split


@dataclass(frozen=True, slots=True)
class Splits:
    """The split of every recording of the catalog, in its order."""

    rows: tuple[SplitRow, ...]

    def __iter__(self) -> Iterator[SplitRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def recordings(self, split: str) -> list[str]:
        """The ids of the recordings in `split`, one of `SPLITS`.

        Raises
        ------
        ValueError
            If there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split '{split}'; the splits are {', '.join(SPLITS)}")
        return [row.recording for row in self.rows if row.split == split]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `data/splits.csv`.

        Raises
        ------
        DrumCrnnError
            If the file is missing or damaged, or a performance is in two splits.
        """
        splits = cls(tuple(read_rows(path, SplitRow, key="recording", stage="split")))
        try:
            check_no_leak(splits)
        except DrumCrnnError as error:
            raise damaged_error(path, error, "split") from None
        return splits

    def write(self, path: Path) -> None:
        """Write as CSV, whole or not at all."""
        write_rows(path, SplitRow, self.rows)


def check_no_leak(splits: Splits) -> None:
    """Check that no performance is in two of the splits train, validation and test.

    Raises
    ------
    DrumCrnnError
        If one is; the message names the first.
    """
    first: dict[str, SplitRow] = {}
    for row in splits:
        if row.split == "unused":
            continue
        known = first.setdefault(row.performance, row)
        if known.split != row.split:
            raise leak_error(row.performance, (known.recording, known.split), (row.recording, row.split))


def leak_error(performance: str, one: tuple[str, str], other: tuple[str, str]) -> DrumCrnnError:
    """The error for two recordings of one performance in different splits, each given with its split."""
    return DrumCrnnError(
        f"performance '{performance}' is in two splits ('{one[0]}' in {one[1]}, '{other[0]}' in {other[1]}), which "
        "leaks test data into training; put all its recordings into one split, or set split.honour_official to false "
        "to draw all splits anew"
    )
