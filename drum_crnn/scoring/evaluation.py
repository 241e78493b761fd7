"""Scores of an exported model in the test split: numbers, tables, a picture, and what DVC plots."""

import functools
import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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
from drum_crnn.foundation.tables import write_records
from drum_crnn.model.inference import activations_of, onsets_of
from drum_crnn.model.model_file import ModelFile
from drum_crnn.music.lanes import LANES
from drum_crnn.scoring.counting import STRICT_TOLERANCE_S, TOLERANCE_S, LaneCounts
from drum_crnn.scoring.metrics import (
    CLASSES,
    Interval,
    Matches,
    bootstrap_interval,
    count_by_group,
    count_classes,
    match_onsets,
    velocity_mae,
)
from drum_crnn.scoring.rolls import paint_rolls

__all__ = ["EvaluateParams", "ScoredRecording", "evaluate", "score_recordings"]

NOTHING = "nothing"  # the row of extras and the column of misses in the confusion
_TIMING_BIN_S = 0.002


class EvaluateParams(ParamsSection):
    """Section `evaluate`: how sure the scores are."""

    section: ClassVar[str] = "evaluate"

    n_resamples: int = Field(gt=0)
    confidence: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class ScoredRecording:
    """What was found in one recording, at both tolerances; and in `CLASSES` instead of lanes."""

    entry: CatalogEntry
    matches: Matches
    strict: Matches
    classes: LaneCounts


def evaluate(
    model: Path,
    features: Path,
    labels: Path,
    splits: Path,
    catalog: Path,
    scores_json: Path,
    tables: Path,
    params: EvaluateParams,
) -> None:
    """Score the model in the test split.

    Writes `scores_json`, few and flat numbers for comparing experiments, and a directory of CSV tables with a picture
    of what was played and heard in a few recordings (see `drum_crnn.scoring.rolls`).

    Raises
    ------
    DrumCrnnError
        If the test split is empty, or a file cannot be read or holds no thresholds.
    """
    split = Splits.read(splits)
    test = split.recordings("test")
    if not test:
        raise DrumCrnnError(f"{splits}: no recording is in the test split; see section 'split' of params.yaml")
    entries = {entry.recording: entry for entry in Catalog.read(catalog)}
    unknown = sorted(set(test) - entries.keys())
    if unknown:
        raise DrumCrnnError(f"{catalog}: lacks '{unknown[0]}', which {splits} names; run `dvc repro split`")
    scored = score_recordings(
        ModelFile.load(model), FeatureStore.open(features), Labels.read(labels), [entries[name] for name in test]
    )
    heard_kits = {row.kit for row in split.rows if row.split == "train"}
    write_text(scores_json, json.dumps(_scores(scored, heard_kits), indent=2) + "\n")
    with replace_directory(tables) as directory:
        _write_tables(directory, scored, heard_kits, params)


def score_recordings(
    model: ModelFile, store: FeatureStore, labels: Labels, entries: Sequence[CatalogEntry]
) -> list[ScoredRecording]:
    """Transcribe recordings from their features, and match the onsets to the labels."""
    if model.thresholds is None or model.peak_picking is None:
        raise DrumCrnnError("the model holds no thresholds; `drum-crnn export` merges a model with its thresholds")
    scored = []
    for entry in track(entries, description="evaluate"):
        name = entry.recording
        activations = activations_of(model.model, store.read(name), floor_db=store.params.floor_db)
        estimate = onsets_of(
            activations,
            thresholds=model.thresholds,
            peak_picking=model.peak_picking,
            frame_rate=store.params.frame_rate,
        )
        reference, ignored = labels.onsets(name), labels.ignored(name)
        matches, strict = (
            match_onsets(reference, estimate, ignored, tolerance_s=tolerance_s)
            for tolerance_s in (TOLERANCE_S, STRICT_TOLERANCE_S)
        )
        classes = count_classes(reference, estimate, ignored, tolerance_s=TOLERANCE_S)
        scored.append(ScoredRecording(entry, matches, strict, classes))
    return scored


def _total(counts: Iterable[LaneCounts]) -> LaneCounts:
    return sum(counts, start=LaneCounts.zeros())


def _interval(scored: Sequence[ScoredRecording], statistic: Any, params: EvaluateParams) -> Interval:
    return bootstrap_interval(
        count_by_group((s.entry.performance, s.matches.counts()) for s in scored),
        statistic,
        n_resamples=params.n_resamples,
        confidence=params.confidence,
        seed=params.seed,
    )


def _scores(scored: Sequence[ScoredRecording], heard_kits: set[str]) -> dict[str, float | None]:
    """Few and flat: what people compare experiments by, each a column of `dvc exp show`; the rest is in the tables.

    A score that is undefined is null.
    """
    total = _total(s.matches.counts() for s in scored)
    unheard = [s for s in scored if s.entry.kit not in heard_kits]
    scores = {
        "f1": total.sum_f(),
        **{f"f1_{lane}": value for lane, value in zip(LANES, total.f(), strict=True)},
        "f1_lane_mean": total.mean_f(),
        "f1_unheard_kits": _total(s.matches.counts() for s in unheard).sum_f(),
        "velocity_mae": velocity_mae([s.matches for s in scored])[0],
    }
    conditions = _conditions(scored)
    if len(conditions) > 1:
        scores |= {
            f"f1_condition_{name}": _total(s.matches.counts() for s in of_it).sum_f()
            for name, of_it in conditions.items()
        }
    return {name: _rounded(float(value)) for name, value in scores.items()}


def _class_scores(scored: Sequence[ScoredRecording]) -> dict[str, Any]:
    """F of the five classes pooled, and of those that are no lanes."""
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
    """As `_group_rows`, with intervals, the strict tolerance, classes and velocity; a last row of all together."""
    rows = []
    for name, of_it in (*_conditions(scored).items(), ("all", scored)):
        [row] = _group_rows("condition", {name: _total(s.matches.counts() for s in of_it)})
        low, high = _interval(of_it, LaneCounts.sum_f, params)
        more: dict[str, Any] = {"f1_low": low, "f1_high": high}
        more["f1_25ms"] = _total(s.strict.counts() for s in of_it).sum_f()
        more |= _class_scores(of_it)
        more["velocity_mae"] = velocity_mae([s.matches for s in of_it])[0]
        rows.append(row | {key: _rounded(float(value)) for key, value in more.items()})
    return rows


def _rounded(value: float) -> float | None:
    """Five places: enough for any comparison, and the same on machines that round differently further down."""
    return None if math.isnan(value) else round(value, 5)


def _write_tables(
    directory: Path, scored: Sequence[ScoredRecording], heard_kits: set[str], params: EvaluateParams
) -> None:
    write_records(directory / "lanes.csv", _lane_rows(scored, params))
    kits = count_by_group((s.entry.kit, s.matches.counts()) for s in scored)
    kit_rows = _group_rows("kit", kits)
    for row in kit_rows:
        row["in_training"] = "heard" if row["kit"] in heard_kits else "unheard"
    write_records(directory / "kits.csv", sorted(kit_rows, key=lambda row: str(row["in_training"])))
    write_records(
        directory / "styles.csv",
        _group_rows("style", count_by_group((s.entry.style, s.matches.counts()) for s in scored)),
    )
    write_records(directory / "conditions.csv", _condition_rows(scored, params))
    confusion: NDArray[np.int64] = np.sum([s.matches.confusion() for s in scored], axis=0)
    names = (*LANES, NOTHING)
    write_records(
        directory / "confusion.csv",
        [
            {"played": played, "heard": heard, "onsets": int(confusion[i, j])}
            for i, played in enumerate(names)
            for j, heard in enumerate(names)
        ],
    )
    write_records(directory / "timing.csv", _timing_rows(scored))
    paint_rolls([(s.entry.recording, s.matches) for s in scored]).save(directory / "rolls.png", optimize=True)


def _lane_rows(scored: Sequence[ScoredRecording], params: EvaluateParams) -> list[dict[str, Any]]:
    total = _total(s.matches.counts() for s in scored)
    strict = _total(s.strict.counts() for s in scored)
    velocity = _total(s.matches.velocity_counts() for s in scored)
    mae, mae_of_lane = velocity_mae([s.matches for s in scored])
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
            "precision_25ms": of_strict.precision()[place],
            "recall_25ms": of_strict.recall()[place],
            "f1_25ms": of_strict.f()[place],
            "velocity_f1": of_velocity.f()[place],
            "velocity_mae": mae if is_pooled else mae_of_lane[index],
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
    errors_s = np.concatenate([s.matches.timing_errors_s() for s in scored])
    # At the very edge of the window, a difference of floats may exceed it by the last bit.
    errors_s = np.clip(errors_s, -TOLERANCE_S, TOLERANCE_S)
    n_bins = round(2 * TOLERANCE_S / _TIMING_BIN_S)
    counts, edges = np.histogram(errors_s, bins=n_bins, range=(-TOLERANCE_S, TOLERANCE_S))
    return [
        {"error_ms": f"{1000.0 * (low + high) / 2.0:.0f}", "onsets": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
