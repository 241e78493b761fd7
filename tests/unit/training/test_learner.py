"""One training step: it is exact however ranks share it, and a broken one does not pass as good."""

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from builders import augmentation, small_features, small_model, train_params, untrained
from miniature import miniature_params
from numpy.typing import NDArray

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import Splits
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.crnn import ChannelRms, DrumCrnn, ModelParams
from drum_crnn.training.augment import Augmenter, AugmentParams
from drum_crnn.training.dataset import Batch, ExcerptDataset, ExcerptPlan, ShareSampler
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import (
    Learner,
    MovingAverage,
    accumulate_gradient,
    check_loss_scale,
    choose_precision,
    train_step,
    warm_up_ddp,
)
from drum_crnn.training.loss import Targets
from drum_crnn.training.targets import TargetArrays

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("as_in_training")


@pytest.fixture
def alone() -> Iterator[World]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield World(0, 0, 1, CPU)
    dist.destroy_process_group()


# --- The gradient of a step is that of the global batch, however it is shared -----------------------------------------

BATCH = 12
N_EXCERPTS = 17  # a step of 12, and a ragged one of 5


def of_all_parameters(model: torch.nn.Module) -> NDArray[np.float64]:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double().numpy()


# The last of these leaves one rank without an excerpt in the ragged step.
SHARINGS = [[1], [1, 2], [5, 3], [7, 1, 4], [1, 9]]


def name_of(shares: list[int]) -> str:
    return "-".join(map(str, shares))


def gradients_of_rank(rank: int, data: Path, folder: Path) -> None:
    """Gradients of two global steps, whole and in micro-batches, for each sharing, in float64; rank 0 writes them."""
    torch.set_num_threads(1)
    params = miniature_params()
    store, labels = FeatureStore.open(data / "features"), Labels.read(data / "labels.h5")
    recordings = Splits.read(data / "splits.csv").recordings("train")
    n_frames = np.array([store.n_frames(recording) for recording in recordings])
    augmenter = Augmenter(AugmentParams.check(params["augment"], source="test"), store.params, n_frames=100)
    plan = ExcerptPlan(tuple(recordings), n_frames, excerpt_frames=100, seed=3, per_epoch=N_EXCERPTS)
    dataset = ExcerptDataset(store, labels, plan, augmenter, widening=[1.0, 0.5])
    section = ModelParams.check({**params["model"], "dropout": 0.0}, source="test")
    for shares in SHARINGS:
        if rank >= len(shares):
            continue
        rendezvous = folder / f"{name_of(shares)}.rendezvous"
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=len(shares))
        world = World(rank, rank, len(shares), CPU)
        torch.manual_seed(0)
        model = DrumCrnn(section, n_mels=store.params.n_mels).double()
        learner = Learner.build(world, train_params(precision="fp32"), augmenter, model)
        found, points = {}, []
        for step, keys in enumerate(ShareSampler(plan, batch_size=BATCH, rank=rank, shares=shares)):
            share = ExcerptDataset.collate([dataset[key] for key in keys])
            counts = share.targets.counts().tolist()
            points.append(counts[0] / len(share))
            for micro_batch in (BATCH, 2):
                learner.optimizer.zero_grad(set_to_none=True)
                accumulate_gradient(learner, share, world.sum(counts), micro_batch=micro_batch)
                found[f"step {step}, micro-batches of {micro_batch}"] = of_all_parameters(model)
        points_of_ranks = world.gather(points)
        if rank == 0:
            np.savez(folder / f"{name_of(shares)}.npz", points=np.array(points_of_ranks), **found)
        dist.destroy_process_group()


@pytest.fixture(scope="session")
def gradients(prepared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the gradients of each sharing."""
    folder = tmp_path_factory.mktemp("gradients")
    torch.multiprocessing.spawn(gradients_of_rank, (prepared_data, folder), nprocs=max(map(len, SHARINGS)))
    return folder


@pytest.mark.parametrize("shares", SHARINGS, ids=name_of)
def test_the_gradient_is_that_of_the_global_batch(gradients: Path, shares: list[int]) -> None:
    alone, shared = np.load(gradients / "1.npz"), dict(np.load(gradients / f"{name_of(shares)}.npz"))
    # The loss ignores silence beyond the ends of recordings. Otherwise, means of ranks would be right as well.
    points = shared.pop("points")
    assert len(shares) == 1 or np.ptp(points, axis=0).min() > 0
    assert len(shared) == 4
    for name, gradient in shared.items():
        whole = alone[f"{name.split(',')[0]}, micro-batches of {BATCH}"]
        assert np.abs(whole).max() > 1e-3
        assert np.abs(gradient - whole).max() <= 1e-10 * np.abs(whole).max(), name


# --- Steps ------------------------------------------------------------------------------------------------------------

N_FRAMES = 60


def make_learner(world: World, *, dropout: float = 0.0, **changes: Any) -> Learner:
    features = small_features()
    augmenter = Augmenter(augmentation(), features, n_frames=N_FRAMES)
    changes = {"learning_rate": 0.01, "excerpt_frames": N_FRAMES} | changes
    return Learner.build(world, train_params(**changes), augmenter, untrained(small_model(dropout=dropout)))


def make_share(learner: Learner, *, n: int = 6, seed: int = 0) -> Batch:
    """Excerpts whose loud frames are the onsets of every lane."""
    rng = np.random.default_rng(seed)
    n_mels = learner.augmenter.features.n_mels
    items = []
    for number in range(n):
        hit = rng.random(N_FRAMES) < 0.1
        frames = np.full((learner.augmenter.n_source_frames, n_mels), -80.0, np.float16)
        frames[:N_FRAMES][hit] = -10.0
        onset = np.repeat(hit[:, None], 8, axis=1).astype(np.float32)
        targets = TargetArrays(onset, np.ones_like(onset), 0.5 * onset, onset)
        items.append((frames, learner.augmenter.draw(np.random.default_rng(number)), targets))
    return ExcerptDataset.collate(items)


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


def resuming_rank(rank: int, rendezvous: str, target: str) -> None:
    """Six steps of three ranks, and the same with a new process group and learner after three of them."""
    torch.set_num_threads(1)
    weights = []
    for stops in (False, True):
        state = None
        for part, steps_of_part in enumerate([range(3), range(3, 6)] if stops else [range(6)]):
            meeting = f"file://{rendezvous}-{stops}-{part}"
            dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=3)
            learner = make_learner(World(rank, rank, 3, CPU), dropout=0.1)
            share = make_share(learner, n=rank + 1, seed=rank)
            warm_up_ddp(learner, share)
            if state is not None:
                learner.load_state_dict(state)
            learner.parallel.train()
            for step in steps_of_part:
                train_step(learner, share, step=step, micro_batch=16, learning_rate=0.01)
            state = copy.deepcopy(learner.state_dict())
            dist.destroy_process_group()
        weights.append(torch.cat([tensor.flatten() for tensor in state["model"].values()]).numpy())
    np.savez(f"{target}-{rank}.npz", whole=weights[0], resumed=weights[1])


def test_three_ranks_resume_to_the_same_bits(tmp_path: Path) -> None:
    """Sums of three gradients depend on their order, which DistributedDataParallel changes after its first exchange."""
    torch.multiprocessing.spawn(resuming_rank, (str(tmp_path / "rendezvous"), str(tmp_path / "rank")), nprocs=3)
    for rank in range(3):
        with np.load(tmp_path / f"rank-{rank}.npz") as file:
            np.testing.assert_array_equal(file["whole"], file["resumed"])


def poisoned(share: Batch, value: float) -> Batch:
    share.frames[0, 5] = value
    return share


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_loss_that_is_not_finite_is_reported(alone: World, precision: str, value: float) -> None:
    learner = make_learner(alone, precision=precision)
    share = poisoned(make_share(learner), value)
    assert train_step(learner, share, step=0, micro_batch=16, learning_rate=0.01).is_broken


def poison_gradient(learner: Learner) -> Any:
    return learner.model.head.weight.register_hook(lambda gradient: gradient * np.inf)


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


def skipping_rank(rank: int, rendezvous: str, target: str) -> None:
    """Two steps in fp16, in the first of which the gradient of rank 1 alone overflows."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    learner = make_learner(World(rank, rank, 2, CPU), precision="fp16")
    share = make_share(learner, n=2 + rank, seed=rank)
    scales = [learner.scaler.get_scale()]
    weights = [learner.model.head.weight.detach().numpy().copy()]
    for step in range(2):
        hook = poison_gradient(learner) if (rank, step) == (1, 0) else None
        train_step(learner, share, step=step, micro_batch=1, learning_rate=0.01)
        if hook is not None:
            hook.remove()
        scales.append(learner.scaler.get_scale())
        weights.append(learner.model.head.weight.detach().numpy().copy())
    np.savez(f"{target}-{rank}.npz", scales=scales, weights=np.stack(weights))
    dist.destroy_process_group()


def test_all_ranks_skip_a_step_in_which_one_overflows(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(skipping_rank, (str(tmp_path / "rendezvous"), str(tmp_path / "rank")), nprocs=2)
    ranks = [np.load(tmp_path / f"rank-{rank}.npz") for rank in (0, 1)]
    for name in ("scales", "weights"):
        np.testing.assert_array_equal(ranks[0][name], ranks[1][name])
    before, after_skip, after = ranks[0]["weights"]
    np.testing.assert_array_equal(before, after_skip)
    assert not np.array_equal(after_skip, after)
    assert ranks[0]["scales"][1] == ranks[0]["scales"][0] / 2 == ranks[0]["scales"][2]


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
