"""Checking the files of a corpus: plain PCM by its header alone, so that the catalog of all 45,537 recordings is quick.

Compressed and floating-point audio is decoded as well: it can be damaged, or hold NaN, behind an intact header.

See Also
--------
inspection : decodes everything, and compares it with the notes.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from drum_crnn.data.corpus import SAMPLE_RATE, Corpus, Recording
from drum_crnn.data.problems import Problem
from drum_crnn.foundation.console import track
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.foundation.workers import worker_pool
from drum_crnn.music.audio import AudioInfo, probe, read_blocks
from drum_crnn.music.lanes import LANE_OF_NOTE, UNMAPPED_NOTES
from drum_crnn.music.midi import read_midi

__all__ = [
    "MAX_RING_S", "MAX_SHORTFALL_S", "CheckedRecording", "audio_faults", "check_recordings", "midi_faults",
    "unicode_hint", "validate", "without_path",
]  # fmt: skip

# The table's `duration` is that of the performance. A recording that ends this much earlier lacks notes. It may ring on
# after the last note, but not longer than a cymbal: then it belongs to another performance.
MAX_SHORTFALL_S = 0.5
MAX_RING_S = 5.0

# Containers whose PCM is not compressed, by their first bytes: WAV, its variants for long files, and AIFF.
_PLAIN = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM")


@dataclass(frozen=True, slots=True)
class CheckedRecording:
    """A recording whose files were checked; `audio` is None if and only if `problems` is not empty."""

    recording: Recording
    audio: AudioInfo | None
    problems: tuple[Problem, ...]


def check_recordings(
    corpus: Corpus,
    *,
    sample_rate: int = SAMPLE_RATE,
    workers: int = 1,
    intact: Mapping[str, AudioInfo | None] | None = None,
) -> list[CheckedRecording]:
    """Check the files of every recording that has audio, in the order of the table.

    Problems are: missing files; audio that cannot be read, is empty, is cut short, or has a wrong rate or length; MIDI
    that cannot be read or holds an unknown note.

    Parameters
    ----------
    sample_rate : int
        The rate that every recording must have, in Hz.
    workers : int
        Number of processes; the result does not depend on it.
    intact : mapping of str to AudioInfo or None, optional
        Audio (with its header) and MIDI (with None) whose content is known to be in order; these are not opened.
    """
    intact = intact or {}
    groups: dict[str, list[Recording]] = {}
    checked: list[CheckedRecording] = []
    for recording in corpus.recordings:
        audio = intact.get(recording.audio_path)
        if audio is not None and recording.midi_path in intact:
            faults = audio_faults(audio, recording.duration_s, sample_rate)
            problems = tuple(Problem(recording.audio_path, recording.line, what) for what in faults)
            checked.append(CheckedRecording(recording, None if problems else audio, problems))
        elif recording.audio_path:
            groups.setdefault(recording.performance, []).append(recording)
    check = partial(_check_performance, corpus.root, sample_rate)
    description = "checking the corpus"
    if workers <= 1:
        for group in track(groups.values(), description=description):
            checked.extend(check(group))
    else:
        with worker_pool(workers) as pool:
            results = pool.map(check, groups.values(), chunksize=4)
            for result in track(results, description=description, total=len(groups)):
                checked.extend(result)
    return sorted(checked, key=lambda each: each.recording.line)


def validate(corpus: Corpus, *, sample_rate: int = SAMPLE_RATE, workers: int = 1) -> list[Problem]:
    """All problems of the table's rows and of the files that they name, in the order of the table.

    See Also
    --------
    check_recordings : the problems of files.
    """
    problems = list(corpus.problems)
    for checked in check_recordings(corpus, sample_rate=sample_rate, workers=workers):
        problems.extend(checked.problems)
    return sorted(problems, key=lambda problem: (problem.line, problem.file, problem.what))


def _check_performance(root: Path, sample_rate: int, group: Sequence[Recording]) -> list[CheckedRecording]:
    """Check the recordings of one performance: most of its kits share one MIDI content, which is read once."""
    faults_of_midi: dict[bytes, list[str]] = {}
    checked = []
    for recording in group:
        audio, faults = _check_audio(root / recording.audio_path, recording.duration_s, sample_rate)
        problems = [Problem(recording.audio_path, recording.line, what) for what in faults]
        faults = midi_faults(root / recording.midi_path, faults_of_midi)
        problems += [Problem(recording.midi_path, recording.line, what) for what in faults]
        checked.append(CheckedRecording(recording, None if problems else audio, tuple(problems)))
    return checked


def _check_audio(path: Path, duration_s: float, sample_rate: int) -> tuple[AudioInfo | None, list[str]]:
    try:
        audio = probe(path)
        if not (audio.is_pcm and _is_plain(path)):
            # Compressed audio can be damaged, and floating-point audio can be NaN, behind an intact header.
            # Nor does every header state the exact length.
            blocks = read_blocks(path, sample_rate=audio.sample_rate)
            audio = replace(audio, n_samples=sum(map(len, blocks)))
    except DrumCrnnError as error:
        return None, [without_path(error, path)]
    return audio, audio_faults(audio, duration_s, sample_rate)


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _PLAIN


def audio_faults(audio: AudioInfo, duration_s: float, sample_rate: int) -> list[str]:
    """What is wrong with the rate and the length of a recording, of which the table states the duration."""
    faults = []
    if audio.sample_rate != sample_rate:
        faults.append(f"the sample rate is {audio.sample_rate} Hz; expected {sample_rate} Hz")
    if not duration_s - MAX_SHORTFALL_S <= audio.duration_s <= duration_s + MAX_RING_S:
        faults.append(f"the audio lasts {audio.duration_s:.2f} s, but the table says {duration_s:.2f} s")
    return faults


def midi_faults(path: Path, known: dict[bytes, list[str]]) -> list[str]:
    """The faults of a MIDI file; `known` caches them by content."""
    try:
        content = hashlib.sha256(path.read_bytes()).digest()
    except FileNotFoundError:
        return [f"there is no such file{unicode_hint(path)}"]
    except OSError as error:
        return [without_path(refused_error(path, error), path)]
    if content not in known:
        known[content] = _midi_faults(path)
    return known[content]


def _midi_faults(path: Path) -> list[str]:
    try:
        notes = read_midi(path)
    except DrumCrnnError as error:
        return [without_path(error, path)]
    first: dict[int, float] = {}
    for note in notes:
        if note.note not in LANE_OF_NOTE and note.note not in UNMAPPED_NOTES:
            first.setdefault(note.note, note.time_s)
    return [
        f"note {number} (first at {time_s:.3f} s) belongs to no lane, and is not one of the notes that are ignored"
        for number, time_s in sorted(first.items())
    ]


def without_path(error: DrumCrnnError, path: Path) -> str:
    """The message of `error` without the folder of `path`; with a hint if a missing file has a similar name."""
    hint = "" if path.exists() else unicode_hint(path)
    return str(error).removeprefix(f"{path}: ").replace(str(path), path.name) + hint


def unicode_hint(path: Path) -> str:
    """A hint if a file that is missing has another Unicode form on the disk, as names that were on a Mac have."""
    missing = path
    while not missing.parent.is_dir() and missing != missing.parent:
        missing = missing.parent
    wanted = unicodedata.normalize("NFC", missing.name)
    if not missing.parent.is_dir() or (wanted.isascii() and missing.name.isascii()):
        return ""
    for found in missing.parent.iterdir():
        if found.name != missing.name and unicodedata.normalize("NFC", found.name) == wanted:
            return (
                f"; '{found.name}' looks the same, but is in another Unicode form ({_form_of(found.name)}; the table "
                f"has {_form_of(missing.name)}): rename it, or write the table in its form"
            )
    return ""


def _form_of(name: str) -> str:
    if unicodedata.is_normalized("NFC", name):
        return "NFC"
    return "NFD" if unicodedata.is_normalized("NFD", name) else "neither NFC nor NFD"
