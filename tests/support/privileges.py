"""Processes that permissions hold for, even if the tests run as the superuser, who may read and write everything."""

import os
import shutil
import subprocess
import sys

import pytest
from first_party import ROOT

# Linux lets the superuser give up exactly that.
_PREFIX = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
_IS_SUPERUSER = sys.platform != "win32" and os.geteuid() == 0


def _can_give_up() -> bool:
    return shutil.which("setpriv") is not None and subprocess.run([*_PREFIX, "true"], check=False).returncode == 0


without_privileges = pytest.mark.skipif(
    sys.platform == "win32" or (_IS_SUPERUSER and not _can_give_up()), reason="this user may do everything"
)


def run_without_privileges(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to which permissions of files apply, in the current folder."""
    prefix = _PREFIX if _IS_SUPERUSER else []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*prefix, *command], env=environment, capture_output=True, text=True, check=False)
