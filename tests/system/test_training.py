"""The training as a whole, within one process."""

import contextlib
import json
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from miniature import miniature_params, write_params
from PIL import Image
from training_runs import inputs_in, outputs_in

from benchmarks.training_material import prepare_run, resident, step_times
from drum_crnn.data.splits import Splits
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.inference import activations_of_all
from drum_crnn.model.model_file import ModelFile
from drum_crnn.music.lanes import LANES
from drum_crnn.training import loop, resume, validation
from drum_crnn.training.dataset import ExcerptDataset, ExcerptKey
from drum_crnn.training.distributed import join_world, this_rank
from drum_crnn.training.loop import train
from drum_crnn.training.run import TrainingInputs, TrainingParams, evenly_spaced

pytestmark = pytest.mark.usefixtures("as_in_training")


@pytest.fixture
def inputs(prepared_data: Path) -> TrainingInputs:
    return inputs_in(prepared_data)


# What a validation returns.
METRICS = {"loss": 1.0, "f1": 0.5} | {f"{name}_{lane}": 0.5 for name in ("f1", "precision", "recall") for lane in LANES}


def params_of(folder: Path, **changes: dict[str, Any]) -> TrainingParams:
    return TrainingParams.load(write_params(folder / "params.yaml", **changes))


def test_evenly_spaced() -> None:
    assert evenly_spaced("abcdef", 3) == ["a", "c", "e"]
    assert evenly_spaced("abc", 5) == evenly_spaced("abc", None) == "abc"


def test_a_loader_forks_before_the_ranks_join(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later, threads of the exchange may be in Python, and a fork would copy a lock that nobody releases."""
    join = torch.distributed.init_process_group
    loaders: list[list[multiprocessing.Process]] = []

    def spy(*arguments: Any, **options: Any) -> None:
        loaders.append(multiprocessing.active_children())
        join(*arguments, **options)

    monkeypatch.setattr(torch.distributed, "init_process_group", spy)
    monkeypatch.setattr(
        loop, "validate", lambda run, state: loaders.append(multiprocessing.active_children()) or METRICS
    )
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 2, "loader_workers": 2}))
    before, *later = loaders
    assert len(before) == 2
    assert len(later) == 2
    assert all({process.pid for process in after} == {process.pid for process in before} for after in later)


def test_benchmarks_can_train_on_batches_in_memory(tmp_path: Path, inputs: TrainingInputs) -> None:
    """Nothing else runs them, since they take minutes."""
    params = params_of(tmp_path, train={"excerpts_per_epoch": 8, "batch_size": 1})
    with join_world(this_rank(), StopRequest()) as world:
        run = prepare_run(world, inputs, params, tmp_path)
        state = resume.begin(run)
        assert len(step_times(resident(run), state)) == len(step_times(run, state)) > 0


def read_series(metrics: Path, name: str) -> list[float]:
    lines = (metrics / "plots" / "metrics" / f"{name}.tsv").read_text().splitlines()[1:]
    assert [int(line.split("\t")[0]) for line in lines] == list(range(len(lines)))
    return [float(line.split("\t")[1]) for line in lines]


def test_it_learns_and_leaves_only_its_outputs(tmp_path: Path, inputs: TrainingInputs) -> None:
    outputs = outputs_in(tmp_path)
    off = {"enabled": False}
    plain = miniature_params()["augment"]
    augment = {name: {**value, **off} for name, value in plain.items() if isinstance(value, dict)}
    size = {"conv_channels": [8, 12, 16], "projection": 32, "gru_units": 32, "dropout": 0.0}
    params = params_of(
        tmp_path,
        train={"epochs": 24, "patience": 24, "learning_rate": 0.01, "image_every_epochs": 10},
        model=size,
        augment=augment,
    )
    train(inputs, outputs, params)
    loss = read_series(outputs.metrics, "train/loss")
    score = read_series(outputs.metrics, "validation/f1")
    assert len(loss) == len(score) == 24
    assert loss[-1] < 0.65 * loss[0]
    assert max(score) > 0.65  # 0.74 to 0.77 with other seeds, and where rounding differs
    assert min(read_series(outputs.metrics, "train/gradient_norm")) > 0
    assert ModelFile.load(outputs.model).thresholds is None
    figures = json.loads((outputs.logs / "training.json").read_text())
    assert figures["realtime"] > 0
    assert figures["shares"] == {"weights": [4], "micro_batch": [4], "step_s": []}
    assert not list(outputs.resume.rglob("*.pt"))
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"models", "metrics", "logs", "params.yaml", ".resume"}
    assert not list(tmp_path.rglob("dvc.yaml"))
    # What differs between equal runs is in the logs alone.
    for name in ("frames_per_second", "data_wait", "memory_gb/rank_0"):
        assert min(read_series(outputs.logs / "training", name)) >= 0
    names = {path.stem for path in outputs.metrics.rglob("*.tsv")}
    assert not names & {"frames_per_second", "data_wait", "rank_0"}
    pictures = sorted((outputs.metrics / "plots" / "images" / "prediction").iterdir())
    assert [path.name for path in pictures] == ["010.png", "020.png"]
    assert Image.open(pictures[0]).size[0] > 300


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_on_a_cpu(tmp_path: Path, inputs: TrainingInputs, precision: str) -> None:
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"precision": precision}))
    loss = read_series(tmp_path / "metrics", "train/loss")
    assert loss[1] < loss[0]
    weights = ModelFile.load(tmp_path / "models" / "crnn.safetensors").model.state_dict()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_it_begins_with_the_weights_of_a_file(tmp_path: Path, inputs: TrainingInputs) -> None:
    """With a tiny learning rate, the weights stay those of the file."""
    (tmp_path / "first").mkdir()
    first = outputs_in(tmp_path / "first")
    train(inputs, first, params_of(tmp_path / "first", train={"epochs": 1}))
    (tmp_path / "second").mkdir()
    second = outputs_in(tmp_path / "second")
    still = {"epochs": 1, "seed": 7, "learning_rate": 1e-12, "final_learning_rate": 0.0}
    train(inputs, second, params_of(tmp_path / "second", train={**still, "init_from": str(first.model)}))
    one, other = (ModelFile.load(outputs.model).model.state_dict() for outputs in (first, second))
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, atol=1e-6, rtol=0.0)


def test_weights_of_another_shape_are_refused(tmp_path: Path, inputs: TrainingInputs) -> None:
    (tmp_path / "first").mkdir()
    first = outputs_in(tmp_path / "first")
    train(inputs, first, params_of(tmp_path / "first", train={"epochs": 1}))
    other = params_of(tmp_path, train={"init_from": str(first.model)}, model={"gru_units": 10})
    with pytest.raises(DrumCrnnError, match=r"init_from: .*crnn\.safetensors was trained with model\.gru_units 12;"):
        train(inputs, outputs_in(tmp_path), other)


def test_early_stopping(tmp_path: Path, inputs: TrainingInputs) -> None:
    # At so small a rate nothing is learnt, so the first epoch stays the best.
    rates = {"learning_rate": 1e-12, "final_learning_rate": 0.0}
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 20, "patience": 2, **rates}))
    assert len(read_series(tmp_path / "metrics", "train/loss")) == 3


def test_plateau_lowers_the_rate_that_is_logged(tmp_path: Path, inputs: TrainingInputs) -> None:
    rates = {"learning_rate": 1e-12, "final_learning_rate": 0.0, "warmup_steps": 0}
    plateau = {"schedule": "plateau", "plateau_patience": 0, "plateau_factor": 0.1}
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 4, "patience": 9, **rates, **plateau}))
    logged = read_series(tmp_path / "metrics", "train/learning_rate")
    assert logged == pytest.approx([1e-12, 1e-12, 1e-13, 1e-14])


def test_the_average_is_validated_and_kept(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = []

    def spy(model: Any, *args: Any, **options: Any) -> Any:
        validated.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return activations_of_all(model, *args, **options)

    monkeypatch.setattr("drum_crnn.scoring.prediction.activations_of_all", spy)
    weights = {}
    for decay in (None, 0.99):
        folder = tmp_path / str(decay)
        folder.mkdir()
        validated.clear()
        train(inputs, outputs_in(folder), params_of(folder, train={"epochs": 1, "ema_decay": decay}))
        weights[decay] = ModelFile.load(folder / "models" / "crnn.safetensors").model.state_dict()
        assert all(torch.equal(validated[-1][name], tensor) for name, tensor in weights[decay].items())
    assert any(not torch.equal(weights[None][name], weights[0.99][name]) for name in weights[None])


def test_every_validation_recording_is_predicted_once(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated: list[str] = []
    validation_loss = validation._validation_loss

    def spy(run: Any, recording: str, activations: Any) -> Any:
        validated.append(recording)
        return validation_loss(run, recording, activations)

    monkeypatch.setattr("drum_crnn.training.validation._validation_loss", spy)
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 2}))
    names = Splits.read(inputs.splits).recordings("validation")
    assert validated == [*names, *names]


def test_a_validation_split_without_onsets_is_an_error(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "pooled_best_f", lambda _: math.nan)
    with pytest.raises(DrumCrnnError, match="no recording of the validation split has an onset"):
        train(inputs, outputs_in(tmp_path), params_of(tmp_path))


def test_an_empty_split_is_an_error(tmp_path: Path, inputs: TrainingInputs) -> None:
    splits = tmp_path / "splits.csv"
    splits.write_text(inputs.splits.read_text().replace(",validation", ",unused"))
    with pytest.raises(DrumCrnnError, match=r"splits\.csv: no recording is in the validation split"):
        train(
            TrainingInputs(inputs.features, inputs.labels, splits, inputs.catalog),
            outputs_in(tmp_path),
            params_of(tmp_path),
        )


def test_a_loss_that_is_not_finite_names_the_step_and_leaves_the_checkpoint(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One recording is poisoned from the second epoch on."""
    outputs = outputs_in(tmp_path)
    batch = ExcerptDataset.batch
    names: list[str] = []

    def poisoned(self: ExcerptDataset, keys: Sequence[ExcerptKey]) -> Any:
        made = batch(self, keys)
        if keys[0].epoch == 1 and not names:
            names.append(self.plan.epoch(1)[keys[0].place].recording)
            made.draws.gain_db[0] = math.nan
        return made

    monkeypatch.setattr(ExcerptDataset, "batch", poisoned)
    with pytest.raises(DrumCrnnError, match=r"no longer finite at epoch 2, step 1, with excerpts of") as caught:
        train(inputs, outputs, params_of(tmp_path, train={"epochs": 3}))
    assert names[0] in str(caught.value)
    assert "train.learning_rate" in str(caught.value)
    assert not outputs.model.exists()
    (checkpoint,) = outputs.resume.glob("*/checkpoint.pt")
    content = torch.load(checkpoint, weights_only=True)
    assert (content["state"]["epoch"], content["state"]["step"]) == (1, 0)
    assert all(torch.isfinite(tensor).all() for tensor in content["learner"]["model"].values())


def test_if_the_loss_is_read_seldom_the_first_bad_step_is_still_named(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: the loss is read some steps later, and nothing is saved in between."""
    monkeypatch.setitem(loop._LOOK_EVERY_STEPS, "cpu", 5)
    bad = iter([False, True, *[False] * 100])
    train_step = loop.train_step

    def spoilt(*args: Any, **options: Any) -> Any:
        return train_step(*args, **options)._replace(is_broken=torch.tensor(next(bad)))

    monkeypatch.setattr(loop, "train_step", spoilt)
    outputs = outputs_in(tmp_path)
    with pytest.raises(DrumCrnnError, match=r"no longer finite at epoch 1, step 2, with excerpts of"):
        train(inputs, outputs, params_of(tmp_path, train={"checkpoint_every_steps": 4}))
    (checkpoint,) = outputs.resume.glob("*/checkpoint.pt")
    assert torch.load(checkpoint, weights_only=True)["state"]["step"] == 0


def test_a_gradient_that_explodes_stops_the_run(tmp_path: Path, inputs: TrainingInputs) -> None:
    outputs = outputs_in(tmp_path)
    explosive = {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}
    with pytest.raises(DrumCrnnError, match=r"no longer finite at epoch 1, step \d+"):
        train(inputs, outputs, params_of(tmp_path, train=explosive))
    assert not outputs.model.exists()


def test_shares_must_fit_the_ranks(tmp_path: Path, inputs: TrainingInputs) -> None:
    with pytest.raises(DrumCrnnError, match=r"rank_shares has 2 shares, but there are 1 ranks"):
        train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"rank_shares": [1, 2]}))


def test_a_model_that_hardly_fits_is_trained_in_micro_batches(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a device that holds three excerpts at most, a batch of eight works, and gives the same gradient."""
    forward = DrumCrnn.forward
    sizes: list[int] = []

    def limited(self: Any, frames: torch.Tensor) -> Any:
        if self.training:
            if len(frames) > 3:
                raise torch.OutOfMemoryError("faked")
            sizes.append(len(frames))
        return forward(self, frames)

    monkeypatch.setattr(DrumCrnn, "forward", limited)
    few = {"epochs": 1, "batch_size": 8}
    limited_run, whole_run = tmp_path / "limited", tmp_path / "whole"
    for folder in (limited_run, whole_run):
        folder.mkdir()
    train(inputs, outputs_in(limited_run), params_of(limited_run, train=few, model={"dropout": 0.0}))
    assert max(sizes) == 3
    figures = json.loads((limited_run / "logs" / "training.json").read_text())
    assert figures["shares"]["micro_batch"] == [3]
    monkeypatch.undo()
    train(inputs, outputs_in(whole_run), params_of(whole_run, train=few, model={"dropout": 0.0}))
    norms = [read_series(folder / "metrics", "train/gradient_norm")[0] for folder in (limited_run, whole_run)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_running_out_of_memory_later_is_an_error_for_people(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DrumCrnn, "forward", exhausted)
    with pytest.raises(DrumCrnnError, match=r"the GPU is out of memory; set train\.rank_shares to auto"):
        train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"rank_shares": "equal"}))


def test_nan_scores_are_not_written(tmp_path: Path, inputs: TrainingInputs) -> None:
    train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 1}))
    summary = json.loads((tmp_path / "metrics" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert all(math.isfinite(value) for value in summary["validation"].values())


def test_one_switch_turns_tensorboard_on(tmp_path: Path, inputs: TrainingInputs) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    params = params_of(tmp_path, train={"tensorboard": True, "image_every_epochs": 1})
    train(inputs, outputs_in(tmp_path), params)
    events = EventAccumulator(str(tmp_path / "logs" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("validation/f1")] == [1, 2]
    written = [event.value for event in events.Scalars("train/loss")]
    assert written == pytest.approx(read_series(tmp_path / "metrics", "train/loss"))
    assert len(events.Images("prediction")) == 2


def test_without_tensorboard_the_error_says_what_to_install(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DrumCrnnError, match=r"train\.tensorboard is true, .*pip install 'drum-crnn\[tensorboard\]'"):
        train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"tensorboard": True}))


def test_shares_are_measured_anew_where_a_checkpoint_meets_other_devices(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fitted into the memory of the card before may not fit into that of another."""
    measured: list[str] = []
    choose = resume.choose_shares
    monkeypatch.setattr(resume, "choose_shares", lambda run: measured.append(run.devices[0]) or choose(run))

    def stopped(*_: Any) -> Any:
        raise Interrupted("stopped")

    for name, validate in (("card A", stopped), ("card A", stopped), ("card B", lambda *_: METRICS)):
        monkeypatch.setattr("drum_crnn.training.run.device_name", lambda _, name=name: name)
        monkeypatch.setattr(loop, "validate", validate)
        with contextlib.suppress(Interrupted):
            train(inputs, outputs_in(tmp_path), params_of(tmp_path, train={"epochs": 1}))
    assert measured == ["card A", "card B"]
    assert json.loads((tmp_path / "logs" / "training.json").read_text())["devices"] == ["card B"]


def test_a_training_that_stopped_in_validation_resumes_to_the_same_weights(
    tmp_path: Path, inputs: TrainingInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    train(inputs, outputs_in(whole), params_of(whole, train={"loader_workers": 1}))

    def stop(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.0, 0.0

    with monkeypatch.context() as patch:
        patch.setattr("drum_crnn.training.validation._validation_loss", stop)
        with pytest.raises(Interrupted, match=r"stopped by SIGTERM at epoch 1, after its step 6, and saved"):
            train(inputs, outputs_in(stopped), params_of(stopped, train={"loader_workers": 1}))
    train(inputs, outputs_in(stopped), params_of(stopped, train={"loader_workers": 1}))
    one, other = ((folder / "models" / "crnn.safetensors").read_bytes() for folder in (whole, stopped))
    assert one == other
