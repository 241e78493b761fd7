"""A search on the miniature project: killed, it leaves nothing that runs; resumed, it leaves experiments alone."""

import re
import signal
import subprocess
from pathlib import Path

import psutil
from dvc.api import DVCFileSystem
from pipeline import ENVIRONMENT, run
from waiting import wait_for_end, wait_until
from yaml_files import parse_yaml

SPACE = "train.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
COMMAND = ("drum-crnn", "search", "rate.yaml", "--trials", "2", "--jobs", "2")

# What the stage `train` begins with: where HOLD names a folder, it leaves its process number there, and waits.
HELD = """\
import os, pathlib, time
if "HOLD" in os.environ:
    pathlib.Path(os.environ["HOLD"], str(os.getpid())).touch()
    time.sleep(600)
"""


def experiments(project: Path) -> dict[str, tuple[float, float]]:
    """The learning rate, and the best F on the validation split, of each experiment by name."""
    found = {}
    for name in run(project, "dvc", "exp", "ls", "--name-only").split():
        files = DVCFileSystem(str(project), rev=name)
        params = parse_yaml(files.read_text("params.yaml"))
        curve = files.read_text("metrics/training/plots/metrics/validation/f1.tsv").splitlines()[1:]
        found[name] = params["train"]["learning_rate"], max(float(line.split("\t")[1]) for line in curve)
    return found


def is_clean(project: Path) -> bool:
    run(project, "git", "symbolic-ref", "HEAD")
    return run(project, "git", "status", "--porcelain") == run(project, "git", "stash", "list") == ""


def logs_of(project: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (project / "logs" / "searches").glob("*.log")}


def test_a_killed_search_leaves_nothing_that_runs_and_the_same_command_finishes_it(
    project: Path, tmp_path: Path
) -> None:
    (project / "rate.yaml").write_text(SPACE)
    train = project / "stages" / "train.py"
    train.write_text(HELD + train.read_text())
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "results, and what to search")

    environment = {**ENVIRONMENT, "HOLD": str(tmp_path)}
    with subprocess.Popen(
        COMMAND, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, process, what=lambda: str(logs_of(project)))
        stages = [psutil.Process(int(path.name)) for path in tmp_path.iterdir()]
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate()
    assert process.returncode == 75, f"{said}{complaint}{logs_of(project)}"
    assert "run the same command again to resume" in complaint
    wait_for_end(stages)
    assert experiments(project) == {}
    assert is_clean(project)
    begun = dict(re.findall(r"^(rate-\d): begins with train\.learning_rate=([\d.e-]+);", said, flags=re.MULTILINE))
    assert begun.keys() == {"rate-0", "rate-1"}

    said = run(project, *COMMAND)
    first = experiments(project)
    assert {name: rate for name, (rate, _) in first.items()} == {name: float(rate) for name, rate in begun.items()}
    for name, (_, f) in first.items():
        assert f"{name}: validation f1 {f:.4f} with train.learning_rate={begun[name]}\n" in said
    best = max(sorted(first), key=lambda name: first[name][1])
    assert f"dvc exp apply {best}\n" in said
    assert is_clean(project)

    # The same command finds them done; a later trial is one more (tests/test_search.py).
    again = run(project, *COMMAND)
    assert "begins" not in again
    assert f"dvc exp apply {best}\n" in again
    assert experiments(project) == first
    assert is_clean(project)

    # With scores of its own: nothing is left to be done.
    run(project, "dvc", "exp", "apply", best)
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")
