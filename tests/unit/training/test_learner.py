"""One training step: it is exact however ranks share it, and a broken one does not pass as good."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from builders import small_model, untrained
from learners import CPU, make_learner, make_share, poison_gradient

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.crnn import ChannelRms
from drum_crnn.training.dataset import Batch
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import (
    Learner,
    MovingAverage,
    check_loss_scale,
    choose_precision,
    train_step,
)
from drum_crnn.training.loss import Targets

pytestmark = pytest.mark.usefixtures("as_in_training")


@pytest.fixture
def alone() -> Iterator[World]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield World(0, 0, 1, CPU)
    dist.destroy_process_group()


def steps(learner: Learner, share: Batch, n: int, **options: Any) -> list[float]:
    """Loss of each of `n` steps on the same share."""
    losses = []
    for step in range(n):
        options = {"micro_batch": 16, "learning_rate": 0.01, **options}
        result = train_step(learner, share, step=step, **options)
        assert not result.is_broken
        losses.append(float(result.sums[0] / result.sums[1]))
    return losses


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_overfits_one_batch_in_any_precision(alone: World, precision: str) -> None:
    learner = make_learner(alone, precision=precision)
    losses = steps(learner, make_share(learner), 120)
    assert losses[-1] < 0.1 * losses[0]
    assert {parameter.dtype for parameter in learner.model.parameters()} == {torch.float32}


def test_micro_batches_change_rounding_alone(alone: World) -> None:
    whole, parts = make_learner(alone), make_learner(alone)
    share = make_share(whole)
    np.testing.assert_allclose(steps(whole, share, 10), steps(parts, share, 10, micro_batch=1), rtol=1e-3)


def test_dropout_follows_from_the_seed_and_the_step(alone: World) -> None:
    runs = []
    for _ in range(2):
        learner = make_learner(alone, dropout=0.5)
        learner.parallel.train()
        torch.rand(np.random.default_rng().integers(1, 100))  # earlier random numbers must not matter
        runs.append(steps(learner, make_share(learner), 5))
    assert runs[0] == runs[1]
    other = make_learner(alone, dropout=0.5, seed=1)
    other.parallel.train()
    assert steps(other, make_share(other), 5) != runs[0]


def test_a_learner_resumes_from_its_state_to_the_same_bits(alone: World) -> None:
    whole = make_learner(alone, ema_decay=0.9, precision="fp16")
    share = make_share(whole)
    steps(whole, share, 8)
    first, second = (make_learner(alone, ema_decay=0.9, precision="fp16") for _ in range(2))
    for step in range(5):
        train_step(first, share, step=step, micro_batch=16, learning_rate=0.01)
    second.load_state_dict(first.state_dict())
    for step in range(5, 8):
        train_step(second, share, step=step, micro_batch=16, learning_rate=0.01)
    for of_whole, resumed in ((whole.model, second.model), (whole.kept, second.kept)):
        for name, tensor in of_whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert whole.scaler.get_scale() == second.scaler.get_scale()


def poisoned(share: Batch, value: float) -> Batch:
    share.draws.gain_db[0] = value
    return share


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_loss_that_is_not_finite_is_reported(alone: World, precision: str, value: float) -> None:
    learner = make_learner(alone, precision=precision)
    share = poisoned(make_share(learner), value)
    assert train_step(learner, share, step=0, micro_batch=16, learning_rate=0.01).is_broken


def test_a_gradient_that_is_not_finite_is_reported(alone: World) -> None:
    learner = make_learner(alone)
    poison_gradient(learner)
    result = train_step(learner, make_share(learner), step=0, micro_batch=16, learning_rate=0.01)
    assert result.is_broken
    assert torch.isfinite(result.sums).all()


def test_an_overflow_in_fp16_skips_steps_until_the_scale_is_hopeless(alone: World) -> None:
    learner = make_learner(alone, precision="fp16")
    share = make_share(learner)
    before = [parameter.detach().clone() for parameter in learner.model.parameters()]
    poison_gradient(learner)
    for step in range(26):  # from 2 ** 16 to 2 ** -10
        check_loss_scale(learner.scaler)
        result = train_step(learner, share, step=step, micro_batch=16, learning_rate=0.01)
        assert not result.is_broken
        assert result.sums[5] == 0  # this step adds no norm
    train_step(learner, share, step=26, micro_batch=16, learning_rate=0.01)
    with pytest.raises(DrumCrnnError, match=r"overflows float16 at every step.*set train\.precision to bf16 or fp32"):
        check_loss_scale(learner.scaler)
    for old, new in zip(before, learner.model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_request_to_stop_reaches_the_result(alone: World) -> None:
    learner = make_learner(alone)
    share = make_share(learner)
    step: Callable[..., Any] = functools.partial(train_step, learner, share, micro_batch=16, learning_rate=0.01)
    assert not step(step=0).stop
    assert step(step=1, wants_stop=True).stop


# --- Parts ------------------------------------------------------------------------------------------------------------


def test_precision() -> None:
    for has_bf16 in (True, False):
        assert choose_precision("auto", CPU, has_bf16=has_bf16) is None
        assert choose_precision("fp32", CPU, has_bf16=has_bf16) is None
        assert choose_precision("bf16", CPU, has_bf16=has_bf16) is torch.bfloat16
        assert choose_precision("fp16", CPU, has_bf16=has_bf16) is torch.float16
    gpu = torch.device("cuda", 0)
    assert choose_precision("auto", gpu, has_bf16=True) is torch.bfloat16
    assert choose_precision("auto", gpu, has_bf16=False) is torch.float16


def test_normalisation_keeps_its_range_under_autocast() -> None:
    """Squares of 300 overflow float16; means of 64 of them in bfloat16 would be off by percents."""
    norm = ChannelRms(64)
    x = 300.0 * torch.randn(2, 64, 10, 5)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            y = norm(x.to(dtype))
        assert y.dtype == dtype
        exact = norm(x.to(dtype).double())
        assert (y.double() - exact).abs().max() < 4 * torch.finfo(dtype).eps * exact.abs().max()


def test_the_gru_keeps_its_memory_under_autocast() -> None:
    """Over 1,000 frames, activations in bf16 stay near those in float32, and are no farther at the end."""
    torch.manual_seed(0)
    model = untrained(small_model(gru_units=32, projection=24))
    frames = -50.0 + 20.0 * torch.randn(2, 1000, 20)
    with torch.no_grad():
        exact = model(frames)[0].sigmoid()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, _ = model(frames)
    assert logits.dtype == torch.float32
    error = (logits.sigmoid() - exact).abs()
    assert error.max() < 0.01
    assert error[:, -200:].mean() < 2 * error[:, 100:300].mean()


def test_the_moving_average() -> None:
    model = untrained()
    average = MovingAverage(model, decay=0.9)
    expected = np.zeros(1)
    for n in range(200):
        with torch.no_grad():
            model.head.bias.fill_(float(n))
        average.update(model)
        decay = min(0.9, n / (10 + n))
        expected = decay * expected + (1 - decay) * n
        assert float(average.model.head.bias[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    assert float(average.model.head.bias[0]) == pytest.approx(199 - 9, abs=0.01)  # lags by decay / (1 - decay) steps
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_a_batch_is_split_and_selected_as_a_whole(alone: World) -> None:
    share = make_share(make_learner(alone), n=5)
    parts = share.split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.targets.onset for part in parts]), share.targets.onset)
    assert torch.equal(torch.cat([part.draws.gain_db for part in parts]), share.draws.gain_db)
    assert isinstance(parts[0].targets, Targets)
    twice = share.select([1, 1])
    assert torch.equal(twice.frames[0], twice.frames[1])
    assert len(twice) == 2
    assert parts[1].frames.data_ptr() == share.frames[2].data_ptr()  # a view: what is pinned stays pinned
