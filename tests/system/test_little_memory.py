"""Stages with little memory: an implementation that keeps whole recordings, or all that it predicts, fails here."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from builders import exported, make_labels
from corpus_builder import build_egmd, catalog_entry, grid, write_table
from little_memory import only_linux, run_limited

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import SplitRow, Splits
from drum_crnn.music.onsets import Onsets

pytestmark = [pytest.mark.processes, only_linux]

DATA_STAGES = """
import sys
from pathlib import Path
from stages import catalog, extract, label, split

here = Path(sys.argv[1])
allow(150_000_000)
corpus, table = here / "corpus", here / "catalog.csv"
catalog.main(corpus, corpus, table, here / "problems.csv", workers=1, memory=here / "catalog.npz")
extract.main(corpus, table, here / "features", workers=1)
label.main(corpus, table, here / "labels.h5", here / "accounting.csv", workers=1, memory=here / "label.npz")
split.main(table, here / "splits.csv")
"""


def test_the_data_stages_keep_no_recording_whole(tmp_path: Path) -> None:
    """One lasts forty minutes, which are 212 MB of samples."""
    rate, seconds = 44_100, 2_400
    rows = build_egmd(tmp_path / "corpus", grid(n_performances=4, kits=["A", "B"]))
    with (tmp_path / "corpus" / rows[0]["audio_filename"]).open("wb") as file:
        n_bytes = 2 * rate * seconds
        head = struct.pack(
            "<4sI8sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", n_bytes
        )
        file.write(head)
        os.ftruncate(file.fileno(), len(head) + n_bytes)  # silence that takes no room
    write_table(tmp_path / "corpus" / "e-gmd-v1.0.0.csv", [{**rows[0], "duration": str(seconds)}, *rows[1:]])
    done = run_limited(DATA_STAGES, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(Splits.read(tmp_path / "splits.csv")) == len(rows)
    assert len(Labels.read(tmp_path / "labels.h5")) == len(rows)


SCORING_STAGE = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import PIL.Image, PIL.ImageFont
from drum_crnn.model.activations import Activations
from drum_crnn.model.model_file import ModelFile
from drum_crnn.scoring import evaluation, prediction
from stages import evaluate

here = Path(sys.argv[1])
params = ModelFile.load(here / "model.safetensors").features
store = SimpleNamespace(params=params, read=lambda recording: recording)
PIL.ImageFont.load_default(size=13)

def predict(model, recordings, *, floor_db):
    for recording in recordings:
        onset = np.random.default_rng(int(recording)).random((40_000, 8), np.float32)
        yield Activations(onset, np.full(onset.shape, 64, np.float32))

prediction.activations_of_all = predict
evaluation.FeatureStore = SimpleNamespace(open=lambda directory: store)
files = {
    "model": "model.safetensors",
    "features": "features",
    "labels": "labels.h5",
    "splits": "splits.csv",
    "catalog": "catalog.csv",
    "scores": "scores.json",
    "tables": "tables",
}
arguments = [f"--{name}={here / file}" for name, file in files.items()]
allow(int(sys.argv[2]))
evaluate.app(arguments)
"""


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A folder with the files of a hundred recordings, of which the model predicts six million peaks."""
    names = [f"{number:03d}" for number in range(100)]
    Catalog(tuple(catalog_entry(name, performance=name) for name in names)).write(tmp_path / "catalog.csv")
    Splits(tuple(SplitRow(name, name, "kit", "test") for name in names)).write(tmp_path / "splits.csv")
    played = Onsets(np.arange(1.0, 400.0), np.arange(399) % 8, np.full(399, 100))
    make_labels(dict.fromkeys(names, played)).write(tmp_path / "labels.h5")
    exported(tmp_path / "model.safetensors", threshold=0.999)
    return tmp_path


def test_evaluation_keeps_a_few_bytes_of_a_peak(scored: Path) -> None:
    """The curves of all lanes alone would take 150 MB."""
    done = run_limited(SCORING_STAGE, scored, 100_000_000)
    assert done.returncode == 0, done.stderr
    assert (scored / "tables" / "reliability.csv").is_file()


def test_an_evaluation_with_too_little_memory_says_so(scored: Path) -> None:
    """And writes nothing, nor calls anything damaged."""
    done = run_limited(SCORING_STAGE, scored, 8_000_000)
    assert done.returncode == 1
    assert "memory ran out; close other programs" in done.stderr
    assert "Traceback" not in done.stderr
    assert "damaged" not in done.stderr
    assert not (scored / "scores.json").exists()
