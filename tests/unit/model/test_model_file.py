"""Model files: round trips to the last bit, equal bytes, and every way in which a file can be wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import exported, section, small_features, small_model, untrained
from safetensors import safe_open
from safetensors.torch import save_file

from drum_crnn.engine.exporting import export_model
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES

THRESHOLDS = tuple(0.1 + 0.1 * lane for lane in range(8))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A model file as training writes it, without thresholds."""
    path = tmp_path / "crnn.safetensors"
    ModelFile(untrained(), small_features()).save(path)
    return path


def write_thresholds(path: Path, **changes: Any) -> Path:
    document = {"thresholds": dict(zip(LANES, THRESHOLDS, strict=True)), "peak_picking": {"max_radius": 3}}
    path.write_text(json.dumps(document | changes), encoding="utf-8")
    return path


def rewritten(path: Path, **changes: Any) -> Path:
    """The same file with a changed description, and without a checksum, like the files of the first releases."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["drum_crnn"])
        del about["sha256"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"drum_crnn": json.dumps(about | changes)})
    return path


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    model = ModelFile(untrained(seed=3), small_features(), section(PeakPickingParams), THRESHOLDS)
    model.save(tmp_path / "model.safetensors")
    loaded = ModelFile.load(tmp_path / "model.safetensors")
    assert loaded.features == model.features
    assert loaded.peak_picking == model.peak_picking
    assert loaded.thresholds == THRESHOLDS
    assert loaded.model.params == model.model.params
    assert loaded.model.n_mels == model.model.n_mels
    assert not loaded.model.training
    x = torch.rand((1, 40, 20)) * -90.0
    for one, other in zip(model.model(x), loaded.model(x), strict=True):
        assert torch.equal(one, other)
    assert model.model.state_dict().keys() == loaded.model.state_dict().keys()
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_training_file_holds_no_thresholds(weights: Path) -> None:
    assert ModelFile.load(weights).thresholds is None
    assert ModelFile.load(weights).peak_picking is None


@pytest.mark.processes
def test_same_content_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    command = "import sys; from pathlib import Path; from builders import exported; exported(Path(sys.argv[1]))"
    here, there = exported(tmp_path / "here.safetensors"), tmp_path / "there.safetensors"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", command, str(there)], env=environment, check=True)
    assert here.read_bytes() == there.read_bytes() == exported(tmp_path / "again.safetensors").read_bytes()


def test_export_merges_weights_and_thresholds(weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "drum_crnn.safetensors"
    export_model(weights, write_thresholds(tmp_path / "thresholds.json"), target)
    merged, alone = ModelFile.load(target), ModelFile.load(weights)
    assert merged.thresholds == pytest.approx(THRESHOLDS)
    assert merged.peak_picking == PeakPickingParams(max_radius=3)
    assert merged.features == alone.features
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(merged.model.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable model file"),
        (b"hello, this is some text and no model at all", "not a readable model file"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00not json, is it?", "not a readable model file"),
        (None, "there is no such model; `make repro` trains one"),
    ],
)
def test_file_that_is_no_model(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=rf"x\.safetensors: .*{words}"):
        ModelFile.load(path)


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_model(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(DrumCrnnError, match=r"crnn\.safetensors: is not a readable model file"):
        ModelFile.load(weights)


def test_a_file_of_the_first_releases_has_no_checksum_and_is_read(tmp_path: Path) -> None:
    path = rewritten(exported(tmp_path / "model.safetensors"))
    assert ModelFile.load(path).thresholds == (0.01,) * len(LANES)


def test_any_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """In the weights and in the thresholds alike."""
    path = exported(tmp_path / "model.safetensors")
    content, whole = path.read_bytes(), ModelFile.load(path)
    n_noticed, places = 0, [*range(0, len(content), 97), *range(8)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            loaded = ModelFile.load(path)
        except DrumCrnnError as error:
            n_noticed += 1
            assert str(error).startswith(f"{path}: is ")  # noqa: PT017  # not every bit is noticed
        else:  # the flipped bit was in the name of the checksum itself
            assert loaded.thresholds == whole.thresholds
            for name, tensor in whole.model.state_dict().items():
                assert torch.equal(loaded.model.state_dict()[name], tensor)
    assert n_noticed > 0.99 * len(places)


def test_somebody_elses_safetensors(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "bert.safetensors")
    with pytest.raises(DrumCrnnError, match=r"bert\.safetensors: is a safetensors file, but not a model of drum_crnn"):
        ModelFile.load(tmp_path / "bert.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lanes": [*LANES[:-1], "cowbell"]}, "another version"),
        ({"lanes": list(LANES[::-1])}, "another version"),
        ({"lanes": None}, "another version"),
        ({"format": 99}, "another version"),
        ({"model": small_model(gru_units=7).model_dump()}, "weights do not fit its description"),
        ({"model": None}, r"model\.conv_channels: is missing"),
        ({"features": {}}, r"features\.sample_rate: is missing"),
        ({"features": small_features().model_dump() | {"n_mels": "many"}}, r"features\.n_mels"),
        ({"thresholds": {"kick": 0.5}}, "no threshold of lane 'snare'"),
        ({"thresholds": [0.5] * 8}, "no threshold for each lane"),
        ({"thresholds": dict.fromkeys(LANES, 0.0)}, "above 0 and at most 1"),
        ({"peak_picking": {"max_radius": 0}}, r"peak_picking\.max_radius"),
    ],
)
def test_description_that_does_not_belong(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = rewritten(exported(tmp_path / "model.safetensors"), **changes)
    with pytest.raises(DrumCrnnError, match=rf"model\.safetensors: .*{words}"):
        ModelFile.load(path)


def test_description_that_is_no_mapping(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "m.safetensors", metadata={"drum_crnn": "[1]"})
    with pytest.raises(DrumCrnnError, match="another version"):
        ModelFile.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file; `dvc repro tune-thresholds` makes it"),
        ("{", "is not readable JSON"),
        ("[]", "holds no thresholds"),
        ('{"thresholds": {"kick": 0.5}}', "no threshold of lane 'snare'"),
        ('{"thresholds": null}', "no threshold for each lane"),
        (json.dumps({"thresholds": dict.fromkeys(LANES, "loud")}), "no threshold for each lane"),
        (json.dumps({"thresholds": dict.fromkeys(LANES, float("nan"))}), "above 0 and at most 1"),
        (json.dumps({"thresholds": dict.fromkeys(LANES, 0.5)}), r"peak_picking\.max_radius: is missing"),
    ],
)
def test_export_of_bad_thresholds_names_the_file_and_writes_nothing(
    weights: Path, tmp_path: Path, text: str | None, words: str
) -> None:
    path, target = tmp_path / "thresholds.json", tmp_path / "out" / "model.safetensors"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DrumCrnnError, match=rf"thresholds\.json: .*{words}"):
        export_model(weights, path, target)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
