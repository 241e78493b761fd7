"""The params of a training: section `train` of `params.yaml`, and the learning rate that follows from it."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from drum_crnn.foundation.params import ParamsSection
from drum_crnn.training.balance import BalanceParams

__all__ = ["TrainParams", "learning_rate_at", "n_reductions"]


class TrainParams(ParamsSection):
    """Section `train`: how the model is trained."""

    section: ClassVar[str] = "train"

    seed: int = Field(ge=0)
    init_from: str | None
    processes: int | Literal["auto"]
    rank_shares: Literal["equal", "auto"] | tuple[int, ...]
    micro_batch: int | None = Field(gt=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    tf32: bool
    cudnn_autotune: bool
    pin_memory: bool
    threads: int = Field(gt=0)
    loader_workers: int = Field(ge=0)
    excerpt_frames: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    excerpts_per_epoch: int | None = Field(gt=0)
    balance: BalanceParams
    epochs: int = Field(gt=0)
    patience: int = Field(gt=0)
    schedule: Literal["cosine", "plateau"]
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    final_learning_rate: float = Field(ge=0)
    plateau_patience: int = Field(ge=0)
    plateau_factor: float = Field(gt=0, lt=1)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    ema_decay: float | None = Field(gt=0, lt=1)
    velocity_weight: float = Field(ge=0)
    target_widening: tuple[float, ...]
    target_between_frames: bool
    validation_recordings: int | None = Field(gt=0)
    checkpoint_every_steps: int = Field(gt=0)
    image_every_epochs: int = Field(gt=0)
    tensorboard: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.processes, int) and self.processes < 1:
            raise ValueError("processes must be 'auto' or at least 1")
        if isinstance(self.rank_shares, tuple) and (min(self.rank_shares, default=0) < 1):
            raise ValueError("rank_shares must be 'equal', 'auto', or one positive number per rank, such as [1, 2]")
        if not self.target_widening or self.target_widening[0] != 1.0 or min(self.target_widening) < 0:
            raise ValueError("target_widening must begin with 1.0, the target at the onset's own frame")
        return self


def learning_rate_at(step: int, n_steps: int, params: TrainParams, scores: Sequence[float] = ()) -> float:
    """Learning rate of a global step.

    It begins with a linear warm-up. `cosine` then falls along half a cosine to `final_learning_rate`. `plateau` keeps
    `learning_rate`, and reduces it whenever the validation score stops rising.

    Parameters
    ----------
    step, n_steps : int
        The step, counted from 0 over all epochs, and the number of all steps.
    scores : sequence of float
        Validation scores of the finished epochs; only `plateau` uses them.

    References
    ----------
    Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    if params.schedule == "plateau":
        reduced = params.learning_rate * params.plateau_factor ** n_reductions(scores, patience=params.plateau_patience)
        return max(params.final_learning_rate, reduced)
    progress = (step - params.warmup_steps) / max(1, n_steps - params.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return params.final_learning_rate + (params.learning_rate - params.final_learning_rate) * cosine


def n_reductions(scores: Sequence[float], *, patience: int) -> int:
    """Number of reductions of the learning rate: one each time that more than `patience` scores in a row do not exceed
    the best before them. This is `torch.optim.lr_scheduler.ReduceLROnPlateau` as a pure function."""
    best, n_bad, reductions = -math.inf, 0, 0
    for score in scores:
        best, n_bad = (score, 0) if score > best else (best, n_bad + 1)
        if n_bad > patience:
            n_bad, reductions = 0, reductions + 1
    return reductions
