"""The stage `train` on several ranks and agents, in processes of its own: killed, stopped, orphaned, restarted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from miniature import ROOT
from ports import reserved_port
from training_runs import AT_STEP, ENVIRONMENT, StageRuns, end, finish, resumed_at, same_results
from waiting import AT_MOST_S, wait_for_end

from drum_crnn.model.model_file import ModelFile

TORCHRUN = Path(sys.executable).with_name("torchrun")


# Whole shares of 5: a batch divides unevenly, and the last one of an epoch is ragged.
TWO: dict[str, Any] = {
    "epochs": 4,
    "patience": 4,
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


# A rank that ends while the other one waits for it.
CULPRIT = """
import sys
from drum_crnn.training import loop
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.loop import train
from drum_crnn.training.run import TrainingParams
from pathlib import Path

def fail_in(rank):
    if rank == int(sys.argv[2]):
        raise {"ours": DrumCrnnError, "other": ValueError}[sys.argv[3]]("the real cause")

def check(run, state, first_broken):
    if state.step == 4:
        fail_in(run.world.rank)

def open_data(me, *arguments):
    fail_in(me.rank)
    return opened(me, *arguments)

opened = loop.open_data
if sys.argv[5] == "at a step":
    loop.stop_if_broken = check
else:
    loop.open_data = open_data
if __name__ == "__main__":
    from training_runs import inputs_in, outputs_in
    folder = Path(sys.argv[1]).parent
    try:
        train(inputs_in(Path(sys.argv[4])), outputs_in(folder), TrainingParams.load(Path(sys.argv[1])))
    except DrumCrnnError as error:
        sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize(
    ("rank", "kind", "place"),
    [
        (1, "ours", "at a step"),
        (0, "other", "at a step"),
        (1, "ours", "before they meet"),
    ],
)
def test_the_cause_is_told_and_nothing_hangs(
    tmp_path: Path, prepared_data: Path, rank: int, kind: str, place: str
) -> None:
    """Its loaders' processes are there, and ignore the signal with which Python would end them."""
    runs = StageRuns(prepared_data, tmp_path, **TWO)
    (tmp_path / "culprit.py").write_text(CULPRIT)
    command = [sys.executable, "culprit.py", str(tmp_path / "params.yaml"), str(rank), kind, str(prepared_data), place]
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=AT_MOST_S
    )
    assert done.returncode == 1
    said = {"ours": "the real cause", "other": "ValueError: the real cause"}[kind]
    assert f"error: rank {rank} stopped the training: {said}" in done.stderr
    # A rank that hears of nothing would be killed, or kill itself.
    assert "while it waited" not in done.stderr
    assert (runs.checkpoint() is not None) == (place == "at a step")


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
    end(runs.hold(f"{AT_STEP}#1"), signal.SIGKILL)
    again = runs.said()
    assert len(said) == 1
    # The times that were measured are part of it, and would not be the same a second time.
    assert " ms; rank 1 " in said[0]
    assert said[0] in again
