"""Builds what the tests of the model's side need: small parameters, features of given audio, labels, models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from corpus_builder import catalog_entry
from first_party import ROOT
from miniature import miniature_params
from numpy.typing import NDArray
from scipy.io import wavfile
from yaml_files import read_yaml

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.model_params import ModelParams
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.preparation.extraction import extract_corpus
from drum_crnn.preparation.fingerprint import FileState, hash_files
from drum_crnn.training.augment import AugmentParams
from drum_crnn.training.train_params import TrainParams

PARAMS_FILE = ROOT / "params.yaml"
RATE = 44_100
HOP = 441

Section = TypeVar("Section", bound=ParamsSection)


def section(cls: type[Section], **changes: Any) -> Section:
    """A section of the project's own params.yaml, with some values changed; nested groups are merged."""
    values = read_yaml(PARAMS_FILE)[cls.section]
    return cls.check(_merged(values, changes), source="test")


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **values,
        **{
            key: _merged(values[key], change) if isinstance(change, Mapping) else change
            for key, change in changes.items()
        },
    }


def train_params(**changes: Any) -> TrainParams:
    """Section `train` of the miniature project."""
    return TrainParams.check({**miniature_params()["train"], **changes}, source="test")


def small_features(**changes: Any) -> FeatureParams:
    """Few bands and few shards at 100 frames a second."""
    return section(FeatureParams, **{"n_mels": 20, "n_fft": 1024, "fmin": 60.0, "n_shards": 3} | changes)


def small_model(**changes: Any) -> ModelParams:
    """A few thousand weights, short windows."""
    small = {"conv_channels": [3, 4, 5], "projection": 8, "gru_layers": 1, "gru_units": 6, "dropout": 0.1}
    return section(ModelParams, **small | {"window_frames": 60, "margin_frames": 12} | changes)


def augmentation(**changes: Any) -> AugmentParams:
    """All effects off but those in `changes`, which are on, and act on every excerpt unless they say otherwise."""
    effects = ("time_stretch", "pitch_shift", "reverb", "eq_tilt", "gain", "noise", "band_masks", "frame_masks")
    off: dict[str, Any] = {effect: {"enabled": False, "probability": 1.0} for effect in effects}
    on = {
        name: {"enabled": True, "probability": 1.0} | change if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return section(AugmentParams, **off | on)


def untrained(model: ModelParams | None = None, *, n_mels: int = 20, seed: int = 0) -> DrumCrnn:
    """A model with drawn weights, the same ones each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DrumCrnn(model or small_model(), n_mels=n_mels).eval()


def exported(path: Path, *, threshold: float = 0.01, features: FeatureParams | None = None) -> Path:
    """An exported model file with drawn weights, and one threshold for all lanes."""
    features = features or small_features()
    thresholds = (threshold,) * len(LANES)
    ModelFile(untrained(n_mels=features.n_mels), features, section(PeakPickingParams), thresholds).save(path)
    return path


def clicks(times_s: Sequence[float], duration_s: float, *, rate: int = RATE) -> NDArray[np.float32]:
    """Single samples of full scale."""
    audio = np.zeros(round(duration_s * rate), np.float32)
    audio[np.rint(np.asarray(times_s) * rate).astype(int)] = 0.9
    return audio


def noise(n_samples: int, *, seed: int = 0) -> NDArray[np.float32]:
    """White noise within ±0.5."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def write_corpus(root: Path, audio: Mapping[str, NDArray[np.float32]], *, rate: int = RATE) -> Catalog:
    """Write each recording as RECORDING.wav (float32) and catalogue it."""
    entries = []
    for recording, samples in sorted(audio.items()):
        path = root / f"{recording}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, rate, samples)  # the same bytes each time: libsndfile would put the time into it
        [(_, sha256)] = hash_files(root, [f"{recording}.wav"], description="")
        state = FileState(path.stat().st_size, sha256)
        entries.append(
            catalog_entry(
                recording,
                n_samples=len(samples),
                sample_rate=rate,
                audio_bytes=state.n_bytes,
                audio_sha256=state.sha256,
            )
        )
    return Catalog(tuple(entries))


def make_store(
    root: Path, audio: Mapping[str, NDArray[np.float32]], params: FeatureParams | None = None
) -> FeatureStore:
    """Features of recordings, extracted from audio files under `root` / audio into `root` / features."""
    catalog = write_corpus(root / "audio", audio)
    extract_corpus(root / "audio", catalog, root / "features", params or small_features(), n_workers=1)
    return FeatureStore.open(root / "features")


def onsets(*notes: tuple[float, int] | tuple[float, int, int]) -> Onsets:
    """Onsets given as (seconds, lane) or (seconds, lane, velocity)."""
    columns = [(note[0], note[1], note[2] if len(note) > 2 else 100) for note in notes]
    if not columns:
        return Onsets.empty()
    time_s, lane, velocity = zip(*columns, strict=True)
    return Onsets.in_order(time_s, lane, velocity)


def ignore(*windows: tuple[float, float, int]) -> IgnoreWindows:
    """Ignore windows given as (start in seconds, end in seconds, lane)."""
    if not windows:
        return IgnoreWindows.empty()
    start_s, end_s, lane = (np.array(column) for column in zip(*windows, strict=True))
    return IgnoreWindows(start_s, end_s, lane)


def make_labels(recordings: Mapping[str, Onsets | tuple[Onsets, IgnoreWindows]]) -> Labels:
    """Labels of recordings, with ignore windows or without."""
    pairs = [labels if isinstance(labels, tuple) else (labels, IgnoreWindows.empty()) for labels in recordings.values()]
    played, ignored = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Labels(
        tuple(recordings),
        np.cumsum([0, *map(len, played)]),
        np.concatenate([part.time_s for part in played]),
        np.concatenate([part.lane for part in played]).astype(np.int8),
        np.concatenate([part.velocity for part in played]).astype(np.uint8),
        np.cumsum([0, *map(len, ignored)]),
        np.concatenate([part.start_s for part in ignored]),
        np.concatenate([part.end_s for part in ignored]),
        np.concatenate([part.lane for part in ignored]).astype(np.int8),
    )
