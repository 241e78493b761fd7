"""The parts of a training: inputs, outputs, params, the state that changes, and the objects built from them."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import Splits
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stage import loaded_code
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.device import device_name
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.model_params import ModelParams
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.training.augment import Augmenter, AugmentParams
from drum_crnn.training.balance import BalanceParams, draw_weights
from drum_crnn.training.checkpoint import fingerprint_of
from drum_crnn.training.dataset import Batch, ExcerptDataset, ExcerptKey, ExcerptPlan, ShareSampler
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import Learner, accumulate_gradient
from drum_crnn.training.loading import make_loader
from drum_crnn.training.log import EpochRecord
from drum_crnn.training.shares import Shares, measure_shares
from drum_crnn.training.train_params import TrainParams, learning_rate_at

__all__ = [
    "Run",
    "TrainingData",
    "TrainingInputs",
    "TrainingOutputs",
    "TrainingParams",
    "TrainingState",
    "choose_shares",
    "interrupted_error",
    "load_initial_weights",
    "open_data",
    "prepare",
    "trial_batch",
]

T = TypeVar("T")

_TRIAL_EXCERPTS = 16  # number of distinct excerpts in a trial of a rank's speed


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What a training reads."""

    features: Path
    labels: Path
    splits: Path
    catalog: Path


@dataclass(frozen=True, slots=True)
class TrainingOutputs:
    """What a training writes: the model, dvclive's folder, figures that differ between equal runs, and checkpoints."""

    model: Path
    metrics: Path
    logs: Path
    resume: Path


@dataclass(frozen=True, slots=True)
class TrainingParams:
    """The sections of `params.yaml` that a training reads."""

    model: ModelParams
    train: TrainParams
    augment: AugmentParams
    peak_picking: PeakPickingParams

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read all four sections of a params file."""
        return cls(
            ModelParams.load(path), TrainParams.load(path), AugmentParams.load(path), PeakPickingParams.load(path)
        )


@dataclass
class TrainingState:
    """Everything that changes during training, except weights and optimizer.

    Attributes
    ----------
    shares : Shares
        How the ranks divide a batch: measured once, then kept.
    epoch, step : int
        Epochs finished, and steps done within the current one.
    sums : list of float
        `StepResult.sums` of this rank over the current epoch.
    history : list of dict
        Metrics of each finished epoch.
    speeds : list of dict
        Figures of each finished epoch that differ between equal runs.
    pictures : dict of int to Tensor
        By epoch, counted from 0: uint8, shape (height, width, 3).
    best_score, best_epoch : float, int
        Validation score and epoch of the best weights so far.
    """

    shares: Shares
    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    history: list[dict[str, float]] = field(default_factory=list)
    speeds: list[dict[str, float]] = field(default_factory=list)
    pictures: dict[int, Tensor] = field(default_factory=dict)
    best_score: float = -1.0
    best_epoch: int = -1

    def is_over(self, params: TrainParams) -> bool:
        """Whether all epochs are done, or the last `patience` epochs brought no better score."""
        return self.epoch >= params.epochs or (
            self.best_epoch >= 0 and self.epoch - 1 - self.best_epoch >= params.patience
        )

    def record(self, epoch: int) -> EpochRecord:
        """The values of a finished epoch for the log."""
        picture = self.pictures.get(epoch)
        return EpochRecord(self.history[epoch], self.speeds[epoch], None if picture is None else picture.numpy())

    @property
    def place(self) -> str:
        """The position of the training, for messages."""
        return f"epoch {self.epoch + 1}, after its step {self.step}"


@dataclass(frozen=True)
class TrainingData:
    """What a rank reads: `loader` loads what `sampler` chooses of `dataset`; `validation` names recordings."""

    store: FeatureStore
    labels: Labels
    validation: Sequence[str]
    sampler: ShareSampler
    dataset: ExcerptDataset
    loader: "DataLoader[Any]"


@dataclass(frozen=True)
class Run:
    """Everything that stays the same during training, and the learner. `devices` names the device of each rank."""

    world: World
    devices: tuple[str, ...]
    stop: StopRequest
    params: TrainingParams
    outputs: TrainingOutputs
    checkpoint: Path
    data: TrainingData
    learner: Learner
    best_weights: dict[str, Tensor]

    def describe_devices(self) -> str:
        """Say in one line what each rank computes on, and how."""
        precision = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.learner.autocast]
        return "; ".join(f"rank {rank}: {name}, {precision}" for rank, name in enumerate(self.devices))

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in an epoch."""
        return self.data.sampler.plan.n_steps(self.data.sampler.batch_size)

    @property
    def n_steps(self) -> int:
        """Number of steps in the whole training, unless it stops early."""
        return self.params.train.epochs * self.steps_per_epoch

    def learning_rate(self, state: "TrainingState", step: int) -> float:
        """Learning rate of a global step of the current epoch."""
        scores = [metrics["validation/f1"] for metrics in state.history]
        return learning_rate_at(step, self.n_steps, self.params.train, scores)


def open_data(me: World, inputs: TrainingInputs, params: TrainingParams) -> TrainingData:
    """Open what a rank reads; the ranks need not have joined. The loader begins with equal shares.

    Raises
    ------
    DrumCrnnError
        If a split is empty, a recording has no features, or a file is damaged.
    """
    train_params = params.train
    store = FeatureStore.open(inputs.features)
    labels = Labels.read(inputs.labels)
    splits = Splits.read(inputs.splits)
    recordings_of = {split: splits.recordings(split) for split in ("train", "validation")}
    for split, recordings in recordings_of.items():
        if not recordings:
            raise DrumCrnnError(
                f"{inputs.splits}: no recording is in the {split} split; see section 'split' of params.yaml"
            )
        if missing := [recording for recording in recordings if recording not in store]:
            raise DrumCrnnError(f"{inputs.features}: has no features of '{missing[0]}'; run `dvc repro extract`")
    n_frames = np.array([store.n_frames(recording) for recording in recordings_of["train"]])
    plan = ExcerptPlan(
        recordings=tuple(recordings_of["train"]),
        n_frames=n_frames,
        excerpt_frames=train_params.excerpt_frames,
        seed=train_params.seed,
        per_epoch=train_params.excerpts_per_epoch,
        weights=weights_of(
            recordings_of["train"], n_frames / store.params.frame_rate, inputs.catalog, train_params.balance
        ),
    )
    augmenter = Augmenter(params.augment, store.params, n_frames=train_params.excerpt_frames)
    dataset = ExcerptDataset(
        store,
        labels,
        plan,
        augmenter,
        widening=train_params.target_widening,
        between_frames=train_params.target_between_frames,
    )
    sampler = ShareSampler(plan, batch_size=train_params.batch_size, rank=me.rank, shares=[1] * me.size)
    return TrainingData(
        store=store,
        labels=labels,
        validation=evenly_spaced(recordings_of["validation"], train_params.validation_recordings),
        sampler=sampler,
        dataset=dataset,
        loader=make_loader(
            dataset,
            sampler,
            n_workers=train_params.loader_workers,
            pin_memory=train_params.pin_memory and me.device.type == "cuda",
        ),
    )


def weights_of(
    recordings: Sequence[str], lengths_s: NDArray[np.float64], catalog: Path, params: BalanceParams
) -> NDArray[np.float64] | None:
    """How often each recording is drawn, by what the catalog says of it; None: by length.

    Raises
    ------
    DrumCrnnError
        If the catalog is missing, damaged, or lacks a recording.
    """
    if params.is_neutral:
        return None
    entries = {entry.recording: entry for entry in Catalog.read(catalog)}
    if missing := [recording for recording in recordings if recording not in entries]:
        raise DrumCrnnError(f"{catalog}: lacks the recording '{missing[0]}'; run `dvc repro catalog split`")
    chosen = [entries[recording] for recording in recordings]
    return draw_weights(
        lengths_s,
        [entry.performance for entry in chosen],
        [entry.kit for entry in chosen],
        [entry.style for entry in chosen],
        params,
    )


def prepare(
    world: World,
    stop: StopRequest,
    data: TrainingData,
    inputs: TrainingInputs,
    outputs: TrainingOutputs,
    params: TrainingParams,
) -> Run:
    """Build the model and everything around it. All ranks call this together.

    Raises
    ------
    DrumCrnnError
        If the ranks would not train the same model, or `train.init_from` does not fit.
    """
    train_params, store = params.train, data.store
    torch.manual_seed(train_params.seed)
    model = DrumCrnn(params.model, n_mels=store.params.n_mels)
    init_from = [] if train_params.init_from is None else [Path(train_params.init_from)]
    for file in init_from:
        load_initial_weights(model, file, store.params)
    learner = Learner.build(world, train_params, data.dataset.augmenter, model)
    fingerprint = fingerprint_of(
        *(section.model_dump_json() for section in (params.model, params.train, params.augment, params.peak_picking)),
        f"{world.size} ranks, {world.device.type}, {learner.autocast}",
        store.fingerprint(),
        inputs.labels,
        inputs.splits,
        "" if data.dataset.plan.weights is None else data.dataset.plan.weights.tobytes().hex(),
        *init_from,
        *loaded_code(),
    )
    if len(set(world.gather(fingerprint))) > 1:
        raise DrumCrnnError(
            "the ranks would not train the same model: their params, features, labels, splits or code differ; "
            "copy these from one machine to the others"
        )
    return Run(
        world=world,
        devices=tuple(world.gather(device_name(world.device))),
        stop=stop,
        params=params,
        outputs=outputs,
        checkpoint=outputs.resume / fingerprint / "checkpoint.pt",
        data=data,
        learner=learner,
        best_weights={},
    )


def load_initial_weights(model: DrumCrnn, file: Path, features: FeatureParams) -> None:
    """Load the weights of a model file, whose architecture and features must be the same as here."""
    if not file.is_file():
        raise DrumCrnnError(f"train.init_from: there is no file {file}; name a model file, or set the key to null")
    known = ModelFile.load(file)
    free = {"dropout", "window_frames", "margin_frames", "n_shards"}  # these change no weight
    for name, theirs, ours in (
        ("model", known.model.params.model_dump(exclude=free), model.params.model_dump(exclude=free)),
        ("features", known.features.model_dump(exclude=free), features.model_dump(exclude=free)),
    ):
        if differing := [f"{name}.{key} {theirs[key]}" for key in ours if theirs[key] != ours[key]]:
            raise DrumCrnnError(f"train.init_from: {file} was trained with {', '.join(differing)}; set the same here")
    model.load_state_dict(known.model.state_dict())


def trial_batch(run: Run, n: int) -> Batch:
    """Read the first `n` excerpts of the first epoch in this process."""
    return run.data.dataset.batch([ExcerptKey(0, place) for place in range(n)])


def trial(run: Run) -> Callable[[int], None]:
    """Make a function that computes the gradient of `n_excerpts` excerpts on this rank alone, and discards it."""
    sample = trial_batch(run, min(_TRIAL_EXCERPTS, run.data.sampler.n_excerpts_of(0)))
    device = run.world.device

    @functools.cache  # a real step finds its batch ready, so this must not be timed
    def batch_of(n_excerpts: int) -> Batch:
        batch = sample.select([index % len(sample) for index in range(n_excerpts)])
        return batch.pin_memory() if run.data.loader.pin_memory else batch

    def compute(n_excerpts: int) -> None:
        batch = batch_of(n_excerpts)
        try:
            accumulate_gradient(
                run.learner, batch, batch.targets.counts().tolist(), micro_batch=n_excerpts, exchange=False
            )
        finally:
            run.learner.optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return compute


def choose_shares(run: Run) -> Shares:
    """Choose how the ranks divide a batch."""
    params, world = run.params.train, run.world
    if params.rank_shares == "auto":
        return measure_shares(trial(run), world, batch_size=params.batch_size, micro_batch=params.micro_batch)
    weights = (1,) * world.size if params.rank_shares == "equal" else params.rank_shares
    if len(weights) != world.size:
        raise DrumCrnnError(
            f"train.rank_shares has {len(weights)} shares, but there are {world.size} ranks; "
            "give one share per rank, or set it to 'equal' or 'auto'"
        )
    return Shares(weights, (params.micro_batch or params.batch_size,) * world.size)


def evenly_spaced(items: Sequence[T], n: int | None) -> Sequence[T]:
    """Choose `n` evenly spaced items; all of them if `n` is None or there are fewer."""
    if n is None or n >= len(items):
        return items
    return [items[index * len(items) // n] for index in range(n)]


def interrupted_error(run: Run, state: TrainingState) -> Interrupted:
    """The error of a training that was asked to stop and has saved everything."""
    because = f" {run.stop.cause}" if run.stop.cause else ""
    return Interrupted(f"stopped{because} at {state.place}, and saved; run the same command again to resume")
