"""ONNX Runtime against PyTorch, with any network, length, block size and number of threads; and without PyTorch."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from builders import RATE, exported, noise, section, small_features, small_model, untrained
from first_party import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from typer.testing import CliRunner

from drum_crnn.cli import app
from drum_crnn.engine.graph import convolution_graph, network_graph
from drum_crnn.engine.session import CpuEngine
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.activations import Activations
from drum_crnn.model.inference import TorchEngine
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams, pick_peaks
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import Span

NETWORKS = {
    "rms": {"normalisation": "rms"},
    "layer": {"normalisation": "layer"},
    "deep": {"normalisation": "layer", "gru_layers": 2, "gru_units": 7, "projection": 5},
    "odd windows": {"window_frames": 61, "margin_frames": 9},
    "short windows": {"window_frames": 6, "margin_frames": 1},
    "odd bands": {"normalisation": "layer"},
}
# For an interpreter of its own; the argument is the model.
TRANSCRIBE_A_SECOND = (
    "import sys, numpy, pathlib; from drum_crnn.transcribe import Transcriber\n"
    "Transcriber.load(pathlib.Path(sys.argv[1])).transcribe(numpy.zeros(44100, 'float32'), 44100)\n"
)


@pytest.fixture(scope="module", params=NETWORKS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, which reacts to its input."""
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    features = small_features(**({"n_mels": 23} if request.param == "odd bands" else {}))
    model = untrained(small_model(**NETWORKS[request.param]), n_mels=features.n_mels)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if ".norm." in name:  # as after a training, and no longer all ones and zeros
                parameter += torch.empty_like(parameter).uniform_(-0.4, 0.4)
    ModelFile(model, features, section(PeakPickingParams), (0.5,) * 8).save(file)
    return file


def activations(engine: CpuEngine | TorchEngine, audio: np.ndarray, sizes: list[int] | None = None) -> Activations:
    def blocks() -> Iterator[np.ndarray]:
        start = 0
        for size in sizes or []:
            yield audio[start : start + size]
            start += size
        yield audio[start:]

    return Activations.concatenate(engine.activations(blocks()))


@pytest.mark.parametrize("n_samples", [0, 1, 441, 17 * RATE, 40 * RATE + 3])
def test_activations_are_those_of_pytorch(path: Path, n_samples: int) -> None:
    audio = noise(n_samples) * np.linspace(0, 1, n_samples, dtype=np.float32) ** 3
    found = activations(CpuEngine(StoredModel.load(path), precision="float32"), audio)
    expected = activations(TorchEngine(ModelFile.load(path)), audio)
    assert found.onset.shape == expected.onset.shape == (-(-n_samples // 441), 8)
    np.testing.assert_allclose(found.onset, expected.onset, atol=2e-5)
    np.testing.assert_allclose(found.velocity, expected.velocity, atol=127 * 2e-5)
    if n_samples > RATE:
        assert np.ptp(found.onset, axis=0).min() > 1e-4, "the model says the same of all frames, which tests nothing"


def test_eight_bits_change_little(path: Path) -> None:
    """By a tenth of a lane's spread at most; and most peaks stay, although this network has learned nothing."""
    audio = noise(20 * RATE) * np.abs(np.sin(np.arange(20 * RATE) / 3000)).astype(np.float32)
    stored = StoredModel.load(path)
    exact, found = (activations(CpuEngine(stored, precision=name), audio) for name in ("float32", "int8"))
    for one, other in zip(exact, found, strict=True):
        spread = np.ptp(one, axis=0)
        assert spread.min() > 0
        difference = np.abs(one - other) / spread
        assert 1e-6 < difference.mean() < 0.01
        assert difference.max() < 0.1
    params = section(PeakPickingParams)
    for lane in range(8):
        one, other = (
            set(pick_peaks(part.onset[:, lane], threshold=1e-3, params=params).tolist()) for part in (exact, found)
        )
        assert len(one & other) > 0.8 * len(one | other) > 20


def test_weights_in_eight_bits_leave_room_for_sums_of_two(path: Path) -> None:
    """255 · 63 · 2 is less than 2¹⁵: so processors without VNNI, which add pairs in 16 bits, get the same results."""
    graph = onnx.load_from_string(convolution_graph(StoredModel.load(path), precision="int8")).graph
    rounded = [numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    assert len(rounded) == 3
    for weights in rounded:
        assert np.abs(weights).max() == 63


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(0, 300_000), max_size=8), n_threads=st.integers(1, 5))
def test_blocks_and_threads_change_no_bit(sizes: list[int], n_threads: int) -> None:
    whole, other = (activations(_engine(threads), AUDIO, blocks) for threads, blocks in ((1, []), (n_threads, sizes)))
    np.testing.assert_array_equal(whole.onset, other.onset)
    np.testing.assert_array_equal(whole.velocity, other.velocity)


class _Whole(CpuEngine):
    """Computes the last span in one piece, as all others."""

    def _parts(self, span: Span) -> Iterator[tuple[Span, int]]:
        yield span, 0


@settings(max_examples=15, deadline=None)
@given(n_samples=st.integers(0, 50 * RATE))
def test_sharing_the_last_span_changes_no_bit(n_samples: int) -> None:
    shared, whole = (activations(_engine(2, kind), AUDIO[:n_samples]) for kind in (CpuEngine, _Whole))
    np.testing.assert_array_equal(shared.onset, whole.onset)
    np.testing.assert_array_equal(shared.velocity, whole.velocity)


@pytest.mark.parametrize("n_frames", [[1], [60], [48, 13], [300, 300], [588, 13], [588, 36, 16]], ids=str)
def test_the_last_span_is_shared_if_it_has_several_windows(n_frames: list[int]) -> None:
    """Windows of this network have 60 frames, 12 of them on either side for context; spans have 600."""
    parts = list(_engine(1).activations([AUDIO[: sum(n_frames) * 441]]))
    assert [len(part.onset) for part in parts] == n_frames


AUDIO = noise(50 * RATE)
_ENGINES: dict[tuple[int, type[CpuEngine]], CpuEngine] = {}


def _engine(n_threads: int, kind: type[CpuEngine] = CpuEngine) -> CpuEngine:
    if (n_threads, kind) not in _ENGINES:
        features = small_features()
        model = ModelFile(untrained(small_model(), n_mels=features.n_mels), features)
        weights = {name: tensor.numpy() for name, tensor in model.model.state_dict().items()}
        stored = StoredModel(weights, model.model.params, features)
        _ENGINES[n_threads, kind] = kind(stored, n_threads=n_threads)
    return _ENGINES[n_threads, kind]


def test_a_reader_that_stops_early_leaves_nothing_running() -> None:
    read = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(100):
            read.append(number)
            yield AUDIO[: 10 * RATE]

    parts = _engine(2).activations(blocks())
    next(parts)
    parts.close()
    assert len(read) < 20  # memory is bounded: the recording is read as far as it is computed


def test_the_graph_is_valid_and_the_same_each_time(path: Path) -> None:
    stored = StoredModel.load(path)
    graph = network_graph(stored)
    assert graph == network_graph(stored)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_file_for_other_programs_holds_graph_and_settings(path: Path, tmp_path: Path, precision: str) -> None:
    result = CliRunner().invoke(app, ["onnx", str(path), str(tmp_path / "x.onnx"), "--precision", precision])
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["drum_crnn"])
    stored = StoredModel.load(path)
    assert about["thresholds"] == dict(zip(LANES, stored.thresholds or (), strict=True))
    assert about["features"]["n_mels"] == stored.features.n_mels
    frames = np.full((2, 50, stored.features.n_mels), -30.0, np.float32)
    onset, velocity = session.run(["onset", "velocity"], {"frames": frames})
    assert onset.shape == velocity.shape == (2, 50, 8)
    operators = {node.op_type for node in onnx.load(tmp_path / "x.onnx").graph.node}
    assert ("MatMulIntegerToFloat" in operators) == (precision == "int8")


def test_weights_that_are_missing_are_named(path: Path) -> None:
    stored = StoredModel.load(path)
    weights = {name: weight for name, weight in stored.weights.items() if name != "project.bias"}
    with pytest.raises(DrumCrnnError, match=r"do not fit its description: 'project\.bias' is missing"):
        network_graph(StoredModel(weights, stored.params, stored.features))


def test_threads_are_as_many_as_omp_num_threads_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert CpuEngine(StoredModel.load(path)).n_threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert CpuEngine(StoredModel.load(path)).n_threads >= 1


@pytest.mark.processes
def test_transcribing_loads_no_pytorch(tmp_path: Path) -> None:
    """It takes two seconds to import: longer than a song on this engine; scipy.fft takes a fifth of a second.

    `onnx` takes a twentieth.
    """
    exported(tmp_path / "model.safetensors")
    imported = "print(sorted({'torch', 'torchaudio', 'librosa', 'sklearn', 'scipy.fft', 'onnx'} & set(sys.modules)))"
    command = [sys.executable, "-c", TRANSCRIBE_A_SECOND + imported, str(tmp_path / "model.safetensors")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.mark.processes
def test_no_use_is_reported_to_the_maker_of_the_runtime(tmp_path: Path) -> None:
    """ONNX Runtime 1.32 keeps a number of the user and a database of reports to send, unless it is told not to."""
    exported(tmp_path / "model.safetensors")
    command = [sys.executable, "-c", TRANSCRIBE_A_SECOND, "model.safetensors"]
    left_out = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "home").mkdir()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert list((tmp_path / "home").rglob("*")) == []
