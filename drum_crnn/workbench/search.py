"""A Bayesian search over parameters: Optuna proposes and remembers trials, DVC runs each of them as an experiment.

A trial is a child process, `dvc exp run --temp`. Optuna's storage has its values before it starts, so a search that was
stopped or killed resumes with the trials that it had begun. Trials are judged by the validation split. None is pruned:
an experiment whose training was cut short would show the scores of its baseline as if they were its own.
"""

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from drum_crnn.foundation.console import say, warn
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.params import PARAMS_FILE, read_yaml
from drum_crnn.foundation.stopping import StopRequest, stop_on_signals
from drum_crnn.music.lanes import LANES

if TYPE_CHECKING:
    import optuna

__all__ = ["Dvc", "State", "Trial", "read_space", "search"]

Space = Mapping[str, Any]  # Optuna's distributions by dotted key; its import has to wait until somebody searches
Process = subprocess.Popen[bytes]

_FOLDER = Path("logs/searches")  # git ignores it
_METRICS = ("f1", *(f"f1_{lane}" for lane in LANES), "loss")
_CURVES = "metrics/training/plots/metrics/validation"  # of the stage `train`, an epoch a line
_POLL_S = 0.2
_REPEAT_S = 30.0  # between two interrupts of one trial


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that has a score: the name of its experiment, and its values by dotted key, as JSON."""

    name: str
    values: Mapping[str, str]
    score: float


@dataclass(frozen=True, slots=True)
class State:
    """A commit, its params by dotted key, and the experiments that began with it, by name."""

    commit: str
    params: Mapping[str, Any]
    experiments: "Mapping[str, State]" = field(default_factory=dict)


class Dvc:
    """What a search asks of DVC, by its commands and its public API, in the project of the working directory."""

    def look(self, commit: str = "HEAD") -> State:
        """A commit and its finished experiments, with the params of the workspace.

        Raises
        ------
        DrumCrnnError
            If there is no command `dvc`, or it refuses.
        """
        if shutil.which("dvc") is None:
            raise DrumCrnnError("there is no command `dvc`; activate the environment: source .venv/bin/activate")
        command = ["dvc", "exp", "show", "--json", "--rev", commit]
        # In a session of its own: Ctrl-C is for the search, which waits for this.
        done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
        if done.returncode != 0:
            raise DrumCrnnError(f"DVC: {done.stderr.strip().removeprefix('ERROR: ')}")
        workspace, baseline = json.loads(done.stdout)
        experiments = {
            entry["name"]: State(entry["revs"][0]["rev"], _params_of(entry["revs"][0]))
            for entry in baseline["experiments"] or []
            if (entry["executor"] or {}).get("state") not in ("queued", "running", "failed")  # in DVC's queue
        }
        return State(baseline["rev"], _params_of(workspace), experiments)

    def start(self, name: str, values: Mapping[str, str], log: IO[bytes]) -> Process:
        """Begin an experiment in a temporary copy of the workspace and a session of its own; `log` gets its output."""
        settings = [f"--set-param={key}={text}" for key, text in values.items()]
        return subprocess.Popen(
            ["dvc", "--wait-for-lock", "exp", "run", "--temp", "--name", name, *settings, "evaluate"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )

    def has_begun(self, log: Path) -> bool:
        """Whether an experiment is in its own folder; until then DVC changes the workspace, and its stash, and back."""
        return b"Reproducing experiment" in log.read_bytes()

    def score(self, commit: str, metric: str) -> float | None:
        """A metric of the validation split at the epoch of the best F, of which the weights are; None without one."""
        from dvc.api import DVCFileSystem

        files = DVCFileSystem(rev=commit)
        try:
            f, curve = (_curve(files.read_text(f"{_CURVES}/{name}.tsv")) for name in ("f1", metric))
        except FileNotFoundError:
            return None
        return curve.get(max(f, key=f.__getitem__))


def _params_of(state: Mapping[str, Any]) -> dict[str, Any]:
    if state["error"]:
        raise DrumCrnnError(f"DVC: {state['error']['msg']}")
    return {key: value for file in state["data"]["params"].values() for key, value in _flat(file.get("data")).items()}


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a script runs in the background


def _curve(table: str) -> dict[int, float]:
    return {int(step): float(value) for step, value in list(csv.reader(io.StringIO(table), delimiter="\t"))[1:]}


def _flat(params: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested groups, by dotted key."""
    if not isinstance(params, dict):
        return {prefix.removesuffix("."): params}
    return {name: value for key in params for name, value in _flat(params[key], f"{prefix}{key}.").items()}


def read_space(file: Path, params_file: Path = PARAMS_FILE) -> Space:
    """Read what to search: for each dotted key of `params_file` a list of choices, or {low, high, log or step}.

    Raises
    ------
    DrumCrnnError
        If a file cannot be read, a key is not in `params_file`, a range is empty, or Optuna is not installed.
    """
    try:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    except ImportError:
        raise DrumCrnnError("a search needs Optuna; pip install -e '.[search]' installs it") from None
    params = _flat(read_yaml(params_file))
    space: dict[str, Any] = {}
    for key, given in read_yaml(file).items():
        if key not in params:
            raise DrumCrnnError(f"{file}: {params_file} has no value '{key}'; write keys as in train.learning_rate")
        try:
            if isinstance(given, list):
                space[key] = CategoricalDistribution([json.dumps(choice) for choice in given])
                continue
            is_whole = isinstance(given["low"], int) and isinstance(given["high"], int)
            if isinstance(params[key], int) and not is_whole:
                raise ValueError(f"is a whole number in {params_file}, so low and high should be whole, too")
            kind = IntDistribution if is_whole and not isinstance(params[key], float) else FloatDistribution
            space[key] = kind(**given)
        except (KeyError, TypeError):
            raise DrumCrnnError(
                f"{file}: {key}: write [a, list, of, choices] or {{low: 1, high: 9}}, perhaps with log: true or step: 2"
            ) from None
        except ValueError as error:
            raise DrumCrnnError(f"{file}: {key}: {error}") from None
    if not space:
        raise DrumCrnnError(f"{file}: names nothing to search")
    return dict(sorted(space.items()))


def search(
    space: Space, name: str, *, n_trials: int, n_jobs: int, metric: str, seed: int, dvc: Dvc | None = None
) -> list[Trial]:
    """Run what is missing of the trials NAME-0 to NAME-(`n_trials` - 1), and return those with a score, the best first.

    Raises
    ------
    DrumCrnnError
        If DVC refuses, or the search began with another commit, metric, seed, space or params.
    Interrupted
        If this process is told to stop; then it has stopped the trials that ran.
    """
    if metric not in _METRICS:
        raise DrumCrnnError(f"--metric {metric}: choose one of the validation split: {', '.join(_METRICS)}")
    with stop_on_signals() as stop:
        this = _Search(dvc or Dvc(), name, space, metric, seed)
        this.run(n_trials, n_jobs, stop)
    return this.ranked()


class _Search:
    """A search in Optuna's storage: a trial is RUNNING until its experiment is there, and FAIL if that has no score."""

    def __init__(self, dvc: Dvc, name: str, space: Space, metric: str, seed: int) -> None:
        self.dvc, self.name, self.space, self.metric, self.seed = dvc, name, space, metric, seed
        now = dvc.look()
        self.study = _open_study(_FOLDER / f"{name}.journal", is_loss=metric == "loss")
        if "begun" not in self.study.user_attrs:
            self.study.set_user_attr("begun", self._definition(now))
        self.begun: dict[str, Any] = self.study.user_attrs["begun"]
        if self.begun["--metric"] != metric:
            self._refuse_changes(now)

    def run(self, n_trials: int, n_jobs: int, stop: StopRequest) -> None:
        """Run the trials that are missing, `n_jobs` at a time; each is tried once."""
        running: dict[int, Process] = {}
        tried: set[int] = set()
        try:
            while not stop:
                alive = {number: process for number, process in running.items() if process.poll() is None}
                ended = [*running.keys() - alive.keys()]
                if preparing := [number for number in alive if not self.dvc.has_begun(self._log(number))]:
                    _wait(alive[preparing[0]])  # and leave the workspace alone
                elif ended:
                    del running[ended[0]]
                    self._judge(ended[0])
                elif len(running) < n_jobs and (number := self._next(n_trials, tried)) is not None:
                    tried.add(number)
                    if process := self._start(number):
                        running[number] = process
                elif running:
                    _wait(next(iter(running.values())))
                else:
                    return
            raise Interrupted("stopped, together with the running trials; run the same command again to resume")
        finally:
            _interrupt(running.values())

    def ranked(self) -> list[Trial]:
        """The trials that have a score, the best first."""
        trials = [
            Trial(self._called(trial.number), trial.user_attrs["values"], trial.value)
            for trial in self.study.get_trials(deepcopy=False)
            if trial.value is not None
        ]
        return sorted(trials, key=lambda trial: trial.score, reverse=self.metric != "loss")

    def _definition(self, now: State) -> dict[str, Any]:
        """What a search is, besides its trials."""
        ranges = {key: str(distribution) for key, distribution in self.space.items()}
        return {"commit": now.commit, "--metric": self.metric, "--seed": self.seed, **now.params, **ranges}

    def _refuse_changes(self, now: State) -> None:
        if changed := _differences(self.begun, self._definition(now)):
            was = ", ".join(f"{key} {self.begun.get(key)!s:.60}" for key in changed)
            raise DrumCrnnError(f"search {self.name} began with {was}; go back to that, or give another --name")

    def _next(self, n_trials: int, tried: set[int]) -> int | None:
        """The number of a trial that an earlier process left, or else of a new one."""
        import optuna

        trials = self.study.get_trials(deepcopy=False)
        for trial in trials[:n_trials]:
            if trial.state == optuna.trial.TrialState.RUNNING and trial.number not in tried:
                if "values" in trial.user_attrs:
                    return trial.number
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # killed while it was proposed
        if len(trials) >= n_trials:
            return None
        # A trial has a sampler of its own: its values depend on the finished trials, not on where a search resumed.
        own_seed = int(np.random.SeedSequence([self.seed, len(trials)]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=own_seed)
        proposed = self.study.ask(dict(self.space))
        proposed.set_user_attr("values", {key: _text(proposed.params[key], self.space[key]) for key in self.space})
        return proposed.number

    def _start(self, number: int) -> Process | None:
        """Start a trial, unless its experiment is already there."""
        now = self.dvc.look()
        self._refuse_changes(now)
        name, log, values = self._called(number), self._log(number), self._values(number)
        if name in now.experiments:
            self._tell(number, now.experiments[name])
            return None
        with log.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by all processes that write to it
            except BlockingIOError:
                raise DrumCrnnError(
                    f"{name} still runs, started by another `drum-crnn search`; {log} has its output; when it has "
                    "ended, run the same command again"
                ) from None
            file.truncate(0)
            say(f"{name}: begins with {_listed(values)}; {log} has its output")
            return self.dvc.start(name, values, file)

    def _judge(self, number: int) -> None:
        """Read what a trial has left."""
        experiments, name = self.dvc.look(self.begun["commit"]).experiments, self._called(number)
        if name in experiments:
            self._tell(number, experiments[name])
        else:
            warn(f"{name}: failed; {self._log(number)} says why, and the same command tries it again")

    def _tell(self, number: int, experiment: State) -> None:
        """Tell Optuna the score of an experiment."""
        from optuna.trial import TrialState

        name, values = self._called(number), self._values(number)
        expected = {key: self.begun.get(key) for key in experiment.params}
        expected |= {key: json.loads(text) for key, text in values.items()}
        if others := _differences(expected, experiment.params):
            raise DrumCrnnError(
                f"experiment {name} is of another search: it differs in {', '.join(others)}; `dvc exp remove {name}`, "
                "or give this search another --name"
            )
        score = self.dvc.score(experiment.commit, self.metric)
        if score is None or not math.isfinite(score):
            self.study.tell(number, state=TrialState.FAIL)
            say(f"{name}: has no score with {_listed(values)}")
        else:
            self.study.tell(number, score)
            say(f"{name}: validation {self.metric} {score:.4f} with {_listed(values)}")

    def _values(self, number: int) -> dict[str, str]:
        values: dict[str, str] = self.study.get_trials(deepcopy=False)[number].user_attrs["values"]
        return values

    def _called(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _log(self, number: int) -> Path:
        return _FOLDER / f"{self._called(number)}.log"


def _open_study(journal: Path, *, is_loss: bool) -> "optuna.Study":
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    try:
        if journal.exists() and not f"\n{journal.read_text(encoding='utf-8')}".endswith("\n"):
            raise ValueError("its last line is cut short")  # Optuna would write on behind it
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
        direction: Literal["minimize", "maximize"] = "minimize" if is_loss else "maximize"
        return optuna.create_study(storage=storage, study_name=journal.stem, direction=direction, load_if_exists=True)
    except ValueError as error:
        raise DrumCrnnError(
            f"{journal}: is damaged ({error}); delete it, and the same command finds the experiments that are done"
        ) from None


def _text(value: Any, distribution: Any) -> str:
    """A value as JSON; a number between two others has four digits."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        value = min(max(float(f"{value:.4g}"), distribution.low), distribution.high)
    return str(value) if isinstance(distribution, CategoricalDistribution) else json.dumps(value)


def _differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    return [key for key in {**left, **right} if left.get(key) != right.get(key)]


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={text}" for key, text in values.items())


def _wait(process: Process) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_POLL_S)


def _interrupt(processes: Iterable[Process]) -> None:
    """Stop trials as Ctrl-C does: DVC puts the workspace in order, and a stage stops where it is safe."""
    for process in processes:
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):  # DVC does not hear it as a stage ends
                process.wait(_REPEAT_S)
