"""Builds tiny corpora in the layouts of E-GMD and Groove: real WAV and MIDI files that last about a second."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from drum_crnn.data.catalog import CatalogEntry
from drum_crnn.music.midi import Note
from drum_crnn.music.midi_writing import write_midi

EGMD_HEADER = [
    "drummer",
    "session",
    "id",
    "style",
    "bpm",
    "beat_type",
    "time_signature",
    "duration",
    "split",
    "midi_filename",
    "audio_filename",
    "kit_name",
]
GROOVE_HEADER = [
    "drummer",
    "session",
    "id",
    "style",
    "bpm",
    "beat_type",
    "time_signature",
    "midi_filename",
    "audio_filename",
    "duration",
    "split",
]

BEAT = (
    Note(0.0, 36, 100),
    Note(0.0, 42, 80),
    Note(0.25, 42, 70),
    Note(0.5, 38, 110),
    Note(0.5, 42, 80),
    Note(0.75, 22, 60),
)


@dataclass(frozen=True)
class Take:
    """One recording to build: a performance through a kit. `own_notes` is what the kit's pad map made of `notes`."""

    performance: str = "drummer1/session1/1"
    kit: str = "Acoustic Kit"
    style: str = "rock"
    split: str = "train"
    notes: tuple[Note, ...] = BEAT
    own_notes: tuple[Note, ...] | None = None
    duration_s: float = 1.0
    sample_rate: int = 44_100


def build_egmd(root: Path, takes: Sequence[Take], *, table: str = "e-gmd-v1.0.0.csv") -> list[dict[str, str]]:
    """Write a corpus like E-GMD's; returns the rows of its table. The number at the end of a file name is the kit's."""
    kits = sorted({take.kit for take in takes})
    rows = [
        _build_take(root, take, stem=f"{take.performance}_{take.style}_120_beat_4-4_{kits.index(take.kit) + 1}")
        for take in takes
    ]
    write_table(root / table, rows, header=EGMD_HEADER)
    return rows


def build_groove(root: Path, takes: Sequence[Take]) -> list[dict[str, str]]:
    """Write a corpus like Groove's: one recording a performance, and no kit in the table."""
    rows = [_build_take(root, take, stem=f"{take.performance}_{take.style}_120_beat_4-4") for take in takes]
    write_table(root / "info.csv", rows, header=GROOVE_HEADER)
    return rows


def write_table(path: Path, rows: Sequence[dict[str, str]], *, header: Sequence[str] = EGMD_HEADER) -> None:
    """Write a table with the columns of `header`; rows may have more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def grid(*, n_performances: int, kits: Sequence[str], splits: Sequence[str] = ("",)) -> list[Take]:
    """Takes of every performance through every kit; styles and splits take turns, and no two beats are alike."""
    styles = ("rock", "funk/groove1", "jazz")
    takes = []
    for i in range(n_performances):
        notes = tuple(Note(note.time_s + 0.01 * i, note.note, note.velocity) for note in BEAT)
        for kit in kits:
            takes.append(
                Take(
                    performance=f"drummer{i % 2 + 1}/session1/{i + 1}",
                    kit=kit,
                    style=styles[i % len(styles)],
                    split=splits[i % len(splits)],
                    notes=notes,
                )
            )
    return takes


def _build_take(root: Path, take: Take, *, stem: str) -> dict[str, str]:
    # Styles such as "funk/groove1" have a slash, file names do not.
    folder, name = take.performance.rsplit("/", 1)
    stem = f"{folder}/{name}{stem.removeprefix(take.performance).replace('/', '-')}"
    audio_path, midi_path = f"{stem}.wav", f"{stem}.midi"
    (root / audio_path).parent.mkdir(parents=True, exist_ok=True)
    write_midi(root / midi_path, take.notes if take.own_notes is None else take.own_notes)
    soundfile.write(root / audio_path, clicks(take), take.sample_rate, subtype="PCM_16")
    drummer, session, _ = take.performance.split("/")
    return {
        "drummer": drummer,
        "session": f"{drummer}/{session}",
        "id": take.performance,
        "style": take.style,
        "bpm": "120",
        "beat_type": "beat",
        "time_signature": "4-4",
        "duration": f"{take.duration_s:.6f}",
        "split": take.split,
        "midi_filename": midi_path,
        "audio_filename": audio_path,
        "kit_name": take.kit,
    }


def clicks(take: Take) -> np.ndarray:
    """A decaying burst of noise at each note; which noise depends on the kit."""
    rng = np.random.default_rng(sum(map(ord, take.kit)))
    burst = rng.uniform(-0.5, 0.5, 1000) * np.exp(-np.arange(1000) / 200)
    audio = np.zeros(round(take.duration_s * take.sample_rate))
    for note in take.notes:
        start = round(note.time_s * take.sample_rate)
        piece = audio[start : start + len(burst)]
        piece += burst[: len(piece)] * note.velocity / 127
    return np.clip(audio, -1.0, 1.0)


def catalog_entry(
    recording: str, *, n_samples: int = 44_100, sha256: str = "0" * 64, sample_rate: int = 44_100, **changes: Any
) -> CatalogEntry:
    """An entry of the catalog for the audio RECORDING.wav."""
    values: dict[str, Any] = {
        "recording": recording,
        "performance": recording,
        "kit": "kit",
        "drummer": "drummer",
        "session": "session",
        "style": "rock",
        "bpm": 120.0,
        "beat_type": "beat",
        "time_signature": "4-4",
        "split": "",
        "condition": "",
        "audio_path": f"{recording}.wav",
        "midi_path": f"{recording}.midi",
        "n_samples": n_samples,
        "sample_rate": sample_rate,
        "audio_bytes": 1,
        "audio_sha256": sha256,
        "midi_bytes": 1,
        "midi_sha256": "0" * 64,
    }
    return CatalogEntry(**values | changes)
