"""Recorded corpora as published: E-GMD, Groove, and what the studio renders in E-GMD's layout.

A corpus is a directory with one table (`e-gmd-v1.0.0.csv`, Groove's `info.csv`, or any one CSV with the same header)
whose rows name a MIDI and an audio file. `Corpus.open` reads the table alone; `preparation.checking` looks at the files
that it names.

A fault of one row or one file is a `Problem`; a fault that makes the whole corpus unusable is a `DrumCrnnError`.

References
----------
Callender, Hawthorne & Engel, "Improving Perceptual Quality of Drum Transcription with the Expanded Groove MIDI
Dataset", 2020. Gillick, Roberts, Engel, Eck & Bamman, "Learning to Groove with Inverse Sequence Transformations",
ICML 2019.
"""

import csv
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field

from drum_crnn.data.problems import Problem
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.foundation.tables import PositiveNumber, columns_of, parse_row

__all__ = [
    "CONDITION_COLUMN",
    "EGMD_COLUMNS",
    "GROOVE_KIT",
    "OFFICIAL_SPLITS",
    "SAMPLE_RATE",
    "Corpus",
    "CorpusParams",
    "OfficialSplit",
    "Recording",
]

SAMPLE_RATE = 44_100  # Hz; of E-GMD, of Groove and of the studio
GROOVE_KIT = "Groove"  # Groove was recorded with one kit, and its table does not name it
OFFICIAL_SPLITS = ("train", "validation", "test")
OfficialSplit = Literal["train", "validation", "test", ""]  # empty: the table does not say


def _plain_path(text: str) -> str:
    """A path of the table in its shortest form, if it stays within the corpus."""
    if not text:
        return ""
    if text.isprintable() and "\\" not in text and ":" not in text and not {"", ".", ".."} & {*text.split("/")}:
        return text  # as nearly all are; parsing all paths of E-GMD takes longer than reading its table
    if "\\" in text or not text.isprintable():
        raise ValueError(f"is {text!r}; write plain characters, with '/' between the parts")
    path = PurePosixPath(text)
    if path.is_absolute() or PureWindowsPath(text).drive:
        raise ValueError(f"is the absolute path '{text}'; write it relative to the corpus")
    if ".." in path.parts:
        raise ValueError(f"is '{text}', which may lead out of the corpus; write it without '..'")
    if not path.name:
        raise ValueError(f"is '{text}', which names no file")
    return path.as_posix()


_Text = Annotated[str, Field(min_length=1)]
_Path = AfterValidator(_plain_path)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table: the columns of E-GMD's, in its order, and an additional one of the studio's.

    Groove's table has the same names in another order, and no kit. `condition` says how a recording was made.
    """

    drummer: str
    session: str
    id: _Text
    style: str
    bpm: PositiveNumber
    beat_type: str
    time_signature: str
    duration: PositiveNumber
    split: OfficialSplit
    midi_filename: Annotated[_Text, _Path]
    audio_filename: Annotated[str, _Path]
    kit_name: _Text = GROOVE_KIT
    condition: str = ""


EGMD_COLUMNS = tuple(columns_of(_Row)[:-1])
CONDITION_COLUMN = "condition"
_KIT_COLUMN = "kit_name"
_REQUIRED_COLUMNS = EGMD_COLUMNS[:-1]


class CorpusParams(ParamsSection):
    """Where the corpus lies, and how much of it may be broken.

    Attributes
    ----------
    root : Path
        Directory that holds the table.
    watch : Path
        What DVC watches for changes: `root` itself, or the fingerprint file of a tree outside the repository.
    max_broken_fraction : float
        Largest fraction of the recordings that may be left out as broken.
    """

    section: ClassVar[str] = "corpus"

    root: Path
    watch: Path
    max_broken_fraction: Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True, slots=True)
class Recording:
    """One row of the table: one performance through one kit.

    Attributes
    ----------
    id : str
        The audio file's relative path without suffix (the MIDI file's, if the table names no audio).
    performance : str
        The table's `id`, which E-GMD repeats across kits.
    duration_s : float
        Duration of the performance, from the table.
    split : str
        "train", "validation", "test", or empty if the table does not tell.
    midi_path, audio_path : str
        Relative to the corpus, with `/`. `audio_path` is empty for the performances that Groove published as MIDI only.
    condition : str
        How the recording was made, such as "plain" or the name of a variation; empty if the table does not tell.
    line : int
        Line of the table, counted from 1.
    """

    id: str
    performance: str
    kit: str
    drummer: str
    session: str
    style: str
    bpm: float
    beat_type: str
    time_signature: str
    duration_s: float
    split: OfficialSplit
    midi_path: str
    audio_path: str
    condition: str
    line: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """The table of a corpus, in its own order.

    Attributes
    ----------
    root, csv_path : Path
        The directory and the table in it.
    recordings : list of Recording
        The valid rows.
    problems : list of Problem
        The faults of the other rows.
    """

    root: Path
    csv_path: Path
    recordings: list[Recording]
    problems: list[Problem]

    @classmethod
    def open(cls, root: Path) -> Self:
        """Read the table in `root`; no audio and no MIDI is opened.

        Raises
        ------
        DrumCrnnError
            If `root` is no directory, holds no table or several, or the table lacks a column or is not text.
        """
        csv_path = _find_table(root)
        recordings: list[Recording] = []
        problems: list[Problem] = []
        line_of_id: dict[str, int] = {}
        for line, row in _rows(csv_path):
            try:
                recording = _recording(row, line)
                if recording.id in line_of_id:
                    raise ValueError(f"repeats the recording '{recording.id}' of line {line_of_id[recording.id]}")
            except ValueError as error:
                problems.append(Problem(csv_path.name, line, str(error)))
                continue
            line_of_id[recording.id] = line
            recordings.append(recording)
        if not recordings and not problems:
            raise DrumCrnnError(f"{csv_path}: the table has no rows; a corpus needs at least one recording")
        return cls(root=root, csv_path=csv_path, recordings=recordings, problems=problems)


def _find_table(root: Path) -> Path:
    if not root.is_dir():
        raise DrumCrnnError(f"{root}: there is no such directory; set corpus.root to the folder of the corpus")
    tables = sorted(path for path in root.glob("*.csv") if not path.name.startswith("."))
    for pattern in ("e-gmd-v*.csv", "info.csv"):
        named = [path for path in tables if path.match(pattern)]
        if len(named) == 1:
            return named[0]
    if len(tables) > 1:
        tables = [path for path in tables if "audio_filename" in _header(path)]
    if len(tables) == 1:
        return tables[0]
    if tables:
        names = ", ".join(path.name for path in tables)
        raise DrumCrnnError(f"{root}: holds several tables ({names}); keep only the one that describes the corpus")
    below = sorted([*root.glob("*/e-gmd-v*.csv"), *root.glob("*/info.csv")])
    hint = f"did you mean {below[0].parent}?" if below else "it should hold e-gmd-v1.0.0.csv, info.csv or a similar CSV"
    raise DrumCrnnError(f"{root}: holds no table of recordings; {hint}")


def _header(csv_path: Path) -> list[str]:
    for _, row in _records(csv_path):
        return [name.strip() for name in row]
    return []


def _rows(csv_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields by column of each row that is not blank; a row of the wrong length has no fields."""
    header: list[str] = []
    for line, row in _records(csv_path):
        if not header:
            header = [name.strip() for name in row]
            missing = [name for name in _REQUIRED_COLUMNS if name not in header]
            if missing:
                names = ", ".join(f"'{name}'" for name in missing)
                raise DrumCrnnError(
                    f"{csv_path}:{line}: the header lacks {names}; expected the columns {', '.join(_REQUIRED_COLUMNS)} "
                    f"and, with several kits, {_KIT_COLUMN}"
                )
        elif row:
            fields = dict(zip(header, row, strict=True)) if len(row) == len(header) else {}
            yield line, fields
    if not header:
        raise DrumCrnnError(f"{csv_path}: the table is empty; expected a header with {', '.join(_REQUIRED_COLUMNS)}")


def _records(csv_path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise refused_error(csv_path, error) from None
    except UnicodeDecodeError:
        raise DrumCrnnError(f"{csv_path}: is not UTF-8 text; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise DrumCrnnError(f"{csv_path}:{reader.line_num}: is not valid CSV: {error}") from None


def _recording(fields: dict[str, str], line: int) -> Recording:
    if not fields:
        raise ValueError("has more or fewer fields than the header")
    row = parse_row(_Row, fields)
    return Recording(
        id=posixpath.splitext(row.audio_filename or row.midi_filename)[0],
        performance=row.id,
        kit=row.kit_name,
        drummer=row.drummer,
        session=row.session,
        style=row.style,
        bpm=row.bpm,
        beat_type=row.beat_type,
        time_signature=row.time_signature,
        duration_s=row.duration,
        split=row.split,
        midi_path=row.midi_filename,
        audio_path=row.audio_filename,
        condition=row.condition,
        line=line,
    )
