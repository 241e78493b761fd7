"""Trainings as users run them: the stage's command in processes of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miniature import ROOT, write_params
from waiting import AT_MOST_S, wait_until

from drum_crnn.training.run import TrainingInputs, TrainingOutputs

HELD = Path(__file__).with_name("held.py")
AT_STEP = "drum_crnn.training.loop:stop_if_broken"  # after each step, before it is saved
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def inputs_in(data: Path) -> TrainingInputs:
    return TrainingInputs(data / "features", data / "labels.h5", data / "splits.csv", data / "catalog.csv")


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

    def command(self, *start: str | Path) -> list[str]:
        """The stage's command; `start` is what Python, and perhaps a launcher, are called with."""
        inputs, outputs = self.inputs, self.outputs
        options = {
            "--features": inputs.features,
            "--labels": inputs.labels,
            "--splits": inputs.splits,
            "--catalog": inputs.catalog,
            "--model": outputs.model,
            "--metrics": outputs.metrics,
            "--params-file": self.folder / "params.yaml",
            "--logs-dir": outputs.logs,
            "--resume-dir": outputs.resume,
        }
        words = [word for option in options.items() for word in option]
        return list(map(str, (*(start or (sys.executable,)), "-m", "stages.train", *words)))

    def run(self, **options: Any) -> "subprocess.CompletedProcess[str]":
        options = {"cwd": self.folder, "env": ENVIRONMENT, **options}
        return subprocess.run(self.command(), capture_output=True, text=True, check=False, **options)

    def start(self, *start: str | Path, **environment: str) -> "subprocess.Popen[str]":
        """Start it in a session of its own; what it says goes to the file `said`."""
        with (self.folder / "said").open("w") as said:
            return subprocess.Popen(
                self.command(*start),
                cwd=self.folder,
                text=True,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env=ENVIRONMENT | environment,
            )

    def hold(
        self, place: str, *start: str | Path, ranks: Sequence[int] = (0,), **environment: str
    ) -> "subprocess.Popen[str]":
        """Start it, and return when these ranks wait at `place`, as held.py has it."""
        for rank in ranks:
            (self.folder / f"held-{rank}").unlink(missing_ok=True)
        environment |= {"HELD_AT": place, "HELD_RANKS": ",".join(map(str, ranks)), "HELD_IN": str(self.folder)}
        process = self.start(*(start or (sys.executable,)), HELD, **environment)
        wait_until(lambda: all(map(self.held, ranks)), process, what=self.said)
        return process

    def held(self, rank: int = 0) -> int | None:
        """The process that waits as this rank."""
        path = self.folder / f"held-{rank}"
        return int(path.read_text()) if path.exists() else None

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def checkpoint(self) -> Path | None:
        return next((self.outputs.resume).glob("*/checkpoint.pt"), None)


def finish(runs: StageRuns) -> str:
    """Run the stage to its end; what it said."""
    done = runs.run()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def end(process: "subprocess.Popen[str]", number: signal.Signals) -> int:
    """Send a signal and wait for the end; the exit code."""
    process.send_signal(number)
    return process.wait(timeout=AT_MOST_S)


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
