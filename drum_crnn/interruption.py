"""Being stopped: by a signal, or because whoever started this process is gone.

A long computation asks a `StopRequest` between two of its steps, and ends where what it has done is safe.
"""

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil

from drum_crnn.console import warn
from drum_crnn.errors import DrumCrnnError, Interrupted

__all__ = ["StopRequest", "alone_in", "ignore_stop_signals", "stop_on_signals", "stop_when_orphaned"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LAST_S = 120.0  # for an orphan to finish a step and save
_SHELLS = {"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"}


class StopRequest:
    """Whether somebody wants this process to end; `signal` is what it was told by, None for not at all."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note SIGTERM, Ctrl-C and SIGHUP instead of dying of them; only in the main thread, elsewhere nothing is noted.

    A signal that was ignored before, as `nohup` does, stays ignored.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        request.signal = signal.Signals(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_stop_signals(_: int = 0) -> None:
    """In a helper process: leave it to the process that started it, and which gets the same signal, to end it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_when_orphaned(*, always: bool, poll_s: float = 0.5) -> None:
    """Send this process SIGTERM when the process that started it is gone.

    What a killed `dvc` leaves behind would else go on, and write its outs while a second run writes them too. DVC
    starts a shell, and that, perhaps, this process: then both are watched.

    Parameters
    ----------
    always : bool
        If false, only a process that DVC started is watched: one that was started by hand may outlive its shell.
    """
    if not always and "DVC_STAGE" not in os.environ:
        return
    is_alive = _watch_parents()

    def watch() -> None:
        while is_alive():
            time.sleep(poll_s)
        warn("the process that started this one is gone, so it stops")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_S)
        os._exit(Interrupted.exit_code)  # it waits for something that will never come, such as a rank that is gone

    threading.Thread(target=watch, name="orphan watch", daemon=True).start()


def _watch_parents() -> Callable[[], bool]:
    """A function that tells whether the parent, and the parent of a shell, are still the same."""
    parent = os.getppid()
    try:
        process = psutil.Process(parent)
        grandparent = process.ppid() if process.name() in _SHELLS else None
    except psutil.NoSuchProcess:
        return lambda: False

    def is_alive() -> bool:
        if os.getppid() != parent:
            return False
        try:
            return grandparent is None or process.ppid() == grandparent
        except psutil.NoSuchProcess:
            return False

    return is_alive


@contextlib.contextmanager
def alone_in(folder: Path, stop: StopRequest, *, wait_s: float = 60.0) -> Iterator[None]:
    """Hold the lock of a folder, so that no second process does the same work in it.

    The system releases the lock when the process ends, however it ends.

    Raises
    ------
    DrumCrnnError
        If another process still holds the lock after `wait_s` seconds.
    Interrupted
        If this process is asked to stop before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    until = time.monotonic() + wait_s
    with path.open("a+", encoding="utf-8") as file:
        has_warned = False
        # Locks of lockf belong to the process: helper processes that it forked do not inherit them.
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                file.seek(0)
                other = file.read().strip() or "unknown"
                if time.monotonic() > until:
                    raise DrumCrnnError(
                        f"{path}: process {other} is doing the same work; end it, or wait for it"
                    ) from None
                if stop:
                    raise Interrupted(f"stopped while it waited for process {other}; nothing was done") from None
                if not has_warned:
                    warn(f"{path}: waiting for process {other} to end, which is doing the same work")
                    has_warned = True
                time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
