"""The output of commands: errors as sentences, progress bars, and lines of text."""

import contextlib
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from drum_crnn.foundation.errors import (
    NO_SPACE,
    DrumCrnnError,
    is_refusal,
    memory_ran_out,
    out_of_memory_error,
    refused_error,
)

T = TypeVar("T")

__all__ = [
    "byte_progress",
    "default_workers",
    "errors_as_messages",
    "printable",
    "progress_bar",
    "say",
    "tell_error",
    "track",
    "warn",
]


def errors_as_messages(command: Callable[..., None]) -> Callable[..., None]:
    """Make a `DrumCrnnError` of `command`, and what the system refuses, a message on standard error and an exit code.

    The system refuses where memory or the disk is full, or a file may not be read or written.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except DrumCrnnError as error:
            tell_error(error)
            raise typer.Exit(error.exit_code) from None
        except (MemoryError, OSError, RuntimeError) as error:
            if memory_ran_out(error):
                tell_error(out_of_memory_error())
            elif isinstance(error, OSError) and isinstance(error.filename, str | bytes) and is_refusal(error):
                tell_error(refused_error(Path(os.fsdecode(error.filename)), error, "read or written"))
            elif isinstance(error, FileNotFoundError) and not _is_folder_there():
                tell_error("the current folder no longer exists; change to one that does")
            elif isinstance(error, OSError) and error.errno in NO_SPACE:
                tell_error(f"{error.strerror}; make room, and run the same command again")
            else:
                raise
            raise typer.Exit(1) from None

    return wrapper


def _is_folder_there() -> bool:
    """Whether the current folder still has a path; another program may have deleted it."""
    try:
        os.getcwd()  # noqa: PTH109  # no path is wanted
    except FileNotFoundError:
        return False
    return True


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: object, encoding: str | None = "utf-8") -> str:
    """Text on one line that can be written in `encoding`: what cannot is escaped, such as `caf\\xe9.wav`.

    A file name may hold any bytes, also those that break lines or change the colours of a terminal, and a console may
    know few characters. None of this is a reason to fail after the work.
    """
    try:
        whole = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair of surrogates, which Windows allows in names
        whole = str(text)
    whole = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), whole)
    encoding = encoding or "utf-8"
    return whole.encode(encoding, "backslashreplace").decode(encoding)


def tell_error(message: object) -> None:
    """Print an error on standard error, each of its faults on a line."""
    first, *others = message.args if isinstance(message, DrumCrnnError) and message.args else (message,)
    say(f"error: {first}", err=True)
    for other in others:
        say(str(other), err=True)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    say(f"warning: {message}", err=True)


def progress_bar() -> Progress:
    """A progress bar on standard error with time elapsed and left; hidden if standard error is no terminal.

    Fields: `note` is free text behind the bar, such as a loss or a speed.
    """
    return _progress(MofNCompleteColumn(), TextColumn("{task.fields[note]}"))


@contextlib.contextmanager
def byte_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for bytes: yields a function that is told how many are done, and their total.

    If standard error is no terminal, a line says so at every tenth.
    """
    with _progress(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(description, total=None)
        begun_s, begun_at, tenths_said = 0.0, -1, 0

        def report(n_done: int, total: int) -> None:
            nonlocal begun_s, begun_at, tenths_said
            now_s, tenths = time.monotonic(), 10 * n_done // max(total, 1)
            if begun_at < 0:  # what was done before says nothing of the speed
                begun_s, begun_at, tenths_said = now_s, n_done, tenths
                progress.reset(task, total=total, completed=n_done)
            elif not progress.disable:
                progress.update(task, completed=n_done)
            elif tenths > tenths_said:
                left_s = (now_s - begun_s) * (total - n_done) / (n_done - begun_at)
                say(f"{description}: {10 * tenths} %, {timedelta(seconds=round(left_s))} left", err=True)
                tenths_said = tenths

        yield report


def _progress(counts: ProgressColumn, note: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        counts,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        note,
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


def say(message: str, *, err: bool = False) -> None:
    """Print one line on standard output, or on standard error; nowhere if that is closed."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        typer.echo(printable(message, stream.encoding), err=err)


def default_workers() -> int:
    """Default number of processes: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
