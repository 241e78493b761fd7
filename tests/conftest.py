"""Settings of the whole test run."""

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
