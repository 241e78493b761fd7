"""How a process is stopped: by a signal, or because the process that started it is gone.

A long computation checks a `StopRequest` between its steps, and ends where its work is saved. A computation that may
end anywhere, since its outputs appear whole or not at all, is ended by an exception.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import psutil

from drum_crnn.foundation.errors import Interrupted

__all__ = [
    "StopRequest",
    "cause_of",
    "ignore_stop_signals",
    "raise_on_signals",
    "stop_on_signals",
    "stop_when_orphaned",
]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LAST_S = 120.0  # for an orphan to finish a step and save
_STUCK_S = 6.0  # for Python to notice a signal; a single operation on a CPU may take seconds
_WHILE_STUCK = "while it waited, perhaps for a GPU; run the same command again to resume from what was saved last"
_SHELLS = {"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"}


# Set before an orphan sends itself a signal: its message must not depend on which of its threads is faster.
_is_orphan = threading.Event()


class StopRequest:
    """Whether this process is asked to end. `cause` is the first reason, worded as by `cause_of`, or None."""

    def __init__(self) -> None:
        self.cause: str | None = None

    def __bool__(self) -> bool:
        return self.cause is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Record SIGTERM, Ctrl-C and SIGHUP instead of dying of them. In another thread than the main one, do nothing.

    A signal that was ignored before, as under `nohup`, stays ignored. While Python waits outside of its own code, for a
    GPU, say, it cannot record a signal. If that lasts for some seconds, the process ends.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        request.cause = request.cause or cause_of(number)

    with _handling(note), _ending_if_stuck(request):
        yield request


@contextlib.contextmanager
def _ending_if_stuck(request: StopRequest) -> Iterator[None]:
    """Watch in a thread whether a signal is recorded soon after it has come."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over = threading.Event()
    heard, written = os.pipe()
    os.set_blocking(written, False)
    before = signal.set_wakeup_fd(written, warn_on_full_buffer=False)

    def watch() -> None:
        while (number := os.read(heard, 1)) and not is_over.is_set():
            if number[0] not in _SIGNALS:
                continue
            until = time.monotonic() + _STUCK_S
            while not request and not is_over.is_set():
                if time.monotonic() > until:
                    os.write(2, f"error: stopped {cause_of(number[0])} {_WHILE_STUCK}\n".encode())
                    os._exit(Interrupted.exit_code)
                time.sleep(0.05)
        os.close(heard)

    threading.Thread(target=watch, name="signal watch", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        signal.set_wakeup_fd(before)
        os.close(written)  # which wakes the thread


@contextlib.contextmanager
def raise_on_signals(advice: str = "nothing unfinished is left, run the same command again") -> Iterator[None]:
    """Raise `Interrupted` on SIGTERM, Ctrl-C and SIGHUP, so that unfinished work is cleaned up.

    Further signals are then ignored. Threads and ignored signals are treated as by `stop_on_signals`. `advice` ends the
    message.
    """

    def stop(number: int, _: FrameType | None) -> NoReturn:
        ignore_stop_signals()
        raise Interrupted(f"stopped {cause_of(number)}; {advice}")

    with _handling(stop):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: before for number in _SIGNALS if (before := signal.getsignal(number)) != signal.SIG_IGN}
    for number in previous:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def cause_of(number: int) -> str:
    """The cause of a stop, to follow the word `stopped`: `by SIGTERM`, or that its parent process has ended."""
    return "by the end of its parent process" if _is_orphan.is_set() else f"by {signal.Signals(number).name}"


def ignore_stop_signals() -> None:
    """For a helper process: the process that started it gets the same signal, and ends it."""
    signal.set_wakeup_fd(-1)  # a fork has that of its parent
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_when_orphaned(*, always: bool, poll_s: float = 0.5) -> None:
    """Send this process SIGTERM when the process that started it is gone; call it where that is handled already.

    Otherwise the stage of a killed `dvc` would keep running, and write its outs while a second run writes them too. DVC
    starts a shell, which may start this process: then both are watched.

    Parameters
    ----------
    always : bool
        If false, watch only if DVC started this process: one that was started by hand may outlive its shell.
    """
    if not always and "DVC_STAGE" not in os.environ:
        return
    is_alive = _watch_parents()

    def watch() -> None:
        while is_alive():
            time.sleep(poll_s)
        _is_orphan.set()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_S)
        os._exit(Interrupted.exit_code)  # it waits for something that never comes, such as a lost rank

    threading.Thread(target=watch, name="orphan watch", daemon=True).start()


def _watch_parents() -> Callable[[], bool]:
    """A function that tells whether the parent, and the parent of a shell, are still alive."""
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
