"""`drum-crnn corpus check`, and the stages after it, in processes as people start them."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus_builder import Take, build_egmd, grid
from first_party import ROOT
from miniature import write_params
from rendered_corpus import copy_of, later, read, render, write

from drum_crnn.data.corpus import Corpus
from drum_crnn.data.labels import Labels
from drum_crnn.music.midi import Note

pytestmark = pytest.mark.processes


def run(*arguments: str | Path, module: str = "drum_crnn.cli") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return render(tmp_path_factory.mktemp("healthy") / "corpus", performances=5)


def test_a_healthy_corpus_ends_with_0(healthy: Corpus) -> None:
    done = run("corpus", "check", healthy.root)
    assert (done.returncode, done.stderr) == (0, "")
    n = len(healthy.recordings)
    assert f"{n} of {n} recordings checked, 0 with problems" in done.stdout
    for kit in {recording.kit for recording in healthy.recordings}:
        assert kit[:16] in done.stdout


def test_a_damaged_corpus_ends_with_1_and_a_table_says_what(healthy: Corpus, tmp_path: Path) -> None:
    corpus = copy_of(healthy, tmp_path / "corpus")
    late, silent, gone = corpus.recordings[:3]
    write(corpus, late, later(read(corpus, late), 0.2))
    write(corpus, silent, np.zeros_like(read(corpus, silent)))
    (corpus.root / gone.audio_path).unlink()
    done = run("corpus", "check", corpus.root, "--csv", tmp_path / "found.csv", "--workers", "2")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"{late.id} (line 2 of the table): the audio is 200 ms later than its notes" in done.stdout
    assert "3 with problems" in done.stdout
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["recording"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(corpus.recordings)
    assert {name for name, row in rows.items() if row["verdict"] == "wrong"} == {late.id, silent.id, gone.id}
    assert float(rows[late.id]["offset_ms"]) == pytest.approx(200, abs=5)
    few = run("corpus", "check", corpus.root, "--sample", "1")
    assert "4 of " in few.stdout


@pytest.mark.parametrize(
    "arguments", [["nowhere"], ["."], ["corpus", "--sample", "0"], ["corpus", "--csv", "no/a.csv"]]
)
def test_what_cannot_be_asked_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    build_egmd(tmp_path / "corpus", [Take()])
    done = run("corpus", "check", tmp_path / arguments[0], *arguments[1:])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_recording_that_is_left_out_is_unused(tmp_path: Path) -> None:
    """From the corpus to the splits: its own MIDI is 200 ms late, so it has no labels, and nothing asks for them."""
    takes = grid(n_performances=3, kits=["A", "B", "C"], splits=["train", "validation", "test"])
    notes = tuple(sorted(Note(0.02 + 0.017 * i * (1 + i % 3), (36, 42, 38)[i % 3], 90) for i in range(16)))
    late = tuple(Note(note.time_s + 0.2, note.note, note.velocity) for note in notes)
    takes = [
        replace(take, notes=notes, own_notes=late if (take.kit, take.split) == ("C", "test") else None)
        for take in takes
    ]
    build_egmd(tmp_path / "corpus", takes)
    params = write_params(
        tmp_path / "params.yaml",
        labels={"midi": "canonical"},
        corpus={"root": str(tmp_path / "corpus"), "watch": str(tmp_path / "corpus")},
    )
    folder = tmp_path / "corpus"
    catalog, labels, splits = (tmp_path / name for name in ("catalog.csv", "labels.h5", "splits.csv"))
    accounting, problems = tmp_path / "accounting.csv", tmp_path / "label_problems.csv"
    options = ("--params-file", params)
    for module, arguments in {
        "stages.catalog": (folder, folder, catalog, tmp_path / "catalog_problems.csv", *options),
        "stages.label": (folder, catalog, labels, accounting, "--problems", problems, *options),
        "stages.split": (catalog, splits, "--label-problems", problems, *options),
    }.items():
        done = run(*arguments, module=module)
        assert done.returncode == 0, done.stderr
        if module == "stages.label":
            assert "so these are left out: recordings of C (1, by +200.0 ms)" in done.stderr
    with splits.open(encoding="utf-8", newline="") as file:
        split_of = {row["recording"]: row["split"] for row in csv.DictReader(file)}
    unused = [recording for recording, split in split_of.items() if split == "unused"]
    assert len(unused) == 1
    known = Labels.read(labels)
    assert {recording for recording in split_of if recording in known} == split_of.keys() - set(unused)
    with problems.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["recording"], row["kit"], row["outcome"]) == (unused[0], "C", "left_out")
    assert float(row["offset_ms"]) == pytest.approx(200, abs=1)
