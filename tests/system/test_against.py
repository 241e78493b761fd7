"""A peer beside ours: a stand-in program that writes down how it was called."""

import sys
from pathlib import Path

import pytest

from benchmarks.against import compare, figure_name

pytestmark = pytest.mark.processes

# Writes its name, its recording and its threads to a log, and a file where it was told to.
PROGRAM = """
import os, pathlib, sys
name, log, audio, out = sys.argv[1:]
with open(log, "a") as file:
    file.write(" ".join([name, audio, os.environ["OMP_NUM_THREADS"]]) + chr(10))
if out != "-":
    pathlib.Path(out).write_bytes(b"MThd")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "a song.wav").write_bytes(b"RIFF")
    return tmp_path


def peer(folder: Path, *, out: str = "{out}") -> str:
    return f"'{sys.executable}' '{folder / 'program.py'}' theirs '{folder / 'log'}' {{audio}} {out}"


def ratio(command: str, folder: Path) -> float:
    song = folder / "a song.wav"
    ours = [sys.executable, str(folder / "program.py"), "ours", str(folder / "log"), str(song), "-"]
    found, rows = compare(command, ours, audio=song, out=folder / "out.mid", n_threads=2, rounds=3)
    assert len(rows) == 6
    return found


def test_both_run_in_turns_on_the_same_recording_with_the_same_threads(folder: Path) -> None:
    assert ratio(peer(folder), folder) > 0
    lines = (folder / "log").read_text().splitlines()
    assert lines == [f"{name} {folder / 'a song.wav'} 2" for _ in range(3) for name in ("ours", "theirs")]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("true {audio}", r"should hold \{audio\} and \{out\}, or be one of adtof"),
        ("true '{audio} {out}", "No closing quotation"),
        ("no-such-program {audio} {out}", "there is no program no-such-program"),
        ("true {audio} {out}", r"wrote nothing to \{out\}"),
        ("false {audio} {out}", "false .*a song.wav"),
    ],
)
def test_a_peer_that_cannot_be_compared_is_told(folder: Path, command: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        ratio(command, folder)


def test_the_figure_has_the_name_of_the_peer() -> None:
    assert figure_name("adtof") == "against_adtof"
    assert figure_name("/opt/peer/run.sh {audio} {out}") == "against_run"
