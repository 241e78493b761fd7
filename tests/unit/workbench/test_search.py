"""Searches: spaces and their faults, what is proposed, and what becomes of trials that fail or are killed."""

import builtins
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import optuna
import pytest
from first_party import ROOT
from typer.testing import CliRunner

import drum_crnn.workbench.search
from drum_crnn.cli import app
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.workbench.search import Dvc, State, Trial, read_space, search

FOLDER = Path("logs/searches")
SPACE = """\
train.learning_rate: {low: 1e-4, high: 1e-2, log: true}
train.batch_size: [8, 16, 32]
model.gru_units: {low: 64, high: 256, step: 32}
model.dropout: {low: 0, high: 1}
model.conv_channels: [[16, 32, 48], [24, 48, 64]]
"""
RATE = "train.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"


class Killed(BaseException):
    """Ends a search wherever it is."""


class FakeDvc(Dvc):
    """Experiments are done when they begin; their score is the better the closer the learning rate is to 0.002."""

    def __init__(self) -> None:
        self.commit = "c0ffee"
        self.params: dict[str, Any] = {"train.learning_rate": 0.001, "train.seed": 0}
        self.experiments: dict[str, State] = {}
        self.begun: list[str] = []
        self.failing: set[str] = set()
        self.kill_before: str | None = None
        self.kill_after: str | None = None

    def look(self, commit: str = "HEAD") -> State:
        return State(self.commit, self.params, dict(self.experiments))

    def start(self, name: str, values: Mapping[str, str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        if name == self.kill_before:
            raise Killed
        self.begun.append(name)
        if name not in self.failing:
            params = {**self.params, **{key: json.loads(text) for key, text in values.items()}}
            self.experiments[name] = State(name, params)
        if name == self.kill_after:
            raise Killed
        return subprocess.Popen(["true"], stdout=log)

    def has_begun(self, log: Path) -> bool:
        return True

    def score(self, commit: str, metric: str) -> float | None:
        return -abs(self.experiments[commit].params["train.learning_rate"] - 0.002)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def space_of(text: str) -> Any:
    path = Path("space.yaml")
    path.write_text(text, encoding="utf-8")
    return read_space(path, ROOT / "params.yaml")


def run(
    dvc: Dvc, n_trials: int, text: str = RATE, *, n_jobs: int = 1, metric: str = "f1", seed: int = 0
) -> dict[str, Trial]:
    """The trials that have a score, by name, the best first."""
    ranking = search(space_of(text), "any", n_trials=n_trials, n_jobs=n_jobs, metric=metric, seed=seed, dvc=dvc)
    return {trial.name: trial for trial in ranking}


def in_a_fresh_folder(ran: Callable[[], dict[str, Trial]]) -> dict[str, Trial]:
    shutil.rmtree(FOLDER, ignore_errors=True)
    return ran()


# ------------------------------------------------------------------------------------------------------- proposals


def test_proposals_are_settings_within_the_space() -> None:
    for trial in run(FakeDvc(), 15, SPACE).values():
        values = {key: json.loads(text) for key, text in trial.values.items()}
        assert 1e-4 <= values["train.learning_rate"] <= 1e-2
        assert len(f"{values['train.learning_rate']:e}".partition("e")[0].replace(".", "").rstrip("0")) <= 4
        assert values["train.batch_size"] in (8, 16, 32)
        assert values["model.gru_units"] in range(64, 257, 32)
        assert isinstance(values["model.gru_units"], int)
        assert isinstance(values["model.dropout"], float)  # as in params.yaml
        assert values["model.conv_channels"] in ([16, 32, 48], [24, 48, 64])


def test_the_best_comes_first_and_later_proposals_are_nearer_to_it() -> None:
    trials = run(FakeDvc(), 40)
    scores = [trial.score for trial in trials.values()]
    assert scores == sorted(scores, reverse=True)
    assert trials.keys() == {f"any-{number}" for number in range(40)}
    by_number = [trials[f"any-{number}"].score for number in range(40)]
    assert sum(by_number[20:]) > sum(by_number[:20])


def test_of_losses_the_least_is_best() -> None:
    scores = [trial.score for trial in run(FakeDvc(), 4, metric="loss").values()]
    assert scores == sorted(scores)


def test_the_seed_draws() -> None:
    first, second = (in_a_fresh_folder(lambda seed=seed: run(FakeDvc(), 3, seed=seed)) for seed in (0, 1))
    assert first.keys() == second.keys()
    assert not {trial.values["train.learning_rate"] for trial in first.values()} & {
        trial.values["train.learning_rate"] for trial in second.values()
    }


# -------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("kill", ["kill_before", "kill_after"])
def test_a_search_that_was_killed_proposes_what_it_would_have(kill: str) -> None:
    whole = run(FakeDvc(), 14, SPACE)
    assert len({trial.values["train.learning_rate"] for trial in whole.values()}) > 10  # no draw is made twice

    shutil.rmtree(FOLDER)
    dvc = FakeDvc()
    for name in ("any-4", "any-12"):
        setattr(dvc, kill, name)
        with pytest.raises(Killed):
            run(dvc, 14, SPACE)
        setattr(dvc, kill, None)
    assert run(dvc, 14, SPACE) == whole
    assert dvc.begun == [f"any-{number}" for number in range(14)]  # what was finished was not run again


def test_killed_while_a_trial_is_proposed_it_goes_on_without_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    run(FakeDvc(), 1)
    with monkeypatch.context() as patched:
        patched.setattr(optuna.trial.Trial, "set_user_attr", killed)
        with pytest.raises(Killed):
            run(FakeDvc(), 2)
    assert run(FakeDvc(), 3).keys() == {"any-0", "any-2"}


def test_more_trials_add_some_and_fewer_run_none() -> None:
    whole = run(FakeDvc(), 6)
    shutil.rmtree(FOLDER)
    dvc = FakeDvc()
    run(dvc, 4)
    assert run(dvc, 6) == run(dvc, 2) == whole
    assert len(dvc.begun) == 6


def test_a_lost_storage_is_made_again_from_the_experiments() -> None:
    dvc = FakeDvc()
    whole = run(dvc, 12)
    shutil.rmtree(FOLDER)
    assert run(dvc, 12) == whole
    assert len(dvc.begun) == 12


@pytest.mark.parametrize(
    "damage", [lambda lines: [*lines[:-1], lines[-1][:9]], lambda lines: [*lines[:2], "?\n", *lines]]
)
def test_a_damaged_storage_is_said_with_what_to_do(damage: Callable[[list[str]], list[str]]) -> None:
    run(FakeDvc(), 1)
    journal = FOLDER / "any.journal"
    journal.write_text("".join(damage(journal.read_text().splitlines(keepends=True))))
    with pytest.raises(DrumCrnnError, match=r"any\.journal: is damaged \(.*\); delete it, and the same command finds"):
        run(FakeDvc(), 1)


def test_a_trial_that_failed_is_named_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    dvc = FakeDvc()
    dvc.failing = {"any-1"}
    assert run(dvc, 3).keys() == {"any-0", "any-2"}
    assert "warning: any-1: failed; logs/searches/any-1.log says why" in capsys.readouterr().err
    dvc.failing = set()
    assert run(dvc, 3).keys() == {"any-0", "any-1", "any-2"}
    assert dvc.begun == ["any-0", "any-1", "any-2", "any-1"]


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_trial_without_a_score_is_done_and_not_ranked(
    score: float | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc = FakeDvc()
    monkeypatch.setattr(dvc, "score", lambda commit, _: score if commit == "any-0" else 0.5)
    assert run(dvc, 2).keys() == run(dvc, 2).keys() == {"any-1"}
    assert "any-0: has no score with train.learning_rate=" in capsys.readouterr().out
    assert dvc.begun == ["any-0", "any-1"]


# --------------------------------------------------------------------------------------------------------- refusals


def test_a_search_is_not_continued_as_another_one() -> None:
    dvc = FakeDvc()
    whole = run(dvc, 1)
    with pytest.raises(DrumCrnnError, match=r"search any began with --seed 0; go back to that, or give another --name"):
        run(dvc, 2, seed=1)
    with pytest.raises(DrumCrnnError, match=r"began with train\.learning_rate FloatDistribution\(high=0\.01, "):
        run(dvc, 2, RATE.replace("1e-2", "1e-3"))
    with pytest.raises(DrumCrnnError, match=r"began with train\.batch_size None"):
        run(dvc, 2, RATE + "train.batch_size: [8, 16]\n")
    dvc.params["train.seed"] = 3
    with pytest.raises(DrumCrnnError, match=r"began with train\.seed 0;"):
        run(dvc, 2)
    dvc.commit = "decaf"
    with pytest.raises(DrumCrnnError, match=r"began with commit c0ffee, train\.seed 0;"):
        run(dvc, 2)
    assert run(dvc, 1) == whole  # nothing is left to be run, so it lists what there is
    with pytest.raises(DrumCrnnError, match=r"began with .*--metric f1"):  # but not under another heading
        run(dvc, 1, metric="loss")
    assert dvc.begun == ["any-0"]


def test_the_value_of_a_searched_key_in_params_does_not_matter() -> None:
    dvc = FakeDvc()
    run(dvc, 1)
    dvc.params["train.learning_rate"] = 0.005  # as after `dvc exp apply any-0`
    assert run(dvc, 2).keys() == {"any-0", "any-1"}


def test_an_experiment_of_another_search_is_not_taken_for_a_trial() -> None:
    dvc = FakeDvc()
    dvc.experiments["any-0"] = State("any-0", {**dvc.params, "train.seed": 3})
    message = r"experiment any-0 is of another search: it differs in train\.learning_rate, train\.seed; `dvc exp remove"
    with pytest.raises(DrumCrnnError, match=message):
        run(dvc, 1)


def test_a_trial_that_an_earlier_search_left_running_is_not_begun_twice() -> None:
    dvc = FakeDvc()
    dvc.kill_before = "any-0"
    with pytest.raises(Killed):
        run(dvc, 1)
    dvc.kill_before = None
    with (FOLDER / "any-0.log").open("ab") as log:  # as the processes of a trial have it
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(DrumCrnnError, match=r"any-0 still runs, .*; logs/searches/any-0\.log has its output"):
            run(dvc, 1)
    assert run(dvc, 1).keys() == {"any-0"}


# -------------------------------------------------------------------------------------------------------- processes


class Careful(FakeDvc):
    """Notes how many trials run at a time, and that nothing is asked of the workspace while one of them prepares."""

    def __init__(self, n_jobs: int, n_trials: int) -> None:
        super().__init__()
        self.n_jobs, self.n_trials = n_jobs, n_trials
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.n_looks: dict[str, int] = {}
        self.most_at_once = 0

    def alive(self) -> list[str]:
        return [name for name, process in self.processes.items() if process.poll() is None]

    def look(self, commit: str = "HEAD") -> State:
        assert all(self.n_looks[name] > 2 for name in self.alive())
        return super().look(commit)

    def start(self, name: str, values: Mapping[str, str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        assert all(self.n_looks[other] > 2 for other in self.alive())
        super().start(name, values, log).wait()
        self.n_looks[name] = 0
        self.processes[name] = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        self.most_at_once = max(self.most_at_once, len(self.alive()))
        return self.processes[name]

    def has_begun(self, log: Path) -> bool:
        self.n_looks[log.stem] += 1
        has_room = len(self.alive()) < self.n_jobs and len(self.processes) < self.n_trials
        if self.n_looks[log.stem] > 2 and not has_room:
            stdin = self.processes[log.stem].stdin
            assert stdin is not None
            stdin.close()  # and so it ends
        return self.n_looks[log.stem] > 2


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_so_many_trials_run_at_a_time_and_one_after_the_other_begins(
    n_jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drum_crnn.workbench.search, "_POLL_S", 0.01)
    dvc = Careful(n_jobs, n_trials=5)
    assert run(dvc, 5, n_jobs=n_jobs).keys() == {f"any-{number}" for number in range(5)}
    assert dvc.most_at_once == n_jobs


class WithProcess(FakeDvc):
    """Runs what is called `dvc`, and asks this process to stop when that has begun."""

    def start(self, name: str, values: Mapping[str, str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        self.process = Dvc.start(self, name, values, log)
        return self.process

    def has_begun(self, log: Path) -> bool:
        if Dvc.has_begun(self, log):
            os.kill(os.getpid(), signal.SIGTERM)
            return True
        return False


FAKE_COMMAND = f"""#!{sys.executable}
import signal, sys
try:
    print("Reproducing experiment", *sys.argv[1:])
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""


def make_command(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `dvc` mean another program."""
    command = folder / "bin" / "dvc"
    command.parent.mkdir()
    command.write_text(text)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)


@pytest.fixture
def interrupts_are_ignored() -> Iterator[None]:
    """As in what a script runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def sigterm_ends() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interrupts_are_ignored", "sigterm_ends")
def test_a_search_that_is_stopped_interrupts_its_trial_and_resumes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drum_crnn.workbench.search, "_REPEAT_S", 600.0)  # a busy machine may be slow to end it
    make_command(tmp_path, FAKE_COMMAND, monkeypatch)
    dvc = WithProcess()
    with pytest.raises(Interrupted, match="run the same command again to resume"):
        run(dvc, 1)
    assert dvc.process.poll() == 0
    begun, interrupted = (FOLDER / "any-0.log").read_text().splitlines()
    assert interrupted == "interrupted"
    [(_, trial)] = run(FakeDvc(), 1).items()
    settings = f"--set-param=train.learning_rate={trial.values['train.learning_rate']}"
    assert begun == f"Reproducing experiment --wait-for-lock exp run --temp --name any-0 {settings} evaluate"


DEAF = """
import os, signal
heard = 0
def hear(*_):
    global heard
    heard += 1
signal.signal(signal.SIGINT, hear)
print("ready", flush=True)
while heard < 3:
    signal.pause()
signal.signal(signal.SIGINT, signal.SIG_IGN)  # more of them may be on their way
os._exit(0)
"""


def test_a_trial_that_does_not_hear_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drum_crnn.workbench.search, "_REPEAT_S", 0.02)
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        drum_crnn.workbench.search._interrupt([process])
        assert process.returncode == 0


# ----------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning_rat: [0.1]\n", r"space\.yaml: .*params\.yaml has no value 'train\.learning_rat'"),
        ("train: {learning_rate: [0.1]}\n", r"has no value 'train'; write keys as in train\.learning_rate"),
        ("train.learning_rate: {low: 0.1, high: 0.01}\n", r"space\.yaml: train\.learning_rate: .*low.*high"),
        ("train.learning_rate: {low: 0.0, high: 0.1, log: true}\n", r"train\.learning_rate: .*log"),
        ("train.batch_size: []\n", r"train\.batch_size: .*choice"),
        ("train.batch_size: {low: 8.5, high: 16}\n", r"train\.batch_size: is a whole number in .*params\.yaml"),
        ("train.batch_size: {low: 8}\n", r"train\.batch_size: write \[a, list, of, choices\] or \{low: 1, high: 9\}"),
        ("train.batch_size: {low: 8, high: 16, lag: true}\n", r"train\.batch_size: write \[a, list"),
        ("train.batch_size: {low: a, high: b}\n", r"train\.batch_size: "),
        ("train.batch_size: 8\n", r"train\.batch_size: write \[a, list"),
        ("{}\n", r"space\.yaml: names nothing to search"),
    ],
)
def test_a_fault_in_a_space_is_a_sentence(text: str, message: str) -> None:
    with pytest.raises(DrumCrnnError, match=message):
        space_of(text)


def test_the_test_side_is_no_metric() -> None:
    for metric in ("f1_unheard_kits", "velocity_mae", "f2"):
        with pytest.raises(DrumCrnnError, match=f"--metric {metric}: choose one of the validation split: f1, f1_kick"):
            run(FakeDvc(), 1, metric=metric)


def test_outside_a_repository_it_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with pytest.raises(DrumCrnnError, match="DVC: you are not inside of a DVC repository"):
        run(Dvc(), 1)
    assert not FOLDER.exists()


def shown(rev: str, *, error: str | None = None, **params: Any) -> dict[str, Any]:
    """A commit as `dvc exp show --json` shows it."""
    data = None if error else {"params": {"params.yaml": {"data": params}}}
    return {"rev": rev, "name": rev, "data": data, "error": error and {"msg": error, "type": ""}}


def test_what_waits_or_failed_in_the_queue_of_dvc_is_no_finished_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executors = {state: {"state": state} for state in ("queued", "running", "failed", "success")} | {"none": None}
    experiments = [{"name": n, "executor": e, "revs": [shown(n, train={"seed": 1})]} for n, e in executors.items()]
    rows = [shown("workspace", train={"seed": 2}), {**shown("c0ffee"), "experiments": experiments}]
    make_command(tmp_path, f"#!{sys.executable}\nprint({json.dumps(rows)!r})\n", monkeypatch)
    finished = {name: State(name, {"train.seed": 1}) for name in ("success", "none")}
    assert Dvc().look() == State("c0ffee", {"train.seed": 2}, finished)


def test_a_workspace_that_dvc_cannot_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [shown("workspace", error="dvc.yaml is invalid"), {**shown("c0ffee"), "experiments": None}]
    make_command(tmp_path, f"#!{sys.executable}\nprint({json.dumps(rows)!r})\n", monkeypatch)
    with pytest.raises(DrumCrnnError, match=r"DVC: dvc\.yaml is invalid"):
        Dvc().look()


def test_without_dvc_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DrumCrnnError, match="there is no command `dvc`; activate the environment"):
        run(Dvc(), 1)


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_optuna(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("optuna"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    Path("space.yaml").write_text(RATE)
    monkeypatch.setattr(builtins, "__import__", without_optuna)
    done = CliRunner().invoke(app, ["search", "space.yaml"])
    assert done.exit_code == 1
    assert "a search needs Optuna; pip install -e '.[search]' installs it" in done.output


def test_the_space_that_comes_with_the_project_is_one() -> None:
    for path in (ROOT / "searches").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert run(FakeDvc(), 1, text)["any-0"].values.keys() == space_of(text).keys()
