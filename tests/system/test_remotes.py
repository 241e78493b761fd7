"""DVC remotes, on real servers of this machine, set up by the commands of docs/remotes.md."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from first_party import ROOT
from remote_servers import Remote, Store, on_disk, on_s3, over_http, over_ssh
from waiting import AT_MOST_S
from yaml_files import read_yaml

# Two stages as the project has them: a model, and what is too large to be pushed.
PIPELINE = """
stages:
  extract:
    cmd: python make.py data/features/0.h5 7 1000
    deps: [make.py]
    outs:
      - data/features:
          push: false
  train:
    cmd: python make.py models/drum_crnn.safetensors ${seed} 6000000 && python make.py models/thresholds.json ${seed} 0
    deps: [make.py]
    outs: [models/drum_crnn.safetensors, models/thresholds.json]
"""
MAKE = """
import pathlib, random, sys
path, seed, size = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
path.parent.mkdir(parents=True, exist_ok=True)
path.write_bytes(random.Random(seed).randbytes(size))
"""
MODEL, THRESHOLDS = "models/drum_crnn.safetensors", "models/thresholds.json"
MODEL_SIZE = 6_000_000  # DVC uploads it in more than one piece
FEATURES = "data/features/0.h5"

SERVERS: dict[str, Callable[[Path], AbstractContextManager[Remote]]] = {
    "disk": on_disk,
    "ssh": over_ssh,
    "s3": on_s3,
    "http": over_http,
}
every_remote = pytest.mark.parametrize("project", SERVERS, indirect=True)
on_disk_alone = pytest.mark.parametrize("project", ["disk"], indirect=True)


class Clone:
    """A clone of the project, in which commands are run without anything of the user's own configuration."""

    def __init__(self, root: Path, home: Path, remote: Remote) -> None:
        self.root, self.home, self.remote = root, home, remote
        kept = {
            name: value
            for name, value in os.environ.items()
            if not re.match(r"AWS_|DVC_|GIT_|SSH_|XDG_|\w+_proxy$", name, re.IGNORECASE)
        }
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "DVC_SITE_CACHE_DIR": str(home / "site_cache"),
            "DVC_SYSTEM_CONFIG_DIR": str(home / "system_config"),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            **remote.environment,
        }

    def path(self, relative: str) -> Path:
        return self.root / relative

    def read(self, relative: str) -> bytes:
        return self.path(relative).read_bytes()

    def run(self, *command: str, fails: bool = False) -> str:
        """What a command printed; what it should not have done comes with the server's log."""
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=AT_MOST_S,
            )
        except subprocess.TimeoutExpired as expired:
            pytest.fail(f"{expired}:\n{expired.output}\nThe server's log:\n{self.remote.log()}")
        about = f"{shlex.join(command)}:\n{done.stdout}\nThe server's log:\n{self.remote.log()}"
        assert (done.returncode != 0) == fails, about
        return done.stdout

    def another(self, folder: Path) -> "Clone":
        """Its clone in a new folder, with the same remote."""
        other = Clone(folder / "clone", self.home, self.remote)
        self.run("git", "clone", "--quiet", ".", str(other.root))
        shutil.copy(self.path(".dvc/config.local"), other.path(".dvc/config.local"))
        return other

    def set_up_remote(self) -> None:
        """What docs/remotes.md says, with other names in the commands."""
        unused = set(self.remote.replace)
        for command in documented_commands(self.remote.section):
            unused -= set(command)
            self.run(*(self.remote.replace.get(word, word) for word in command))
        assert not unused, f"docs/remotes.md, {self.remote.section}: no command has {unused}"


def documented_commands(section: str) -> list[list[str]]:
    """The commands of one section of docs/remotes.md, as lists of words."""
    text = (ROOT / "docs" / "remotes.md").read_text(encoding="utf-8")
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for line in re.findall(r"^    (dvc .+)", body, flags=re.MULTILINE)]


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A small project with the repository's own configuration of DVC; its results are made, committed and pushed."""
    folder = tmp_path_factory.mktemp("remotes")
    with SERVERS[request.param](folder / "server") as remote:
        project = Clone(folder / "project", folder / "home", remote)
        (project.root / ".dvc").mkdir(parents=True)
        project.home.mkdir()
        for name in (".dvc/config", ".dvc/.gitignore"):
            shutil.copy(ROOT / name, project.root / name)
        for name, text in {"dvc.yaml": PIPELINE, "make.py": MAKE, "params.yaml": "seed: 1\n"}.items():
            (project.root / name).write_text(text)
        project.run("git", "init", "--quiet")
        # A default for everybody, in the repository itself, as a project may bring along.
        project.run("dvc", "remote", "add", "--quiet", "--force", "--default", "bundled", "bundled")
        project.run("dvc", "repro", "--quiet")
        project.run("git", "add", "--all")
        project.run("git", "commit", "--quiet", "--message", "results")
        project.set_up_remote()
        project.run("dvc", "push", "--run-cache")
        yield project


def model_on(store: Store) -> str:
    """Where the model lies: the one object of its size."""
    (name,) = (name for name, content in store.objects().items() if len(content) == MODEL_SIZE)
    return name


@every_remote
def test_what_was_pushed_comes_back_in_another_clone(project: Clone, tmp_path: Path) -> None:
    clone = project.another(tmp_path)
    clone.run("dvc", "pull", MODEL)
    assert clone.read(MODEL) == project.read(MODEL)
    assert not clone.path(THRESHOLDS).exists()
    clone.run("dvc", "pull", "--allow-missing")
    assert clone.read(THRESHOLDS) == project.read(THRESHOLDS) == b""
    assert not clone.path(FEATURES).exists()
    assert project.read(FEATURES) not in project.remote.store.objects().values()


@every_remote
def test_an_object_damaged_on_the_remote_is_refused(project: Clone, tmp_path: Path) -> None:
    """With `verify`, that is; without it DVC takes the object and says that all is well, as docs/remotes.md warns."""
    good, store = project.read(MODEL), project.remote.store
    damaged = bytes([good[0] ^ 1]) + good[1:]
    name = model_on(store)
    store.overwrite(name, damaged)
    try:
        clone = project.another(tmp_path / "careful")
        assert MODEL in clone.run("dvc", "pull", MODEL, fails=True)
        assert not clone.path(MODEL).exists()
        assert not [path for path in clone.path(".dvc/cache").rglob("*") if path.name == Path(name).name]

        trusting = project.another(tmp_path / "trusting")
        config = trusting.path(".dvc/config.local")
        config.write_text(config.read_text().replace("verify = true", "verify = false"))
        trusting.run("dvc", "pull", MODEL)
        assert trusting.read(MODEL) == damaged, "DVC verifies by default now: docs/remotes.md can be shorter"
    finally:
        store.overwrite(name, good)


@every_remote
def test_the_run_cache_spares_a_run_in_another_clone(project: Clone, tmp_path: Path) -> None:
    """Over HTTP DVC does not push it, and does not say so."""
    can_list = project.remote.can_list
    assert any(name.startswith("runs/") for name in project.remote.store.objects()) == can_list
    clone = project.another(tmp_path)
    clone.run("dvc", "pull", "--run-cache", "--allow-missing")
    clone.path("dvc.lock").unlink()
    said = clone.run("dvc", "repro", "train")
    assert ("Stage 'train' is cached" in said) == can_list
    assert ("Running stage 'train'" in said) != can_list
    assert clone.read(MODEL) == project.read(MODEL)


@on_disk_alone
def test_what_is_not_pushed_stops_nobody(project: Clone, tmp_path: Path) -> None:
    clone = project.another(tmp_path)
    assert "data/features" in clone.run("dvc", "pull", fails=True)
    clone.path(MODEL).unlink()
    assert "Running stage" not in clone.run("dvc", "repro", "--pull", "--allow-missing")
    assert not clone.path(FEATURES).exists()
    clone.run("dvc", "repro", "--pull")
    assert clone.read(FEATURES) == project.read(FEATURES)
    assert clone.run("git", "status", "--porcelain") == ""


@on_disk_alone
def test_an_experiment_goes_to_another_clone_with_its_model(project: Clone, tmp_path: Path) -> None:
    """The project's own repository is where the two clones meet."""
    one, other = project.another(tmp_path / "one"), project.another(tmp_path / "other")
    one.run("dvc", "exp", "run", "--name", "other-seed", "--set-param", "seed=2")
    one.run("dvc", "exp", "push", "origin", "other-seed")
    other.run("dvc", "exp", "pull", "origin", "other-seed")
    other.run("dvc", "exp", "branch", "other-seed", "with-other-seed")
    other.run("git", "switch", "--quiet", "with-other-seed")
    other.run("dvc", "pull", MODEL)
    assert other.read(MODEL) == one.read(MODEL) != project.read(MODEL)


@on_disk_alone
def test_with_a_remote_of_ones_own_the_bundled_one_is_not_written_to(project: Clone, tmp_path: Path) -> None:
    assert not project.path("bundled").exists()
    assert project.run("git", "status", "--porcelain") == ""
    clone = project.another(tmp_path)
    assert clone.run("dvc", "remote", "default") == "mine\n"
    clone.run("dvc", "remote", "remove", "--local", "mine")
    assert clone.run("dvc", "remote", "default") == "bundled\n"


def test_no_out_of_the_pipeline_is_bound_to_a_remote() -> None:
    """`dvc push` would write it there, whatever the user's default is."""
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    for stage, definition in stages.items():
        for out in definition.get("outs", []):
            for path, options in out.items() if isinstance(out, dict) else []:
                assert "remote" not in options, f"dvc.yaml: {stage}: {path} names a remote"


def test_no_secret_is_in_the_committed_configuration() -> None:
    config = (ROOT / ".dvc" / "config").read_text(encoding="utf-8")
    assert not re.search(r"password|secret|access_key|token|keyfile|passphrase", config)
