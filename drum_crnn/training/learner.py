"""One training step, whose gradient is that of the global batch.

Read `train_step` first. Ranks share a global batch, and each rank may cut its share into micro-batches. Each part
divides the *sum* of its losses by the *global* count of points. The gradients of a rank's parts add up. At the last
part, DistributedDataParallel adds up the gradients of all ranks.
"""

import contextlib
import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.training.augment import Augmenter
from drum_crnn.training.dataset import Batch
from drum_crnn.training.distributed import World
from drum_crnn.training.loss import loss_sums
from drum_crnn.training.train_params import TrainParams

__all__ = [
    "Learner",
    "MovingAverage",
    "StepResult",
    "accumulate_gradient",
    "check_loss_scale",
    "choose_precision",
    "share_of_loss",
    "train_step",
    "warm_up_ddp",
]

# Below this, no loss scale helps: the model is at fault. GradScaler begins at 65536 and halves at every overflow.
_LOWEST_LOSS_SCALE = 2.0**-10


# Not torch.optim.swa_utils (torch 2.14): the decay of get_ema_multi_avg_fn never changes, so at 0.995 the first weights
# still count for 61 % after 100 steps. With our decay, AveragedModel gives the same bits, but it copies its counter of
# steps to the GPU at every step, for which the CPU waits.
class MovingAverage:
    """Exponential moving average of a model's weights.

    Its decay rises from 0 to `decay`, so that the average soon forgets the first weights.

    References
    ----------
    Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.
    """

    def __init__(self, model: DrumCrnn, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.model.gru.flatten_parameters()  # cuDNN wants the weights in one piece, and a copy scatters them
        self.decay = decay
        self.n = 0

    @torch.no_grad()
    def update(self, model: DrumCrnn) -> None:
        """Add the weights after a step to the average."""
        weight = 1.0 - min(self.decay, self.n / (10.0 + self.n))
        # One launch for all weights; a loop would launch one for each.
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), weight)
        self.n += 1


@dataclass(frozen=True)
class Learner:
    """A model, and everything that changes it.

    Attributes
    ----------
    model : DrumCrnn
        The plain model, which is validated and saved.
    parallel : nn.Module
        The same weights in DistributedDataParallel.
    average : MovingAverage or None
    autocast : torch.dtype or None
        Precision of the forward pass; None for that of the weights.
    """

    world: World
    params: TrainParams
    augmenter: Augmenter
    model: DrumCrnn
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: MovingAverage | None
    autocast: torch.dtype | None

    @classmethod
    def build(cls, world: World, params: TrainParams, augmenter: Augmenter, model: DrumCrnn) -> "Learner":
        """Move a model to the device of this rank, and build everything that its training needs."""
        on_gpu = world.device.type == "cuda"
        # Older cards emulate bf16, which is slower than fp16.
        has_bf16 = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
        # Ranks wait for each other here, over gloo, which notices at once that another rank has failed earlier.
        autocast = choose_precision(params.precision, world.device, has_bf16=all(world.gather(has_bf16)))
        if on_gpu:
            torch.set_float32_matmul_precision("high" if params.tf32 else "highest")
            torch.backends.cudnn.allow_tf32 = params.tf32
            torch.backends.cudnn.benchmark = params.cudnn_autotune
        model = model.to(world.device)
        parallel = DistributedDataParallel(
            model,
            device_ids=[world.local_rank] if on_gpu else None,
            gradient_as_bucket_view=True,
        )
        parallel.register_comm_hook(None, _sum_gradients)
        return cls(
            world=world,
            params=params,
            augmenter=augmenter,
            model=model,
            parallel=parallel,
            optimizer=torch.optim.AdamW(
                model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
            ),
            scaler=torch.amp.GradScaler(world.device.type, enabled=autocast == torch.float16),
            average=None if params.ema_decay is None else MovingAverage(model, params.ema_decay),
            autocast=autocast,
        )

    @property
    def kept(self) -> DrumCrnn:
        """The model that is validated and kept: the average, if there is one."""
        return self.model if self.average is None else self.average.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint has to hold."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else (self.average.n, self.average.model.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.n, weights = state["average"]
            self.average.model.load_state_dict(weights)


class StepResult(NamedTuple):
    """The result of a step.

    Attributes
    ----------
    sums : Tensor
        float64, shape (6,), on the device: this rank's onset loss sum and count, velocity loss sum and count, gradient
        norm and 1. The last two are 0 if the loss scale was too high and the step was skipped. Add up over steps and
        ranks, then divide.
    is_broken : Tensor
        bool, on the device: whether the loss or the gradient is not finite, and no lower loss scale would help.
    stop : bool
        Whether any rank wants to stop.
    """

    sums: Tensor
    is_broken: Tensor
    stop: bool


def choose_precision(precision: str, device: torch.device, *, has_bf16: bool) -> torch.dtype | None:
    """The dtype of autocast, or None for no autocast. All ranks need the same one, so that their gradients match.

    `auto` means no autocast on a CPU, bf16 if all GPUs support it, and fp16 otherwise.
    """
    if precision == "auto":
        if device.type == "cpu":
            return None
        return torch.bfloat16 if has_bf16 else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def train_step(
    learner: Learner,
    share: Batch,
    *,
    step: int,
    learning_rate: float,
    micro_batch: int,
    wants_stop: bool = False,
) -> StepResult:
    """One step of the optimizer.

    Parameters
    ----------
    share : Batch
        This rank's share of the global batch, on the CPU.
    step : int
        Counted from 0, over all epochs.
    micro_batch : int
        Excerpts to compute at a time.
    wants_stop : bool
        Whether this rank has been asked to stop; all ranks see it in the result.
    """
    params = learner.params
    # Dropout depends on the seed, the step and the rank alone, so that no random state has to be saved.
    _seed(learner.world.device, params.seed, step, learner.world.rank)
    for group in learner.optimizer.param_groups:
        group["lr"] = learning_rate
    counts = share.targets.counts()
    *totals, n_stopping = learner.world.sum([*counts.tolist(), float(wants_stop)])

    learner.optimizer.zero_grad(set_to_none=True)
    losses = accumulate_gradient(learner, share, totals, micro_batch=micro_batch)
    learner.scaler.unscale_(learner.optimizer)
    norm = nn.utils.clip_grad_norm_(learner.model.parameters(), params.clip_norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if learner.average is not None:
        learner.average.update(learner.model)

    norm = norm.double()
    is_norm_finite = torch.isfinite(norm)
    is_broken = ~torch.isfinite(losses).all()
    if not learner.scaler.is_enabled():
        is_broken = is_broken | ~is_norm_finite
    counts = counts.to(norm.device, non_blocking=True)
    norms = torch.stack([torch.where(is_norm_finite, norm, 0.0), is_norm_finite.double()])
    sums = torch.cat([torch.stack([losses[0], counts[0], losses[1], counts[1]]), norms])
    return StepResult(sums, is_broken, n_stopping > 0)


def accumulate_gradient(
    learner: Learner, share: Batch, global_counts: list[float], *, micro_batch: int, exchange: bool = True
) -> Tensor:
    """Add the gradient of this rank's share, scaled so that the sum over ranks is that of the global batch.

    Parameters
    ----------
    global_counts : list of float
        `Targets.counts` of the global batch: points of the onset and of the velocity loss.
    exchange : bool
        Whether to add up the gradients of all ranks at the end. If false, ranks need not call this together.

    Returns
    -------
    Tensor
        Sums of the onset and of the velocity loss over the share: float64, shape (2,), on the device.
    """
    dtype = learner.model.head.weight.dtype
    sums = torch.zeros(2, dtype=torch.float64, device=learner.world.device)
    parts = share.split(micro_batch)
    for number, part in enumerate(parts, start=1):
        part = part.to(learner.world.device)
        with torch.no_grad():
            frames = learner.augmenter.apply(part.frames, part.draws, dtype=dtype)
        is_local = not exchange or number < len(parts)
        with learner.parallel.no_sync() if is_local else contextlib.nullcontext():  # type: ignore[operator]  # a Module to mypy
            with torch.autocast(frames.device.type, dtype=learner.autocast, enabled=learner.autocast is not None):
                onset_logits, velocity_logits = learner.parallel(frames)
            losses = torch.stack(loss_sums(onset_logits, velocity_logits, part.targets))
            loss = share_of_loss(losses, global_counts, learner.params)
            learner.scaler.scale(loss).backward()
        sums += losses.detach()
    return sums


def warm_up_ddp(learner: Learner, batch: Batch) -> None:
    """Run two discarded backward passes, so that DDP rebuilds its buckets before the first real step.

    DistributedDataParallel reorders the gradients after their first exchange. With three ranks or more, the new order
    changes the rounding of the sums. Without this, a resumed run would differ from one that never stopped. The ranks
    agree on the order in the next forward pass, even in one without an exchange: so there is a second pass.
    """
    for _ in range(2):
        accumulate_gradient(learner, batch, batch.targets.counts().tolist(), micro_batch=len(batch))
        learner.optimizer.zero_grad(set_to_none=True)


def share_of_loss(losses: Tensor, global_counts: list[float], params: TrainParams) -> Tensor:
    """The loss of a part of the global batch, scaled so that the gradients of all parts add up to that of the batch.

    Parameters
    ----------
    losses : Tensor, shape (2,)
        Sums of the onset and of the velocity loss over a part of the global batch.
    """
    n_onset, n_velocity = (max(1.0, count) for count in global_counts)
    return losses[0] / n_onset + params.velocity_weight * losses[1] / n_velocity


def _sum_gradients(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]  # torch's stubs lack it
    """Add up gradients over the ranks.

    By default, DistributedDataParallel averages. It multiplies by the reciprocal of the number of ranks, rounded to
    float32 (torch 2.14). For three ranks the result is off by 3e-8, even if everything else is float64.
    """
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def _seed(device: torch.device, *words: int) -> None:
    """Seed the generator of one device.

    `torch.manual_seed` seeds all devices. In a CUDA build on a machine without a GPU, it takes a millisecond and adds
    an entry to a list that is never emptied (torch 2.14).
    """
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    generator = torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index]
    generator.manual_seed(seed)


def check_loss_scale(scaler: torch.amp.GradScaler) -> None:
    """Raise an error if a training in fp16 skips every step."""
    if scaler.is_enabled() and scaler.get_scale() < _LOWEST_LOSS_SCALE:
        raise DrumCrnnError(
            "the gradient overflows float16 at every step, whatever the loss scale; set train.precision to bf16 or fp32"
        )
