"""A search on the miniature project: it leaves experiments, nothing else, and goes on from them."""

import re
from pathlib import Path

import pytest
import yaml
from dvc.api import DVCFileSystem
from pipeline import run

pytestmark = pytest.mark.xdist_group("pipeline")

SPACE = "train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n"


def experiments(project: Path) -> dict[str, tuple[float, float]]:
    """The learning rate, and the best F on the validation side, of each experiment by name."""
    found = {}
    for name in run(project, "dvc", "exp", "ls", "--name-only").split():
        files = DVCFileSystem(str(project), rev=name)
        params = yaml.safe_load(files.read_text("params.yaml"))
        curve = files.read_text("metrics/training/plots/metrics/validation/f1.tsv").splitlines()[1:]
        found[name] = params["train"]["learning_rate"], max(float(line.split("\t")[1]) for line in curve)
    return found


def test_trials_are_experiments_and_the_same_command_goes_on_from_them(project: Path) -> None:
    (project / "rate.yaml").write_text(SPACE)
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "results, and what to search")

    said = run(project, "drum-crnn", "search", "rate.yaml", "--trials", "2", "--jobs", "2")
    first = experiments(project)
    assert first.keys() == {"rate-0", "rate-1"}
    for name, (rate, f) in first.items():
        assert 1e-4 <= rate <= 1e-2
        assert f"{name}: validation f1 {f:.4f} with train.learning_rate={rate}\n" in said
    best = max(first, key=lambda name: first[name][1])
    assert f"dvc exp apply {best}\n" in said or first["rate-0"][1] == first["rate-1"][1]
    assert run(project, "git", "status", "--porcelain") == ""

    said = run(project, "drum-crnn", "search", "rate.yaml", "--trials", "3")
    assert re.findall(r"^(\S+): queued", said, flags=re.MULTILINE) == ["rate-2"]
    both = experiments(project)
    assert both.keys() == {"rate-0", "rate-1", "rate-2"}
    assert both.items() >= first.items()
    assert len({rate for rate, _ in both.values()}) == 3
    assert run(project, "git", "status", "--porcelain") == ""

    # With scores of its own: nothing is left to be done.
    run(project, "dvc", "exp", "apply", "rate-2")
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")
