import itertools
import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from waiting import AT_MOST_S

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training import shares
from drum_crnn.training.distributed import World
from drum_crnn.training.shares import Shares, StepCost, divide, fits, largest_that_fits, measure_shares

T = TypeVar("T")
CPU = torch.device("cpu")


class Together:
    """Worlds of several ranks within one process, one thread each."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=AT_MOST_S)
        self.board: list[Any] = [None] * size

    def world(self, rank: int) -> World:
        together = self

        class ThreadWorld(World):
            def gather(self, value: T) -> list[T]:
                together.barrier.wait()
                together.board[rank] = value
                together.barrier.wait()
                return list(together.board)

            def broadcast(self, value: T) -> T:
                return self.gather(value)[0]

        return ThreadWorld(rank, rank, self.size, CPU)

    def run(self, of_rank: Callable[[World], T]) -> list[T]:
        results: list[Any] = [None] * self.size

        def target(rank: int) -> None:
            try:
                results[rank] = of_rank(self.world(rank))
            except DrumCrnnError as error:
                results[rank] = error

        threads = [threading.Thread(target=target, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


COSTS = st.builds(StepCost, st.floats(0.1, 10), st.floats(0, 5, allow_subnormal=False))


@given(costs=st.lists(COSTS, min_size=1, max_size=3), spare=st.integers(0, 9))
def test_no_other_division_ends_earlier(costs: list[StepCost], spare: int) -> None:
    batch_size = len(costs) + spare
    shares = divide(costs, batch_size)
    assert sum(shares) == batch_size
    assert min(shares) >= 1

    def end(division: tuple[int, ...]) -> float:
        return max(cost.of(share) for share, cost in zip(division, costs, strict=True))

    others = itertools.product(range(1, batch_size + 1), repeat=len(costs))
    assert end(shares) <= min(end(other) for other in others if sum(other) == batch_size) * (1 + 1e-9)


@given(cost=COSTS, sizes=st.lists(st.integers(1, 50), min_size=2, max_size=5, unique=True))
def test_costs_are_recovered_from_times(cost: StepCost, sizes: list[int]) -> None:
    fitted = StepCost.fit(sizes, [cost.of(n) for n in sizes])
    for n in (1, 20, 60):
        assert fitted.of(n) == pytest.approx(cost.of(n), rel=1e-6)


@given(seconds=st.lists(st.floats(0.01, 10), min_size=1, max_size=5))
def test_costs_are_never_absurd(seconds: list[float]) -> None:
    """Noise may make the times fall with the size, and one size may be measured several times."""
    for sizes in (range(1, len(seconds) + 1), [7] * len(seconds)):
        cost = StepCost.fit(list(sizes), seconds)
        assert cost.fixed_s >= 0
        assert cost.excerpt_s > 0


@given(most=st.integers(1, 300), limit=st.integers(0, 400))
def test_out_of_memory_is_caught_and_the_largest_that_fits_is_found(most: int, limit: int) -> None:
    tried: list[int] = []

    def compute(n: int) -> None:
        tried.append(n)
        if n > limit:
            raise torch.OutOfMemoryError("faked")

    assert largest_that_fits(lambda n: fits(compute, n, CPU), most) == min(most, limit)
    assert all(1 <= n <= most for n in tried)
    assert len(tried) <= 2 + math.log2(most)


def test_another_error_does_not_count_as_a_lack_of_memory() -> None:
    def compute(_: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fits(compute, 8, CPU)


class Clock(threading.local):
    """In place of the module `time`: what a rank, which is a thread, has computed; no test waits for it."""

    now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    monotonic = perf_counter


def measure(ms_of_rank: list[float], limits: list[int], *, batch_size: int, **options: Any) -> list[Any]:
    clock = Clock()

    def of_rank(world: World) -> Shares:
        def compute(n: int) -> None:
            if n > limits[world.rank]:
                raise torch.OutOfMemoryError("faked")
            clock.now_s += n * ms_of_rank[world.rank] / 1000

        return measure_shares(compute, world, batch_size=batch_size, **{"micro_batch": None, **options})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shares, "time", clock)
        return Together(len(ms_of_rank)).run(of_rank)


def test_shares_follow_the_speed_and_all_ranks_agree() -> None:
    first, second = measure([30, 10], [99, 99], batch_size=12)
    assert first == second
    assert first.weights == (3, 9)
    assert first.micro_batch == (12, 12)
    assert first.step_s == pytest.approx((0.09, 0.09))


def test_what_does_not_fit_is_cut_into_micro_batches() -> None:
    """Here the faster rank has less memory. It still gets the larger share."""
    first, second = measure([5, 15], [3, 99], batch_size=12)
    assert first == second
    assert first.micro_batch == (3, 12)
    assert first.weights == (9, 3)
    assert "rank 0 gets 9 in micro-batches of 3" in first.describe(12)


def test_one_rank_alone_learns_what_fits() -> None:
    assert measure([0], [5], batch_size=16) == [Shares((16,), (5,))]
    assert measure([0], [5], batch_size=16, micro_batch=2) == [Shares((16,), (2,))]


def test_a_model_that_does_not_fit_at_all_is_an_error_on_every_rank() -> None:
    for error in measure([0, 0], [9, 0], batch_size=8):
        assert isinstance(error, DrumCrnnError)
        assert "not even one excerpt fits into the memory of rank 1" in str(error)


def test_fewer_excerpts_than_ranks_is_an_error() -> None:
    for error in measure([0, 0, 0], [9, 9, 9], batch_size=2):
        assert "train.batch_size is 2, but there are 3 ranks" in str(error)


class FakeGpu:
    """Memory as torch.cuda has it, of 100 GB: other programs hold a part, and a fraction limits this one."""

    total = 100 * 10**9

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, excerpt_gb: int, *, others_gb: int = 0, fraction: float = 1.0
    ) -> None:
        self.excerpt, self.of_others, self.fraction, self.reserved = excerpt_gb * 10**9, others_gb * 10**9, fraction, 0
        for name, fake in {
            "empty_cache": lambda: setattr(self, "reserved", 0),
            "memory_reserved": lambda _: self.reserved,
            "mem_get_info": lambda _: (self.total - self.of_others - self.reserved, self.total),
            "get_per_process_memory_fraction": lambda _: self.fraction,
            "set_per_process_memory_fraction": lambda value, _: setattr(self, "fraction", value),
        }.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def compute(self, n: int) -> None:
        needed = self.excerpt * n
        if needed > self.fraction * self.total + 1:
            raise torch.OutOfMemoryError("faked")
        if needed > self.total - self.of_others:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        self.reserved = max(self.reserved, needed)


@pytest.mark.parametrize("others_gb", [0, 30])
@pytest.mark.parametrize("excerpt_gb", range(3, 60, 4))
def test_a_tenth_of_the_free_memory_is_spared_for_a_real_step(
    monkeypatch: pytest.MonkeyPatch, excerpt_gb: int, others_gb: int
) -> None:
    """What an earlier probe left behind does not count, what other programs hold does."""
    gpu = FakeGpu(monkeypatch, excerpt_gb, others_gb=others_gb)
    found = largest_that_fits(lambda n: fits(gpu.compute, n, torch.device("cuda", 0)), 16)
    assert found == min(16, (90 * (100 - others_gb) // 100) // excerpt_gb)
    assert gpu.fraction == 1.0


def test_a_limit_that_was_set_before_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(monkeypatch, 1, fraction=0.5)
    assert largest_that_fits(lambda n: fits(gpu.compute, n, torch.device("cuda", 0)), 100) == 45
    assert gpu.fraction == 0.5


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_every_word_for_a_full_card_is_known(error: RuntimeError) -> None:
    def compute(_: int) -> None:
        raise error

    assert not fits(compute, 1, CPU)


def test_other_errors_of_a_trial_are_not_taken_for_a_full_card() -> None:
    def compute(_: int) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side"):
        fits(compute, 1, CPU)


def test_the_description_counts_excerpts_not_weights() -> None:
    text = Shares((1, 1, 1), (16, 16, 16)).describe(16)
    assert text == "excerpts of a batch of 16: rank 0 gets 5; rank 1 gets 5; rank 2 gets 6"
    text = Shares((1, 2), (4, 4), (0.5, 0.25)).describe(12)
    assert text == "excerpts of a batch of 12: rank 0 gets 4, 500 ms; rank 1 gets 8 in micro-batches of 4, 250 ms"
