"""Searches: spaces and their faults, and proposals that depend on the finished trials alone."""

import builtins
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from first_party import ROOT
from typer.testing import CliRunner

from drum_crnn.cli import app
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.workbench.search import Trial, propose, ranked, read_space, search

SPACE = """\
train.learning_rate: {low: 1e-4, high: 1e-2, log: true}
train.batch_size: [8, 16, 32]
model.gru_units: {low: 64, high: 256, step: 32}
model.dropout: {low: 0, high: 1}
model.conv_channels: [[16, 32, 48], [24, 48, 64]]
"""


@pytest.fixture
def params() -> Path:
    return ROOT / "params.yaml"


def file_of(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def proposals(space: Any, n_trials: int, *, given: dict[int, Trial] | None = None, seed: int = 0) -> dict[int, Trial]:
    """A search without DVC: the score is the closer to 0 the closer the learning rate is to 0.002."""
    trials = dict(given or {})
    for number in range(n_trials):
        if number not in trials:
            values = propose(space, trials, number, metric="f1", seed=seed)
            trials[number] = Trial(values, -abs(json.loads(values["train.learning_rate"]) - 0.002))
    return trials


def test_proposals_are_settings_within_the_space(tmp_path: Path, params: Path) -> None:
    space = read_space(file_of(tmp_path, SPACE), params)
    for trial in proposals(space, 15).values():
        values = {key: json.loads(text) for key, text in trial.values.items()}
        assert 1e-4 <= values["train.learning_rate"] <= 1e-2
        assert values["train.batch_size"] in (8, 16, 32)
        assert values["model.gru_units"] in range(64, 257, 32)
        assert isinstance(values["model.gru_units"], int)
        assert isinstance(values["model.dropout"], float)  # as in params.yaml
        assert values["model.conv_channels"] in ([16, 32, 48], [24, 48, 64])


def test_a_search_that_goes_on_proposes_what_it_would_have_without_a_break(tmp_path: Path, params: Path) -> None:
    space = read_space(file_of(tmp_path, SPACE), params)
    whole = proposals(space, 14)
    begun = proposals(space, 5)
    assert proposals(space, 14, given=begun) == whole
    assert len({trial.values["train.learning_rate"] for trial in whole.values()}) > 10  # no draw is made twice
    assert proposals(space, 3, seed=1) != proposals(space, 3)


def test_later_proposals_are_nearer_to_what_was_good(tmp_path: Path, params: Path) -> None:
    space = read_space(file_of(tmp_path, "train.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"), params)
    scores = [trial.score or 0.0 for trial in proposals(space, 40).values()]
    assert sum(scores[20:]) > sum(scores[:20])


def test_a_space_may_become_smaller(tmp_path: Path, params: Path) -> None:
    larger = read_space(file_of(tmp_path, SPACE), params)
    begun = proposals(larger, 12)
    text = SPACE.replace("low: 1e-4", "low: 1e-3").replace("[8, 16, 32]", "[8, 16]")
    for number, trial in proposals(read_space(file_of(tmp_path, text), params), 16, given=begun).items():
        if number >= 12:
            assert float(trial.values["train.learning_rate"]) >= 1e-3
            assert trial.values["train.batch_size"] in ("8", "16")


def test_what_is_best_depends_on_the_metric_and_trials_without_a_score_are_left_out() -> None:
    trials = {0: Trial({}, 0.5), 1: Trial({}, None), 2: Trial({}, 0.7), 3: Trial({}, 0.5)}
    assert ranked(trials, "f1") == [2, 0, 3]
    assert ranked(trials, "loss") == [0, 3, 2]


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
def test_a_fault_in_a_space_is_a_sentence(tmp_path: Path, params: Path, text: str, message: str) -> None:
    with pytest.raises(DrumCrnnError, match=message):
        read_space(file_of(tmp_path, text), params)


def test_the_test_side_is_no_metric(tmp_path: Path, params: Path) -> None:
    space = read_space(file_of(tmp_path, SPACE), params)
    for metric in ("f1_unheard_kits", "velocity_mae", "f2"):
        with pytest.raises(DrumCrnnError, match=f"--metric {metric}: choose one of the validation split: f1, f1_kick"):
            search(space, "any", n_trials=1, n_jobs=1, metric=metric, seed=0)


def test_outside_a_repository_it_says_so(tmp_path: Path, params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = read_space(file_of(tmp_path, SPACE), params)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with pytest.raises(DrumCrnnError, match="DVC: you are not inside of a DVC repository"):
        search(space, "any", n_trials=1, n_jobs=1, metric="f1", seed=0)


def test_without_dvc_it_says_so(tmp_path: Path, params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = read_space(file_of(tmp_path, SPACE), params)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DrumCrnnError, match="there is no command `dvc`; activate the environment"):
        search(space, "any", n_trials=1, n_jobs=1, metric="f1", seed=0)


def test_without_optuna_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_optuna(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("optuna"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_optuna)
    done = CliRunner().invoke(app, ["search", str(file_of(tmp_path, SPACE))])
    assert done.exit_code == 1
    assert "a search needs Optuna; pip install -e '.[search]' installs it" in done.output


def test_the_space_that_comes_with_the_project_is_one(params: Path) -> None:
    for path in (ROOT / "searches").glob("*.yaml"):
        assert propose(read_space(path, params), {}, 0, metric="f1", seed=0)
