"""scripts/bootstrap.py and the Makefile, run for real in small projects of their own.

Nothing here needs a network: a project builds itself with the backend below, and its dependencies are wheels that the
tests write.
"""

import ast
import base64
import hashlib
import importlib.util
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from first_party import ROOT

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

[project.optional-dependencies]
dev = ["tool>=1"]
plots = []
"""

# While `block` exists, an install is under way.
BACKEND = """
import base64, hashlib, time, zipfile
from pathlib import Path

{write_wheel}

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    Path("installing").touch()
    while Path("block").exists():
        time.sleep(0.05)
    files = {{
        "tiny.pth": str(Path.cwd()),
        "tiny-1.dist-info/entry_points.txt": "[console_scripts]\\ndvc = tiny:dvc\\ndrum-crnn = tiny:scores\\n",
    }}
    metadata = 'Requires-Dist: needed>=1\\nProvides-Extra: dev\\nRequires-Dist: tool>=1; extra == "dev"\\n'
    return write_wheel(Path(wheel_directory), name="tiny", files=files, metadata=metadata).name
"""

TINY = """
import shutil, sys

def dvc():
    print("dvc", *sys.argv[1:], "with", shutil.which("drum-crnn"))

def scores():
    print("drum-crnn", *sys.argv[1:])
"""


def write_wheel(folder: Path, *, name: str, files: dict[str, str], metadata: str = "") -> Path:
    """Write NAME-1-py3-none-any.whl into `folder`."""
    info = f"{name}-1.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{info}/RECORD,,"]
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(text.encode())}")
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
    return path


class Sandbox:
    """A small project, the only wheels that pip finds, and an environment free of what is set outside."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.root = folder / "project"
        (self.root / "scripts").mkdir(parents=True)
        self.wheels.mkdir()
        for name in ("needed", "tool"):
            write_wheel(self.wheels, name=name, files={f"{name}.py": ""})
        (self.root / "pyproject.toml").write_text(PYPROJECT)
        (self.root / "backend.py").write_text(BACKEND.format(write_wheel=inspect.getsource(write_wheel)))
        (self.root / "tiny.py").write_text(TINY)
        shutil.copy(ROOT / "Makefile", self.root)
        shutil.copy(SCRIPT, self.root / "scripts")
        # A surrounding `make` hands its own settings down; this one is to be run as a newcomer runs it.
        strangers = ("PIP_", "UV_", "MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(strangers)}
        self.environment |= {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "BOOTSTRAP_MIN_FREE_GB": "0",
        }

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def start(self, *command: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start `command`, by default the bootstrap, in a process group of its own."""
        return subprocess.Popen(
            command or (sys.executable, "scripts/bootstrap.py"),
            cwd=self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str | Path, **environment: str) -> tuple[int, str]:
        """Exit code and output of `command`, by default of the bootstrap."""
        process = self.start(*command, **environment)
        output, _ = process.communicate()
        return process.returncode, output

    def bootstrap(self, *options: str, **environment: str) -> tuple[int, str]:
        return self.run(sys.executable, "scripts/bootstrap.py", *options, **environment)

    def has(self, module: str) -> bool:
        """Whether the environment can import `module`."""
        return self.run(self.venv / "bin" / "python", "-I", "-c", f"import {module}")[0] == 0

    def called_pip(self) -> bool:
        """Whether pip has run since the last time this was asked."""
        log = self.venv / "pip.log"
        called = log.exists()
        log.unlink(missing_ok=True)
        return called

    def wait_until_installing(self) -> None:
        while not (self.root / "installing").exists():
            time.sleep(0.05)

    def fake_python(self, name: str, text: str) -> Path:
        """An executable shell script called `name`, alone in its folder."""
        path = self.root.parent / f"fake-{name}" / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def old_python(self) -> Path:
        """A python3 that says it is 3.8, and runs scripts."""
        code = (
            'import runpy, sys; sys.version_info = (3, 8, 18, "final", 0); del sys.argv[0]; '
            'runpy.run_path(sys.argv[0], run_name="__main__")'
        )
        return self.fake_python("python3", f"exec '{sys.executable}' -c '{code}' \"$@\"")


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only_error(output: str) -> str:
    """The one line that is the bootstrap's own error."""
    (line,) = (line for line in output.splitlines() if line.startswith("error: ") and "subprocess" not in line)
    return line


# --- Python itself --------------------------------------------------------------------------------


def test_an_old_python_can_parse_it() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_an_old_python_is_told_so(sandbox: Sandbox) -> None:
    code, output = sandbox.run("make", "repro", f"PYTHON={sandbox.old_python()}")
    assert code != 0
    assert "Python 3.8.18" in only_error(output)
    assert "Python 3.11 or newer is needed" in only_error(output)
    assert not sandbox.venv.exists()


def test_the_named_python_is_not_there(sandbox: Sandbox) -> None:
    code, output = sandbox.run("make", "repro", "PYTHON=/nowhere/python3")
    assert code != 0
    assert "/nowhere/python3 was not found" in only_error(output)


@pytest.mark.slow
def test_a_newer_python_on_path_is_taken_if_nobody_named_one(sandbox: Sandbox) -> None:
    minor = sys.version_info.minor
    newer = sandbox.fake_python(f"python3.{minor}", f"exec '{sys.executable}' \"$@\"")
    # A version manager's stand-in for a version that is not installed: on PATH, but no Python.
    stand_in = sandbox.fake_python(f"python3.{11 if minor == 14 else 14}", "exit 127")
    folders = [str(path.parent) for path in (sandbox.old_python(), stand_in, newer)]
    path = os.pathsep.join([*folders, sandbox.environment["PATH"]])
    code, output = sandbox.run("make", "venv", PATH=path)
    assert code == 0, output
    assert "Python 3.8.18, too old; taking" in output
    assert sandbox.has("needed")


def test_python_without_venv(sandbox: Sandbox) -> None:
    # As on a Debian without python3-venv: the module `venv` is there, what it needs is not.
    (sandbox.root / "broken").mkdir()
    (sandbox.root / "broken" / "ensurepip.py").write_text("raise ImportError")
    code, output = sandbox.bootstrap(PYTHONPATH="broken")
    assert code == 1
    assert "has no venv module" in only_error(output)
    assert f"apt install python3.{sys.version_info.minor}-venv" in only_error(output)
    assert not sandbox.venv.exists()


def test_disk_too_full(sandbox: Sandbox) -> None:
    code, output = sandbox.bootstrap(BOOTSTRAP_MIN_FREE_GB="1e9")
    assert code == 1
    assert "GB of disk are free and 1e+09 GB are needed" in only_error(output)
    assert not sandbox.venv.exists()


def test_unknown_extra(sandbox: Sandbox) -> None:
    code, output = sandbox.bootstrap("--extra", "deb")
    assert code == 1
    assert "has no extra 'deb'; known: dev, plots" in only_error(output)


def test_broken_pyproject(sandbox: Sandbox) -> None:
    (sandbox.root / "pyproject.toml").write_text(PYPROJECT + "]")
    code, output = sandbox.bootstrap()
    assert code == 1
    assert "pyproject.toml: is not valid TOML" in only_error(output)


# --- installing -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_pip_is_called_when_there_is_something_to_do(sandbox: Sandbox) -> None:
    pyproject = sandbox.root / "pyproject.toml"

    assert sandbox.bootstrap()[0] == 0
    assert sandbox.called_pip()
    assert sandbox.has("needed")
    assert sandbox.has("tiny")
    assert not sandbox.has("tool")

    os.utime(pyproject, (1e9, 1e9))  # a checkout changes times, not what is in the file
    assert sandbox.bootstrap() == (0, "")
    assert not sandbox.called_pip()

    assert sandbox.bootstrap("--extra", "dev")[0] == 0
    assert sandbox.called_pip()
    assert sandbox.has("tool")

    assert sandbox.bootstrap() == (0, "")
    assert not sandbox.called_pip()
    assert sandbox.has("tool")

    # As `uv sync` does, which takes away what it was not asked for.
    sandbox.run(sandbox.venv / "bin" / "python", "-m", "pip", "uninstall", "--yes", "tool")
    assert sandbox.bootstrap("--extra", "dev")[0] == 0
    assert sandbox.has("tool")
    sandbox.called_pip()

    stamp = (sandbox.venv / "bootstrap.json").read_text()
    pyproject.write_text(PYPROJECT.replace("needed>=1", "nowhere>=2"))
    backend = sandbox.root / "backend.py"
    backend.write_text(backend.read_text().replace("needed>=1", "nowhere>=2"))
    code, output = sandbox.bootstrap()
    assert code == 1
    assert "pip finds no release of nowhere>=2" in only_error(output)
    assert f"Python 3.{sys.version_info.minor} here" in only_error(output)
    assert "make PYTHON=" in only_error(output)
    assert sandbox.called_pip()
    assert (sandbox.venv / "bootstrap.json").read_text() == stamp, "what worked before was given up"

    pyproject.write_text(PYPROJECT)
    assert sandbox.bootstrap() == (0, "")

    pyproject.write_text(PYPROJECT.replace("dev =", "development ="))
    backend.write_text(backend.read_text().replace("nowhere>=2", "needed>=1"))
    code, output = sandbox.bootstrap()
    assert code == 0, output
    assert sandbox.called_pip()


@pytest.mark.slow
def test_no_index_can_be_reached(sandbox: Sandbox) -> None:
    # Port 1 of this machine: nobody listens there.
    dead = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_NO_INDEX": "0", "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}
    code, output = sandbox.bootstrap(**dead)
    assert code == 1
    assert "pip cannot reach a package index" in only_error(output)
    assert str(sandbox.venv / "pip.log") in only_error(output)
    assert "needed" in (sandbox.venv / "pip.log").read_text()
    assert json.loads((sandbox.venv / "bootstrap.json").read_text()) == {"unfinished": True}


@pytest.mark.slow
def test_an_interrupted_install_is_made_anew(sandbox: Sandbox) -> None:
    (sandbox.root / "block").touch()
    process = sandbox.start()
    sandbox.wait_until_installing()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (sandbox.root / "block").unlink()
    left = sandbox.venv / "left"
    left.touch()

    code, output = sandbox.bootstrap()
    assert code == 0, output
    assert "left unfinished" in output
    assert not left.exists()
    assert sandbox.has("needed")
    assert sandbox.bootstrap() == (0, "")


@pytest.mark.slow
def test_a_second_call_waits_for_the_first(sandbox: Sandbox) -> None:
    (sandbox.root / "block").touch()
    first = sandbox.start()
    sandbox.wait_until_installing()
    second = sandbox.start()
    assert second.stdout is not None
    assert "waiting" in second.stdout.readline()
    (sandbox.root / "block").unlink()
    first.communicate()
    rest, _ = second.communicate()
    assert (first.returncode, second.returncode, rest) == (0, 0, "")


@pytest.mark.slow
def test_an_environment_made_by_others_is_completed(sandbox: Sandbox) -> None:
    sandbox.run(sys.executable, "-m", "venv", "--without-pip", ".venv")  # as uv makes them
    (sandbox.venv / "theirs").touch()
    code, output = sandbox.bootstrap()
    assert code == 0, output
    assert sandbox.has("needed")
    assert (sandbox.venv / "theirs").exists()


@pytest.mark.slow
def test_make_repro_runs_dvc_then_shows_scores(sandbox: Sandbox) -> None:
    def expected() -> list[str]:
        return [f"dvc repro with {sandbox.venv / 'bin' / 'drum-crnn'}", "drum-crnn scores"]

    command = ("make", "repro", f"PYTHON={sys.executable}")
    code, output = sandbox.run(*command)
    assert code == 0, output
    assert output.splitlines()[-2:] == expected()
    code, output = sandbox.run(*command)
    assert (code, output.splitlines()) == (0, expected())

    # The scripts of an environment name its place: moved, they would run the old one, or nothing.
    sandbox.root = sandbox.root.rename(sandbox.root.with_name("elsewhere"))
    code, output = sandbox.run(*command)
    assert code == 0, output
    assert ".venv was moved: making it anew" in output
    assert output.splitlines()[-2:] == expected()


# --- DVC and git ----------------------------------------------------------------------------------


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(folder.parent / "site"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An unpacked archive: a DVC project without git."""
    folder = tmp_path / "archive"
    (folder / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    stage = {"cmd": "mkdir -p models && echo 1 > models/crnn.safetensors", "outs": ["models/crnn.safetensors"]}
    (folder / "dvc.yaml").write_text(json.dumps({"stages": {"train": stage}}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("outer_git", [False, True], ids=["alone", "inside another repository"])
def test_dvc_works_without_git(archive: Path, bootstrap: ModuleType, outer_git: bool) -> None:
    if outer_git:
        subprocess.run(["git", "init", "--quiet", str(archive.parent)], check=True)
        (archive.parent / ".gitignore").write_text("/archive\n")
    else:
        assert "not a git repository" in dvc(archive, "repro").stderr
    bootstrap.tell_dvc_about_git(archive)
    assert dvc(archive, "config", "core.no_scm").stdout.strip() == "true"
    first = dvc(archive, "repro")
    assert first.returncode == 0, first.stderr
    assert "Data and pipelines are up to date" in dvc(archive, "repro").stdout


@pytest.mark.slow
def test_a_run_leaves_git_clean(archive: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments]
        return subprocess.run(command, cwd=archive, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    works = (archive / "dvc.yaml").read_text()
    (archive / "dvc.yaml").write_text(works.replace("echo 1", "false"))
    assert dvc(archive, "repro").returncode != 0
    assert git("status", "--porcelain") == " M dvc.yaml\n"
    (archive / "dvc.yaml").write_text(works)
    assert dvc(archive, "repro").returncode == 0
    assert git("status", "--porcelain") == "?? dvc.lock\n"


@pytest.mark.parametrize("make_git", [Path.mkdir, Path.touch], ids=["clone", "worktree"])
def test_git_that_comes_later_is_noticed(archive: Path, bootstrap: ModuleType, make_git: object) -> None:
    assert callable(make_git)
    config = archive / ".dvc" / "config.local"
    bootstrap.tell_dvc_about_git(archive)
    assert "no_scm = true" in config.read_text()
    before = config.read_text()
    bootstrap.tell_dvc_about_git(archive)
    assert config.read_text() == before
    make_git(archive / ".git")
    bootstrap.tell_dvc_about_git(archive)
    assert not config.exists()


def test_other_settings_stay(archive: Path, bootstrap: ModuleType) -> None:
    config = archive / ".dvc" / "config.local"
    others = "[core]\n    remote = mine\n['remote \"mine\"']\n    url = ../store\n"
    config.write_text(others)
    bootstrap.tell_dvc_about_git(archive)
    settings = dvc(archive, "config", "--list", "--local").stdout.splitlines()
    # DVC shows a relative address as what it stands for.
    store = archive / "store"
    assert sorted(settings) == ["core.no_scm=true", "core.remote=mine", f"remote.mine.url={store}"]
    (archive / ".git").touch()
    bootstrap.tell_dvc_about_git(archive)
    assert config.read_text() == others


def test_a_project_without_dvc_is_left_alone(tmp_path: Path, bootstrap: ModuleType) -> None:
    bootstrap.tell_dvc_about_git(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_plots_are_let_open_offline_and_their_failure_stops_nothing(sandbox: Sandbox) -> None:
    script = sandbox.root / "scripts" / "offline_plots.py"
    script.write_text("import sys; print('made by', sys.executable)")
    assert str(sandbox.venv / "bin" / "python") in sandbox.run("make", "venv", f"PYTHON={sys.executable}")[1]
    script.write_text("raise SystemExit('error: no room')")
    code, output = sandbox.bootstrap("--extra", "plots")
    assert code == 0
    assert "error: no room" in output
    assert "will load their scripts from the network" in output
    assert "no room" not in sandbox.bootstrap()[1]  # not asked for


# --- make -----------------------------------------------------------------------------------------


def test_make_alone_lists_the_targets(sandbox: Sandbox) -> None:
    code, output = sandbox.run("make")
    assert code == 0
    assert [line.split()[1] for line in output.splitlines()] == [
        "help",
        "repro",
        "experiments",
        "test",
        "lint",
        "format",
        "benchmarks",
        "bundle",
        "clean",
    ]


def test_make_clean_removes_caches_only(sandbox: Sandbox) -> None:
    kept = [sandbox.root / name for name in ("data/rendered/a.wav", "models/m", "metrics/m", ".venv/__pycache__/a.pyc")]
    gone = [sandbox.root / name for name in ("drum_crnn/studio/__pycache__/a.pyc", ".mypy_cache/a", "t.egg-info/a")]
    for path in kept + gone:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sandbox.run("make", "clean")[0] == 0
    assert all(path.exists() for path in kept)
    assert not any(path.parent.exists() for path in gone)
