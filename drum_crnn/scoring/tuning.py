"""Choosing each lane's threshold in the validation split."""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import Splits
from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.console import track
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.tables import write_records, write_table
from drum_crnn.model.device import choose_device
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.scoring.counting import TOLERANCE_S
from drum_crnn.scoring.prediction import predict_recordings
from drum_crnn.scoring.sweep import ThresholdCurve, counts_at, merge_curves, sweep_lane
from drum_crnn.scoring.thresholds import ThresholdParams, Transfer, transfers, tune

__all__ = ["TuningInputs", "TuningOutputs", "tune_thresholds", "validation_curves"]

_LOWEST_PLOTTED = 0.05
# A plotted curve has a point at each fiftieth of the threshold, and one wherever recall has grown by a twentieth. Most
# activations of a confident model lie within the last fiftieth, and with them most of its precision–recall curve.
_STEPS_OF_THRESHOLD, _STEPS_OF_RECALL = 50, 20


@dataclass(frozen=True, slots=True)
class TuningInputs:
    """What the tuning of thresholds reads."""

    model: Path
    features: Path
    labels: Path
    splits: Path


@dataclass(frozen=True, slots=True)
class TuningOutputs:
    """What it writes: the thresholds (JSON), the curves behind them, and their scores on other kits (CSV)."""

    thresholds: Path
    curves: Path
    transfer: Path


def validation_curves(
    model: ModelFile,
    store: FeatureStore,
    labels: Labels,
    splits: Splits,
    *,
    thresholds: ThresholdParams,
    peak_picking: PeakPickingParams,
) -> dict[str, list[ThresholdCurve]]:
    """Scores of every lane at every threshold, for each kit of the validation split. The test split is never read."""
    kit_of = {row.recording: row.kit for row in splits.rows if row.split == "validation"}
    if not kit_of:
        raise DrumCrnnError("no recording is in the validation split; see section 'split' of params.yaml")
    # Kit by kit, so that the peaks of one at a time are kept.
    recordings = sorted(kit_of, key=lambda recording: (kit_of[recording], recording))
    predictions = predict_recordings(
        model.model,
        store,
        labels,
        track(recordings, description="tune-thresholds"),
        min_activation=min(thresholds.floor, _LOWEST_PLOTTED),
        peak_picking=peak_picking,
    )
    curves = {}
    for kit, of_kit in itertools.groupby(predictions, key=lambda prediction: kit_of[prediction.recording]):
        of_lanes = zip(*(prediction.peaks for prediction in of_kit), strict=True)
        curves[kit] = [sweep_lane(of_lane, tolerance_s=TOLERANCE_S) for of_lane in of_lanes]
    return curves


def tune_thresholds(
    inputs: TuningInputs,
    outputs: TuningOutputs,
    *,
    thresholds: ThresholdParams,
    peak_picking: PeakPickingParams,
) -> None:
    """Choose each lane's threshold from the curves of all kits pooled, and write what `TuningOutputs` says.

    `outputs.transfer` shows for every rule what the thresholds chosen on one kit score on another. So the rule can be
    chosen in the validation split as well.

    Thresholds hold for the peaks that they were chosen for, so `peak_picking` is written beside them.

    Raises
    ------
    DrumCrnnError
        If the validation split has no recording or no onset, or a file cannot be read.
    """
    model = ModelFile.load(inputs.model, device=choose_device("auto"))
    splits = Splits.read(inputs.splits)
    curves_of = validation_curves(
        model,
        FeatureStore.open(inputs.features),
        Labels.read(inputs.labels, of=set(splits.recordings("validation"))),
        splits,
        thresholds=thresholds,
        peak_picking=peak_picking,
    )
    curves = [merge_curves(of_lane) for of_lane in zip(*curves_of.values(), strict=True)]
    tuned = tune(curves, params=thresholds)
    counts = counts_at(curves, tuned.threshold)
    scores = dict(zip(("sum", *LANES), (counts.sum_f(), *counts.f()), strict=True))
    document = {
        "thresholds": {lane: round(float(tuned.threshold[index]), 6) for index, lane in enumerate(LANES)},
        "too_few_onsets": [lane for index, lane in enumerate(LANES) if tuned.is_pooled[index]],
        "peak_picking": peak_picking.model_dump(),
        "validation_f1": {name: None if math.isnan(f) else round(float(f), 6) for name, f in scores.items()},
    }
    rows = [
        {"lane": lane} | row
        for lane, curve, chosen in zip(LANES, curves, tuned.threshold, strict=True)
        for row in _plotted(curve, float(chosen))
    ]
    write_records(outputs.curves, rows)
    write_table(
        outputs.transfer,
        Transfer._fields,
        ((*names, f"{f:.5f}", f"{f_own:.5f}") for *names, f, f_own in transfers(curves_of, params=thresholds)),
    )
    write_text(outputs.thresholds, json.dumps(document, indent=2) + "\n")


def _plotted(curve: ThresholdCurve, chosen: float) -> list[dict[str, str]]:
    """Rows of threshold, precision, recall, F, and whether the threshold is the chosen one; thresholds increase.

    There are no rows below the lowest peak, and none for a lane without references. Where no peak reaches a threshold,
    precision is empty.
    """
    if curve.n_references == 0:
        return []
    grid = np.arange(1, _STEPS_OF_THRESHOLD + 1) / _STEPS_OF_THRESHOLD
    wanted_tp = np.arange(1, _STEPS_OF_RECALL + 1) / _STEPS_OF_RECALL * curve.n_references
    reaches = np.searchsorted(curve.tp, wanted_tp)
    of_recall = curve.threshold[reaches[reaches < len(curve.threshold)]]
    lowest = curve.threshold[-1] if len(curve.threshold) else 0.0
    threshold = np.unique(np.concatenate([grid[grid >= lowest], of_recall, [chosen]]))
    counts = curve.at(threshold)
    columns = (threshold, counts.tp + counts.fp, counts.precision(), counts.recall(), counts.f())
    return [
        {
            "threshold": f"{at:.5f}",
            "precision": f"{precision:.5f}" if n_estimates else "",
            "recall": f"{recall:.5f}",
            "f": f"{f:.5f}",
            "chosen": str(int(at == chosen)),
        }
        for at, n_estimates, precision, recall, f in zip(*columns, strict=True)
    ]
