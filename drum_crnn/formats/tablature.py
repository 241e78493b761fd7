"""Drum tablature: text that people read, one line for each drum and one column for each step of a bar."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from drum_crnn.formats.bars import Bar, bars_until
from drum_crnn.formats.dynamics import ACCENT, GHOST, dynamics_of
from drum_crnn.formats.song import Song
from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["ROWS", "tablature_text"]

# From top to bottom, as drummers write them. The three that hold a beat are always shown.
ROWS = {
    "crash": "CC",
    "ride": "RC",
    "hihat": "HH",
    "high_tom": "T1",
    "mid_tom": "T2",
    "low_tom": "FT",
    "snare": "SD",
    "kick": "BD",
}
_ALWAYS_SHOWN = {"hihat", "snare", "kick"}
_CYMBALS = {"crash", "ride", "hihat"}
_LEGEND = "x cymbal  X accent   o drum  O accent  g ghost   d two strokes in one step"
_WIDTH = 80

# Steps a quarter note: sixteenths, triplets, sixteenth triplets, thirty-seconds. The first that fits a bar is taken.
_DIVISIONS = (4, 3, 6, 8)
_FITS = 0.07  # quarter notes; how far a played stroke may lie from its step
_EARLY = 0.07  # a stroke so little before a bar belongs to it


@dataclass(frozen=True)
class _WrittenBar:
    """A bar's number, steps, count line, and rows; `rows` by lane name, as long as there are steps."""

    number: int
    bar: Bar
    bpm: float
    count: str
    rows: dict[str, str]


def tablature_text(transcription: Transcription, *, song: Song, tempo_map: TempoMap | None = None) -> str:
    """Tablature of all bars, as many in a line as fit into 80 columns.

    Each bar gets the coarsest grid that holds its strokes. The tablature is as good as its tempo map.

    Parameters
    ----------
    tempo_map : TempoMap, optional
        By default 120 bpm in 4/4, which fits no recording by itself.
    """
    known = tempo_map is not None
    tempo_map = tempo_map or TempoMap.constant()
    last_s = float(transcription.time_s[-1]) if len(transcription) else 0.0
    bars = bars_until(tempo_map, last_s)
    beats = tempo_map.beats_of(transcription.time_s)
    starts = np.array([bar.start for bar in bars])
    bar_of = np.maximum(np.searchsorted(starts, beats + _EARLY, side="right") - 1, 0)
    dynamics = dynamics_of(transcription)
    tempos = _tempos_at(tempo_map, starts)
    written = []
    firsts, lasts = (np.searchsorted(bar_of, np.arange(len(bars)), side=side).tolist() for side in ("left", "right"))
    for number, (bar, bpm, first, last) in enumerate(zip(bars, tempos, firsts, lasts, strict=True), start=1):
        here = slice(first, last)
        rows, steps = _rows(bar, beats[here], transcription.lane[here], dynamics[here])
        written.append(_WrittenBar(number, bar, bpm, _count(bar, steps), rows))
    shown = [lane for lane in ROWS if lane in _ALWAYS_SHOWN or transcription.counts()[lane]]
    title = f"{song.artist} - {song.title}" if song.artist else song.title
    lines = [title, _LEGEND]
    if not known:
        lines.append("The tempo is not known: bars are those of 120 bpm.")
    for _, line in groupby(_lines_of(written), key=lambda pair: pair[0]):
        lines += ["", *_system([one for _, one in line], shown)]
    return "\n".join(lines) + "\n"


def _rows(
    bar: Bar, beats: NDArray[np.float64], lanes: NDArray[np.int64], dynamics: NDArray[np.int64]
) -> tuple[dict[str, str], int]:
    """The rows of a bar, and its number of steps."""
    if not len(beats):
        n_steps = max(1, round(bar.length * _DIVISIONS[0]))
        return dict.fromkeys(ROWS, "-" * n_steps), n_steps
    candidates = []
    for division in _DIVISIONS:
        exact = bar.length * division
        n_steps = round(exact)
        if abs(exact - n_steps) < 1e-3 and n_steps >= 1:
            steps = np.clip(np.rint((beats - bar.start) * division), 0, n_steps - 1).astype(int)
            errors = np.abs(beats - bar.start - steps / division)
            n_lost = len(steps) - len(set(zip(lanes.tolist(), steps.tolist(), strict=True)))
            candidates.append((n_lost, float(errors.max(initial=0.0)), n_steps, steps))
    if not candidates:  # a bar cut short at no step
        n_steps = max(1, round(bar.length * _DIVISIONS[0]))
        steps = np.clip(np.rint((beats - bar.start) / bar.length * n_steps), 0, n_steps - 1).astype(int)
        candidates.append((0, 0.0, n_steps, steps))
    fitting = [one for one in candidates if one[0] == 0 and one[1] <= _FITS]
    _, _, n_steps, steps = fitting[0] if fitting else min(candidates, key=lambda one: one[:2])
    rows = {lane: ["-"] * n_steps for lane in ROWS}
    for step, lane, dynamic in zip(steps.tolist(), lanes.tolist(), dynamics.tolist(), strict=True):
        row = rows[LANES[lane]]
        row[step] = _symbol(LANES[lane], dynamic) if row[step] == "-" else "d"
    return {lane: "".join(row) for lane, row in rows.items()}, n_steps


def _symbol(lane: str, dynamic: int) -> str:
    if lane in _CYMBALS:
        return "X" if dynamic == ACCENT else "x"
    return {ACCENT: "O", GHOST: "g"}.get(dynamic, "o")


def _count(bar: Bar, n_steps: int) -> str:
    """The number of each beat above its step, without the tens; a plus halfway where there is a step."""
    line = [" "] * n_steps
    beat = 4.0 / bar.denominator
    for number in range(bar.numerator):
        for offset, sign in ((0.0, str((number + 1) % 10)), (beat / 2, "+")):
            step = (number * beat + offset) / bar.length * n_steps
            if abs(step - round(step)) < 1e-3 and round(step) < n_steps:
                line[round(step)] = sign
    return "".join(line)


def _tempos_at(tempo_map: TempoMap, beats: NDArray[np.float64]) -> list[float]:
    """The tempo at each place, in quarter notes from the start."""
    changes = tempo_map.beats_of([tempo.time_s for tempo in tempo_map.tempos])
    at = np.maximum(np.searchsorted(changes, beats + 1e-6, side="right") - 1, 0)
    return [tempo_map.tempos[index].bpm for index in at.tolist()]


def _lines_of(bars: list[_WrittenBar]) -> list[tuple[int, _WrittenBar]]:
    """Each bar with the number of its line. A new time signature begins a new line."""
    numbered: list[tuple[int, _WrittenBar]] = []
    line, used = 0, 0
    for index, written in enumerate(bars):
        width = len(written.count) + 1
        before = bars[index - 1].bar if index else written.bar
        is_other = (before.numerator, before.denominator) != (written.bar.numerator, written.bar.denominator)
        if used and (is_other or 3 + used + width > _WIDTH):
            line, used = line + 1, 0
        used += width
        numbered.append((line, written))
    return numbered


def _system(bars: list[_WrittenBar], shown: list[str]) -> list[str]:
    first = bars[0]
    heading = f"bar {first.number}, {first.bpm:.4g} bpm, {first.bar.numerator}/{first.bar.denominator}"
    rows = [f"{ROWS[lane]}|" + "|".join(bar.rows[lane] for bar in bars) + "|" for lane in shown]
    return [heading, ("   " + " ".join(bar.count for bar in bars)).rstrip(), *rows]
