"""How a stage of the DAG runs: one command, which ends when DVC does."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from drum_crnn.foundation.console import errors_as_messages
from drum_crnn.foundation.stopping import raise_on_signals, stop_when_orphaned

__all__ = ["CANNOT_CHANGE_RESULTS", "loaded_code", "stage_app"]

# Modules on which no stage depends: a change to a message, a line of the log or a picture reruns no stage, and training
# resumes from its checkpoint. These modules must have no effect on weights, scores and tables.
CANNOT_CHANGE_RESULTS = frozenset(
    {
        "drum_crnn.foundation.atomic",
        "drum_crnn.foundation.cluster",
        "drum_crnn.foundation.console",
        "drum_crnn.foundation.errors",
        "drum_crnn.foundation.lock",
        "drum_crnn.foundation.stage",
        "drum_crnn.foundation.stopping",
        "drum_crnn.foundation.workers",
        "drum_crnn.scoring.rolls",
        "drum_crnn.training.log",
        "drum_crnn.training.memory",
        "drum_crnn.training.picture",
    }
)


def loaded_code() -> list[Path]:
    """Files of the project's modules that this process has loaded and that can change a result, in a fixed order."""
    return sorted(
        file
        for name, module in sys.modules.items()
        if name.startswith("drum_crnn.") and name not in CANNOT_CHANGE_RESULTS
        if (file := Path(str(module.__file__))).name != "__init__.py"
    )


def stage_app(main: Callable[..., None]) -> typer.Typer:
    """A typer application with the single command `main`.

    When a signal stops it, or the `dvc` that started it is gone, it cleans up and exits with the code of `Interrupted`.
    """

    @functools.wraps(main)
    def command(*args: Any, **kwargs: Any) -> None:
        with raise_on_signals():
            stop_when_orphaned(always=False)
            main(*args, **kwargs)

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(errors_as_messages(command))
    return app
