"""Inspecting a corpus: every recording is decoded, and compared with the notes beside it.

`checking` looks at headers, as the catalog needs it. This looks for what training would take for good: silence,
clipping, audio that is damaged, that is earlier or later than its notes, or that belongs to another performance.
"""

import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from drum_crnn.data.corpus import SAMPLE_RATE, Corpus, Recording
from drum_crnn.foundation.console import progress_bar
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.tables import write_rows
from drum_crnn.foundation.workers import worker_pool
from drum_crnn.music.audio import Block, probe, read_blocks
from drum_crnn.music.condition import Condition
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.preparation.checking import audio_faults, midi_faults, without_path
from drum_crnn.preparation.hearing import FEATURES, Ear, Match, match_notes

__all__ = [
    "MAX_OFFSET_S", "Alignment", "Inspection", "inspect_corpus", "judge_match", "least_agreement", "write_inspections",
]  # fmt: skip

Alignment = Literal["aligned", "misaligned", "other performance", "cannot tell", ""]

# Kits differ by up to 3 ms in what the ear takes for an onset, and its own error is as large.
MAX_OFFSET_S = 0.015

# The lines below were chosen on rendered corpora: plain, varied and with bands, each also with shifted and exchanged
# audio. `benchmarks.corpus_check` prints how often each is told on others.
# Audio is misaligned if, without an offset, its notes explain less than the first part of what they do with it, or, if
# other offsets do nearly as well, less than the second part, and they do explain this much.
_UNMOVED, _UNMOVED_IF_AMBIGUOUS = 0.9, 0.6
_AGREES_IF_AMBIGUOUS = 0.25
_OTHER_UNMOVED = 0.8
# Notes of another performance explain less than these parts of what is usual, at any offset, or than `_CHANCE`.
_OF_MEDIAN, _OF_LOWEST_TENTH = 0.35, 0.5
_CHANCE = 0.07
_FEW_NOTES, _CLEAN = 24, 0.15  # few notes explain little below a band: then the usual line must be this high

_CLIPPED_SHARE = 0.001
_MIN_BITS = 16
_SILENT_DB = -75.0  # of a band in a frame; 16 bits of dither have less
_AUDIBLE_VELOCITY = 20
_SILENT_NOTES, _SILENT_S = 4, 1.0  # notes that nobody hears one after another, and the time that they span
_HEARD_FRAMES = (-1, 6)  # around a note
_PLAIN = ("", "plain")  # conditions of recordings that nobody has made worse on purpose
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about one recording; the fields are the columns of the CSV file.

    Attributes
    ----------
    recording, kit, condition : str
        As in the catalog; `recording` is empty for a row of the table that cannot be read.
    line : int
        Line of the corpus's table, counted from 1.
    verdict : str
        "wrong" if there are problems, otherwise "fine".
    problems, remarks : str
        Clauses, with semicolons between them. Remarks need no mending.
    n_channels, sample_rate, duration_s
        Of the audio, in Hz and seconds; 0 if it cannot be read.
    bits : int
        Bits of a sample; 0 for lossy formats.
    peak_dbfs : float or None
        Half the distance from the lowest to the highest sample, in dB of full scale; None if there is nothing.
    clipped_percent : float
        Samples that are cut off, in per cent.
    n_notes : int
        Notes in the MIDI file.
    alignment : str
        Whether audio and notes belong together; empty if one of them cannot be read.
    offset_ms : float or None
        How much later the audio is than the notes; None if nobody can tell.
    agreement : float or None
        Share of what sounds that the notes explain at the best offset.
    sureness : float or None
        1 if they explain nothing at another offset, 0 if they explain as much there; believed from 0.3 on.
    """

    recording: str
    kit: str
    condition: str
    line: int
    verdict: Literal["fine", "wrong"]
    problems: str
    remarks: str
    n_channels: int
    sample_rate: int
    bits: int
    duration_s: float
    peak_dbfs: float | None
    clipped_percent: float
    n_notes: int
    alignment: Alignment
    offset_ms: float | None
    agreement: float | None
    sureness: float | None


@dataclass(slots=True)
class _Measured:
    """What a worker measures. Whether it is usual only shows when all recordings are measured."""

    recording: Recording
    problems: list[str]
    remarks: list[str]
    n_channels: int = 0
    sample_rate: int = 0
    bits: int = 0
    duration_s: float = 0.0
    peak_db: float = -math.inf
    clipped_share: float = 0.0
    n_notes: int = 0
    can_hear: bool = False  # both audio and notes could be read, and something sounds
    match: Match | None = None


def inspect_corpus(corpus: Corpus, *, sample: int | None = None, workers: int = 1) -> list[Inspection]:
    """Inspect the recordings of a corpus that have audio, with a progress bar.

    Parameters
    ----------
    sample : int, optional
        Inspect this many recordings of each kit, evenly chosen in the order of the table; by default all.
    workers : int
        Number of processes; the result does not depend on it.

    Returns
    -------
    list of Inspection
        In the order of the table, which also has the rows that cannot be read.
    """
    recordings = [recording for recording in corpus.recordings if recording.audio_path]
    if sample is not None:
        recordings = _sample(recordings, sample)
    groups: dict[str, list[Recording]] = {}
    for recording in recordings:
        groups.setdefault(recording.performance, []).append(recording)
    measured: list[_Measured] = []
    measure = partial(_measure_performance, corpus.root)
    started = monotonic()
    with progress_bar() as progress:
        task = progress.add_task("inspecting the corpus", total=len(recordings), note="")
        duration_s = 0.0
        for group in _each(measure, list(groups.values()), workers):
            measured += group
            duration_s += sum(one.duration_s for one in group)
            speed = duration_s / (monotonic() - started)
            progress.update(task, advance=len(group), note=f"{speed:.0f}× real time")
    rows = [_row_of_table(problem.line, problem.what) for problem in corpus.problems]
    return sorted([*rows, *_judge(measured)], key=lambda one: one.line)


def write_inspections(path: Path, inspections: Sequence[Inspection]) -> None:
    """Write a CSV file with a row for each recording."""
    write_rows(path, Inspection, inspections)


def _sample(recordings: Sequence[Recording], n: int) -> list[Recording]:
    of_kit: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        of_kit[recording.kit].append(recording)
    chosen = set()
    for all_of_kit in of_kit.values():
        places = np.linspace(0, len(all_of_kit) - 1, min(n, len(all_of_kit)))
        chosen |= {all_of_kit[round(float(place))].line for place in places}
    return [recording for recording in recordings if recording.line in chosen]


def _each(
    measure: "partial[list[_Measured]]", groups: list[list[Recording]], workers: int
) -> Iterator[list[_Measured]]:
    if workers <= 1:
        yield from map(measure, groups)
        return
    # Forked workers would inherit locks of threads that numpy may have started.
    with worker_pool(min(workers, max(1, len(groups))), method="spawn") as pool:
        yield from pool.map(measure, groups)


def _measure_performance(root: Path, group: Sequence[Recording]) -> list[_Measured]:
    """Measure the recordings of one performance, whose kits mostly share one MIDI content."""
    faults_of_midi: dict[bytes, list[str]] = {}
    with threadpool_limits(limits=1):  # the other cores have workers of their own
        return [_measure(root, recording, faults_of_midi) for recording in group]


def _measure(root: Path, recording: Recording, faults_of_midi: dict[bytes, list[str]]) -> _Measured:
    one = _Measured(recording, problems=list(midi_faults(root / recording.midi_path, faults_of_midi)), remarks=[])
    notes = None if one.problems else read_midi(root / recording.midi_path)
    one.n_notes = len(notes or ())
    path = root / recording.audio_path
    condition = Condition()
    try:
        header = probe(path)
        one.n_channels, one.sample_rate, one.bits = header.n_channels, header.sample_rate, _bits_of(path)
        n_samples = 0

        def listen(block: Block) -> None:
            nonlocal n_samples
            n_samples += len(block.mono)
            condition.listen(block)

        blocks = read_blocks(path, sample_rate=FEATURES.sample_rate, listen=listen)
        # The squares of what is far too loud may be infinite; it is judged by its level alone.
        ear = Ear.hear(np.zeros_like(block) if condition.is_loud else block for block in blocks)
    except DrumCrnnError as error:
        one.problems.append(without_path(error, path))
        return one
    audio = replace(header, n_samples=n_samples)
    one.duration_s, one.peak_db, one.clipped_share = audio.duration_s, condition.peak_db, condition.clipped_share
    one.problems += audio_faults(audio, recording.duration_s, SAMPLE_RATE)
    _judge_sound(one, condition)
    if notes is not None and not condition.is_silent and not condition.is_loud:
        one.can_hear = True
        one.match = match_notes(ear.strength(), notes)
        one.problems += _silences(ear.levels_db(), notes, one.match)
    return one


def _bits_of(path: Path) -> int:
    try:
        return _BITS.get(soundfile.info(path if sys.platform == "win32" else os.fsencode(path)).subtype, 0)
    except soundfile.LibsndfileError:  # ffmpeg reads it
        return 0


def _judge_sound(one: _Measured, condition: Condition) -> None:
    """Add what can be said about the sound alone."""
    if condition.is_silent and not one.n_notes:
        one.remarks.append("is silent, and has no notes")
    elif condition.is_silent:
        one.problems.append(f"is silent from beginning to end, but has {one.n_notes} notes")
    elif condition.is_quiet:
        one.problems.append(f"is almost silent: its peak is {condition.peak_db:.0f} dBFS")
    elif condition.is_loud:
        one.problems.append(
            f"has samples far above full scale: its peak is {condition.peak_db:+.0f} dBFS, so they may be integers "
            "written as floats; scale it to ±1, and check it again"
        )
    elif condition.clipped_share > _CLIPPED_SHARE:
        found = f"is clipped: {100 * condition.clipped_share:.1f} % of the samples are cut off"
        if one.recording.condition in _PLAIN:
            one.problems.append(found)
        else:
            one.remarks.append(f"{found}; its condition is {one.recording.condition}")
    if condition.cancelled_s > 0:
        one.remarks.append(f"has channels that cancel each other for {condition.cancelled_s:.0f} s")
    if 0 < one.bits < _MIN_BITS:
        one.problems.append(f"has only {one.bits} bits a sample: soft strokes drown in its noise")


def _silences(levels_db: NDArray[np.float32], notes: Sequence[Note], match: Match | None) -> list[str]:
    """Stretches in which several notes are written and nothing sounds: a recording that stops, or has a hole."""
    offset_s = match.offset_s if match is not None and match.is_unique else 0.0
    sounds = levels_db >= _SILENT_DB
    before, after = _HEARD_FRAMES
    silent: list[float] = []  # times of notes, from the first of which on nothing sounds
    first = 0  # frame
    found: list[str] = []

    def close() -> None:
        if len(silent) >= _SILENT_NOTES and silent[-1] - silent[0] >= _SILENT_S:
            found.append(f"nothing sounds from {silent[0]:.1f} to {silent[-1]:.1f} s, where {len(silent)} notes are")
        silent.clear()

    for note in notes:
        time_s = note.time_s + offset_s
        frame = round(time_s * FEATURES.frame_rate)
        if frame < 0 or frame >= len(sounds) or note.velocity < _AUDIBLE_VELOCITY:
            continue
        if not silent or sounds[first : frame + after].any():
            close()
            first = max(0, frame + before)
        if not sounds[first : frame + after].any():
            silent.append(time_s)
    close()
    return found


def _judge(measured: Sequence[_Measured]) -> Iterator[Inspection]:
    """Compare each recording with the others: what is unusual may be wrong."""
    usual = Counter(one.n_channels for one in measured if one.n_channels).most_common(1)
    agreements: dict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.match is not None:
            agreements[one.recording.condition].append(one.match.agreement)
    least_of = {condition: least_agreement(values) for condition, values in agreements.items()}
    for one in measured:
        if one.n_channels and one.n_channels != usual[0][0]:
            one.remarks.append(f"has {one.n_channels} channels; most recordings have {usual[0][0]}")
        condition = one.recording.condition
        alignment: Alignment = ""
        if one.can_hear:
            match = one.match
            alignment = judge_match(match, n_notes=one.n_notes, least=least_of.get(condition, _CHANCE))
            if match is None:
                one.remarks.append(f"has {one.n_notes} notes: too few to tell whether they belong to the audio")
            elif alignment == "misaligned":
                one.problems.append(_tell_offset(match))
            elif alignment == "other performance":
                one.problems.append(
                    f"audio and notes belong to different performances: at no offset do the notes explain more than "
                    f"{match.agreement:.0%} of what sounds, while {np.median(agreements[condition]):.0%} is usual"
                )
            elif alignment == "cannot tell":
                one.remarks.append(
                    f"nobody can tell where the notes belong: at best they explain {match.agreement:.0%} of what "
                    f"sounds, where they are {match.unmoved:.0%}, and elsewhere {match.next_best:.0%}"
                )
        yield _inspection(one, alignment)


def least_agreement(agreements: Sequence[float]) -> float:
    """Agreement below which notes belong to another performance, from those of all recordings of one condition."""
    usual, lowest_tenth = np.quantile(agreements, [0.5, 0.1])
    return max(_CHANCE, min(_OF_MEDIAN * float(usual), _OF_LOWEST_TENTH * float(lowest_tenth)))


def judge_match(match: Match | None, *, n_notes: int, least: float) -> Alignment:
    """Whether audio and notes belong together, where others of this condition agree at `least` so much."""
    if match is None:
        return "cannot tell"
    if abs(match.offset_s) <= MAX_OFFSET_S:
        return "aligned"
    if match.is_unique and match.unmoved <= _UNMOVED * match.agreement:
        return "misaligned"
    if match.agreement >= _AGREES_IF_AMBIGUOUS and match.unmoved <= _UNMOVED_IF_AMBIGUOUS * match.agreement:
        return "misaligned"
    is_odd = match.agreement < least and match.unmoved <= _OTHER_UNMOVED * match.agreement
    return "other performance" if is_odd and (n_notes >= _FEW_NOTES or least >= _CLEAN) else "cannot tell"


def _tell_offset(match: Match) -> str:
    size_s = abs(match.offset_s)
    size = f"{size_s:.2f} s" if size_s >= 1.0 else f"{1000 * size_s:.0f} ms"
    side = "later" if match.offset_s > 0 else "earlier"
    sure = "" if match.is_unique else " or so"
    return (
        f"the audio is {size} {side} than its notes{sure}: there they explain {match.agreement:.0%} of what sounds, "
        f"where they are {match.unmoved:.0%}, and at the next best place {match.next_best:.0%} (sureness "
        f"{match.sureness:.2f})"
    )


def _inspection(one: _Measured, alignment: Alignment) -> Inspection:
    is_told = alignment in ("aligned", "misaligned")
    match = one.match
    return Inspection(
        recording=one.recording.id,
        kit=one.recording.kit,
        condition=one.recording.condition,
        line=one.recording.line,
        verdict="wrong" if one.problems else "fine",
        problems="; ".join(one.problems),
        remarks="; ".join(one.remarks),
        n_channels=one.n_channels,
        sample_rate=one.sample_rate,
        bits=one.bits,
        duration_s=round(one.duration_s, 3),
        peak_dbfs=round(one.peak_db, 1) if math.isfinite(one.peak_db) else None,
        clipped_percent=round(100 * one.clipped_share, 3),
        n_notes=one.n_notes,
        alignment=alignment,
        offset_ms=round(1000 * match.offset_s, 1) if match is not None and is_told else None,
        agreement=None if match is None else round(match.agreement, 3),
        sureness=None if match is None else round(match.sureness, 3),
    )


def _row_of_table(line: int, what: str) -> Inspection:
    return Inspection("", "", "", line, "wrong", what, "", 0, 0, 0, 0.0, None, 0.0, 0, "", None, None, None)
