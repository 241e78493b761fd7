"""How ranks of different speed divide a global batch, so that all end a step at the same moment.

Each rank computes gradients of its share of real excerpts, all ranks at the same time; from the times, the costs of a
step are estimated, and from these, better shares. That is repeated until nothing changes. What does not fit into a
rank's memory at once is computed in micro-batches.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy.optimize import nnls

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.dataset import share_bounds
from drum_crnn.training.distributed import World

__all__ = ["Shares", "StepCost", "divide", "fits", "largest_that_fits", "measure_shares"]

_ROUNDS = 5
_REPEATS = 3
_ROUND_S = 1.5  # after which nothing is repeated any more
_MEMORY_SHARE = 0.9  # of a GPU's memory that a trial may take; a real step needs a little more
_BUDGET_S = 10.0  # after which no further round begins


@dataclass(frozen=True, slots=True)
class Shares:
    """Who computes how much of a global batch; each field has one value a rank.

    Attributes
    ----------
    weights : tuple of int
        A rank gets this much of every batch, compared with the others.
    micro_batch : tuple of int
        Excerpts to compute at a time.
    step_s : tuple of float
        Seconds that the share of a full batch is expected to take; empty if nothing was measured.
    """

    weights: tuple[int, ...]
    micro_batch: tuple[int, ...]
    step_s: tuple[float, ...] = ()

    def describe(self, batch_size: int) -> str:
        """A line for people: what each rank gets of a full batch."""
        ranks = []
        for rank, n in enumerate(np.diff(share_bounds(self.weights, batch_size))):
            time_ms = f", {1000 * self.step_s[rank]:.0f} ms" if self.step_s else ""
            in_parts = f" in parts of {self.micro_batch[rank]}" if self.micro_batch[rank] < n else ""
            ranks.append(f"rank {rank} {n}{in_parts}{time_ms}")
        return f"excerpts of a batch of {batch_size}: {'; '.join(ranks)}"


@dataclass(frozen=True, slots=True)
class StepCost:
    """Time of a rank's part of a step: seconds for each excerpt, besides those that any part costs."""

    excerpt_s: float
    fixed_s: float = 0.0

    @classmethod
    def fit(cls, sizes: Sequence[int], seconds: Sequence[float]) -> Self:
        """Least squares, neither cost being negative; sizes are positive."""
        n, t = np.asarray(sizes, np.float64), np.asarray(seconds)
        excerpt_s, fixed_s = nnls(np.stack([n, np.ones_like(n)], axis=1), t)[0]
        if len(set(sizes)) == 1 or excerpt_s == 0.0:  # nothing tells the two apart
            return cls(float(t.sum() / n.sum()))
        return cls(float(excerpt_s), float(fixed_s))

    def of(self, n: int) -> float:
        """Seconds for `n` excerpts."""
        return self.fixed_s + n * self.excerpt_s


def divide(costs: Sequence[StepCost], batch_size: int) -> tuple[int, ...]:
    """Whole shares of a batch that all end as early as they can.

    Every rank gets at least one excerpt: one without would wait for the others as well.
    """
    shares = [1] * len(costs)
    for _ in range(batch_size - len(costs)):
        first = min(range(len(costs)), key=lambda rank: costs[rank].of(shares[rank] + 1))
        shares[first] += 1
    return tuple(shares)


def fits(compute: Callable[[int], None], n: int, device: torch.device) -> bool:
    """Whether `compute(n)` can be done in the memory of the device, with something to spare on a GPU."""
    if device.type == "cuda":
        # What an earlier probe left behind, a failed one above all, is not this one's.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        compute(n)
    except torch.OutOfMemoryError:
        return False
    if device.type == "cpu":
        return True
    used = torch.cuda.max_memory_reserved(device)
    return used <= _MEMORY_SHARE * torch.cuda.get_device_properties(device).total_memory


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
    """Find out how much each rank should compute. All ranks call this together.

    Parameters
    ----------
    compute : callable
        Computes the gradient of so many excerpts and waits until that is done; raises torch.OutOfMemoryError if they do
        not fit.
    micro_batch : int or None
        Most excerpts to compute at a time; None for as many as fit.

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
            "lower train.excerpt_frames, or take a smaller model"
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
    for part in set(parts):  # not timed: a new size may bring work that is done once
        compute(part)
    world.gather(None)
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _ROUND_S:
        started = time.perf_counter()
        for part in parts:
            compute(part)
        times.append(time.perf_counter() - started)
    return min(times)  # other work of the machine only ever adds to it
