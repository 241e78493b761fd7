"""How commands meet people: sentences on standard error, and an exit code."""

import pytest
from typer.testing import CliRunner

from drum_crnn.console import default_workers, say, stage_app, track, warn
from drum_crnn.errors import DrumCrnnError


def test_an_error_for_people_is_a_sentence_and_exit_code_1() -> None:
    def main(name: str) -> None:
        say("before")
        raise DrumCrnnError(f"{name}: is missing")

    result = CliRunner().invoke(stage_app(main), ["a.wav"])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "before\n", "error: a.wav: is missing\n")


def test_a_mistake_of_ours_stays_a_traceback() -> None:
    def main() -> None:
        raise KeyError("lane")

    result = CliRunner().invoke(stage_app(main), [])
    assert isinstance(result.exception, KeyError)


def test_a_wrong_argument_is_explained_with_the_usage() -> None:
    def main(count: int) -> None:
        say(str(count))

    assert CliRunner().invoke(stage_app(main), ["3"]).stdout == "3\n"
    result = CliRunner().invoke(stage_app(main), ["three"])
    assert result.exit_code == 2
    assert "count" in result.stderr


def test_tracking_passes_everything_on_and_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2, 3], description="counting")) == [1, 2, 3]
    assert list(track((n for n in "ab"), description="counting", total=2)) == ["a", "b"]
    warn("mind the gap")
    assert capsys.readouterr() == ("", "warning: mind the gap\n")


def test_there_is_at_least_one_worker() -> None:
    assert default_workers() >= 1
