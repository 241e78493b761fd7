"""The stage `train` in processes of its own: killed, stopped, orphaned, started twice, on several ranks and agents."""

import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from miniature import ROOT
from ports import reserved_port
from training_runs import AT_STEP, ENVIRONMENT, StageRuns, end, resumed_at, same_results
from waiting import AT_MOST_S, wait_for_end, wait_until

from drum_crnn.foundation.atomic import PARTIAL
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.model.model_file import ModelFile

STEPS_PER_EPOCH = 6
TORCHRUN = Path(sys.executable).with_name("torchrun")


@pytest.fixture(scope="session")
def whole(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> StageRuns:
    """An uninterrupted run: 10 epochs, which are 60 steps; a loader process, dropout and pictures."""
    runs = StageRuns(prepared_data, tmp_path_factory.mktemp("whole"), **LONG)
    done = runs.run()
    assert done.returncode == 0, done.stderr
    assert resumed_at(done.stderr) is None
    return runs


LONG: dict[str, Any] = {"epochs": 10, "patience": 10, "loader_workers": 1, "image_every_epochs": 3}


def finish(runs: StageRuns) -> str:
    done = runs.run()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, prepared_data: Path, whole: StageRuns) -> None:
    """First after a step, as only then it is certain that there is something to go on from; then at random moments."""
    runs = StageRuns(prepared_data, tmp_path / "killed", **LONG)
    end(runs.hold(f"{AT_STEP}#4"), signal.SIGKILL)
    moments, places = random.Random(), [resumed_at(runs.said())]
    wall_s = json.loads((whole.outputs.logs / "training.json").read_text())["wall_s"]
    for _ in range(3):
        process = runs.start()
        wait_until(lambda: "resuming at" in runs.said(), process, what=runs.said)
        time.sleep(moments.uniform(0.0, wall_s / 4))
        end(process, signal.SIGKILL)
        places.append(resumed_at(runs.said()))
        if runs.checkpoint() is None:  # this time it was faster: it removes them last
            break
    else:
        places.append(resumed_at(finish(runs)))
    logging.getLogger(__name__).warning("killed runs went on at (epoch, step): %s", places)
    assert places[:2] == [None, (1, 3)]
    assert None not in places[1:]
    same_results(whole.folder, runs.folder)
    assert not list(runs.outputs.resume.glob("*/*"))


def test_killed_while_it_writes_a_checkpoint(tmp_path: Path, prepared_data: Path, whole: StageRuns) -> None:
    runs = StageRuns(prepared_data, tmp_path / "killed", **LONG)
    end(runs.hold("os:fsync#4"), signal.SIGKILL)
    assert len(list(runs.outputs.resume.glob(f"*/{PARTIAL}*.pt"))) == 1
    checkpoint = runs.checkpoint()
    assert checkpoint is not None
    torch.load(checkpoint, weights_only=True)
    assert resumed_at(finish(runs)) is not None
    same_results(whole.folder, runs.folder)


def test_killed_in_validation(tmp_path: Path, prepared_data: Path, whole: StageRuns) -> None:
    """The last checkpoint is the one after the last step of an epoch."""
    runs = StageRuns(prepared_data, tmp_path / "killed", **LONG)
    end(runs.hold("drum_crnn.training.loop:validate#2"), signal.SIGKILL)
    assert resumed_at(finish(runs)) == (2, STEPS_PER_EPOCH)
    same_results(whole.folder, runs.folder)


def test_asked_to_stop_it_saves_and_says_so(tmp_path: Path, prepared_data: Path, whole: StageRuns) -> None:
    """All processes are asked, the one that loads data included, as a batch system does it."""
    runs = StageRuns(prepared_data, tmp_path / "stopped", **LONG)
    process = runs.hold(f"{AT_STEP}#4")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(AT_MOST_S) == 75
    assert "stopped by SIGTERM at epoch" in runs.said()
    assert "and saved; run the same command again to resume" in runs.said()
    assert "Traceback" not in runs.said()
    place = resumed_at(finish(runs))
    assert place is not None
    assert f"epoch {place[0]}, after its step {place[1]}, and saved" in runs.said()
    same_results(whole.folder, runs.folder)


def test_checkpoints_of_other_params_are_left_alone(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path, epochs=3)
    end(runs.hold(f"{AT_STEP}#4"), signal.SIGKILL)
    (old,) = runs.outputs.resume.glob("*/checkpoint.pt")
    content = old.read_bytes()
    runs.set(epochs=2)
    said = finish(runs)
    assert "resuming" not in said
    assert "left alone" in said
    assert old.read_bytes() == content
    # Back at the params that it belongs to, it is used.
    runs.set(epochs=3)
    assert resumed_at(finish(runs)) is not None


def test_no_room_for_a_checkpoint(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path, epochs=2, model={"projection": 96, "gru_units": 96})
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
    assert resumed_at(finish(runs)) is not None


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


# --- Several ranks ----------------------------------------------------------------------------------------------------

# Whole shares of 5: a batch divides unevenly, and the last one of an epoch is ragged.
TWO: dict[str, Any] = {
    "epochs": 6,
    "patience": 6,
    "batch_size": 5,
    "processes": 2,
    "rank_shares": [2, 3],
    "loader_workers": 1,
}


@pytest.fixture(scope="session")
def whole_of_two(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> StageRuns:
    """An uninterrupted run of two ranks."""
    runs = StageRuns(prepared_data, tmp_path_factory.mktemp("two"), **TWO)
    finish(runs)
    assert json.loads((runs.outputs.logs / "training.json").read_text())["ranks"] == 2
    ModelFile.load(runs.outputs.model)
    return runs


def test_ctrl_c_ends_two_ranks_together(tmp_path: Path, prepared_data: Path, whole_of_two: StageRuns) -> None:
    """A terminal sends it to the launcher and to the ranks; the launcher hands it on once more."""
    runs = StageRuns(prepared_data, tmp_path / "stopped", **TWO)
    process = runs.hold(f"{AT_STEP}#4", ranks=(0, 1))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(AT_MOST_S) == 75, runs.said()
    assert "stopped by SIGINT" in runs.said()
    assert "run the same command again to resume" in runs.said()
    assert "Traceback" not in runs.said()
    assert resumed_at(finish(runs)) is not None
    same_results(whole_of_two.folder, runs.folder)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_ends_the_other(tmp_path: Path, prepared_data: Path, rank: int) -> None:
    """The launcher tells of the one that died, not of the one that waits for it and loses contact."""
    runs = StageRuns(prepared_data, tmp_path, **TWO)
    process = runs.hold(f"{AT_STEP}#4", ranks=(rank,))
    ranks = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(ranks) == 2
    psutil.Process(runs.held(rank)).kill()
    assert process.wait(AT_MOST_S) == 1
    assert f"error: rank {rank} stopped the training: Signal 9 (SIGKILL)" in runs.said()
    assert "Traceback" not in runs.said()
    wait_for_end(ranks)
    assert runs.checkpoint() is not None


# A rank that ends while the other one waits for it, at the very step that a signal names.
CULPRIT = """
import sys
from drum_crnn.training import loop
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.loop import train
from drum_crnn.training.run import TrainingParams
from pathlib import Path

def check(run, state, first_broken):
    if run.world.rank == int(sys.argv[2]) and state.step == 4:
        raise {"ours": DrumCrnnError, "other": ValueError}[sys.argv[3]]("the real cause")

loop.stop_if_broken = check
if __name__ == "__main__":
    from training_runs import inputs_in, outputs_in
    folder = Path(sys.argv[1]).parent
    try:
        train(inputs_in(Path(sys.argv[4])), outputs_in(folder), TrainingParams.load(Path(sys.argv[1])))
    except DrumCrnnError as error:
        sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize(("rank", "kind"), [(1, "ours"), (0, "other")])
def test_the_cause_is_told_and_nothing_hangs(tmp_path: Path, prepared_data: Path, rank: int, kind: str) -> None:
    """Its loaders' processes are there, and ignore the signal with which Python would end them."""
    runs = StageRuns(prepared_data, tmp_path, **TWO)
    (tmp_path / "culprit.py").write_text(CULPRIT)
    command = [sys.executable, "culprit.py", str(tmp_path / "params.yaml"), str(rank), kind, str(prepared_data)]
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=AT_MOST_S
    )
    assert done.returncode == 1
    said = {"ours": "the real cause", "other": "ValueError: the real cause"}[kind]
    assert f"error: rank {rank} stopped the training: {said}" in done.stderr
    # Each process takes the checkpoint of the last whole epoch or step with it.
    assert runs.checkpoint() is not None


def test_one_rank_and_two_measure_the_same(tmp_path: Path, prepared_data: Path) -> None:
    """Losses and scores are sums over all ranks, divided once: how many there are changes rounding alone."""
    found = []
    for n_ranks in (1, 2):
        few = {**TWO, "epochs": 2, "processes": n_ranks, "rank_shares": "equal"}
        runs = StageRuns(prepared_data, tmp_path / str(n_ranks), model={"dropout": 0.0}, **few)
        finish(runs)
        found.append(json.loads((runs.outputs.metrics / "metrics.json").read_text()))
    one, two = found
    assert one["train"]["loss"] == pytest.approx(two["train"]["loss"], rel=1e-4)
    assert one["train"]["gradient_norm"] == pytest.approx(two["train"]["gradient_norm"], rel=1e-3)
    for name, value in one["validation"].items():
        assert value == pytest.approx(two["validation"][name], rel=1e-3), name


def test_ranks_do_not_outlive_their_launcher(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path / "orphans", **TWO)
    process = runs.hold(f"{AT_STEP}#4", ranks=(0, 1))
    ranks = [psutil.Process(runs.held(rank)) for rank in (0, 1)]
    end(process, signal.SIGKILL)
    wait_for_end(ranks)
    assert not runs.outputs.model.exists()


def test_torchrun_restarts_what_died_and_it_goes_on(
    tmp_path: Path, prepared_data: Path, whole_of_two: StageRuns
) -> None:
    runs = StageRuns(prepared_data, tmp_path / "restarted", **TWO)
    process = runs.hold(f"{AT_STEP}#4", TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", ranks=(1,))
    psutil.Process(runs.held(1)).kill()
    assert process.wait(AT_MOST_S) == 0, runs.said()
    assert resumed_at(runs.said()) is not None
    same_results(whole_of_two.folder, runs.folder)


def test_two_machines(tmp_path: Path, prepared_data: Path, whole_of_two: StageRuns) -> None:
    """Two agents of torchrun, each with a rank, that meet on loopback: the same weights as one agent with two."""
    runs = StageRuns(prepared_data, tmp_path / "machines", **TWO)
    with reserved_port() as port:
        machines = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "localhost", "--master-port", str(port)]
        agents = [runs.start(TORCHRUN, *machines, "--node-rank", rank) for rank in ("0", "1")]
        assert [agent.wait(AT_MOST_S) for agent in agents] == [0, 0], runs.said()
    same_results(whole_of_two.folder, runs.folder)


def test_measured_shares_are_kept_when_it_goes_on(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path / "measured", **{**TWO, "rank_shares": "auto"})
    end(runs.hold(f"{AT_STEP}#1", ranks=(0, 1)), signal.SIGTERM)
    said = [line for line in runs.said().splitlines() if line.startswith("excerpts of a batch")]
    again = finish(runs)
    assert len(said) == 1
    # The times that were measured are part of it, and would not be the same a second time.
    assert " ms; rank 1 " in said[0]
    assert said[0] in again


def test_a_mistake_of_the_user_is_a_sentence_with_two_ranks_as_well(tmp_path: Path, prepared_data: Path) -> None:
    runs = StageRuns(prepared_data, tmp_path / "mistake", processes=2, rank_shares=[1, 2, 3])
    done = runs.run()
    assert done.returncode == 1
    assert "stopped the training: train.rank_shares has 3 shares, but there are 2 ranks" in done.stderr
    assert "Traceback" not in done.stderr
