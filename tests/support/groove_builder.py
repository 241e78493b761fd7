"""Synthetic grooves with known beats."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import Onsets

FloatArray = NDArray[np.float64]
Bar = dict[str, Sequence[float]]  # places of each lane in a bar, in beats

ROCK: Bar = {"kick": (0, 2, 2.5), "snare": (1, 3), "hihat": np.arange(0, 4, 0.5)}
SIXTEENTHS: Bar = {"kick": (0, 0.75, 2.5), "snare": (1, 3), "hihat": np.arange(0, 4, 0.25)}
FUNK: Bar = {"kick": (0, 0.75, 1.75, 2.5), "snare": (1, 2.25, 3), "hihat": np.arange(0, 4, 0.25)}
HALF_TIME: Bar = {"kick": (0, 0.5, 3.5), "snare": (2,), "hihat": np.arange(0, 4, 0.5)}
SWING: Bar = {"kick": (0, 2), "snare": (1, 3), "ride": (0, 1, 1.667, 2, 3, 3.667), "hihat": (1, 3)}
WALTZ: Bar = {"kick": (0,), "snare": (1, 2), "hihat": np.arange(0, 3, 0.5)}
FIVE: Bar = {"kick": (0, 1.5, 3), "snare": (2, 4), "hihat": np.arange(0, 5, 0.5)}
SIX_EIGHT: Bar = {"kick": (0,), "snare": (1,), "hihat": np.arange(6) / 3}  # a beat is a dotted quarter


def groove(
    bar: Bar,
    n_beats: int,
    seconds_of: Callable[[FloatArray], FloatArray],
    *,
    n_bars: int = 24,
    jitter_s: float = 0.004,
    seed: int = 0,
) -> tuple[Onsets, FloatArray]:
    """Onsets of a groove, with a crash each eight bars, and the times of its beats."""
    rng = np.random.default_rng(seed)
    struck = []
    for number in range(n_bars):
        strokes = [(place, lane) for lane, places in bar.items() for place in places]
        if number % 8 == 0:
            strokes.append((0.0, "crash"))
        struck += [(number * n_beats + place, LANES.index(lane)) for place, lane in strokes]
    beat, lane = (np.array(column) for column in zip(*struck, strict=True))
    times = seconds_of(beat) + rng.normal(0.0, jitter_s, len(beat))
    velocity = np.where(np.isin(lane, [2, 7]), 70, 105) + rng.integers(-10, 11, len(beat))
    onsets = Onsets.in_order(np.maximum(times, 0.0), lane, velocity)
    return onsets, seconds_of(np.arange(n_bars * n_beats, dtype=np.float64))


def steady(bpm: float, *, offset_s: float = 0.37) -> Callable[[FloatArray], FloatArray]:
    """One tempo."""
    return lambda beat: offset_s + beat * 60.0 / bpm


def drifting(bpm: float, *, depth: float = 0.06, beats: float = 64.0) -> Callable[[FloatArray], FloatArray]:
    """A tempo that swings by `depth` up and down once in so many beats."""
    return lambda beat: (
        0.2 + 60.0 / bpm * (beat + depth * beats / (2 * np.pi) * (1.0 - np.cos(2 * np.pi * beat / beats)))
    )


def slowing(bpm: float, *, to_bpm: float, n_beats: int) -> Callable[[FloatArray], FloatArray]:
    """Beats whose length grows evenly."""
    growth = (60.0 / to_bpm - 60.0 / bpm) / n_beats
    return lambda beat: 0.1 + 60.0 / bpm * beat + growth * beat**2 / 2
