"""A Bayesian search over parameters, whose trials are experiments of DVC, run by DVC's queue.

Nothing is kept but those experiments: the values of a trial and its score are read back from them. So a search that was
stopped, or killed, is continued by the same call. Trials are judged by the validation split. They run to the end all
the same, since an experiment would else show the scores of the commit that it began with as if they were its own.
"""

import contextlib
import csv
import io
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_refs_by_baseline
from ruamel.yaml import YAML
from scmrepo.exceptions import SCMError

from drum_crnn.foundation.console import say, warn
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stopping import stop_on_signals
from drum_crnn.music.lanes import LANES
from drum_crnn.workbench.presets import read_yaml

__all__ = ["Trial", "propose", "ranked", "read_space", "search"]

Space = Mapping[str, Any]  # Optuna's distributions by dotted key; its import has to wait until somebody searches

_METRICS = ("f1", *(f"f1_{lane}" for lane in LANES), "loss")
_CURVES = "metrics/training/plots/metrics/validation"  # of the stage `train`, an epoch a line
_WAIT_S = 2.0  # between two looks at the queue


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished trial: its values, by dotted key and as JSON, and its score, None if its training left none."""

    values: Mapping[str, str]
    score: float | None


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
    return space


def propose(space: Space, trials: Mapping[int, Trial], number: int, *, metric: str, seed: int) -> dict[str, str]:
    """The values for trial `number`, after what the finished `trials` have shown.

    A function of its arguments: a search that was stopped proposes what it would have proposed without that.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=own_seed)
    study = optuna.create_study(sampler=sampler, direction="minimize" if metric == "loss" else "maximize")
    for _, trial in sorted(trials.items()):
        if trial.score is not None:
            params = {
                key: text if isinstance(space[key], optuna.distributions.CategoricalDistribution) else json.loads(text)
                for key, text in trial.values.items()
            }
            with contextlib.suppress(ValueError):  # it lies outside of the space, which was larger when it ran
                study.add_trial(optuna.create_trial(params=params, distributions=dict(space), value=trial.score))
    values = study.ask(dict(space)).params
    for key, distribution in space.items():
        if isinstance(distribution, optuna.distributions.FloatDistribution) and distribution.step is None:
            values[key] = min(max(float(f"{values[key]:.4g}"), distribution.low), distribution.high)  # legible
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def ranked(trials: Mapping[int, Trial], metric: str) -> list[int]:
    """The numbers of the trials that have a score, the best first."""
    scores = {number: trial.score for number, trial in trials.items() if trial.score is not None}
    return sorted(scores, key=lambda number: (scores[number] * (1 if metric == "loss" else -1), number))


def search(space: Space, name: str, *, n_trials: int, n_jobs: int, metric: str, seed: int) -> dict[int, Trial]:
    """Run what is missing of the trials NAME-0 to NAME-(`n_trials` - 1), and return what is finished, by number.

    Raises
    ------
    DrumCrnnError
        If DVC refuses, or an experiment of this name is of another search.
    Interrupted
        If this process is told to stop; then it stops the trials that run.
    """
    if metric not in _METRICS:
        raise DrumCrnnError(f"--metric {metric}: choose one of the validation split: {', '.join(_METRICS)}")
    if shutil.which("dvc") is None:  # its queue would wait for ever
        raise DrumCrnnError("there is no command `dvc`; activate the environment: source .venv/bin/activate")
    names = {number: f"{name}-{number}" for number in range(n_trials)}
    trials: dict[int, Trial] = {}
    queued, failed = set[int](), set[int]()
    with stop_on_signals() as stop, _dvc() as repo:
        queue, commit = repo.experiments.celery_queue, repo.scm.get_rev()
        _forget_the_dead(queue, set(names.values()))
        while True:
            status = {task["name"]: task["status"] for task in queue.status()}
            if repo.scm.get_rev() != commit:
                raise DrumCrnnError("another commit was checked out; the same command begins a search from there")
            refs = {ref.name: str(ref) for ref in exp_refs_by_baseline(repo.scm, {commit})[commit]}
            going = [number for number in names if status.get(names[number]) in ("Queued", "Running")]
            for number in sorted(names.keys() - trials.keys() - {*going}):
                if names[number] in refs:
                    trials[number] = trial = _read(names[number], repo.scm.get_ref(refs[names[number]]), space, metric)
                    score = "has no score" if trial.score is None else f"validation {metric} {trial.score:.4f}"
                    say(f"{names[number]}: {score} with {_settings(trial.values)}")
                elif number in queued - failed:
                    failed.add(number)
                    warn(f"{names[number]}: failed; `dvc queue logs {names[number]}` says why")
            missing = sorted(names.keys() - trials.keys() - failed - {*going})
            if not missing and not going:
                return trials
            if stop:
                _cancel(queue, {names[number]: status[names[number]] for number in going})
                raise Interrupted("stopped, and so were the trials that ran; the same command goes on")
            for number in missing[: max(n_jobs - len(going), 0)]:
                values = propose(space, trials, number, metric=metric, seed=seed)
                if names[number] in status:
                    _cancel(queue, {names[number]: status[names[number]]})
                with contextlib.redirect_stdout(io.StringIO()):  # DVC talks
                    settings = [f"{key}={text}" for key, text in values.items()]
                    repo.experiments.run(queue=True, name=names[number], params=settings, targets=["evaluate"])
                queued.add(number)
                say(f"{names[number]}: queued with {_settings(values)}")
            if next(queue.iter_queued(), None) is not None:
                queue.start_workers(n_jobs)  # those that there are not yet; they end when the queue is empty
            time.sleep(_WAIT_S)


@contextlib.contextmanager
def _dvc() -> Iterator[Repo]:
    try:
        with Repo() as repo:
            yield repo
    except (DvcException, SCMError) as error:
        raise DrumCrnnError(f"DVC: {error}") from None


def _read(name: str, commit: str, space: Space, metric: str) -> Trial:
    """A trial as its experiment has it: scored at the epoch of the best F, of which the weights are."""
    files = DVCFileSystem(rev=commit)
    params, here = _flat(YAML(typ="safe").load(files.read_text(str(PARAMS_FILE)))), _flat(read_yaml(PARAMS_FILE))
    if others := {key for key in {*params, *here} - {*space} if params.get(key) != here.get(key)}:
        raise DrumCrnnError(
            f"experiment {name} has another {', '.join(sorted(others))} than {PARAMS_FILE}, which this search does not "
            "vary; set it back, or give the search another --name"
        )
    values = {key: json.dumps(params[key]) for key in space}
    try:
        f, curve = (_curve(files.read_text(f"{_CURVES}/{score}.tsv")) for score in ("f1", metric))
    except FileNotFoundError:
        return Trial(values, None)
    return Trial(values, curve.get(max(f, key=f.__getitem__)))


def _curve(table: str) -> dict[int, float]:
    return {int(step): float(value) for step, value in list(csv.reader(io.StringIO(table), delimiter="\t"))[1:]}


def _flat(params: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested groups, by dotted key."""
    if not isinstance(params, dict):
        return {prefix.removesuffix("."): params}
    return {name: value for key in params for name, value in _flat(params[key], f"{prefix}{key}.").items()}


def _settings(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={text}" for key, text in values.items())


def _cancel(queue: Any, tasks: Mapping[str, str]) -> None:
    """Take tasks out of the queue, whatever their status, so that their names are free again."""
    with contextlib.redirect_stdout(io.StringIO()):
        if running := [name for name, status in tasks.items() if status == "Running"]:
            queue.kill(running)
        if others := [name for name, status in tasks.items() if status != "Running"]:
            queue.remove(others)


def _forget_the_dead(queue: Any, names: set[str]) -> None:
    """Tasks whose process is gone, as after a power cut, run for ever by what the queue knows."""
    for entry in queue.iter_active():
        process = queue.proc.get(entry.stash_rev)
        if entry.name in names and process is not None and not psutil.pid_exists(process.pid):
            with contextlib.suppress(DvcException):  # it has only just ended
                _cancel(queue, {entry.name: "Running"})
