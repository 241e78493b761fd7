"""Thresholds chosen from known activations; the test split is never looked at."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from builders import ignore, make_labels, onsets, section
from fake_model import FakeModel, Peak, asked_devices

from drum_crnn.data.splits import SplitRow, Splits
from drum_crnn.engine.exporting import export_model
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.counting import TOLERANCE_S
from drum_crnn.scoring.metrics import count_matches
from drum_crnn.scoring.thresholds import RULES, ThresholdParams
from drum_crnn.scoring.tuning import TuningInputs, TuningOutputs, tune_thresholds

KICK, SNARE, HIHAT = 0, 1, 2
PEAK_PICKING = section(PeakPickingParams, max_radius=4)
THRESHOLDS = section(ThresholdParams, min_onsets=4, floor=0.1, ceiling=0.9, tie_tolerance=0.0)
SPLITS = {"training": "train", "v1": "validation", "v2": "validation", "hidden": "test", "spare": "unused"}

# Kick: real ones reach 0.6, ghosts 0.4. Snare: real ones 0.3, ghosts 0.2. Hi-hat: too few to say.
PLAYED: dict[str, Onsets | tuple[Onsets, IgnoreWindows]] = {
    "v1": onsets(*((0.3 * i, KICK) for i in range(1, 6)), *((0.3 * i, SNARE) for i in range(1, 6))),
    "v2": (onsets((1.0, KICK), (2.0, SNARE), (2.5, HIHAT)), ignore((3.0, 3.2, SNARE))),
}
PREDICTED: dict[str, list[Peak]] = {
    "v1": [
        *((0.3 * i, KICK, 0.6 + 0.05 * i, 90) for i in range(1, 6)),
        *((0.3 * i + 0.15, KICK, 0.4, 90) for i in range(1, 6)),
        (3.5, KICK, 0.25, 90),
        *((0.3 * i, SNARE, 0.3 + 0.1 * i, 90) for i in range(1, 6)),
        *((0.3 * i + 0.15, SNARE, 0.2, 90) for i in range(1, 6)),
    ],
    # The loud snare lies in an ignore window: it must not count as a ghost.
    "v2": [(1.0, KICK, 0.6, 90), (2.0, SNARE, 0.3, 90), (3.1, SNARE, 0.99, 90), (2.5, HIHAT, 0.85, 90)],
    "training": [],
    "hidden": [],
    "spare": [],
}


class Tuning:
    """The files that the stage reads and writes."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.model = FakeModel(root, PREDICTED, monkeypatch)
        Splits(tuple(SplitRow(name, name, f"kit of {name}", split) for name, split in SPLITS.items())).write(
            root / "splits.csv"
        )
        make_labels(PLAYED).write(root / "labels.h5")  # of the validation split alone
        self.inputs = TuningInputs(self.model.file, self.model.features, root / "labels.h5", root / "splits.csv")
        metrics = root / "metrics"
        self.outputs = TuningOutputs(
            root / "models" / "thresholds.json", metrics / "curves.csv", metrics / "transfer.csv"
        )

    def run(self, **changes: Any) -> tuple[dict[str, Any], list[dict[str, str]]]:
        """The chosen thresholds and the curves."""
        tune_thresholds(
            self.inputs,
            self.outputs,
            thresholds=section(ThresholdParams, **THRESHOLDS.model_dump() | changes),
            peak_picking=PEAK_PICKING,
        )
        with self.outputs.curves.open(encoding="utf-8", newline="") as file:
            return json.loads(self.outputs.thresholds.read_text(encoding="utf-8")), list(csv.DictReader(file))


@pytest.fixture
def tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tuning:
    return Tuning(tmp_path, monkeypatch)


def test_it_runs_on_a_gpu_if_there_is_one(tuning: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_devices(monkeypatch, "drum_crnn.scoring.tuning")
    tuning.run()
    assert asked == ["auto"]


def test_thresholds_lie_in_the_middle_between_onsets_and_ghosts(tuning: Tuning) -> None:
    document, _ = tuning.run()
    assert document["thresholds"]["kick"] == pytest.approx((0.4 + 0.6) / 2, abs=1e-6)
    assert document["thresholds"]["snare"] == pytest.approx((0.2 + 0.3) / 2, abs=1e-6)
    assert list(document["thresholds"]) == list(LANES)
    assert document["peak_picking"] == PEAK_PICKING.model_dump()
    assert document["validation_f1"] == {
        "sum": 1.0,
        **{lane: 1.0 if lane in ("kick", "snare", "hihat") else None for lane in LANES},
    }


def test_lanes_with_too_few_onsets_share_one_threshold(tuning: Tuning) -> None:
    document, _ = tuning.run()
    assert document["too_few_onsets"] == [lane for lane in LANES if lane not in ("kick", "snare")]
    shared = {document["thresholds"][lane] for lane in document["too_few_onsets"]}
    assert len(shared) == 1
    best = _pooled_f(shared.pop())
    assert best == max(_pooled_f(0.1 + 0.01 * step) for step in range(81))


def _pooled_f(threshold: float) -> float:
    total = [0, 0, 0]
    for name, played in PLAYED.items():
        reference, ignored = played if isinstance(played, tuple) else (played, IgnoreWindows.empty())
        estimate = onsets(*((t, lane, v) for t, lane, activation, v in PREDICTED[name] if activation >= threshold))
        counts = count_matches(reference, estimate, ignored, tolerance_s=TOLERANCE_S)
        total = [n + int(part.sum()) for n, part in zip(total, (counts.tp, counts.fp, counts.fn), strict=True)]
    return 2 * total[0] / (2 * total[0] + total[1] + total[2])


def test_validation_f_is_the_f_at_the_thresholds_written(tuning: Tuning) -> None:
    """With a floor that cuts into the lanes, F is below 1, and it is that of the rounded choice."""
    document, _ = tuning.run(floor=0.65, ceiling=0.7)
    chosen = document["thresholds"]
    for lane, index in (("kick", KICK), ("snare", SNARE)):
        assert 0.65 <= chosen[lane] <= 0.7
        n_found = sum(
            activation >= chosen[lane] for name in ("v1", "v2") for t, i, activation, _ in PREDICTED[name] if i == index
        ) - (index == SNARE)  # the one in the ignore window
        assert document["validation_f1"][lane] == pytest.approx(2 * n_found / (n_found + 6), abs=1e-5)


def test_what_thresholds_of_one_kit_are_worth_on_another(tuning: Tuning) -> None:
    tuning.run(rule="best")
    with tuning.outputs.transfer.open(encoding="utf-8", newline="") as file:
        rows = {(row["rule"], row["chosen_on"], row["used_on"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(RULES) * 2
    # v1 has too few hi-hats, which then take the threshold of all lanes, 0.4; its best kick is 0.65, snare 0.4: v2's
    # kick of 0.6 and snare of 0.3 are missed, its hi-hat found.
    row = rows["best", "kit of v1", "kit of v2"]
    assert float(row["f"]) == pytest.approx(2 * 1 / (2 * 1 + 2), abs=1e-5)
    assert float(row["f_own"]) == 1.0
    # At 0.5, v1's soft snares 0.4 and its ghosts are left out, and nothing else: 9 of 10 are found.
    assert float(rows["fixed", "kit of v2", "kit of v1"]["f"]) == pytest.approx(2 * 9 / (2 * 9 + 1), abs=1e-5)


def test_predictions_are_made_in_the_validation_split_alone(tuning: Tuning) -> None:
    """The other splits have no labels here: reading one would fail."""
    tuning.run()
    assert sorted(tuning.model.predicted) == ["v1", "v2"]


def test_curves_cover_the_lanes_that_have_onsets(tuning: Tuning) -> None:
    _, curves = tuning.run()
    assert {row["lane"] for row in curves} == {"kick", "snare", "hihat"}
    at = {(row["lane"], float(row["threshold"])): row for row in curves}
    assert float(at["kick", 0.5]["f"]) == 1.0
    assert float(at["kick", 0.4]["precision"]) == pytest.approx(6 / 11, abs=1e-5)
    assert float(at["kick", 0.82]["recall"]) == pytest.approx(1 / 6, abs=1e-5)
    # Above the loudest kick there is no estimate: nothing was wrong, and nothing found.
    assert (at["kick", 0.9]["precision"], float(at["kick", 0.9]["recall"]), float(at["kick", 0.9]["f"])) == ("", 0, 0)
    assert all(0.0 <= float(row[name]) <= 1.0 for row in curves for name in ("precision", "recall", "f") if row[name])
    for lane in ("kick", "snare", "hihat"):
        thresholds = [float(row["threshold"]) for row in curves if row["lane"] == lane]
        assert thresholds == sorted(thresholds)


def test_chosen_thresholds_are_on_their_curves(tuning: Tuning) -> None:
    document, curves = tuning.run(floor=0.123)
    chosen = {row["lane"]: float(row["threshold"]) for row in curves if row["chosen"] == "1"}
    assert chosen == {
        lane: pytest.approx(document["thresholds"][lane], abs=1e-5) for lane in ("kick", "snare", "hihat")
    }


def test_a_curve_is_thinned_and_keeps_its_shape(tuning: Tuning) -> None:
    """A confident model: recall falls from 1 to 0 within the last fiftieth of the threshold."""
    n = 300
    make_labels({"v1": onsets(*((0.01 * i, KICK) for i in range(n))), "v2": onsets()}).write(tuning.root / "labels.h5")
    tuning.model.peaks = {"v1": [(0.01 * i, KICK, 0.981 + 0.019 * i / n, 90) for i in range(9, n, 9)], "v2": []}
    _, curves = tuning.run()
    recalls = [float(row["recall"]) for row in curves]
    assert len(curves) < 80
    assert max(before - after for before, after in itertools.pairwise(recalls)) < 0.06


def test_export_reads_what_tuning_writes(tuning: Tuning, tmp_path: Path) -> None:
    document, _ = tuning.run()
    export_model(tuning.model.file, tuning.outputs.thresholds, tmp_path / "final.safetensors")
    model = ModelFile.load(tmp_path / "final.safetensors")
    assert model.thresholds == tuple(document["thresholds"].values())
    assert model.peak_picking == PEAK_PICKING


def test_same_input_gives_the_same_bytes(tuning: Tuning) -> None:
    tuning.run()
    before = tuning.outputs.thresholds.read_bytes(), tuning.outputs.curves.read_bytes()
    tuning.run()
    assert (tuning.outputs.thresholds.read_bytes(), tuning.outputs.curves.read_bytes()) == before


def test_empty_validation_split_is_refused(tuning: Tuning) -> None:
    path = tuning.root / "splits.csv"
    path.write_text(path.read_text("utf-8").replace(",validation", ",unused"), encoding="utf-8")
    with pytest.raises(DrumCrnnError, match="no recording is in the validation split; see section 'split'"):
        tuning.run()


def test_validation_split_without_onsets_is_refused_and_nothing_written(tuning: Tuning) -> None:
    make_labels({"v1": onsets(), "v2": onsets()}).write(tuning.root / "labels.h5")
    with pytest.raises(DrumCrnnError, match="no onset in any lane"):
        tuning.run()
    assert not tuning.outputs.thresholds.exists()
    assert not tuning.outputs.curves.exists()
