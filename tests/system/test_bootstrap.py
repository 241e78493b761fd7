"""scripts/bootstrap.py and the Makefile, run for real in small projects of their own.

Nothing here needs a network: the dependencies are wheels that the tests write, and so is what a project builds.
"""

import ast
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from first_party import ROOT

from scripts import bootstrap

SCRIPT = ROOT / "scripts" / "bootstrap.py"

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1"
requires-python = ">=3.11"
dependencies = ["needed>=1"]
optional-dependencies = { dev = ["tool>=1"], plots = [] }
"""

# An installation goes on when it can lock the gate.
BACKEND = """
import fcntl, pathlib, shutil

def build_editable(folder, settings=None, metadata=None):
    with open("gate") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
    return pathlib.Path(shutil.copy("tiny-1-py3-none-any.whl", folder)).name
"""

MODULE = """
import shutil, sys

def dvc():
    print("dvc", *sys.argv[1:], "with", shutil.which("drum-crnn"))

def scores():
    print("drum-crnn", *sys.argv[1:])
"""
PROGRAMS = "[console_scripts]\ndvc = tiny:dvc\ndrum-crnn = tiny:scores\n"
NEEDS = 'Requires-Dist: needed>=1\nProvides-Extra: plots\nProvides-Extra: dev\nRequires-Dist: tool>=1; extra == "dev"\n'


def write_wheel(folder: Path, name: str, *, files: dict[str, str], metadata: str = "") -> None:
    """Write a wheel into `folder`; `name` is like `needed-1`."""
    title, version = name.split("-")
    info = f"{name}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {title}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)


class Sandbox:
    """A small project, the only wheels that can be found, and an environment free of what is set outside."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        (self.root / "scripts").mkdir(parents=True)
        wheels = folder / "wheels"
        wheels.mkdir()
        for name in ("needed-1", "needed-2", "tool-1"):
            write_wheel(wheels, name, files={})
        write_wheel(
            self.root,
            "tiny-1",
            files={"tiny.py": MODULE, "tiny-1.dist-info/entry_points.txt": PROGRAMS},
            metadata=NEEDS,
        )
        (self.root / "pyproject.toml").write_text(PYPROJECT)
        (self.root / "backend.py").write_text(BACKEND)
        (self.root / "gate").touch()
        (self.root / "scripts" / "offline_plots.py").touch()
        shutil.copy(ROOT / "Makefile", self.root)
        shutil.copy(SCRIPT, self.root / "scripts")
        self.lock(needed=1)
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "BOOTSTRAP_MIN_FREE_GB": "0", "UV": ""}
        self.environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}
        self.environment |= {"UV_NO_CONFIG": "1", "UV_FIND_LINKS": str(wheels), "UV_OFFLINE": "1"}

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def lock(self, *, needed: int) -> None:
        (self.root / "requirements.lock").write_text(f"needed=={needed}\ntool==1\n")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `make` in a process group of its own."""
        return subprocess.Popen(
            ["make", *arguments],
            cwd=self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Output of `make`, with this Python if `environment` names no other."""
        process = self.start(*arguments, **{"PYTHON": sys.executable} | environment)
        output, _ = process.communicate()
        assert (process.returncode != 0) == fails, output
        return output

    def installed(self) -> set[str]:
        """The project and its dependencies in the environment, like `needed-1`."""
        names = {path.stem for path in self.venv.glob("lib/*/site-packages/*.dist-info")}
        return {name for name in names if not name.startswith(("pip", "setuptools"))}

    def program(self, name: str, text: str) -> Path:
        """A shell script called `name`, alone in its folder."""
        path = self.root.parent / f"only-{name}" / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


# --- what is in the way ---------------------------------------------------------------------------


def test_an_old_python_can_parse_it_and_names_the_right_version() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">={}.{}".format(*bootstrap.OLDEST)


def test_an_old_python_gives_way_to_a_newer_one_unless_it_was_named(sandbox: Sandbox) -> None:
    code = (
        'import runpy, sys; sys.version_info, sys.version = (3, 8, 18), "3.8.18 (old)"; del sys.argv[0]; '
        'runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    old = sandbox.program("python3", f"exec '{sys.executable}' -c '{code}' \"$@\"")
    message = f"error: Python 3.8.18 ({sys.executable}) is too old: Python 3.11 or newer is needed"
    assert message in sandbox.make("repro", PYTHON=str(old), fails=True)
    assert not sandbox.venv.exists()

    minor = sys.version_info.minor
    newer = sandbox.program(f"python3.{minor}", f"exec '{sys.executable}' \"$@\"")
    # A version manager's stand-in for a version that is not installed: on PATH, but no Python.
    stand_in = sandbox.program(f"python3.{11 if minor == 14 else 14}", "exit 127")
    sandbox.environment["PATH"] = ":".join([*(str(path.parent) for path in (old, stand_in, newer)), os.environ["PATH"]])
    process = sandbox.start("venv")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert f"is Python 3.8.18, too old; taking {newer}" in output
    assert sandbox.installed() == {"tiny-1", "needed-1"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PYTHON": "/nowhere/python3"}, "/nowhere/python3 was not found; install Python 3.11 or newer, or name one"),
        ({"BOOTSTRAP_MIN_FREE_GB": "1e9"}, "GB of disk are free and 1e+09 GB are needed"),
        # As on a Debian without python3-venv: the module `venv` is there, what it needs is not.
        (
            {"PYTHONPATH": "broken"},
            f"has no venv module: install it (on Debian and Ubuntu: apt install python3.{sys.version_info.minor}-venv)",
        ),
    ],
)
def test_the_obstacle_is_named(sandbox: Sandbox, environment: dict[str, str], message: str) -> None:
    (sandbox.root / "broken").mkdir()
    (sandbox.root / "broken" / "ensurepip.py").write_text("raise ImportError")
    output = sandbox.make("venv", **environment, fails=True)
    assert output.startswith("error: ")
    assert message in output
    assert not sandbox.venv.exists()


# --- installing -----------------------------------------------------------------------------------


def test_what_the_lock_says_is_installed_when_it_changes(sandbox: Sandbox) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", sandbox.venv], check=True)
    (sandbox.venv / "theirs").touch()
    sandbox.lock(needed=3)
    assert "error: pip could not install the project: mend what it says above" in sandbox.make("venv", fails=True)
    sandbox.lock(needed=1)
    sandbox.make("venv")
    assert sandbox.installed() == {"tiny-1", "needed-1"}
    assert (sandbox.venv / "theirs").exists(), "an environment made by others was not kept"

    os.utime(sandbox.root / "pyproject.toml", (1e9, 1e9))  # a checkout changes times, not what is in the file
    assert sandbox.make("venv") == ""
    sandbox.make("venv-dev")
    assert sandbox.installed() == {"tiny-1", "needed-1", "tool-1"}
    assert sandbox.make("venv") == ""

    sandbox.lock(needed=3)
    sandbox.make("venv", fails=True)
    sandbox.lock(needed=1)
    assert sandbox.make("venv") == "", "what worked before was given up"
    sandbox.lock(needed=2)
    sandbox.make("venv")
    assert sandbox.installed() == {"tiny-1", "needed-2", "tool-1"}
    (sandbox.root / "pyproject.toml").write_text(PYPROJECT.replace("needed>=1", "needed>=1.0"))
    assert "bootstrap: installing" in sandbox.make("venv")


def test_uv_installs_where_it_is_and_pip_can_take_over(sandbox: Sandbox) -> None:
    pip = f'exec \'{sys.executable}\' -m pip --python "$python" install "$@"'
    stand_in = f'python=$4; test "$1 $2 $3" = "pip install --python" && shift 4 && {pip}'
    uv = shutil.which("uv") or str(sandbox.program("uv", stand_in))
    sandbox.make("venv", UV=uv)
    assert sandbox.installed() == {"tiny-1", "needed-1"}
    assert not list(sandbox.venv.glob("lib/*/site-packages/pip"))
    assert sandbox.make("venv", UV=uv) == ""

    sandbox.lock(needed=3)
    output = sandbox.make("venv", UV=uv, fails=True)
    assert f"error: {uv} could not install the project" in output
    assert "make UV= ..." in output
    sandbox.lock(needed=2)
    sandbox.make("venv", UV="")
    assert sandbox.installed() == {"tiny-1", "needed-2"}


def test_an_installation_is_waited_for_and_made_anew_if_it_was_interrupted(sandbox: Sandbox) -> None:
    with (sandbox.root / "gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        first = sandbox.start("venv", PYTHON=sys.executable)
        assert first.stdout is not None
        assert any("installing" in line for line in first.stdout)
        second = sandbox.start("venv", PYTHON=sys.executable)
        assert second.stdout is not None
        assert "another make is installing; waiting for it" in second.stdout.readline()
        (sandbox.venv / "left").touch()
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert "was moved or left unfinished: making it anew" in output
    assert not (sandbox.venv / "left").exists()
    assert sandbox.installed() == {"tiny-1", "needed-1"}
    assert sandbox.make("venv") == ""


def test_make_repro_runs_dvc_then_shows_scores(sandbox: Sandbox) -> None:
    def expected() -> str:
        return f"dvc repro with {sandbox.venv / 'bin' / 'drum-crnn'}\ndrum-crnn scores\n"

    (sandbox.root.parent / "disk").mkdir()
    sandbox.venv.symlink_to(sandbox.root.parent / "disk")
    assert sandbox.make("repro").endswith(expected())
    assert sandbox.make("repro") == expected()

    sandbox.root = sandbox.root.rename(sandbox.root.with_name("elsewhere"))
    offline = "import sys; sys.exit(f'error: no room for {sys.executable}')"
    (sandbox.root / "scripts" / "offline_plots.py").write_text(offline)
    output = sandbox.make("repro")
    assert ".venv was moved or left unfinished: making it anew" in output
    assert f"error: no room for {sandbox.venv / 'bin' / 'python'}" in output, "plots were not let open offline"
    assert output.endswith(expected())
    assert sandbox.venv.is_symlink()


# --- DVC and git ----------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [Path.mkdir, Path.touch], ids=["alone", "inside another repository"])
def test_dvc_works_without_git_and_notices_one_that_comes(tmp_path: Path, later: Callable[[Path], None]) -> None:
    archive = tmp_path / "archive"
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}

    def dvc(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.check_output(command, cwd=archive, env=environment, text=True).splitlines()

    (archive / ".dvc").mkdir(parents=True)
    (archive / "dvc.yaml").write_text("stages: {count: {cmd: echo 1 > one, outs: [one]}}")
    (archive / ".dvc" / "config.local").write_text("[core]\nremote = mine\n['remote \"mine\"']\nurl = ../store\n")
    if later == Path.touch:
        subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
        (tmp_path / ".gitignore").write_text("/archive\n")
    before = {"core.remote=mine", f"remote.mine.url={archive / 'store'}"}
    bootstrap.tell_dvc_about_git(archive, Path(sys.executable))
    bootstrap.tell_dvc_about_git(archive, Path("/nowhere/python"))  # not called: nothing is left to do
    assert {*dvc("config", "--list", "--local")} == {*before, "core.no_scm=true"}
    assert "Running stage 'count':" in dvc("repro")
    assert dvc("repro")[-1] == "Data and pipelines are up to date."

    later(archive / ".git")  # a folder in a clone, a file in a worktree
    bootstrap.tell_dvc_about_git(archive, Path(sys.executable))
    bootstrap.tell_dvc_about_git(archive, Path("/nowhere/python"))
    assert {*dvc("config", "--list", "--local")} == before


# --- make ---------------------------------------------------------------------------------------


def test_make_alone_lists_the_targets(sandbox: Sandbox) -> None:
    targets = "help repro experiments test test-unit lint format benchmarks bundle lock clean"
    assert [line.split()[1] for line in sandbox.make().splitlines()] == targets.split()


def test_make_clean_removes_caches_only(sandbox: Sandbox) -> None:
    kept = [sandbox.root / name for name in ("data/rendered/a.wav", "models/m", "metrics/m", ".venv/__pycache__/a.pyc")]
    gone = [sandbox.root / name for name in ("drum_crnn/studio/__pycache__/a.pyc", ".mypy_cache/a", "t.egg-info/a")]
    for path in kept + gone:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    sandbox.make("clean")
    assert all(path.exists() for path in kept)
    assert not any(path.parent.exists() for path in gone)
