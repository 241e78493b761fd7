import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from miniature import ROOT, miniature_params, write_params
from torch.nn.parallel import DistributedDataParallel

from drum_crnn.augment import Augmenter, AugmentParams
from drum_crnn.dataset import ExcerptDataset, ExcerptPlan, ShareSampler
from drum_crnn.errors import DrumCrnnError
from drum_crnn.feature_store import FeatureStore
from drum_crnn.labels import Labels
from drum_crnn.loss import loss_sums
from drum_crnn.model import DrumCrnn, ModelParams
from drum_crnn.model_file import ModelFile
from drum_crnn.splits import Splits
from drum_crnn.training import (
    TrainingInputs,
    TrainingOutputs,
    TrainingParams,
    TrainParams,
    choose_precision,
    evenly_spaced,
    learning_rate_at,
    share_of_loss,
    train,
)


@pytest.fixture
def inputs(prepared_data: Path) -> TrainingInputs:
    return TrainingInputs(prepared_data / "features", prepared_data / "labels.h5", prepared_data / "splits.csv")


def outputs_in(folder: Path) -> TrainingOutputs:
    return TrainingOutputs(
        folder / "models" / "crnn.safetensors", folder / "metrics", folder / "logs", folder / ".resume"
    )


def params_of(folder: Path, **changes: dict[str, Any]) -> TrainingParams:
    return TrainingParams.load(write_params(folder / "params.yaml", **changes))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_params(**changes: Any) -> TrainParams:
    return TrainParams.check({**miniature_params()["train"], **changes}, source="test")


def test_learning_rate_rises_then_falls_to_its_final_value() -> None:
    params = train_params(learning_rate=0.1, warmup_steps=10, final_learning_rate=0.001)
    rates = [learning_rate_at(step, 100, params) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == rates[9] == pytest.approx(0.1)
    assert rates[55] == pytest.approx(0.0505)  # half-way between the highest and the final one
    assert rates[100] == pytest.approx(0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_precision_on_a_cpu() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) is None
    assert choose_precision("fp32", cpu) is None
    assert choose_precision("bf16", cpu) is torch.bfloat16
    assert choose_precision("fp16", cpu) is torch.float16


def test_evenly_spaced() -> None:
    assert evenly_spaced("abcdef", 3) == ["a", "c", "e"]
    assert evenly_spaced("abc", 5) == evenly_spaced("abc", None) == "abc"


def test_it_learns_and_leaves_only_its_outputs(tmp_path: Path, inputs: TrainingInputs) -> None:
    outputs = outputs_in(tmp_path)
    off = {"enabled": False}
    plain = miniature_params()["augment"]
    augment = {name: {**value, **off} for name, value in plain.items() if isinstance(value, dict)}
    size = {"conv_channels": [8, 12, 16], "projection": 32, "gru_units": 32, "dropout": 0.0}
    params = params_of(
        tmp_path, train={"epochs": 12, "patience": 12, "learning_rate": 0.01}, model=size, augment=augment
    )
    train(inputs, outputs, params)
    loss = read_series(outputs.metrics, "train/loss")
    score = read_series(outputs.metrics, "validation/f1")
    assert len(loss) == len(score) == 12
    assert loss[-1] < 0.65 * loss[0]
    assert max(score) > 0.6
    assert ModelFile.load(outputs.model).thresholds is None
    assert json.loads((outputs.logs / "training.json").read_text())["realtime"] > 0
    assert not list(outputs.resume.rglob("*.pt"))
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"models", "metrics", "logs", "params.yaml", ".resume"}
    assert not list(tmp_path.rglob("dvc.yaml"))


def read_series(metrics: Path, name: str) -> list[float]:
    lines = (metrics / "plots" / "metrics" / f"{name}.tsv").read_text().splitlines()[1:]
    assert [int(line.split("\t")[0]) for line in lines] == list(range(len(lines)))
    return [float(line.split("\t")[1]) for line in lines]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_on_a_cpu(tmp_path: Path, inputs: TrainingInputs, precision: str) -> None:
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"precision": precision}))
    loss = read_series(tmp_path / "metrics", "train/loss")
    assert loss[1] < loss[0]
    weights = ModelFile.load(tmp_path / "models" / "crnn.safetensors").model.state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_early_stopping(tmp_path: Path, inputs: TrainingInputs) -> None:
    # At so small a rate nothing is learnt, so the first epoch stays the best.
    rates = {"learning_rate": 1e-12, "final_learning_rate": 0.0}
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 20, "patience": 2, **rates}))
    assert len(read_series(tmp_path / "metrics", "train/loss")) == 3


def stage_command(inputs: TrainingInputs, folder: Path) -> list[str]:
    outputs = outputs_in(folder)
    paths = (inputs.features, inputs.labels, inputs.splits, outputs.model, outputs.metrics)
    options = ("--params-file", folder / "params.yaml", "--logs-dir", outputs.logs, "--resume-dir", outputs.resume)
    return [sys.executable, "-m", "stages.train", *map(str, (*paths, *options))]


def run_stage(inputs: TrainingInputs, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = stage_command(inputs, folder)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def kill_stage_when(inputs: TrainingInputs, folder: Path, n_checkpoints: int) -> None:
    """Start the stage, and kill it as soon as it has replaced its checkpoint so many times."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(stage_command(inputs, folder), cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    seen: set[int] = set()
    deadline = time.monotonic() + 120
    while len(seen) < n_checkpoints:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it wrote no checkpoint"
        seen |= {path.stat().st_mtime_ns for path in (folder / ".resume").glob("*/checkpoint.pt")}
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_and_started_again_it_ends_in_the_same_bytes(tmp_path: Path, inputs: TrainingInputs) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_params(folder / "params.yaml", train={"epochs": 3})
    done = run_stage(inputs, whole)
    assert done.returncode == 0, done.stderr
    kill_stage_when(inputs, killed, n_checkpoints=2)
    kill_stage_when(inputs, killed, n_checkpoints=3)
    assert not (killed / "models" / "crnn.safetensors").exists()
    resumed = run_stage(inputs, killed)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming at epoch" in resumed.stderr
    for name in ("models/crnn.safetensors", "metrics/metrics.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    for path in (whole / "metrics").rglob("*.tsv"):
        assert (killed / path.relative_to(whole)).read_bytes() == path.read_bytes(), path.name


def test_a_checkpoint_of_other_params_is_left_alone(tmp_path: Path, inputs: TrainingInputs) -> None:
    write_params(tmp_path / "params.yaml", train={"epochs": 3})
    kill_stage_when(inputs, tmp_path, n_checkpoints=1)
    (old,) = (tmp_path / ".resume").glob("*/checkpoint.pt")
    content = old.read_bytes()
    write_params(tmp_path / "params.yaml", train={"epochs": 2})
    done = run_stage(inputs, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resuming" not in done.stderr
    assert "left alone" in done.stderr
    assert old.read_bytes() == content


def test_an_empty_side_is_an_error(tmp_path: Path, inputs: TrainingInputs) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text(inputs.splits.read_text().replace(",validation", ",unused"))
    with pytest.raises(DrumCrnnError, match=r"splits\.csv: no recording is on the validation side"):
        train(TrainingInputs(inputs.features, inputs.labels, splits), outputs_in(tmp_path), params_of(tmp_path))


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path: Path, inputs: TrainingInputs) -> None:
    outputs = outputs_in(tmp_path)
    with pytest.raises(DrumCrnnError, match=r"not finite any more at epoch 1, step \d+ .*learning_rate"):
        train(inputs, outputs, params_of(tmp_path, train={"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}))
    assert not outputs.model.exists()
    assert not list(outputs.resume.rglob("*.pt"))


def test_shares_must_fit_the_ranks(tmp_path: Path, inputs: TrainingInputs) -> None:
    with pytest.raises(DrumCrnnError, match=r"rank_shares has 2 shares, but there are 1 ranks"):
        train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"rank_shares": [1, 2]}))


def test_two_ranks_train_a_model(tmp_path: Path, inputs: TrainingInputs) -> None:
    write_params(tmp_path / "params.yaml", train={"processes": 2, "rank_shares": [1, 2]})
    done = run_stage(inputs, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "logs" / "training.json").read_text())["ranks"] == 2
    assert len(read_series(tmp_path / "metrics", "validation/f1")) == 2
    ModelFile.load(tmp_path / "models" / "crnn.safetensors")


def test_a_mistake_of_the_user_is_a_sentence_with_two_ranks_as_well(tmp_path: Path, inputs: TrainingInputs) -> None:
    write_params(tmp_path / "params.yaml", train={"processes": 2, "rank_shares": [1, 2, 3]})
    done = run_stage(inputs, tmp_path)
    assert done.returncode == 1
    assert re.search(
        r"^error: rank \d stopped the training: train\.rank_shares has 3 shares", done.stderr, re.MULTILINE
    )
    assert "Traceback" not in done.stderr


# --- The gradient of a step is that of the global batch, however it is shared -----------------------------------------

BATCH, STEP = 5, 1


def gradient_of_rank(rank: int, shares: list[int], rendezvous: str, inputs: TrainingInputs, target: str) -> None:
    """The gradient of one global step in float64, as DistributedDataParallel averages it; rank 0 writes it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=len(shares))
    params = miniature_params()
    store, labels = FeatureStore.open(inputs.features), Labels.read(inputs.labels)
    recordings = Splits.read(inputs.splits).side("train")
    n_frames = np.array([store.n_frames(recording) for recording in recordings])
    augmenter = Augmenter(AugmentParams.check(params["augment"], source="test"), store.params, n_frames=100)
    # A step of 5, and then a ragged one of 3.
    plan = ExcerptPlan(tuple(recordings), n_frames, excerpt_frames=100, seed=3, per_epoch=8)
    dataset = ExcerptDataset(store, labels, plan, augmenter, widening=[1.0, 0.5])
    keys = list(ShareSampler(plan, batch_size=BATCH, rank=rank, shares=shares))[STEP]
    batch = ExcerptDataset.collate([dataset[key] for key in keys])
    torch.manual_seed(0)
    section = ModelParams.check({**params["model"], "dropout": 0.0}, source="test")
    model = DistributedDataParallel(DrumCrnn(section, n_mels=store.params.n_mels).double())
    counts = batch.targets.counts()
    dist.all_reduce(counts)
    onset_logits, velocity_logits = model(augmenter.apply(batch.frames, batch.draws).double())
    sums = loss_sums(onset_logits, velocity_logits, batch.targets)
    share_of_loss(*sums, counts, n_ranks=len(shares), params=train_params()).backward()
    if rank == 0:
        gradient = torch.cat(
            [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        )
        np.save(target, gradient.numpy())
    dist.destroy_process_group()


def gradient(shares: list[int], inputs: TrainingInputs, folder: Path) -> "np.ndarray[Any, np.dtype[np.float64]]":
    name = "-".join(map(str, shares))
    target = folder / f"{name}.npy"
    torch.multiprocessing.spawn(  # type: ignore[attr-defined]
        gradient_of_rank, (shares, str(folder / f"{name}.rendezvous"), inputs, str(target)), nprocs=len(shares)
    )
    loaded: np.ndarray[Any, np.dtype[np.float64]] = np.load(target)
    return loaded


def test_the_gradient_does_not_depend_on_the_shares(tmp_path: Path, inputs: TrainingInputs) -> None:
    alone = gradient([1], inputs, tmp_path)
    assert np.abs(alone).max() > 1e-3
    # The last of these leaves a rank without any share of a step of three.
    for shares in ([1, 2], [1, 9]):
        shared = gradient(shares, inputs, tmp_path)
        assert np.abs(shared - alone).max() <= 1e-10 * max(1.0, np.abs(alone).max()), shares


def test_nan_scores_are_not_written(tmp_path: Path, inputs: TrainingInputs) -> None:
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 1}))
    summary = json.loads((tmp_path / "metrics" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert all(math.isfinite(value) for value in summary["validation"].values())
