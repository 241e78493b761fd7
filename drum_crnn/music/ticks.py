"""Ticks: the time of MIDI files and charts, which count whole fractions of a beat at tempos of a limited precision.

Rounding happens here alone. A tempo change is moved to the nearest tick, and a tempo is rounded to what the format can
hold. Onsets are placed on the timeline that results, so each keeps its time to half a tick however long the song is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drum_crnn.music.tempo_map import TempoMap

__all__ = ["Timeline", "resolution_for"]

_LONGEST_TICK_S = 0.001  # half a tick is the largest error of an onset
_RESOLUTIONS = tuple(480 * factor for factor in (1, 2, 4, 8, 16, 32, 64))  # the last is below MIDI's limit, 32,767


def resolution_for(tempo_map: TempoMap) -> int:
    """Ticks a quarter note: 480, or a multiple, so that no tick is longer than a millisecond at 2 bpm or more."""
    slowest = min(tempo.bpm for tempo in tempo_map.tempos)
    fitting = [ticks for ticks in _RESOLUTIONS if 60.0 / slowest / ticks <= _LONGEST_TICK_S]
    return fitting[0] if fitting else _RESOLUTIONS[-1]


@dataclass(frozen=True)
class Timeline:
    """A tempo map as a format can hold it.

    Parameters
    ----------
    resolution : int
        Ticks a quarter note.
    tempos : tuple of (tick, seconds a beat)
        In order of ticks; the first at tick 0.
    signatures : tuple of (tick, numerator, denominator)
        In order of ticks; the first at tick 0.
    """

    resolution: int
    tempos: tuple[tuple[int, Fraction], ...]
    signatures: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, tempo_map: TempoMap, *, resolution: int, rounded: Callable[[float], Fraction]) -> "Timeline":
        """Round a tempo map.

        Parameters
        ----------
        rounded : callable
            From beats a minute to the nearest seconds a beat that the format can hold.
        """

        def ticks_of(times_s: list[float]) -> list[int]:
            return [round(beats * resolution) for beats in tempo_map.beats_of(times_s).tolist()]

        # The first of each kind holds from the start. Of several that meet at one tick, the last one holds. A first
        # signature that comes late is written again at its own tick, since a bar begins there.
        tempos = dict(
            zip(
                [0, *ticks_of([tempo.time_s for tempo in tempo_map.tempos[1:]])],
                [rounded(tempo.bpm) for tempo in tempo_map.tempos],
                strict=True,
            )
        )
        signatures = dict(
            zip(
                [0, *ticks_of([signature.time_s for signature in tempo_map.signatures])],
                [
                    (signature.numerator, signature.denominator)
                    for signature in (tempo_map.signatures[0], *tempo_map.signatures)
                ],
                strict=True,
            )
        )
        return cls(
            resolution,
            tuple(sorted(tempos.items())),
            tuple((tick, *signature) for tick, signature in sorted(signatures.items())),
        )

    def ticks_of(self, time_s: ArrayLike) -> NDArray[np.int64]:
        """The nearest tick of each time in seconds; shape as `time_s`."""
        times = np.asarray(time_s, dtype=np.float64)
        starts_s, starts, rates = self._segments()
        at = np.maximum(np.searchsorted(starts_s, times, side="right") - 1, 0)
        return np.asarray(np.rint(starts[at] + (times - starts_s[at]) * rates[at]), dtype=np.int64)

    def rates_at(self, time_s: ArrayLike) -> NDArray[np.float64]:
        """Ticks a second at each time in seconds; shape as `time_s`."""
        starts_s, _, rates = self._segments()
        at = np.maximum(np.searchsorted(starts_s, np.asarray(time_s, dtype=np.float64), side="right") - 1, 0)
        return np.asarray(rates[at])

    def _segments(self) -> tuple[NDArray[np.float64], ...]:
        """Of each tempo: where it begins, in seconds and in ticks, and its ticks a second."""
        starts = [tick for tick, _ in self.tempos]
        tick_s = [duration / self.resolution for _, duration in self.tempos]
        elapsed = [Fraction(0)]  # so that errors do not add up
        for (tick, next_tick), duration in zip(pairwise(starts), tick_s, strict=False):
            elapsed.append(elapsed[-1] + (next_tick - tick) * duration)
        rates = [1 / duration for duration in tick_s]
        starts_s, ticks, per_second = (np.array([float(one) for one in values]) for values in (elapsed, starts, rates))
        return starts_s, ticks, per_second
