"""Outputs appear whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drum_crnn.atomic import replace_directory, replace_file, write_text
from drum_crnn.errors import DrumCrnnError


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
            assert temporary.parent == target.parent  # on one file system, or a rename would copy
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


def test_text_has_the_same_bytes_on_every_system(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "é\nü\n")
    assert (tmp_path / "file.txt").read_bytes() == "é\nü\n".encode()


def test_a_target_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    for target, message in (
        (tmp_path / "file" / "below", r"file/below: cannot be written"),
        (tmp_path / "folder", r"folder: is a folder, but a file"),
    ):
        with pytest.raises(DrumCrnnError, match=message), replace_file(target):
            raise AssertionError("nothing should be computed for it")
    for target, message in (
        (tmp_path / "file" / "below", r"file/below: cannot be written"),
        (tmp_path / "file", r"file: is a file, but a folder"),
    ):
        with pytest.raises(DrumCrnnError, match=message), replace_directory(target):
            raise AssertionError("nothing should be computed for it")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"
