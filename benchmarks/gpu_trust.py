"""Checks of `benchmarks.gpu` of what must be right, whatever it costs. Each takes a `Bench` and returns a `Finding`."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.gpu_bench import Bench, Finding, batches_of, empty_cache, gloo_world, synchronise, time_steps
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.stopping import stop_on_signals
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.training.dataset import Batch, share_bounds
from drum_crnn.training.distributed import World, launch
from drum_crnn.training.learner import Learner, accumulate_gradient, train_step, warm_up_ddp
from drum_crnn.training.run import Run, trial
from drum_crnn.training.shares import fits, largest_that_fits, measure_shares

__all__ = ["TRUST"]


def exact(bench: Bench) -> Finding:
    """Gradients: of one batch whole and in micro-batches, and here and on a CPU."""
    rows: dict[str, str] = {}
    passed = True
    with bench.world() as world:
        run = bench.run(
            world, "small", precision="fp32", tf32=False, batch_size=24, model={"dropout": 0.0, "gru_layers": 2}
        )
        (batch,) = batches_of(run, 1)
        for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
            whole = gradient(run, world, batch, dtype, micro_batch=24)
            for micro_batch in (7, 1):
                error = distance(gradient(run, world, batch, dtype, micro_batch=micro_batch), whole)
                rows[f"{dtype}, micro-batches of {micro_batch}"] = f"differ by {error:.1e}"
                passed &= error < limit
            if not bench.on_cpu:
                alone = dataclasses.replace(world, device=torch.device("cpu"))
                error = distance(gradient(run, alone, batch, dtype, micro_batch=24), whole)
                rows[f"{dtype}, on a CPU"] = f"differ by {error:.1e}"
                passed &= error < (1e-8 if dtype == torch.float64 else 1e-2)
    return Finding(rows, passed)


def gradient(run: Run, world: World, batch: Batch, dtype: torch.dtype, *, micro_batch: int) -> Tensor:
    """The gradient of all weights for one batch, from the same first weights."""
    torch.manual_seed(0)
    model = DrumCrnn(run.params.model, n_mels=run.data.store.params.n_mels).to(dtype)
    if world.device.type == "cuda" or not torch.cuda.is_available():
        learner = Learner.build(world, run.params.train, run.learner.augmenter, model)
    else:  # its group belongs to the GPU
        learner = dataclasses.replace(run.learner, world=world, model=model, parallel=model)
    accumulate_gradient(learner, batch, batch.targets.counts().tolist(), micro_batch=micro_batch)
    return torch.cat([p.grad.flatten().double().cpu() for p in model.parameters() if p.grad is not None])


def distance(found: Tensor, expected: Tensor) -> float:
    """Distance of two tensors over the length of the second."""
    return float((found - expected).norm() / expected.norm())


def determinism(bench: Bench) -> Finding:
    """The same thirty steps twice, from the same weights: the first loss to the bit, and how far they drift."""
    rows: dict[str, str] = {}
    firsts: dict[str, bool] = {}
    settings: dict[str, tuple[dict[str, Any], bool]] = {
        "autotune": ({"cudnn_autotune": True}, False),
        "no autotune": ({"cudnn_autotune": False}, False),
        "deterministic algorithms": ({"cudnn_autotune": False}, True),
    }
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    with bench.world() as world:
        for name, (changes, strictly) in settings.items():
            torch.use_deterministic_algorithms(strictly, warn_only=True)
            losses, weights, ms = [], [], 0.0
            for _ in range(2):
                run = bench.run(world, "base", precision="fp32" if bench.on_cpu else "bf16", **changes)
                batches = batches_of(run, 3)
                run.learner.parallel.train()
                started = time.perf_counter()
                losses.append([loss_of(run, batches[n % 3], n) for n in range(bench.choose(30, 3))])
                ms = 1000 * (time.perf_counter() - started) / len(losses[-1])
                weights.append(torch.cat([p.detach().flatten() for p in run.learner.model.parameters()]))
            n_equal = sum(a == b for a, b in zip(*losses, strict=True))
            firsts[name] = losses[0][0] == losses[1][0]
            rows[name] = (
                f"first loss {'equal' if firsts[name] else 'differs'}; {n_equal} of {len(losses[0])} equal; "
                f"weights differ by {float((weights[0] - weights[1]).abs().max()):.1e}; {ms:.1f} ms a step"
            )
    return Finding(rows, firsts["no autotune"])


def loss_of(run: Run, batch: Batch, step: int) -> float:
    """Do a step; its loss."""
    sums = train_step(run.learner, batch, step=step, learning_rate=1e-3, micro_batch=64).sums
    return float(sums[0] / sums[1])


def precision(bench: Bench) -> Finding:
    """Training in each precision from one seed: the loss at the end, without augmentation's luck."""
    rows: dict[str, str] = {}
    ends: dict[str, float] = {}
    n_steps = bench.choose(300, 4)
    with bench.world() as world:
        for name in ("fp32", "bf16", "fp16"):
            run = bench.run(world, "small", precision=name, batch_size=32)
            batches = batches_of(run, bench.choose(8, 2))
            run.learner.parallel.train()
            results = [
                train_step(run.learner, batches[n % len(batches)], step=n, learning_rate=1e-3, micro_batch=32).sums
                for n in range(n_steps)
            ]
            sums = torch.stack(results[-max(2, n_steps // 10) :]).sum(dim=0)
            ends[name] = float(sums[0] / sums[1])
            rows[name] = f"loss {ends[name]:.5f} at the end of {n_steps} steps"
    worst = max(abs(ends[name] / ends["fp32"] - 1) for name in ends)
    return Finding(rows, None if bench.on_cpu else worst < 0.02)


def memory(bench: Bench) -> Finding:
    """Cards with little memory, emulated: what the probe finds must train. Then a card of which another holds most."""
    if bench.on_cpu:
        return Finding({"": "only for a GPU"})
    rows: dict[str, str] = {}
    passed = True
    total = torch.cuda.get_device_properties(0).total_memory
    with bench.world() as world:
        for gb, size in ((1.0, 128), (2.0, 256), (7.5, 1024)):
            empty_cache()
            torch.cuda.set_per_process_memory_fraction(gb * 1e9 / total)
            text, is_good = probe(bench, world, size)
            rows[f"{gb} GB, batches of {size}"], passed = text, passed and is_good
        torch.cuda.set_per_process_memory_fraction(1.0)
        empty_cache()
        free, _ = torch.cuda.mem_get_info()
        code = (
            "import torch, time\n"
            f"x = torch.empty({free - 3_000_000_000}, dtype=torch.uint8, device='cuda')\n"
            "print('held', flush=True)\ntime.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            text, is_good = probe(bench, world, 512)
            rows["3 GB left by another process"], passed = text, passed and is_good
            other.kill()
    return Finding(rows, passed)


def probe(bench: Bench, world: World, size: int) -> tuple[str, bool]:
    """How many excerpts the trainer finds to fit, and whether steps with as many work."""
    try:
        run = bench.run(world, precision="bf16", batch_size=size)
        compute = trial(run)
        found = largest_that_fits(lambda n: fits(compute, n, world.device), size)
        (batch,) = batches_of(run, 1)
        torch.cuda.reset_peak_memory_stats()
        for number in range(5):
            train_step(run.learner, batch, step=number, learning_rate=1e-4, micro_batch=max(1, found))
        synchronise()
    except (RuntimeError, DrumCrnnError) as error:  # whatever a card without memory raises
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100]}", False
    peak = torch.cuda.max_memory_reserved() / 1e9
    return f"{found} excerpts at a time of {size}; 5 steps reserved {peak:.2f} GB", found > 0


def two(bench: Bench) -> Finding:
    """Two ranks on one device, the second slowed down: shares by speed, and what they bring."""
    rows: dict[str, str] = {}
    torch.multiprocessing.spawn(slowed_rank, (bench,), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
    found = json.loads((bench.folder / "two.json").read_text())
    rows["shares"] = found["shares"]
    rows["measured in"] = f"{found['measuring_s']:.1f} s"
    rows["a step"] = f"{found['equal_ms']:.1f} ms with equal shares, {found['auto_ms']:.1f} ms by speed"
    rows["a rank that computes alone"] = f"waits {found['alone_s']:.2f} s for one that sleeps 2 s"
    is_good = found["auto_ms"] < found["equal_ms"] and found["measuring_s"] < 20 and found["alone_s"] < 1.0
    return Finding(rows, None if bench.on_cpu else is_good)


def slowed_rank(rank: int, bench: Bench) -> None:
    """One of the two ranks. The second computes everything, and then waits as long as a slower card would."""
    with gloo_world(bench, rank, 2, "two.meeting") as world:
        own = dataclasses.replace(bench, folder=bench.folder / str(rank))
        run = own.run(world, precision="fp32" if bench.on_cpu else "bf16", batch_size=bench.choose(128, 4))
        size = run.params.train.batch_size
        (batch,) = batches_of(run, 1)
        warm_up_ddp(run.learner, batch.select([0]))
        compute = trial(run)
        world.gather(None)
        started = time.perf_counter()
        if rank == 1:
            time.sleep(2.0)
        compute(1)
        alone_s = time.perf_counter() - started
        world.gather(None)
        if rank == 1:
            run.learner.model.register_forward_hook(lambda _, inputs, __: slow_down(bench, len(inputs[0])))
        started = time.perf_counter()
        auto = measure_shares(compute, world, batch_size=size, micro_batch=None)
        measuring_s = time.perf_counter() - started
        ms = {}
        for name, weights in (("equal", (1, 1)), ("auto", auto.weights)):
            bounds = share_bounds(weights, size)
            share = batch.select(range(int(bounds[rank]), int(bounds[rank + 1])))
            ms[name] = time_steps(run, [share], bench.choose(10, 1)).ms
        if rank == 0:
            found = {
                "shares": auto.describe(size),
                "measuring_s": measuring_s,
                "alone_s": alone_s,
                **{f"{name}_ms": value for name, value in ms.items()},
            }
            (bench.folder / "two.json").write_text(json.dumps(found), encoding="utf-8")


def slow_down(bench: Bench, n_excerpts: int) -> None:
    """Take as long as a slower card would, but leave the device to the other rank meanwhile."""
    synchronise()
    time.sleep((0.01 if bench.on_cpu else 0.001) * n_excerpts)


def dead(bench: Bench) -> Finding:
    """One rank is killed while the other waits for the device: everything must end soon."""
    said = ""
    try:
        launch(blocked_or_killed, bench, processes=2)
    except DrumCrnnError as error:
        said = str(error)
    took_s = time.time() - float((bench.folder / "began").read_text())
    return Finding({"after the kill": f"{took_s:.1f} s", "said": said}, None if bench.on_cpu else took_s < 10)


def blocked_or_killed(bench: Bench) -> None:
    """Rank 1 dies. Rank 0 waits for a minute of work in C, where Python handles no signal."""
    with stop_on_signals():
        if os.environ["RANK"] == "1":
            time.sleep(4)
            (bench.folder / "began").write_text(str(time.time()), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        if bench.on_cpu:
            block_in_c()
        else:
            x = torch.zeros(1, device=bench.device)
            for _ in range(60):
                torch.cuda._sleep(1_700_000_000)
            x.item()


def block_in_c() -> None:
    """Wait for ever outside of Python: for a mutex that this thread holds."""
    import ctypes

    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def life(bench: Bench) -> Finding:
    """The stage `train` as users run it: whole, killed and resumed, stopped; and the memory of a killed one."""
    rows: dict[str, str] = {}
    params = bench.folder / "params.yaml"
    write_small_params(params)
    whole = [run_stage(bench, params, f"whole-{number}") for number in range(2)]
    if any(process.wait(timeout=300) for process in whole[:1]):
        return Finding({"": (bench.folder / "whole-0" / "said").read_text()[-300:]}, passed=False)
    whole[1].wait(timeout=300)
    weights = [weights_of(bench.folder / f"whole-{number}") for number in range(2)]
    run_to_run = float((weights[0] - weights[1]).abs().max())
    rows["two equal runs"] = f"weights differ by {run_to_run:.1e}"

    killed = run_stage(bench, params, "killed")
    wait_for_checkpoints(bench.folder / "killed", killed, 4)
    family = [killed.pid, *(child.pid for child in psutil.Process(killed.pid).children(recursive=True))]
    os.kill(killed.pid, signal.SIGKILL)
    started = time.monotonic()
    killed.wait()
    while any(map(is_alive, family)) and time.monotonic() - started < 20:
        time.sleep(0.05)
    rows["after a kill"] = f"all processes are gone in {time.monotonic() - started:.1f} s"
    in_time = bench.on_cpu or time.monotonic() - started < 5
    if not bench.on_cpu:
        while memory_of(family) and time.monotonic() - started < 20:
            time.sleep(0.1)
        rows["memory of the killed"] = f"is back in {time.monotonic() - started:.1f} s"
    resumed = run_stage(bench, params, "killed").wait(timeout=300)
    drift = float((weights_of(bench.folder / "killed") - weights[0]).abs().max())
    rows["killed and resumed"] = f"exit code {resumed}; weights differ by {drift:.1e} from those of a whole run"

    write_small_params(params, "train.epochs=1000")
    stopped = run_stage(bench, params, "stopped")
    wait_for_checkpoints(bench.folder / "stopped", stopped, 4)
    started = time.monotonic()
    stopped.send_signal(signal.SIGTERM)
    code = stopped.wait(timeout=60)
    rows["SIGTERM"] = f"exit code {code} after {time.monotonic() - started:.1f} s"
    return Finding(rows, in_time and drift <= 2 * run_to_run + 1e-5 and code == 75)


def write_small_params(path: Path, *more: str) -> None:
    """The project's params with a training of a few epochs."""
    from drum_crnn.workbench.presets import apply_presets

    path.write_bytes(Path("params.yaml").read_bytes())
    settings = ["train.epochs=3", "train.loader_workers=2", "train.checkpoint_every_steps=5", "train.processes=1"]
    settings += ["train.validation_recordings=4", "train.cudnn_autotune=false"]
    settings += ["train.excerpts_per_epoch=320", "model.conv_channels=[8, 8, 8]", "model.gru_units=32"]
    apply_presets(path, [], [*settings, *more])


def run_stage(bench: Bench, params: Path, name: str) -> "subprocess.Popen[bytes]":
    """Start the stage with outputs in a folder of that name."""
    folder, inputs = bench.folder / name, bench.inputs
    folder.mkdir(exist_ok=True)
    options = {
        "--features": inputs.features,
        "--labels": inputs.labels,
        "--splits": inputs.splits,
        "--catalog": inputs.catalog,
        "--params-file": params,
        "--model": folder / "model.safetensors",
        "--metrics": folder / "metrics",
        "--logs-dir": folder / "logs",
        "--resume-dir": folder / ".resume",
    }
    words = [str(word) for option in options.items() for word in option]
    with (folder / "said").open("a") as said:
        return subprocess.Popen([sys.executable, "-m", "stages.train", *words], stdout=said, stderr=said)


def weights_of(folder: Path) -> Tensor:
    """All weights of the model that a run wrote."""
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(folder / "model.safetensors").items())])


def wait_for_checkpoints(folder: Path, process: "subprocess.Popen[bytes]", n: int) -> None:
    """Wait until a run has written this many checkpoints since this call."""
    written: set[int] = set()
    while len(written) < n:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended early, with exit code {process.returncode}")
        for path in folder.glob(".resume/*/checkpoint.pt"):
            written.add(path.stat().st_mtime_ns)
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    """Whether a process still runs."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def memory_of(pids: Sequence[int]) -> list[str]:
    """What `nvidia-smi` still lists of these processes."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader"]
    lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if line.split(",")[0].strip() in set(map(str, pids))]


TRUST: dict[str, Callable[[Bench], Finding]] = {
    "exact": exact,
    "determinism": determinism,
    "precision": precision,
    "memory": memory,
    "two": two,
    "dead": dead,
    "life": life,
}
