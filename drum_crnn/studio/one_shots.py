"""Kits from folders of one-shots: audio files named after the drums they hold.

A folder may look like `kick.wav, snare_v1.wav, snare_v2.wav, hihat_closed.flac, …` or hold a subfolder for each drum
(`kick/soft.wav, kick/hard.wav, …`). `drum_crnn.studio.names` reads the names: those of the lanes, and the usual names
of drums. Several files of one drum divide the velocities equally, from soft to loud. Their suffixes give the order:
`_v1` … `_vN`, `-1-1` … `-N-M` for M hits of each of N strengths, or `_soft`, `_medium` and `_hard`. Without suffixes,
their levels do. Files with the same content count once.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.recordings import visible_files
from drum_crnn.studio.kits import SAMPLE_RATE, Kit, Layer, Sample, Sound, level_velocities, read_one_shot
from drum_crnn.studio.names import assign_notes

__all__ = ["AUDIO_SUFFIXES", "open_one_shots"]

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3"})
_STRENGTHS = ("soft", "medium", "hard")
_VELOCITY_SUFFIX = re.compile(rf"[ _-](?:v(\d+)|(\d+)-(\d+)|({'|'.join(_STRENGTHS)}))$", re.IGNORECASE)


def open_one_shots(folder: Path, *, pattern: str = "*") -> Kit:
    """Open a folder of WAV, FLAC, OGG, AIFF or MP3 files as the kit "one_shots/FOLDER".

    Parameters
    ----------
    folder : Path
    pattern : str
        Shell pattern that the names of files and subfolders must match, such as "drum_*".

    Notes
    -----
    The licence is the first line of a file LICENSE or LICENCE (with any ending) in the folder, or "not stated".

    Raises
    ------
    DrumCrnnError
        If the folder is missing, a file is not audio, or no name means a drum of a lane.
    """
    if not folder.is_dir():
        raise DrumCrnnError(f"{folder}: there is no such folder of one-shots")
    files = [
        path
        for path in visible_files(folder)
        if path.suffix.lower() in AUDIO_SUFFIXES
        and fnmatchcase(path.relative_to(folder).parts[0], pattern)
        and path.is_file()
    ]
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
        once = {sample.sha256: path for path, sample in reversed(read.items()) if sample is not None}
        samples = {path: sample for path, sample in read.items() if sample and once[sample.sha256] == path}
        if samples:
            sounds[note] = Sound(note, level_velocities(_layers(samples)))
    if not sounds:
        names = ", ".join(list(named)[:6]) or f"no audio file{'' if pattern == '*' else f' like {pattern}'}"
        raise DrumCrnnError(f"{folder}: no file is named after a drum, such as 'kick.wav'; it holds: {names}")
    return Kit(f"one_shots/{folder.resolve().name}", dict(sorted(sounds.items())))


def _layers(samples: Mapping[Path, Sample]) -> list[Layer]:
    """Layers with equal shares of the velocities 1–127, from soft to loud."""
    suffixes = {path: _VELOCITY_SUFFIX.search(path.stem) for path in samples}
    strengths = {path: _strength(match) for path, match in suffixes.items() if match is not None}
    if len(strengths) == len(samples):
        ordered = sorted(samples, key=lambda path: (strengths[path], _level(samples[path]), path))
    else:
        ordered = sorted(samples, key=lambda path: (_level(samples[path]), path))
    edges = np.linspace(0, 127, len(ordered) + 1).round().astype(int)
    return [
        Layer(samples[path], int(low) + 1, int(high), 1.0)
        for path, low, high in zip(ordered, edges[:-1], edges[1:], strict=True)
    ]


def _strength(suffix: re.Match[str]) -> int:
    version, strength, _, word = suffix.groups()
    return _STRENGTHS.index(word.lower()) if word else int(version or strength)


def _level(sample: Sample) -> float:
    """Root mean square of the first 100 ms; over the whole sample, a long decay would make a hit seem soft."""
    start = sample.audio[: SAMPLE_RATE // 10]
    return float(np.sqrt(np.mean(np.square(start))))


def _licence(folder: Path) -> str:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE")):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in lines if line.strip()), "not stated")
    return "not stated"
