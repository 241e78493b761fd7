"""The training loop: hand-written, mixed precision, DistributedDataParallel, resumable.

Read `train_rank` first. The gradient of a step is that of the global batch, whatever the shares of the ranks: each rank
divides the *sum* of its losses by the *global* count of points and multiplies by the number of ranks, because
DistributedDataParallel averages. Everything random follows from the seed and the step, so a checkpoint needs no state
of random generators.
"""

import itertools
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from drum_crnn.augment import Augmenter, AugmentParams
from drum_crnn.checkpoint import fingerprint_of, load_checkpoint, save_checkpoint
from drum_crnn.console import warn
from drum_crnn.dataset import Batch, ExcerptDataset, ExcerptPlan, ShareSampler, draw_targets
from drum_crnn.distributed import World, join_world, launch, sum_over_ranks
from drum_crnn.errors import DrumCrnnError
from drum_crnn.feature_store import FeatureStore
from drum_crnn.inference import Activations, activations_of
from drum_crnn.labels import Labels
from drum_crnn.lanes import LANES
from drum_crnn.loss import loss_sums
from drum_crnn.metrics import TOLERANCE_S
from drum_crnn.model import DrumCrnn, ModelParams
from drum_crnn.model_file import ModelFile
from drum_crnn.params import ParamsSection
from drum_crnn.peak_picking import PeakPickingParams
from drum_crnn.splits import Splits
from drum_crnn.thresholds import LanePeaks, best_counts, peaks_of_lanes, pooled_best_f, sweep_lane
from drum_crnn.training_log import TrainingLog

__all__ = ["TrainParams", "TrainingInputs", "TrainingOutputs", "TrainingParams", "learning_rate_at", "train"]

T = TypeVar("T")

_MIN_ACTIVATION = 0.02  # peaks below are not looked at in validation: no threshold that low is ever best


class TrainParams(ParamsSection):
    """Section `train`: how the model is fitted."""

    section: ClassVar[str] = "train"

    seed: int = Field(ge=0)
    processes: int | Literal["auto"]
    rank_shares: Literal["equal"] | tuple[int, ...]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    threads: int = Field(gt=0)
    loader_workers: int = Field(ge=0)
    excerpt_frames: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    excerpts_per_epoch: int | None = Field(gt=0)
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    final_learning_rate: float = Field(ge=0)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    velocity_weight: float = Field(ge=0)
    target_widening: tuple[float, ...]
    validation_recordings: int | None = Field(gt=0)
    checkpoint_every_steps: int = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.processes, int) and self.processes < 1:
            raise ValueError("processes must be 'auto' or at least 1")
        if isinstance(self.rank_shares, tuple) and (min(self.rank_shares, default=0) < 1):
            raise ValueError("rank_shares must be 'equal' or one positive number a rank, such as [1, 2]")
        if not self.target_widening or self.target_widening[0] != 1.0 or min(self.target_widening) < 0:
            raise ValueError("target_widening must begin with 1.0, the target at the onset's own frame")
        return self


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What a training reads."""

    features: Path
    labels: Path
    splits: Path


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
    """All that changes while training, besides weights and optimizer.

    Attributes
    ----------
    epoch, step : int
        Epochs finished, and steps done within the current one.
    sums : list of float
        Of the current epoch: onset loss and its count, velocity loss and its count.
    history : list of dict
        Metrics of the epochs that are finished.
    best_score, best_epoch : float, int
        Of the weights that will be the model.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -1.0
    best_epoch: int = -1

    def is_over(self, params: TrainParams) -> bool:
        """Whether all epochs are done, or the last `patience` of them brought no better score."""
        return self.epoch >= params.epochs or (
            self.best_epoch >= 0 and self.epoch - 1 - self.best_epoch >= params.patience
        )


@dataclass(frozen=True)
class Run:
    """What stays the same while training."""

    world: World
    params: TrainingParams
    outputs: TrainingOutputs
    checkpoint: Path
    store: FeatureStore
    labels: Labels
    validation: Sequence[str]
    augmenter: Augmenter
    sampler: ShareSampler
    loader: "DataLoader[Any]"
    model: DrumCrnn
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    autocast: torch.dtype | None
    best_weights: dict[str, Tensor]


def train(inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> None:
    """Train a model on the train side, choose its best weights on the validation side, and write them.

    Killed and started again with the same inputs, it goes on from its last checkpoint.

    Raises
    ------
    DrumCrnnError
        If a side is empty, a file is damaged, or the loss is no longer finite.
    """
    launch(train_rank, inputs, outputs, params, processes=params.train.processes)


def train_rank(inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> None:
    """What each rank does; see `train`."""
    # Before any other thread starts, since threads inherit the setting. Denormal numbers are many times slower.
    torch.set_flush_denormal(True)
    torch.set_num_threads(params.train.threads)
    with join_world() as world:
        run = prepare(world, inputs, outputs, params)
        state = restore(run)
        n_steps = params.train.epochs * run.sampler.plan.n_steps(params.train.batch_size)
        done = state.epoch * n_steps // params.train.epochs + state.step
        with TrainingLog(outputs.metrics, n_steps=n_steps, n_done=done, is_main=world.is_main) as log:
            log.replay(state.history)
            while not state.is_over(params.train):
                train_epoch(run, state, log)
                metrics = validate(run)
                finish_epoch(run, state, metrics)
                log.epoch_done(state.history[-1])
                save(run, state)
            log.write_speed(outputs.logs / "training.json", excerpt_s=excerpt_s(run), n_ranks=world.size)
        if world.is_main:
            run.model.load_state_dict(run.best_weights)
            ModelFile(run.model, run.store.params).save(outputs.model)
            shutil.rmtree(run.checkpoint.parent, ignore_errors=True)


def prepare(world: World, inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> Run:
    """Open the data, build the model, and everything around it."""
    train_params = params.train
    store = FeatureStore.open(inputs.features)
    labels = Labels.read(inputs.labels)
    splits = Splits.read(inputs.splits)
    sides = {side: splits.side(side) for side in ("train", "validation")}
    for side, recordings in sides.items():
        if not recordings:
            raise DrumCrnnError(
                f"{inputs.splits}: no recording is on the {side} side; see section 'split' of params.yaml"
            )
        if missing := [recording for recording in recordings if recording not in store]:
            raise DrumCrnnError(f"{inputs.features}: lacks '{missing[0]}'; run `dvc repro extract`")
    plan = ExcerptPlan(
        recordings=tuple(sides["train"]),
        n_frames=np.array([store.n_frames(recording) for recording in sides["train"]]),
        excerpt_frames=train_params.excerpt_frames,
        seed=train_params.seed,
        per_epoch=train_params.excerpts_per_epoch,
    )
    augmenter = Augmenter(params.augment, store.params, n_frames=train_params.excerpt_frames)
    dataset = ExcerptDataset(store, labels, plan, augmenter, widening=train_params.target_widening)
    sampler = ShareSampler(
        plan, batch_size=train_params.batch_size, rank=world.rank, shares=shares_of(world, train_params)
    )
    torch.manual_seed(train_params.seed)
    model = DrumCrnn(params.model, n_mels=store.params.n_mels).to(world.device)
    device_ids = [world.local_rank] if world.device.type == "cuda" else None
    precision = choose_precision(train_params.precision, world.device)
    fingerprint = fingerprint_of(
        *(section.model_dump_json() for section in (params.model, params.train, params.augment, params.peak_picking)),
        str(world.size),
        store.fingerprint(),
        inputs.labels,
        inputs.splits,
        *sorted(Path(str(module.__file__)) for name, module in sys.modules.items() if name.startswith("drum_crnn.")),
    )
    return Run(
        world=world,
        params=params,
        outputs=outputs,
        checkpoint=outputs.resume / fingerprint / "checkpoint.pt",
        store=store,
        labels=labels,
        validation=evenly_spaced(sides["validation"], train_params.validation_recordings),
        augmenter=augmenter,
        sampler=sampler,
        loader=DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=ExcerptDataset.collate,
            num_workers=train_params.loader_workers,
            pin_memory=world.device.type == "cuda",
        ),
        model=model,
        parallel=DistributedDataParallel(model, device_ids=device_ids),
        optimizer=torch.optim.AdamW(
            model.parameters(), lr=train_params.learning_rate, weight_decay=train_params.weight_decay
        ),
        scaler=torch.amp.GradScaler(world.device.type, enabled=precision == torch.float16),
        autocast=precision,
        best_weights={},
    )


def shares_of(world: World, params: TrainParams) -> Sequence[int]:
    """The weight of each rank's share of a batch."""
    if params.rank_shares == "equal":
        return [1] * world.size
    if len(params.rank_shares) != world.size:
        raise DrumCrnnError(
            f"train.rank_shares has {len(params.rank_shares)} shares, but there are {world.size} ranks; "
            "give one a rank, or 'equal'"
        )
    return params.rank_shares


def choose_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype of autocast, or None for none. `auto` is none on a CPU, and bf16 on a GPU that has it, else fp16."""
    if precision == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def excerpt_s(run: Run) -> float:
    """Length of an excerpt in seconds."""
    return run.params.train.excerpt_frames / run.store.params.frame_rate


def evenly_spaced(items: Sequence[T], n: int | None) -> Sequence[T]:
    """`n` of the items, evenly spaced over all; all of them if `n` is None or they are fewer."""
    if n is None or n >= len(items):
        return items
    return [items[index * len(items) // n] for index in range(n)]


def learning_rate_at(step: int, n_steps: int, params: TrainParams) -> float:
    """Learning rate of a global step: linear warm-up, then half a cosine down to `final_learning_rate`.

    References
    ----------
    Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    progress = (step - params.warmup_steps) / max(1, n_steps - params.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return params.final_learning_rate + (params.learning_rate - params.final_learning_rate) * cosine


def train_epoch(run: Run, state: TrainingState, log: TrainingLog) -> None:
    """Do the steps of the current epoch that are not done yet."""
    steps_per_epoch = run.sampler.plan.n_steps(run.sampler.batch_size)
    run.sampler.epoch, run.sampler.first_step = state.epoch, state.step
    run.parallel.train()
    sums = torch.zeros(4, dtype=torch.float64, device=run.world.device)
    for batch in run.loader:
        global_step = state.epoch * steps_per_epoch + state.step
        sums += train_step(run, batch, global_step, run.params.train.epochs * steps_per_epoch)
        state.step += 1
        is_due = state.step % run.params.train.checkpoint_every_steps == 0
        if is_due or state.step == steps_per_epoch:
            state.sums = [a + b for a, b in zip(state.sums, sum_over_ranks(sums, run.world).tolist(), strict=True)]
            sums.zero_()
            check_finite(state, batch)
        if is_due and state.step < steps_per_epoch:
            save(run, state)
        log.step_done(n_excerpts=run.sampler.n_excerpts_of(state.step - 1))


def train_step(run: Run, batch: Batch, step: int, n_steps: int) -> Tensor:
    """One step of the optimizer; returns this rank's loss sums and counts: float64, shape (4,), on the device."""
    params = run.params.train
    # Dropout of a step follows from the seed, the step and the rank.
    torch.manual_seed(int(np.random.SeedSequence([params.seed, step, run.world.rank]).generate_state(1)[0]))
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate_at(step, n_steps, params)
    batch = batch.to(run.world.device)
    counts = batch.targets.counts()
    global_counts = sum_over_ranks(counts, run.world).clamp_min(1.0)
    with torch.no_grad():
        frames = run.augmenter.apply(batch.frames, batch.draws)
    with torch.autocast(run.world.device.type, dtype=run.autocast, enabled=run.autocast is not None):
        onset_logits, velocity_logits = run.parallel(frames)
    onset_sum, velocity_sum = loss_sums(onset_logits, velocity_logits, batch.targets)
    loss = share_of_loss(onset_sum, velocity_sum, global_counts, n_ranks=run.world.size, params=params)
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    nn.utils.clip_grad_norm_(run.model.parameters(), params.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return torch.stack([onset_sum.detach().double(), counts[0], velocity_sum.detach().double(), counts[1]])


def share_of_loss(
    onset_sum: Tensor, velocity_sum: Tensor, global_counts: Tensor, *, n_ranks: int, params: TrainParams
) -> Tensor:
    """What a rank differentiates, so that the mean over ranks is the gradient of the loss of the global batch."""
    return n_ranks * (onset_sum / global_counts[0] + params.velocity_weight * velocity_sum / global_counts[1])


def check_finite(state: TrainingState, batch: Batch) -> None:
    """Stop before a broken state is saved."""
    if not all(map(math.isfinite, state.sums)):
        raise DrumCrnnError(
            f"the training loss is not finite any more at epoch {state.epoch + 1}, step {state.step} "
            f"(last batch: {', '.join(sorted(set(batch.recordings))[:4])}); "
            "lower train.learning_rate, or use precision fp32"
        )


def validate(run: Run) -> dict[str, float]:
    """Metrics of the validation side: loss, and onset F summed and per lane, each lane at its own best threshold.

    Each rank hears every `size`-th recording; what is compared is put together on all of them.
    """
    heard: list[list[LanePeaks]] = []
    sums = torch.zeros(2, dtype=torch.float64)
    frame_rate = run.store.params.frame_rate
    for recording in run.validation[run.world.rank :: run.world.size]:
        frames = run.store.read(recording)
        activations = activations_of(run.model, frames, floor_db=run.store.params.floor_db)
        onsets, ignored = run.labels.onsets(recording), run.labels.ignored(recording)
        heard.append(
            peaks_of_lanes(
                activations.onset,
                onsets,
                ignored,
                frame_rate=frame_rate,
                min_activation=_MIN_ACTIVATION,
                params=run.params.peak_picking,
            )
        )
        sums += torch.from_numpy(_validation_loss(run, recording, activations))
    sums = sum_over_ranks(sums, run.world)
    gathered: list[list[list[LanePeaks]]] = [[] for _ in range(run.world.size)]
    dist.all_gather_object(gathered, heard)
    recordings = list(itertools.chain.from_iterable(gathered))
    curves = [sweep_lane([peaks[lane] for peaks in recordings], tolerance_s=TOLERANCE_S) for lane in range(len(LANES))]
    counts = best_counts(curves)
    metrics = {"loss": float(sums[0] / sums[1]), "f1": pooled_best_f(curves)}
    for name, values in (("f1", counts.f()), ("precision", counts.precision()), ("recall", counts.recall())):
        metrics |= {f"{name}_{lane}": float(value) for lane, value in zip(LANES, values, strict=True)}
    return metrics


def _validation_loss(run: Run, recording: str, activations: Activations) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Sum and count of the masked cross-entropy of one recording."""
    targets = draw_targets(
        run.labels.onsets(recording),
        run.labels.ignored(recording),
        n_frames=len(activations.onset),
        frame_rate=run.store.params.frame_rate,
        widening=run.params.train.target_widening,
    )
    heard = np.clip(activations.onset.astype(np.float64), 1e-7, 1.0 - 1e-7)
    cross_entropy = -(targets.onset * np.log(heard) + (1.0 - targets.onset) * np.log1p(-heard))
    return np.array([(cross_entropy * targets.onset_mask).sum(), targets.onset_mask.sum(dtype=np.float64)])


def finish_epoch(run: Run, state: TrainingState, metrics: Mapping[str, float]) -> None:
    """Add an epoch to the history, and keep the weights if they are the best so far."""
    onset_sum, onset_count, velocity_sum, velocity_count = state.sums
    n_steps = run.sampler.plan.n_steps(run.sampler.batch_size)
    onset_loss, velocity_loss = onset_sum / max(1.0, onset_count), velocity_sum / max(1.0, velocity_count)
    state.history.append(
        {
            "train/loss": onset_loss + run.params.train.velocity_weight * velocity_loss,
            "train/onset_loss": onset_loss,
            "train/velocity_loss": velocity_loss,
            "train/learning_rate": learning_rate_at(
                (state.epoch + 1) * n_steps - 1, run.params.train.epochs * n_steps, run.params.train
            ),
            **{f"validation/{name}": value for name, value in metrics.items()},
        }
    )
    if metrics["f1"] > state.best_score or not run.best_weights:
        state.best_score, state.best_epoch = metrics["f1"], state.epoch
        run.best_weights.update(
            {name: tensor.detach().cpu().clone() for name, tensor in run.model.state_dict().items()}
        )
    state.epoch, state.step, state.sums = state.epoch + 1, 0, [0.0] * 4


def save(run: Run, state: TrainingState) -> None:
    """Write a checkpoint, on the main rank."""
    if run.world.is_main:
        content = {
            "state": asdict(state),
            "model": run.model.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "scaler": run.scaler.state_dict(),
            "best_weights": run.best_weights,
        }
        save_checkpoint(run.checkpoint, content)


def restore(run: Run) -> TrainingState:
    """Go on from the checkpoint of these very params, data and code, if there is one; else from the beginning."""
    # The main rank alone reads it, since it alone writes it: another machine has none, or an older one.
    box = [load_checkpoint(run.checkpoint) if run.world.is_main else None]
    dist.broadcast_object_list(box)
    content = box[0]
    others = [path.name for path in run.outputs.resume.glob("*") if path != run.checkpoint.parent]
    if run.world.is_main and others:
        warn(f"{run.outputs.resume}: holds a checkpoint of other params, data or code, which is left alone")
    if content is None:
        return TrainingState()
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.scaler.load_state_dict(content["scaler"])
    run.best_weights.update(content["best_weights"])
    state = TrainingState(**content["state"])
    if run.world.is_main:
        warn(f"resuming at epoch {state.epoch + 1}, step {state.step + 1}, from {run.checkpoint}")
    return state
