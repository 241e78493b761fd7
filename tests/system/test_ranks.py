"""Several ranks as processes: their gradient is that of the global batch, and they resume and skip steps together."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from builders import train_params
from learners import CPU, make_learner, make_share, poison_gradient
from miniature import miniature_params
from numpy.typing import NDArray

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import Splits
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.model_params import ModelParams
from drum_crnn.training.augment import Augmenter, AugmentParams
from drum_crnn.training.dataset import ExcerptDataset, ExcerptPlan, ShareSampler
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import (
    Learner,
    accumulate_gradient,
    train_step,
    warm_up_ddp,
)

pytestmark = pytest.mark.usefixtures("as_in_training")

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
    dataset = ExcerptDataset(store, labels, plan, augmenter, widening=[1.0, 0.5], between_frames=False)
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
            share = dataset[keys]
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
