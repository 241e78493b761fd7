"""How ranks of different speed divide a global batch, so that all ranks finish a step together.

All ranks compute the gradients of their shares of real excerpts at the same time. The times give the costs of a step,
and the costs give better shares. This is repeated until the shares stay the same. A share that does not fit into memory
is split into micro-batches.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy.optimize import nnls

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.dataset import share_bounds
from drum_crnn.training.distributed import World

__all__ = ["Shares", "StepCost", "divide", "fits", "is_out_of_memory", "largest_that_fits", "measure_shares"]

_ROUNDS = 5
_REPEATS = 3
_ROUND_S = 1.5  # no repetition begins after this time
_MEMORY_SHARE = 0.9  # largest part of a GPU's free memory that a trial may use; a real step needs more
_SPARE_BYTES = 2.5e8  # as much stays free on a small card, too
_BUDGET_S = 10.0  # no round begins after this time


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of a global batch each rank computes; each field has one value per rank.

    Attributes
    ----------
    weights : tuple of int
        Relative size of the rank's share of every batch.
    micro_batch : tuple of int
        Excerpts to compute at a time.
    step_s : tuple of float
        Expected seconds for the share of a full batch; empty if nothing was measured.
    """

    weights: tuple[int, ...]
    micro_batch: tuple[int, ...]
    step_s: tuple[float, ...] = ()

    def describe(self, batch_size: int) -> str:
        """Say in one line what each rank gets of a full batch."""
        ranks = []
        for rank, n in enumerate(np.diff(share_bounds(self.weights, batch_size))):
            time_ms = f", {1000 * self.step_s[rank]:.0f} ms" if self.step_s else ""
            in_parts = f" in micro-batches of {self.micro_batch[rank]}" if self.micro_batch[rank] < n else ""
            ranks.append(f"rank {rank} gets {n}{in_parts}{time_ms}")
        return f"excerpts of a batch of {batch_size}: {'; '.join(ranks)}"


@dataclass(frozen=True, slots=True)
class StepCost:
    """Time of a rank's share of a step: seconds per excerpt, and a fixed cost in seconds."""

    excerpt_s: float
    fixed_s: float = 0.0

    @classmethod
    def fit(cls, sizes: Sequence[int], seconds: Sequence[float]) -> Self:
        """Fit both costs by non-negative least squares; sizes are positive."""
        n, t = np.asarray(sizes, np.float64), np.asarray(seconds)
        excerpt_s, fixed_s = nnls(np.stack([n, np.ones_like(n)], axis=1), t)[0]
        if len(set(sizes)) == 1 or excerpt_s == 0.0:  # the two costs cannot be told apart
            return cls(float(t.sum() / n.sum()))
        return cls(float(excerpt_s), float(fixed_s))

    def of(self, n: int) -> float:
        """Seconds for `n` excerpts."""
        return self.fixed_s + n * self.excerpt_s


def divide(costs: Sequence[StepCost], batch_size: int) -> tuple[int, ...]:
    """Divide a batch into whole shares, so that the last rank finishes as early as possible.

    Every rank gets at least one excerpt: a rank without any would only wait for the others.
    """
    shares = [1] * len(costs)
    for _ in range(batch_size - len(costs)):
        first = min(range(len(costs)), key=lambda rank: costs[rank].of(shares[rank] + 1))
        shares[first] += 1
    return tuple(shares)


def fits(compute: Callable[[int], None], n: int, device: torch.device) -> bool:
    """Whether `compute(n)` fits into the memory of the device, with some to spare on a GPU."""
    try:
        with _less_memory(device):
            compute(n)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


@contextlib.contextmanager
def _less_memory(device: torch.device) -> Iterator[None]:
    """Let PyTorch have only a part of the memory of a GPU that is free, not counting what other programs hold.

    Then PyTorch itself refuses first, always with the same error. Where the card is really full, each of CUDA's
    libraries fails in its own way.
    """
    if device.type == "cpu":
        yield
        return
    # Memory that an earlier probe left behind, above all a failed one, must not count.
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    before = torch.cuda.get_per_process_memory_fraction(device)
    mine = min(before * total, free + torch.cuda.memory_reserved(device))
    limit = min(_MEMORY_SHARE * mine, mine - _SPARE_BYTES)
    torch.cuda.set_per_process_memory_fraction(max(0.0, limit) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that a GPU has no memory left. PyTorch and CUDA's libraries have several words for it."""
    words = ("out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def largest_that_fits(is_fitting: Callable[[int], bool], most: int) -> int:
    """The largest number of excerpts up to `most` that fits, by bisection; 0 if not even one does."""
    low, high, probe = 0, most + 1, most
    while low < probe:
        if is_fitting(probe):
            low = probe
        else:
            high = probe
        probe = (low + high) // 2
    return low


def measure_shares(compute: Callable[[int], None], world: World, *, batch_size: int, micro_batch: int | None) -> Shares:
    """Measure how much each rank should compute. All ranks call this together.

    Parameters
    ----------
    compute : callable
        Computes the gradient of a number of excerpts and waits until it is done; raises torch.OutOfMemoryError if they
        do not fit.
    micro_batch : int or None
        Largest number of excerpts to compute at a time; None for as many as fit.

    Raises
    ------
    DrumCrnnError
        If there are fewer excerpts than ranks, or not even one fits into the memory of a rank.
    """
    if batch_size < world.size:
        raise DrumCrnnError(f"train.batch_size is {batch_size}, but there are {world.size} ranks; raise it")
    most = min(batch_size, micro_batch or batch_size)
    fitting = world.gather(largest_that_fits(lambda n: fits(compute, n, world.device), most))
    if 0 in fitting:
        raise DrumCrnnError(
            f"not even one excerpt fits into the memory of rank {fitting.index(0)}; "
            "lower train.excerpt_frames, or use a smaller model"
        )
    if world.size == 1:
        return Shares((batch_size,), tuple(fitting))
    until = time.monotonic() + _BUDGET_S
    sizes: list[int] = []
    seconds: list[float] = []
    shares = divide([StepCost(1.0)] * world.size, batch_size)
    for _ in range(_ROUNDS):
        sizes.append(shares[world.rank])
        seconds.append(_time_of(compute, sizes[-1], fitting[world.rank], world))
        costs = world.gather(StepCost.fit(sizes, seconds))
        before, shares = shares, divide(costs, batch_size)
        if shares == before or world.broadcast(time.monotonic() > until):
            break
    return Shares(shares, tuple(fitting), tuple(cost.of(n) for cost, n in zip(costs, shares, strict=True)))


def _time_of(compute: Callable[[int], None], n: int, micro_batch: int, world: World) -> float:
    """Seconds for `n` excerpts, while the other ranks compute theirs."""
    parts = [min(micro_batch, n - start) for start in range(0, n, micro_batch)]
    for part in set(parts):  # not timed: the first run of a new size may do extra work once
        compute(part)
    world.gather(None)
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _ROUND_S:
        started = time.perf_counter()
        for part in parts:
            compute(part)
        times.append(time.perf_counter() - started)
    return min(times)  # other work on the machine can only add time
