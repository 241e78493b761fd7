"""Finding recordings."""

import errno
import os
import sys
from pathlib import Path

import pytest

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.recordings import find_recordings, is_kind, visible_files


def test_visible_files_are_those_of_a_folder_and_of_its_folders_in_order(tmp_path: Path) -> None:
    for name in ("b.wav", "a/c.wav", "a/.hidden/d.wav", ".e.wav", "__MACOSX/f.wav", "a.wav/g.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in visible_files(tmp_path)]
    assert names == ["a/c.wav", "a.wav/g.txt", "b.wav"]
    assert [relative.as_posix() for _, relative in find_recordings(tmp_path)] == ["a/c.wav", "b.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
def test_pipes_of_a_folder_are_left_out(tmp_path: Path) -> None:
    """Whoever reads one waits for ever."""
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(DrumCrnnError, match="is a folder without recordings"):
        find_recordings(tmp_path)


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.wav").touch()
    scandir = os.scandir

    def deny(path: Path | str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DrumCrnnError, match="closed: cannot be read: Permission denied; "):
        visible_files(tmp_path)
    # It is told in its turn, so that other recordings are transcribed.
    assert [path.name for path, _ in find_recordings(tmp_path)] == ["a.wav", "closed"]


def test_what_cannot_be_looked_at_is_of_no_kind(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert not is_kind(tmp_path / "circle", lambda mode: True)
    assert is_kind(tmp_path, lambda mode: True)
