"""The script that makes the kits of the preset `more_kits`, run as its page says."""

import subprocess
import sys
from pathlib import Path

import pytest
from miniature import ROOT


@pytest.mark.parametrize("arguments", [["PACKAGES"], [], ["PACKAGES", "OUT", "MORE"]])
def test_a_mistake_is_a_sentence(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "PACKAGES").mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "scripts.more_kits", *(str(tmp_path / name) for name in arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr
    if len(arguments) == 1:
        assert "unpack bespokesynth-data into it" in result.stderr
