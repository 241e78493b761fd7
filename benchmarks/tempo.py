"""How well tempo and beats are found in the Groove MIDI data set: `python -m benchmarks.tempo GROOVE_FOLDER`.

Performances of at least 20 s that the table calls beats, in all their splits (`--split` selects one, `--every N` each
N-th performance). They were played to a click, so beats lie at multiples of 60 / bpm seconds. Notes are taken as they
were played, and degraded as a transcription is: 10 % missing, soft ones rather than loud ones, 5 % added at random, and
5 ms of jitter. `--librosa` scores the beat tracker of librosa on the same onsets as well.

Figures, for each split, clean and degraded
-------------------------------------------
beat_f
    Mean F-measure of beats within 70 ms, after the first five seconds (mir_eval).
tempo_right
    Share of performances whose tempo is within 4 % of the truth, its half or its double.
level_right
    Share whose tempo is within 4 % of the truth itself.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mir_eval
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.music.lanes import LANE_OF_NOTE, N_LANES
from drum_crnn.music.midi import read_midi
from drum_crnn.music.onsets import Onsets
from drum_crnn.tempo.estimation import estimate_tempo_map

FloatArray = NDArray[np.float64]
Tracker = Callable[[Onsets], tuple[FloatArray, float]]

MIN_DURATION_S = 20.0
TOLERANCE = 0.04  # of a tempo
_FRAME_RATE = 100.0  # of the onset envelope for librosa


@dataclass(frozen=True, eq=False)
class Played:
    """A performance that was played to a click."""

    name: str
    split: str
    drummer: str
    bpm: float
    time_signature: str
    onsets: Onsets

    @property
    def beats_s(self) -> FloatArray:
        """The clicks, up to the last onset."""
        return np.arange(0.0, float(self.onsets.time_s[-1]) + 1e-9, 60.0 / self.bpm)


def read_groove(root: Path, split: str | None = None) -> list[Played]:
    """The performances of the table, those that are long enough, of one split or all."""
    performances = []
    with (root / "info.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            too_short = float(row["duration"]) < MIN_DURATION_S or row["beat_type"] != "beat"
            if too_short or (split is not None and row["split"] != split):
                continue
            notes = [note for note in read_midi(root / row["midi_filename"]) if note.note in LANE_OF_NOTE]
            onsets = Onsets.in_order(
                [note.time_s for note in notes],
                [LANE_OF_NOTE[note.note] for note in notes],
                [note.velocity for note in notes],
            )
            signature = row["time_signature"].replace("-", "/")
            performances.append(Played(row["id"], row["split"], row["drummer"], float(row["bpm"]), signature, onsets))
    return performances


def degraded(onsets: Onsets, seed: int = 1) -> Onsets:
    """The onsets as a transcription would have them."""
    rng = np.random.default_rng(seed)
    n_missing, n_false = round(0.1 * len(onsets)), round(0.05 * len(onsets))
    # Exponential keys over weights: sampling without replacement, in proportion to the weights.
    keys = rng.exponential(size=len(onsets)) * np.exp(onsets.velocity / 20.0)
    kept = onsets.where(np.argsort(np.argsort(keys)) >= n_missing)
    times = [kept.time_s + rng.normal(0.0, 0.005, len(kept)), rng.uniform(0.0, onsets.time_s[-1], n_false)]
    return Onsets.in_order(
        np.maximum(np.concatenate(times), 0.0),
        np.concatenate([kept.lane, rng.integers(0, N_LANES, n_false)]),
        np.concatenate([kept.velocity, rng.integers(10, 90, n_false)]),
    )


def own_tracker(onsets: Onsets) -> tuple[FloatArray, float]:
    """Beats and tempo, by this project."""
    estimate = estimate_tempo_map(onsets)
    return estimate.beats_s, estimate.bpm


def librosa_tracker(onsets: Onsets) -> tuple[FloatArray, float]:
    """Beats and tempo, by librosa's dynamic programming (Ellis 2007) on an envelope made of the onsets."""
    import librosa

    frames = np.rint(onsets.time_s * _FRAME_RATE).astype(np.int64)
    envelope = np.bincount(frames, onsets.velocity / 127, int(frames[-1]) + 100)
    envelope = np.convolve(envelope, np.exp(-0.5 * (np.arange(-3, 4) / 1.5) ** 2), "same")
    _, beats = librosa.beat.beat_track(onset_envelope=envelope, sr=_FRAME_RATE, hop_length=1, trim=False)
    beats_s = np.asarray(beats) / _FRAME_RATE
    return beats_s, 60.0 / float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else 0.0


def score(performances: list[Played], tracker: Tracker, *, degrade: bool, show: bool = False) -> dict[str, float]:
    """The figures of one split."""
    f_measures, octave_right, level_right = [], [], []
    for performance in performances:
        beats_s, bpm = tracker(degraded(performance.onsets) if degrade else performance.onsets)
        reference, estimate = (mir_eval.beat.trim_beats(beats) for beats in (performance.beats_s, beats_s))
        f_measures.append(float(mir_eval.beat.f_measure(reference, estimate)))
        ratios = np.array([bpm / performance.bpm * octave for octave in (1.0, 0.5, 2.0)])
        right = np.abs(ratios - 1.0) <= TOLERANCE
        octave_right.append(bool(right.any()))
        level_right.append(bool(right[0]))
        if show:
            print(f"{performance.name:<28} {performance.bpm:5.0f} bpm, found {bpm:5.1f}, beat F {f_measures[-1]:.2f}")
    return {
        "beat_f": float(np.mean(f_measures)),
        "tempo_right": float(np.mean(octave_right)),
        "level_right": float(np.mean(level_right)),
    }


def main() -> None:
    """Score each split, clean and degraded."""
    parser = argparse.ArgumentParser(description="Score tempo and beats on the Groove MIDI data set.")
    parser.add_argument("groove", type=Path, help="the unpacked data set, with info.csv")
    parser.add_argument("--split", action="append", help="train, validation or test; repeatable; default: all")
    parser.add_argument("--every", type=int, default=1, help="take each N-th performance")
    parser.add_argument("--librosa", action="store_true", help="score librosa's beat tracker as well")
    parser.add_argument("--show", action="store_true", help="print a line for each performance")
    arguments = parser.parse_args()
    print_machine()
    trackers: dict[str, Tracker] = {"": own_tracker}
    if arguments.librosa:
        trackers["librosa_"] = librosa_tracker
    rows: list[tuple[str, str]] = []
    figures: dict[str, float] = {}
    for split in arguments.split or ("train", "validation", "test"):
        performances = read_groove(arguments.groove, split)[:: arguments.every]
        audio_s = sum(float(performance.onsets.time_s[-1]) for performance in performances)
        rows.append((split, f"{len(performances)} performances, {audio_s / 3600:.1f} h"))
        for prefix, tracker in trackers.items():
            for name, degrade in (("clean", False), ("degraded", True)):
                started = time.process_time()
                scores = score(performances, tracker, degrade=degrade, show=arguments.show)
                per_hour = (time.process_time() - started) / audio_s * 3600
                text = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
                rows.append((f"{split} {prefix}{name}", f"{text}; {per_hour:.1f} s of processor an hour of music"))
                figures |= {f"{split}_{prefix}{name}_{key}": value for key, value in scores.items()}
    print_rows(rows)
    print_figures(figures)


if __name__ == "__main__":
    main()
