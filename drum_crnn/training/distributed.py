"""Ranks: starting them, telling them apart, and sums over all of them.

A single process is a world of size one and follows the same path as many. Each rank owns one GPU, if there are any.

Ranks exchange gradients through one process group, and all other messages through a second one, over gloo. The second
group never waits for a GPU. It notices within moments that another rank has died; nccl would wait for minutes.
"""

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import HashStore, PrefixStore, distributed_c10d  # type: ignore[attr-defined]  # not in its __all__
from torch.distributed.rendezvous import rendezvous

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import StopRequest, cause_of
from drum_crnn.model.device import visible_gpus

__all__ = [
    "LostContact",
    "World",
    "is_launched",
    "join_world",
    "launch",
    "lost_rank_as_error",
    "n_processes_for",
    "this_rank",
]

T = TypeVar("T")

# torchrun and torch's elastic launcher set these for every rank.
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# For a rank that hangs; one that has died is noticed at once. It must be longer than the fastest rank waits for the
# slowest at the end of a validation.
_TIMEOUT = timedelta(minutes=15)
# Ranks exchange gradients right after a message that all of them took part in.
_NCCL_TIMEOUT = timedelta(minutes=5)
# For the first number that GPUs exchange.
_FIRST_EXCHANGE_S = 60.0
_NO_EXCHANGE = (
    f"the GPUs have not exchanged a single number in {_FIRST_EXCHANGE_S:.0f} s. Try again with NCCL_P2P_DISABLE=1 in "
    "the environment, which some machines with two GeForce cards need; NCCL_DEBUG=INFO tells more"
)
# How long a rank that has lost contact waits to be stopped; see `_let_the_cause_end_first`.
_GRACE_S = 120.0
_GRACE_S_OTHERS = 2.0


@dataclass(frozen=True)
class World:
    """Which rank this is. `rank` is global; `local_rank` counts on this machine and selects the device.

    `control` is the process group for messages; see the module's docstring. Only a world that was joined has one.
    """

    rank: int
    local_rank: int
    size: int
    device: torch.device
    control: Any = None  # of dist.ProcessGroup, which torch names in different ways

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and prints messages."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum of each of the values over all ranks, in float64."""
        total = torch.tensor(values, dtype=torch.float64)
        with lost_rank_as_error():
            dist.all_reduce(total, group=self.control)
        return total.tolist()

    def gather(self, value: T) -> list[T]:
        """The value of every rank, in their order, on every rank."""
        values: list[Any] = [None] * self.size
        with lost_rank_as_error():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def broadcast(self, value: T) -> T:
        """The main rank's value, on every rank."""
        box = [value]
        with lost_rank_as_error():
            dist.broadcast_object_list(box, group=self.control)
        return box[0]


class LostContact(DrumCrnnError):  # noqa: N818  # mostly a consequence of another's error
    """Another rank is gone."""


@contextlib.contextmanager
def lost_rank_as_error() -> Iterator[None]:
    """Turn the errors by which torch reports a lost rank into a `LostContact`, and nccl's into sentences."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if (said := _sentence_of(error, text)) is None:
            raise
        first = text.splitlines()[0][:200] if text else type(error).__name__
        raise said(first) from None


def _sentence_of(error: RuntimeError, text: str) -> Callable[[str], DrumCrnnError] | None:
    """What an error of an exchange means; None if it is of another kind."""
    lower = text.lower()
    if "no space left on device" in lower and isinstance(error, dist.DistError):
        return lambda first: DrumCrnnError(
            "the ranks found no room to exchange data in /dev/shm; in a container, start it with --shm-size=1g or "
            f"more ({first})"
        )
    # gloo and the store raise a plain RuntimeError, as everything else does; only the text tells what happened.
    words = ("closed by peer", "connection reset", "connection refused", "broken pipe", "timed out", "timeout")
    is_lost = isinstance(error, dist.DistError) or any(word in lower for word in (*words, "communicator was aborted"))
    if not is_lost or lower.startswith("cuda error"):  # such as "the launch timed out" on a card with a screen
        return None
    return lambda first: LostContact(
        "lost contact with another rank, which has died or hangs; run the same command again to resume from the "
        f"last checkpoint ({first})"
    )


def n_processes_for(processes: int | Literal["auto"]) -> int:
    """Number of ranks to start on this machine: `auto` means one for each visible GPU, or one without a GPU."""
    if processes == "auto":
        return max(1, visible_gpus())
    return processes


def launch(function: Callable[..., None], *args: Any, processes: int | Literal["auto"]) -> None:
    """Run `function(*args)` in every rank.

    Under torchrun, this process is a rank already and calls the function itself. Otherwise, a single rank runs in this
    process. Several ranks are started by torch's elastic launcher, which forwards the signals that this process gets.

    Raises
    ------
    DrumCrnnError
        If a rank failed. By then, the others have been stopped.
    Interrupted
        If the ranks were asked to stop.
    """
    n_processes = n_processes_for(processes)
    if is_launched() or n_processes == 1:
        function(*args)
        return
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # They would report every failure a second time, with tracebacks.
    for name in logging.root.manager.loggerDict:
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        run_id=uuid.uuid4().hex,
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    try:
        elastic_launch(config, function)(*args)
    except ChildFailedError as error:
        raise _as_error(error.get_first_failure()) from None
    except SignalException as error:
        raise Interrupted(
            f"the training was stopped {cause_of(error.sigval)}; run the same command again to resume from its last "
            "checkpoint"
        ) from None


def _as_error(failure: tuple[int, Any]) -> DrumCrnnError:
    """The error of the first rank that failed: its own message, or the launcher's if the rank was killed."""
    rank, first = failure
    message = first.message
    said = str(message["message"] if isinstance(message, dict) else message)
    kind, _, rest = said.partition(": ")
    if kind == Interrupted.__name__:
        return Interrupted(rest)
    is_ours = kind in {DrumCrnnError.__name__, LostContact.__name__}
    return DrumCrnnError(f"rank {rank} stopped the training: {rest if is_ours else said}")


def is_launched() -> bool:
    """Whether torchrun or our own launcher started this process as a rank."""
    return all(variable in os.environ for variable in _RANK_VARIABLES)


def this_rank() -> World:
    """Which rank this process is, before it joins the others. It takes its GPU, if there are any.

    Raises
    ------
    DrumCrnnError
        If there are fewer GPUs than ranks.
    """
    rank, local_rank, size = 0, 0, 1
    if is_launched():
        rank, local_rank, size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    if (n_gpus := visible_gpus()) == 0:
        return World(rank, local_rank, size, torch.device("cpu"))
    if local_rank >= n_gpus:
        raise DrumCrnnError(
            f"train.processes asks for more ranks than the {n_gpus} visible GPUs; lower it, or set it to auto"
        )
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return World(rank, local_rank, size, device)


def _meet(me: World, stop: StopRequest) -> Any:
    """The launcher's store, under a prefix that belongs to this attempt of all ranks alone.

    When torchrun restarts ranks, it hands them the store of the attempt before (torch 2.14; PyTorch's issue 135712),
    and a rank that reads there where another one listens may find the address of a dead one. Its count of restarts
    is not the same on all machines. So the main rank chooses a name, and gives it to each other rank under a word
    that only that process knows.
    """
    store, _, _ = next(rendezvous("env://", timeout=_TIMEOUT))
    word = uuid.uuid4().hex
    store.set(f"here/{me.rank}", word)
    attempt, missing = word, set(range(1, me.size))

    def have_all_come() -> bool:
        for other in sorted(missing):
            if store.check([f"coming/{attempt}/{other}"]):
                missing.discard(other)
            elif store.check([f"here/{other}"]):  # perhaps one of an earlier attempt, which will not answer
                store.set(f"come/{store.get(f'here/{other}').decode()}", attempt)
        return not missing

    if me.is_main:
        _wait_for_others(have_all_come, stop)
    else:
        _wait_for_others(lambda: store.check([f"come/{word}"]), stop)
        attempt = store.get(f"come/{word}").decode()
        store.set(f"coming/{attempt}/{me.rank}", "")
    ours = PrefixStore(attempt, store)
    ours.set(f"device/{me.rank}", me.device.type)
    kinds = [ours.get(f"device/{rank}").decode() for rank in range(me.size)]
    if len(set(kinds)) > 1:  # they would wait for each other over different backends
        raise DrumCrnnError(
            f"rank {kinds.index('cuda')} has a GPU, but rank {kinds.index('cpu')} has none that PyTorch can use; look "
            "at `nvidia-smi` on its machine, or start all ranks with CUDA_VISIBLE_DEVICES= in the environment"
        )
    return ours


def _wait_for_others(have_come: Callable[[], bool], stop: StopRequest) -> None:
    until = time.monotonic() + _TIMEOUT.total_seconds()
    while not have_come():
        if stop:
            raise Interrupted(f"stopped {stop.cause} before the training began; run the same command again")
        if time.monotonic() > until:
            raise LostContact(f"the other ranks have not all started within {_TIMEOUT}")
        time.sleep(0.02)


@contextlib.contextmanager
def join_world(me: World, stop: StopRequest) -> Iterator[World]:
    """Join the process group of all ranks, and leave it at the end.

    Parameters
    ----------
    me : World
        What `this_rank` says.
    stop : StopRequest
        Whether this rank should stop.
    """
    try:
        with _process_group(me, stop) as world:
            yield world
    except LostContact:
        _let_the_cause_end_first(stop)
        raise


def _let_the_cause_end_first(stop: StopRequest) -> None:
    """Wait until this rank is asked to stop.

    The launcher reports the first rank that ends, and then stops the others. That first rank should be the one that
    failed or was killed, not one that noticed it. The launcher of another machine, or one that is not torch's, may not
    stop this rank: then it waits only for a moment.
    """
    alone = os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE") and "TORCHELASTIC_RUN_ID" in os.environ
    until = time.monotonic() + (_GRACE_S if alone else _GRACE_S_OTHERS)
    while not stop and time.monotonic() < until:
        time.sleep(0.02)


@contextlib.contextmanager
def _ending_unless_done(limit_s: float, message: str) -> Iterator[None]:
    """End this process with a message if the block takes too long: nccl waits outside of Python, and for ever."""

    def end() -> None:
        os.write(2, f"error: {message}\n".encode())
        os._exit(1)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _process_group(me: World, stop: StopRequest) -> Iterator[World]:
    backend = "nccl" if me.device.type == "cuda" else "gloo"
    timeout = _NCCL_TIMEOUT if backend == "nccl" else _TIMEOUT
    if is_launched():
        with lost_rank_as_error():
            store = _meet(me, stop)
            dist.init_process_group(backend, store=store, rank=me.rank, world_size=me.size, timeout=timeout)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        # None is the default group.
        control = None if backend == "gloo" else dist.new_group(backend="gloo", timeout=_TIMEOUT)
        if backend == "nccl" and me.size > 1:
            with lost_rank_as_error(), _ending_unless_done(_FIRST_EXCHANGE_S, _NO_EXCHANGE):
                dist.all_reduce(torch.zeros(1, device=me.device))
                torch.cuda.synchronize(me.device)
        yield replace(me, control=control)
    except BaseException:  # any error, Ctrl-C included: it is raised again
        if backend == "nccl":
            # A regular exit of nccl would wait for an exchange with a rank that is gone.
            distributed_c10d._abort_process_group()
        else:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
