"""Outputs appear whole or not at all."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from miniature import ROOT

from drum_crnn.foundation.atomic import remove_leftovers, replace_directory, replace_file, temporary_file, write_text
from drum_crnn.foundation.errors import DrumCrnnError


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Interruption(BaseException):
    """Like KeyboardInterrupt, no `Exception`."""


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "table.csv"
    for content in ("first", "second"):
        with replace_file(target) as temporary:
            assert temporary.parent == target.parent  # on one file system, since a rename would copy otherwise
            assert temporary.suffix == ".csv"
            temporary.write_text(content)
            assert not target.exists() or target.read_text() == "first"
        assert target.read_text() == content
        assert names(target.parent) == ["table.csv"]


@pytest.mark.parametrize("kind", [ValueError, Interruption])
@pytest.mark.parametrize("existed", [True, False])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, kind: type[BaseException], existed: bool) -> None:
    file, folder = tmp_path / "file.txt", tmp_path / "folder"
    if existed:
        file.write_text("old")
        folder.mkdir()
        (folder / "old.txt").write_text("old")
    with pytest.raises(kind), replace_file(file) as temporary:
        _write_and_raise(temporary, kind)
    with pytest.raises(kind), replace_directory(folder) as temporary:
        _write_and_raise(temporary / "new.txt", kind)
    assert names(tmp_path) == (["file.txt", "folder"] if existed else [])
    if existed:
        assert file.read_text() == "old"
        assert names(folder) == ["old.txt"]


def _write_and_raise(path: Path, kind: type[BaseException]) -> None:
    path.write_text("half of")
    raise kind


def test_a_block_that_writes_nothing_of_its_own_leaves_an_empty_file(tmp_path: Path) -> None:
    with replace_file(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_directory_is_replaced_with_all_it_held(tmp_path: Path) -> None:
    target = tmp_path / "new" / "corpus"
    for name in ("first", "second"):
        with replace_directory(target) as temporary:
            assert names(temporary) == []
            (temporary / "deep").mkdir()
            (temporary / "deep" / name).write_text(name)
            assert not target.exists() or names(target / "deep") == ["first"]
        assert names(target / "deep") == [name]
        assert names(target.parent) == ["corpus"]


@pytest.mark.parametrize(("mask", "of_file", "of_directory"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, of_file: int, of_directory: int) -> None:
    """And not those of a temporary file, which nobody else may read."""
    with umask(mask):
        write_text(tmp_path / "file.txt", "text")
        with replace_directory(tmp_path / "folder"):
            pass
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == of_file
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == of_directory


def test_a_temporary_file_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), temporary_file(tmp_path) as path:
        assert list(tmp_path.iterdir()) == [path]
        remove_leftovers(tmp_path)
        assert path.exists(), "its process is alive"
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DrumCrnnError, match="missing: cannot be written"), temporary_file(tmp_path / "missing"):
        pass


def test_text_has_the_same_bytes_on_every_system(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "é\nü\n")
    assert (tmp_path / "file.txt").read_bytes() == "é\nü\n".encode()


def test_an_impossible_target_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    for target, message in (
        (tmp_path / "file" / "below", r"file/below: cannot be written"),
        (tmp_path / "folder", r"folder: is a folder, but should be a file"),
    ):
        with pytest.raises(DrumCrnnError, match=message), replace_file(target):
            raise AssertionError("nothing should be computed for it")
    for target, message in (
        (tmp_path / "file" / "below", r"file/below: cannot be written"),
        (tmp_path / "file", r"file: is a file, but should be a folder"),
    ):
        with pytest.raises(DrumCrnnError, match=message), replace_directory(target):
            raise AssertionError("nothing should be computed for it")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from drum_crnn.foundation.atomic import replace_directory, replace_file
target = Path(sys.argv[1])
with replace_file(target / "file.csv") as file, replace_directory(target / "folder") as folder:
    file.write_text("half of")
    (folder / "inside").write_text("half of")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    left = sorted(tmp_path.iterdir())
    assert len(left) == 3  # a file, a folder, and where the old folder would have gone
    assert all(path.name.startswith(".partial-") for path in left)
    elsewhere = tmp_path / left[0].name.replace(".partial-", ".partial-another")
    elsewhere.write_text("of a process of another machine")
    with replace_file(tmp_path / "file.csv") as own:
        own.write_text("of a process that runs")
        remove_leftovers(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere])
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    command = "import sys, drum_crnn.foundation.atomic as a, pathlib as p; a.write_text(p.Path(sys.argv[1]), 'any')"
    subprocess.run([sys.executable, "-c", command, str(tmp_path / "any")], cwd=ROOT, check=True)
    assert names(tmp_path) == sorted(["any", "file.csv", elsewhere.name])


def test_a_full_disk_is_reported_with_the_target(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    said = r"target: cannot be written: No space left on device; make room"
    for replace in (replace_file, replace_directory):
        with pytest.raises(DrumCrnnError, match=said), replace(tmp_path / "target"):
            raise full
    with pytest.raises(OSError, match="broken"), replace_file(tmp_path / "target"):
        raise OSError(errno.EIO, "broken")
    assert names(tmp_path) == []
