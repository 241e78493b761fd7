"""The stage `train` in processes of its own: killed, stopped, orphaned, started twice."""

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from training_runs import AT_STEP, StageRuns, end, finish, resumed_at, same_results
from waiting import AT_MOST_S, wait_for_end, wait_until

from drum_crnn.foundation.atomic import PARTIAL
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest

STEPS_PER_EPOCH = 6


@pytest.fixture(scope="session")
def whole(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> StageRuns:
    """An uninterrupted run: 10 epochs, which are 60 steps; a loader process, dropout and pictures."""
    runs = StageRuns(prepared_data, tmp_path_factory.mktemp("whole"), **LONG)
    done = runs.run()
    assert done.returncode == 0, done.stderr
    assert resumed_at(done.stderr) is None
    return runs


LONG: dict[str, Any] = {"epochs": 10, "patience": 10, "loader_workers": 1, "image_every_epochs": 3}


def test_killed_and_stopped_again_and_again_it_ends_in_the_same_bytes(
    tmp_path: Path, prepared_data: Path, whole: StageRuns
) -> None:
    runs = StageRuns(prepared_data, tmp_path / "killed", **LONG)
    end(runs.hold(f"{AT_STEP}#4"), signal.SIGKILL)
    assert resumed_at(runs.said()) is None

    # In the second validation of a run; the last checkpoint is the one after the last step of the epoch.
    end(runs.hold("drum_crnn.training.loop:validate#2"), signal.SIGKILL)
    assert resumed_at(runs.said()) == (1, 3)

    # While it writes a checkpoint: the one before is whole.
    end(runs.hold("os:fsync#4"), signal.SIGKILL)
    assert resumed_at(runs.said()) == (2, STEPS_PER_EPOCH)
    assert len(list(runs.outputs.resume.glob(f"*/{PARTIAL}*.pt"))) == 1
    checkpoint = runs.checkpoint()
    assert checkpoint is not None
    torch.load(checkpoint, weights_only=True)

    # Asked to stop: all processes, the one that loads data included, as a batch system does it.
    process = runs.hold(f"{AT_STEP}#4")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(AT_MOST_S) == 75
    assert "stopped by SIGTERM at epoch" in runs.said()
    assert "and saved; run the same command again to resume" in runs.said()
    assert "Traceback" not in runs.said()
    said = runs.said()

    # At a random moment.
    process = runs.start()
    wait_until(lambda: resumed_at(runs.said()) is not None, process, what=runs.said)
    place = resumed_at(runs.said())
    assert place is not None
    assert f"at epoch {place[0]}, after its step {place[1]}, and saved" in said
    wall_s = json.loads((whole.outputs.logs / "training.json").read_text())["wall_s"]
    time.sleep(random.Random().uniform(0.0, wall_s / 4))
    end(process, signal.SIGKILL)

    if runs.checkpoint() is not None:  # otherwise it was faster: it removes them last
        assert resumed_at(finish(runs)) is not None
    same_results(whole.folder, runs.folder)
    assert not list(runs.outputs.resume.glob("*/*"))


def test_a_checkpoint_outlives_a_full_disk_and_trainings_of_other_params(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path, epochs=3, model={"projection": 96, "gru_units": 96})
    end(runs.hold(f"{AT_STEP}#4"), signal.SIGKILL)
    (checkpoint,) = runs.outputs.resume.glob("*/checkpoint.pt")
    content = checkpoint.read_bytes()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, len(content) // 2))

    done = runs.run(preexec_fn=limit)
    assert done.returncode == 1
    assert "checkpoint.pt: cannot be written: File too large; make room, and run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoint.read_bytes() == content

    runs.set(epochs=1)
    said = finish(runs)
    assert "resuming" not in said
    assert "left alone" in said
    assert checkpoint.read_bytes() == content
    # Back at the params that it belongs to, it is used.
    runs.set(epochs=3)
    assert resumed_at(finish(runs)) == (1, 3)


def test_a_training_waits_for_another_one_in_its_folder(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path, epochs=1)
    with folder_lock(runs.outputs.resume, StopRequest()):
        process = runs.start()
        wait_until(lambda: f"waiting for process {os.getpid()} to end" in runs.said(), process, what=runs.said)
        assert runs.checkpoint() is None
    assert process.wait(AT_MOST_S) == 0, runs.said()
    assert runs.outputs.model.exists()


def test_an_orphan_stops_and_writes_no_model(tmp_path: Path, prepared_data: Path) -> None:
    """What is left of a `dvc repro` that was killed."""
    runs = StageRuns(prepared_data, tmp_path, epochs=2)
    # Two commands, so that the shell does not replace itself by the first one.
    dvc = 'import subprocess, sys; subprocess.run(["sh", "-c", \'"$@"; true\', "sh", *sys.argv[1:]])'
    process = runs.hold(f"{AT_STEP}#4", sys.executable, "-c", dvc, sys.executable, DVC_STAGE="train")
    trainer = psutil.Process(runs.held())
    end(process, signal.SIGKILL)
    wait_for_end([trainer])
    assert "stopped by the end of its parent process at epoch 1, after its step 5, and saved" in runs.said()
    assert not runs.outputs.model.exists()
    assert resumed_at(finish(runs)) == (1, 5)
