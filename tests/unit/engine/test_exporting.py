"""The mean of two models."""

from pathlib import Path

import pytest
import torch
from builders import small_features, small_model, untrained
from typer.testing import CliRunner

from drum_crnn.cli import app
from drum_crnn.engine.exporting import average_models
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.model_file import ModelFile


def saved(path: Path, *, seed: int, channels: tuple[int, ...] | None = None) -> ModelFile:
    model = small_model() if channels is None else small_model(conv_channels=channels)
    features = small_features()
    file = ModelFile(untrained(model, n_mels=features.n_mels, seed=seed), features)
    file.save(path)
    return file


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_each_weight_is_the_mean(tmp_path: Path, share: float) -> None:
    one, other = (saved(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (0, 1))
    average_models(tmp_path / "0.safetensors", tmp_path / "1.safetensors", tmp_path / "m.safetensors", share=share)
    mean = ModelFile.load(tmp_path / "m.safetensors")
    assert mean.thresholds is None
    others = other.model.state_dict()
    for name, weights in one.model.state_dict().items():
        expected = (1 - share) * weights + share * others[name]
        torch.testing.assert_close(mean.model.state_dict()[name], expected)


def test_models_of_two_sizes_have_no_mean(tmp_path: Path) -> None:
    saved(tmp_path / "0.safetensors", seed=0)
    saved(tmp_path / "1.safetensors", seed=1, channels=(3, 5, 7))
    with pytest.raises(DrumCrnnError, match="differ in size or features"):
        average_models(tmp_path / "0.safetensors", tmp_path / "1.safetensors", tmp_path / "m.safetensors", share=0.5)


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    for seed in (0, 1):
        saved(tmp_path / f"{seed}.safetensors", seed=seed)
    paths = [str(tmp_path / name) for name in ("0.safetensors", "1.safetensors", "m.safetensors")]
    done = CliRunner().invoke(app, ["average", *paths, "--share", "0.25"])
    assert done.exit_code == 0, done.output
    assert "0.75 of" in done.output
    missing = CliRunner().invoke(app, ["average", str(tmp_path / "none"), *paths[1:]])
    assert missing.exit_code == 1
    assert "there is no such model" in " ".join(missing.output.split())
