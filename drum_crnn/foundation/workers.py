"""Worker processes that end when the process that started them does."""

import contextlib
import itertools
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import ignore_stop_signals

__all__ = ["WorkerPool", "follow_parent", "worker_pool"]

T = TypeVar("T")
R = TypeVar("R")


class WorkerPool:
    """Processes that share the calls of a `map`; `worker_pool` starts and ends them.

    Each worker has a pipe of its own, and the thread that calls `map` does everything else. The standard library's
    `ProcessPoolExecutor` has a second thread, which still cleans up after killed workers when the executor is closed:
    then workers that have ended are listed as alive, and Python 3.11 can fail on cancelled jobs.
    """

    def __init__(
        self, n_workers: int, method: str | None, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
    ) -> None:
        self._n_workers, self._method = n_workers, method
        self._initializer, self._initargs = initializer, initargs
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []

    def start(self) -> None:
        """Start all workers."""
        context: Any = multiprocessing.get_context(self._method)  # typeshed's lacks Process
        for _ in range(self._n_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(ours, theirs, self._initializer, self._initargs))
            self._processes.append(process)
            self._connections.append(ours)
            process.start()
            theirs.close()  # this end is the worker's alone now, so that the pipe breaks when the worker dies

    def map(self, function: Callable[[T], R], items: Iterable[T], *, chunksize: int = 1) -> Iterator[R]:
        """Results of `function` in the order of the items. A pool computes one `map` at a time.

        Parameters
        ----------
        chunksize : int
            Number of items that a worker gets at a time.

        Raises
        ------
        Exception
            The error of the first item that failed. A note holds the worker's traceback.
        DrumCrnnError
            If a worker was killed.
        """
        chunks = enumerate(_chunks(items, chunksize))
        idle, busy = list(self._connections), dict[Connection, int]()
        answers: dict[int, list[R] | _Failure] = {}
        has_failed, n_yielded = False, 0
        while True:
            while idle and not has_failed and (numbered := next(chunks, None)):
                number, chunk = numbered
                connection = idle.pop()
                busy[connection] = number
                with _killed_worker_as_error():
                    connection.send((function, chunk))
            # In order, even if a later item has failed already: the error must not depend on which worker was faster.
            while n_yielded in answers:
                answer = answers.pop(n_yielded)
                if isinstance(answer, _Failure):
                    raise answer.error
                yield from answer
                n_yielded += 1
            if not busy:
                return
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                with _killed_worker_as_error():
                    answer = ready.recv()
                has_failed = has_failed or isinstance(answer, _Failure)
                answers[busy.pop(ready)] = answer
                idle.append(ready)

    def end(self, *, kill: bool) -> None:
        """End all workers and wait for them: at once, or after their current jobs."""
        for connection, process in zip(self._connections, self._processes, strict=True):
            if not kill:
                with contextlib.suppress(ConnectionError):
                    connection.send(None)
            elif process.pid is not None:
                process.kill()
            connection.close()
        for process in self._processes:
            if process.pid is not None:
                process.join()


@contextlib.contextmanager
def worker_pool(
    n_workers: int,
    *,
    method: str | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[WorkerPool]:
    """Worker processes that end when this process does, however it ends, and at once when the block raises.

    Parameters
    ----------
    method : str, optional
        How they start: `fork` or `spawn`; by default as Python does.
    initializer, initargs
        What each worker calls first.
    """
    pool = WorkerPool(n_workers, method, initializer, initargs)
    try:
        pool.start()
        yield pool
        pool.end(kill=False)
    except BaseException:
        pool.end(kill=True)
        raise


def follow_parent(_: int = 0) -> None:
    """For a helper process: ignore signals to stop, and end as soon as the process that started it is gone.

    Until then, the helper keeps open what it has inherited, including connections to other ranks.
    """
    ignore_stop_signals()
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


class _Failure(NamedTuple):
    """The answer of a worker in which a call raised."""

    error: Exception


@contextlib.contextmanager
def _killed_worker_as_error() -> Iterator[None]:
    """Turn the error of a broken pipe into a sentence: only the death of a worker breaks it."""
    try:
        yield
    except (EOFError, ConnectionError):
        raise DrumCrnnError(
            "a worker process was killed; if memory ran out, run the stage's command with `--workers 1`, which needs "
            "less"
        ) from None


def _chunks(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _work(
    ours: Connection, theirs: Connection, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
) -> None:
    """What a worker does: answer jobs until it gets None. `ours` is the parent's end, of which a fork has a copy."""
    follow_parent()
    ours.close()
    if initializer is not None:
        initializer(*initargs)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent is gone, or wants no more answers
        while job := theirs.recv():
            function, chunk = job
            try:
                theirs.send([function(item) for item in chunk])
            except Exception as error:  # noqa: BLE001  # the parent raises it
                error.add_note(f"In a worker process:\n{traceback.format_exc()}")
                theirs.send(_Failure(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(Interrupted.exit_code)
