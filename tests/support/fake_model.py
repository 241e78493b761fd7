"""In place of a model: recordings in which exactly given onsets are heard, each with a given activation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import HOP, exported, make_store, noise, small_features

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.model.inference import Activations
from drum_crnn.music.lanes import N_LANES

Heard = tuple[float, int, float, int]  # seconds, lane, activation, velocity


class FakeHearing:
    """Makes a store of silent recordings, told apart by their length, and answers for `activations_of`."""

    def __init__(self, root: Path, heard: Mapping[str, Sequence[Heard]], monkeypatch: pytest.MonkeyPatch) -> None:
        lengths = {name: 400 + place for place, name in enumerate(heard)}
        self.store: FeatureStore = make_store(
            root, {name: noise(n_frames * HOP) for name, n_frames in lengths.items()}, small_features()
        )
        self.features = root / "features"
        self.model = exported(root / "model.safetensors", threshold=0.5)
        self.asked: list[str] = []
        self._name_of = {n_frames: name for name, n_frames in lengths.items()}
        self.heard = heard
        for module in ("listening", "evaluation"):
            monkeypatch.setattr(f"drum_crnn.{module}.activations_of", self)

    def __call__(self, model: Any, frames: np.ndarray, *, floor_db: float) -> Activations:
        assert floor_db == self.store.params.floor_db
        name = self._name_of[len(frames)]
        self.asked.append(name)
        onset, velocity = np.zeros((len(frames), N_LANES), np.float32), np.zeros((len(frames), N_LANES), np.float32)
        for time_s, lane, activation, loudness in self.heard[name]:
            onset[round(time_s * 100), lane] = activation
            velocity[round(time_s * 100), lane] = loudness
        return Activations(onset, velocity)
