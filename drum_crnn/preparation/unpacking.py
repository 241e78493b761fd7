"""Unpacking a zip archive that shrinks meanwhile, so that archive and content never lie on the disk at once.

A zip archive ends with a directory of its entries. The directory is copied to a file beside the archive first. Then the
last entry is unpacked and cut off the archive, then the one before it, and so on. So the archive's size says which
entries are unpacked, however the process ends, and no file system needs to know how to punch holes.
"""

import io
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["begin_unpacking", "has_begun_unpacking", "missing_bytes", "unpack_shrinking"]

_BATCH_BYTES = 256 << 20  # unpacked between two cuts, each of which waits for the disk
_BLOCK_BYTES = 4096  # files occupy whole blocks
_LOCAL_HEADER_BYTES = 30
_OFFSET_BYTES = 8
_ENCRYPTED = 1  # bit of ZipInfo.flag_bits


def begin_unpacking(archive: Path) -> None:
    """Check that an archive can be unpacked safely, and copy its directory to a file beside it.

    Raises
    ------
    DrumCrnnError
        If it is no zip archive, or an entry leads out of the folder, is a link, or is encrypted.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            start = opened.start_dir
            _check(archive, opened.infolist(), start)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise DrumCrnnError(f"{archive}: is not a whole zip archive: {error}; delete it to download it anew") from None
    with archive.open("rb") as file:
        file.seek(start)
        content = start.to_bytes(_OFFSET_BYTES, "little") + file.read()
    with replace_file(_directory_file(archive)) as temporary:
        temporary.write_bytes(content)


def has_begun_unpacking(archive: Path) -> bool:
    """Whether `begin_unpacking` was called for an archive."""
    return _directory_file(archive).exists()


def missing_bytes(archive: Path) -> int:
    """Number of bytes that must be free for `unpack_shrinking`, or for the rest of it."""
    needed = balance = 0
    with archive.open("rb") as file, _open(file, _directory_file(archive)) as opened:
        left = archive.stat().st_size
        for batch in _batches(_remaining(opened, left)):
            balance += sum(-(-entry.file_size // _BLOCK_BYTES) * _BLOCK_BYTES for entry in batch)
            needed = max(needed, balance)
            balance -= left - batch[-1].header_offset
            left = batch[-1].header_offset
    return needed


def unpack_shrinking(archive: Path, target: Path, *, report: Callable[[int, int], None]) -> None:
    """Unpack an archive into a folder, or the rest of it; afterwards the archive is empty.

    Parameters
    ----------
    report : function
        Called with the number of bytes that are unpacked, and their total.

    Raises
    ------
    DrumCrnnError
        If an entry is damaged.
    """
    target.mkdir(exist_ok=True)
    with archive.open("rb+") as file, _open(file, _directory_file(archive)) as opened:
        total = sum(entry.file_size for entry in opened.infolist())
        todo = _remaining(opened, archive.stat().st_size)
        n_done = total - sum(entry.file_size for entry in todo)
        report(n_done, total)
        for batch in _batches(todo):
            for entry in batch:
                try:
                    _unpack(opened, entry, target)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise DrumCrnnError(
                        f"{archive}: {entry.filename} is damaged ({error}); delete the folder {archive.parent} to "
                        "download all of it anew, and look after the disk"
                    ) from None
                n_done += entry.file_size
                report(n_done, total)
            os.sync()  # what is cut off the archive must be on the disk elsewhere, also after a power failure
            file.truncate(batch[-1].header_offset)
        file.truncate(0)  # of what may stand before the first entry


def _check(archive: Path, entries: Sequence[zipfile.ZipInfo], start: int) -> None:
    """Refuse entries that would be written elsewhere, or twice, or that share bytes."""
    if not entries:
        raise DrumCrnnError(f"{archive}: the archive is empty")
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for entry in entries:
        path = _path_of(archive, entry)
        if path in files:
            raise DrumCrnnError(f"{archive}: {entry.filename!r} occurs twice; nothing was unpacked")
        folders.update(path.parents)
        (folders if entry.is_dir() else files).add(path)
    if both := sorted(files & folders):
        raise DrumCrnnError(f"{archive}: {str(both[0])!r} is a file and a folder; nothing was unpacked")
    in_order = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [*(entry.header_offset for entry in in_order[1:]), start]
    for entry, end in zip(in_order, ends, strict=True):
        if entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size > end:
            raise DrumCrnnError(f"{archive}: {entry.filename!r} overlaps what follows it; nothing was unpacked")


def _path_of(archive: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """The path of an entry, if it stays within the folder and is a plain file or folder."""
    name, path = entry.filename, PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or not path.parts:
        why = "leads out of the folder"
    elif "\\" in name or not name.isprintable():
        why = "has a name with a backslash, or with characters that cannot be seen"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        why = "is a link or a device"
    elif entry.flag_bits & _ENCRYPTED:
        why = "is encrypted"
    else:
        return path
    raise DrumCrnnError(f"{archive}: its entry {name!r} {why}; nothing was unpacked, do not trust this archive")


def _remaining(opened: zipfile.ZipFile, n_bytes: int) -> list[zipfile.ZipInfo]:
    """The entries that are not cut off an archive of that length, the last one first."""
    entries = [entry for entry in opened.infolist() if entry.header_offset < n_bytes]
    return sorted(entries, key=lambda entry: -entry.header_offset)


def _batches(entries: Sequence[zipfile.ZipInfo]) -> Iterator[list[zipfile.ZipInfo]]:
    batch: list[zipfile.ZipInfo] = []
    n_bytes = 0
    for entry in entries:
        batch.append(entry)
        n_bytes += entry.file_size
        if n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def _unpack(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    path = target.joinpath(*PurePosixPath(entry.filename).parts)
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _directory_file(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.directory")


def _open(archive: BinaryIO, directory_file: Path) -> zipfile.ZipFile:
    content = directory_file.read_bytes()
    start = int.from_bytes(content[:_OFFSET_BYTES], "little")
    return zipfile.ZipFile(io.BufferedReader(_Joined(archive, content[_OFFSET_BYTES:], start)))


class _Joined(io.RawIOBase):
    """An archive whose end was cut off, and its directory, as if both were one file again."""

    def __init__(self, archive: BinaryIO, directory: bytes, start: int) -> None:
        super().__init__()
        self._archive, self._directory, self._start = archive, directory, start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        end = self._start + len(self._directory)
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: end}[whence] + offset
        return self._position

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # typeshed wants any buffer
        inside = self._position - self._start
        if inside >= 0:
            chunk = self._directory[inside : inside + len(buffer)]
        else:
            self._archive.seek(self._position)
            chunk = self._archive.read(min(len(buffer), -inside))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
