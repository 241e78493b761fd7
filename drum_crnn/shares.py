"""How ranks of different speed divide a global batch, so that all end a step at the same moment.

Each rank computes gradients of real excerpts, all ranks at the same time, and shares follow the speeds; that is
repeated until they agree, since a step has fixed costs and speed depends on the share. What does not fit into a rank's
memory at once is computed in micro-batches.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from drum_crnn.distributed import World
from drum_crnn.errors import DrumCrnnError

__all__ = ["Shares", "divide", "largest_that_fits", "measure_shares"]

_ROUNDS = 5
_REPEATS = 3
_GOOD_ENOUGH = 1.04  # slowest over fastest rank
_BUDGET_S = 15.0


@dataclass(frozen=True, slots=True)
class Shares:
    """Who computes how much of a global batch; each field has one value a rank.

    Attributes
    ----------
    weights : tuple of int
        A rank gets this much of every batch, compared with the others; after a measurement, excerpts of a full one.
    micro_batch : tuple of int
        Excerpts to compute at a time.
    step_s : tuple of float
        Seconds that the share of a full batch took; empty if nothing was measured.
    """

    weights: tuple[int, ...]
    micro_batch: tuple[int, ...]
    step_s: tuple[float, ...] = ()

    def __str__(self) -> str:
        ranks = []
        for rank, (weight, size) in enumerate(zip(self.weights, self.micro_batch, strict=True)):
            time_ms = f", {1000 * self.step_s[rank]:.0f} ms" if self.step_s else ""
            in_parts = f" in parts of {size}" if size < weight else ""
            ranks.append(f"rank {rank} {weight}{in_parts}{time_ms}")
        return "; ".join(ranks)


def divide(speeds: Sequence[float], batch_size: int) -> tuple[int, ...]:
    """Whole shares of a batch that end as early as they can, if a share takes `share / speed`.

    Every rank gets at least one excerpt: one without would wait for the others as well.
    """
    shares = [1] * len(speeds)
    for _ in range(batch_size - len(speeds)):
        first = min(range(len(speeds)), key=lambda rank: (shares[rank] + 1) / speeds[rank])
        shares[first] += 1
    return tuple(shares)


def largest_that_fits(compute: Callable[[int], None], most: int) -> int:
    """The largest number of excerpts, up to `most`, that `compute` can do in the memory there is; 0 for none."""

    def fits(n: int) -> bool:
        try:
            compute(n)
        except torch.OutOfMemoryError:
            return False
        return True

    low, high = 0, most + 1
    probe = most
    while low < probe:
        if fits(probe):
            low = probe
        else:
            high = probe
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
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
    fitting = world.gather(largest_that_fits(compute, min(batch_size, micro_batch or batch_size)))
    if 0 in fitting:
        raise DrumCrnnError(
            f"not even one excerpt fits into the memory of rank {fitting.index(0)}; "
            "lower train.excerpt_frames, or take a smaller model"
        )
    if world.size == 1:
        return Shares((batch_size,), tuple(fitting))
    until = time.monotonic() + _BUDGET_S
    tried: dict[tuple[int, ...], list[float]] = {}
    shares = divide([1.0] * world.size, batch_size)
    for _ in range(_ROUNDS):
        if shares in tried:
            break
        tried[shares] = world.gather(_time_of(compute, shares[world.rank], fitting[world.rank], world))
        if max(tried[shares]) <= _GOOD_ENOUGH * min(tried[shares]) or world.from_main(time.monotonic() > until):
            break
        shares = divide([n / seconds for n, seconds in zip(shares, tried[shares], strict=True)], batch_size)
    best = min(tried, key=lambda tried_shares: max(tried[tried_shares]))
    return Shares(best, tuple(fitting), tuple(tried[best]))


def _time_of(compute: Callable[[int], None], n: int, micro_batch: int, world: World) -> float:
    """Seconds for `n` excerpts, while the other ranks compute theirs."""
    parts = [min(micro_batch, n - start) for start in range(0, n, micro_batch)]
    for part in set(parts):  # not timed: a new size may bring work that is done once
        compute(part)
    world.gather(None)
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for part in parts:
            compute(part)
        times.append(time.perf_counter() - started)
    return statistics.median(times)
