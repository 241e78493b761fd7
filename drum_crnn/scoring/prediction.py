"""Predicting labelled recordings one by one, for validation, threshold tuning and evaluation."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.model.activations import Activations
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.inference import activations_of_all
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.scoring.sweep import LanePeaks, peaks_of_lanes

__all__ = ["Prediction", "predict_recordings"]


class Prediction(NamedTuple):
    """The activations of a recording, and the peaks of each lane with its reference onsets."""

    recording: str
    activations: Activations
    peaks: list[LanePeaks]


def predict_recordings(
    model: DrumCrnn,
    store: FeatureStore,
    labels: Labels,
    recordings: Iterable[str],
    *,
    min_activation: float,
    peak_picking: PeakPickingParams,
) -> Iterator[Prediction]:
    """Predict recordings in the order given; `min_activation` and `peak_picking` as for `peaks_of_lanes`."""
    read: deque[str] = deque()  # names of recordings whose activations have not come yet

    def frames() -> Iterator[NDArray[np.float32]]:
        for recording in recordings:
            read.append(recording)
            yield store.read(recording)

    for activations in activations_of_all(model, frames(), floor_db=store.params.floor_db):
        recording = read.popleft()
        peaks = peaks_of_lanes(
            activations.onset,
            labels.onsets(recording),
            labels.ignored(recording),
            frame_rate=store.params.frame_rate,
            min_activation=min_activation,
            params=peak_picking,
        )
        yield Prediction(recording, activations, peaks)
