"""Synthesized drums: modes that decay, and noise, with random proportions.

A few dozen sampled kits leave most of what a drum can sound like unheard. A synthesized piece is another drum each
time: a skin of any tension, damped or ringing, wires, a click or none; metal of any density and length. A share of the
pieces is electronic: sines whose pitch falls, squares in place of metal.

A drum is struck at three strengths. Hard strokes are brighter, glide further and click louder.

References
----------
Fletcher & Rossing, "The Physics of Musical Instruments", 1998, chapters 18 and 20: modes of drums, air loading, glide
of the pitch, cymbals.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from drum_crnn.band.noise import in_band, white_noise
from drum_crnn.studio.kits import SAMPLE_RATE, Kit, Layer, Sample, Sound, finish_one_shot, level_velocities

__all__ = ["synthesize_piece", "synthesized_kit"]

# Modes of an ideal circular membrane, as multiples of the lowest: zeros of Bessel functions over the first (2.405).
_MEMBRANE = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501)
_MAX_SECONDS = 3.0
# Softest velocity of a layer, and how hard the stroke is.
_STRENGTHS = ((1, 0.25), (50, 0.55), (95, 1.0))
_ELECTRONIC = 0.25  # probability of an electronic piece
# Level of a hit, of its first 0.1 s, in dB of full scale. A crash is as loud as a snare, but longer.
_LEVELS_DB = {"kick": -12.0, "snare": -15.0, "hihat": -25.0, "toms": -14.0, "crash": -20.0, "ride": -25.0}

_Audio = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Mode:
    """A decaying sine. `level`: of the amplitude; `decay_s`: until it has fallen by 60 dB."""

    hz: float
    level: float
    decay_s: float


@dataclass(frozen=True, slots=True)
class _Noise:
    """A decaying band of noise. `hardening`: power of the strength by which hard strokes have more of it."""

    low_hz: float
    high_hz: float
    level: float
    decay_s: float
    rise_s: float = 0.0
    hardening: float = 0.0


@dataclass(frozen=True)
class _Drum:
    """What sounds when a drum is struck.

    Attributes
    ----------
    glide, glide_s : float
        By which share all modes are higher in the beginning, and the time constant.
    drive : float
        Gain before a soft limiter; 0 for none.
    loudness_db : float
        Against the other drums of its piece.
    """

    modes: Sequence[_Mode]
    noises: Sequence[_Noise] = ()
    glide: float = 0.0
    glide_s: float = 0.02
    drive: float = 0.0
    loudness_db: float = 0.0

    def added(self, *noises: _Noise, modes: Sequence[_Mode] = (), loudness_db: float = 0.0) -> Self:
        """The drum with further noises and modes, and as much louder."""
        return replace(
            self,
            modes=(*self.modes, *modes),
            noises=(*self.noises, *noises),
            loudness_db=self.loudness_db + loudness_db,
        )


def synthesized_kit(number: int) -> Kit:
    """The kit "synthesized/NUMBER": every number is another kit, the same on every machine."""
    rng = np.random.default_rng([number, 0])
    return Kit(
        f"synthesized/{number}",
        {note: sound for piece in _RECIPES for note, sound in synthesize_piece(rng, piece).items()},
    )


def synthesize_piece(rng: np.random.Generator, piece: str) -> dict[int, Sound]:
    """Draw a piece of a kit.

    Parameters
    ----------
    piece : str
        kick, snare, hihat, toms, crash or ride.

    Returns
    -------
    dict of note to Sound
        All drums of the piece: a snare also has a rim shot and a cross-stick, a hi-hat also a pedal.
    """
    drums = _RECIPES[piece](rng, rng.random() < _ELECTRONIC)
    level_db = _LEVELS_DB[piece] + rng.uniform(-3.0, 3.0)
    sounds = {}
    for note, drum in drums.items():
        layers = []
        ends = [low - 1 for low, _ in _STRENGTHS[1:]] + [127]
        for (low, strength), high in zip(_STRENGTHS, ends, strict=True):
            audio = _struck(rng, drum, strength)
            level = math.sqrt(float(np.square(audio[: SAMPLE_RATE // 10]).sum()) / (SAMPLE_RATE // 10))
            gain = 10 ** ((level_db + drum.loudness_db) / 20) / max(level, 1e-9)
            name = f"{piece} {note} from velocity {low}"
            layers.append(Layer(_sample(name, audio * gain), low, high, 1.0))
        sounds[note] = Sound(note, level_velocities(layers))
    return sounds


def _sample(name: str, audio: _Audio) -> Sample:
    finished = finish_one_shot(audio.astype(np.float32))
    return Sample(name, finished, hashlib.sha256(finished.tobytes()).hexdigest(), "synthesized", "made by drum_crnn")


def _struck(rng: np.random.Generator, drum: _Drum, strength: float) -> _Audio:
    """One hit, shape (n_samples,), with its attack at index 0 and of any level."""
    longest = max([*(mode.decay_s for mode in drum.modes), *(noise.decay_s for noise in drum.noises)])
    audio = np.zeros(round(min(longest, _MAX_SECONDS) * SAMPLE_RATE))
    lowest_hz = min((mode.hz for mode in drum.modes), default=1.0)
    for mode in drum.modes:
        # Soft strokes touch the skin for longer, and so excite high modes less.
        level = mode.level * strength ** (0.35 * math.log2(mode.hz / lowest_hz)) * rng.uniform(0.7, 1.0)
        sine = _glided(rng, mode, drum, strength) if drum.glide else _resonance(rng, mode)
        sine = sine[: audio.size]
        audio[: sine.size] += level * sine
    for noise in drum.noises:
        band = _band(rng, noise)[: audio.size]
        audio[: band.size] += noise.level * strength**noise.hardening * band
    if drum.drive:
        audio = np.tanh(audio * (drum.drive / max(float(np.abs(audio).max()), 1e-9)))
    return audio


def _glided(rng: np.random.Generator, mode: _Mode, drum: _Drum, strength: float) -> _Audio:
    time_s = np.arange(_n_samples(mode.decay_s)) / SAMPLE_RATE
    excess_s = drum.glide * strength * drum.glide_s * (1.0 - np.exp(time_s / -drum.glide_s))
    # Near a zero, so that the first samples do not click more than the drum does.
    sine = np.sin(2 * np.pi * (mode.hz * (time_s + excess_s) + rng.uniform(0.0, 0.08)))
    return np.asarray(sine * np.exp(time_s * (-math.log(1000.0) / mode.decay_s)))


def _resonance(rng: np.random.Generator, mode: _Mode) -> _Audio:
    """The same without glide, as the response of a resonator, which is faster than sines."""
    n_samples = _n_samples(mode.decay_s)
    radius = math.exp(-math.log(1000.0) / (mode.decay_s * SAMPLE_RATE))
    angle, phase = 2 * math.pi * mode.hz / SAMPLE_RATE, rng.uniform(0.0, 2 * math.pi)
    impulse = np.zeros(n_samples)
    impulse[0] = 1.0
    numerator = [math.sin(phase), radius * math.sin(angle - phase)]
    denominator = [1.0, -2.0 * radius * math.cos(angle), radius**2]
    return np.asarray(scipy.signal.lfilter(numerator, denominator, impulse))


def _band(rng: np.random.Generator, noise: _Noise) -> _Audio:
    """Noise of level 1 at its height."""
    n_samples = _n_samples(noise.decay_s)
    white = white_noise(rng, n_samples, sample_rate=SAMPLE_RATE)
    sound = in_band(white, noise.low_hz, min(noise.high_hz, 0.45 * SAMPLE_RATE), sample_rate=SAMPLE_RATE)
    time_s = np.arange(n_samples) / SAMPLE_RATE
    sound *= np.exp(time_s * (-math.log(1000.0) / noise.decay_s)) / max(float(np.std(sound)), 1e-9)
    if noise.rise_s:
        sound *= np.minimum(1.0, time_s / noise.rise_s)
    return np.asarray(sound)


def _n_samples(decay_s: float) -> int:
    return max(64, round(min(decay_s, _MAX_SECONDS) * SAMPLE_RATE))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """A random number whose logarithm is evenly distributed."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _gain(rng: np.random.Generator, low_db: float, high_db: float) -> float:
    return float(10 ** (rng.uniform(low_db, high_db) / 20))


def _click(rng: np.random.Generator, low_hz: float, high_hz: float, level: float) -> _Noise:
    """What touches the drum: a beater, a stick."""
    bottom = _between(rng, low_hz, high_hz)
    return _Noise(bottom, bottom * rng.uniform(2.0, 4.0), level, _between(rng, 0.006, 0.04), hardening=0.7)


def _skin(rng: np.random.Generator, hz: float, decay_s: float, *, tilt: float, n: int = len(_MEMBRANE)) -> list[_Mode]:
    """The modes of a skin. Air pulls them together, and damping shortens high ones more."""
    stretch, damping = rng.uniform(0.75, 1.1), rng.uniform(0.4, 1.6)
    modes = []
    for ratio in _MEMBRANE[:n]:
        of_mode = ratio**stretch * rng.uniform(0.97, 1.03)
        level = of_mode**-tilt * (rng.uniform(0.2, 1.0) if ratio > 1 else 1.0)
        modes.append(_Mode(hz * of_mode, level, decay_s * of_mode**-damping))
    return modes


# --------------------------------------------------------------------------------------------------------------- skins


def _kick(rng: np.random.Generator, is_electronic: bool) -> dict[int, _Drum]:
    if is_electronic:
        sine = [_Mode(_between(rng, 36.0, 75.0), 1.0, _between(rng, 0.15, 2.0))]
        clicks = [_click(rng, 1000.0, 4000.0, _gain(rng, -40.0, -8.0))] if rng.random() < 0.6 else []
        drive = rng.uniform(1.0, 4.0) if rng.random() < 0.4 else 0.0
        drum = _Drum(sine, clicks, rng.uniform(0.5, 7.0), _between(rng, 0.008, 0.06), drive)
    else:
        modes = _skin(rng, _between(rng, 42.0, 105.0), _between(rng, 0.12, 1.1), tilt=rng.uniform(0.8, 3.5))
        noises = [
            _click(rng, 1200.0, 4000.0, _gain(rng, -45.0, -4.0)),
            _Noise(40.0, _between(rng, 150.0, 900.0), _gain(rng, -30.0, -8.0), _between(rng, 0.03, 0.2)),
        ]
        drum = _Drum(modes, noises, rng.uniform(0.02, 0.6), _between(rng, 0.006, 0.04))
    return {36: drum}


def _snare(rng: np.random.Generator, is_electronic: bool) -> dict[int, _Drum]:
    if is_electronic:
        hz = _between(rng, 130.0, 260.0)
        modes = [
            _Mode(hz * ratio, level, _between(rng, 0.08, 0.35))
            for ratio, level in ((1.0, 1.0), (rng.uniform(1.5, 2.0), rng.uniform(0.1, 0.9)))
        ]
        glide, drive = rng.uniform(0.1, 1.5), rng.uniform(1.0, 3.0) if rng.random() < 0.3 else 0.0
    else:
        modes = _skin(rng, _between(rng, 130.0, 330.0), _between(rng, 0.06, 0.6), tilt=rng.uniform(0.2, 2.2))
        glide, drive = rng.uniform(0.01, 0.2), 0.0
    wires = _gain(rng, -14.0, 8.0) if rng.random() > 0.08 else _gain(rng, -40.0, -25.0)
    decay_s = _between(rng, 0.07, 0.5)
    noises = [
        _Noise(
            _between(rng, 600.0, 2500.0), _between(rng, 5000.0, 14_000.0), wires, decay_s, rng.uniform(0.0, 0.003), 0.2
        ),
        _Noise(5000.0, 16_000.0, wires * _gain(rng, -20.0, 0.0), decay_s * rng.uniform(0.4, 1.0), hardening=0.5),
        _click(rng, 1500.0, 5000.0, _gain(rng, -25.0, 0.0)),
    ]
    drum = _Drum(modes, noises, glide, _between(rng, 0.006, 0.03), drive)
    rim_hz = _between(rng, 400.0, 1300.0)
    rim = [
        _Mode(rim_hz * ratio, _gain(rng, -12.0, 4.0), _between(rng, 0.06, 0.5))
        for ratio in (1.0, rng.uniform(1.4, 1.9), rng.uniform(2.1, 3.2))
    ]
    rimshot = drum.added(_click(rng, 2000.0, 5000.0, _gain(rng, -10.0, 4.0)), modes=rim)
    stick_hz = _between(rng, 350.0, 1200.0)
    stick = [
        _Mode(stick_hz * ratio, level, _between(rng, 0.03, 0.16))
        for ratio, level in ((1.0, 1.0), (rng.uniform(1.5, 2.2), rng.uniform(0.3, 1.2)), (rng.uniform(2.4, 4.0), 0.5))
    ]
    knock = [_click(rng, 1500.0, 5000.0, _gain(rng, -12.0, 3.0)), replace(noises[0], level=wires * 0.1, decay_s=0.1)]
    cross_stick = _Drum([*stick, replace(modes[0], level=rng.uniform(0.0, 0.4))], knock, loudness_db=-5.0)
    return {38: drum, 40: rimshot, 37: cross_stick}


def _toms(rng: np.random.Generator, is_electronic: bool) -> dict[int, _Drum]:
    notes = (41, 43, 45, 47, 48, 50)
    steps = itertools.accumulate(rng.uniform(1.5, 4.5, len(notes) - 1), initial=0.0)
    lowest_hz = _between(rng, 55.0, 100.0)
    decay_s, tilt = _between(rng, 0.12, 1.4), rng.uniform(0.8, 3.5)
    glide, glide_s = (
        (rng.uniform(0.2, 1.5), _between(rng, 0.02, 0.1))
        if is_electronic
        else (rng.uniform(0.01, 0.35), _between(rng, 0.01, 0.05))
    )
    click, thud = _gain(rng, -45.0, -6.0), _gain(rng, -35.0, -12.0)
    buzz = _gain(rng, -35.0, -14.0) if rng.random() < 0.3 and not is_electronic else 0.0  # wires that answer
    drums = {}
    for note, step in zip(notes, steps, strict=True):
        hz = lowest_hz * 2 ** (step / 12)
        of_note = decay_s * (lowest_hz / hz) ** 0.5
        noises = [_click(rng, 700.0, 4000.0, click)]
        if not is_electronic:
            noises.append(_Noise(60.0, hz * rng.uniform(3.0, 8.0), thud, 0.5 * of_note))
        if buzz:
            noises.append(_Noise(1500.0, 9000.0, buzz, _between(rng, 0.1, 0.5), 0.005))
        modes = _skin(rng, hz, of_note, tilt=tilt, n=2 if is_electronic else len(_MEMBRANE))
        drums[note] = _Drum(modes, noises, glide, glide_s)
    return drums


# --------------------------------------------------------------------------------------------------------------- metal


@dataclass(frozen=True, slots=True)
class _Metal:
    """A cymbal's alloy, hammering and size: which modes it has, and how its spectrum falls to both sides.

    Attributes
    ----------
    modes_hz : tuple of float
    centre_hz, width : float
        Of the spectrum, the width in octaves.
    damping : float
        Power of the frequency by which high modes decay faster.
    noise : float
        Level of what is too dense to be modes.
    """

    modes_hz: tuple[float, ...]
    centre_hz: float
    width: float
    damping: float
    noise: float

    def struck(self, rng: np.random.Generator, decay_s: float, *, rise_s: float = 0.0, low_hz: float = 0.0) -> _Drum:
        """The metal while it decays for `decay_s` at 3 kHz; without the modes below `low_hz`."""
        modes = [
            _Mode(hz, self._level(hz) * rng.uniform(0.1, 1.0), self._decay_s(hz, decay_s))
            for hz in self.modes_hz
            if hz >= low_hz
        ]
        loudness = math.sqrt(sum(mode.level**2 for mode in modes) / 2 + 1e-9)
        edges = [max(low_hz, self.modes_hz[0] / 1.5) * 2 ** (step * 0.9) for step in range(8)]
        noises = []
        for low, high in itertools.pairwise(edge for edge in edges if edge < 17_000.0):
            middle = math.sqrt(low * high)
            level = self.noise * loudness * self._level(middle) * _gain(rng, -4.0, 4.0)
            noises.append(
                _Noise(low, high, level, self._decay_s(middle, decay_s), rise_s * rng.uniform(0.3, 1.0), 0.15)
            )
        return _Drum(modes, noises)

    def _level(self, hz: float) -> float:
        return float(math.exp(-0.5 * (math.log2(hz / self.centre_hz) / self.width) ** 2))

    def _decay_s(self, hz: float, decay_s: float) -> float:
        return float(max(0.015, decay_s * (hz / 3000.0) ** -self.damping))


def _metal(
    rng: np.random.Generator,
    is_electronic: bool,
    *,
    lowest_hz: tuple[float, float],
    centre_hz: tuple[float, float],
    noise_db: tuple[float, float] = (-12.0, 10.0),
) -> _Metal:
    """Draw metal; `noise_db` is the level of what is too dense to be modes, where it is not electronic."""
    lowest = _between(rng, *lowest_hz)
    if is_electronic:
        # Six squares, as of the analog drum machines, or the partials of a ring modulator.
        squares = [lowest * ratio for ratio in (1.0, *np.sort(rng.uniform(1.1, 4.0, 5)))]
        modes_hz = sorted(hz * n for hz in squares for n in (1, 3, 5, 7, 9, 11, 13) if hz * n < 16_000.0)
    else:
        modes_hz = sorted(_between(rng, lowest, 15_000.0) for _ in range(int(rng.integers(15, 60))))
    return _Metal(
        tuple(modes_hz),
        _between(rng, *centre_hz),
        rng.uniform(0.7, 1.8),
        rng.uniform(0.0, 0.8),
        _gain(rng, *noise_db) if not is_electronic else _gain(rng, -25.0, 0.0),
    )


def _hihat(rng: np.random.Generator, is_electronic: bool) -> dict[int, _Drum]:
    metal = _metal(rng, is_electronic, lowest_hz=(350.0, 2500.0), centre_hz=(3500.0, 11_000.0))
    closed_s, half_s, open_s = _between(rng, 0.03, 0.2), _between(rng, 0.15, 0.5), _between(rng, 0.35, 2.2)
    low_hz = _between(rng, 300.0, 4000.0)
    closed, edge, half, opened = (
        metal.struck(rng, decay_s, low_hz=low_hz)
        for decay_s in (closed_s, closed_s * rng.uniform(1.0, 2.0), half_s, open_s)
    )
    stick = _click(rng, 2500.0, 6000.0, _gain(rng, -20.0, 0.0))
    with_stick = {
        note: drum.added(replace(stick, level=stick.level * _loudness(drum)))
        for note, drum in ((42, closed), (22, edge), (26, half), (46, opened))
    }
    pedal = metal.struck(rng, closed_s * rng.uniform(0.6, 1.8), rise_s=rng.uniform(0.001, 0.008))
    thump = _Noise(150.0, 1500.0, _loudness(pedal) * _gain(rng, -20.0, 0.0), _between(rng, 0.02, 0.08))
    return with_stick | {44: pedal.added(thump, loudness_db=-6.0)}


def _crash(rng: np.random.Generator, is_electronic: bool) -> dict[int, _Drum]:
    drums = {}
    for note, low_s, high_s, lowest_hz, loudness_db in (
        (49, 0.8, 4.0, (220.0, 600.0), 0.0),
        (57, 0.8, 4.0, (250.0, 700.0), 0.0),
        (55, 0.25, 1.0, (500.0, 1200.0), -3.0),
        (52, 0.4, 2.0, (250.0, 600.0), 0.0),
    ):
        # A crash is a wash: what rings or clicks in it is a ride to the ear.
        metal = _metal(
            rng,
            is_electronic,
            lowest_hz=lowest_hz,
            centre_hz=(1500.0 if note == 52 else 2500.0, 8000.0),
            noise_db=(0.0, 16.0),
        )
        drum = metal.struck(rng, _between(rng, low_s, high_s), rise_s=_between(rng, 0.0005, 0.015))
        stick = _click(rng, 1500.0, 5000.0, _loudness(drum) * _gain(rng, -20.0, 0.0))
        drums[note] = drum.added(stick, loudness_db=loudness_db)
    return drums


def _ride(rng: np.random.Generator, is_electronic: bool) -> dict[int, _Drum]:
    metal = _metal(rng, is_electronic, lowest_hz=(250.0, 700.0), centre_hz=(2500.0, 8000.0))
    decay_s, ping_s = _between(rng, 0.7, 3.5), _between(rng, 0.12, 1.2)
    drums = {}
    for note, of_note in ((51, 1.0), (59, rng.uniform(0.9, 1.15))):
        wash = metal.struck(rng, decay_s, rise_s=rng.uniform(0.0, 0.02))
        strength = _loudness(wash) * _gain(rng, 5.0, 20.0)
        pings = [
            _Mode(
                _between(rng, 1800.0, 9000.0) * of_note, strength * rng.uniform(0.2, 1.0), ping_s * rng.uniform(0.5, 1)
            )
            for _ in range(int(rng.integers(3, 9)))
        ]
        stick = _click(rng, 2500.0, 7000.0, strength * _gain(rng, -8.0, 8.0))
        drums[note] = wash.added(stick, modes=pings)
    wash = metal.struck(rng, decay_s)
    strength, bell_hz = _loudness(wash) * _gain(rng, 6.0, 24.0), _between(rng, 450.0, 1400.0)
    bell_s = _between(rng, 0.25, 2.0)
    bell = [
        _Mode(bell_hz * ratio, strength * rng.uniform(0.3, 1.0), bell_s * ratio**-0.5)
        for ratio in (1.0, *np.cumprod(rng.uniform(1.15, 1.9, 4)))
    ]
    stick = _click(rng, 2000.0, 6000.0, strength * _gain(rng, -10.0, 3.0))
    drums[53] = wash.added(stick, modes=bell, loudness_db=2.0)
    return drums


def _loudness(drum: _Drum) -> float:
    """Level of all modes and noises together, as they begin."""
    return math.sqrt(sum(mode.level**2 / 2 for mode in drum.modes) + sum(noise.level**2 for noise in drum.noises))


_RECIPES: dict[str, Callable[[np.random.Generator, bool], dict[int, _Drum]]] = {
    "kick": _kick,
    "snare": _snare,
    "hihat": _hihat,
    "toms": _toms,
    "crash": _crash,
    "ride": _ride,
}
