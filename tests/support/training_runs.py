"""Trainings as users run them: the stage's command in processes of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from miniature import ROOT, write_params

from drum_crnn.training.run import TrainingInputs, TrainingOutputs

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def inputs_in(data: Path) -> TrainingInputs:
    return TrainingInputs(data / "features", data / "labels.h5", data / "splits.csv")


def outputs_in(folder: Path) -> TrainingOutputs:
    return TrainingOutputs(
        folder / "models" / "crnn.safetensors", folder / "metrics", folder / "logs", folder / ".resume"
    )


class StageRuns:
    """The stage `train` of the miniature project, in a folder, to be run, killed and run again."""

    def __init__(self, data: Path, folder: Path, *, model: dict[str, Any] | None = None, **train: Any) -> None:
        self.inputs, self.outputs, self.folder = inputs_in(data), outputs_in(folder), folder
        self.model = model or {}
        folder.mkdir(exist_ok=True)
        self.set(**train)

    def set(self, **train: Any) -> None:
        write_params(self.folder / "params.yaml", train=train, model=self.model)

    def command(self, *launcher: str) -> list[str]:
        inputs, outputs = self.inputs, self.outputs
        options = {
            "--features": inputs.features,
            "--labels": inputs.labels,
            "--splits": inputs.splits,
            "--model": outputs.model,
            "--metrics": outputs.metrics,
            "--params-file": self.folder / "params.yaml",
            "--logs-dir": outputs.logs,
            "--resume-dir": outputs.resume,
        }
        words = [str(word) for option in options.items() for word in option]
        return [*(launcher or (sys.executable,)), "-m", "stages.train", *words]

    def run(self, *launcher: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        options = {"cwd": self.folder, "env": ENVIRONMENT, **options}
        return subprocess.run(self.command(*launcher), capture_output=True, text=True, check=False, **options)

    def start(self, *launcher: str, **options: Any) -> "subprocess.Popen[str]":
        """Start it in a session of its own; what it says goes to the file `said`."""
        with (self.folder / "said").open("w") as said:
            return subprocess.Popen(
                self.command(*launcher),
                cwd=self.folder,
                text=True,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env=ENVIRONMENT,
                **options,
            )

    def begin(self) -> "subprocess.Popen[str]":
        """Start it, and wait until it trains."""
        process = self.start()
        wait_until(self.has_begun, process)
        return process

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def has_begun(self) -> bool:
        return "excerpts of a batch" in self.said()

    def checkpoint(self) -> Path | None:
        return next((self.outputs.resume).glob("*/checkpoint.pt"), None)

    def checkpoints_seen(self) -> Callable[[], int]:
        """A function that counts the checkpoints that it has seen appear."""
        seen: set[int] = set()

        def count() -> int:
            path = self.checkpoint()
            if path is not None:
                seen.add(path.stat().st_mtime_ns)
            return len(seen)

        return count


def wait_until(condition: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline, "that never happened"
        time.sleep(0.002)


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> int:
    """Send a signal and wait for the end; the exit code."""
    process.send_signal(number)
    return process.wait(timeout=60)


def resumed_at(said: str) -> tuple[int, int] | None:
    """Epoch and step after which a run says that it goes on."""
    found = re.search(r"resuming at epoch (\d+), after its step (\d+)", said)
    return None if found is None else (int(found[1]), int(found[2]))


def files_in(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def same_results(one: Path, other: Path) -> None:
    """Weights, metrics and pictures of two runs are the same bytes."""
    files = files_in(one / "metrics")
    assert len(files) > 15
    assert files_in(other / "metrics") == files
    for path in ("models/crnn.safetensors", *(Path("metrics") / file for file in files)):
        assert (one / path).read_bytes() == (other / path).read_bytes(), path
