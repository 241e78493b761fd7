"""Recorded corpora as published: E-GMD, Groove, and what the studio renders in E-GMD's layout.

A corpus is a directory with one table (`e-gmd-v1.0.0.csv`, Groove's `info.csv`, or any one CSV with the same header)
whose rows name a MIDI and an audio file. `Corpus.open` reads the table alone; `check_recordings` and `validate` look at
the files it names, audio by the header only, so that all 45,537 recordings of E-GMD can be checked.

What is wrong with one row or one file is a `Problem`; what makes the whole corpus unusable is a `DrumCrnnError`.

References
----------
Callender, Hawthorne & Engel, "Improving Perceptual Quality of Drum Transcription with the Expanded Groove MIDI
Dataset", 2020. Gillick, Roberts, Engel, Eck & Bamman, "Learning to Groove with Inverse Sequence Transformations",
ICML 2019.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, ClassVar, Self

from pydantic import Field

from drum_crnn.audio import AudioInfo, probe, read_blocks
from drum_crnn.console import track
from drum_crnn.errors import DrumCrnnError
from drum_crnn.interruption import worker_pool
from drum_crnn.lanes import LANE_OF_NOTE, UNMAPPED_NOTES
from drum_crnn.midi import read_midi
from drum_crnn.params import ParamsSection
from drum_crnn.problems import Problem

__all__ = [
    "CONDITION_COLUMN",
    "EGMD_COLUMNS",
    "GROOVE_KIT",
    "MAX_RING_S",
    "MAX_SHORTFALL_S",
    "OFFICIAL_SIDES",
    "SAMPLE_RATE",
    "CheckedRecording",
    "Corpus",
    "CorpusParams",
    "Recording",
    "check_recordings",
    "validate",
]

SAMPLE_RATE = 44_100  # Hz; of E-GMD, of Groove and of the studio
GROOVE_KIT = "Groove"  # Groove was recorded with one kit, and its table does not name it
OFFICIAL_SIDES = ("train", "validation", "test")

# The table's `duration` is that of the performance: a recording that ends this much earlier lost notes, while one that
# rings on after the last note is whole. Beyond a cymbal's decay it belongs to another performance.
MAX_SHORTFALL_S = 0.5
MAX_RING_S = 5.0

# The header of E-GMD's table, in its order; Groove's has the same names in another, and no kit.
EGMD_COLUMNS = (
    "drummer",
    "session",
    "id",
    "style",
    "bpm",
    "beat_type",
    "time_signature",
    "duration",
    "split",
    "midi_filename",
    "audio_filename",
    "kit_name",
)
# What the studio's table has besides: how a recording was made.
CONDITION_COLUMN = "condition"
_KIT_COLUMN = EGMD_COLUMNS[-1]
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
        That of the performance, as the table has it.
    split : str
        "train", "validation", "test", or empty if the table does not say.
    midi_path, audio_path : str
        Relative to the corpus, with `/`. `audio_path` is empty for the performances that Groove published as MIDI only.
    condition : str
        How the recording was made, such as "plain" or the name of a variation; empty if the table does not say.
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
    split: str
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
        The rows that can be understood.
    problems : list of Problem
        The rows that cannot; these are in no other list.
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
            If `root` is no directory, holds no table or several, or the table lacks a column or is no text.
        """
        csv_path = _find_table(root)
        recordings: list[Recording] = []
        problems: list[Problem] = []
        line_of_id: dict[str, int] = {}
        for line, row in _rows(csv_path):
            try:
                recording = _parse_row(row, line)
                if recording.id in line_of_id:
                    raise _RowError(f"repeats the recording '{recording.id}' of line {line_of_id[recording.id]}")
            except _RowError as error:
                problems.append(Problem(csv_path.name, line, str(error)))
                continue
            line_of_id[recording.id] = line
            recordings.append(recording)
        if not recordings and not problems:
            raise DrumCrnnError(f"{csv_path}: the table has no rows; a corpus needs at least one recording")
        return cls(root=root, csv_path=csv_path, recordings=recordings, problems=problems)


@dataclass(frozen=True, slots=True)
class CheckedRecording:
    """A recording after a look at its files; `audio` is None if and only if `problems` is not empty."""

    recording: Recording
    audio: AudioInfo | None
    problems: tuple[Problem, ...]


def check_recordings(corpus: Corpus, *, sample_rate: int = SAMPLE_RATE, workers: int = 1) -> list[CheckedRecording]:
    """Look at the files of every recording that has audio, in the order of the table.

    Found are: missing files; audio that cannot be read, is empty, is cut short, or has another rate or length than it
    should; MIDI that cannot be read or holds a note of no known meaning.

    Parameters
    ----------
    sample_rate : int
        The rate that every recording must have, in Hz.
    workers : int
        Number of processes; the answer does not depend on it.
    """
    groups: dict[str, list[Recording]] = {}
    for recording in corpus.recordings:
        if recording.audio_path:
            groups.setdefault(recording.performance, []).append(recording)
    check = partial(_check_performance, corpus.root, sample_rate)
    checked: list[CheckedRecording] = []
    description = "checking the corpus"
    if workers <= 1:
        for group in track(groups.values(), description=description):
            checked.extend(check(group))
    else:
        with worker_pool(workers) as pool:
            results = pool.map(check, groups.values(), chunksize=4)
            for result in track(results, description=description, total=len(groups)):
                checked.extend(result)
    return sorted(checked, key=lambda each: each.recording.line)


def validate(corpus: Corpus, *, sample_rate: int = SAMPLE_RATE, workers: int = 1) -> list[Problem]:
    """Everything that is wrong with the table's rows and with the files that they name, in the order of the table.

    See Also
    --------
    check_recordings : what is looked for in the files.
    """
    problems = list(corpus.problems)
    for checked in check_recordings(corpus, sample_rate=sample_rate, workers=workers):
        problems.extend(checked.problems)
    return sorted(problems, key=lambda problem: (problem.line, problem.file, problem.what))


class _RowError(Exception):
    """What is wrong with one row of a table."""


def _find_table(root: Path) -> Path:
    if not root.is_dir():
        raise DrumCrnnError(f"{root}: there is no such directory; set corpus.root to where the corpus was unpacked")
    tables = sorted(root.glob("*.csv"))
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
        raise DrumCrnnError(f"{root}: several tables ({names}); keep the one that describes the corpus")
    below = sorted([*root.glob("*/e-gmd-v*.csv"), *root.glob("*/info.csv")])
    hint = f"did you mean {below[0].parent}?" if below else "it should hold e-gmd-v1.0.0.csv, info.csv or the like"
    raise DrumCrnnError(f"{root}: no table of recordings here; {hint}")


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
        raise DrumCrnnError(f"{csv_path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DrumCrnnError(f"{csv_path}: is not UTF-8 text; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise DrumCrnnError(f"{csv_path}:{reader.line_num}: is not valid CSV: {error}") from None


def _parse_row(row: dict[str, str], line: int) -> Recording:
    if not row:
        raise _RowError("has more or fewer fields than the header")
    midi_path = _relative_path(row, "midi_filename")
    audio_path = _relative_path(row, "audio_filename") if row["audio_filename"] else ""
    if not row["id"]:
        raise _RowError("'id' is empty; it names the performance")
    split = row["split"]
    if split and split not in OFFICIAL_SIDES:
        raise _RowError(f"'split' is '{split}'; expected {', '.join(OFFICIAL_SIDES)} or nothing")
    kit = row.get(_KIT_COLUMN, GROOVE_KIT)
    if not kit:
        raise _RowError(f"'{_KIT_COLUMN}' is empty")
    return Recording(
        id=PurePosixPath(audio_path or midi_path).with_suffix("").as_posix(),
        performance=row["id"],
        kit=kit,
        drummer=row["drummer"],
        session=row["session"],
        style=row["style"],
        bpm=_positive_number(row, "bpm"),
        beat_type=row["beat_type"],
        time_signature=row["time_signature"],
        duration_s=_positive_number(row, "duration"),
        split=split,
        midi_path=midi_path,
        audio_path=audio_path,
        condition=row.get(CONDITION_COLUMN, ""),
        line=line,
    )


def _positive_number(row: dict[str, str], column: str) -> float:
    text = row[column]
    try:
        value = float(text)
    except ValueError:
        raise _RowError(f"'{column}' is '{text}', which is not a number") from None
    if not (math.isfinite(value) and value > 0):
        raise _RowError(f"'{column}' is {text}; expected a finite number above zero")
    return value


def _relative_path(row: dict[str, str], column: str) -> str:
    """The path in `column` in its shortest form, if it stays within the corpus."""
    text = row[column]
    if not text:
        raise _RowError(f"'{column}' is empty")
    if "\\" in text or not text.isprintable():
        raise _RowError(f"'{column}' is {text!r}; write plain characters, with '/' between the parts")
    path = PurePosixPath(text)
    if path.is_absolute() or PureWindowsPath(text).drive:
        raise _RowError(f"'{column}' is the absolute path '{text}'; write it relative to the corpus")
    if ".." in path.parts:
        raise _RowError(f"'{column}' climbs with '..' ('{text}'), perhaps out of the corpus; write it without")
    if not path.name:
        raise _RowError(f"'{column}' is '{text}', which names no file")
    return path.as_posix()


def _check_performance(root: Path, sample_rate: int, group: Sequence[Recording]) -> list[CheckedRecording]:
    """Check the recordings of one performance: most of its kits share one MIDI content, which is read once."""
    faults_of_midi: dict[bytes, list[str]] = {}
    checked = []
    for recording in group:
        audio, audio_faults = _check_audio(root / recording.audio_path, recording.duration_s, sample_rate)
        midi_faults = _check_midi(root / recording.midi_path, faults_of_midi)
        problems = [Problem(recording.audio_path, recording.line, what) for what in audio_faults]
        problems += [Problem(recording.midi_path, recording.line, what) for what in midi_faults]
        checked.append(CheckedRecording(recording, None if problems else audio, tuple(problems)))
    return checked


def _check_audio(path: Path, duration_s: float, sample_rate: int) -> tuple[AudioInfo | None, list[str]]:
    try:
        audio = probe(path)
        if not audio.is_pcm:
            # What is compressed can be damaged, and what is floating can be NaN, behind a sound header.
            for _ in read_blocks(path, sample_rate=audio.sample_rate):
                pass
    except DrumCrnnError as error:
        return None, [_without_path(error, path)]
    faults = []
    if audio.sample_rate != sample_rate:
        faults.append(f"the sample rate is {audio.sample_rate} Hz; expected {sample_rate} Hz")
    if not duration_s - MAX_SHORTFALL_S <= audio.duration_s <= duration_s + MAX_RING_S:
        faults.append(f"the audio lasts {audio.duration_s:.2f} s, but the table says {duration_s:.2f} s")
    return audio, faults


def _check_midi(path: Path, known: dict[bytes, list[str]]) -> list[str]:
    """The faults of a MIDI file; `known` remembers them by content."""
    try:
        content = hashlib.sha256(path.read_bytes()).digest()
    except FileNotFoundError:
        return ["there is no such file"]
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
    if content not in known:
        known[content] = _midi_faults(path)
    return known[content]


def _midi_faults(path: Path) -> list[str]:
    try:
        notes = read_midi(path)
    except DrumCrnnError as error:
        return [_without_path(error, path)]
    first: dict[int, float] = {}
    for note in notes:
        if note.note not in LANE_OF_NOTE and note.note not in UNMAPPED_NOTES:
            first.setdefault(note.note, note.time_s)
    return [
        f"note {number} (first at {time_s:.3f} s) belongs to no lane and is not among the notes known to be ignored"
        for number, time_s in sorted(first.items())
    ]


def _without_path(error: DrumCrnnError, path: Path) -> str:
    """The message of `error` without the place of `path` on this machine."""
    return str(error).removeprefix(f"{path}: ").replace(str(path), path.name)
