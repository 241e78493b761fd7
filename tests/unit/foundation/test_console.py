"""The output of commands."""

import pytest

from drum_crnn.foundation.console import default_workers, track, warn


def test_tracking_passes_everything_on_and_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], description="counting")) == [1, 2, 3]
    assert list(track((n for n in "ab"), description="counting", total=2)) == ["a", "b"]
    warn("mind the gap")
    assert capsys.readouterr() == ("", "warning: mind the gap\n")


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1
