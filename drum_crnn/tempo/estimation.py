"""A tempo map from drum onsets: period → candidate tempi → bars → choice of the level → tempo map.

1. `periodicity`: the beat's length over time, from the intervals between onsets, up to a simple ratio.
2. `alignment`: for each candidate ratio, where in a bar each beat lies, from learned grooves, and how well they fit.
3. `levels`: which of the candidates people would tap.
4. `bars`: the metre and the downbeats.
5. `mapping`: tempo changes and time signatures.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from drum_crnn.music.onsets import Onsets
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.tempo.alignment import Alignment, align, follow_onsets
from drum_crnn.tempo.bars import FOUR, Metre, accents_of, downbeats_of, find_metre
from drum_crnn.tempo.clock import BeatClock
from drum_crnn.tempo.grooves import Grooves, channels_of
from drum_crnn.tempo.levels import features_of, probabilities
from drum_crnn.tempo.mapping import map_of_beats
from drum_crnn.tempo.octaves import doubled, halved
from drum_crnn.tempo.periodicity import BPM_RANGE, follow_period

__all__ = ["HINT_RANGE", "Candidate", "Octave", "TempoEstimate", "candidates_of", "estimate_tempo_map"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Octave = Literal["auto", "half", "double"]

DEFAULT_BPM = 120.0
HINT_RANGE = (20.0, 400.0)  # beats a minute

_RATIOS = (1.0, 2.0, 1 / 2, 3 / 2, 2 / 3, 3.0, 1 / 3, 4 / 3, 3 / 4, 4.0, 1 / 4)  # of tempi that one rhythm allows
_SCALES: dict[Octave, float] = {"auto": 1.0, "half": 0.5, "double": 2.0}
_SAME_TEMPO = 0.04  # relative; tempi that differ by less are one
_MIN_ONSETS = 8
_MIN_DURATION_S = 2.0
# Fewer onsets look regular by chance more often. Of a third of Groove's training performances, transcribed,
# all count as regular, and of their first 8 s 99 %. With their gaps shuffled and varied by 30 %, 2 % do, and 11 %.
_MIN_REGULARITY, _REGULARITY_OF_ONE = 0.27, 1.3
# By lane: kick and snare tell the beat more than hi-hat, toms and cymbals do.
_LANE_WEIGHTS = np.array([1.0, 1.0, 0.6, 0.7, 0.7, 0.7, 0.6, 0.6])


@dataclass(frozen=True, eq=False)
class TempoEstimate:
    """Beats and bars of a performance.

    Attributes
    ----------
    tempo_map : TempoMap
        Its bars begin at the downbeats; the default map if there are too few onsets.
    beats_s : float64 array, shape (n_beats,)
        Increasing times in seconds, from the first onset to the last; empty if there are too few onsets. In 6/8, a beat
        is a dotted quarter.
    downbeats_s : float64 array, shape (n_downbeats,)
        Those of the beats at which bars begin.
    bpm : float
        Beats a minute, their median.
    confidence : float
        Probability, 0..1, that people would tap this tempo and no multiple or fraction of it; 0 for the default map.
    alternative_bpm : float
        The half or the double tempo, whichever is likelier; `octave` chooses it.
    alternative : {"half", "double"}
        Which of the two it is.
    metre : Metre
        That of most bars.
    regularity : float
        How closely the onsets lie at fourths or thirds of the beats, 0..1; 0 for the default map.
    is_trustworthy : bool
        Whether they do so more closely than free time would.
    """

    tempo_map: TempoMap
    beats_s: FloatArray
    downbeats_s: FloatArray
    bpm: float
    confidence: float
    alternative_bpm: float
    alternative: Octave
    metre: Metre
    regularity: float
    is_trustworthy: bool


@dataclass(frozen=True, eq=False)
class Candidate:
    """One tempo that the rhythm allows, with its features."""

    bpm: float
    alignment: Alignment
    features: FloatArray


def estimate_tempo_map(onsets: Onsets, *, bpm_hint: float | None = None, octave: Octave = "auto") -> TempoEstimate:
    """Estimate beats, downbeats, tempo changes and time signature from onsets.

    Parameters
    ----------
    onsets : Onsets
        Fewer than 8 or shorter than 2 s give the default map.
    bpm_hint : float, optional
        Tempo in beats a minute; the estimate stays within 15 % of it, and no other level is considered. If it is the
        half or the double of what would be found without it, bars begin where they would, if the beats allow it.
    octave : {"auto", "half", "double"}
        "half" and "double" take the tempo at half or double the level that would be chosen.

    Returns
    -------
    TempoEstimate

    Raises
    ------
    ValueError
        If the hint is outside 20 to 400 bpm, or `octave` is none of the three.
    """
    if octave not in ("auto", "half", "double"):
        raise ValueError(f"octave is {octave!r}; it should be auto, half or double")
    if bpm_hint is not None and not HINT_RANGE[0] <= bpm_hint <= HINT_RANGE[1]:
        raise ValueError(f"bpm_hint is {bpm_hint}; it should lie between 20 and 400")
    with threadpool_limits(1, user_api="blas"):  # its products are small: threads would wait more than they save
        estimate = _best(onsets, bpm_hint)
        return estimate if octave == "auto" else _at_octave(onsets, estimate, octave)


def _best(onsets: Onsets, bpm_hint: float | None) -> TempoEstimate:
    if len(onsets) < _MIN_ONSETS or onsets.time_s[-1] - onsets.time_s[0] < _MIN_DURATION_S:
        return _default(bpm_hint or DEFAULT_BPM)
    if bpm_hint is not None:
        # What is hinted may be what would be found anyhow, or its half or double. Then bars stay where they are.
        found = _best(onsets, None)
        for octave in get_args(Octave) if found.is_trustworthy else ():
            if abs(_SCALES[octave] * found.bpm / bpm_hint - 1.0) < _SAME_TEMPO:
                return found if octave == "auto" else _at_octave(onsets, found, octave)
    return _anew(onsets, bpm_hint)


def _anew(onsets: Onsets, bpm_hint: float | None) -> TempoEstimate:
    """From the onsets alone, enough of them."""
    # Relative to the first onset, so that silence before it changes nothing.
    offset_s = float(onsets.time_s[0])
    relative = Onsets(onsets.time_s - offset_s, onsets.lane, onsets.velocity)
    candidates = candidates_of(relative, grooves(), bpm_hint=bpm_hint)
    chances = probabilities(np.stack([candidate.features for candidate in candidates]), grooves().weights)
    best = int(chances.argmax())
    chosen = candidates[best]
    half, double = (_chance_near(ratio * chosen.bpm, candidates, chances) for ratio in (0.5, 2.0))
    alternative: Octave = "double" if double > half or (double == half and chosen.bpm < 105.0) else "half"
    return _estimate(relative, chosen, offset_s, float(chances[best]), alternative)


def _have_same_beats(one_s: FloatArray, other_s: FloatArray) -> bool:
    """Whether nine in ten beats of the first lie within an eighth of one of the second."""
    beat = np.interp(one_s, other_s, np.arange(len(other_s)))
    return bool(np.mean(np.abs(beat - np.rint(beat)) < 0.125) > 0.9)


def _default(bpm: float) -> TempoEstimate:
    nothing = np.empty(0)
    return TempoEstimate(
        TempoMap.constant(bpm), nothing, nothing, bpm, 0.0, bpm / 2, "half", FOUR, 0.0, is_trustworthy=False
    )


def _at_octave(onsets: Onsets, estimate: TempoEstimate, octave: Octave) -> TempoEstimate:
    """The same at half or double the tempo, whose alternative is the estimate."""
    if not len(estimate.beats_s):
        return _default(estimate.bpm * _SCALES[octave])
    downbeats = np.searchsorted(estimate.beats_s, estimate.downbeats_s)
    if octave == "double":
        beats_s, downbeats = doubled(estimate.beats_s, downbeats, estimate.metre)
        anew = _anew(onsets, 2.0 * estimate.bpm)
        # The slower beat may lie between the faster ones; then bars cannot stay where they are.
        if not _have_same_beats(anew.beats_s, beats_s):
            return replace(anew, alternative_bpm=estimate.bpm, alternative="half")
    elif len(estimate.beats_s) > 3:  # two must remain
        beats_s, downbeats = halved(estimate.beats_s, downbeats, accents_of(estimate.beats_s, onsets))
    else:
        return _default(estimate.bpm / 2)
    return replace(
        estimate,
        tempo_map=map_of_beats(beats_s, downbeats, estimate.metre),
        beats_s=beats_s,
        downbeats_s=beats_s[downbeats],
        bpm=60.0 / float(np.median(np.diff(beats_s))),
        confidence=min(estimate.confidence, 1.0 - estimate.confidence),
        alternative_bpm=estimate.bpm,
        alternative="double" if octave == "half" else "half",
    )


@functools.cache
def grooves() -> Grooves:
    """Those of the package, read once."""
    return Grooves.load()


def candidates_of(onsets: Onsets, grooves: Grooves, *, bpm_hint: float | None = None) -> list[Candidate]:
    """The tempi that the rhythm allows, at least one. The first onset lies at 0 s."""
    hop_s, period_s = follow_period(onsets.time_s, _weights(onsets), bpm_hint=bpm_hint)
    clock = BeatClock.of_periods(hop_s, period_s)
    bpm = 60.0 / float(np.median(period_s))
    ratios = [ratio for ratio in _RATIOS if BPM_RANGE[0] < bpm * ratio < BPM_RANGE[1]]
    if bpm_hint is not None or not ratios:
        ratios = [1.0]
    channel = channels_of(onsets.lane, onsets.velocity)
    # Align twice: the first time, the tempo is known to a few percent only.
    clocks = [clock.scaled(ratio) for ratio in ratios]
    coarse = align(grooves, clocks, onsets.time_s, channel, max_shift=3, spread=1.0)
    clocks = [alignment.followed() for alignment in coarse]
    alignments = align(grooves, clocks, onsets.time_s, channel, max_shift=2, spread=0.5)
    return [_candidate(onsets, alignment) for alignment in alignments]


def _candidate(onsets: Onsets, alignment: Alignment) -> Candidate:
    start, end = (float(beat) for beat in alignment.clock.beats_of(onsets.time_s[[0, -1]]))
    numbers = np.linspace(start, end, max(math.ceil(end - start), 1) + 1)
    bpm = 60.0 * (numbers[1] - numbers[0]) / float(np.median(np.diff(alignment.clock.seconds_of(numbers))))
    return Candidate(bpm, alignment, features_of(alignment, bpm=bpm, duration_s=float(onsets.time_s[-1])))


def _weights(onsets: Onsets) -> FloatArray:
    return np.asarray(_LANE_WEIGHTS[onsets.lane] * (0.3 + onsets.velocity / 127))


def _chance_near(bpm: float, candidates: list[Candidate], chances: FloatArray) -> float:
    """Of all candidates that have this tempo."""
    return sum(float(p) for c, p in zip(candidates, chances, strict=True) if abs(c.bpm / bpm - 1.0) < _SAME_TEMPO)


def _estimate(
    onsets: Onsets,
    chosen: Candidate,
    offset_s: float,
    confidence: float,
    alternative: Octave,
) -> TempoEstimate:
    """Beats, bars and map of the chosen tempo."""
    channel = channels_of(onsets.lane, onsets.velocity)
    clock = follow_onsets(chosen.alignment.followed(), onsets.time_s, _weights(onsets))
    clock = follow_onsets(clock, onsets.time_s, _weights(onsets))
    (alignment,) = align(grooves(), [clock], onsets.time_s, channel, max_shift=1, spread=0.25)
    start, end = clock.beats_of(onsets.time_s[[0, -1]])
    numbers = np.arange(math.ceil(start - 0.15), max(math.floor(end + 0.3), math.ceil(start - 0.15) + 1) + 1)
    beats_s = clock.seconds_of(numbers) + offset_s
    numbers, beats_s = numbers[beats_s >= 0.0], beats_s[beats_s >= 0.0]
    metre = find_metre(onsets, clock, alignment)
    downbeats = np.searchsorted(numbers, downbeats_of(metre, onsets, clock, alignment, numbers))
    if len(downbeats) == 0:
        downbeats = np.array([0])
    bpm = 60.0 / float(np.median(np.diff(beats_s)))
    regularity = _regularity(clock.beats_of(onsets.time_s), _weights(onsets))
    return TempoEstimate(
        tempo_map=map_of_beats(beats_s, downbeats, metre),
        beats_s=beats_s,
        downbeats_s=beats_s[downbeats],
        bpm=bpm,
        confidence=confidence,
        alternative_bpm=_SCALES[alternative] * bpm,
        alternative=alternative,
        metre=metre,
        regularity=regularity,
        is_trustworthy=regularity >= _MIN_REGULARITY + _REGULARITY_OF_ONE / math.sqrt(len(onsets)),
    )


def _regularity(beat: FloatArray, weight: FloatArray) -> float:
    """Length of the mean of unit vectors that turn three or four times a beat, whichever is longer."""
    sums = [np.abs((weight * np.exp(2j * np.pi * parts * beat)).sum()) for parts in (3, 4)]
    return float(max(sums) / weight.sum())
