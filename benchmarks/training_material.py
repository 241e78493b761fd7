"""Shared parts of the training benchmarks: data, runs outside of a stage, and a clock for their steps."""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.material import render_material
from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.foundation.params import PARAMS_FILE
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.preparation.cataloguing import build_catalog
from drum_crnn.preparation.extraction import extract_corpus
from drum_crnn.preparation.labelling import LabelParams, make_labels
from drum_crnn.preparation.splitting import SplitParams, make_splits
from drum_crnn.training.distributed import World
from drum_crnn.training.log import TrainingLog
from drum_crnn.training.loop import train_epoch
from drum_crnn.training.run import (
    Run,
    TrainingData,
    TrainingInputs,
    TrainingOutputs,
    TrainingParams,
    TrainingState,
    open_data,
    prepare,
)

__all__ = [
    "Clock",
    "between",
    "inputs_in",
    "prepare_run",
    "resident",
    "step_times",
    "training_inputs",
    "training_params",
]

_SILENT_STEPS = 4  # at the beginning of an epoch: not counted, since the loader has prepared some batches in advance


def inputs_in(folder: Path) -> TrainingInputs:
    """The files of `training_inputs` in a folder."""
    names = ("features", "labels.h5", "splits.csv", "catalog.csv")
    return TrainingInputs(*(folder / name for name in names))


def training_inputs(folder: Path, *, n_performances: int = 150) -> TrainingInputs:
    """A corpus with all files that training reads; 150 performances last about fifty minutes."""
    root = folder / "corpus"
    render_material(root, n_performances=n_performances, seconds=(14.0, 26.0))
    catalog = build_catalog(Corpus.open(root), root, CorpusParams.load())
    inputs = inputs_in(folder)
    catalog.write(inputs.catalog)
    extract_corpus(root, catalog, inputs.features, FeatureParams.load(), n_workers=1)
    make_labels(root, catalog, LabelParams.load()).write(inputs.labels)
    make_splits(catalog, SplitParams.load()).write(inputs.splits)
    return inputs


def training_params(*, n_steps: int, **changes: Any) -> TrainingParams:
    """The project's own params, with epochs of `n_steps` whole steps, and `changes` in section `train`."""
    params = TrainingParams.load(PARAMS_FILE)
    batch_size = changes.get("batch_size", params.train.batch_size)
    changes = {"excerpts_per_epoch": n_steps * batch_size, "warmup_steps": 0} | changes
    return dataclasses.replace(params, train=params.train.model_copy(update=changes))


def prepare_run(
    world: World, inputs: TrainingInputs, params: TrainingParams, folder: Path, data: TrainingData | None = None
) -> Run:
    """A run whose outputs go into `folder`. Without `data`, it opens them itself."""
    outputs = TrainingOutputs(folder / "model", folder / "metrics", folder / "logs", folder / f"resume-{world.rank}")
    return prepare(world, StopRequest(), data or open_data(world, inputs, params), inputs, outputs, params)


class Clock(TrainingLog):
    """Replaces the log, and notes when each step ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def step_done(self, *, loss: float | None = None) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


def step_times(run: Run, state: TrainingState) -> list[float]:
    """Seconds of each step of an epoch, without the first ones, and without the last, which saves a checkpoint."""
    clock = Clock()
    train_epoch(run, dataclasses.replace(state), clock)
    return between(clock.ended)


def between(ended: Sequence[float]) -> list[float]:
    """Seconds of each step, from the times at which they ended, without the steps that do not count."""
    return [after - before for before, after in itertools.pairwise(ended)][_SILENT_STEPS:-1]


class _InMemory(list[Any]):
    """Batches in place of a loader without processes."""

    num_workers = 0


def resident(run: Run) -> Run:
    """The same run, with all batches in memory."""
    run.data.sampler.epoch, run.data.sampler.first_step = 0, 0
    in_memory: Any = _InMemory(run.data.loader)
    return dataclasses.replace(run, data=dataclasses.replace(run.data, loader=in_memory))
