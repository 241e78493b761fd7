"""Worker processes that end when the process that started them does."""

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import ignore_stop_signals

__all__ = ["worker_pool"]


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
