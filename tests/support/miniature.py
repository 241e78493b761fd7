"""A project in miniature: the whole DAG in seconds, on a corpus of a few short performances."""

import shutil
from pathlib import Path
from typing import Any

from first_party import ROOT
from yaml_files import read_yaml, write_yaml

from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.preparation.cataloguing import build_catalog
from drum_crnn.preparation.extraction import extract_corpus
from drum_crnn.preparation.labelling import LabelParams, make_labels
from drum_crnn.preparation.splitting import SplitParams, make_splits
from drum_crnn.studio.rendering import RenderParams, render_corpus

# What makes the default run long, cut down. Every other value is the project's own.
SMALL: dict[str, dict[str, Any]] = {
    "render": {
        "kits": ["pretty_midi:TimGM6mb#Standard", "pretty_midi:TimGM6mb#Power"],
        "unheard_kits": ["pretty_midi:TimGM6mb#TR 808"],
        "sessions": [
            {"name": "main", "splits": "all", "kits": "heard", "takes": 1, "segment_s": None, "variation": None},
            {
                "name": "unheard",
                "splits": ["test"],
                "kits": "unheard",
                "takes": 1,
                "segment_s": None,
                "variation": None,
            },
        ],
    },
    "features": {"n_shards": 3},
    "model": {"conv_channels": [4, 6, 8], "projection": 16, "gru_units": 12, "window_frames": 300, "margin_frames": 50},
    "train": {
        "loader_workers": 0,
        "excerpt_frames": 100,
        "batch_size": 4,
        "epochs": 2,
        "warmup_steps": 5,
        "checkpoint_every_steps": 3,
    },
    "thresholds": {"min_onsets": 5},
    "evaluate": {"n_resamples": 50},
}
SMALL_GROOVES = {"performances": 8, "seconds": [3.0, 5.0], "styles": ["rock", "funk", "exercise", "jazz"]}


def miniature_params(**changes: dict[str, Any]) -> dict[str, Any]:
    """The project's params, made small, with `changes` by section on top."""
    params: dict[str, Any] = read_yaml(ROOT / "params.yaml")
    for source in (SMALL, changes):
        for section, values in source.items():
            params[section].update(values)
    params["render"]["grooves"].update(SMALL_GROOVES)
    return params


def write_params(path: Path, **changes: dict[str, Any]) -> Path:
    """Write `miniature_params` to a file."""
    write_yaml(path, miniature_params(**changes))
    return path


def copy_project(target: Path, **changes: dict[str, Any]) -> Path:
    """A copy of the pipeline with miniature params and no results: what a fresh clone of such a project would be."""
    for name in ("drum_crnn", "stages"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "variations.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, target / name)
    shutil.copytree(ROOT / ".dvc" / "plots", target / ".dvc" / "plots", ignore=shutil.ignore_patterns("offline.html"))
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, target / ".dvc" / name)
    write_params(target / "params.yaml", **changes)
    return target


def prepare_data(folder: Path) -> Path:
    """Everything that training reads, in `folder / "data"`."""
    params, data = write_params(folder / "params.yaml"), folder / "data"
    rendered = data / "rendered"
    render_corpus(rendered, data / "kits.csv", RenderParams.load(params), {}, n_workers=1)
    catalog = build_catalog(Corpus.open(rendered), rendered, CorpusParams.load(params))
    catalog.write(data / "catalog.csv")
    extract_corpus(rendered, catalog, data / "features", FeatureParams.load(params), n_workers=1)
    labels = make_labels(rendered, catalog, LabelParams.load(params))
    labels.write(data / "labels.h5")
    labels.write_problems(data / "label_problems.csv")
    make_splits(catalog, SplitParams.load(params)).write(data / "splits.csv")
    return data
