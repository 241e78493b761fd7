"""A step on a GPU that is not there: devices, dtypes and launches of every operation, and nothing that waits.

PyTorch's fake tensors have a shape, a dtype and a device, but no data. Whatever needs data, such as `item`, raises. The
backward pass alone is replaced: PyTorch's threads for it need a real device.
"""

import collections
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from builders import augmentation, small_features, small_model, train_params, untrained
from learners import N_FRAMES, make_share
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from drum_crnn.training import augment
from drum_crnn.training import learner as learner_module
from drum_crnn.training.augment import Augmenter
from drum_crnn.training.dataset import Batch
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import Learner, MovingAverage, train_step
from drum_crnn.training.loss import Targets

GPU = torch.device("cuda", 0)
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Alone(World):
    def sum(self, values: Any) -> list[float]:
        return [1.0] * (len(values) - 1) + [0.0]


class Operations(TorchDispatchMode):
    """Notes every operation that a GPU would compute, and those that bring data back to the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: collections.Counter[str] = collections.Counter()
        self.dtypes: dict[tuple[str, int], set[torch.dtype]] = collections.defaultdict(set)
        self.to_cpu: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in torch.utils._pytree.tree_leaves(result) if isinstance(x, Tensor)]
        name = function.overloadpacket.__name__
        if any(x.is_cuda for x in given) and any(not x.is_cuda for x in made):
            self.to_cpu.append(name)
        if any(x.is_cuda for x in made) and not function.is_view:
            self.launched[name] += 1
            self.dtypes[name, made[0].ndim] |= {x.dtype for x in made}
        return result


def gru(x: Tensor, before: Tensor, weights: list[Tensor], *_: Any) -> tuple[Tensor, Tensor]:
    """In place of cuDNN's, which needs a real device: of the same shapes, and with a gradient for every weight."""
    n_units = before.shape[-1]
    states = [x @ weights[place][:n_units].T + weights[place + 2][:n_units] for place in (0, 4)]
    recurrent = sum(weights[place + 1].sum() + weights[place + 3].sum() for place in (0, 4))
    return torch.cat(states, dim=-1) + recurrent, before


def convolve(x: Tensor, y: Tensor) -> Tensor:
    """In place of torchaudio's, which reads the number of signals from a tensor on the CPU."""
    n = x[..., 0].numel()
    kernels = y.expand(*x.shape[:-1], -1).reshape(n, 1, -1)
    return F.conv1d(x.reshape(1, n, -1), kernels, groups=n, padding=y.shape[-1] - 1).reshape(*x.shape[:-1], -1)


@pytest.fixture(autouse=True)
def _without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._C._ensureCUDADeviceGuardSet()
    monkeypatch.setattr(torch, "gru", gru)
    monkeypatch.setattr(augment, "convolve", convolve)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(learner_module, "_seed", lambda *_: None)  # that of a real device
    counts = torch.tensor([100.0, 10.0], dtype=torch.float64)
    monkeypatch.setattr(Targets, "counts", lambda _: counts)  # the CPU reads them, and fake ones cannot be read


def make_fake_learner(
    monkeypatch: pytest.MonkeyPatch, precision: str, normalisation: str, **train: Any
) -> tuple[Learner, Batch]:
    """A learner whose weights are on a fake GPU, and a real batch on the CPU. Call it in a `FakeTensorMode`."""
    with unset_fake_temporarily():
        augmenter = Augmenter(augmentation(), small_features(), n_frames=N_FRAMES)
        params = train_params(precision=precision, excerpt_frames=N_FRAMES, **train)
        models = [untrained(small_model(normalisation=normalisation, gru_layers=2, dropout=0.1)) for _ in range(2)]
    for module in (part for model in models for part in model.modules()):
        for name, weight in list(module._parameters.items()):
            if weight is not None:  # a bias may be missing
                setattr(module, name, nn.Parameter(torch.empty(weight.shape, device=GPU)))
    model, averaged = models

    def backward(loss: Tensor) -> None:
        assert (loss.device, loss.dtype, loss.requires_grad) == (GPU, torch.float32, True)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)

    monkeypatch.setattr(Tensor, "backward", backward)
    average = object.__new__(MovingAverage)
    average.model, average.decay, average.n = averaged.requires_grad_(False), params.ema_decay or 0.0, 1
    learner = Learner(
        world=Alone(0, 0, 1, GPU),
        params=params,
        augmenter=augmenter,
        model=model.train(),
        parallel=model,  # DistributedDataParallel needs a real device
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.01, fused=True),
        scaler=torch.amp.GradScaler("cuda", enabled=False),
        average=None if params.ema_decay is None else average,
        autocast=AUTOCAST[precision],
    )
    with unset_fake_temporarily():
        return learner, make_share(learner)


@pytest.mark.parametrize("normalisation", ["rms", "layer"])
@pytest.mark.parametrize("precision", list(AUTOCAST))
def test_a_step_computes_on_the_gpu_in_the_right_precision(
    monkeypatch: pytest.MonkeyPatch, precision: str, normalisation: str
) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        learner, share = make_fake_learner(monkeypatch, precision, normalisation)
        with Operations() as operations:
            result = train_step(learner, share, step=0, learning_rate=0.01, micro_batch=16)
    assert operations.to_cpu == []
    assert (result.sums.device, result.is_broken.device, result.sums.dtype) == (GPU, GPU, torch.float64)
    dtype = AUTOCAST[precision] or torch.float32
    for name in ("convolution", "relu"):  # of the model, whose tensors have channels; augmentation has none
        assert operations.dtypes[name, 4] == {dtype}
    if normalisation == "layer":
        assert dtype in operations.dtypes["native_layer_norm", 4]  # and the statistics are float32
    assert operations.dtypes["binary_cross_entropy_with_logits", 3] == {torch.float32}
    assert {parameter.dtype for parameter in learner.model.parameters()} == {torch.float32}


def test_launches_grow_neither_with_the_batch_nor_with_the_weights_of_the_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        for ema_decay in (None, 0.9):
            learner, share = make_fake_learner(monkeypatch, "bf16", "rms", ema_decay=ema_decay)
            train_step(learner, share, step=0, learning_rate=0.01, micro_batch=16)  # makes the optimizer's state
            for n in (6, 2):
                (part,) = share.split(n)[:1]
                with Operations() as operations:
                    train_step(learner, part, step=0, learning_rate=0.01, micro_batch=16)
                counts[ema_decay, n] = sum(operations.launched.values())
    assert counts[None, 2] == counts[None, 6]
    assert counts[0.9, 6] <= counts[None, 6] + 1


def test_what_waits_for_a_gpu_would_be_found() -> None:
    with FakeTensorMode():
        with Operations() as operations:
            torch.zeros(1, device=GPU).cpu()
        assert operations.to_cpu
        with pytest.raises(DataDependentOutputException):
            float(torch.zeros(1, device=GPU))
