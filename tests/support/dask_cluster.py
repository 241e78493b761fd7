"""A Dask scheduler and its workers, as real processes of this machine that meet on the loopback interface."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from first_party import ROOT
from waiting import AT_MOST_S, wait_until


@dataclass
class Cluster:
    """Processes that run, and where they write their logs."""

    folder: Path
    address: str
    scheduler: "subprocess.Popen[bytes]"
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start_worker(self, *, python_path: Path = ROOT) -> "subprocess.Popen[bytes]":
        """Start a worker that works on one task at a time."""
        name = f"worker-{len(self.workers)}"
        options = ["--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        options += ["--name", name, "--local-directory", str(self.folder / name)]
        process = _start("dask_worker", [self.address, *options], self.folder, name, PYTHONPATH=str(python_path))
        self.workers.append(process)
        return process

    def logs(self) -> str:
        """What all processes have said."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def dask_cluster(folder: Path, *, n_workers: int, **environment: str) -> Iterator[Cluster]:
    """Run a scheduler, with more environment, and some workers; all of them end with the block."""
    folder.mkdir()
    answer = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", ":0"]
    options += ["--scheduler-file", str(answer)]
    scheduler = _start("dask_scheduler", options, folder, "scheduler", **environment)
    cluster = Cluster(folder, "", scheduler)
    try:
        wait_until(lambda: _address(answer), scheduler, what=cluster.logs)
        cluster.address = _address(answer)
        for _ in range(n_workers):
            cluster.start_worker()
        wait_until(lambda: cluster.logs().count("Register worker") >= n_workers, scheduler, what=cluster.logs)
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            process.kill()
            process.wait(timeout=AT_MOST_S)


def _start(module: str, arguments: list[str], folder: Path, name: str, **environment: str) -> "subprocess.Popen[bytes]":
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _address(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return ""
