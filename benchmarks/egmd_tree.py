"""A corpus in E-GMD's shape, from the MIDI of Groove: performances × 43 kits, 18 of which remap notes; silent audio.

Audio takes no room: the files of a performance are links to one file with a hole in it. E-GMD's 132 GB take 0.1 GB.
"""

import csv
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import mido

from drum_crnn.data.corpus import EGMD_COLUMNS
from drum_crnn.foundation.console import track

__all__ = ["TreeSummary", "build_tree"]

RATE = 44_100
HOURS = 444.0
PERFORMANCES = {"train": 819, "validation": 117, "test": 123}

_HIHAT = (22, 26, 42, 44, 46)
# What the pad maps of some kits make of note numbers, as in E-GMD, and how many kits have each; most change nothing.
_PAD_MAPS: tuple[tuple[int, dict[int, int]], ...] = (
    (25, {}),
    (2, dict.fromkeys(_HIHAT, 54)),  # hi-hat as tambourine
    (4, {50: 38, 47: 38, 58: 38}),  # rims of toms as snare
    (3, {47: 36, 58: 36}),  # and as kick
    (3, {50: 48, 57: 49}),  # within their lanes
    (3, {37: 39, 53: 56}),  # as percussion of no lane
    (3, {51: 49, 59: 49}),  # ride as crash
)


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """Number of recordings, and their hours."""

    n_recordings: int
    hours: float


def build_tree(groove: Path, root: Path, *, share: float) -> TreeSummary:
    """Make a tree with a share of E-GMD's performances: 1.0 for all 45,537 recordings and 444 hours."""
    performances = _choose(groove, share)
    stretch = max(1.0, share * HOURS * 3600 / 43 / sum(float(row["duration"]) for row in performances))
    rows: list[list[str]] = []
    for row in track(performances, description="making the tree"):
        rows += _build_performance(groove, root, row, duration_s=float(row["duration"]) * stretch)
    with (root / "e-gmd-v1.0.0.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(EGMD_COLUMNS)
        writer.writerows(rows)
    return TreeSummary(len(rows), sum(float(row[EGMD_COLUMNS.index("duration")]) for row in rows) / 3600)


def _choose(groove: Path, share: float) -> list[dict[str, str]]:
    """Performances of each split, evenly spaced by duration, without so many of the longest that the hours fit."""
    with (groove / "info.csv").open(encoding="utf-8", newline="") as file:
        table = sorted(csv.DictReader(file), key=lambda row: float(row["duration"]))
    for percent in range(101):
        chosen = []
        for split, number in PERFORMANCES.items():
            of_split = [row for row in table if row["split"] == split]
            n = max(1, round(number * share))
            n_kept = len(of_split) - percent * (len(of_split) - n) // 100
            chosen += [of_split[index * n_kept // n] for index in range(n)]
        if 43 * sum(float(row["duration"]) for row in chosen) <= share * HOURS * 3600:
            break
    return chosen


def _build_performance(groove: Path, root: Path, row: dict[str, str], *, duration_s: float) -> list[list[str]]:
    """Write the files of all kits, and return their rows of the table."""
    stem = row["midi_filename"].removesuffix(".mid")
    (root / stem).parent.mkdir(parents=True, exist_ok=True)
    n_samples = round(duration_s * RATE)
    first_audio = root / f"{stem}_1.wav"
    _write_silence(first_audio, n_samples)
    midi = mido.MidiFile(groove / row["midi_filename"], clip=True)
    played = [(message, message.note) for one in midi.tracks for message in one if hasattr(message, "note")]
    rows = []
    kit = 0
    for n_kits, pad_map in _PAD_MAPS:
        first_midi = root / f"{stem}_{kit + 1}.midi"
        for message, note in played:
            message.note = pad_map.get(note, note)
        midi.save(first_midi)
        for _ in range(n_kits):
            kit += 1
            audio, notes = root / f"{stem}_{kit}.wav", root / f"{stem}_{kit}.midi"
            _link(first_audio, audio)
            _link(first_midi, notes)
            own = {
                "duration": f"{n_samples / RATE:.6f}",
                "midi_filename": notes.relative_to(root).as_posix(),
                "audio_filename": audio.relative_to(root).as_posix(),
                "kit_name": f"Kit {kit}",
            }
            rows.append([{**row, **own}[column] for column in EGMD_COLUMNS])
    return rows


def _link(existing: Path, path: Path) -> None:
    if path != existing:
        path.hardlink_to(existing)


def _write_silence(path: Path, n_samples: int) -> None:
    """A WAV of 16 bits, mono, whose samples are a hole in the file."""
    n_bytes = 2 * n_samples
    header = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", n_bytes
    )
    path.write_bytes(header)
    os.truncate(path, len(header) + n_bytes)
