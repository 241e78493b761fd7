"""The metre, and the beats at which bars begin."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.lanes import LANES, N_LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.tempo.alignment import Alignment
from drum_crnn.tempo.clock import BeatClock
from drum_crnn.tempo.grooves import BEATS, SLOTS_PER_BEAT

__all__ = ["FOUR", "Metre", "accents_of", "downbeats_of", "find_metre"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_OTHER_METRES = (3, 5)  # beats in a bar, apart from four
_MARGIN = 0.08  # by which another metre must repeat better than four beats do
_MIN_BARS = 4  # fewer do not show a metre
# How much a stroke speaks for a bar that begins there.
_ACCENTS = {LANES.index(lane): weight for lane, weight in (("kick", 1.0), ("snare", -0.5), ("crash", 2.0))}


@dataclass(frozen=True, slots=True)
class Metre:
    """Beats in a bar, the time signature of such bars, and the quarter notes in a beat."""

    n_beats: int
    numerator: int
    denominator: int
    quarters: float


FOUR = Metre(4, 4, 4, 1.0)
_SIX_EIGHT = Metre(2, 6, 8, 1.5)


def find_metre(onsets: Onsets, clock: BeatClock, alignment: Alignment) -> Metre:
    """Four beats, unless the playing repeats clearly better after three or five; 6/8, if all eighths are thirds.

    Drums of 6/8 and of 12/8 are the same. What has the back beat on every second beat is called 6/8.
    """
    if _is_compound(alignment.profile):
        return _SIX_EIGHT
    patterns = _patterns(onsets, clock)
    if len(patterns) < _MIN_BARS * BEATS:
        return FOUR
    repeats = {n: (_similarity(patterns, n) + _similarity(patterns, 2 * n)) / 2 for n in (BEATS, *_OTHER_METRES)}
    best = max(_OTHER_METRES, key=lambda n: repeats[n])
    # What repeats after every beat repeats after any number of them.
    if repeats[best] > repeats[BEATS] + _MARGIN:
        return Metre(best, best, 4, 1.0)
    return FOUR


def accents_of(beats_s: FloatArray, onsets: Onsets) -> FloatArray:
    """How much each beat sounds like the beginning of a bar: kicks and crashes on it, less snares; shape as `beats_s`.

    A stroke is on a beat if it lies within an eighth of one.
    """
    nearest, gain = _gains(np.interp(onsets.time_s, beats_s, np.arange(len(beats_s))), onsets)
    return np.asarray(np.bincount(nearest, gain, len(beats_s)), dtype=np.float64)


def _gains(beat: FloatArray, onsets: Onsets) -> tuple[IntArray, FloatArray]:
    """The beat nearest to each onset, which lies at `beat`, and how much the onset accents it."""
    accents = np.array([_ACCENTS.get(lane, 0.0) for lane in range(N_LANES)])
    nearest = np.rint(beat).astype(np.int64)
    return nearest, np.asarray(accents[onsets.lane] * onsets.velocity * (np.abs(beat - nearest) < 0.125))


def _is_compound(profile: FloatArray) -> bool:
    """Whether both thirds of the beat are played like the beat itself, and hardly anything else; a swing lacks one."""
    in_beat = profile.sum(axis=0).reshape(-1, SLOTS_PER_BEAT).sum(axis=0)

    def around(slot: int) -> float:
        return float(in_beat[[slot - 1, slot, (slot + 1) % SLOTS_PER_BEAT]].sum())

    beat, first, second = around(0), around(SLOTS_PER_BEAT // 3), around(2 * SLOTS_PER_BEAT // 3)
    binary = sum(around(quarter * SLOTS_PER_BEAT // 4) for quarter in (1, 2, 3))
    return min(first, second) > 0.4 * beat and min(first, second) > 0.6 * max(first, second) > 1.5 * binary


def _patterns(onsets: Onsets, clock: BeatClock) -> FloatArray:
    """What is played in each beat, shape (n_beats, lanes × sixteenths): velocities, 0..1."""
    sixteenth = np.rint(clock.beats_of(onsets.time_s) * 4).astype(np.int64)
    sixteenth -= sixteenth[0] // 4 * 4
    patterns = np.zeros((int(sixteenth.max()) // 4 + 1, N_LANES * 4))
    np.add.at(patterns, (sixteenth // 4, onsets.lane * 4 + sixteenth % 4), onsets.velocity / 127)
    return patterns


def _similarity(patterns: FloatArray, lag: int) -> float:
    """Of beats that lie `lag` beats apart, 0..1."""
    one, other = patterns[lag:], patterns[:-lag]
    energy = (one**2).sum() + (other**2).sum()
    return 2.0 * float((one * other).sum()) / float(energy) if energy else 0.0


def downbeats_of(metre: Metre, onsets: Onsets, clock: BeatClock, alignment: Alignment, beats: IntArray) -> IntArray:
    """Those of the beats (numbers of the clock) at which a bar begins.

    In four, bars lie as the grooves fit best. In other metres, they begin at the beats with most kicks and crashes,
    and fewest snares.
    """
    if metre.n_beats not in (2, BEATS):
        nearest, gain = _gains(clock.beats_of(onsets.time_s), onsets)
        phase = int(np.bincount(nearest % metre.n_beats, gain, metre.n_beats).argmax())
        return np.asarray(beats[(beats - phase) % metre.n_beats == 0])
    bar = np.clip(np.floor(beats / BEATS).astype(np.int64) - alignment.first_bar, 0, len(alignment.shifts) - 1)
    place = beats + np.rint(alignment.shifts[bar] / SLOTS_PER_BEAT).astype(np.int64)
    return np.asarray(beats[place % metre.n_beats == 0])
