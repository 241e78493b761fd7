"""A miniature project as people use it: by commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}


def run(project: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=project, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '([\w-]+)'", output, flags=re.MULTILINE)


ALL_STAGES = {"render", "catalog", "extract", "label", "split", "train", "tune-thresholds", "models", "evaluate"}
