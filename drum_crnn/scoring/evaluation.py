"""Scores of an exported model in the test split: a few numbers, tables, which DVC plots, and a picture."""

import functools
import json
import math
import operator
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import Splits
from drum_crnn.foundation.atomic import replace_directory, write_text
from drum_crnn.foundation.console import track
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.foundation.tables import write_records, write_table
from drum_crnn.model.activations import onsets_of
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.device import choose_device
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.scoring.counting import STRICT_TOLERANCE_S, TOLERANCE_S, LaneCounts
from drum_crnn.scoring.curves import Detections, ReliabilityBins, average_precision, precision_recall
from drum_crnn.scoring.metrics import (
    CLASSES,
    Interval,
    Matches,
    PairErrors,
    bootstrap_interval,
    count_by_group,
    count_classes,
    match_onsets,
    timing_of_lanes,
    velocity_mae,
)
from drum_crnn.scoring.prediction import predict_recordings
from drum_crnn.scoring.rolls import choose_rolls, paint_rolls
from drum_crnn.scoring.sweep import LanePeaks, ThresholdCurve

__all__ = [
    "EvaluateParams",
    "EvaluationInputs",
    "EvaluationOutputs",
    "MatchedRecording",
    "ScoredRecording",
    "evaluate",
    "match_recordings",
]

NOTHING = "nothing"  # the row of extras and the column of misses in the confusion
_TIMING_BIN_S = 0.002
_STEPS_OF_RECALL = 50  # points of a precision–recall curve in its table


class EvaluateParams(ParamsSection):
    """Section `evaluate`: how sure the scores are."""

    section: ClassVar[str] = "evaluate"

    n_resamples: int = Field(gt=0)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What an evaluation reads."""

    model: Path
    features: Path
    labels: Path
    splits: Path
    catalog: Path


@dataclass(frozen=True, slots=True)
class EvaluationOutputs:
    """What an evaluation writes: a few numbers (JSON), and a folder of tables (CSV) with a picture."""

    scores: Path
    tables: Path


@dataclass(frozen=True, slots=True)
class MatchedRecording:
    """One recording: its onsets matched at both tolerances, its counts in `CLASSES`, and the peaks of each lane."""

    recording: str
    matches: Matches
    strict: Matches
    classes: LaneCounts
    peaks: Sequence[LanePeaks]


@dataclass(frozen=True, slots=True)
class ScoredRecording:
    """What of a recording is kept until all are scored: no onset but the errors of those that are matched."""

    entry: CatalogEntry
    counts: LaneCounts
    strict: LaneCounts
    velocity: LaneCounts
    classes: LaneCounts
    confusion: NDArray[np.int64]
    errors: PairErrors

    @classmethod
    def of(cls, entry: CatalogEntry, matched: MatchedRecording) -> Self:
        """Score a recording."""
        matches = matched.matches
        return cls(
            entry,
            matches.counts(),
            matched.strict.counts(),
            matches.velocity_counts(),
            matched.classes,
            matches.confusion(),
            matches.errors(),
        )


def evaluate(inputs: EvaluationInputs, outputs: EvaluationOutputs, params: EvaluateParams) -> None:
    """Score a model in the test split.

    `outputs.scores` gets few and flat numbers, for comparing experiments. `outputs.tables` gets all else, and a
    picture of references and estimates in a few recordings (see `drum_crnn.scoring.rolls`).

    Raises
    ------
    DrumCrnnError
        If the test split is empty, or a file cannot be read, or the model holds no thresholds.
    """
    entries, training_kits = _read_test_split(inputs)
    model = ModelFile.load(inputs.model, device=choose_device("auto"))
    if model.thresholds is None or model.peak_picking is None:
        raise DrumCrnnError(
            f"{inputs.model}: holds no thresholds; `drum-crnn export` merges a model with its thresholds"
        )
    match = functools.partial(
        match_recordings,
        model.model,
        FeatureStore.open(inputs.features),
        Labels.read(inputs.labels, of=entries),
        thresholds=model.thresholds,
        peak_picking=model.peak_picking,
    )
    scored: list[ScoredRecording] = []
    detections = [Detections() for _ in LANES]
    for matched in match(track(list(entries), description="evaluate")):
        scored.append(ScoredRecording.of(entries[matched.recording], matched))
        for of_lane, peaks in zip(detections, matched.peaks, strict=True):
            of_lane.add(peaks, tolerance_s=TOLERANCE_S)
    curves = [of_lane.curve(threshold=at) for of_lane, at in zip(detections, model.thresholds, strict=True)]
    titles = choose_rolls({s.entry.recording: float(s.counts.sum_f()) for s in scored})
    # Predicted once more, since the onsets of all recordings would take much memory.
    rolls = [(titles[matched.recording], matched.matches) for matched in match(titles)]
    write_text(outputs.scores, json.dumps(_scores(scored, curves, training_kits), indent=2) + "\n")
    with replace_directory(outputs.tables) as directory:
        _write_tables(directory, scored, curves, training_kits, params)
        _write_curves(directory, curves, model.thresholds)
        _write_reliability(directory, [of_lane.bins for of_lane in detections])
        paint_rolls(rolls).save(directory / "rolls.png", optimize=True)


def _read_test_split(inputs: EvaluationInputs) -> tuple[dict[str, CatalogEntry], set[str]]:
    """The entries of the test split by recording, and the kits of the train split; the rest is not kept."""
    split = Splits.read(inputs.splits)
    test = split.recordings("test")
    if not test:
        raise DrumCrnnError(f"{inputs.splits}: no recording is in the test split; see section 'split' of params.yaml")
    catalog = {entry.recording: entry for entry in Catalog.read(inputs.catalog)}
    unknown = sorted(set(test) - catalog.keys())
    if unknown:
        raise DrumCrnnError(
            f"{inputs.catalog}: lacks '{unknown[0]}', which {inputs.splits} names; run `dvc repro split`"
        )
    return {name: catalog[name] for name in test}, {row.kit for row in split.rows if row.split == "train"}


def match_recordings(
    model: DrumCrnn,
    store: FeatureStore,
    labels: Labels,
    recordings: Iterable[str],
    *,
    thresholds: Sequence[float],
    peak_picking: PeakPickingParams,
) -> Iterator[MatchedRecording]:
    """Predict the onsets of recordings from their features one by one, and match them to the labels.

    Parameters
    ----------
    thresholds : sequence of float
        One a lane, inclusive, in (0, 1]. The peaks are kept whatever their activation.
    """
    for recording, activations, peaks in predict_recordings(
        model, store, labels, recordings, min_activation=0.0, peak_picking=peak_picking
    ):
        estimate = onsets_of(
            activations, thresholds=thresholds, peak_picking=peak_picking, frame_rate=store.params.frame_rate
        )
        reference, ignored = labels.onsets(recording), labels.ignored(recording)
        matches, strict = (
            match_onsets(reference, estimate, ignored, tolerance_s=tolerance_s)
            for tolerance_s in (TOLERANCE_S, STRICT_TOLERANCE_S)
        )
        classes = count_classes(reference, estimate, ignored, tolerance_s=TOLERANCE_S)
        yield MatchedRecording(recording, matches, strict, classes, peaks)


def _total(counts: Iterable[LaneCounts]) -> LaneCounts:
    return sum(counts, start=LaneCounts.zeros())


def _interval(scored: Sequence[ScoredRecording], statistic: Any, params: EvaluateParams) -> Interval:
    return bootstrap_interval(
        count_by_group((s.entry.performance, s.counts) for s in scored),
        statistic,
        n_resamples=params.n_resamples,
        confidence=params.confidence,
        seed=params.seed,
    )


def _scores(
    scored: Sequence[ScoredRecording], curves: Sequence[ThresholdCurve], training_kits: set[str]
) -> dict[str, float | None]:
    """Few and flat: what experiments are compared by, each a column of `dvc exp show`. The tables have the rest.

    A score that is undefined is null.
    """
    total = _total(s.counts for s in scored)
    other_kits = [s for s in scored if s.entry.kit not in training_kits]
    scores = {
        "f1": total.sum_f(),
        **{f"f1_{lane}": value for lane, value in zip(LANES, total.f(), strict=True)},
        "f1_lane_mean": total.mean_f(),
        "f1_unheard_kits": _total(s.counts for s in other_kits).sum_f(),
        "average_precision": _average_precisions(curves)[-1],
        "velocity_mae": velocity_mae([s.errors for s in scored])[0],
    }
    conditions = _conditions(scored)
    if len(conditions) > 1:
        scores |= {
            f"f1_condition_{name}": _total(s.counts for s in of_it).sum_f() for name, of_it in conditions.items()
        }
    return {name: _rounded(float(value)) for name, value in scores.items()}


def _average_precisions(curves: Sequence[ThresholdCurve]) -> list[float]:
    """Of each lane, and last their mean; lanes without references are NaN, and the mean leaves them out.

    The mean, not that of all peaks pooled: lanes have thresholds of their own, so a ranking across lanes says nothing.
    """
    of_lane = [average_precision(curve) for curve in curves]
    defined = [value for value in of_lane if not math.isnan(value)]
    return [*of_lane, statistics.fmean(defined) if defined else math.nan]


def _class_scores(scored: Sequence[ScoredRecording]) -> dict[str, Any]:
    """F of the five classes pooled, and of each class that is no lane."""
    counts = functools.reduce(operator.add, (s.classes for s in scored))
    of_class = dict(zip(CLASSES, counts.f(), strict=True))
    return {"f1_5_classes": counts.sum_f()} | {f"f1_{name}": of_class[name] for name in CLASSES if name not in LANES}


def _conditions(scored: Sequence[ScoredRecording]) -> dict[str, list[ScoredRecording]]:
    """The recordings of each condition, such as "plain" and "stress"; sorted by name."""
    groups: dict[str, list[ScoredRecording]] = {}
    for recording in sorted(scored, key=lambda each: each.entry.condition):
        groups.setdefault(recording.entry.condition or "not stated", []).append(recording)
    return groups


def _condition_rows(scored: Sequence[ScoredRecording], params: EvaluateParams) -> list[dict[str, Any]]:
    """As `_group_rows`, with intervals, the strict tolerance, classes and velocity. The last row is of all together."""
    rows = []
    for name, of_it in (*_conditions(scored).items(), ("all", scored)):
        [row] = _group_rows("condition", {name: _total(s.counts for s in of_it)})
        low, high = _interval(of_it, LaneCounts.sum_f, params)
        more: dict[str, Any] = {"f1_low": low, "f1_high": high}
        more["f1_25ms"] = _total(s.strict for s in of_it).sum_f()
        more |= _class_scores(of_it)
        more["velocity_mae"] = velocity_mae([s.errors for s in of_it])[0]
        rows.append(row | {key: _rounded(float(value)) for key, value in more.items()})
    return rows


def _rounded(value: float) -> float | None:
    """Five places, or None for NaN: enough for any comparison, and machines that round differently mostly agree."""
    return None if math.isnan(value) else round(value, 5)


def _write_tables(
    directory: Path,
    scored: Sequence[ScoredRecording],
    curves: Sequence[ThresholdCurve],
    training_kits: set[str],
    params: EvaluateParams,
) -> None:
    write_records(directory / "lanes.csv", _lane_rows(scored, curves, params))
    kit_rows = _group_rows("kit", count_by_group((s.entry.kit, s.counts) for s in scored))
    for row in kit_rows:
        row["in_training"] = "heard" if row["kit"] in training_kits else "unheard"
    write_records(directory / "kits.csv", sorted(kit_rows, key=lambda row: str(row["in_training"])))
    write_records(
        directory / "styles.csv",
        _group_rows("style", count_by_group((s.entry.style, s.counts) for s in scored)),
    )
    write_records(directory / "conditions.csv", _condition_rows(scored, params))
    write_records(directory / "confusion.csv", _confusion_rows(scored))
    write_records(directory / "timing.csv", _timing_rows(scored))


def _write_curves(directory: Path, curves: Sequence[ThresholdCurve], thresholds: Sequence[float]) -> None:
    write_table(
        directory / "precision_recall.csv",
        ("lane", "threshold", "precision", "recall", "chosen"),
        (
            row
            for lane, curve, threshold in zip(LANES, curves, thresholds, strict=True)
            for row in _precision_recall_rows(lane, curve, threshold)
        ),
    )


def _write_reliability(directory: Path, bins: Sequence[ReliabilityBins]) -> None:
    write_table(
        directory / "reliability.csv",
        ("lane", "confidence", "share_right", "peaks"),
        (
            (lane, f"{confidence:.5f}", f"{right:.5f}", n_peaks)
            for lane, of_it in zip((*LANES, "all"), (*bins, ReliabilityBins.total(bins)), strict=True)
            for confidence, right, n_peaks in zip(*of_it.reliability(), strict=True)
        ),
    )


def _precision_recall_rows(lane: str, curve: ThresholdCurve, threshold: float) -> list[tuple[object, ...]]:
    """Points of a curve: wherever recall has grown by a fiftieth, and the one of the model's threshold (`chosen`).

    Thresholds decrease. A lane in which nothing is found has no rows. If no peak reaches the model's threshold, no row
    is chosen.
    """
    points = precision_recall(curve)
    steps = np.arange(1, _STEPS_OF_RECALL + 1) / _STEPS_OF_RECALL
    chosen = int(np.searchsorted(-points.threshold, -threshold, side="right")) - 1
    kept = {*np.searchsorted(points.recall, steps).tolist(), chosen} & set(range(len(points.recall)))
    return [(lane, *(f"{column[place]:.5f}" for column in points), int(place == chosen)) for place in sorted(kept)]


def _confusion_rows(scored: Sequence[ScoredRecording]) -> list[dict[str, Any]]:
    confusion: NDArray[np.int64] = np.sum([s.confusion for s in scored], axis=0)
    names = (*LANES, NOTHING)
    return [
        {"played": played, "heard": heard, "onsets": int(confusion[i, j])}
        for i, played in enumerate(names)
        for j, heard in enumerate(names)
    ]


def _lane_rows(
    scored: Sequence[ScoredRecording], curves: Sequence[ThresholdCurve], params: EvaluateParams
) -> list[dict[str, Any]]:
    """One row a lane, and `all`: onsets pooled, except for the average precision, which is the mean of the lanes'."""
    total = _total(s.counts for s in scored)
    strict = _total(s.strict for s in scored)
    velocity = _total(s.velocity for s in scored)
    mae, mae_of_lane = velocity_mae([s.errors for s in scored])
    bias_s, error_s = timing_of_lanes([s.errors for s in scored])
    average_precisions = _average_precisions(curves)
    lanes = _interval(scored, LaneCounts.f, params)
    pooled = _interval(scored, LaneCounts.sum_f, params)
    rows = []
    for index, name in enumerate((*LANES, "all")):
        is_pooled = name == "all"
        of_all, of_strict, of_velocity = (c.pooled() if is_pooled else c for c in (total, strict, velocity))
        place = 0 if is_pooled else index
        low, high = (pooled.low, pooled.high) if is_pooled else (lanes.low[index], lanes.high[index])
        values = {
            "precision": of_all.precision()[place],
            "recall": of_all.recall()[place],
            "f1": of_all.f()[place],
            "f1_low": low,
            "f1_high": high,
            "average_precision": average_precisions[index],
            "precision_25ms": of_strict.precision()[place],
            "recall_25ms": of_strict.recall()[place],
            "f1_25ms": of_strict.f()[place],
            "velocity_f1": of_velocity.f()[place],
            "velocity_mae": mae if is_pooled else mae_of_lane[index],
            "timing_bias_ms": 1000.0 * bias_s[index],
            "timing_error_ms": 1000.0 * error_s[index],
        }
        references, estimates = of_all.tp + of_all.fn, of_all.tp + of_all.fp
        rows.append(
            {"lane": name, "references": int(references[place]), "estimates": int(estimates[place])}
            | {key: _rounded(float(value)) for key, value in values.items()}
        )
    return rows


def _group_rows(column: str, groups: Mapping[str, LaneCounts]) -> list[dict[str, Any]]:
    rows = []
    for name, counts in groups.items():
        row: dict[str, Any] = {column: name, "references": int((counts.tp + counts.fn).sum())}
        row["f1"] = _rounded(float(counts.sum_f()))
        row |= {f"f1_{lane}": _rounded(float(value)) for lane, value in zip(LANES, counts.f(), strict=True)}
        rows.append(row)
    return rows


def _timing_rows(scored: Sequence[ScoredRecording]) -> list[dict[str, Any]]:
    """Histogram of estimate minus reference, in milliseconds."""
    errors_s = np.concatenate([s.errors.time_s for s in scored])
    # At the very edge of the window, a difference of floats may exceed it by the last bit.
    errors_s = np.clip(errors_s, -TOLERANCE_S, TOLERANCE_S)
    n_bins = round(2 * TOLERANCE_S / _TIMING_BIN_S)
    counts, edges = np.histogram(errors_s, bins=n_bins, range=(-TOLERANCE_S, TOLERANCE_S))
    return [
        {"error_ms": f"{1000.0 * (low + high) / 2.0:.0f}", "onsets": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
