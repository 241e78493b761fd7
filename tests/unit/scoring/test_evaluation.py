"""Scores of transcriptions whose errors are known, counted by hand."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import exported, ignore, make_labels, onsets, section, small_features, untrained
from corpus_builder import catalog_entry
from fake_model import FakeModel, Peak, asked_devices
from PIL import Image

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.splits import SplitRow, Splits
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.model_file import ModelFile
from drum_crnn.music.lanes import LANES
from drum_crnn.scoring.evaluation import EvaluateParams, EvaluationInputs, EvaluationOutputs, evaluate
from drum_crnn.scoring.rolls import EXTRA, FOUND, MISSED

KICK, SNARE, HIHAT, RIDE = 0, 1, 2, 7
PARAMS = section(EvaluateParams, n_resamples=50)

# References, and the peaks that are predicted; the threshold is 0.5.
PLAYED = {
    # Kick: one early by 30 ms (right at ±50 ms, wrong at ±25 ms), one missed. Snare: one right, one taken for a hi-hat.
    "a": (onsets((0.5, KICK, 100), (1.0, KICK, 80), (1.5, SNARE, 60), (2.0, SNARE, 90)), ignore()),
    # A ride where nothing is played, and one that an ignore window lets pass; a kick just below the threshold.
    "b": (onsets((1.0, KICK, 50)), ignore((2.9, 3.1, RIDE))),
    # Kit "unheard": both right, one of them at the very edge of the tolerance.
    "c": (onsets((1.0, KICK, 100), (2.0, SNARE, 100)), ignore()),
}
PREDICTED: dict[str, list[Peak]] = {
    "a": [(0.47, KICK, 0.9, 90), (1.5, SNARE, 0.8, 64), (2.01, HIHAT, 0.7, 90)],
    "b": [(1.0, KICK, 0.49, 50), (2.0, RIDE, 0.6, 70), (3.0, RIDE, 0.6, 70)],
    "c": [(1.05, KICK, 0.9, 100), (2.0, SNARE, 0.5, 97)],
    "training": [],
    "tuned": [],
}


class Evaluation:
    """A corpus, what is predicted in it, and the files that the stage reads."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.model = FakeModel(root, PREDICTED, monkeypatch)
        about = {
            "a": {"performance": "p1", "kit": "heard", "style": "rock", "condition": "plain"},
            "b": {"performance": "p2", "kit": "heard", "style": "jazz", "condition": "plain"},
            "c": {"performance": "p1", "kit": "unheard", "style": "rock", "condition": "stress"},
            "training": {"performance": "p3", "kit": "heard", "style": "rock"},
            "tuned": {"performance": "p4", "kit": "unheard", "style": "rock"},
        }
        split_of = {"training": "train", "tuned": "validation"}
        Catalog(tuple(catalog_entry(name, **values) for name, values in about.items())).write(root / "catalog.csv")
        Splits(
            tuple(
                SplitRow(name, values["performance"], values["kit"], split_of.get(name, "test"))
                for name, values in about.items()
            )
        ).write(root / "splits.csv")
        make_labels(PLAYED).write(root / "labels.h5")

    def run(self) -> tuple[dict[str, Any], dict[str, list[dict[str, str]]]]:
        """The scores and the tables."""
        inputs = EvaluationInputs(
            model=self.model.file,
            features=self.model.features,
            labels=self.root / "labels.h5",
            splits=self.root / "splits.csv",
            catalog=self.root / "catalog.csv",
        )
        outputs = EvaluationOutputs(
            scores=self.root / "metrics" / "evaluation.json", tables=self.root / "metrics" / "evaluation"
        )
        evaluate(inputs, outputs, PARAMS)

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        scores = json.loads((self.root / "metrics" / "evaluation.json").read_text("utf-8"), parse_constant=refuse)
        tables = {}
        for path in (self.root / "metrics" / "evaluation").glob("*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                tables[path.stem] = list(csv.DictReader(file))
        return scores, tables


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    return Evaluation(tmp_path, monkeypatch)


def test_it_runs_on_a_gpu_if_there_is_one(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_devices(monkeypatch, "drum_crnn.scoring.evaluation")
    evaluation.run()
    assert asked == ["auto"]


def f1(tp: int, fp: int, fn: int) -> float:
    return round(2 * tp / (2 * tp + fp + fn), 5)


def test_scores_are_those_counted_by_hand(evaluation: Evaluation) -> None:
    scores, tables = evaluation.run()
    assert set(evaluation.model.predicted) == {"a", "b", "c"}
    # tp: a kick and snare, c kick and snare. fp: a hihat, b ride. fn: a kick and snare, b kick.
    assert scores["f1"] == f1(4, 2, 3)
    of_lane = {"kick": f1(2, 0, 2), "snare": f1(2, 0, 1), "hihat": 0.0, "ride": 0.0}
    assert {lane: scores[f"f1_{lane}"] for lane in LANES} == {lane: of_lane.get(lane) for lane in LANES}
    assert scores["f1_lane_mean"] == pytest.approx(np.mean(list(of_lane.values())), abs=1e-5)
    assert scores["f1_unheard_kits"] == 1.0
    assert scores["f1_condition_plain"] == f1(2, 2, 3)
    assert scores["f1_condition_stress"] == 1.0
    # Velocities of the four pairs are off by 10, 4, 0 and 3.
    assert scores["velocity_mae"] == round(17 / 4, 5)
    together = tables["lanes"][-1]
    assert (together["lane"], float(together["f1"])) == ("all", scores["f1"])
    assert (float(together["precision"]), float(together["recall"])) == (round(4 / 6, 5), round(4 / 7, 5))
    # At ±25 ms the early kick of a and the late one of c are wrong twice over.
    assert float(together["f1_25ms"]) == f1(2, 4, 5)
    assert float(together["f1_low"]) <= scores["f1"] <= float(together["f1_high"])
    assert all(value is None or isinstance(value, float) for value in scores.values())


def test_interval_is_over_performances_not_files(evaluation: Evaluation) -> None:
    """Two performances: p1 (a and c together) and p2. Resamples are both, p1 twice, or p2 twice."""
    _, tables = evaluation.run()
    together = tables["lanes"][-1]
    assert float(together["f1_low"]) == 0.0  # p2 alone: nothing right
    assert float(together["f1_high"]) == f1(4, 1, 2)  # p1 alone


def test_lane_table_holds_counts_and_scores(evaluation: Evaluation) -> None:
    scores, tables = evaluation.run()
    rows = {row["lane"]: row for row in tables["lanes"]}
    assert list(rows) == [*LANES, "all"]
    assert (rows["kick"]["references"], rows["kick"]["estimates"]) == ("4", "2")
    assert (rows["all"]["references"], rows["all"]["estimates"]) == ("7", "6")
    assert float(rows["kick"]["precision"]) == 1.0
    assert float(rows["kick"]["recall"]) == 0.5
    assert float(rows["kick"]["f1_25ms"]) == 0.0
    assert float(rows["snare"]["f1_25ms"]) == f1(2, 0, 1)
    assert float(rows["kick"]["velocity_mae"]) == 5.0
    assert float(rows["all"]["f1"]) == scores["f1"]
    assert rows["crash"]["f1"] == rows["crash"]["f1_low"] == rows["crash"]["velocity_mae"] == ""
    assert rows["hihat"]["f1"] == "0.0"  # estimates without references: wrong, not undefined


def test_conditions_have_scores_of_their_own(evaluation: Evaluation) -> None:
    _, tables = evaluation.run()
    plain, stress, together = tables["conditions"]
    assert (plain["condition"], stress["condition"], together["condition"]) == ("plain", "stress", "all")
    assert (plain["references"], stress["references"]) == ("5", "2")
    assert float(plain["f1"]) == f1(2, 2, 3)
    assert float(plain["f1_25ms"]) == f1(1, 3, 4)  # the early kick
    assert float(plain["velocity_mae"]) == 7.0
    assert float(plain["f1_5_classes"]) == f1(2, 2, 3)
    assert float(stress["f1_25ms"]) == f1(1, 1, 1)  # the late kick
    # As lanes: the ride of b is a cymbal.
    assert float(together["f1_5_classes"]) == f1(4, 2, 3)
    assert (together["f1_toms"], float(together["f1_cymbals"])) == ("", 0.0)


def test_tables_of_kits_and_styles(evaluation: Evaluation) -> None:
    _, tables = evaluation.run()
    kits = {row["kit"]: row for row in tables["kits"]}
    assert list(kits) == ["heard", "unheard"]
    assert {name: row["in_training"] for name, row in kits.items()} == {"heard": "heard", "unheard": "unheard"}
    assert (kits["heard"]["references"], float(kits["heard"]["f1"])) == ("5", f1(2, 2, 3))
    assert (kits["unheard"]["references"], float(kits["unheard"]["f1"])) == ("2", 1.0)
    assert kits["unheard"]["f1_hihat"] == ""
    styles = {row["style"]: row for row in tables["styles"]}
    assert float(styles["rock"]["f1"]) == f1(4, 1, 2)
    assert float(styles["jazz"]["f1"]) == 0.0


def test_confusion_says_which_lane_is_predicted_instead_and_its_sums_match(evaluation: Evaluation) -> None:
    _, tables = evaluation.run()
    table = {(row["played"], row["heard"]): int(row["onsets"]) for row in tables["confusion"]}
    assert len(table) == 81
    assert {key: n for key, n in table.items() if n} == {
        ("kick", "kick"): 2,
        ("kick", "nothing"): 2,
        ("snare", "snare"): 2,
        ("snare", "hihat"): 1,
        ("nothing", "ride"): 1,
    }
    for row in tables["lanes"][:-1]:
        assert sum(n for (played, _), n in table.items() if played == row["lane"]) == int(row["references"])
        assert sum(n for (_, heard), n in table.items() if heard == row["lane"]) == int(row["estimates"])


def test_average_precision_is_that_of_all_peaks_whatever_the_threshold(evaluation: Evaluation) -> None:
    """The kick of b counts, though it is below the threshold; one kick and one snare have no peak at all."""
    scores, tables = evaluation.run()
    of_lane = {row["lane"]: row["average_precision"] for row in tables["lanes"]}
    assert float(of_lane["kick"]) == 3 / 4
    assert float(of_lane["snare"]) == round(2 / 3, 5)
    assert of_lane["hihat"] == of_lane["ride"] == of_lane["crash"] == ""  # nothing to find
    assert float(of_lane["all"]) == scores["average_precision"] == round((3 / 4 + 2 / 3) / 2, 5)


def test_precision_and_recall_are_shown_for_the_lanes_with_something_found(evaluation: Evaluation) -> None:
    _, tables = evaluation.run()
    points = [tuple(row.values()) for row in tables["precision_recall"]]
    assert points == [
        ("kick", "0.90000", "1.00000", "0.50000", "1"),
        ("kick", "0.49000", "1.00000", "0.75000", "0"),
        ("snare", "0.80000", "1.00000", "0.33333", "0"),
        ("snare", "0.50000", "1.00000", "0.66667", "1"),
    ]


def test_the_point_of_the_threshold_is_the_score_of_the_lane(evaluation: Evaluation) -> None:
    """With 90 wrong peaks below 90 right ones, and thresholds in the middle of both."""
    times = [0.04 * place for place in range(90)]
    make_labels({**PLAYED, "a": onsets(*((time, KICK) for time in times))}).write(evaluation.root / "labels.h5")
    wrong = [(time, SNARE, 0.3 + place / 200, 90) for place, time in enumerate(times)]
    evaluation.model.peaks = {
        **PREDICTED,
        "a": [*((time, KICK, 0.3 + place / 200, 90) for place, time in enumerate(times)), *wrong],
    }
    _, tables = evaluation.run()
    lanes = {row["lane"]: row for row in tables["lanes"]}
    chosen = {row["lane"]: row for row in tables["precision_recall"] if row["chosen"] == "1"}
    assert chosen.keys() == {"kick", "snare"}
    for lane, row in chosen.items():
        assert [float(row[name]) for name in ("precision", "recall")] == [
            float(lanes[lane][name]) for name in ("precision", "recall")
        ]
        recall = [float(point["recall"]) for point in tables["precision_recall"] if point["lane"] == lane]
        assert recall == sorted(recall)
        assert len(recall) <= 51


def test_no_point_is_chosen_where_no_peak_reaches_the_threshold(evaluation: Evaluation) -> None:
    exported(evaluation.model.file, threshold=0.95)
    _, tables = evaluation.run()
    assert [row["chosen"] for row in tables["precision_recall"]] == ["0"] * 4


def test_reliability_says_which_share_of_the_peaks_is_right(evaluation: Evaluation) -> None:
    """A lane that stays at 0 has a peak at its first frame, as every plateau: one in each recording."""
    _, tables = evaluation.run()
    rows = [tuple(row.values()) for row in tables["reliability"]]
    assert [row for row in rows if row[0] in ("kick", "ride")] == [
        ("kick", "0.00000", "0.00000", "3"),
        ("kick", "0.49000", "1.00000", "1"),
        ("kick", "0.90000", "1.00000", "2"),
        ("ride", "0.00000", "0.00000", "3"),
        ("ride", "0.60000", "0.00000", "1"),  # that in the ignore window is left out
    ]
    assert [row for row in rows if row[0] == "all"] == [
        ("all", "0.00000", "0.00000", str(3 * len(LANES))),
        ("all", "0.49500", "1.00000", "2"),  # kick 0.49 and snare 0.5
        ("all", "0.65000", "0.00000", "2"),  # ride 0.6, hi-hat 0.7
        ("all", "0.86667", "1.00000", "3"),
    ]


def test_a_picture_shows_references_and_estimates(evaluation: Evaluation) -> None:
    """Of the same onsets as the scores: a has a missed kick, b an extra ride, c nothing but pairs."""
    evaluation.run()
    with Image.open(evaluation.root / "metrics" / "evaluation" / "rolls.png") as picture:
        colours = {colour for _, colour in picture.getcolors(1 << 20) or ()}
    assert {FOUND, MISSED, EXTRA} <= colours


def test_timing_histogram_holds_every_pair(evaluation: Evaluation) -> None:
    """Also that at the edge: 1.05 - 1.0 is above 0.05 to a computer."""
    _, tables = evaluation.run()
    histogram = {int(row["error_ms"]): int(row["onsets"]) for row in tables["timing"]}
    assert list(histogram) == list(range(-49, 50, 2))
    assert sum(histogram.values()) == 4
    assert {error: n for error, n in histogram.items() if n and abs(error) > 1} in ({-29: 1, 49: 1}, {-31: 1, 49: 1})


def test_same_input_gives_the_same_bytes(evaluation: Evaluation) -> None:
    evaluation.run()
    files = {path: path.read_bytes() for path in (evaluation.root / "metrics").rglob("*") if path.is_file()}
    stray = evaluation.root / "metrics" / "evaluation" / "of_last_week.csv"
    stray.write_text("old", encoding="utf-8")
    evaluation.run()
    assert files == {path: path.read_bytes() for path in (evaluation.root / "metrics").rglob("*") if path.is_file()}


def test_no_references_and_no_estimates_is_null_and_not_nan(evaluation: Evaluation) -> None:
    make_labels(dict.fromkeys("abc", onsets())).write(evaluation.root / "labels.h5")
    evaluation.model.peaks = {name: [] for name in PREDICTED}
    scores, tables = evaluation.run()
    assert set(scores.values()) == {None}
    assert all("nan" not in value.lower() for rows in tables.values() for row in rows for value in row.values())
    with Image.open(evaluation.root / "metrics" / "evaluation" / "rolls.png") as picture:
        assert picture.width > 300


def test_no_unheard_kit_is_null(evaluation: Evaluation) -> None:
    path = evaluation.root / "splits.csv"
    path.write_text(path.read_text("utf-8").replace(",unheard,test", ",unheard,unused"), encoding="utf-8")
    assert evaluation.run()[0]["f1_unheard_kits"] is None


def test_model_without_thresholds_is_refused(evaluation: Evaluation) -> None:
    ModelFile(untrained(), small_features()).save(evaluation.model.file)
    with pytest.raises(DrumCrnnError, match="holds no thresholds; `drum-crnn export`"):
        evaluation.run()
    assert not (evaluation.root / "metrics").exists()


def test_empty_test_split_is_refused(evaluation: Evaluation) -> None:
    path = evaluation.root / "splits.csv"
    path.write_text(path.read_text("utf-8").replace(",test", ",unused"), encoding="utf-8")
    with pytest.raises(DrumCrnnError, match=r"splits\.csv: no recording is in the test split"):
        evaluation.run()


def test_catalog_that_lacks_a_test_recording_is_refused(evaluation: Evaluation) -> None:
    Catalog((catalog_entry("a"),)).write(evaluation.root / "catalog.csv")
    with pytest.raises(DrumCrnnError, match=r"catalog\.csv: lacks 'b', which .*splits\.csv names"):
        evaluation.run()


@pytest.mark.parametrize("name", ["labels.h5", "splits.csv", "catalog.csv"])
def test_missing_input_is_named(evaluation: Evaluation, name: str) -> None:
    (evaluation.root / name).unlink()
    with pytest.raises(DrumCrnnError, match=name):
        evaluation.run()
