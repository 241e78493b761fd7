"""Fingerprints, which DVC watches in place of a corpus outside the repository.

`drum-crnn corpus scan ROOT` writes a small file with the size and checksum of every file of a corpus. DVC hashes that
file instead of 132 GB. A second file, outside the DAG, remembers sizes and times of modification. So a later scan reads
only new and changed files, and calls `stat` once for each of the others.
"""

import contextlib
import gc
import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt

from drum_crnn.data.corpus import Corpus
from drum_crnn.foundation.console import track, warn
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.foundation.tables import TableError, columns_of, iter_rows, write_rows, write_table

__all__ = ["FileState", "Fingerprint", "ScanSummary", "hash_files", "scan"]

# A file changed twice within one tick of the file system's clock (two seconds at worst, on FAT) keeps its time, so a
# checksum taken that soon after the change must not be remembered.
_RACY_NS = 2_000_000_000

_SAVE_EVERY = 1000  # files hashed between two saves of the memory; a killed scan repeats at most these


@dataclass(frozen=True, slots=True)
class FileState:
    """Size and content checksum of one file; `sha256` in lower-case hexadecimal."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Size and checksum of every file of a corpus, by relative path. It does not depend on the corpus's location."""

    files: dict[str, FileState]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a fingerprint that `scan` wrote.

        Raises
        ------
        DrumCrnnError
            If the file is missing or is not a fingerprint.
        """
        again = "run `drum-crnn corpus scan ROOT` with the corpus's directory"
        try:
            return cls({row.path: FileState(row.bytes, row.sha256) for row in iter_rows(path, _FingerprintRow)})
        except FileNotFoundError:
            raise DrumCrnnError(f"{path}: there is no fingerprint of the corpus yet; {again}") from None
        except OSError as error:
            raise refused_error(path, error) from None
        except TableError as error:
            raise DrumCrnnError(f"{path}: is not a fingerprint of a corpus ({error}); {again}") from None

    def write(self, path: Path) -> None:
        """Write as CSV sorted by path: equal trees give equal bytes, regardless of their location and age."""
        _write_fingerprint(path, {name: (state.n_bytes, state.sha256) for name, state in self.files.items()})


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What a scan did: files in the fingerprint, files and bytes read for it, and missing files."""

    n_files: int
    n_hashed: int
    n_bytes_hashed: int
    n_missing: int


_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class _FingerprintRow:
    path: str
    bytes: NonNegativeInt
    sha256: _Sha256


@dataclass(frozen=True, slots=True)
class _MemoryRow:
    path: str
    bytes: NonNegativeInt
    mtime_ns: int
    sha256: _Sha256


def scan(root: Path, fingerprint_path: Path, memory_path: Path, *, workers: int | None = None) -> ScanSummary:
    """Write the fingerprint of the corpus in `root`, reading only files that are new or changed since the last scan.

    Parameters
    ----------
    root : Path
        Directory of the corpus. The fingerprint covers its table and all files that the table names; missing ones are
        counted.
    fingerprint_path : Path
        The file that DVC watches; replaced as a whole.
    memory_path : Path
        The file that remembers sizes, times and checksums, for any number of corpora; safe to delete.
    workers : int, optional
        Files read at the same time; default as in `hash_files`.

    Raises
    ------
    DrumCrnnError
        If the corpus cannot be opened or a file cannot be read.
    """
    with _without_garbage_collection():
        return _scan(root, fingerprint_path, memory_path, workers)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Search for no cycles. Rows of large tables have none, and the search takes a fifth of a warm scan."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _scan(root: Path, fingerprint_path: Path, memory_path: Path, workers: int | None) -> ScanSummary:
    corpus = Corpus.open(root)
    names = {corpus.csv_path.name}
    for recording in corpus.recordings:
        names.update((recording.midi_path, recording.audio_path))
    names.discard("")
    base = str(root.resolve())
    memory = _read_memory(memory_path)
    kept = {path: known for path, known in memory.items() if not path.startswith(base + os.sep)}

    started_ns = time.time_ns()
    states: dict[str, tuple[int, str]] = {}
    changed: dict[str, os.stat_result] = {}
    n_missing = 0
    for name in sorted(names):
        path = _absolute(base, name)
        try:
            found = os.stat(path)  # noqa: PTH116 - building a Path for each would take longer than the call
        except OSError:
            n_missing += 1
            continue
        known = memory.get(path)
        if known is not None and (known.bytes, known.mtime_ns) == (found.st_size, found.st_mtime_ns):
            states[name] = known.bytes, known.sha256
            kept[path] = known
        else:
            changed[name] = found

    n_bytes_hashed = 0
    try:
        hashed = hash_files(root, list(changed), workers=workers, description="hashing new files")
        for count, (name, sha256) in enumerate(hashed, start=1):
            found = changed[name]
            n_bytes_hashed += found.st_size
            states[name] = found.st_size, sha256
            if found.st_mtime_ns < started_ns - _RACY_NS:
                path = _absolute(base, name)
                kept[path] = _MemoryRow(path, found.st_size, found.st_mtime_ns, sha256)
            if count % _SAVE_EVERY == 0:
                _write_memory(memory_path, kept)
    finally:  # so that an interrupted scan can resume
        if kept != memory:
            _write_memory(memory_path, kept)
    _write_fingerprint(fingerprint_path, states)
    return ScanSummary(len(states), len(changed), n_bytes_hashed, n_missing)


def hash_files(
    root: Path, names: list[str], *, workers: int | None = None, description: str, algorithm: str = "sha256"
) -> Iterator[tuple[str, str]]:
    """Name and checksum (hexadecimal) of each file `root / name`, in the order given, with a progress bar.

    Parameters
    ----------
    workers : int, optional
        Threads, which run in parallel, since hashing releases the GIL. Default: one for each core, at most eight.

    Raises
    ------
    DrumCrnnError
        If a file cannot be read.
    """
    if not names:
        return
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        try:
            digests = pool.map(lambda name: _digest(root / name, algorithm), names)
            yield from zip(names, track(digests, description=description, total=len(names)), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _absolute(base: str, name: str) -> str:
    return f"{base}{os.sep}{name}"


def _digest(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise refused_error(path, error) from None


def _write_fingerprint(path: Path, states: dict[str, tuple[int, str]]) -> None:
    rows = ((name, *states[name]) for name in sorted(states))
    write_table(path, columns_of(_FingerprintRow), rows)


def _read_memory(path: Path) -> dict[str, _MemoryRow]:
    try:
        return {row.path: row for row in iter_rows(path, _MemoryRow)}
    except FileNotFoundError:
        return {}
    except (OSError, TableError) as error:
        warn(f"{path}: the remembered checksums cannot be used ({error}); every file is read again")
        return {}


def _write_memory(path: Path, memory: dict[str, _MemoryRow]) -> None:
    write_rows(path, _MemoryRow, (memory[name] for name in sorted(memory)))
