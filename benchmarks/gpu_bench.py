"""What the checks of `benchmarks.gpu` share: a run of a preset on this machine's device, its batches, and clocks."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks.training_material import inputs_in, prepare_run
from drum_crnn.foundation.params import PARAMS_FILE, read_yaml
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.model.model_params import ModelParams
from drum_crnn.training.dataset import Batch, ExcerptKey
from drum_crnn.training.distributed import World, join_world, this_rank
from drum_crnn.training.learner import train_step
from drum_crnn.training.loop import peak_memory_gb
from drum_crnn.training.run import Run, TrainingInputs, TrainingParams

__all__ = [
    "Bench",
    "Finding",
    "StepTime",
    "batches_of",
    "clock",
    "empty_cache",
    "gloo_world",
    "synchronise",
    "time_steps",
]

PRESETS = Path("presets")


@dataclass
class Finding:
    """What a check found.

    Attributes
    ----------
    rows : dict of str to str
        Lines of the table.
    passed : bool or None
        None if there is nothing to pass.
    """

    rows: dict[str, str] = field(default_factory=dict)
    passed: bool | None = None

    def write(self, path: Path) -> None:
        """Write it for the process that prints the table."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Finding":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Bench:
    """Where a check runs: `data` holds what a training reads, `folder` is the check's own.

    On a CPU everything is small: this only shows that the checks work.
    """

    data: Path
    folder: Path
    on_cpu: bool

    @property
    def device(self) -> torch.device:
        """The device that is measured."""
        return torch.device("cpu") if self.on_cpu else torch.device("cuda", 0)

    @property
    def inputs(self) -> TrainingInputs:
        """What a training reads."""
        return inputs_in(self.data)

    def choose(self, on_gpu: Any, on_cpu: Any) -> Any:
        """A number for a GPU, and the small one for a CPU."""
        return on_cpu if self.on_cpu else on_gpu

    @contextlib.contextmanager
    def world(self) -> Iterator[World]:
        """A world of one rank."""
        torch.set_flush_denormal(True)
        torch.set_num_threads(1)
        with join_world(this_rank(), StopRequest()) as world:
            yield world

    def params(
        self, preset: str, *, n_steps: int = 30, model: Mapping[str, Any] | None = None, **train: Any
    ) -> TrainingParams:
        """Params of a size of the model, with epochs of `n_steps` whole steps, and with changes."""
        params = TrainingParams.load(PARAMS_FILE)
        of_preset = {} if self.on_cpu else read_yaml(PRESETS / f"{preset}.yaml")["model"]
        values = params.model.model_dump() | of_preset | dict(model or {})
        if self.on_cpu:
            train |= {"batch_size": min(4, train.get("batch_size", 4)), "excerpt_frames": 100}
        settings: dict[str, Any] = {
            "batch_size": 64,
            "warmup_steps": 0,
            "loader_workers": 0,
            "rank_shares": "equal",
            **train,
        }
        settings.setdefault("excerpts_per_epoch", n_steps * settings["batch_size"])
        return dataclasses.replace(
            params,
            model=ModelParams.check(values, source=preset),
            train=params.train.model_copy(update=settings),
        )

    def run(self, world: World, preset: str = "base", **changes: Any) -> Run:
        """A training of a preset's model that has not begun. Its epochs repeat the little data there is."""
        run = prepare_run(world, self.inputs, self.params(preset, **changes), self.folder)
        plan = run.data.sampler.plan
        times = -(-(run.params.train.excerpts_per_epoch or 1) // plan.n_excerpts())
        plan = dataclasses.replace(plan, recordings=plan.recordings * times, n_frames=np.tile(plan.n_frames, times))
        run.data.sampler.plan = run.data.dataset.plan = plan
        return run


@dataclass(frozen=True)
class StepTime:
    """Time of a step: until the device has finished, and until the CPU has asked for everything."""

    ms: float
    launch_ms: float
    memory_gb: float

    def __str__(self) -> str:
        return f"{self.ms:.2f} ms a step, of which the CPU needs {self.launch_ms:.2f}; {self.memory_gb:.2f} GB"


def batches_of(run: Run, n: int) -> list[Batch]:
    """`n` batches in memory, page-locked for a GPU, made of the first excerpts of an epoch."""
    size, n_excerpts = run.params.train.batch_size, run.data.sampler.plan.n_excerpts()
    batches = []
    for number in range(n):
        places = [(number * size + index) % n_excerpts for index in range(size)]
        batch = run.data.dataset.batch([ExcerptKey(0, place) for place in places])
        batches.append(batch.pin_memory() if run.world.device.type == "cuda" else batch)
    return batches


def synchronise() -> None:
    """Wait until the device has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def empty_cache() -> None:
    """Give memory back to the device, for the next measurement."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def time_steps(run: Run, batches: list[Batch], n: int, *, micro_batch: int | None = None) -> StepTime:
    """The mean of `n` steps between two waits for the device. Intervals of the CPU alone would be launch times."""
    micro_batch = micro_batch or run.params.train.batch_size
    run.learner.parallel.train()

    def step(number: int) -> None:
        train_step(
            run.learner, batches[number % len(batches)], step=number, learning_rate=1e-4, micro_batch=micro_batch
        )

    for number in range(min(6, n)):
        step(number)
    synchronise()
    if run.world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for number in range(n):
        step(number)
    launched = time.perf_counter()
    synchronise()
    done = time.perf_counter()
    return StepTime(1000 * (done - started) / n, 1000 * (launched - started) / n, peak_memory_gb(run.world.device))


def clock(action: Callable[[], object], n: int) -> float:
    """Mean milliseconds of an action, of which the first calls do not count."""
    for _ in range(min(3, n)):
        action()
    synchronise()
    started = time.perf_counter()
    for _ in range(n):
        action()
    synchronise()
    return 1000 * (time.perf_counter() - started) / n


@contextlib.contextmanager
def gloo_world(bench: Bench, rank: int, size: int, meeting: str) -> Iterator[World]:
    """One of several ranks on one device. They meet over gloo: nccl wants a GPU for each rank."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    if not bench.on_cpu:
        torch.cuda.set_device(bench.device)
    dist.init_process_group("gloo", init_method=f"file://{bench.folder / meeting}", rank=rank, world_size=size)
    yield World(rank, 0, size, bench.device)
    dist.destroy_process_group()
