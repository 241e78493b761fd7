"""Messages for users: what is wrong, which file, and what to do."""

import errno
import os
import shlex
import sys
from pathlib import Path

import pytest
from privileges import run_without_privileges, without_privileges

from drum_crnn.foundation.errors import DrumCrnnError, damaged_error, is_refusal, refused_error


@pytest.mark.parametrize(
    ("code", "done", "advice"),
    [
        (errno.ENOSPC, "written", "make room, and run the same command again"),
        (errno.EIO, "read", "is the disk in order"),
        (errno.ELOOP, "read", "its links lead in a circle"),
        (errno.EISDIR, "read", "name a file, not a folder"),
        (errno.ENAMETOOLONG, "written", "choose a shorter name"),
        (errno.EROFS, "written", "choose another place"),
        (errno.EMFILE, "read", "raise the limit of open files"),
        (errno.EBADF, "read", "check the path"),
        (errno.EBADF, "written", "choose another place"),
    ],
)
def test_a_refusal_says_what_where_why_and_what_to_do(tmp_path: Path, code: int, done: str, advice: str) -> None:
    error = OSError(code, "whatever the library says")
    message = str(refused_error(tmp_path / "file", error, done))
    assert message.startswith(f"{tmp_path / 'file'}: cannot be {done}: {os.strerror(code)}; {advice}")
    assert is_refusal(error) == (code != errno.EBADF)


def test_an_error_without_a_number_says_what_it_says(tmp_path: Path) -> None:
    assert "cannot be read: it is odd; check the path" in str(refused_error(tmp_path, OSError("it is odd")))


def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    """Or its user would delete it."""
    denied, odd = OSError(errno.EACCES, "denied"), OSError("file signature not found")
    assert "cannot be read: Permission denied" in str(damaged_error(tmp_path / "labels.h5", denied, "label"))
    assert "is damaged (file signature not found)" in str(damaged_error(tmp_path / "labels.h5", odd, "label"))


def test_another_user_is_asked_for_the_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1, raising=False)
    denied = PermissionError(errno.EACCES, "denied")
    assert str(refused_error(file, denied)).endswith(f"; ask the owner of {file} for the right")
    assert str(refused_error(file, denied, "written")).endswith(
        f"; ask the owner of {tmp_path} for the right, or choose another place"
    )


OPEN = """
import sys
from pathlib import Path
from drum_crnn.foundation.errors import refused_error
path, done = Path(sys.argv[1]), sys.argv[2]
try:
    path.open("rb" if done == "read" else "wb")
except OSError as error:
    print(refused_error(path, error, done))
"""


@pytest.mark.processes
@without_privileges
@pytest.mark.parametrize(
    ("closed", "mode", "done"),
    [
        ("folder/the file", 0o200, "read"),
        ("folder", 0o600, "read"),
        ("folder", 0o500, "written"),
        ("folder", 0o400, "written"),
        (".", 0o600, "written"),
    ],
)
def test_the_command_that_is_told_gives_the_right(tmp_path: Path, closed: str, mode: int, done: str) -> None:
    file = tmp_path / "a b" / "folder" / "the file"
    file.parent.mkdir(parents=True)
    if done == "read":
        file.touch()
    (tmp_path / "a b" / closed).chmod(mode)
    try:
        command = [sys.executable, "-c", OPEN, str(file), done]
        told = run_without_privileges(*command).stdout.strip()
        _, _, advice = told.partition("give yourself the right: ")
        assert told.startswith(f"{file}: cannot be {done}: Permission denied; "), told
        run_without_privileges(*shlex.split(advice.removesuffix(", or choose another place")))
        assert run_without_privileges(*command).stdout == ""
    finally:
        for folder in (tmp_path / "a b", file.parent):
            folder.chmod(0o700)


def test_it_is_an_error_for_users() -> None:
    assert isinstance(refused_error(Path("x"), OSError("y")), DrumCrnnError)
