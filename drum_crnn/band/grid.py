"""Beats and bars of a performance, found in its strokes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.music.midi import Note

__all__ = ["Grid", "beats_per_bar", "strokes"]

# How much a stroke speaks for a bar that begins there, by lane.
_WEIGHTS = {LANES.index(lane): weight for lane, weight in (("kick", 1.0), ("snare", -0.5), ("crash", 2.0))}


def strokes(notes: Sequence[Note], lane: int) -> list[Note]:
    """The notes of a lane."""
    return [note for note in notes if LANE_OF_NOTE.get(note.note) == lane]


def beats_per_bar(time_signature: str) -> int:
    """Quarters in a bar of "4-4", "6-8" and so on, at least 2; 4 if it is not understood."""
    upper, _, lower = time_signature.replace("/", "-").partition("-")
    if not (upper.isdigit() and lower.isdigit() and int(lower)):
        return 4
    return max(2, round(int(upper) * 4 / int(lower)))


@dataclass(frozen=True, slots=True)
class Grid:
    """Bars of equal length. Bar 0 begins at `origin_s`, at or before time 0; bars go on until `end_s`."""

    bpm: float
    n_beats: int
    origin_s: float
    end_s: float

    @classmethod
    def of(cls, notes: Sequence[Note], *, bpm: float, n_beats: int, end_s: float) -> Self:
        """The grid of a performance, whose tempo is known, but not where its bars begin.

        The beat lies where the strokes are, as the mean of their phases. The bar begins at the beat with the most
        kicks and crashes, and the fewest snares.
        """
        beat_s = 60.0 / bpm
        times = np.array([note.time_s for note in notes])
        # Twice the phase, so that strokes between two beats do not cancel those on the beat.
        turns = np.exp(4j * np.pi * times / beat_s) * np.array([float(note.velocity) for note in notes])
        half = float(np.angle(turns.sum())) / (4 * np.pi) if len(notes) else 0.0
        bar_s = beat_s * n_beats
        weights = np.array([_WEIGHTS.get(LANE_OF_NOTE.get(note.note, -1), 0.0) for note in notes])
        starts = [(half + shift / 2) * beat_s for shift in range(2 * n_beats)]
        places = (times - np.array(starts)[:, None]) / bar_s
        are_first = np.abs(places - np.rint(places)) * n_beats < 0.15
        phase = starts[int(np.argmax((weights * are_first).sum(axis=1)))] if len(notes) else 0.0
        return cls(bpm, n_beats, phase - math.ceil(phase / bar_s) * bar_s, end_s)

    @property
    def beat_s(self) -> float:
        """Seconds of a beat, which is a quarter."""
        return 60.0 / self.bpm

    @property
    def n_bars(self) -> int:
        """Number of bars that begin before the end."""
        return max(1, math.ceil((self.end_s - self.origin_s) / (self.beat_s * self.n_beats)))

    @property
    def n_steps(self) -> int:
        """Sixteenths in a bar."""
        return 4 * self.n_beats

    def time_s(self, bar: int, step: float) -> float:
        """Time of a sixteenth of a bar, in seconds; negative before the recording begins."""
        return self.origin_s + (bar * self.n_beats + step / 4) * self.beat_s
