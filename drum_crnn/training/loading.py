"""The loader of a training: processes that read excerpts, and a watch on them, so that none stands still unnoticed."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
from torch.utils.data import DataLoader

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.foundation.workers import follow_parent
from drum_crnn.training.dataset import Batch, ExcerptDataset, ShareSampler

__all__ = ["batches", "end_loader", "make_loader", "start_loader"]

_LOOK_S = 1.0
_STOP_S = 3.0  # after this, a rank that was asked to stop waits for no batch to stop after
_STANDSTILL_LOOKS = 30  # without any computing or reading of any process; while all are stopped, nobody looks


def make_loader(
    dataset: ExcerptDataset, sampler: ShareSampler, *, n_workers: int, pin_memory: bool
) -> "DataLoader[Any]":
    """A loader of this rank's shares, in `n_workers` processes, or in this one if that is 0."""
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,  # an item of the dataset is a whole batch
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        worker_init_fn=follow_parent,
        # A spawned rank would spawn its workers too, and signals to stop would reach them during their imports.
        multiprocessing_context="fork" if n_workers > 0 else None,
        pin_memory=pin_memory,
    )


def start_loader(loader: "DataLoader[Any]") -> None:
    """Fork the processes of a loader; call it before the ranks join, and so before gloo has threads.

    Such a thread enters Python where it frees what was exchanged, with a gather, too. A fork at that moment copies the
    lock of the list of threads (Python 3.11), and the new process waits for it for ever: about one fork in 3,000.
    """
    if loader.num_workers > 0:
        iter(loader)  # the next call of iter keeps the processes, and drops what they have read


def end_loader(loader: "DataLoader[Any]") -> None:
    """End the processes of a loader, also those that stand still.

    They ignore the signal that Python sends at its end, so it would wait for them for ever.
    """
    if (iterator := loader._iterator) is None:
        return
    workers = list(iterator._workers)  # type: ignore[attr-defined]  # only loaders with processes have it
    for worker in workers:
        if worker.is_alive():
            os.kill(worker.pid, signal.SIGCONT)
    iterator._shutdown_workers()  # type: ignore[attr-defined]
    for worker in workers:
        worker.kill()


def batches(loader: "DataLoader[Any]", stop: StopRequest) -> Iterator[tuple[Batch, float]]:
    """Yield each batch of an epoch with the seconds spent waiting for it.

    Raises
    ------
    DrumCrnnError
        If no batch comes, and no process of the loader has done anything for half a minute.
    Interrupted
        If this process was asked to stop, and no batch comes.
    """
    watch = _Watch(loader, stop)
    with watch.waiting():
        iterator = iter(loader)
    while True:
        started = time.perf_counter()
        with watch.waiting():
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - started


class _Watch:
    """Looks around every second while this process waits for its loader, which itself would wait for ever.

    A timer's signal interrupts the wait, which Python then goes on with, unless the look ends in an error.
    """

    def __init__(self, loader: "DataLoader[Any]", stop: StopRequest) -> None:
        self._loader, self._stop = loader, stop
        self._started = 0.0
        self._n_idle = 0  # looks since a process has done something
        self._work: list[tuple[float, float, int]] = []

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Watch during a block. Only the main thread can handle signals; in another one, do nothing."""
        if self._loader.num_workers == 0 or threading.current_thread() is not threading.main_thread():
            yield
            return
        self._started, self._n_idle = time.monotonic(), 0
        before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)

    def _look(self, *_: Any) -> None:
        waited_s = time.monotonic() - self._started
        if self._stop and waited_s > _STOP_S:
            raise Interrupted(
                f"stopped {self._stop.cause} while it waited for data; run the same command again to resume from the "
                "last checkpoint"
            )
        iterator = self._loader._iterator
        pids = [] if iterator is None else [process.pid for process in iterator._workers]  # type: ignore[attr-defined]
        before, self._work = self._work, [_work_of(pid) for pid in pids]
        self._n_idle = self._n_idle + 1 if self._work == before else 0
        if self._n_idle >= _STANDSTILL_LOOKS:
            states = ", ".join(f"{pid} is {_state_of(pid)}" for pid in pids)
            raise DrumCrnnError(
                f"no excerpts have come for {waited_s:.0f} s; of the processes that read them, {states}. "
                "Run the same command again to resume from the last checkpoint"
            )


def _work_of(pid: int) -> tuple[float, float, int]:
    """What a process has done so far: seconds of computing for itself and in the system, and bytes read."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return times.user, times.system, process.io_counters().read_chars if hasattr(process, "io_counters") else 0
    except psutil.Error:  # it has ended, which the loader will tell
        return 0.0, 0.0, 0


def _state_of(pid: int) -> str:
    words = {psutil.STATUS_STOPPED: "stopped", psutil.STATUS_DISK_SLEEP: "waiting for the disk"}
    try:
        return words.get(psutil.Process(pid).status(), "waiting")
    except psutil.Error:
        return "gone"
