"""`make experiments`: a table with scores where there is something to compare, and a sentence where there is not."""

import json
import re
import shutil
from pathlib import Path

import pytest
from miniature import ROOT
from pipeline import run

ROW = re.compile(r"^ +(\S+) +([\d.]+) *$", re.MULTILINE)  # an experiment and its one score that differs


@pytest.fixture
def clone(first_repro: Path, tmp_path: Path) -> Path:
    """A fresh clone of the project, with its results committed and pulled."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(first_repro, origin, symlinks=True)
    shutil.copy(ROOT / "Makefile", origin / "Makefile")
    run(origin, "git", "add", "--all")
    run(origin, "git", "commit", "--quiet", "--message", "results")
    run(tmp_path, "git", "clone", "--quiet", str(origin), str(clone))
    run(clone, "dvc", "config", "--local", "cache.dir", str(origin / ".dvc" / "cache"))
    run(clone, "dvc", "checkout")
    return clone


def make_experiments(clone: Path) -> str:
    """The target without what it needs first, `venv`; settings of a surrounding `make` stay outside."""
    return run(clone, "env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "--old-file=venv", "experiments")


def set_score(clone: Path, f1: float) -> None:
    path = clone / "metrics" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"f1": f1}))


def test_a_fresh_clone_is_told_what_to_run(clone: Path) -> None:
    said = make_experiments(clone)
    assert "Nothing to compare yet" in said
    assert "dvc exp run -n slower -S train.learning_rate=0.001" in said
    assert "workspace" not in said  # the first row of the table


def test_scores_and_experiments_that_differ_are_shown(clone: Path) -> None:
    """Those of the workspace already, before there is an experiment."""
    set_score(clone, 0.25)
    said = make_experiments(clone)
    assert "Nothing to compare" not in said
    rows = dict(ROW.findall(said))
    assert rows["workspace"] == "0.25"
    assert len(rows) == 2  # and the commit's own
    run(clone, "dvc", "exp", "save", "--name", "quarter")
    run(clone, "git", "checkout", "--quiet", ".")
    said = make_experiments(clone)
    assert "Nothing to compare" not in said
    assert re.search(r"quarter.* 0\.25 ", said)
