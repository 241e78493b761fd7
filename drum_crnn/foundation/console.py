"""How commands meet people: errors that are sentences, progress, and lines of text."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from drum_crnn.foundation.atomic import NO_SPACE
from drum_crnn.foundation.errors import DrumCrnnError

T = TypeVar("T")

__all__ = ["default_workers", "errors_as_messages", "progress_bar", "say", "track", "warn"]


def errors_as_messages(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a `DrumCrnnError` of `command` into its message on standard error and its exit code; so for a full disk."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except DrumCrnnError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            typer.echo(f"error: {error.strerror}; make room, and give the same command again", err=True)
            raise typer.Exit(1) from None

    return wrapper


def warn(message: str) -> None:
    """Print a warning for people on standard error."""
    typer.echo(f"warning: {message}", err=True)


def progress_bar() -> Progress:
    """A progress bar on standard error with time elapsed and left; silent where nobody watches a terminal.

    Fields: `note` is free text behind the bar, such as a loss or a speed.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=not sys.stderr.isatty(),
    )


def track(items: Iterable[T], *, description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar() as progress:
        task = progress.add_task(description, total=total, note="")
        for item in items:
            yield item
            progress.advance(task)


def say(message: str) -> None:
    """Print one line for people on standard output."""
    typer.echo(message)


def default_workers() -> int:
    """Processes to use where nobody says how many: one a core that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
