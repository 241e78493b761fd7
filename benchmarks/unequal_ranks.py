"""What measured shares gain on ranks of unequal speed: `python -m benchmarks.unequal_ranks`.

Two ranks on the CPU, of which the second is slowed to half its speed: each of its forward passes then sleeps for as
long as the computation takes.

Figures
-------
auto_of_ideal
    Excerpts a second with `rank_shares: auto`, over the sum of what the two ranks do alone.
auto_over_equal
    Excerpts a second with `auto`, over those with `equal`.
share_measuring_s
    Seconds that measuring the shares took.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import print_figures, print_machine, print_rows
from benchmarks.training_material import prepare_run, resident, step_times, training_inputs, training_params
from drum_crnn.distributed import join_world, launch
from drum_crnn.shares import Shares, measure_shares
from drum_crnn.training import TrainingInputs, TrainingState, trial

ROUNDS = 3
STEPS = 24
REPEATS = 8


def main() -> None:
    """Prepare the data and start two ranks."""
    with tempfile.TemporaryDirectory() as name:
        print_machine()
        folder = Path(name)
        launch(rank_main, training_inputs(folder), folder, processes=2)


def rank_main(inputs: TrainingInputs, folder: Path) -> None:
    """What each rank does."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    params = training_params(n_steps=STEPS, loader_workers=0)
    batch_size = params.train.batch_size
    with join_world() as world:
        run = prepare_run(world, inputs, params, folder)
        compute = trial(run)
        # Both at once, as in a step. The pause of the slow rank follows from its own speed.
        world.gather(None)
        excerpt_s = median_s(lambda: compute(batch_size // 2)) / (batch_size // 2)
        if world.rank == 1:
            run.learner.model.register_forward_hook(lambda _, inputs, __: time.sleep(excerpt_s * len(inputs[0])))
        # One after the other, each on a whole batch.
        alone = [0.0] * world.size
        for rank in range(world.size):
            world.gather(None)
            if world.rank == rank:
                alone[rank] = batch_size / median_s(lambda: compute(batch_size))
        alone = world.sum(alone)
        world.gather(None)
        started = time.perf_counter()
        auto = measure_shares(compute, world, batch_size=batch_size, micro_batch=None)
        measuring_s = time.perf_counter() - started
        equal = Shares((1,) * world.size, (batch_size,) * world.size)
        times: dict[str, list[float]] = {"equal": [], "auto": []}
        rows = [
            ("alone", f"rank 0 {alone[0]:.1f} excerpts a second, rank 1 {alone[1]:.1f}"),
            ("measured shares", str(auto)),
        ]
        for number in range(1, ROUNDS + 1):
            for name, shares in (("equal", equal), ("auto", auto)):
                run.sampler.shares = np.asarray(shares.weights)
                times[name].append(statistics.median(step_times(resident(run), TrainingState(shares))))
            rows.append((f"round {number}", ", ".join(f"{name} {1000 * times[name][-1]:.0f} ms" for name in times)))
        if world.is_main:
            print_rows(rows)
            speed = batch_size / statistics.median(times["auto"])
            ratios = [equal_s / auto_s for equal_s, auto_s in zip(times["equal"], times["auto"], strict=True)]
            print_figures(
                {
                    "auto_of_ideal": speed / sum(alone),
                    "auto_over_equal": statistics.median(ratios),
                    "share_measuring_s": measuring_s,
                }
            )


def median_s(action: Callable[[], None]) -> float:
    """Median time of an action, after one that is not counted."""
    action()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
