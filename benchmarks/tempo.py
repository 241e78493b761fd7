"""How well tempo, beats and bars are found in the Groove MIDI data set: `python -m benchmarks.tempo GROOVE_FOLDER`.

Performances of at least 20 s that the table calls beats, in all their splits (`--split` selects one, `--every N` each
N-th performance). They were played to a click. The table counts quarters a minute, from 0 s on. In 6/8, a beat is a
dotted quarter.

clean
    Notes as they were played.
degraded
    As a transcription would have them: 10 % missing, soft ones rather than loud ones, 5 % added at random, and 5 ms of
    jitter.
transcribed
    With `--transcribe`: rendered on the drum kits of pretty_midi's TimGM6mb, one performance on each in turn, and
    transcribed with the released model, which was trained on other kits.

`--librosa` also scores the beat tracker of librosa (Ellis 2007), on the same onsets and on the rendered sound.

Figures, for each split and each of these
-----------------------------------------
beat_f
    Mean F-measure of beats within 70 ms, after the first five seconds (mir_eval).
tempo_right
    Share of performances whose tempo is within 4 % of the truth, its half or its double.
level_right
    Share whose tempo is within 4 % of the truth itself.
told_right
    Share in which that is so of the tempo or of the one that is told beside it. Not of librosa, which tells one.
downbeat_f, metre_right
    F-measure of the beginnings of bars, and share whose time signature is the truth. Not of librosa, which has none.
trusted
    Share whose estimate is not given up for a constant tempo.
"""

import argparse
import csv
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mir_eval
import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.report import print_figures, print_machine, print_rows
from drum_crnn.music.audio import load_audio
from drum_crnn.music.lanes import LANE_OF_NOTE, N_LANES
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.onsets import Onsets
from drum_crnn.studio.kits import SAMPLE_RATE
from drum_crnn.studio.sampler import mix, normalised
from drum_crnn.tempo.estimation import estimate_tempo_map

FloatArray = NDArray[np.float64]
MIN_DURATION_S = 20.0
TOLERANCE = 0.04  # of a tempo
_FRAME_RATE = 100.0  # of the onset envelope for librosa
_SOUND_RATE = 22_050  # librosa's own
_KITS = "pretty_midi:TimGM6mb"
_KIT_NAMES = ("Standard", "Room", "Power", "Jazz", "Brush", "Orchestra")
_PEAK_DBFS = -1.0


@dataclass(frozen=True, eq=False)
class Played:
    """A performance that was played to a click."""

    name: str
    split: str
    drummer: str
    quarters_a_minute: float
    time_signature: str
    notes: list[Note]
    onsets: Onsets

    @property
    def bpm(self) -> float:
        """Beats a minute."""
        return self.quarters_a_minute / (1.5 if self.time_signature == "6/8" else 1.0)

    @property
    def beats_s(self) -> FloatArray:
        """Up to the last onset."""
        return self._every(60.0 / self.bpm)

    @property
    def downbeats_s(self) -> FloatArray:
        """The beginnings of bars, up to the last onset."""
        numerator, denominator = map(int, self.time_signature.split("/"))
        return self._every(4 * numerator / denominator * 60.0 / self.quarters_a_minute)

    def _every(self, period_s: float) -> FloatArray:
        return np.arange(0.0, float(self.onsets.time_s[-1]) + 1e-9, period_s)


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
            performances.append(
                Played(row["id"], row["split"], row["drummer"], float(row["bpm"]), signature, notes, onsets)
            )
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


@dataclass(frozen=True, eq=False)
class Material:
    """What a tracker gets: onsets, and the sound if it was rendered; mono at `_SOUND_RATE`."""

    onsets: Onsets
    sound: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """What a tracker finds; the latter four, if it knows of bars."""

    beats_s: FloatArray
    bpm: float
    downbeats_s: FloatArray | None = None
    time_signature: str = ""
    is_trusted: bool = True
    alternative_bpm: float = 0.0


Tracker = Callable[[Material], Found]


class Studio:
    """Renders and transcribes performances, each on the next kit."""

    def __init__(self) -> None:
        from drum_crnn.studio.sources import open_kits
        from drum_crnn.transcribe import Transcriber, released_model

        self._kits = [kit for name in _KIT_NAMES for kit in open_kits(f"{_KITS}#{name}")]
        self._transcriber = Transcriber.load(released_model())
        self._n_made = 0

    def __call__(self, performance: Played) -> Material:
        """Render a performance plainly, write it as 16 bits, and transcribe that file."""
        mixed = mix(performance.notes, self._kits[self._n_made % len(self._kits)])
        self._n_made += 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "recording.wav"
            soundfile.write(path, normalised(mixed.audio, peak_dbfs=_PEAK_DBFS), SAMPLE_RATE, subtype="PCM_16")
            onsets = self._transcriber.transcribe_file(path).onsets
            return Material(onsets, load_audio(path, sample_rate=_SOUND_RATE))


def own_tracker(material: Material) -> Found:
    """By this project."""
    estimate = estimate_tempo_map(material.onsets)
    metre = estimate.metre
    return Found(
        estimate.beats_s,
        estimate.bpm,
        estimate.downbeats_s,
        f"{metre.numerator}/{metre.denominator}",
        estimate.is_trustworthy,
        estimate.alternative_bpm,
    )


def librosa_tracker(material: Material) -> Found:
    """By librosa's dynamic programming on an envelope made of the onsets."""
    import librosa

    onsets = material.onsets
    frames = np.rint(onsets.time_s * _FRAME_RATE).astype(np.int64)
    envelope = np.bincount(frames, onsets.velocity / 127, int(frames[-1]) + 100)
    envelope = np.convolve(envelope, np.exp(-0.5 * (np.arange(-3, 4) / 1.5) ** 2), "same")
    _, beats = librosa.beat.beat_track(onset_envelope=envelope, sr=_FRAME_RATE, hop_length=1, trim=False)
    return _of_beats(np.asarray(beats) / _FRAME_RATE)


def librosa_sound_tracker(material: Material) -> Found:
    """By the same on librosa's own onset envelope of the sound."""
    import librosa

    _, beats_s = librosa.beat.beat_track(y=material.sound, sr=_SOUND_RATE, units="time", trim=False)
    return _of_beats(np.asarray(beats_s, dtype=np.float64))


def _of_beats(beats_s: FloatArray) -> Found:
    return Found(beats_s, 60.0 / float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else 0.0)


def scores_of(performance: Played, found: Found) -> dict[str, float]:
    """The figures of one performance."""

    def is_right(bpm: float) -> bool:
        return abs(bpm / performance.bpm - 1.0) <= TOLERANCE

    scores = {
        "beat_f": _f_of_beats(performance.beats_s, found.beats_s),
        "tempo_right": float(any(is_right(octave * found.bpm) for octave in (1.0, 0.5, 2.0))),
        "level_right": float(is_right(found.bpm)),
    }
    if found.downbeats_s is not None:
        scores |= {
            "told_right": float(is_right(found.bpm) or is_right(found.alternative_bpm)),
            "downbeat_f": _f_of_beats(performance.downbeats_s, found.downbeats_s),
            "metre_right": float(found.time_signature == performance.time_signature),
            "trusted": float(found.is_trusted),
        }
    return scores


def _f_of_beats(reference_s: FloatArray, estimate_s: FloatArray) -> float:
    return float(mir_eval.beat.f_measure(*(mir_eval.beat.trim_beats(times) for times in (reference_s, estimate_s))))


def main() -> None:
    """Score each split."""
    parser = argparse.ArgumentParser(description="Score tempo, beats and bars on the Groove MIDI data set.")
    parser.add_argument("groove", type=Path, help="the unpacked data set, with info.csv")
    parser.add_argument("--split", action="append", help="train, validation or test; repeatable; default: all")
    parser.add_argument("--every", type=int, default=1, help="take each N-th performance")
    parser.add_argument("--transcribe", action="store_true", help="score rendered and transcribed performances, too")
    parser.add_argument("--librosa", action="store_true", help="score librosa's beat tracker, too")
    parser.add_argument("--show", action="store_true", help="print a line for each performance")
    arguments = parser.parse_args()
    print_machine()
    materials: dict[str, Callable[[Played], Material]] = {
        "clean": lambda performance: Material(performance.onsets),
        "degraded": lambda performance: Material(degraded(performance.onsets)),
    }
    if arguments.transcribe:
        materials["transcribed"] = Studio()
    trackers: dict[str, Tracker] = {"": own_tracker}
    if arguments.librosa:
        trackers |= {"librosa_": librosa_tracker, "librosa_sound_": librosa_sound_tracker}
    rows: list[tuple[str, str]] = []
    figures: dict[str, float] = {}
    for split in arguments.split or ("train", "validation", "test"):
        performances = read_groove(arguments.groove, split)[:: arguments.every]
        hours = sum(float(performance.onsets.time_s[-1]) for performance in performances) / 3600
        rows.append((split, f"{len(performances)} performances, {hours:.1f} h"))
        all_scores: dict[str, list[dict[str, float]]] = {}
        seconds: dict[str, float] = defaultdict(float)
        for performance in performances:
            for name, make in materials.items():
                material = make(performance)
                for prefix, tracker in trackers.items():
                    if tracker is librosa_sound_tracker and material.sound is None:
                        continue
                    started = time.process_time()
                    found = tracker(material)
                    seconds[prefix + name] += time.process_time() - started
                    all_scores.setdefault(prefix + name, []).append(scores := scores_of(performance, found))
                    if arguments.show:
                        values = ", ".join(f"{key} {value:.2f}" for key, value in scores.items())
                        print(f"{prefix + name} {performance.name} {performance.bpm:g} bpm: {found.bpm:.1f}, {values}")
        for name, of_performances in all_scores.items():
            means = {key: float(np.mean([scores[key] for scores in of_performances])) for key in of_performances[0]}
            text = ", ".join(f"{key} {value:.3f}" for key, value in means.items())
            rows.append((f"{split} {name}", f"{text}; {seconds[name] / hours:.1f} s of processor an hour of music"))
            figures |= {f"{split}_{name}_{key}": value for key, value in means.items()}
    print_rows(rows)
    print_figures(figures)


if __name__ == "__main__":
    main()
