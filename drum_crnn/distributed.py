"""Ranks: starting them, knowing which one this is, and adding up over all of them.

One process is a world of size one and takes the same path as many. A rank owns one GPU if there are any; on CPUs,
ranks divide the threads among themselves.
"""

import contextlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from drum_crnn.errors import DrumCrnnError

__all__ = ["World", "join_world", "launch", "n_processes_for", "sum_over_ranks"]

# torchrun and torch's elastic launcher set these for every rank.
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class World:
    """Which rank this is. `rank` is global, `local_rank` counts on this machine and chooses the device."""

    rank: int
    local_rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and speaks to people."""
        return self.rank == 0


def n_processes_for(processes: int | Literal["auto"]) -> int:
    """Ranks to start on this machine: `auto` is one a visible GPU, else one."""
    if processes == "auto":
        return max(1, torch.cuda.device_count())
    return processes


def launch(function: Callable[..., None], *args: Any, processes: int | Literal["auto"]) -> None:
    """Run `function(*args)` in every rank.

    Under torchrun this process is a rank already and just calls it. Else, one rank runs in this process, and several
    are started by torch's elastic launcher.

    Raises
    ------
    DrumCrnnError
        If a rank failed; the others are stopped by then.
    """
    n_processes = n_processes_for(processes)
    if is_launched() or n_processes == 1:
        function(*args)
        return
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # It would tell every failure a second time, with tracebacks.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
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
        rank, failure = error.get_first_failure()
        # A text where a signal ended the rank, and a record of the exception where it raised one.
        message: Any = failure.message
        said = str(message["message"] if isinstance(message, dict) else message)
        raise DrumCrnnError(f"rank {rank} stopped the training: {said.removeprefix('DrumCrnnError: ')}") from None


def is_launched() -> bool:
    """Whether torchrun, or our own launcher, started this process as a rank."""
    return all(variable in os.environ for variable in _RANK_VARIABLES)


@contextlib.contextmanager
def join_world() -> Iterator[World]:
    """Join the process group of all ranks, and leave it at the end."""
    rank, local_rank, size = 0, 0, 1
    if is_launched():
        rank, local_rank, size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise DrumCrnnError(
                f"train.processes asks for more ranks than the {torch.cuda.device_count()} visible GPUs; "
                "lower it, or set it to auto"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    backend = "nccl" if device.type == "cuda" else "gloo"
    if is_launched():
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]  # not in its __all__
    try:
        yield World(rank, local_rank, size, device)
    finally:
        dist.destroy_process_group()


def sum_over_ranks(values: Tensor, world: World) -> Tensor:
    """Sum of a tensor over all ranks, on the device of this one; the argument is left as it is."""
    total = values.detach().to(world.device, copy=True)
    dist.all_reduce(total)
    return total
