"""Whatever bytes a file holds, its reader gives a result or a sentence. `benchmarks/fuzz.py` tries many more."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from builders import RATE, exported
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from benchmarks.fuzz import damaged, outcome, seeds
from drum_crnn.engine.session import CpuEngine
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.midi import read_midi
from drum_crnn.music.midi_tempo import read_tempo_map

KINDS = ("wav", "flac", "ogg", "mp3", "aiff", "w64", "caf", "mid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.fixture(autouse=True)
def _without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def decode(path: Path) -> int:
    return sum(map(len, read_blocks(path, sample_rate=RATE)))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(folder: Path, kind: str) -> None:
    content, readers = seeds(folder)[kind]
    assert outcome(folder / f"x.{kind}", content, readers, 0) == "results"
    became = [outcome(folder / f"x.{kind}", damaged(content, seed), readers, seed) for seed in range(300)]
    assert "failures" not in became
    assert "sentences" in became


@pytest.mark.parametrize("start", [b"", b"RIFF\0\0\1\0WAVEfmt ", b"fLaC", b"OggS", b"ID3", b"\xff\xfb\x90", b"FORM"])
@given(content=st.binary(min_size=0, max_size=300))
@settings(max_examples=60)
def test_random_bytes_as_audio(folder: Path, start: bytes, content: bytes) -> None:
    (folder / "x").write_bytes(start + content)
    with suppress(DrumCrnnError):
        decode(folder / "x")


@pytest.mark.parametrize("read", [read_midi, read_tempo_map])
@pytest.mark.parametrize("start", [b"", b"MThd\0\0\0\6", b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\0\x20"])
@given(content=st.binary(max_size=100))
@settings(max_examples=100)
def test_random_bytes_as_midi(folder: Path, read: Callable[[Path], object], start: bytes, content: bytes) -> None:
    (folder / "x.mid").write_bytes(start + content)
    with suppress(DrumCrnnError):
        read(folder / "x.mid")


@given(content=st.binary(max_size=300), length=st.integers(0, 400))
@settings(max_examples=200)
def test_random_bytes_as_a_model(folder: Path, content: bytes, length: int) -> None:
    (folder / "x.safetensors").write_bytes(length.to_bytes(8, "little") + content)
    with pytest.raises(DrumCrnnError):
        StoredModel.load(folder / "x.safetensors")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def good_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    path = exported(tmp_path_factory.mktemp("model") / "model.safetensors")
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"]["drum_crnn"])
    del about["sha256"]  # as in the first releases
    return about, dict(StoredModel.load(path).weights)


@given(data=st.data())
@settings(max_examples=300)
def test_a_model_whose_description_says_anything(
    folder: Path, good_model: tuple[dict[str, object], dict[str, np.ndarray]], data: st.DataObject
) -> None:
    about, weights = good_model
    changed = json.loads(json.dumps(about))
    key = data.draw(st.sampled_from([*about, ""]))
    if not key:
        changed = data.draw(JSON)
    elif isinstance(changed[key], dict) and data.draw(st.booleans()):
        changed[key][data.draw(st.sampled_from(sorted(changed[key])))] = data.draw(JSON)
    else:
        changed[key] = data.draw(JSON)
    (folder / "x.safetensors").write_bytes(save(weights, {"drum_crnn": json.dumps(changed)}))
    with suppress(DrumCrnnError):
        StoredModel.load(folder / "x.safetensors")


@pytest.mark.parametrize("description", ["[" * 100_000, "{", "1e999", '"', '{"format": 1, "thresholds": []}'])
def test_a_model_whose_description_is_no_description(folder: Path, description: str) -> None:
    (folder / "x.safetensors").write_bytes(save({"a": np.zeros(3, np.float32)}, {"drum_crnn": description}))
    with pytest.raises(DrumCrnnError):
        StoredModel.load(folder / "x.safetensors")


def test_a_model_with_weights_of_another_shape(
    folder: Path, good_model: tuple[dict[str, object], dict[str, np.ndarray]]
) -> None:
    about, weights = good_model
    for name in ("project.weight", "gru.weight_hh_l0", "head.bias"):
        (folder / "x.safetensors").write_bytes(
            save(weights | {name: np.zeros(3, np.float32)}, {"drum_crnn": json.dumps(about)})
        )
        with pytest.raises(DrumCrnnError, match="do not fit its description"):
            CpuEngine(StoredModel.load(folder / "x.safetensors"))


def test_a_rate_that_no_sound_has(folder: Path) -> None:
    """A damaged header; a second of it would become thousands, all in memory."""
    content = bytearray(seeds(folder)["wav"][0])
    content[24:28] = (3).to_bytes(4, "little")
    (folder / "x.wav").write_bytes(content)
    with pytest.raises(DrumCrnnError, match="has a sample rate of 3 Hz, too low for sound"):
        decode(folder / "x.wav")
