"""How a stage runs: sentences on standard error, an exit code, and an end when it is asked to stop."""

import errno
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drum_crnn.foundation import params
from drum_crnn.foundation.console import say
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.stage import CANNOT_CHANGE_RESULTS, loaded_code, stage_app


def test_an_error_for_users_is_a_sentence_and_exit_code_1() -> None:
    def main(name: str) -> None:
        say("before")
        raise DrumCrnnError(f"{name}: is missing")

    result = CliRunner().invoke(stage_app(main), ["a.wav"])
    assert (result.exit_code, result.stdout, result.stderr) == (1, "before\n", "error: a.wav: is missing\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("Can't synchronously read data (memory allocation failed for raw data chunk)"),  # of HDF5
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000000 bytes"),  # of PyTorch
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_too_little_memory_is_a_sentence(error: Exception) -> None:
    def main() -> None:
        raise error

    result = CliRunner().invoke(stage_app(main), [])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: memory ran out; close other programs")


def test_a_bug_stays_a_traceback() -> None:
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_all_cleaned_up_and_the_handlers_come_back(number: signal.Signals) -> None:
    said = []

    def main() -> None:
        try:
            os.kill(os.getpid(), number)
            said.append("went on")
        finally:
            os.kill(os.getpid(), number)  # once more, while it cleans up
            said.append("cleaned up")

    inherited = signal.signal(number, signal.default_int_handler)  # under nohup, it would be ignored
    try:
        result = CliRunner().invoke(stage_app(main), [])
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, inherited)
    assert (result.exit_code, said) == (75, ["cleaned up"])
    assert f"error: stopped by {number.name}" in result.stderr


def test_loaded_code_is_what_can_change_a_result() -> None:
    files = loaded_code()
    assert files == sorted(set(files))
    assert Path(params.__file__) in files
    assert not files_of(CANNOT_CHANGE_RESULTS) & set(files)
    assert all(file.name != "__init__.py" for file in files)


def files_of(modules: Iterable[str]) -> set[Path]:
    return {Path(str(sys.modules[name].__file__)) for name in modules if name in sys.modules}
