"""Bars of a recording, as its tempo map lays them."""

import math
from dataclasses import dataclass

from drum_crnn.music.tempo_map import TempoMap

__all__ = ["Bar", "bars_until"]

_SAME = 1e-6  # quarter notes; a difference that only rounding makes


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its start and length in quarter notes, and its time signature. The next signature may cut it short."""

    start: float
    length: float
    numerator: int
    denominator: int


def bars_until(tempo_map: TempoMap, end_s: float) -> list[Bar]:
    """The bars from the start of the recording to the one that holds `end_s`, at least one."""
    end = float(tempo_map.beats_of(end_s))
    bars: list[Bar] = []
    starts = [0.0, *tempo_map.beats_of([signature.time_s for signature in tempo_map.signatures[1:]]).tolist()]
    signatures = list(tempo_map.signatures)
    late = float(tempo_map.beats_of(tempo_map.signatures[0].time_s))
    if late > _SAME:  # a bar begins there, so the one before may be short
        starts.insert(1, late)
        signatures.insert(0, signatures[0])
    for start, following, signature in zip(starts, [*starts[1:], math.inf], signatures, strict=True):
        length = signature.quarters
        number = 0
        while (at := start + number * length) < following - _SAME and (at <= end + _SAME or not bars):
            bars.append(Bar(at, min(length, following - at), signature.numerator, signature.denominator))
            number += 1
    return bars
