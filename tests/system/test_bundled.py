"""The remote that is in git: a fresh clone has the default model without a network and without training."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from miniature import ROOT
from pipeline import ENVIRONMENT, run
from yaml_files import read_yaml

MODEL = "models/drum_crnn.safetensors"
BUNDLE = ".dvc/bundled"


@pytest.fixture(scope="module")
def commit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a commit would have now: those of the last one, and what was added with `git add` since.

    The bundle belongs to a commit. A `make repro` may write another `dvc.lock` into the folder, and does so where a
    processor rounds differently; what lies there and was not added is nobody's promise.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository, so nobody knows which dvc.lock the bundle belongs to")
    folder = tmp_path_factory.mktemp("bundled") / "commit"
    run(ROOT, "git", "checkout-index", "--all", f"--prefix={folder}/")
    return folder


def objects_in(folder: Path) -> dict[str, Path]:
    """The objects of a remote: MD5, with `.dir` for a folder's, and file."""
    return {"".join(path.parts[-2:]): path for path in folder.rglob("*") if path.is_file()}


def bundled_outs(commit: Path) -> dict[str, str]:
    """The outs of dvc.lock that a push puts into a remote, folders file by file: path and MD5."""
    dag = read_yaml(commit / "dvc.yaml")["stages"]
    kept_back = {
        path
        for definition in dag.values()
        for out in (*definition.get("outs", []), *definition.get("metrics", []))
        if isinstance(out, dict)
        for path, options in out.items()
        if not options.get("push", True) or not options.get("cache", True)
    }
    files, objects = {}, objects_in(commit / BUNDLE)
    for stage in read_yaml(commit / "dvc.lock")["stages"].values():
        for out in stage["outs"]:
            path, md5 = out["path"], out["md5"]
            if path in kept_back:
                continue
            files[path] = md5
            if md5.endswith(".dir"):
                assert md5 in objects, f"{path} is not bundled; `make bundle`"
                listed = json.loads(objects[md5].read_text())
                files |= {f"{path}/{file['relpath']}": file["md5"] for file in listed}
    return files


def test_it_holds_what_dvc_lock_names_and_nothing_else(commit: Path) -> None:
    """`make bundle` makes it so, after results have changed; `git add` both before the tests look."""
    there, named = objects_in(commit / BUNDLE).keys(), bundled_outs(commit)
    assert {MODEL, "metrics/evaluation/lanes.csv"} <= named.keys()
    assert {path for path, md5 in named.items() if md5 not in there} == set(), "not bundled; `make bundle`"
    assert there == set(named.values())


def test_its_objects_are_whole_small_and_no_recordings() -> None:
    objects = objects_in(ROOT / BUNDLE)
    assert sum(path.stat().st_size for path in objects.values()) < 8e6
    for name, path in objects.items():
        content = path.read_bytes()
        assert hashlib.md5(content).hexdigest() == name.removesuffix(".dir")
        assert not content.startswith((b"RIFF", b"fLaC", b"ID3", b"OggS", b"MThd"))


@pytest.fixture(scope="module")
def origin(commit: Path) -> Path:
    """A repository with that commit, from which people clone."""
    run(commit, "git", "init", "--quiet")
    run(commit, "git", "add", "--all", "--force")
    run(commit, "git", "commit", "--quiet", "--message", "all of it")
    run(commit, "gto", "register", "drum-crnn", "--version", "v3.0.0")
    run(commit.parent, "git", "clone", "--quiet", "--bare", "commit", "bare.git")
    return commit.parent / "bare.git"


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    """A fresh clone of it."""
    run(tmp_path, "git", "clone", "--quiet", str(origin), "clone")
    return tmp_path / "clone"


def test_a_fresh_clone_has_the_model_without_training(commit: Path, clone: Path) -> None:
    run(clone, "dvc", "pull", "models")
    assert (clone / MODEL).is_file()
    run(clone, "dvc", "pull", "--allow-missing")
    for path, md5 in bundled_outs(commit).items():
        if md5.endswith(".dir"):
            continue
        assert hashlib.md5((clone / path).read_bytes()).hexdigest() == md5, path
    repro = ("dvc", "repro", "--pull", "--allow-missing")
    assert "Data and pipelines are up to date" in run(clone, *repro, "--dry")  # else it would train here, for long
    assert "Data and pipelines are up to date" in run(clone, *repro)
    assert run(clone, "git", "status", "--porcelain") == ""


def test_a_push_to_ones_own_remote_does_not_touch_it(commit: Path, clone: Path) -> None:
    run(clone, "dvc", "pull", "--allow-missing")
    mine = clone.parent / "mine"
    run(clone, "dvc", "remote", "add", "--local", "--default", "mine", str(mine))
    (clone / MODEL).chmod(0o644)
    (clone / MODEL).write_bytes((clone / MODEL).read_bytes() + b" ")  # another model
    run(clone, "dvc", "commit", "--force", "models")
    run(clone, "dvc", "push")
    assert len([path for path in mine.rglob("*") if path.is_file()]) == len(set(bundled_outs(commit).values()))
    run(clone, "git", "checkout", "--quiet", "dvc.lock")
    assert run(clone, "git", "status", "--porcelain") == ""


def test_the_released_model_can_be_had_by_the_address_of_the_repository(
    commit: Path, origin: Path, tmp_path: Path
) -> None:
    url, path = origin.as_uri(), "models/released/drum_crnn.safetensors"
    released = (commit / path).read_bytes()
    run(tmp_path, "dvc", "get", url, path, "--out", "by-path.safetensors")
    run(tmp_path, "dvc", "artifacts", "get", url, "drum-crnn", "--rev", "v3.0.0", "--out", "by-name")
    assert (tmp_path / "by-path.safetensors").read_bytes() == released
    [by_name] = [file for file in [tmp_path / "by-name", *(tmp_path / "by-name").glob("*")] if file.is_file()]
    assert by_name.read_bytes() == released


def test_nobody_is_told_of_what_is_done_here() -> None:
    """No analytics, no check for updates; and no default remote on a network."""
    config = (ROOT / ".dvc" / "config").read_text()
    assert re.search(r"analytics = false\n\s+check_update = false\n", config)
    assert "://" not in config
    assert ENVIRONMENT.get("DVC_NO_ANALYTICS") is None  # so the file is what decides
