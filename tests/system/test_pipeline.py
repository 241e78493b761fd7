"""The whole DAG on a miniature corpus, through real `dvc` processes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from miniature import ROOT, copy_project
from pipeline import ENVIRONMENT, run
from training_runs import AT_STEP, HELD
from typer.testing import CliRunner
from waiting import wait_for_end, wait_until
from yaml_files import read_yaml

from drum_crnn.cli import app


def test_every_output_is_there_and_nothing_else_is_left(project: Path) -> None:
    status = run(project, "git", "status", "--porcelain")
    assert status.split() == ["??", "dvc.lock", "??", "metrics/"]
    scores = json.loads((project / "metrics" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert {"f1", "f1_kick", "f1_ride", "velocity_mae"} <= set(scores)
    assert len(scores) <= 13  # columns of `dvc exp show`
    assert all(not isinstance(value, dict | list) for value in scores.values())
    assert "data/rendered" in (project / "dvc.lock").read_text()
    assert (project / "models" / "drum_crnn.safetensors").stat().st_size > 1000


def test_a_second_run_does_nothing(project: Path) -> None:
    assert "Data and pipelines are up to date" in run(project, "dvc", "repro")
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")


def test_scores_are_shown_with_the_path_of_the_model(project: Path) -> None:
    shown = run(project, "drum-crnn", "scores")
    for word in ("kick", "low_tom", "all", "AP", "models/drum_crnn.safetensors"):
        assert word in shown
    assert "…" not in shown  # nothing is cut off, in the 80 columns of a pipe


def test_scores_of_an_older_version_are_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "lanes.csv").write_text("lane,references,estimates,precision\nkick,1,1,1.0\n")
    (tmp_path / "evaluation.json").write_text("{}")
    shown = CliRunner().invoke(app, ["scores", str(tmp_path)])
    assert shown.exit_code == 1
    assert "lanes.csv: lacks the average precision" in shown.output.replace("\n", "")


def test_it_works_outside_git(project: Path, tmp_path: Path) -> None:
    other = copy_project(tmp_path / "archive", train={"epochs": 1})
    run(other, "dvc", "config", "--local", "core.no_scm", "true")
    run(other, "dvc", "repro", "split")
    locked = read_yaml(other / "dvc.lock")["stages"]
    assert locked == {name: read_yaml(project / "dvc.lock")["stages"][name] for name in locked}


def test_a_killed_repro_goes_on_where_it_was(first_repro: Path, tmp_path: Path) -> None:
    """Only dvc is killed: the training that it leaves behind saves and stops, and the next `dvc repro` takes it up."""
    project = shutil.copytree(first_repro, tmp_path / "project", symlinks=True)
    params = project / "params.yaml"
    params.write_text(re.sub(r"^( +epochs): \d+", r"\1: 3", params.read_text(), flags=re.MULTILINE))
    # In place of the `python` of dvc.yaml, one that holds the training in its second epoch, until it is asked to stop.
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec '{sys.executable}' '{HELD}' \"$@\"\n")
    (tmp_path / "python").chmod(0o755)
    place = {"HELD_AT": f"{AT_STEP}#8", "HELD_RANKS": "0", "HELD_IN": str(tmp_path)}
    environment = ENVIRONMENT | place | {"PATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PATH']}"}
    said = tmp_path / "said"
    with (
        said.open("w") as file,
        subprocess.Popen(["dvc", "repro", "train"], cwd=project, env=environment, stdout=file, stderr=file) as process,
    ):
        wait_until((tmp_path / "held-0").exists, process, what=said.read_text)
        training = psutil.Process(int((tmp_path / "held-0").read_text()))
        process.kill()
    wait_for_end([training])
    output = run(project, "dvc", "repro", "train")
    assert re.search(r"resuming at epoch 2, after its step \d+", output)
    assert not list((project / ".resume").glob("*/*"))
    epochs = (project / "metrics/training/plots/metrics/train/loss.tsv").read_text().splitlines()[1:]
    assert [int(line.split("\t")[0]) for line in epochs] == [0, 1, 2]


def stage(project: Path, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"stages.{name}", *arguments]
    return subprocess.run(command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=False)


FEATURES_LABELS_SPLITS = ("--features", "features", "--labels", "l.h5", "--splits", "s.csv")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("catalog", ("nowhere", "nowhere", "c.csv", "p.csv"), r"error: nowhere: .*corpus\.root"),
        ("extract", ("data", "nowhere.csv", "features"), r"error: nowhere\.csv: there is no such file"),
        ("label", ("data", "nowhere.csv", "l.h5", "a.csv"), r"error: nowhere\.csv: there is no such file"),
        ("split", ("nowhere.csv", "s.csv"), r"error: nowhere\.csv: there is no such file"),
        ("render", ("r", "k.csv", "--params-file", "nowhere.yaml"), r"error: nowhere\.yaml: there is no such file"),
        ("models", ("nowhere.safetensors", "t.json", "m"), r"error: nowhere\.safetensors: there is no such model"),
        (
            "train",
            (*FEATURES_LABELS_SPLITS, "--catalog", "c.csv", "--model", "m", "--metrics", "metrics"),
            r"error: features: holds no feature shards",
        ),
        (
            "tune_thresholds",
            ("--model", "nowhere", *FEATURES_LABELS_SPLITS, "--thresholds", "t", "--curves", "c", "--transfer", "r"),
            r"error: nowhere: there is no such model",
        ),
        (
            "evaluate",
            ("--model", "m", *FEATURES_LABELS_SPLITS, "--catalog", "c", "--scores", "e", "--tables", "t"),
            r"error: s\.csv: there is no such file",
        ),
    ],
)
def test_a_mistake_of_the_user_is_a_sentence(
    tmp_path: Path, name: str, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for package in ("drum_crnn", "stages"):
        (tmp_path / package).symlink_to(ROOT / package)
    before = set(tmp_path.iterdir())
    done = stage(tmp_path, name, *arguments)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "logs"}


def test_a_misspelt_parameter_is_named_with_its_section(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("withheld_notes:", "withheld_note:"))
    for package in ("drum_crnn", "stages"):
        (tmp_path / package).symlink_to(ROOT / package)
    done = stage(tmp_path, "render", "rendered", "kits.csv")
    assert done.returncode == 1
    assert "params.yaml: render.withheld_note: unknown key; did you mean 'withheld_notes'?" in done.stderr
    assert "params.yaml: render.withheld_notes: is missing" in done.stderr
    assert not (tmp_path / "rendered").exists()
