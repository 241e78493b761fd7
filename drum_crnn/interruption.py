"""Being stopped: by a signal, or because whoever started this process is gone.

A long computation asks a `StopRequest` between two of its steps, and ends where what it has done is safe. One that can
be given up anywhere, since its outputs appear whole or not at all, is ended by an exception.
"""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from drum_crnn.console import warn
from drum_crnn.errors import DrumCrnnError, Interrupted

__all__ = [
    "StopRequest",
    "alone_in",
    "ignore_stop_signals",
    "raise_on_signals",
    "stop_on_signals",
    "stop_when_orphaned",
    "worker_pool",
]

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

    with _handling(note):
        yield request


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise `Interrupted` on SIGTERM, Ctrl-C and SIGHUP, so that whatever is half done is cleaned up on the way out.

    More of these signals are ignored then. Where and which, as in `stop_on_signals`.
    """

    def stop(number: int, _: FrameType | None) -> NoReturn:
        ignore_stop_signals()
        name = signal.Signals(number).name
        raise Interrupted(f"stopped by {name}; nothing half done is left, and the same command goes on")

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
        os.kill(os.getpid(), signal.SIGTERM)
        with contextlib.suppress(OSError):  # whoever read what this process says may be gone as well
            warn("the process that started this one is gone, so it stops")
        time.sleep(_LAST_S)
        os._exit(Interrupted.exit_code)  # it waits for something that will never come, such as a rank that is gone

    threading.Thread(target=watch, name="orphan watch", daemon=True).start()


@contextlib.contextmanager
def worker_pool(
    n_workers: int,
    *,
    method: str | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end when this process does, however it ends, and at once when the block raises.

    Those of a bare `ProcessPoolExecutor` wait for ever for a parent that was killed.

    Parameters
    ----------
    method : str, optional
        How they start: `fork` or `spawn`; by default as Python does.
    initializer, initargs
        What each worker calls first.

    Raises
    ------
    DrumCrnnError
        If a worker was killed.
    """
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(n_workers, context, _begin_work, (initializer, initargs)) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            time.sleep(0.2)  # for its thread to drop cancelled jobs: Python 3.11 stumbles over them when workers die
            workers = multiprocessing.active_children()
            for process in workers:
                process.kill()
            for process in workers:
                process.join()
            if isinstance(error, BrokenProcessPool):
                raise DrumCrnnError(
                    "a worker process was killed: if it was for want of memory, `--workers 1` behind the stage's "
                    "command needs less"
                ) from None
            raise


def _begin_work(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    ignore_stop_signals()
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(Interrupted.exit_code)


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
