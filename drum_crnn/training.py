"""The training loop: hand-written, mixed precision, DistributedDataParallel, resumable.

Read `train_rank` first; `learner.train_step` is one step. Everything random follows from the seed and the step, so a
checkpoint needs no state of random generators, and a training that was killed anywhere goes on to the same weights.
"""

import contextlib
import functools
import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from drum_crnn.atomic import write_text
from drum_crnn.augment import Augmenter, AugmentParams
from drum_crnn.checkpoint import fingerprint_of, load_checkpoint, save_checkpoint
from drum_crnn.console import warn
from drum_crnn.dataset import Batch, ExcerptDataset, ExcerptKey, ExcerptPlan, ShareSampler, draw_targets
from drum_crnn.distributed import World, is_launched, join_world, launch, losing_contact
from drum_crnn.errors import DrumCrnnError, Interrupted
from drum_crnn.feature_store import FeatureStore
from drum_crnn.features import FeatureParams
from drum_crnn.inference import Activations, activations_of
from drum_crnn.interruption import StopRequest, alone_in, ignore_stop_signals, stop_on_signals, stop_when_orphaned
from drum_crnn.labels import Labels
from drum_crnn.lanes import LANES
from drum_crnn.learner import Learner, accumulate_gradient, check_loss_scale, settle, train_step
from drum_crnn.listening import listen
from drum_crnn.memory import keep_freed_memory
from drum_crnn.metrics import TOLERANCE_S
from drum_crnn.model import DrumCrnn, ModelParams
from drum_crnn.model_file import ModelFile
from drum_crnn.peak_picking import PeakPickingParams
from drum_crnn.pictures import prediction_picture
from drum_crnn.recipe import TrainParams, learning_rate_at
from drum_crnn.shares import Shares, measure_shares
from drum_crnn.splits import Splits
from drum_crnn.thresholds import LanePeaks, best_counts, pooled_best_f, sweep_lane
from drum_crnn.training_log import EpochRecord, TrainingLog

__all__ = ["TrainingInputs", "TrainingOutputs", "TrainingParams", "train"]

T = TypeVar("T")

_MIN_ACTIVATION = 0.02  # peaks below are not looked at in validation: no threshold that low is ever best
_LOOK_EVERY_STEPS = {"cpu": 1, "cuda": 25}  # at loss and gradient; a GPU has to finish its work for that
_TRIAL_EXCERPTS = 16  # different ones in a trial of a rank's speed
_PICTURE_S = 6.0


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
    shares : Shares
        How the ranks divide a batch: measured once, then kept.
    epoch, step : int
        Epochs finished, and steps done within the current one.
    sums : list of float
        `StepResult.sums` of this rank over the current epoch.
    history : list of dict
        Metrics of the epochs that are finished.
    speeds : list of dict
        Of the same epochs, figures that differ between equal runs.
    pictures : dict of int to Tensor
        By epoch, counted from 0: uint8, shape (height, width, 3).
    best_score, best_epoch : float, int
        Of the weights that will be the model.
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
        """Whether all epochs are done, or the last `patience` of them brought no better score."""
        return self.epoch >= params.epochs or (
            self.best_epoch >= 0 and self.epoch - 1 - self.best_epoch >= params.patience
        )

    def record(self, epoch: int) -> EpochRecord:
        """What is logged of a finished epoch."""
        picture = self.pictures.get(epoch)
        return EpochRecord(self.history[epoch], self.speeds[epoch], None if picture is None else picture.numpy())

    @property
    def place(self) -> str:
        """Where the training is, for people."""
        return f"epoch {self.epoch + 1}, after its step {self.step}"


@dataclass(frozen=True)
class Run:
    """What stays the same while training, and the learner."""

    world: World
    stop: StopRequest
    params: TrainingParams
    outputs: TrainingOutputs
    checkpoint: Path
    store: FeatureStore
    labels: Labels
    validation: Sequence[str]
    sampler: ShareSampler
    dataset: ExcerptDataset
    loader: "DataLoader[Any]"
    learner: Learner
    best_weights: dict[str, Tensor]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.sampler.plan.n_steps(self.sampler.batch_size)

    @property
    def n_steps(self) -> int:
        """Steps of the whole training, if nothing stops it early."""
        return self.params.train.epochs * self.steps_per_epoch

    def learning_rate(self, state: "TrainingState", step: int) -> float:
        """Learning rate of a global step of the current epoch."""
        scores = [metrics["validation/f1"] for metrics in state.history]
        return learning_rate_at(step, self.n_steps, self.params.train, scores)


def train(inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> None:
    """Train a model on the train side, choose its best weights on the validation side, and write them.

    Killed and started again with the same inputs, it goes on from its last checkpoint.

    Raises
    ------
    DrumCrnnError
        If a side is empty, a file is damaged, another process trains the same, or the loss is no longer finite.
    Interrupted
        If it was asked to stop, by a signal or because DVC is gone; everything that was done is saved.
    """
    launch(train_rank, inputs, outputs, params, processes=params.train.processes)


def train_rank(inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> None:
    """What each rank does; see `train`."""
    # Before any other thread starts, since threads inherit the setting. Denormal numbers are many times slower.
    torch.set_flush_denormal(True)
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    if is_launched():
        stop_when_orphaned(always=True)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        world = stack.enter_context(join_world())
        stack.enter_context(losing_contact())
        stack.enter_context(running_out_of_memory())
        run = prepare(world, stop, inputs, outputs, params)
        stack.callback(end_loader, run.loader)
        if world.is_main:
            stack.enter_context(alone_in(outputs.resume, stop))
        settle(run.learner, trial_batch(run, 1))
        state = restore(run) or begin(run)
        run.sampler.shares = state.shares.weights
        started = time.monotonic()
        n_done = state.epoch * run.steps_per_epoch + state.step
        log = stack.enter_context(
            TrainingLog(
                outputs.metrics,
                outputs.logs,
                n_steps=run.n_steps,
                n_done=n_done,
                is_main=world.is_main,
                tensorboard=params.train.tensorboard,
            )
        )
        log.say(state.shares.describe(params.train.batch_size))
        for epoch in range(state.epoch):
            log.replay(state.record(epoch))
        while not state.is_over(params.train):
            speeds = train_epoch(run, state, log)
            metrics = validate(run, state)
            finish_epoch(run, state, metrics, speeds)
            log.epoch_done(state.record(state.epoch - 1))
            save(run, state)
        if world.is_main:
            write_figures(run, state, n_steps=state.epoch * run.steps_per_epoch - n_done, started=started)
            run.learner.model.load_state_dict(run.best_weights)
            ModelFile(run.learner.model, run.store.params).save(outputs.model)
            shutil.rmtree(run.checkpoint.parent, ignore_errors=True)


@contextlib.contextmanager
def running_out_of_memory() -> Iterator[None]:
    """Say in a sentence that the memory of a GPU does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise DrumCrnnError(
            "the memory of the GPU does not suffice; use train.rank_shares auto, which measures what fits, or lower "
            "train.micro_batch; less memory is also taken by train.precision bf16 or fp16"
        ) from None


def prepare(
    world: World, stop: StopRequest, inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams
) -> Run:
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
    sampler = ShareSampler(plan, batch_size=train_params.batch_size, rank=world.rank, shares=[1] * world.size)
    torch.manual_seed(train_params.seed)
    model = DrumCrnn(params.model, n_mels=store.params.n_mels)
    begin_with = [] if train_params.begin_with is None else [Path(train_params.begin_with)]
    for file in begin_with:
        take_weights(model, file, store.params)
    learner = Learner.build(world, train_params, augmenter, model)
    fingerprint = fingerprint_of(
        *(section.model_dump_json() for section in (params.model, params.train, params.augment, params.peak_picking)),
        f"{world.size} ranks, {world.device.type}, {learner.autocast}",
        store.fingerprint(),
        inputs.labels,
        inputs.splits,
        *begin_with,
        *sorted(Path(str(module.__file__)) for name, module in sys.modules.items() if name.startswith("drum_crnn.")),
    )
    if len(set(world.gather(fingerprint))) > 1:
        raise DrumCrnnError(
            "the ranks do not train the same thing: params, features, labels, splits or code of the machines differ; "
            "copy them from one to the other"
        )
    return Run(
        world=world,
        stop=stop,
        params=params,
        outputs=outputs,
        checkpoint=outputs.resume / fingerprint / "checkpoint.pt",
        store=store,
        labels=labels,
        validation=evenly_spaced(sides["validation"], train_params.validation_recordings),
        sampler=sampler,
        dataset=dataset,
        loader=DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=ExcerptDataset.collate,
            num_workers=train_params.loader_workers,
            persistent_workers=train_params.loader_workers > 0,
            worker_init_fn=ignore_stop_signals,
            # A rank that was spawned would spawn too, and its workers would be asked to stop while they still import.
            multiprocessing_context="fork" if train_params.loader_workers > 0 else None,
            pin_memory=train_params.pin_memory and world.device.type == "cuda",
        ),
        learner=learner,
        best_weights={},
    )


def take_weights(model: DrumCrnn, file: Path, features: FeatureParams) -> None:
    """Begin with the weights of a model file, which must be of the same shape and hear the same features."""
    if not file.is_file():
        raise DrumCrnnError(f"train.begin_with: there is no file {file}; name a model file, or write null")
    known = ModelFile.load(file)
    free = {"dropout", "window_frames", "margin_frames", "n_shards"}  # change no weight
    for name, theirs, ours in (
        ("model", known.model.params.model_dump(exclude=free), model.params.model_dump(exclude=free)),
        ("features", known.features.model_dump(exclude=free), features.model_dump(exclude=free)),
    ):
        if differing := [f"{name}.{key} {theirs[key]}" for key in ours if theirs[key] != ours[key]]:
            raise DrumCrnnError(f"train.begin_with: {file} was trained with {', '.join(differing)}; set the same here")
    model.load_state_dict(known.model.state_dict())


def begin(run: Run) -> TrainingState:
    """Start from the beginning; how ranks share the work is on disk before the first step is done."""
    state = TrainingState(choose_shares(run))
    save(run, state)
    return state


def choose_shares(run: Run) -> Shares:
    """How the ranks divide a batch."""
    params, world = run.params.train, run.world
    if params.rank_shares == "auto":
        return measure_shares(trial(run), world, batch_size=params.batch_size, micro_batch=params.micro_batch)
    weights = (1,) * world.size if params.rank_shares == "equal" else params.rank_shares
    if len(weights) != world.size:
        raise DrumCrnnError(
            f"train.rank_shares has {len(weights)} shares, but there are {world.size} ranks; "
            "give one a rank, or 'equal', or 'auto'"
        )
    return Shares(weights, (params.micro_batch or params.batch_size,) * world.size)


def end_loader(loader: "DataLoader[Any]") -> None:
    """End the processes of a loader. Python would wait for them for ever, as they ignore the signal that it sends."""
    if (iterator := loader._iterator) is not None:
        iterator._shutdown_workers()  # type: ignore[attr-defined]  # of loaders with processes alone


def trial_batch(run: Run, n: int) -> Batch:
    """The first `n` excerpts of the first epoch, read by this process."""
    return ExcerptDataset.collate([run.dataset[ExcerptKey(0, place)] for place in range(n)])


def trial(run: Run) -> Callable[[int], None]:
    """A function that computes the gradient of so many excerpts on this rank alone, and forgets it."""
    sample = trial_batch(run, min(_TRIAL_EXCERPTS, run.sampler.n_excerpts_of(0)))
    device = run.world.device

    @functools.cache  # a real step finds its batch ready, and does not wait for the CPU to put it together
    def batch_of(n_excerpts: int) -> Batch:
        batch = sample.take([index % len(sample) for index in range(n_excerpts)])
        return batch.pin_memory() if run.loader.pin_memory else batch

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


def evenly_spaced(items: Sequence[T], n: int | None) -> Sequence[T]:
    """`n` of the items, evenly spaced over all; all of them if `n` is None or they are fewer."""
    if n is None or n >= len(items):
        return items
    return [items[index * len(items) // n] for index in range(n)]


def train_epoch(run: Run, state: TrainingState, log: TrainingLog) -> dict[str, float]:
    """Do the steps of the current epoch that are not done yet; returns figures of speed."""
    world, learner, params = run.world, run.learner, run.params.train
    run.sampler.epoch, run.sampler.first_step = state.epoch, state.step
    sums = torch.tensor(state.sums, dtype=torch.float64, device=world.device)
    first_broken = torch.full((), math.inf, dtype=torch.float64, device=world.device)
    look_every = _LOOK_EVERY_STEPS[world.device.type]
    n_excerpts, waited_s, started = 0, 0.0, time.perf_counter()
    learner.parallel.train()
    for share, wait_s in timed(run.loader):
        global_step = state.epoch * run.steps_per_epoch + state.step
        result = train_step(
            learner,
            share,
            step=global_step,
            learning_rate=run.learning_rate(state, global_step),
            micro_batch=state.shares.micro_batch[world.rank],
            wants_stop=bool(run.stop),
        )
        n_excerpts += run.sampler.n_excerpts_of(state.step)
        waited_s += wait_s
        sums += result.sums
        state.step += 1
        first_broken = first_broken.minimum(torch.where(result.is_broken, float(state.step), math.inf))
        is_last = state.step == run.steps_per_epoch
        is_due = is_last or result.stop or state.step % params.checkpoint_every_steps == 0
        loss = None
        if is_due or state.step % look_every == 0:
            stop_if_broken(run, state, first_broken)
            loss = float(sums[0] / sums[1].clamp_min(1.0))
        if is_due:
            state.sums = sums.tolist()
            save(run, state)
        log.step_done(loss=loss)
        if result.stop:
            raise interrupted(run, state)
    wall_s = time.perf_counter() - started
    of_ranks = world.gather((waited_s / wall_s, peak_memory_gb(world.device)))
    return {
        "frames_per_second": n_excerpts * params.excerpt_frames / wall_s,
        "data_wait": float(np.mean([wait for wait, _ in of_ranks])),
        **{f"memory_gb/rank_{rank}": memory for rank, (_, memory) in enumerate(of_ranks)},
    }


def timed(batches: "DataLoader[Any]") -> Iterator[tuple[Batch, float]]:
    """Each batch, with the seconds that were spent waiting for it."""
    iterator = iter(batches)
    while True:
        started = time.perf_counter()
        try:
            batch = next(iterator)
        except StopIteration:
            return
        yield batch, time.perf_counter() - started


def stop_if_broken(run: Run, state: TrainingState, first_broken: Tensor) -> None:
    """Stop before a broken state is saved."""
    check_loss_scale(run.learner.scaler)
    if not math.isfinite(step := float(first_broken)):
        return
    names = run.sampler.recordings_of(int(step) - 1)
    raise DrumCrnnError(
        f"the loss or its gradient is not finite any more at epoch {state.epoch + 1}, step {int(step)}, with excerpts "
        f"of {', '.join(names)}; lower train.learning_rate, or use train.precision fp32. The checkpoint before it is "
        "untouched"
    )


def interrupted(run: Run, state: TrainingState) -> Interrupted:
    """What to say after everything was saved."""
    by = f" by {run.stop.signal.name}" if run.stop.signal else ""
    return Interrupted(f"stopped{by} at {state.place}, and saved; the same command again goes on from there")


def peak_memory_gb(device: torch.device) -> float:
    """Most memory that this rank has used, in 10⁹ bytes: of its GPU, or of its process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e9


def validate(run: Run, state: TrainingState) -> dict[str, float]:
    """Metrics of the validation side: loss, and onset F summed and per lane, each lane at its own best threshold.

    Each rank hears every `size`-th recording; what is compared is put together on all of them.
    """
    heard: list[list[LanePeaks]] = []
    loss, count = 0.0, 0.0
    mine = run.validation[run.world.rank :: run.world.size]
    for recording, activations, peaks in listen(
        run.learner.kept,
        run.store,
        run.labels,
        mine,
        min_activation=_MIN_ACTIVATION,
        peak_picking=run.params.peak_picking,
    ):
        if run.stop:
            break
        heard.append(peaks)
        of_recording = _validation_loss(run, recording, activations)
        loss, count = loss + of_recording[0], count + of_recording[1]
    if any(run.world.gather(bool(run.stop))):
        raise interrupted(run, state)
    loss, count = run.world.sum([loss, count])
    recordings = [peaks for of_rank in run.world.gather(heard) for peaks in of_rank]
    curves = [sweep_lane([peaks[lane] for peaks in recordings], tolerance_s=TOLERANCE_S) for lane in range(len(LANES))]
    counts = best_counts(curves)
    metrics = {"loss": loss / max(1.0, count), "f1": pooled_best_f(curves)}
    if math.isnan(metrics["f1"]):
        raise DrumCrnnError("no recording of the validation side has an onset, so no weights are better than others")
    for name, values in (("f1", counts.f()), ("precision", counts.precision()), ("recall", counts.recall())):
        metrics |= {f"{name}_{lane}": float(value) for lane, value in zip(LANES, values, strict=True)}
    return metrics


def _validation_loss(run: Run, recording: str, activations: Activations) -> tuple[float, float]:
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
    return float((cross_entropy * targets.onset_mask).sum()), float(targets.onset_mask.sum(dtype=np.float64))


def finish_epoch(run: Run, state: TrainingState, metrics: Mapping[str, float], speeds: dict[str, float]) -> None:
    """Add an epoch to the history, and keep the weights if they are the best so far."""
    params = run.params.train
    onset_sum, onset_count, velocity_sum, velocity_count, norm_sum, norm_count = run.world.sum(state.sums)
    onset_loss, velocity_loss = onset_sum / max(1.0, onset_count), velocity_sum / max(1.0, velocity_count)
    last_step = (state.epoch + 1) * run.steps_per_epoch - 1
    state.history.append(
        {
            "train/loss": onset_loss + params.velocity_weight * velocity_loss,
            "train/onset_loss": onset_loss,
            "train/velocity_loss": velocity_loss,
            "train/gradient_norm": norm_sum / max(1.0, norm_count),
            "train/learning_rate": run.learning_rate(state, last_step),
            **{f"validation/{name}": value for name, value in metrics.items()},
        }
    )
    state.speeds.append(speeds)
    if run.world.is_main and (state.epoch + 1) % params.image_every_epochs == 0:
        state.pictures[state.epoch] = torch.from_numpy(picture(run, f"epoch {state.epoch + 1}"))
    if metrics["f1"] > state.best_score or not run.best_weights:
        state.best_score, state.best_epoch = metrics["f1"], state.epoch
        run.best_weights.update(
            {name: tensor.detach().cpu().clone() for name, tensor in run.learner.kept.state_dict().items()}
        )
    state.epoch, state.step, state.sums = state.epoch + 1, 0, [0.0] * 6


def picture(run: Run, title: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Predicted against reference onsets at the beginning of the first validation recording."""
    recording, features = run.validation[0], run.store.params
    # A whole number of windows is not needed, but the context after the excerpt is.
    n_frames = round(_PICTURE_S * features.frame_rate)
    frames = run.store.read(recording, 0, n_frames + run.params.model.margin_frames)
    activations = activations_of(run.learner.kept, frames, floor_db=features.floor_db)
    onsets = run.labels.onsets(recording)
    return prediction_picture(
        activations.onset[:n_frames], onsets, frame_rate=features.frame_rate, title=f"{title}: {recording}"
    )


def save(run: Run, state: TrainingState) -> None:
    """Write a checkpoint, on the main rank; all ranks call this together."""
    sums = run.world.gather(state.sums)
    if run.world.is_main:
        content = {
            "state": asdict(state) | {"sums": sums},
            "learner": run.learner.state_dict(),
            "best_weights": run.best_weights,
        }
        save_checkpoint(run.checkpoint, content)


def restore(run: Run) -> TrainingState | None:
    """Go on from the checkpoint of these very params, data and code; None if there is none."""
    if run.world.is_main:
        others = [path for path in run.outputs.resume.glob("*/checkpoint.pt") if path != run.checkpoint]
        if others:
            warn(
                f"{others[0].parent}: holds a checkpoint of other params, data or code, and is left alone; "
                "delete it if you do not want to go back to them"
            )
        for unfinished in run.checkpoint.parent.glob(f".{run.checkpoint.stem}-*"):
            unfinished.unlink()
    # The main rank alone reads it, since it alone writes it: another machine has none, or an older one.
    is_there = run.world.is_main and run.checkpoint.is_file()
    if (file := run.world.from_main(run.checkpoint.read_bytes() if is_there else None)) is None:
        return None
    content = load_checkpoint(file, run.checkpoint)
    run.learner.load_state_dict(content["learner"])
    run.best_weights.update(content["best_weights"])
    values = content["state"]
    state = TrainingState(**values | {"shares": Shares(**values["shares"]), "sums": values["sums"][run.world.rank]})
    if run.world.is_main:
        warn(f"resuming at {state.place}, from {run.checkpoint}")
    return state


def write_figures(run: Run, state: TrainingState, *, n_steps: int, started: float) -> None:
    """Leave the speed of this run, validation included, in a file: equal runs differ in it, so it is no output."""
    params = run.params.train
    wall_s = time.monotonic() - started
    audio_s = n_steps * params.batch_size * params.excerpt_frames / run.store.params.frame_rate
    figures = {
        "ranks": run.world.size,
        "shares": asdict(state.shares),
        "wall_s": wall_s,
        "audio_s": audio_s,
        "realtime": audio_s / wall_s,
    }
    write_text(run.outputs.logs / "training.json", json.dumps(figures, indent=2) + "\n")
