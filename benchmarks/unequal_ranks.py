"""The gain of measured shares on ranks of unequal speed: `python -m benchmarks.unequal_ranks [BATCH_SIZE]`.

It runs two ranks on the CPU. The second is slowed to half its speed: each of its forward passes sleeps for as long as
the computation takes. BATCH_SIZE is the global batch, 32 by default.

Figures
-------
auto_of_ideal
    Excerpts per second with `rank_shares: auto`, over the sum of those of each rank alone on its share.
auto_over_equal
    Excerpts per second with `auto`, over those with `equal`.
share_measuring_s
    Seconds to measure the shares.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.report import print_figures, print_machine, print_rows
from benchmarks.training_material import prepare_run, resident, step_times, training_inputs, training_params
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.training.distributed import World, join_world, launch, this_rank
from drum_crnn.training.run import TrainingInputs, TrainingState, trial
from drum_crnn.training.shares import Shares, measure_shares

ROUNDS = 3
STEPS = 16
REPEATS = 5
BATCH_SIZE = 32


def main() -> None:
    """Prepare the data and start two ranks."""
    with tempfile.TemporaryDirectory() as name:
        print_machine()
        folder = Path(name)
        batch_size = int(sys.argv[1]) if len(sys.argv) > 1 else BATCH_SIZE
        launch(rank_main, training_inputs(folder), folder, batch_size, processes=2)


def rank_main(inputs: TrainingInputs, folder: Path, batch_size: int) -> None:
    """The work of each rank."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    params = training_params(n_steps=STEPS, batch_size=batch_size, loader_workers=0)
    with join_world(this_rank(), StopRequest()) as world:
        run = prepare_run(world, inputs, params, folder)
        compute = trial(run)
        # Both ranks measure at once, as in a step. The pause of the slow rank follows from its own speed.
        world.gather(None)
        excerpt_s = median_s(lambda: compute(batch_size // 2)) / (batch_size // 2)
        if world.rank == 1:
            run.learner.model.register_forward_hook(lambda _, inputs, __: time.sleep(excerpt_s * len(inputs[0])))
        world.gather(None)
        started = time.perf_counter()
        auto = measure_shares(compute, world, batch_size=batch_size, micro_batch=None)
        measuring_s = time.perf_counter() - started
        equal = Shares((1,) * world.size, (batch_size,) * world.size)
        rows = [
            ("global batch", f"{batch_size} excerpts of {params.train.excerpt_frames} frames"),
            ("measured", auto.describe(batch_size)),
        ]
        of_ideal: list[float] = []
        over_equal: list[float] = []
        for number in range(1, ROUNDS + 1):
            ideal = sum(alone := speeds_alone(world, compute, auto.weights))
            step_s = {}
            for name, shares in (("equal", equal), ("auto", auto)):
                run.data.sampler.shares = shares.weights
                step_s[name] = statistics.median(step_times(resident(run), TrainingState(shares)))
            of_ideal.append(batch_size / step_s["auto"] / ideal)
            over_equal.append(step_s["equal"] / step_s["auto"])
            text = f"alone {alone[0]:.1f} and {alone[1]:.1f} excerpts a second"
            times = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in step_s.items())
            rows.append((f"round {number}", f"{text}; a step: {times}, ideal {1000 * batch_size / ideal:.0f} ms"))
        if world.is_main:
            print_rows(rows)
            print_figures(
                {
                    "auto_of_ideal": statistics.median(of_ideal),
                    "auto_over_equal": statistics.median(over_equal),
                    "share_measuring_s": measuring_s,
                }
            )


def speeds_alone(world: World, compute: Callable[[int], None], shares: Sequence[int]) -> list[float]:
    """Excerpts per second of each rank on its share, one rank after the other."""
    speeds = [0.0] * world.size
    for rank in range(world.size):
        world.gather(None)
        if world.rank == rank:
            speeds[rank] = shares[rank] / median_s(lambda: compute(shares[world.rank]))
    return world.sum(speeds)


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
