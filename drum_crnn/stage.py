"""How a stage of the DAG runs: one command, which ends when DVC does."""

import functools
from collections.abc import Callable
from typing import Any

import typer

from drum_crnn.console import friendly
from drum_crnn.interruption import raise_on_signals, stop_when_orphaned

__all__ = ["stage_app"]


def stage_app(main: Callable[..., None]) -> typer.Typer:
    """A typer application with the single command `main`.

    Stopped by a signal, it cleans up and exits with the code of `Interrupted`; so it does when the `dvc` that started
    it is gone.
    """

    @functools.wraps(main)
    def command(*args: Any, **kwargs: Any) -> None:
        stop_when_orphaned(always=False)
        with raise_on_signals():
            main(*args, **kwargs)

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(friendly(command))
    return app
