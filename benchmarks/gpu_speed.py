"""Checks of `benchmarks.gpu` that measure speed. Each takes a `Bench` and returns a `Finding`."""

import dataclasses
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_bench import Bench, Finding, batches_of, clock, empty_cache, synchronise, time_steps
from benchmarks.training_material import Clock
from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.splits import Splits
from drum_crnn.model.gru import BidirectionalGru
from drum_crnn.model.inference import activations_of
from drum_crnn.model.model_file import ModelFile
from drum_crnn.training import loading
from drum_crnn.training.learner import train_step, warm_up_ddp
from drum_crnn.training.loop import train_epoch
from drum_crnn.training.run import TrainingState
from drum_crnn.training.shares import Shares, StepCost
from drum_crnn.transcribe import released_model

__all__ = ["SPEED"]


def env(bench: Bench) -> Finding:
    """What the figures depend on, and whether cuDNN takes bfloat16 for recurrent layers."""
    rows = {"torch": torch.__version__, "cores": str(os.cpu_count())}
    if bench.on_cpu:
        return Finding(rows | {"card": "none: everything ran small on a CPU"})
    found = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.used", "--format=csv,noheader"]
    is_acceptable = torch.cudnn_is_acceptable(torch.zeros(1, device="cuda", dtype=torch.bfloat16))
    rows |= {
        "card": f"{found.name}, {found.total_memory / 1e9:.1f} GB, compute capability {found.major}.{found.minor}",
        "nvidia-smi": "; ".join(subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()),
        "CUDA, cuDNN, nccl": f"{torch.version.cuda}, {torch.backends.cudnn.version()}, {torch.cuda.nccl.version()}",
        "bfloat16 by cuDNN": str(is_acceptable),
    }
    return Finding(rows, is_acceptable)


def sync(bench: Bench) -> Finding:
    """No step may make the CPU wait for the GPU; what does is named."""
    if bench.on_cpu:
        return Finding({"": "only for a GPU"})
    rows: dict[str, str] = {}
    with bench.world() as world:
        for preset in ("small", "base"):
            run = bench.run(world, preset, precision="bf16")
            batches = batches_of(run, 2)
            warm_up_ddp(run.learner, batches[0].select([0]))
            time_steps(run, batches, 5)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                for number in range(5):
                    train_step(run.learner, batches[number % 2], step=number, learning_rate=1e-4, micro_batch=64)
                torch.cuda.set_sync_debug_mode("default")
            places = sorted(
                {f"{Path(w.filename).name}:{w.lineno}" for w in caught if "called a synchronizing" in str(w.message)}
            )
            rows[preset] = ", ".join(places) or "no step waits"
            del run
    return Finding(rows, all(text == "no step waits" for text in rows.values()))


PRECISIONS: list[dict[str, Any]] = [
    {"precision": "fp32", "tf32": False},
    {"precision": "fp32"},
    {"precision": "fp16"},
    {"precision": "bf16"},
    {"precision": "bf16", "cudnn_autotune": False},
]


def steps(bench: Bench) -> Finding:
    """Time of a step of each size of the model, in each precision, on batches of 64 in memory."""
    rows: dict[str, str] = {}
    ms: dict[str, float] = {}
    with bench.world() as world:
        for preset, variants in (("base", PRECISIONS), ("studio", PRECISIONS[1:4]), ("small", PRECISIONS[1:4])):
            for variant in variants[:2] if bench.on_cpu else variants:
                run = bench.run(world, preset, **variant)
                found = time_steps(run, batches_of(run, 2), bench.choose(20, 2))
                name = f"{preset}, {', '.join(f'{key} {value}' for key, value in variant.items())}"
                rows[name], ms[name] = str(found), found.ms
                del run
                empty_cache()
    if bench.on_cpu:
        return Finding(rows)
    bf16, tf32, fp32 = (ms[f"base, precision {name}"] for name in ("bf16", "fp32", "fp32, tf32 False"))
    return Finding(rows, bf16 <= 1.05 * tf32 and tf32 <= 1.05 * fp32)


def sizes(bench: Bench) -> Finding:
    """Time of a step by its excerpts: a fixed cost, and a cost an excerpt."""
    rows: dict[str, str] = {}
    ms: dict[int, float] = {}
    is_good = True
    with bench.world() as world:
        for preset in ("base", "small"):
            ms.clear()
            for size in bench.choose((8, 16, 32, 64, 128, 256, 512), (1, 2, 4)):
                run = bench.run(world, preset, precision="bf16" if not bench.on_cpu else "fp32", batch_size=size)
                ms[size] = time_steps(run, batches_of(run, 1), bench.choose(10, 1)).ms
                del run
                empty_cache()
            cost = StepCost.fit(list(ms), [value / 1000 for value in ms.values()])
            rows[f"{preset}, ms a step"] = ", ".join(f"{size}: {value:.1f}" for size, value in ms.items())
            rows[f"{preset}, cost"] = f"{1000 * cost.fixed_s:.1f} ms + {1000 * cost.excerpt_s:.3f} ms an excerpt"
            if not bench.on_cpu and preset == "base":
                share = (64 / ms[64]) / (512 / ms[512])
                rows["excerpts a second with 64, of those with 512"] = f"{100 * share:.0f} %"
                is_good = share >= 0.6
    return Finding(rows, None if bench.on_cpu else is_good)


def gru(bench: Bench) -> Finding:
    """A recurrent layer alone: units, precisions, cuDNN's own dropout, and layers one by one."""
    device, rows = bench.device, dict[str, str]()
    n = bench.choose(10, 1)
    shape = bench.choose((64, 300, 256), (2, 30, 16))

    def time_both(module: nn.Module, dtype: torch.dtype | None) -> str:
        x = torch.randn(shape, device=device, requires_grad=True)

        def forward() -> Any:
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                return module(x)[0]

        with torch.no_grad():
            forwards = clock(forward, n)
        return f"{forwards:.2f} ms forwards, {clock(lambda: forward().float().sum().backward(), n):.2f} both ways"

    for units in bench.choose((96, 128, 160, 192, 256), (8,)):
        for dtype in (None, torch.bfloat16, torch.float16)[: 1 if bench.on_cpu else 3]:
            module = BidirectionalGru(shape[-1], units, n_layers=3, dropout=0.0).to(device)
            rows[f"{units} units, 3 layers, {dtype or 'tf32'}"] = time_both(module, dtype)
    units = bench.choose(192, 8)
    module = BidirectionalGru(shape[-1], units, n_layers=3, dropout=0.2).to(device).train()
    rows[f"{units} units, 3 layers with dropout"] = time_both(module, None)
    if bench.on_cpu:
        return Finding(rows)
    fused = nn.GRU(shape[-1], units, 3, batch_first=True, bidirectional=True, dropout=0.2).to(device).train()
    x = torch.randn(shape, device=device, requires_grad=True)

    def seeded() -> None:
        torch.cuda.default_generators[0].manual_seed(1)
        fused(x)[0].sum().backward()

    plain_ms, seeded_ms = clock(lambda: fused(x)[0].sum().backward(), n), clock(seeded, n)
    rows["cuDNN's own dropout"] = f"{plain_ms:.2f} ms both ways, {seeded_ms:.2f} with a new seed each time"
    return Finding(rows)


def inference(bench: Bench) -> Finding:
    """The released model: the same activations as on a CPU, and its speed by windows at a time."""
    path = released_model()
    store = FeatureStore.open(bench.inputs.features)
    floor_db = store.params.floor_db
    recordings = Splits.read(bench.inputs.splits).recordings("train")[: bench.choose(20, 2)]
    on_cpu, here = ModelFile.load(path).model, ModelFile.load(path, device=bench.device).model
    frames = [store.read(recording) for recording in recordings]
    worst, n_different, n_onsets = 0.0, 0, 0
    for read in frames[: bench.choose(6, 1)]:
        expected, found = (activations_of(model, read, floor_db=floor_db).onset for model in (on_cpu, here))
        worst = max(worst, float(np.abs(expected - found).max()))
        n_different += int(((expected >= 0.5) != (found >= 0.5)).sum())
        n_onsets += int((expected >= 0.5).sum())
    rows = {
        "activations here and on a CPU": f"differ by {worst:.4f} at most; {n_different} of {n_onsets} frames at or "
        "above 0.5 change sides"
    }
    long = np.concatenate(frames * bench.choose(6, 1))
    for size in bench.choose((1, 8, 32, 128, 256), (1, 8)):
        activations_of(here, long[:20000], floor_db=floor_db, batch_windows=size)
        started = time.perf_counter()
        activations_of(here, long, floor_db=floor_db, batch_windows=size)
        took_s = time.perf_counter() - started
        rows[f"{size} windows at a time"] = f"{len(long) / store.params.frame_rate / took_s:,.0f} × real time"
    started = time.perf_counter()
    for read in frames:
        activations_of(here, read, floor_db=floor_db)
    seconds = sum(map(len, frames)) / store.params.frame_rate / len(frames)
    rows["one recording at a time"] = (
        f"{1000 * (time.perf_counter() - started) / len(frames):.1f} ms for {seconds:.0f} s"
    )
    return Finding(rows, worst < 0.02)


def launches(bench: Bench) -> Finding:
    """What the CPU asks of the GPU in a step: kernels, copies, and the operations that cost the CPU most."""
    if bench.on_cpu:
        return Finding({"": "only for a GPU"})
    rows: dict[str, str] = {}
    with bench.world() as world:
        for preset in ("base", "small"):
            run = bench.run(world, preset, precision="bf16")
            batches = batches_of(run, 2)
            time_steps(run, batches, 6)
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
                time_steps(run, batches, 4)  # and as many that do not count there
            events = profiler.key_averages()
            n_steps = 8
            calls = {event.key: event.count / n_steps for event in events}
            kernels = sum(n for name, n in calls.items() if name.startswith("cudaLaunchKernel"))
            copies = sum(n for name, n in calls.items() if name.startswith("cudaMemcpy"))
            busy_ms = sum(event.self_device_time_total for event in events) / 1000 / n_steps
            rows[preset] = f"{kernels:.0f} kernels, {copies:.0f} copies; the GPU works for {busy_ms:.1f} ms a step"
            slowest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:12]
            rows[f"{preset}, CPU"] = ", ".join(
                f"{event.key} {event.self_cpu_time_total / 1000 / n_steps:.2f} ms" for event in slowest
            )
            del run
    return Finding(rows)


def loader(bench: Bench) -> Finding:
    """The real loader, forked after the device was used, against batches in memory."""
    rows: dict[str, str] = {}
    overheads: list[float] = []
    n_steps = bench.choose(60, 6)
    with bench.world() as world:
        for n_workers, pins in bench.choose(((2, True), (4, True), (8, False), (8, True)), ((1, False),)):
            settings = {"loader_workers": n_workers, "pin_memory": pins, "n_steps": n_steps}
            run = bench.run(world, "small", precision="fp32" if bench.on_cpu else "bf16", **settings)
            loading.start_loader(run.data.loader)
            resident_ms = time_steps(run, batches_of(run, 3), bench.choose(20, 2)).ms
            times = [loader_ms(run, epoch) for epoch in range(2)]
            workers = psutil.Process().children()
            memory = max((worker.memory_full_info().uss for worker in workers), default=0)
            overheads.append(min(times) / resident_ms)
            rows[f"{n_workers} processes{'' if pins else ', memory not pinned'}"] = (
                f"{times[0]:.1f} and {times[1]:.1f} ms a step, {resident_ms:.1f} in memory: {overheads[-1]:.2f}; "
                f"{memory / 1e9:.2f} GB of its own each"
            )
            loading.end_loader(run.data.loader)
            del run
            empty_cache()
    return Finding(rows, None if bench.on_cpu else overheads[-1] <= 1.05)


def epoch(bench: Bench) -> Finding:
    """An epoch of `base` as a training runs it: loader, steps, looks at the loss, checkpoint."""
    rows: dict[str, str] = {}
    n_steps = bench.choose(120, 6)
    with bench.world() as world:
        for size in bench.choose((64, 256), (2,)):
            settings = {"precision": "auto", "batch_size": size, "loader_workers": bench.choose(8, 1)}
            run = bench.run(world, n_steps=n_steps, **settings)
            loading.start_loader(run.data.loader)
            warm_up_ddp(run.learner, batches_of(run, 1)[0].select([0]))
            speeds = train_epoch(run, TrainingState(Shares((1,), (size,))), Clock())
            realtime = speeds["frames_per_second"] / run.data.store.params.frame_rate
            rows[f"batches of {size}"] = (
                f"{realtime:,.0f} × real time, {100 * speeds['data_wait']:.0f} % of it waiting for data; E-GMD's 344 h "
                f"of training would take {344 / realtime * 60:.0f} minutes"
            )
            loading.end_loader(run.data.loader)
            del run
            empty_cache()
    return Finding(rows)


def loader_ms(run: Any, epoch: int) -> float:
    """Milliseconds of a step over an epoch of the loader, without its first steps."""
    run.data.sampler.epoch, run.data.sampler.first_step = epoch, 0
    skipped = min(9, len(run.data.sampler) - 2)
    started = 0.0
    for number, (share, _) in enumerate(loading.batches(run.data.loader, run.stop)):
        train_step(run.learner, share, step=number, learning_rate=1e-4, micro_batch=run.params.train.batch_size)
        if number == skipped:
            synchronise()
            started = time.perf_counter()
    synchronise()
    return 1000 * (time.perf_counter() - started) / (len(run.data.sampler) - 1 - skipped)


def transcribe(bench: Bench) -> Finding:
    """`drum-crnn transcribe` as a command, from a cold start, on the CPU and on the GPU."""
    rows: dict[str, str] = {}
    for minutes in bench.choose((3, 30), (0.1,)):
        recording = bench.folder / f"{minutes}.wav"
        soundfile.write(recording, noise_bursts(60 * minutes), 44100, subtype="PCM_16")
        for device in ("cpu",) if bench.on_cpu else ("cpu", "cuda"):
            command = [sys.executable, "-m", "drum_crnn.cli", "transcribe", "--device", device, str(recording)]
            started = time.perf_counter()
            done = subprocess.run(
                [*command, str(recording.with_suffix(f".{device}.mid"))], capture_output=True, text=True, check=False
            )
            text = f"{time.perf_counter() - started:.1f} s"
            rows[f"{minutes} minutes, {device}"] = text if done.returncode == 0 else done.stderr.strip()[-200:]
    return Finding(rows)


def noise_bursts(seconds: float) -> NDArray[np.float32]:
    """Noise that decays four times a second: something to transcribe."""
    t = np.arange(round(44100 * seconds), dtype=np.float32) / np.float32(44100)
    noise = np.random.default_rng(0).standard_normal(len(t), np.float32)
    return 0.1 * noise * np.exp(-20 * (t % np.float32(0.25)))  # type: ignore[no-any-return]


def compile_(bench: Bench) -> Finding:
    """torch.compile: time to the first step, for another size of the batch, and of a step."""
    if bench.on_cpu:
        return Finding({"": "only for a GPU"})
    with bench.world() as world:
        run = bench.run(world, precision="bf16")
        batches = batches_of(run, 2)
        eager = time_steps(run, batches, 20).ms
        del run
        started = time.perf_counter()
        run = bench.run(world, precision="bf16")
        compiled_model = DistributedDataParallel(torch.compile(run.learner.model), device_ids=[0])
        run = dataclasses.replace(run, learner=dataclasses.replace(run.learner, parallel=compiled_model))
        time_steps(run, batches, 1)
        first_s = time.perf_counter() - started
        compiled = time_steps(run, batches, 20).ms
        started = time.perf_counter()
        time_steps(run, [batch.select(range(37)) for batch in batches], 1)
        other_s = time.perf_counter() - started
    rows = {
        "ms a step": f"{compiled:.1f}, {eager:.1f} without",
        "first step": f"{first_s:.0f} s, and {other_s:.0f} s for another size",
    }
    return Finding(rows, compiled < 0.95 * eager)


SPEED: dict[str, Callable[[Bench], Finding]] = {
    "env": env,
    "sync": sync,
    "steps": steps,
    "sizes": sizes,
    "gru": gru,
    "inference": inference,
    "launches": launches,
    "epoch": epoch,
    "loader": loader,
    "transcribe": transcribe,
    "compile": compile_,
}
