"""The lock of a folder, so that no second process does the same work in it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import StopRequest

__all__ = ["folder_lock"]


@contextlib.contextmanager
def folder_lock(folder: Path, stop: StopRequest, *, wait_s: float = 60.0) -> Iterator[None]:
    """Hold the lock of a folder, so that no second process does the same work in it.

    The system releases the lock when the process ends in any way.

    Raises
    ------
    DrumCrnnError
        If another process still holds the lock after `wait_s` seconds.
    Interrupted
        If this process is asked to stop while it waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    until = time.monotonic() + wait_s
    with path.open("a+", encoding="utf-8") as file:
        has_warned = False
        # A lock of lockf belongs to the process: its forks do not inherit it.
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                file.seek(0)
                other = file.read().strip() or "unknown"
                if time.monotonic() > until:
                    raise DrumCrnnError(
                        f"{path}: process {other} is doing the same work; end it, or wait until it has ended"
                    ) from None
                if stop:
                    raise Interrupted(f"stopped while waiting for process {other}; nothing was changed") from None
                if not has_warned:
                    warn(f"{path}: waiting for process {other} to end, which is doing the same work")
                    has_warned = True
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
