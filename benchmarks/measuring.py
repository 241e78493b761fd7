"""What whole commands cost."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Cost", "cost_of"]


class Cost(NamedTuple):
    """Seconds on the clock, CPU seconds of a command and all that it started, largest memory of one of them in MB."""

    wall_s: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, {self.cpu_s:.2f} s of CPU, {self.peak_mb:.0f} MB"


def cost_of(*command: str, folder: Path | None = None, environment: dict[str, str] | None = None) -> Cost:
    """Run a command; its errors end the benchmark, and show what it said."""
    measure = [sys.executable, "-c", _MEASURE, *command]
    done = subprocess.run(measure, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    return Cost(*map(float, done.stdout.splitlines()[-1].split()))


# In a small process of its own: the peak of a process counts from its parent's memory at the start.
_MEASURE = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024
print(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)
sys.exit(os.waitstatus_to_exitcode(status))
"""
