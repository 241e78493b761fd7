"""Settings of the whole test run."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

# Before torch is imported, and for every process that a test starts: all compute on the CPU, on whatever machine.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Whoever starts the tests may be a stage of DVC, a rank or a hook of git, and has a git configuration of their own.
_STRANGERS = ("DVC_EXP_", "DVC_NO_ANALYTICS", "DVC_STAGE", "GIT_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE")
for name in [name for name in os.environ if name.startswith(_STRANGERS)]:
    del os.environ[name]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
# The repository may belong to another user, as in a container.
os.environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}

# Under nohup, and in the background of a shell, Ctrl-C is ignored, also in every process that a test starts and stops.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Otherwise each of the many processes would compile all of the project's modules, and pytest all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Time limits fail on a busy machine and find no bug.
settings.register_profile("drum_crnn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("drum_crnn")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Where a test draws without a seed, it gets the same numbers alone and after others."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the workers of a run share: the first one that needs it makes it, and the others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = tmp_path_factory.mktemp(name)
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a miniature project, made as the stages before training make it; not to be written to."""

    def make(folder: Path) -> None:
        from miniature import prepare_data

        prepare_data(folder)

    return made_once(tmp_path_factory, "project", make) / "data"


@pytest.fixture
def as_in_training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, as a rank has; and afterwards no trace of the settings that a training makes for its process."""
    import torch

    import drum_crnn.training.loop

    monkeypatch.setattr(drum_crnn.training.loop, "keep_freed_memory", lambda: None)  # it could not be taken back
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def first_repro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature project in a git repository, after its first `dvc repro`; not to be written to."""

    def make(folder: Path) -> None:
        from miniature import copy_project
        from pipeline import ALL_STAGES, run, stages_run

        project = copy_project(folder / "project", train={"epochs": 1})
        run(project, "git", "init", "--quiet")
        run(project, "git", "add", "--all")
        run(project, "git", "commit", "--quiet", "--message", "a project")
        assert set(stages_run(run(project, "dvc", "repro"))) == ALL_STAGES

    return made_once(tmp_path_factory, "pipeline", make) / "project"


@pytest.fixture(scope="module")
def project(first_repro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that project for the tests of one file, which change it one after the other."""
    return shutil.copytree(first_repro, tmp_path_factory.mktemp("copy") / "project", symlinks=True)
