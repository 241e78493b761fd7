"""Outputs appear whole or not at all: write beside the target, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drum_crnn.errors import DrumCrnnError

__all__ = ["replace_directory", "replace_file", "write_text"]


@contextmanager
def replace_file(target: Path) -> Iterator[Path]:
    """Give a temporary path; if the block ends without an error, it takes the place of `target`.

    The file is flushed to disk before the rename, so that after a crash `target` is either the old file or the whole
    new one. The temporary path keeps the suffix of `target`, since many writers choose a format by it.

    Raises
    ------
    DrumCrnnError
        If `target` is a directory, or nothing can be written where it should be.
    """
    if target.is_dir():
        raise DrumCrnnError(f"{target}: is a folder, but a file is to be written there; name another file")
    with _saying_so(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        with _saying_so(target):
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_directory(target: Path) -> Iterator[Path]:
    """Give an empty temporary directory; if the block ends without an error, it takes the place of `target`.

    What was there is set aside by a rename and deleted afterwards: a target that is half deleted is never seen.

    Raises
    ------
    DrumCrnnError
        If `target` is a file, or nothing can be written where it should be.
    """
    if target.exists() and not target.is_dir():
        raise DrumCrnnError(f"{target}: is a file, but a folder is to be written there; name another folder")
    with _saying_so(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, aside = (Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)) for _ in range(2))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        with _saying_so(target):
            if target.exists():
                target.replace(aside / target.name)
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with replace_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _saying_so(target: Path) -> Iterator[None]:
    """Name the target where the system refuses it: a missing permission is nobody's bug."""
    try:
        yield
    except OSError as error:
        raise DrumCrnnError(f"{target}: cannot be written: {error.strerror}; name another place") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
