"""Nothing hangs: a stopped loader, a process that waits in C, GPUs that exchange nothing, a rank that is late."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torch.distributed as dist
from learners import CPU, make_learner, make_share
from miniature import ROOT
from training_runs import ENVIRONMENT, StageRuns
from waiting import AT_MOST_S, wait_for_end, wait_until

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.training import loading
from drum_crnn.training.dataset import ExcerptKey
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import accumulate_gradient, warm_up_ddp
from drum_crnn.training.loading import batches, end_loader, make_loader, start_loader


class Excerpts:
    """In place of a dataset and its sampler: endless batches of one number."""

    def __iter__(self) -> Any:
        for place in range(10**6):
            yield [ExcerptKey(0, place)]

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, keys: list[ExcerptKey]) -> list[int]:
        return [key.place for key in keys]


class SlowAtFirst(Excerpts):
    """Computes for three seconds before the first batch comes."""

    def __getitem__(self, keys: list[ExcerptKey]) -> list[int]:
        end_s = psutil.Process().cpu_times().user + 3.0
        while keys[0].place == 0 and psutil.Process().cpu_times().user < end_s:
            pass
        return super().__getitem__(keys)


@pytest.fixture
def stopped_loader() -> Any:
    """A loader whose processes have been stopped; the batches that they had made are used up soon."""
    excerpts: Any = Excerpts()
    loader = make_loader(excerpts, excerpts, n_workers=2, pin_memory=False)
    start_loader(loader)
    workers = [psutil.Process(process.pid) for process in loader._iterator._workers]  # type: ignore[union-attr]
    for worker in workers:
        worker.suspend()
    yield loader
    for worker in workers:
        worker.resume()
    end_loader(loader)
    wait_for_end(workers)


def test_a_loader_that_stands_still_ends_the_training(stopped_loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_STANDSTILL_LOOKS", 2)
    first, second = (process.pid for process in stopped_loader._iterator._workers)
    said = (
        rf"no excerpts have come for \d+ s; of the processes that read them, {first} is stopped, {second} is stopped\."
    )
    with pytest.raises(DrumCrnnError, match=said):
        for _ in batches(stopped_loader, StopRequest()):
            pass


IMPATIENT = """
import drum_crnn.training.loading as loading
from stages.train import app
loading._STANDSTILL_LOOKS = 2
app()
"""


def test_the_stage_ends_when_its_loader_stands_still(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path, epochs=1000, patience=1000, loader_workers=1)
    command = [sys.executable, "-c", IMPATIENT, *runs.command()[3:]]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, env=ENVIRONMENT)
    wait_until(lambda: runs.checkpoint() is not None, process, what=runs.said)
    workers = [
        child for child in psutil.Process(process.pid).children() if "resource_tracker" not in str(child.cmdline())
    ]
    for worker in workers:
        worker.suspend()
    assert process.wait(timeout=AT_MOST_S) == 1
    assert f"of the processes that read them, {workers[0].pid} is stopped" in runs.said()
    wait_for_end(workers)


def test_a_training_that_waits_for_its_loader_can_be_stopped(stopped_loader: Any) -> None:
    stop = StopRequest()
    stop.cause = "by SIGINT"
    with pytest.raises(Interrupted, match="stopped by SIGINT while it waited for data; run the same command again"):
        for _ in batches(stopped_loader, stop):
            pass


def test_a_slow_loader_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that computes, if only for longer than a standstill may last."""
    monkeypatch.setattr(loading, "_STANDSTILL_LOOKS", 2)
    excerpts: Any = SlowAtFirst()
    loader = make_loader(excerpts, excerpts, n_workers=1, pin_memory=False)
    start_loader(loader)
    batch, waited_s = next(batches(loader, StopRequest()))
    assert (batch, waited_s > 2.5) == ([0], True)
    end_loader(loader)


STUCK = """
import ctypes, signal, time
import drum_crnn.foundation.stopping as stopping
stopping._STUCK_S = 0.5
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it: nohup does
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
library.pthread_mutex_init(mutex, None)
library.pthread_mutex_lock(mutex)
with stopping.stop_on_signals() as stop:
    print("begun", flush=True)
    while True:
        stop.cause = None  # the signal came while Python could note it: here is another chance
        until = (ctypes.c_long * 2)(int(time.time()) + 5, 0)
        library.pthread_mutex_timedlock(mutex, until)  # waits in C, and no signal ends it: this thread holds the lock
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_in_c_ends_after_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"

        def has_ended() -> bool:
            process.send_signal(number)
            return process.poll() is not None

        wait_until(has_ended)
        said = process.stderr.read()
    assert process.returncode == Interrupted.exit_code
    assert said.startswith(f"error: stopped by {number.name} while it waited, perhaps for a GPU; run the same command")


SILENT = """
import time
from drum_crnn.training.distributed import _NO_EXCHANGE, _ending_unless_done
with _ending_unless_done(1000.0, "too early"):
    pass
with _ending_unless_done(0.2, _NO_EXCHANGE):
    time.sleep(1000.0)
"""


def test_gpus_that_exchange_nothing_end_with_advice() -> None:
    done = subprocess.run([sys.executable, "-c", SILENT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "have not exchanged a single number in 60 s. Try again with NCCL_P2P_DISABLE=1" in done.stderr


def late_rank(rank: int, folder: Path) -> None:
    """Rank 1 computes nothing until rank 0 has computed something alone."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    learner = make_learner(World(rank, rank, 2, CPU))
    share = make_share(learner, n=2)
    warm_up_ddp(learner, share)
    if rank == 1:
        wait_until((folder / "computed").exists)
    accumulate_gradient(learner, share, share.targets.counts().tolist(), micro_batch=2, exchange=False)
    (folder / "computed").touch()
    gradient = [parameter.grad.clone() for parameter in learner.model.parameters() if parameter.grad is not None]
    assert all(np.isfinite(part).all() for part in gradient)
    dist.destroy_process_group()


def test_after_the_warm_up_a_rank_can_compute_alone(tmp_path: Path) -> None:
    """DistributedDataParallel hides an exchange in its second forward pass."""
    torch.multiprocessing.spawn(late_rank, (tmp_path,), nprocs=2)
    assert (tmp_path / "computed").exists()
