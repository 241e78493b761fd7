"""The workers of a Dask scheduler, on other machines: what `workers` is to the processes of this one.

Dask repeats what a lost worker was doing on another one. So a function must be one that may run twice, even at the same
time; one whose outputs appear whole or not at all is.
"""

import asyncio
import contextlib
import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["map_on_cluster"]

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_S = 30.0
_LOOK_S = 10.0  # between two looks whether there are workers


def map_on_cluster(scheduler: str, function: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Results of `function` in the order in which they are computed.

    Parameters
    ----------
    scheduler : str
        Address of a Dask scheduler, such as `tcp://host:8786`.
    function : function
        One of a module that the workers can import.

    Raises
    ------
    Exception
        The first error of a call. No further calls are started then.
    DrumCrnnError
        If `distributed` is not installed, the scheduler cannot be reached or is lost, or it has no workers.
    """
    try:
        import distributed
    except ImportError:
        raise DrumCrnnError(
            "--scheduler needs the package distributed, on every machine; install it with `pip install distributed`, "
            "or the project with its extra `cluster`"
        ) from None
    for name in ("distributed", "distributed.client"):  # what goes wrong is told below
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _connect(distributed, scheduler) as client, _loss_as_message(distributed, scheduler):
        _check_workers(client, scheduler, function)
        pending = {client.submit(function, item, pure=False) for item in items}
        has_warned = False
        while pending:
            try:
                done, pending = distributed.wait(pending, timeout=_LOOK_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                if not has_warned and not client.scheduler_info()["workers"]:
                    warn(f"{scheduler}: has no workers left; waiting for one")
                    has_warned = True
                continue
            for future in done:
                yield future.result()


@contextlib.contextmanager
def _connect(distributed: Any, scheduler: str) -> Iterator[Any]:
    """A client of the scheduler, if it has workers; what it has not finished is cancelled at the end."""
    try:
        # A client that finds nobody prints a traceback when it is deleted. So somebody else looks first.
        asyncio.run(_look_for(distributed, scheduler))
        client = distributed.Client(scheduler, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise DrumCrnnError(
            f"--scheduler {scheduler}: cannot be reached: {error}; start `dask scheduler` there"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise DrumCrnnError(
                f"--scheduler {scheduler}: has no workers; start `dask worker {scheduler}` on each machine"
            ) from None
        yield client


async def _look_for(distributed: Any, scheduler: str) -> None:
    connection = await distributed.core.connect(scheduler, timeout=_CONNECT_S)
    await connection.close()


def _check_workers(client: Any, scheduler: str, function: Callable[..., Any]) -> None:
    """Ask all workers whether they can load a function: one that is sent what it cannot load ends without a word."""
    pickled = pickle.dumps(function)

    def why_not() -> str:  # sent as code, since it is no function of a module
        import pickle

        try:
            pickle.loads(pickled)
        except (ImportError, AttributeError) as error:
            return str(error)
        return ""

    for worker, why in client.run(why_not).items():
        if why:
            raise DrumCrnnError(
                f"--scheduler {scheduler}: its worker {worker} cannot load the project ({why}); start it where the "
                "same version of drum_crnn is installed"
            )


@contextlib.contextmanager
def _loss_as_message(distributed: Any, scheduler: str) -> Iterator[None]:
    """Turn the loss of the scheduler, or of one worker after another, into a sentence."""
    try:
        yield
    except (CancelledError, distributed.comm.CommClosedError):
        raise DrumCrnnError(
            f"--scheduler {scheduler}: was lost; run the same command again, what is finished is kept"
        ) from None
    except distributed.KilledWorker:
        raise DrumCrnnError(
            f"--scheduler {scheduler}: several workers ended while they were at the same task; look into their logs, "
            "and give them more memory or fewer processes"
        ) from None
