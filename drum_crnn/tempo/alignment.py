"""Where in the bar each beat of a clock lies, and a clock that follows the playing more closely."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drum_crnn.tempo.clock import BeatClock
from drum_crnn.tempo.grooves import BEATS, N_CHANNELS, SLOTS, SLOTS_PER_BEAT, Grooves

__all__ = ["Alignment", "align", "follow_onsets"]

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

_BARS_AT_ONCE = 32  # small arrays stay in the processor's cache
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
    grooves: Grooves,
    clocks: Sequence[BeatClock],
    time_s: FloatArray,
    channel: IntArray,
    *,
    max_shift: int,
    spread: float,
) -> list[Alignment]:
    """Find the place of each bar of each clock by dynamic programming over the likelihoods of all shifts.

    Parameters
    ----------
    time_s, channel : arrays, shape (n_onsets,)
        Onsets in order, at least one.
    max_shift : int
        Slots by which one bar may deviate from the last, except by a jump.
    spread : float
        Standard deviation of these deviations, in slots.
    """
    paths = _best_shifts([_fits(grooves, clock, time_s, channel) for clock in clocks], max_shift, spread)
    alignments = []
    for clock, (shifts, score) in zip(clocks, paths, strict=True):
        beat = clock.beats_of(time_s)
        bar = _bar_of(beat)
        onsets = _histogram(channel, N_CHANNELS, beat * SLOTS_PER_BEAT + shifts[bar - bar[0]])
        profile = onsets / max((beat[-1] - beat[0]) / BEATS, 0.25)
        alignments.append(Alignment(clock, int(bar[0]), shifts, score, profile))
    return alignments


def _fits(grooves: Grooves, clock: BeatClock, time_s: FloatArray, channel: IntArray) -> Float32Array:
    """Log-likelihood of each bar of a clock at each shift, shape (n_bars, SLOTS); parameters as in `align`."""
    beat = clock.beats_of(time_s)
    bar = _bar_of(beat)
    first_bar = int(bar[0])
    edges = np.arange(first_bar, bar[-1] + 2) * BEATS
    heard = np.clip((np.minimum(edges[1:], beat[-1]) - np.maximum(edges[:-1], beat[0])) / BEATS, 0.0, 1.0)
    fits = np.empty((len(heard), SLOTS), dtype=np.float32)
    for start in range(0, len(heard), _BARS_AT_ONCE):
        some = slice(start, start + _BARS_AT_ONCE)
        n_bars = len(heard[some])
        of_some = slice(*np.searchsorted(bar, [first_bar + start, first_bar + start + n_bars]))
        row = (bar[of_some] - first_bar - start) * N_CHANNELS + channel[of_some]
        bars = _histogram(row, n_bars * N_CHANNELS, beat[of_some] * SLOTS_PER_BEAT)
        fits[some] = grooves.log_likelihood(bars.reshape(n_bars, N_CHANNELS, SLOTS), heard[some])
    # Rates are per slot. Per second, they are comparable between clocks.
    log_rate = np.log(np.maximum(clock.rate(time_s) * SLOTS_PER_BEAT, 1e-3))
    fits += np.bincount(bar - first_bar, log_rate, len(fits))[:, None]
    return fits


def _bar_of(beat: FloatArray) -> IntArray:
    return np.floor(beat / BEATS).astype(np.int64)


def _histogram(row: IntArray, n_rows: int, slot: FloatArray) -> FloatArray:
    """Onsets in each slot of a bar, shape (n_rows, SLOTS), shared between the two nearest slots."""
    lower = np.floor(slot)
    rest = slot - lower
    place = lower.astype(np.int64)
    size = n_rows * SLOTS
    flat = np.bincount(row * SLOTS + place % SLOTS, 1.0 - rest, size)
    flat += np.bincount(row * SLOTS + (place + 1) % SLOTS, rest, size)
    return np.asarray(flat, dtype=np.float64).reshape(n_rows, SLOTS)


def _best_shifts(fits: Sequence[Float32Array], max_shift: int, spread: float) -> list[tuple[IntArray, float]]:
    """Of each clock, the path with the greatest sum of fits less the costs of its changes, and that sum.

    All clocks are searched side by side, which is faster than one after the other.
    """
    steps = np.arange(-max_shift, max_shift + 1)
    costs = 0.5 * (steps / spread) ** 2
    sources = (np.arange(SLOTS) - steps[:, None]) % SLOTS
    order = sorted(range(len(fits)), key=lambda clock: -len(fits[clock]))  # the longest first
    lengths = np.array([len(fits[clock]) for clock in order])
    totals = np.stack([fits[clock][0] for clock in order]).astype(np.float64)
    came_from = [np.empty((0, SLOTS), dtype=np.int8)]
    for bar in range(1, lengths[0]):
        n_left = int((lengths > bar).sum())
        total = totals[:n_left]
        options = total[:, sources] - costs[:, None]  # (clocks, steps, slots)
        best = options.max(axis=1)
        source = sources[options.argmax(axis=1), np.arange(SLOTS)]
        peak = total.argmax(axis=1)[:, None]
        from_peak = np.take_along_axis(total, peak, axis=1) - _COST_OF_JUMP
        came_from.append(np.where(from_peak > best, peak, source).astype(np.int8))
        totals[:n_left] = np.maximum(best, from_peak) + [fits[clock][bar] for clock in order[:n_left]]
    paths = {}
    for place, clock in enumerate(order):
        path = np.empty(lengths[place], dtype=np.int64)
        path[-1] = totals[place].argmax()
        for bar in range(len(path) - 1, 0, -1):
            path[bar - 1] = came_from[bar][place, path[bar]]
        paths[clock] = path, float(totals[place].max())
    return [paths[clock] for clock in range(len(fits))]


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
