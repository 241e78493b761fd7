"""Waiting for an event: a file, a line, the end of a process. No test waits for a time to pass."""

import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil

# So that nothing hangs for ever. A busy machine takes long for what a quiet one does in seconds.
AT_MOST_S = 600.0


def wait_until(
    condition: Callable[[], object],
    process: "subprocess.Popen[Any] | None" = None,
    *,
    what: Callable[[], str] = lambda: "that never happened",
) -> None:
    """Wait until `condition` holds, at most until `process` has ended; `what` says more when it does not come."""
    until = time.monotonic() + AT_MOST_S
    while not condition():
        # What a process does last has happened only after one has looked, and before it ended.
        has_ended = process is not None and process.poll() is not None
        if has_ended and not condition():
            raise AssertionError(f"the process has ended before: {what()}")
        assert time.monotonic() < until, what()
        time.sleep(0.005)


def wait_for_end(processes: Iterable[psutil.Process]) -> None:
    """Wait until processes are gone, whoever's children they are; a zombie is."""
    left = list(processes)
    wait_until(lambda: all(map(_is_gone, left)), what=lambda: f"one of {left} goes on")


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
