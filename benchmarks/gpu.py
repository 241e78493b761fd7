"""Training on a GPU: `python -m benchmarks.gpu`; `--cpu` tries the command out on a CPU.

Prints a table: time of a step on batches in memory, frames per second and peak memory for each precision, with
channels-last and with torch.compile; the micro-batch that fits; and two ranks that share the GPU.

Figures
-------
gpu_step_ms
    Time of a step with the project's own params, including the loader.
gpu_loader_overhead
    That over the time of the same steps on batches in memory.
"""

import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.report import print_figures, print_machine, print_rows
from benchmarks.training_material import prepare_run, resident, step_times, training_inputs, training_params
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.training.distributed import World, join_world
from drum_crnn.training.loop import peak_memory_gb
from drum_crnn.training.resume import begin
from drum_crnn.training.run import TrainingInputs, TrainingState, choose_shares
from drum_crnn.training.shares import Shares

STEPS = 100
STEPS_CPU = 8
VARIANTS: list[dict[str, Any]] = [
    {"precision": "fp32", "tf32": False},
    {"precision": "fp32"},
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"precision": "bf16", "channels_last": True},
    {"precision": "fp32", "compile": True},
    {"precision": "bf16", "compile": True},
]


def main() -> None:
    """Measure every variant, one after the other."""
    on_cpu = "--cpu" in sys.argv[1:]
    if not on_cpu and not torch.cuda.is_available():
        print("no CUDA device is visible; `--cpu` tries this command out on a CPU")
        return
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    n_steps = STEPS_CPU if on_cpu else STEPS
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_machine()
        inputs = training_inputs(folder)
        with join_world(StopRequest()) as world:
            if world.device.type == "cuda":
                rows.append(("device", torch.cuda.get_device_name(world.device)))
            for changes in VARIANTS[: 3 if on_cpu else None]:
                name = ", ".join(f"{key} {value}" for key, value in changes.items())
                rows.append((name, describe(*measure(world, inputs, folder, n_steps=n_steps, **changes))))
            run = prepare_run(world, inputs, training_params(n_steps=n_steps), folder)
            state = begin(run)
            rows.append(("micro-batch that fits", str(state.shares.micro_batch[0])))
            in_memory = statistics.median(step_times(resident(run), state))
            with_loader = statistics.median(step_times(run, state))
        torch.multiprocessing.spawn(two_ranks, (inputs, folder, n_steps, on_cpu), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
        rows.append(("two ranks on one device", (folder / "two").read_text()))
    print_rows(rows)
    print_figures({"gpu_step_ms": 1000 * with_loader, "gpu_loader_overhead": with_loader / in_memory})


def measure(
    world: World, inputs: TrainingInputs, folder: Path, *, n_steps: int, **changes: Any
) -> tuple[float, float, float]:
    """Median seconds of a step on batches in memory, frames in it, and peak memory in 10⁹ bytes."""
    params = training_params(n_steps=n_steps, **changes)
    run = prepare_run(world, inputs, params, folder)
    in_memory = resident(run)
    state = TrainingState(Shares((1,), (params.train.batch_size,)))
    step_times(in_memory, state)  # not counted: compiles, and tries algorithms
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    step_s = statistics.median(step_times(in_memory, state))
    memory_gb = peak_memory_gb(world.device)
    del run, in_memory
    gc.collect()
    return step_s, params.train.batch_size * params.train.excerpt_frames, memory_gb


def describe(step_s: float, n_frames: float, memory_gb: float) -> str:
    """The text of a row of the table."""
    return f"{1000 * step_s:.2f} ms a step, {n_frames / step_s:,.0f} frames a second, {memory_gb:.2f} GB"


def two_ranks(rank: int, inputs: TrainingInputs, folder: Path, n_steps: int, on_cpu: bool) -> None:
    """One of two ranks on one device; over gloo, since nccl needs a GPU for each rank."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    world = World(rank, 0, 2, torch.device("cpu") if on_cpu else torch.device("cuda", 0))
    params = training_params(n_steps=n_steps)
    run = prepare_run(world, inputs, params, folder)
    started = time.perf_counter()
    shares = choose_shares(run)
    measuring_s = time.perf_counter() - started
    run.sampler.shares = shares.weights
    step_s = statistics.median(step_times(resident(run), TrainingState(shares)))
    if world.is_main:
        text = describe(step_s, params.train.batch_size * params.train.excerpt_frames, peak_memory_gb(world.device))
        text += f"; {shares.describe(params.train.batch_size)}; measured in {measuring_s:.1f} s"
        (folder / "two").write_text(text, encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except DrumCrnnError as error:
        sys.exit(f"error: {error}")
