"""The memory of `tune-thresholds` and `evaluate` on a corpus of E-GMD's size: `python -m benchmarks.scoring_memory`.

It takes a quarter of an hour; `evaluate` or `tune` as an argument measures one of them.

There is no audio, and no network runs: activations are noise, higher at nine of ten onsets. All else is real. The
test split has 29 million peaks. Of the same number in the validation split, a quarter is above 0.05: more than a model
has that has learned.

Figures
-------
evaluate_peak_mb, tune_peak_mb
    Largest resident memory of the process.
evaluate_more_mb, tune_more_mb
    The part of it that came after the imports, of which PyTorch is the largest.
"""

import dataclasses
import functools
import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import SplitRow, Splits
from drum_crnn.model.activations import Activations
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.scoring import evaluation, prediction, tuning
from drum_crnn.scoring.thresholds import ThresholdParams

KITS = 43
FRAME_RATE = 100
ONSETS_A_SECOND = 10
# Performances of each split, and their seconds: as in E-GMD.
SPLITS = {"train": (819, 34.9), "validation": (117, 37.4), "test": (123, 34.6)}
SHARE_OF_LANE = (0.23, 0.25, 0.35, 0.03, 0.03, 0.04, 0.03, 0.04)
MODEL = Path("models/released/drum_crnn.safetensors")


@dataclasses.dataclass(frozen=True)
class Performance:
    """A performance of the made-up corpus; all kits share its onsets."""

    number: int
    split: Any
    n_frames: int

    @functools.cached_property
    def played(self) -> Onsets:
        """At most one onset in 40 ms."""
        rng = np.random.default_rng(self.number)
        n_onsets = self.n_frames * ONSETS_A_SECOND // FRAME_RATE
        frames = np.sort(rng.choice(self.n_frames // 4, n_onsets, replace=False)) * 4
        lanes = rng.choice(N_LANES, n_onsets, p=SHARE_OF_LANE)
        return Onsets(frames / FRAME_RATE, lanes, rng.integers(1, 128, n_onsets))

    def predicted(self, kit: int) -> Activations:
        """Noise below 0.45, and peaks above 0.5."""
        rng = np.random.default_rng((self.number, kit))
        onset = 0.45 * rng.random((self.n_frames, N_LANES), np.float32) ** 40
        found = rng.random(len(self.played)) < 0.9
        frames = np.rint(self.played.time_s[found] * FRAME_RATE).astype(int)
        onset[frames, self.played.lane[found]] = rng.uniform(0.5, 1, len(frames))
        return Activations(onset, np.full(onset.shape, 64, np.float32))


PERFORMANCES = [
    Performance(number, split, round(seconds * FRAME_RATE))
    for number, (split, seconds) in enumerate(
        (split, seconds) for split, (n, seconds) in SPLITS.items() for _ in range(n)
    )
]
OF_RECORDING = {
    f"{number:04d}/{kit:02d}": (PERFORMANCES[number], kit)
    for number, kit in itertools.product(range(len(PERFORMANCES)), range(KITS))
}


class FakeStore:
    """In place of a `FeatureStore`; the frames of a recording say nothing but which it is."""

    params = ModelFile.load(MODEL).features

    @classmethod
    def open(cls, directory: Path) -> "FakeStore":
        """There is nothing to open."""
        return cls()

    def read(self, recording: str) -> NDArray[np.str_]:
        """The id of the recording."""
        return np.array([recording])


def fake_activations(model: Any, recordings: Iterable[NDArray[np.str_]], *, floor_db: float) -> Iterator[Activations]:
    """In place of `activations_of_all`."""
    for [recording] in recordings:
        performance, kit = OF_RECORDING[str(recording)]
        yield performance.predicted(kit)


def main() -> None:
    """Make the files, and run both stages, each in a process of its own."""
    print_machine()
    figures: dict[str, float] = {}
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name))
        for stage, run in (("evaluate", evaluate), ("tune", tune)):
            if stage not in (sys.argv[1:] or stage):
                continue
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                before_mb, peak_mb = pool.submit(memory_of, run, Path(name)).result()
            rows.append((stage, f"{before_mb:.0f} MB after the imports, {peak_mb:.0f} MB at most"))
            figures |= {f"{stage}_peak_mb": peak_mb, f"{stage}_more_mb": peak_mb - before_mb}
    print_rows(rows)
    print_figures(figures)


def write_files(folder: Path) -> None:
    """Catalog, splits and labels of all recordings."""
    entries, split_rows = [], []
    for recording, (performance, kit) in OF_RECORDING.items():
        about = {field.name: "" for field in dataclasses.fields(CatalogEntry)}
        ids = {"recording": recording, "performance": str(performance.number), "kit": f"Kit {kit}", "style": "rock"}
        sizes = {"bpm": 120.0, "n_samples": 44_100, "sample_rate": 44_100, "audio_bytes": 1, "midi_bytes": 1}
        checksums = {"audio_sha256": "0" * 64, "midi_sha256": "0" * 64}
        entries.append(CatalogEntry(**(about | ids | sizes | checksums)))  # type: ignore[arg-type]
        split_rows.append(SplitRow(recording, str(performance.number), f"Kit {kit}", performance.split))
    Catalog(tuple(entries)).write(folder / "catalog.csv")
    Splits(tuple(split_rows)).write(folder / "splits.csv")
    played = [performance.played for performance, _ in OF_RECORDING.values()]
    nothing = np.zeros(0)
    Labels(
        tuple(OF_RECORDING),
        np.cumsum([0, *map(len, played)]),
        np.concatenate([onsets.time_s for onsets in played]),
        np.concatenate([onsets.lane.astype(np.int8) for onsets in played]),
        np.concatenate([onsets.velocity.astype(np.uint8) for onsets in played]),
        np.zeros(len(OF_RECORDING) + 1, np.int64),
        nothing,
        nothing,
        nothing.astype(np.int8),
    ).write(folder / "labels.h5")


def memory_of(run: Any, folder: Path) -> tuple[float, float]:
    """Resident memory of this process before `run(folder)`, and the largest until its end, in MB."""
    for module in (evaluation, tuning):
        vars(module)["FeatureStore"] = FakeStore
    vars(prediction)["activations_of_all"] = fake_activations
    before = psutil.Process().memory_info().rss
    run(folder)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return before / 1e6, int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def tune(folder: Path) -> None:
    """Run `tune-thresholds`."""
    tuning.tune_thresholds(
        tuning.TuningInputs(MODEL, folder / "features", folder / "labels.h5", folder / "splits.csv"),
        tuning.TuningOutputs(*(folder / name for name in ("thresholds.json", "curves.csv", "transfer.csv"))),
        thresholds=ThresholdParams.load(),
        peak_picking=PeakPickingParams.load(),
    )


def evaluate(folder: Path) -> None:
    """Run `evaluate`."""
    names = ("features", "labels.h5", "splits.csv", "catalog.csv")
    evaluation.evaluate(
        evaluation.EvaluationInputs(MODEL, *(folder / name for name in names)),
        evaluation.EvaluationOutputs(folder / "scores.json", folder / "tables"),
        evaluation.EvaluateParams.load(),
    )


if __name__ == "__main__":
    main()
