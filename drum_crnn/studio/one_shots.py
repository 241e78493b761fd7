"""Kits from folders of one-shots: audio files named after the drums they hold.

A folder may look like `kick.wav, snare_v1.wav, snare_v2.wav, hihat_closed.flac, …` or hold a subfolder for each drum
(`kick/soft.wav, kick/hard.wav, …`). Names are read by `drum_crnn.studio.names`: those of the lanes, and what people
usually call their drums. Several files of one drum share the range of velocity equally, from soft to loud: by the
number of a suffix `_v1` … `_vN`, else by their level.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from drum_crnn.errors import DrumCrnnError
from drum_crnn.studio.kits import SAMPLE_RATE, Kit, Layer, Sample, Sound, level_velocities, read_one_shot
from drum_crnn.studio.names import assign_notes

__all__ = ["open_one_shots"]

_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".aif", ".aiff"})
_VELOCITY_SUFFIX = re.compile(r"[ _-]v(\d+)$", re.IGNORECASE)


def open_one_shots(folder: Path) -> Kit:
    """Open a folder of WAV, FLAC, OGG or AIFF files as the kit "one_shots/FOLDER".

    The licence is the first line of a file LICENSE or LICENCE (with any ending) in the folder, else "not stated".

    Raises
    ------
    DrumCrnnError
        If the folder is missing, a file is no audio, or no name speaks of a drum of our lanes.
    """
    if not folder.is_dir():
        raise DrumCrnnError(f"{folder}: there is no such folder of one-shots")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    named: dict[str, list[Path]] = {}
    for path in files:
        # In a subfolder, the subfolder's name is the drum's.
        within = path.relative_to(folder)
        name = within.parts[0] if len(within.parts) > 1 else _VELOCITY_SUFFIX.sub("", within.stem)
        named.setdefault(name, []).append(path)
    notes = assign_notes((name, None) for name in named)
    licence = _licence(folder)
    sounds = {}
    for note, paths in zip(notes, named.values(), strict=True):
        if note is None:
            continue
        read = {
            path: read_one_shot(path, source=str(path.relative_to(folder).as_posix()), licence=licence)
            for path in paths
        }
        samples = {path: sample for path, sample in read.items() if sample is not None}
        if samples:
            sounds[note] = Sound(note, level_velocities(_layers(samples)))
    if not sounds:
        names = ", ".join(list(named)[:6]) or "no audio file"
        raise DrumCrnnError(f"{folder}: no file is named after a drum, such as 'kick.wav'; it holds: {names}")
    return Kit(f"one_shots/{folder.resolve().name}", dict(sorted(sounds.items())))


def _layers(samples: Mapping[Path, Sample]) -> list[Layer]:
    """Equal shares of the velocities 1–127, from soft to loud."""
    suffixes = {path: _VELOCITY_SUFFIX.search(path.stem) for path in samples}
    numbers = {path: int(match[1]) for path, match in suffixes.items() if match is not None}
    if len(numbers) == len(samples):
        ordered = sorted(samples, key=lambda path: (numbers[path], path))
    else:
        ordered = sorted(samples, key=lambda path: (_level(samples[path]), path))
    edges = np.linspace(0, 127, len(ordered) + 1).round().astype(int)
    return [
        Layer(samples[path], int(low) + 1, int(high), 1.0)
        for path, low, high in zip(ordered, edges[:-1], edges[1:], strict=True)
    ]


def _level(sample: Sample) -> float:
    """Root mean square of the first 100 ms: of the whole, a long decay would count as softness."""
    start = sample.audio[: SAMPLE_RATE // 10]
    return float(np.sqrt(np.mean(np.square(start))))


def _licence(folder: Path) -> str:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in lines if line.strip()), "not stated")
    return "not stated"
