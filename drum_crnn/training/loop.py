"""The training loop: hand-written, mixed precision, DistributedDataParallel, resumable.

Read `train_rank` first; `learner.train_step` is one step. Everything random depends on the seed and the step alone. So
a checkpoint needs no state of random generators. A training that was killed anywhere resumes to the same weights.
"""

import contextlib
import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import stop_on_signals, stop_when_orphaned
from drum_crnn.model.device import is_idle
from drum_crnn.model.inference import activations_of
from drum_crnn.model.model_file import ModelFile
from drum_crnn.training.distributed import is_launched, join_world, launch, lost_rank_as_error, this_rank
from drum_crnn.training.learner import check_loss_scale, train_step, warm_up_ddp
from drum_crnn.training.loading import batches, end_loader, start_loader
from drum_crnn.training.log import TrainingLog
from drum_crnn.training.memory import keep_freed_memory
from drum_crnn.training.picture import prediction_picture
from drum_crnn.training.resume import begin, restore, save
from drum_crnn.training.run import (
    Run,
    TrainingInputs,
    TrainingOutputs,
    TrainingParams,
    TrainingState,
    interrupted_error,
    open_data,
    prepare,
    trial_batch,
)
from drum_crnn.training.shares import is_out_of_memory
from drum_crnn.training.validation import validate

__all__ = [
    "train",
]

_LOOK_EVERY_STEPS = {"cpu": 1, "cuda": 25}  # how often loss and gradient are read; a GPU has to finish its work first
_PICTURE_S = 6.0


def train(inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> None:
    """Train a model on the train split, and write the weights that score best on the validation split.

    If a training was killed, call this again with the same inputs to resume from its last checkpoint.

    Raises
    ------
    DrumCrnnError
        If a split is empty, a file is damaged, another process runs the same training, or the loss is no longer finite.
    Interrupted
        If a signal asked it to stop, or DVC has died. All finished steps are saved.
    """
    launch(train_rank, inputs, outputs, params, processes=params.train.processes)


def train_rank(inputs: TrainingInputs, outputs: TrainingOutputs, params: TrainingParams) -> None:
    """Train on one rank; see `train`."""
    # Before any other thread starts, since threads inherit the setting. Denormal numbers are many times slower.
    torch.set_flush_denormal(True)
    torch.set_num_threads(params.train.threads)
    keep_freed_memory()
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        if is_launched():
            stop_when_orphaned(always=True)
        me = this_rank()
        data = open_data(me, inputs, params)
        stack.callback(end_loader, data.loader)
        start_loader(data.loader)
        world = stack.enter_context(join_world(me, stop))
        stack.enter_context(lost_rank_as_error())
        stack.enter_context(out_of_memory_as_error())
        run = prepare(world, stop, data, inputs, outputs, params)
        if world.is_main:
            stack.enter_context(folder_lock(outputs.resume, stop))
        warm_up_ddp(run.learner, trial_batch(run, 1))
        state = restore(run) or begin(run)
        run.data.sampler.shares = state.shares.weights
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
        log.say(run.describe_devices())
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
            ModelFile(run.learner.model, run.data.store.params).save(outputs.model)
            shutil.rmtree(run.checkpoint.parent, ignore_errors=True)


@contextlib.contextmanager
def out_of_memory_as_error() -> Iterator[None]:
    """Turn the error of a GPU without free memory into a `DrumCrnnError`."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DrumCrnnError(
            "the GPU is out of memory; set train.rank_shares to auto, which measures what fits, or lower "
            "train.micro_batch. Setting train.precision to bf16 or fp16 saves memory too"
        ) from None


def train_epoch(run: Run, state: TrainingState, log: TrainingLog) -> dict[str, float]:
    """Run the remaining steps of the current epoch, and return figures of speed."""
    world, learner, params = run.world, run.learner, run.params.train
    run.data.sampler.epoch, run.data.sampler.first_step = state.epoch, state.step
    sums = torch.tensor(state.sums, dtype=torch.float64, device=world.device)
    first_broken = torch.full((), math.inf, dtype=torch.float64, device=world.device)
    look_every = _LOOK_EVERY_STEPS[world.device.type]
    n_excerpts, waited_s, started = 0, 0.0, time.perf_counter()
    learner.parallel.train()
    for share, wait_s in batches(run.data.loader, run.stop):
        # The CPU is ahead of a GPU: as long as that one has work left, nobody waits for data.
        waited_s += wait_s if is_idle(world.device) else 0.0
        global_step = state.epoch * run.steps_per_epoch + state.step
        result = train_step(
            learner,
            share,
            step=global_step,
            learning_rate=run.learning_rate(state, global_step),
            micro_batch=state.shares.micro_batch[world.rank],
            wants_stop=bool(run.stop),
        )
        n_excerpts += run.data.sampler.n_excerpts_of(state.step)
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
            raise interrupted_error(run, state)
    wall_s = time.perf_counter() - started
    of_ranks = world.gather((waited_s / wall_s, peak_memory_gb(world.device)))
    return {
        "frames_per_second": n_excerpts * params.excerpt_frames / wall_s,
        "data_wait": float(np.mean([wait for wait, _ in of_ranks])),
        **{f"memory_gb/rank_{rank}": memory for rank, (_, memory) in enumerate(of_ranks)},
    }


def stop_if_broken(run: Run, state: TrainingState, first_broken: Tensor) -> None:
    """Raise an error before a state that is not finite is saved."""
    check_loss_scale(run.learner.scaler)
    if not math.isfinite(step := float(first_broken)):
        return
    names = run.data.sampler.recordings_of(int(step) - 1)
    raise DrumCrnnError(
        f"the loss or its gradient is no longer finite at epoch {state.epoch + 1}, step {int(step)}, with excerpts of "
        f"{', '.join(names)}; lower train.learning_rate, or set train.precision to fp32. The last checkpoint is from "
        "before this step"
    )


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory of this rank in 10⁹ bytes: of its GPU if it has one, otherwise of its process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e9


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
    """Paint activations and reference onsets at the beginning of the first validation recording."""
    recording, features = run.data.validation[0], run.data.store.params
    # A whole number of windows is not needed, but the context after the excerpt is.
    n_frames = round(_PICTURE_S * features.frame_rate)
    frames = run.data.store.read(recording, 0, n_frames + run.params.model.margin_frames)
    activations = activations_of(run.learner.kept, frames, floor_db=features.floor_db)
    onsets = run.data.labels.onsets(recording)
    return prediction_picture(
        activations.onset[:n_frames], onsets, frame_rate=features.frame_rate, title=f"{title}: {recording}"
    )


def write_figures(run: Run, state: TrainingState, *, n_steps: int, started: float) -> None:
    """Write the speed of this run, validation included, to the logs. Equal runs differ in it, so it is no output."""
    params = run.params.train
    wall_s = time.monotonic() - started
    audio_s = n_steps * params.batch_size * params.excerpt_frames / run.data.store.params.frame_rate
    figures = {
        "ranks": run.world.size,
        "devices": run.devices,
        "shares": asdict(state.shares),
        "wall_s": wall_s,
        "audio_s": audio_s,
        "realtime": audio_s / wall_s,
    }
    write_text(run.outputs.logs / "training.json", json.dumps(figures, indent=2) + "\n")
