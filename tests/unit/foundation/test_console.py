"""The output of commands."""

import pytest

from drum_crnn.foundation.console import byte_progress, default_workers, printable, tell_error, track, warn
from drum_crnn.foundation.errors import DrumCrnnError


def test_tracking_passes_everything_on_and_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], description="counting")) == [1, 2, 3]
    assert list(track((n for n in "ab"), description="counting", total=2)) == ["a", "b"]
    warn("mind the gap")
    assert capsys.readouterr() == ("", "warning: mind the gap\n")


def test_bytes_are_told_at_every_tenth_of_what_is_left_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half was done before, which says nothing of the speed: 10 bytes a second, not 60."""
    clock = iter(range(100))
    monkeypatch.setattr("drum_crnn.foundation.console.time.monotonic", lambda: next(clock))
    with byte_progress("downloading") as report:
        for n_done in range(50, 101, 10):
            report(n_done, 100)
        report(100, 100)
    assert capsys.readouterr().err.splitlines() == [
        f"downloading: {percent} %, 0:00:0{left} left"
        for percent, left in zip(range(60, 101, 10), range(4, -1, -1), strict=True)
    ]


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1


def test_each_fault_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell_error(DrumCrnnError("a\nb.wav: is bad", "c.wav: is bad, too"))
    tell_error("x: is bad")
    assert capsys.readouterr().err.splitlines() == [
        "error: a\\nb.wav: is bad",
        "c.wav: is bad, too",
        "error: x: is bad",
    ]


def test_what_cannot_be_printed_is_escaped() -> None:
    assert printable("caf\udce9 🥁\x1b[31m\r\u2028é") == r"caf\xe9 🥁\x1b[31m\r\u2028é"
    assert printable("🥁é", "latin-1") == r"\U0001f941é"
