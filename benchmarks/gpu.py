"""What a GPU does with this project, in five minutes: `python -m benchmarks.gpu [--only NAME]… [--out FOLDER]`.

Each check is a process with a time limit, so that one that hangs costs nothing but itself. Results are printed as they
come. The table at the end names the card, its driver and torch: send it with a report. `--cpu` runs everything small on
a CPU, to see that the checks work. `--data FOLDER` takes data that an earlier call made there.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_bench import Bench, Finding
from benchmarks.gpu_speed import SPEED
from benchmarks.gpu_trust import TRUST
from benchmarks.report import print_machine
from benchmarks.training_material import training_inputs

CHECKS = SPEED | TRUST
# In this order, each with its limit in seconds: cheap and decisive ones first.
PLAN = {
    "env": 20,
    "sync": 25,
    "exact": 30,
    "steps": 60,
    "sizes": 40,
    "gru": 30,
    "memory": 45,
    "determinism": 30,
    "precision": 40,
    "inference": 40,
    "loader": 50,
    "two": 45,
    "dead": 45,
    "life": 75,
    "launches": 45,
    "epoch": 60,
    "transcribe": 45,
    "compile": 60,
}
TOTAL_S = 300.0
TOTAL_CPU_S = 900.0  # a busy machine


def main() -> int:
    """Run the checks; the exit code is 1 if one did not pass."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="run everything small on a CPU")
    parser.add_argument("--only", action="append", choices=list(PLAN), help="a check to run; may be repeated")
    parser.add_argument("--data", type=Path, help="folder of data to use; it is made if it is empty")
    parser.add_argument("--out", type=Path, help="folder for results.jsonl and what the checks said")
    parser.add_argument("--within", type=float, help="seconds in all")
    parser.add_argument("--check", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.check:
        bench = Bench(options.data, options.out, options.cpu)
        CHECKS[options.check](bench).write(options.out / "finding.json")
        return 0
    import torch

    if not options.cpu and not torch.cuda.is_available():
        print("error: no GPU can be used; `--cpu` tries this command out on a CPU", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        data = (options.data or Path(name) / "data").absolute()
        out = (options.out or Path(name) / "out").absolute()
        out.mkdir(parents=True, exist_ok=True)
        if not (data / "splits.csv").is_file():
            data.mkdir(parents=True, exist_ok=True)
            training_inputs(data, n_performances=12 if options.cpu else 75)
        print_machine()
        limit_s = options.within or (TOTAL_CPU_S if options.cpu else TOTAL_S)
        return run_all(options.only or list(PLAN), data, out, on_cpu=options.cpu, until=time.monotonic() + limit_s)


def run_all(names: Sequence[str], data: Path, out: Path, *, on_cpu: bool, until: float) -> int:
    """Run checks one after the other, and print what each found."""
    verdicts: dict[str, str] = {}
    for name in names:
        limit_s = min(PLAN[name] * (10 if on_cpu else 1), until - time.monotonic())
        started = time.monotonic()
        if limit_s < 5:
            finding = Finding({"": "no time was left"})
        else:
            finding = run_check(name, data, out / name, on_cpu=on_cpu, limit_s=limit_s)
        took_s = time.monotonic() - started
        verdicts[name] = {True: "passed", False: "FAILED", None: "-"}[finding.passed]
        with (out / "results.jsonl").open("a", encoding="utf-8") as file:
            found = {"check": name, "seconds": round(took_s, 1), "found": dataclasses.asdict(finding)}
            file.write(json.dumps(found) + "\n")
        print(f"\n{name}: {verdicts[name]} ({took_s:.0f} s)")
        width = max(map(len, finding.rows), default=0)
        for row, text in finding.rows.items():
            print(f"    {row:<{width}}  {text}", flush=True)
    print("\nall: " + ", ".join(f"{name} {verdict}" for name, verdict in verdicts.items()))
    return 1 if "FAILED" in verdicts.values() else 0


def run_check(name: str, data: Path, folder: Path, *, on_cpu: bool, limit_s: float) -> Finding:
    """Run one check in a process of its own, which is killed with all its children at the end of its time."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.gpu", "--check", name, "--data", str(data), "--out", str(folder)]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "1"}
    if on_cpu:
        command.append("--cpu")
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with (folder / "said").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
        try:
            process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Finding({"": f"it took longer than {limit_s:.0f} s"}, passed=False)
    if not (folder / "finding.json").is_file():
        last = (folder / "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        return Finding({"": f"ended with exit code {process.returncode}: {' | '.join(last)}"}, passed=False)
    return Finding.read(folder / "finding.json")


if __name__ == "__main__":
    sys.exit(main())
