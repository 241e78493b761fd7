"""What runs write, git ignores: DVC is given no reason to write into a .gitignore of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from first_party import ROOT


def test_a_run_leaves_git_clean(tmp_path: Path) -> None:
    project = tmp_path / "project"
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}

    def repro() -> bool:
        return subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=project, env=environment).returncode == 0

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments]
        return subprocess.check_output(command, cwd=project, text=True)

    (project / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, project / name)
    stage = {"cmd": "mkdir -p models && echo 1 > models/crnn.safetensors", "outs": ["models/crnn.safetensors"]}
    works = json.dumps({"stages": {"train": stage}})
    (project / "dvc.yaml").write_text(works)
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    (project / "dvc.yaml").write_text(works.replace("echo 1", "false"))
    assert not repro()
    assert git("status", "--porcelain") == " M dvc.yaml\n"
    (project / "dvc.yaml").write_text(works)
    assert repro()
    assert git("status", "--porcelain") == "?? dvc.lock\n"
