"""A process that keeps freed memory does not ask the system for it again."""

import platform
import subprocess
import sys

import pytest

# Writes to 64 MB over and over, and prints the number of page faults.
_SCRIPT = """
import resource, sys
import numpy as np
from drum_crnn.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's allocator")
def test_pages_are_fetched_once():
    def faults(how):
        return int(subprocess.run([sys.executable, "-c", _SCRIPT, how], capture_output=True, check=True).stdout)

    assert faults("keep") < 100
    assert faults("default") > 300  # otherwise the function gains nothing, and can go
