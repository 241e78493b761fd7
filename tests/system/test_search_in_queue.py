"""A search on the miniature project: it leaves experiments, nothing else, and goes on from them."""

from pathlib import Path

import yaml
from dvc.api import DVCFileSystem
from pipeline import run

SPACE = "train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n"


def experiments(project: Path) -> dict[str, tuple[float, float]]:
    """The learning rate, and the best F in the validation split, of each experiment by name."""
    found = {}
    for name in run(project, "dvc", "exp", "ls", "--name-only").split():
        files = DVCFileSystem(str(project), rev=name)
        params = yaml.safe_load(files.read_text("params.yaml"))
        curve = files.read_text("metrics/training/plots/metrics/validation/f1.tsv").splitlines()[1:]
        found[name] = params["train"]["learning_rate"], max(float(line.split("\t")[1]) for line in curve)
    return found


def test_trials_are_experiments_and_the_same_command_knows_them(project: Path) -> None:
    (project / "rate.yaml").write_text(SPACE)
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "results, and what to search")

    said = run(project, "drum-crnn", "search", "rate.yaml", "--trials", "1")
    first = experiments(project)
    assert first.keys() == {"rate-0"}
    for name, (rate, f) in first.items():
        assert 1e-4 <= rate <= 1e-2
        assert f"{name}: validation f1 {f:.4f} with train.learning_rate={rate}\n" in said
    assert "dvc exp apply rate-0\n" in said
    assert run(project, "git", "status", "--porcelain") == ""

    # The same command finds it done; a later trial is one more (tests/unit/workbench/test_search.py).
    again = run(project, "drum-crnn", "search", "rate.yaml", "--trials", "1")
    assert "queued" in said
    assert "queued" not in again
    assert experiments(project) == first
    assert run(project, "git", "status", "--porcelain") == ""

    # With scores of its own: nothing is left to be done.
    run(project, "dvc", "exp", "apply", "rate-0")
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")
