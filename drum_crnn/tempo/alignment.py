"""Where in the bar each beat of a clock lies, and a clock that follows the playing more closely."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drum_crnn.tempo.clock import BeatClock
from drum_crnn.tempo.grooves import BEATS, N_CHANNELS, SLOTS, SLOTS_PER_BEAT, Grooves

__all__ = ["Alignment", "align", "follow_onsets"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_COST_OF_JUMP = 12.0  # nats for going on anywhere else in the bar: the drummer turned the beat round
_KERNEL_BEATS = 4.0  # standard deviation of the window in which the phase is measured
_PRIOR_WEIGHT = 2.0  # of "no deviation", in onsets


@dataclass(frozen=True, eq=False)
class Alignment:
    """A clock, and how its bars of four beats lie against the grooves.

    Attributes
    ----------
    clock : BeatClock
    first_bar : int
        Bar n of the clock holds its beats 4 n to 4 n + 4.
    shifts : int64 array, shape (n_bars,)
        Slots by which each bar of the clock is late: its beats are those of a groove after the shift is added.
    score : float
        Log-likelihood of the onsets, in nats.
    profile : float64 array, shape (N_CHANNELS, SLOTS)
        Onsets in an average bar, shifted as above.
    """

    clock: BeatClock
    first_bar: int
    shifts: IntArray
    score: float
    profile: FloatArray

    def followed(self) -> BeatClock:
        """The clock moved by the shifts, smoothly: then multiples of four beats are where bars begin."""
        steps = np.diff(self.shifts)
        steps = (steps + SLOTS // 2) % SLOTS - SLOTS // 2
        # A jump is no change of tempo: the clock keeps the part of it that is less than half a beat.
        whole = np.rint(steps / SLOTS_PER_BEAT).astype(np.int64) * SLOTS_PER_BEAT
        steps -= np.where(np.abs(steps) > SLOTS_PER_BEAT // 4, whole, 0)
        shift = (self.shifts[0] + np.concatenate([[0], np.cumsum(steps)])) / SLOTS_PER_BEAT
        middles_s = self.clock.seconds_of((np.arange(len(shift)) + self.first_bar + 0.5) * BEATS)
        time_s = np.arange(self.clock.time_s[0] - 1.0, self.clock.time_s[-1] + 2.0)
        window = np.hanning(9)[1:-1] / np.hanning(9).sum()
        smooth = np.convolve(np.pad(np.interp(time_s, middles_s, shift), 3, mode="edge"), window, "valid")
        return _increasing(time_s, self.clock.beats_of(time_s) + smooth)


def align(
    grooves: Grooves, clock: BeatClock, time_s: FloatArray, channel: IntArray, *, max_shift: int, spread: float
) -> Alignment:
    """Find the place of each bar by dynamic programming over the likelihoods of all shifts.

    Parameters
    ----------
    time_s, channel : arrays, shape (n_onsets,)
        Onsets in order, at least one.
    max_shift : int
        Slots by which one bar may deviate from the last, except by a jump.
    spread : float
        Standard deviation of these deviations, in slots.
    """
    beat = clock.beats_of(time_s)
    edges = np.arange(np.floor(beat[0] / BEATS), np.floor(beat[-1] / BEATS) + 2) * BEATS
    bars = _bars_of(beat, channel, first_bar=round(edges[0] / BEATS), n_bars=len(edges) - 1)
    heard = (np.minimum(edges[1:], beat[-1]) - np.maximum(edges[:-1], beat[0])) / BEATS
    fits = grooves.log_likelihood(bars, np.clip(heard, 0.0, 1.0))
    # Rates are per slot. Per second, they are comparable between clocks.
    bar_of = np.floor(beat / BEATS).astype(np.int64) - round(edges[0] / BEATS)
    log_rate = np.log(np.maximum(clock.rate(time_s) * SLOTS_PER_BEAT, 1e-3))
    fits += np.bincount(bar_of, log_rate, len(bars))[:, None]
    shifts, score = _best_shifts(fits, max_shift, spread)
    turned = np.stack([np.roll(bar, shift, axis=-1) for bar, shift in zip(bars, shifts.tolist(), strict=True)])
    return Alignment(
        clock=clock,
        first_bar=round(edges[0] / BEATS),
        shifts=shifts,
        score=score,
        profile=turned.sum(axis=0) / max((beat[-1] - beat[0]) / BEATS, 0.25),
    )


def _bars_of(beat: FloatArray, channel: IntArray, *, first_bar: int, n_bars: int) -> FloatArray:
    """Onsets in each slot of each bar, shape (n_bars, N_CHANNELS, SLOTS), shared between the two nearest slots."""
    slot = np.floor(beat * SLOTS_PER_BEAT).astype(np.int64)
    rest = beat * SLOTS_PER_BEAT - slot
    bar = np.floor(beat / BEATS).astype(np.int64) - first_bar
    row = (bar * N_CHANNELS + channel) * SLOTS
    size = n_bars * N_CHANNELS * SLOTS
    flat = np.bincount(row + slot % SLOTS, 1.0 - rest, size) + np.bincount(row + (slot + 1) % SLOTS, rest, size)
    return np.asarray(flat, dtype=np.float64).reshape(n_bars, N_CHANNELS, SLOTS)


def _best_shifts(fits: FloatArray, max_shift: int, spread: float) -> tuple[IntArray, float]:
    """The path of shifts with the greatest sum of fits less the costs of its changes, and that sum."""
    steps = np.arange(-max_shift, max_shift + 1)
    costs = 0.5 * (steps / spread) ** 2
    sources = (np.arange(SLOTS) - steps[:, None]) % SLOTS
    came_from = np.zeros(fits.shape, dtype=np.int64)
    total = fits[0]
    for bar in range(1, len(fits)):
        options = total[sources] - costs[:, None]
        chosen = options.argmax(axis=0)
        best = options.max(axis=0)
        source = sources[chosen, np.arange(SLOTS)]
        from_best = total.max() - _COST_OF_JUMP
        came_from[bar] = np.where(from_best > best, total.argmax(), source)
        total = np.maximum(best, from_best) + fits[bar]
    path = np.empty(len(fits), dtype=np.int64)
    path[-1] = total.argmax()
    for bar in range(len(fits) - 1, 0, -1):
        path[bar - 1] = came_from[bar, path[bar]]
    return path, float(total.max())


def follow_onsets(clock: BeatClock, time_s: FloatArray, weight: FloatArray) -> BeatClock:
    """Move a clock by the deviations of the onsets from its sixteenths, averaged over a few beats around each beat.

    Onsets further than a twelfth of a beat from any sixteenth are no sixteenths, and do not count. So swung and triplet
    eighths do not pull; strokes on the beat count most.
    """
    beat = clock.beats_of(time_s)
    deviation = beat - np.rint(beat * 4) / 4
    on_beat, on_half = np.rint(beat * 4) % 4 == 0, np.rint(beat * 4) % 4 == 2
    gain = weight * np.where(on_beat, 1.0, np.where(on_half, 0.5, 0.25)) * (np.abs(deviation) < 1 / 12)
    first = int(np.floor(beat[0]))
    nearest = np.rint(beat).astype(np.int64) - first
    n_beats = int(nearest[-1]) + 2
    reach = np.arange(-3 * int(_KERNEL_BEATS), 3 * int(_KERNEL_BEATS) + 1)
    kernel = np.exp(-0.5 * (reach / _KERNEL_BEATS) ** 2)
    total = np.convolve(np.bincount(nearest, gain, n_beats), kernel, "full")[len(reach) // 2 :][:n_beats]
    moved = np.convolve(np.bincount(nearest, gain * deviation, n_beats), kernel, "full")[len(reach) // 2 :][:n_beats]
    beats = first + np.arange(n_beats, dtype=np.float64)
    # At the time at which the clock shows `beat + offset`, the playing is on the beat.
    return _increasing(clock.seconds_of(beats + moved / (total + _PRIOR_WEIGHT)), beats)


def _increasing(time_s: FloatArray, beat: FloatArray) -> BeatClock:
    """A clock; where a correction would turn it back, it creeps."""
    n = np.arange(len(beat))
    return BeatClock(
        np.maximum.accumulate(time_s - 1e-4 * n) + 1e-4 * n, np.maximum.accumulate(beat - 1e-4 * n) + 1e-4 * n
    )
