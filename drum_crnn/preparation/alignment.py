"""The offset of a recording's own MIDI from the canonical MIDI of its performance, and which of both the audio follows.

Kits record the same strokes. But the clock of one may be late, or its file may begin with silence. Then no note is
where the canonical MIDI has it, although all of them agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.audio import read_blocks
from drum_crnn.music.midi import Note
from drum_crnn.preparation.hearing import FEATURES, Ear, match_notes

__all__ = ["SMALL_OFFSET_S", "MidiOffset", "estimate_offset", "follows_own_midi", "moved"]

FloatArray = NDArray[np.float64]

SMALL_OFFSET_S = 0.01  # a frame: too small to matter, and to be told by the audio

_WINDOW_S = 0.005  # differences of time that are one offset: 2.5 ms to both sides
_LARGEST_S = 10.0
_FEW = 8  # notes that fit to others at some large offset by chance
_FITS = 0.8  # share of the notes that have a partner at a large offset
_GAIN = 1.25  # and how many times more these must be than without it
_SAME_S = 0.0005  # notes closer than this are one stroke
_HEARD_S = 0.015  # error of what is heard


@dataclass(frozen=True, slots=True)
class MidiOffset:
    """How much later one list of notes is than another, and the share of its notes that have a partner then."""

    offset_s: float
    share: float


def estimate_offset(notes: Sequence[Note], other: Sequence[Note]) -> MidiOffset:
    """The constant offset of `other` from `notes`, whatever their note numbers: kits remap them.

    An offset of more than 10 ms needs eight strokes, four fifths of which have a partner at this offset. Without any
    offset that half of the strokes confirm, it is 0.

    Parameters
    ----------
    notes, other : sequence of Note
        Each sorted by time.

    Examples
    --------
    >>> notes = [Note(0.1, 36, 90), Note(0.35, 38, 90), Note(0.6, 36, 90)]
    >>> round(estimate_offset(notes, moved(notes, 0.003)).offset_s, 6)
    0.003
    """
    times, other_times = _strokes(notes), _strokes(other)
    n_strokes = min(len(times), len(other_times))
    if not n_strokes:
        return MidiOffset(0.0, 0.0)
    if np.array_equal(times, other_times):  # as nearly always
        return MidiOffset(0.0, 1.0)
    near_s, n_near = _most_frequent(_differences(times, other_times, SMALL_OFFSET_S))
    if n_strokes >= _FEW and n_near < _FITS * n_strokes:
        far_s, n_far = _most_frequent(_differences(times, other_times, _LARGEST_S))
        if n_far >= _FITS * n_strokes and n_far >= _GAIN * n_near:
            return MidiOffset(far_s, min(1.0, n_far / n_strokes))
    return MidiOffset(near_s if 2 * n_near >= n_strokes else 0.0, min(1.0, n_near / n_strokes))


def moved(notes: Sequence[Note], by_s: float) -> list[Note]:
    """The same notes, later by `by_s`; those that would begin before 0 begin there."""
    return [replace(note, time_s=max(0.0, note.time_s + by_s)) for note in notes] if by_s else list(notes)


def follows_own_midi(audio: Path, canonical: Sequence[Note], offset_s: float) -> bool | None:
    """Whether a recording follows its own MIDI, which is later by `offset_s`, and not the canonical one.

    Returns
    -------
    bool or None
        None if the audio does not tell.

    Raises
    ------
    DrumCrnnError
        If the audio cannot be decoded.
    """
    match = match_notes(Ear.hear(read_blocks(audio, sample_rate=FEATURES.sample_rate)).strength(), canonical)
    if match is None or not match.is_unique:
        return None
    to_canonical, to_own = abs(match.offset_s), abs(match.offset_s - offset_s)
    return None if min(to_canonical, to_own) > _HEARD_S else to_own < to_canonical


def _strokes(notes: Sequence[Note]) -> FloatArray:
    """The times of the notes; notes at the same time are one stroke."""
    times = np.array([note.time_s for note in notes], dtype=np.float64)
    return times[np.diff(times, prepend=-np.inf) > _SAME_S]


def _differences(times: FloatArray, other: FloatArray, largest_s: float) -> FloatArray:
    """How much later each of `other` is than each of `times`, where it is no more than `largest_s`; sorted."""
    first = np.searchsorted(other, times - largest_s, side="left")
    end = np.searchsorted(other, times + largest_s, side="right")
    parts = [other[i:j] - time for time, i, j in zip(times, first, end, strict=True)]
    return np.sort(np.concatenate(parts))


def _most_frequent(differences: FloatArray) -> tuple[float, int]:
    """The middle of the window that holds the most differences, and their number; of several, the nearest to 0."""
    if not len(differences):
        return 0.0, 0
    ends = np.searchsorted(differences, differences + _WINDOW_S, side="right")
    counts = ends - np.arange(len(differences))
    fullest = np.flatnonzero(counts == counts.max())
    middles = [float(np.median(differences[i : ends[i]])) for i in fullest]
    return min(middles, key=abs), int(counts.max())
