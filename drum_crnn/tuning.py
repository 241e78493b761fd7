"""Choosing each lane's threshold on the validation side."""

import json
import math
from pathlib import Path

import numpy as np

from drum_crnn.atomic import write_text
from drum_crnn.console import track
from drum_crnn.errors import DrumCrnnError
from drum_crnn.feature_store import FeatureStore
from drum_crnn.labels import Labels
from drum_crnn.lanes import LANES
from drum_crnn.listening import listen
from drum_crnn.metrics import TOLERANCE_S, LaneCounts
from drum_crnn.model_file import ModelFile
from drum_crnn.peak_picking import PeakPickingParams
from drum_crnn.splits import Splits
from drum_crnn.tables import write_records
from drum_crnn.thresholds import ThresholdCurve, ThresholdParams, sweep_lane, tune

__all__ = ["tune_thresholds", "validation_curves"]

_LOWEST_PLOTTED = 0.05
_PLOTTED_POINTS = 50


def validation_curves(
    model: ModelFile,
    store: FeatureStore,
    labels: Labels,
    splits: Splits,
    *,
    thresholds: ThresholdParams,
    peak_picking: PeakPickingParams,
) -> list[ThresholdCurve]:
    """Scores of every lane at every threshold, over the validation side. The test side is not looked at."""
    recordings = splits.side("validation")
    if not recordings:
        raise DrumCrnnError("no recording is on the validation side; see section 'split' of params.yaml")
    heard = [
        of_recording.peaks
        for of_recording in listen(
            model.model,
            store,
            labels,
            track(recordings, description="listen"),
            min_activation=min(thresholds.floor, _LOWEST_PLOTTED),
            peak_picking=peak_picking,
        )
    ]
    return [sweep_lane([peaks[lane] for peaks in heard], tolerance_s=TOLERANCE_S) for lane in range(len(LANES))]


def tune_thresholds(
    model_path: Path,
    features: Path,
    labels: Path,
    splits: Path,
    target: Path,
    curves_csv: Path,
    *,
    thresholds: ThresholdParams,
    peak_picking: PeakPickingParams,
) -> None:
    """Choose thresholds and write them (JSON), and the curves they were chosen from (CSV).

    The thresholds belong to the peaks they were chosen for, so `peak_picking` is written beside them.
    """
    model = ModelFile.load(model_path)
    curves = validation_curves(
        model,
        FeatureStore.open(features),
        Labels.read(labels),
        Splits.read(splits),
        thresholds=thresholds,
        peak_picking=peak_picking,
    )
    tuned = tune(curves, params=thresholds)
    at = [curve.at(tuned.threshold[lane : lane + 1]) for lane, curve in enumerate(curves)]
    counts = LaneCounts(*(np.concatenate([getattr(of_lane, part) for of_lane in at]) for part in ("tp", "fp", "fn")))
    scores = dict(zip(("sum", *LANES), (counts.sum_f(), *counts.f()), strict=True))
    document = {
        "thresholds": {lane: round(float(tuned.threshold[index]), 6) for index, lane in enumerate(LANES)},
        "too_few_onsets": [lane for index, lane in enumerate(LANES) if tuned.is_pooled[index]],
        "peak_picking": peak_picking.model_dump(),
        "validation_f1": {name: None if math.isnan(f) else round(float(f), 6) for name, f in scores.items()},
    }
    rows = [
        {"lane": lane} | {name: f"{value:.5f}" for name, value in row.items()}
        for lane, curve in zip(LANES, curves, strict=True)
        for row in curve.table(_PLOTTED_POINTS)
    ]
    write_records(curves_csv, rows)
    write_text(target, json.dumps(document, indent=2) + "\n")
