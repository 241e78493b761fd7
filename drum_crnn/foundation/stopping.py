"""Being stopped: by a signal, or because whoever started this process is gone.

A long computation asks a `StopRequest` between two of its steps, and ends where what it has done is safe. One that can
be given up anywhere, since its outputs appear whole or not at all, is ended by an exception.
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
_SHELLS = {"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"}


# Set before an orphan sends itself a signal: what it says must not depend on which of its threads is faster.
_is_orphan = threading.Event()


class StopRequest:
    """Whether somebody wants this process to end; `cause` is what asked first, as in `cause_of`, or None."""

    def __init__(self) -> None:
        self.cause: str | None = None

    def __bool__(self) -> bool:
        return self.cause is not None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Note SIGTERM, Ctrl-C and SIGHUP instead of dying of them; only in the main thread, elsewhere nothing is noted.

    A signal that was ignored before, as `nohup` does, stays ignored.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        request.cause = request.cause or cause_of(number)

    with _handling(note):
        yield request


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise `Interrupted` on SIGTERM, Ctrl-C and SIGHUP, so that whatever is half done is cleaned up on the way out.

    More of these signals are ignored then. Where and which, as in `stop_on_signals`.
    """

    def stop(number: int, _: FrameType | None) -> NoReturn:
        ignore_stop_signals()
        raise Interrupted(f"stopped {cause_of(number)}; nothing half done is left, and the same command goes on")

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
    """What stops this process when it gets a signal, to follow the word `stopped`: `by SIGTERM`."""
    return "by the end of its parent process" if _is_orphan.is_set() else f"by {signal.Signals(number).name}"


def ignore_stop_signals() -> None:
    """In a helper process: leave it to the process that started it, and which gets the same signal, to end it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_when_orphaned(*, always: bool, poll_s: float = 0.5) -> None:
    """Send this process SIGTERM when the process that started it is gone; call it where that is handled already.

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
        _is_orphan.set()
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
