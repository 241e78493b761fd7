"""From beats and downbeats to a tempo map: as few tempo changes as the playing allows, and bars from the start on."""

import math

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.tempo.bars import Metre

__all__ = ["map_of_beats"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TOLERANCE_S = 0.012  # by which a beat of the map may miss the estimated one; less than can be heard
_ROUND_BPM = (1.0, 0.5, 0.1, 0.01)  # preferred where the tolerance allows
_PICKUP_PARTS = 8  # of a quarter, in which the bar before the first downbeat is measured


def map_of_beats(beats_s: FloatArray, downbeats: IntArray, metre: Metre) -> TempoMap:
    """A tempo map whose bars begin at the downbeats.

    Time 0 is the first bar of every program, but seldom a downbeat. So a shorter bar of its own tempo comes first, if
    the first downbeat is later than a thirty-second note.

    Parameters
    ----------
    beats_s : float64 array, shape (n_beats,)
        Times of successive beats, increasing, at least two.
    downbeats : int64 array, shape (n_downbeats,)
        Indices into `beats_s`, increasing, at least one.
    metre : Metre
    """
    period = beats_s[1] - beats_s[0]
    # Bars go on towards time 0.
    n_before = max(math.floor(beats_s[0] / period) + 1, 0)
    n_before -= (n_before + int(downbeats[0])) % metre.n_beats  # ends up at a downbeat ...
    n_before = max(n_before, -int(downbeats[0]))
    if n_before > 0 and beats_s[0] - n_before * period < 0.0:
        n_before -= metre.n_beats  # ... that is not before 0
    starts = downbeats + max(n_before, 0)
    extended = np.concatenate([beats_s[0] - period * np.arange(max(n_before, 0), 0, -1), beats_s])
    while starts[0] >= metre.n_beats:
        starts = np.concatenate([[starts[0] - metre.n_beats], starts])
    first = int(starts[0])
    extended, starts = np.maximum(extended[first:], 0.0), starts - first
    if len(extended) < 2:
        return TempoMap.constant(60.0 / period * metre.quarters, metre.numerator, metre.denominator)
    pickup = round(float(extended[0] / (extended[1] - extended[0])) * metre.quarters * _PICKUP_PARTS)
    tempos: list[Tempo] = []
    signatures: list[Signature] = []
    if pickup == 0:
        extended[0] = 0.0
    else:
        tempos.append(Tempo(0.0, pickup / _PICKUP_PARTS * 60.0 / float(extended[0])))
        signatures.append(Signature(0.0, *_lowest_terms(pickup, 4 * _PICKUP_PARTS)))
    tempos += _few_tempi(extended, metre.quarters, tolerance_s=_TOLERANCE_S)
    tempo_map = TempoMap(tuple(tempos), (Signature(0.0, 4, 4),))
    # Bars begin at beats of the map, which may miss those of the playing by the tolerance.
    origin = float(tempo_map.beats_of(extended[0]))
    starts_s = tempo_map.seconds_of(origin + starts * metre.quarters).tolist()
    lengths = [*np.diff(starts).tolist(), metre.n_beats]
    for start_s, length in zip(starts_s, lengths, strict=True):
        whole = metre.numerator * length // metre.n_beats
        if not signatures or (signatures[-1].numerator, signatures[-1].denominator) != (whole, metre.denominator):
            signatures.append(Signature(start_s if signatures else 0.0, whole, metre.denominator))
    return TempoMap(tuple(tempos), tuple(signatures))


def _lowest_terms(numerator: int, denominator: int) -> tuple[int, int]:
    """Of a time signature, down to quarters."""
    while numerator % 2 == 0 and denominator > 4:
        numerator, denominator = numerator // 2, denominator // 2
    return numerator, denominator


def _few_tempi(beats_s: FloatArray, quarters: float, *, tolerance_s: float) -> list[Tempo]:
    """Straight lines through the beats, each as long as the tolerance allows; the next begins where the last ends.

    References
    ----------
    Elmeleegy et al., "Online piece-wise linear approximation of numerical streams", VLDB 2009 (the swing filter).
    """
    tempos = []
    anchor, anchor_s = 0, float(beats_s[0])
    shortest, longest = 0.0, math.inf  # periods that hit all beats since the anchor
    for index in range(1, len(beats_s)):
        n = index - anchor
        deviation = float(beats_s[index]) - anchor_s
        lower, upper = max(shortest, (deviation - tolerance_s) / n), min(longest, (deviation + tolerance_s) / n)
        if lower > upper:
            tempo = _roundest(60.0 * quarters / longest, 60.0 * quarters / shortest)
            tempos.append(Tempo(anchor_s, tempo))
            anchor_s += (index - 1 - anchor) * 60.0 * quarters / tempo
            anchor = index - 1
            deviation = float(beats_s[index]) - anchor_s
            lower, upper = deviation - tolerance_s, deviation + tolerance_s
        shortest, longest = max(lower, 1e-3), max(upper, 2e-3)
    tempos.append(Tempo(anchor_s, _roundest(60.0 * quarters / longest, 60.0 * quarters / shortest)))
    return tempos


def _roundest(lowest: float, highest: float) -> float:
    """The tempo with the fewest decimals between two, else the one in the middle."""
    middle = (lowest + highest) / 2
    for step in _ROUND_BPM:
        value = round(round(middle / step) * step, 2)
        if lowest <= value <= highest:
            return value
    return middle
