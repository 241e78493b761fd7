"""How fast a step of training is: `python -m benchmarks.training`.

The second figure needs Lightning, and is left out without it: `pip install -e '.[bench]'`. Uses a GPU if there is one.

Figures
-------
loader_overhead
    Time of a step with the loader, over that of the same step on the same batch in memory.
lightning_over_ours
    Time of a step under Lightning, over that of ours: same model, batch, loader, optimizer, clipping and schedule.

Both are medians of the ratios of single steps over all rounds. In each round, the variants take turns on the same
batches.
"""

import contextlib
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.report import print_figures, print_machine, print_rows
from benchmarks.training_material import (
    between,
    prepare_run,
    resident,
    step_times,
    training_inputs,
    training_params,
)
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.training.dataset import Batch
from drum_crnn.training.distributed import join_world, this_rank
from drum_crnn.training.learner import share_of_loss
from drum_crnn.training.loading import end_loader, start_loader
from drum_crnn.training.loss import loss_sums
from drum_crnn.training.resume import begin
from drum_crnn.training.run import Run, open_data
from drum_crnn.training.train_params import learning_rate_at

ROUNDS = 5
STEPS = 24
STEPS_GPU = 200


def main() -> None:
    """Train the same steps in turns: with the loader, on resident batches, and under Lightning."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    rows: list[tuple[str, str]] = []
    overheads: list[float] = []
    lightning_ratios: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder, me = Path(name), this_rank()
        print_machine()
        params = training_params(n_steps=STEPS_GPU if me.device.type == "cuda" else STEPS)
        inputs = training_inputs(folder)
        data = open_data(me, inputs, params)
        with contextlib.ExitStack() as stack:
            stack.callback(end_loader, data.loader)  # its processes outlive an error otherwise
            start_loader(data.loader)
            world = stack.enter_context(join_world(me, StopRequest()))
            run = prepare_run(world, inputs, params, folder, data)
            state = begin(run)
            in_memory = resident(run)
            step_times(in_memory, state)  # not counted: work that is done only once
            for number in range(1, ROUNDS + 1):
                times = {"loader": step_times(run, state), "resident": step_times(in_memory, state)}
                overheads += [a / b for a, b in zip(times["loader"], times["resident"], strict=True)]
                if (under_lightning := lightning_step_times(run)) is not None:
                    times["Lightning"] = under_lightning
                    lightning_ratios += [a / b for a, b in zip(under_lightning, times["loader"], strict=True)]
                medians = (f"{name} {1000 * statistics.median(values):.1f} ms" for name, values in times.items())
                rows.append((f"round {number}", ", ".join(medians)))
    rows.append(("step", f"{params.train.batch_size} excerpts of {params.train.excerpt_frames} frames on {me.device}"))
    print_rows(rows)
    figures = {"loader_overhead": statistics.median(overheads)}
    if lightning_ratios:
        figures["lightning_over_ours"] = statistics.median(lightning_ratios)
    print_figures(figures)


def lightning_step_times(run: Run) -> list[float] | None:
    """Seconds of each step of the same training under Lightning; None if it is not installed."""
    try:
        import lightning
    except ImportError:
        return None
    params, learner = run.params.train, run.learner
    n_steps = run.steps_per_epoch
    ended: list[float] = []

    class Module(lightning.LightningModule):  # type: ignore[misc]  # not installed, or not looked at
        def __init__(self, model: DrumCrnn) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Batch, _: int) -> torch.Tensor:
            with torch.no_grad():
                frames = learner.augmenter.apply(batch.frames, batch.draws)
            onset_logits, velocity_logits = self.model(frames)
            losses = torch.stack(loss_sums(onset_logits, velocity_logits, batch.targets))
            return share_of_loss(losses, batch.targets.counts().tolist(), params)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(
                self.model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
            )
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: learning_rate_at(step, n_steps, params) / params.learning_rate
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def on_train_batch_end(self, *_: Any) -> None:
            ended.append(time.perf_counter())

    torch.manual_seed(params.seed)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    run.data.sampler.epoch, run.data.sampler.first_step = 0, 0
    loader = DataLoader(
        run.data.dataset,
        sampler=run.data.sampler,
        batch_size=None,
        num_workers=params.loader_workers,
        pin_memory=params.pin_memory and run.world.device.type == "cuda",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            accelerator="gpu" if run.world.device.type == "cuda" else "cpu",
            devices=1,
            precision={None: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}[learner.autocast],
            max_epochs=1,
            gradient_clip_val=params.clip_norm,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(Module(DrumCrnn(run.params.model, n_mels=run.data.store.params.n_mels)), loader)
    return between(ended)


if __name__ == "__main__":
    main()
