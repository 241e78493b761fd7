"""Code that runs with little memory: in a process of its own, which may take so much more than its imports do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniature import ROOT

# Numerical libraries reserve address space for each thread, so there is one.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}

LIMIT = """
import resource
from pathlib import Path

def allow(more_bytes):
    "Limit the address space of this process to what it has now, and so many bytes."
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""

only_linux = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux tells and limits the address space so"
)


def run_limited(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code, which calls `allow(BYTES)` after its imports."""
    command = [sys.executable, "-c", LIMIT + code, *map(str, arguments)]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
