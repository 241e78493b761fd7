"""In place of a model: exactly given peaks of activation in each recording."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import HOP, exported, make_store, noise, small_features

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.model.activations import Activations
from drum_crnn.music.lanes import N_LANES
from drum_crnn.scoring import prediction

Peak = tuple[float, int, float, int]  # seconds, lane, activation, velocity


class FakeModel:
    """Makes a store of recordings of noise, told apart by their length, and replaces the real predictions.

    Between the peaks, activations are 0. `predicted` lists the recordings in the order of their predictions.
    """

    def __init__(self, root: Path, peaks: Mapping[str, Sequence[Peak]], monkeypatch: pytest.MonkeyPatch) -> None:
        lengths = {name: 400 + place for place, name in enumerate(peaks)}
        self.store: FeatureStore = make_store(
            root, {name: noise(n_frames * HOP) for name, n_frames in lengths.items()}, small_features()
        )
        self.features = root / "features"
        self.file = exported(root / "model.safetensors", threshold=0.5)
        self.peaks = peaks
        self.predicted: list[str] = []
        self._name_of = {n_frames: name for name, n_frames in lengths.items()}
        monkeypatch.setattr(prediction, "activations_of_all", self)

    def __call__(self, model: Any, recordings: Iterable[np.ndarray], *, floor_db: float) -> Iterator[Activations]:
        assert floor_db == self.store.params.floor_db
        return map(self.activations_of, recordings)

    def activations_of(self, frames: np.ndarray) -> Activations:
        name = self._name_of[len(frames)]
        self.predicted.append(name)
        onset, velocity = np.zeros((len(frames), N_LANES), np.float32), np.zeros((len(frames), N_LANES), np.float32)
        for time_s, lane, activation, loudness in self.peaks[name]:
            onset[round(time_s * 100), lane] = activation
            velocity[round(time_s * 100), lane] = loudness
        return Activations(onset, velocity)


def asked_devices(monkeypatch: pytest.MonkeyPatch, module: str) -> list[str]:
    """The names of devices for which `module` asks from now on; it always gets the CPU."""
    asked: list[str] = []
    monkeypatch.setattr(f"{module}.choose_device", lambda name: asked.append(name) or torch.device("cpu"))
    return asked
