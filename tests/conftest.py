"""Settings of the whole test run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Time limits fail on a busy machine and find no bug.
settings.register_profile("drum_crnn", deadline=None)
settings.load_profile("drum_crnn")


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a miniature project, made as the stages before training make it; not to be written to."""
    from miniature import prepare_data

    return prepare_data(tmp_path_factory.mktemp("project"))


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
    from miniature import copy_project
    from pipeline import ALL_STAGES, run, stages_run

    project = copy_project(tmp_path_factory.mktemp("pipeline") / "project", train={"epochs": 1})
    run(project, "git", "init", "--quiet")
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "a project")
    assert set(stages_run(run(project, "dvc", "repro"))) == ALL_STAGES
    return project


@pytest.fixture(scope="module")
def project(first_repro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that project for the tests of one file, which change it one after the other."""
    return shutil.copytree(first_repro, tmp_path_factory.mktemp("copy") / "project", symlinks=True)
