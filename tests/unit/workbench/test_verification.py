"""Damage that DVC does not see: a flipped bit, in an output or in the cache."""

from pathlib import Path

import pytest
from damage import flip_bit
from dvc.repo import Repo
from typer.testing import CliRunner

from drum_crnn.cli import app
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.workbench.verification import find_damage

DVC_YAML = """
stages:
  make:
    cmd: mkdir -p out/deep && echo a,1 > out/a.csv && echo b,2 > out/deep/b.csv && echo c,3 > c.csv && echo d > d.txt
    outs:
    - out
    - c.csv
    metrics:
    - d.txt:
        cache: false
"""


def repro() -> None:
    with Repo() as repo:
        repo.reproduce()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository with a folder and a file, in the cache and beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    Repo.init(no_scm=True).close()
    repro()
    assert find_damage(tmp_path) == []
    return tmp_path


def object_of(content: bytes) -> Path:
    [path] = [path for path in Path(".dvc/cache/files/md5").glob("??/*") if path.read_bytes() == content]
    return path


def verify(*arguments: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, ["verify", *arguments])
    return done.exit_code, done.output.splitlines()


@pytest.mark.parametrize("name", ["c.csv", "out/a.csv", "out/deep/b.csv"])
def test_a_damaged_output_is_found_and_comes_back(project: Path, name: str) -> None:
    content = (project / name).read_bytes()
    flip_bit(project / name, 0)
    with Repo() as repo:
        assert repo.status() == {}  # DVC sees nothing
    code, said = verify()
    assert (code, said[0]) == (1, f"{name}: is damaged; it is an output")
    assert (project / name).is_file()
    code, said = verify("--remove")
    assert (code, said[0]) == (0, f"{name}: is damaged; it is an output")
    repro()
    assert (project / name).read_bytes() == content
    assert verify() == (0, ["no damage: every output and every file in DVC's cache matches its checksum"])


@pytest.mark.parametrize(("content", "name"), [(b"a,1\n", "out/a.csv"), (b"c,3\n", "c.csv")])
def test_a_damaged_object_would_be_handed_on_and_is_found(project: Path, content: bytes, name: str) -> None:
    path = object_of(content)
    flip_bit(path, 0)
    (project / name).unlink()
    with Repo() as repo:
        repo.checkout()
    assert (project / name).read_bytes() != content  # what DVC makes of it
    code, said = verify("--remove")
    assert code == 0
    assert f"{name}: is damaged; it is an output" in said
    assert f"{path}: is damaged; it is DVC's copy of {name}" in said
    repro()
    assert (project / name).read_bytes() == content
    assert verify()[0] == 0


def test_a_damaged_list_of_a_folder_is_found(project: Path) -> None:
    [path] = Path(".dvc/cache/files/md5").glob("??/*.dir")
    flip_bit(path, 1)
    assert verify("--remove")[1][0] == f"{path}: is damaged; it is DVC's copy of out"
    repro()
    assert verify()[0] == 0


def test_an_object_that_no_output_of_now_has(project: Path) -> None:
    path = object_of(b"c,3\n")
    (project / "dvc.yaml").write_text(DVC_YAML.replace("c,3", "c,4"))
    repro()
    flip_bit(path, 0)
    assert verify()[1][0] == f"{path}: is damaged; it is DVC's copy of an output of another commit"


def test_what_dvc_sees_itself_is_no_damage(project: Path) -> None:
    """An output that somebody changed, one that is gone, and one that was never made."""
    (project / "c.csv").write_text("changed by hand")
    (project / "out" / "a.csv").unlink()
    assert verify()[0] == 0
    (project / "dvc.lock").unlink()
    assert verify()[0] == 0


def test_outside_a_repository(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match="is not a DVC repository"):
        find_damage(tmp_path)
