"""How long everyday commands take: `python -m benchmarks.dvc_commands`, in this repository after `make repro`.

`dvc repro` and `dvc status` run in this repository, where they have nothing to do; the others run in a fresh clone. The
experiments differ in one parameter, and are saved without being run.

Figures
-------
repro_s, status_s
    Seconds of wall-clock time with nothing to do. All figures are medians of the rounds.
exp_show_s, exp_show_first_s
    `dvc exp show --only-changed` with 50 experiments; and the first such call, before DVC has cached them.
pull_s
    `dvc pull models` in a fresh clone.
pull_all_s
    `dvc pull --allow-missing` in a fresh clone: everything that is bundled.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.foundation.console import track

ROUNDS = 3
N_EXPERIMENTS = 50
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def main() -> None:
    """Time each command several times."""
    print_machine()
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        _run(here, "git", "clone", "--quiet", str(here), str(clone))
        rounds = {
            "repro_s": _rounds(lambda: _run(here, "dvc", "repro")),
            "status_s": _rounds(lambda: _run(here, "dvc", "status")),
            "pull_s": _rounds(lambda: _run(clone, "dvc", "pull", "models"), before=lambda: _forget(clone)),
            "pull_all_s": _rounds(lambda: _run(clone, "dvc", "pull", "--allow-missing"), before=lambda: _forget(clone)),
        }
        # From here on the clone has all outputs, as links to this cache: without them no experiment can be saved.
        for setting in (("cache.dir", str(here / ".dvc" / "cache")), ("cache.type", "reflink,hardlink,copy")):
            _run(clone, "dvc", "config", "--local", *setting)
        _run(clone, "dvc", "checkout", "--force")
        params = clone / "params.yaml"
        text = params.read_text(encoding="utf-8")
        for number in track(range(N_EXPERIMENTS), description="saving experiments"):
            params.write_text(text.replace("weight_decay: 0.01 ", f"weight_decay: 0.{number + 100} "), encoding="utf-8")
            _run(clone, "dvc", "exp", "save", "--name", f"number-{number}")
        params.write_text(text, encoding="utf-8")
        first, *rounds["exp_show_s"] = _rounds(
            lambda: _run(clone, "dvc", "exp", "show", "--only-changed", "--no-pager"), n_rounds=ROUNDS + 1
        )
        rounds["exp_show_first_s"] = [first]
    print_rows({name: ", ".join(f"{each:.2f}" for each in times) for name, times in rounds.items()})
    print_figures({name: statistics.median(times) for name, times in rounds.items()})


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")


def _forget(clone: Path) -> None:
    """Remove what a clone has pulled, so that it is fresh again."""
    shutil.rmtree(clone / ".dvc" / "cache", ignore_errors=True)  # a fresh clone has none
    _run(clone, "git", "clean", "-dfxq", "--exclude=.dvc", "data", "models", "metrics")


def _rounds(
    call: Callable[[], None], *, before: Callable[[], None] | None = None, n_rounds: int = ROUNDS
) -> list[float]:
    times = []
    for _ in range(n_rounds):
        if before is not None:
            before()
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
