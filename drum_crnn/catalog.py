"""The catalog: what a corpus holds that can be used, with sizes and checksums of every file.

It is the first thing that the DAG makes of a corpus and what the later stages go by. It depends on the content of the
files alone (no times, no absolute paths), so it has the same bytes in every clone.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Self

from drum_crnn.atomic import write_text
from drum_crnn.corpus import SAMPLE_RATE, CheckedRecording, Corpus, CorpusParams, Problem, check_recordings
from drum_crnn.errors import DrumCrnnError
from drum_crnn.fingerprint import FileState, Fingerprint, hash_files

__all__ = ["Catalog", "CatalogEntry", "build_catalog"]

_N_SHOWN = 5  # problems spelled out when too many stop the run


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One usable recording; the fields are the columns of `data/catalog.csv`.

    Attributes
    ----------
    recording : str
        Identity of the recording: its audio path without suffix.
    performance, kit : str
        What was played and through what; recordings of one performance share all onsets.
    split : str
        The official side, or empty.
    audio_path, midi_path : str
        Relative to the corpus, with `/`.
    n_samples, sample_rate : int
        Length per channel, and rate in Hz, by the audio's header.
    audio_bytes, audio_sha256, midi_bytes, midi_sha256
        Size and content of both files.
    """

    recording: str
    performance: str
    kit: str
    drummer: str
    session: str
    style: str
    bpm: float
    beat_type: str
    time_signature: str
    split: str
    audio_path: str
    midi_path: str
    n_samples: int
    sample_rate: int
    audio_bytes: int
    audio_sha256: str
    midi_bytes: int
    midi_sha256: str

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return self.n_samples / self.sample_rate


_COLUMNS = [field.name for field in fields(CatalogEntry)]
_PARSERS: dict[str, Callable[[str], Any]] = {
    field.name: field.type for field in fields(CatalogEntry) if isinstance(field.type, type)
}


@dataclass(frozen=True, slots=True)
class Catalog:
    """Usable recordings, sorted by identity, and the problems for which others were left out.

    `problems` is known where the catalog was built, and empty where it was read.
    """

    entries: tuple[CatalogEntry, ...]
    problems: tuple[Problem, ...] = ()

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def performances(self) -> dict[str, list[CatalogEntry]]:
        """The recordings of each performance; performances in sorted order, recordings in the catalog's."""
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
            If the file is missing, or a line is not as `write` writes it.
        """
        again = "run `dvc repro catalog` to write it anew"
        entries: dict[str, CatalogEntry] = {}
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.reader(file)
                if next(reader, None) != _COLUMNS:
                    raise DrumCrnnError(f"{path}:1: is no catalog (its columns are {', '.join(_COLUMNS)}); {again}")
                for row in reader:
                    entry = _parse(row)
                    if entry.recording in entries:
                        raise ValueError(f"repeats the recording '{entry.recording}'")
                    entries[entry.recording] = entry
        except FileNotFoundError:
            raise DrumCrnnError(f"{path}: there is no such file; {again}") from None
        except OSError as error:
            raise DrumCrnnError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DrumCrnnError(f"{path}: is not UTF-8 text; {again}") from None
        except (ValueError, csv.Error) as error:
            raise DrumCrnnError(f"{path}:{reader.line_num}: {error}; {again}") from None
        return cls(tuple(entries.values()))

    def write(self, path: Path) -> None:
        """Write the recordings as CSV, whole or not at all."""
        _write_csv(path, _COLUMNS, (astuple(entry) for entry in self.entries))

    def write_problems(self, path: Path) -> None:
        """Write what was left out and why as CSV: file, line of the corpus's table, what."""
        _write_csv(path, [field.name for field in fields(Problem)], (astuple(problem) for problem in self.problems))


def build_catalog(
    corpus: Corpus, watch: Path, params: CorpusParams, *, sample_rate: int = SAMPLE_RATE, workers: int = 1
) -> Catalog:
    """Check every recording of a corpus and take up the sound ones, with the checksums of their files.

    Recordings for which the table names no audio (some of Groove's) are listed among the problems as well, but do not
    count as broken: they were published so.

    Parameters
    ----------
    watch : Path
        What DVC watches: the corpus's directory, whose files are then hashed here, or the fingerprint that
        `drum-crnn corpus scan` wrote, whose checksums are taken over.
    sample_rate : int
        The rate that every recording must have, in Hz.
    workers : int
        Number of processes that check; the catalog does not depend on it.

    Raises
    ------
    DrumCrnnError
        If more than `params.max_broken_fraction` of the recordings are broken, if none is left, or if the fingerprint
        is missing, stale or of another corpus.
    """
    known = None if watch.is_dir() else _checked_fingerprint(corpus, watch)
    if known is None and watch.resolve() != corpus.root.resolve():
        raise DrumCrnnError(
            f"{watch}: corpus.watch is a directory other than the corpus {corpus.root}; set it to the corpus itself, "
            f"or to the fingerprint file that `drum-crnn corpus scan {corpus.root}` writes"
        )
    checked = check_recordings(corpus, sample_rate=sample_rate, workers=workers)
    broken = sorted([*corpus.problems, *(problem for each in checked for problem in each.problems)], key=_by_line)
    _stop_if_too_many(corpus, broken, n_recordings=len(checked) + len(corpus.problems), params=params)
    silent = [
        Problem(recording.midi_path, recording.line, "the table names no audio for this performance")
        for recording in corpus.recordings
        if not recording.audio_path
    ]
    sound = [each for each in checked if not each.problems]
    if not sound:
        raise DrumCrnnError(
            f"{corpus.csv_path}: no recording with audio is left; a corpus without audio has to be rendered first"
        )
    states = _hash(corpus, sound) if known is None else _look_up(corpus, sound, known, watch)
    entries = sorted((_entry(each, states) for each in sound), key=lambda entry: entry.recording)
    return Catalog(tuple(entries), tuple(sorted([*broken, *silent], key=_by_line)))


def _by_line(problem: Problem) -> tuple[int, str, str]:
    return problem.line, problem.file, problem.what


def _stop_if_too_many(corpus: Corpus, broken: list[Problem], *, n_recordings: int, params: CorpusParams) -> None:
    n_broken = len({problem.line for problem in broken})
    if n_broken <= params.max_broken_fraction * n_recordings:
        return
    shown = "\n".join(f"  {problem}" for problem in broken[:_N_SHOWN])
    more = f"\n  and {len(broken) - _N_SHOWN} more" if len(broken) > _N_SHOWN else ""
    raise DrumCrnnError(
        f"{corpus.csv_path}: {n_broken} of {n_recordings} recordings are broken, more than corpus.max_broken_fraction "
        f"({params.max_broken_fraction:g}) allows; repair them or raise it:\n{shown}{more}"
    )


def _checked_fingerprint(corpus: Corpus, watch: Path) -> Fingerprint:
    """The fingerprint in the file `watch`, if it is that of this corpus's table."""
    fingerprint = Fingerprint.read(watch)
    name = corpus.csv_path.name
    ((_, sha256),) = hash_files(corpus.root, [name], description="reading the table")
    if name not in fingerprint.files or fingerprint.files[name].sha256 != sha256:
        raise _stale(corpus, watch, f"is not of the table {corpus.csv_path} as it is now")
    return fingerprint


def _look_up(
    corpus: Corpus, sound: list[CheckedRecording], fingerprint: Fingerprint, watch: Path
) -> dict[str, FileState]:
    for name in _files_of(sound):
        state = fingerprint.files.get(name)
        if state is None:
            raise _stale(corpus, watch, f"does not have {name}")
        n_bytes = (corpus.root / name).stat().st_size
        if n_bytes != state.n_bytes:
            raise _stale(corpus, watch, f"has {name} with {state.n_bytes} bytes, but it has {n_bytes} now")
    return fingerprint.files


def _stale(corpus: Corpus, watch: Path, what: str) -> DrumCrnnError:
    return DrumCrnnError(f"{watch}: this fingerprint {what}; run `drum-crnn corpus scan {corpus.root}`")


def _hash(corpus: Corpus, sound: list[CheckedRecording]) -> dict[str, FileState]:
    checksums = hash_files(corpus.root, _files_of(sound), description="hashing the corpus")
    return {name: FileState((corpus.root / name).stat().st_size, sha256) for name, sha256 in checksums}


def _files_of(sound: list[CheckedRecording]) -> list[str]:
    """Audio and MIDI of the recordings, each once: several recordings may share a MIDI file."""
    names = {each.recording.audio_path for each in sound} | {each.recording.midi_path for each in sound}
    return sorted(names)


def _entry(checked: CheckedRecording, states: dict[str, FileState]) -> CatalogEntry:
    recording, info = checked.recording, checked.audio
    assert info is not None, "a recording without problems has an audio header"
    audio, midi = states[recording.audio_path], states[recording.midi_path]
    return CatalogEntry(
        recording=recording.id,
        performance=recording.performance,
        kit=recording.kit,
        drummer=recording.drummer,
        session=recording.session,
        style=recording.style,
        bpm=recording.bpm,
        beat_type=recording.beat_type,
        time_signature=recording.time_signature,
        split=recording.split,
        audio_path=recording.audio_path,
        midi_path=recording.midi_path,
        n_samples=info.n_samples,
        sample_rate=info.sample_rate,
        audio_bytes=audio.n_bytes,
        audio_sha256=audio.sha256,
        midi_bytes=midi.n_bytes,
        midi_sha256=midi.sha256,
    )


def _parse(row: list[str]) -> CatalogEntry:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"has {len(row)} fields, expected {len(_COLUMNS)}")
    values: dict[str, Any] = {}
    for column, text in zip(_COLUMNS, row, strict=True):
        try:
            values[column] = _PARSERS[column](text)
        except ValueError:
            raise ValueError(f"'{column}' is '{text}', which is not a number") from None
    entry = CatalogEntry(**values)
    if entry.n_samples <= 0 or entry.sample_rate <= 0:
        raise ValueError("'n_samples' and 'sample_rate' should be above zero")
    return entry


def _write_csv(path: Path, header: list[str], rows: Iterable[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
