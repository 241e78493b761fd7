"""Outputs appear whole or not at all: write beside the target, then rename.

A process that is killed cannot clean up. The names of its unfinished files hold its process id, and the next process
that writes into the same folder removes them.
"""

import contextlib
import functools
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drum_crnn.foundation.errors import NO_SPACE, DrumCrnnError, refused_error

__all__ = [
    "PARTIAL",
    "remove_leftovers",
    "replace_directory",
    "replace_file",
    "temporary_file",
    "write_text",
]

PARTIAL = ".partial-"  # prefix of the names of unfinished files and folders; .gitignore lists it


@contextmanager
def replace_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path; if the block ends without an error, the file there replaces `target`.

    The file is flushed to disk before the rename, so that after a crash `target` is either the old file or the whole
    new one. The temporary path has the suffix of `target`, since many writers choose a format by it.

    Raises
    ------
    DrumCrnnError
        If `target` is a directory or cannot be written, or the disk is full.
    """
    with _refusal_as_message(target):
        if target.is_dir():
            raise DrumCrnnError(f"{target}: is a folder, but should be a file; choose another path")
        _make_parent(target)
        handle, name = tempfile.mkstemp(prefix=_prefix(target.stem), suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _refusal_as_message(target, only_full_disk=True):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        with _refusal_as_message(target):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_directory(target: Path) -> Iterator[Path]:
    """Yield an empty temporary directory; if the block ends without an error, it replaces `target`.

    The old directory is moved away by a rename and deleted afterwards, so that `target` is never half deleted.

    Raises
    ------
    DrumCrnnError
        If `target` is a file or cannot be written, or the disk is full.
    """
    with _refusal_as_message(target):
        if target.exists() and not target.is_dir():
            raise DrumCrnnError(f"{target}: is a file, but should be a folder; choose another path")
        _make_parent(target)
        temporary, aside = (Path(tempfile.mkdtemp(prefix=_prefix(target.name), dir=target.parent)) for _ in range(2))
    try:
        with _refusal_as_message(target, only_full_disk=True):
            yield temporary
        temporary.chmod(0o777 & ~_umask())
        with _refusal_as_message(target):
            if target.exists():
                target.replace(aside / target.name)
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """An empty file in an existing folder, for as long as the block lasts."""
    with _refusal_as_message(folder):
        handle, name = tempfile.mkstemp(prefix=_prefix("temporary"), dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with replace_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def remove_leftovers(folder: Path) -> None:
    """Remove from a folder what killed processes of this machine left unfinished."""
    start = re.compile(re.escape(f"{PARTIAL}{_host()}-") + r"(\d+)-")
    for path in folder.glob(f"{PARTIAL}*"):
        found = start.match(path.name)
        if found is None or _is_running(int(found[1])):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # another user's file
                path.unlink()


@functools.cache
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


def _make_parent(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(target.parent)


def _prefix(name: str) -> str:
    # A part of the name, since a whole one may be as long as the system allows.
    return f"{PARTIAL}{_host()}-{os.getpid()}-{name[:32]}-"


def _host() -> str:
    """The machine's name: a folder may be shared with machines whose processes cannot be seen from here."""
    return re.sub(r"\W", "", platform.node())


def _is_running(pid: int) -> bool:
    import psutil  # seldom needed

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _refusal_as_message(target: Path, *, only_full_disk: bool = False) -> Iterator[None]:
    """Turn the system's refusal to write `target` into a message: a full disk or a missing permission is no bug."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DrumCrnnError(
                f"{refused_error(target, error, 'written')}; the previous content is unchanged"
            ) from None
        if only_full_disk:
            raise
        raise refused_error(target, error, "written") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
