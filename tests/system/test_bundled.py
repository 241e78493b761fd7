"""The remote that is in git: a fresh clone has the default model without a network and without training."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from miniature import ROOT
from pipeline import ENVIRONMENT, run
from yaml_files import read_yaml

BUNDLED = ROOT / ".dvc" / "bundled"
MODEL = "models/drum_crnn.safetensors"


def object_of(md5: str) -> Path:
    return BUNDLED / "files" / "md5" / md5[:2] / md5[2:]


def bundled_outs() -> dict[str, str]:
    """The outs of dvc.lock that a push puts into a remote, folders file by file: path and MD5."""
    dag = read_yaml(ROOT / "dvc.yaml")["stages"]
    kept_back = {
        path
        for definition in dag.values()
        for out in (*definition.get("outs", []), *definition.get("metrics", []))
        if isinstance(out, dict)
        for path, options in out.items()
        if not options.get("push", True) or not options.get("cache", True)
    }
    files = {}
    for stage in read_yaml(ROOT / "dvc.lock")["stages"].values():
        for out in stage["outs"]:
            path, md5 = out["path"], out["md5"]
            if path in kept_back:
                continue
            files[path] = md5
            if md5.endswith(".dir"):
                assert object_of(md5).is_file(), f"{path} is not bundled; `make bundle`"
                listed = json.loads(object_of(md5).read_text())
                files |= {f"{path}/{file['relpath']}": file["md5"] for file in listed}
    return files


def objects() -> list[Path]:
    return [path for path in BUNDLED.rglob("*") if path.is_file()]


def test_it_holds_what_dvc_lock_names_and_nothing_else() -> None:
    """`make bundle` makes it so, after results have changed."""
    there, named = {"".join(path.parts[-2:]) for path in objects()}, bundled_outs()
    assert {MODEL, "metrics/evaluation/lanes.csv"} <= named.keys()
    assert {path for path, md5 in named.items() if md5 not in there} == set(), "not bundled; `make bundle`"
    assert there == set(named.values())


def test_its_objects_are_whole_small_and_no_recordings() -> None:
    assert sum(path.stat().st_size for path in objects()) < 8e6
    for path in objects():
        content = path.read_bytes()
        assert hashlib.md5(content).hexdigest() == "".join(path.parts[-2:]).removesuffix(".dir")
        assert not content.startswith((b"RIFF", b"fLaC", b"ID3", b"OggS", b"MThd"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of this repository as it stands, committed or not."""
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git repository")
    folder = tmp_path_factory.mktemp("bundled")
    origin, clone = folder / "origin", folder / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for path in filter(lambda path: (ROOT / path).is_file(), listed):
        (origin / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, origin / path)
    run(origin, "git", "init", "--quiet")
    run(origin, "git", "add", "--all")
    run(origin, "git", "commit", "--quiet", "--message", "all of it")
    run(origin, "gto", "register", "drum-crnn", "--version", "v3.0.0")
    run(folder, "git", "clone", "--quiet", "--bare", "origin", "bare.git")
    run(folder, "git", "clone", "--quiet", "bare.git", "clone")
    return clone


def test_a_fresh_clone_has_the_model_without_training(clone: Path) -> None:
    run(clone, "dvc", "pull", "models")
    assert (clone / MODEL).is_file()
    run(clone, "dvc", "pull", "--allow-missing")
    for path, md5 in bundled_outs().items():
        if md5.endswith(".dir"):
            continue
        assert hashlib.md5((clone / path).read_bytes()).hexdigest() == md5, path
    assert "Data and pipelines are up to date" in run(clone, "dvc", "repro", "--pull", "--allow-missing")
    assert run(clone, "git", "status", "--porcelain") == ""


def test_a_push_to_ones_own_remote_does_not_touch_it(clone: Path) -> None:
    run(clone, "dvc", "pull", "--allow-missing")
    mine = clone.parent / "mine"
    run(clone, "dvc", "remote", "add", "--local", "--default", "mine", str(mine))
    (clone / MODEL).chmod(0o644)
    (clone / MODEL).write_bytes((clone / MODEL).read_bytes() + b" ")  # another model
    run(clone, "dvc", "commit", "--force", "models")
    run(clone, "dvc", "push")
    assert len([path for path in mine.rglob("*") if path.is_file()]) == len(set(bundled_outs().values()))
    run(clone, "git", "checkout", "--quiet", "dvc.lock")
    assert run(clone, "git", "status", "--porcelain") == ""


def test_the_released_model_can_be_had_by_the_address_of_the_repository(clone: Path) -> None:
    url, path = (clone.parent / "bare.git").as_uri(), "models/released/drum_crnn.safetensors"
    here = (ROOT / path).read_bytes()
    run(clone.parent, "dvc", "get", url, path, "--out", "by-path.safetensors")
    run(clone.parent, "dvc", "artifacts", "get", url, "drum-crnn", "--rev", "v3.0.0", "--out", "by-name")
    assert (clone.parent / "by-path.safetensors").read_bytes() == here
    [by_name] = [file for file in [clone.parent / "by-name", *(clone.parent / "by-name").glob("*")] if file.is_file()]
    assert by_name.read_bytes() == here


def test_nobody_is_told_of_what_is_done_here() -> None:
    """No analytics, no check for updates; and no default remote on a network."""
    config = (ROOT / ".dvc" / "config").read_text()
    assert re.search(r"analytics = false\n\s+check_update = false\n", config)
    assert "://" not in config
    assert ENVIRONMENT.get("DVC_NO_ANALYTICS") is None  # so the file is what decides
