"""A bass of many builds: plucked strings, slapped ones, and synthesizers.

The attack of a bass is what a model mistakes for a kick: a finger's noise, a thump of the body, a pitch that falls. The
few SoundFonts have eight basses each. This one has another build in each recording.

References
----------
Fletcher & Rossing, "The Physics of Musical Instruments", 1998, chapter 2: a plucked string, its spectrum by the place
of the pluck, its decay by frequency.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from drum_crnn.band.noise import in_band, white_noise
from drum_crnn.band.players import Part, Tone

__all__ = ["play_bass"]

FloatArray = NDArray[np.float64]

_HIGHEST_HZ = 5000.0
_LONGEST_S = 3.0
_RELEASE_S = 0.04


@dataclass(frozen=True, slots=True)
class _Build:
    """How a bass sounds.

    Attributes
    ----------
    tilt : float
        Power of a harmonic's number by which its level falls.
    place : float
        Of the pluck, as a share of the string.
    decay_s, damping : float
        Time until the first harmonic has fallen by 60 dB, and the power of the number by which others fall faster.
    glide, glide_s : float
        By which share the pitch is higher in the beginning, and the time constant.
    noise_hz : tuple of float
        Band of the attack's noise.
    noise_s : float
        Time until it has fallen by 60 dB.
    thump : float
        Share of low noise in the attack.
    drive : float
        Gain before a soft limiter; 0 for none.
    """

    tilt: float
    place: float
    decay_s: float
    damping: float
    glide: float
    glide_s: float
    noise_hz: tuple[float, float]
    noise_s: float
    thump: float
    drive: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """A string in two of three cases, otherwise a synthesizer."""
        is_string = rng.random() < 0.67
        low_hz = math.exp(rng.uniform(math.log(250.0), math.log(2500.0)))
        return cls(
            tilt=rng.uniform(0.3, 1.8) if is_string else rng.uniform(0.8, 3.0),
            place=rng.uniform(0.05, 0.4),
            decay_s=math.exp(rng.uniform(math.log(0.25), math.log(3.0 if is_string else 6.0))),
            damping=rng.uniform(0.3, 1.2),
            glide=rng.uniform(0.0, 0.03) if is_string else 2.0 ** rng.uniform(-6.0, 1.0),
            glide_s=math.exp(rng.uniform(math.log(0.004), math.log(0.05))),
            noise_hz=(low_hz, low_hz * rng.uniform(2.0, 5.0)),
            noise_s=math.exp(rng.uniform(math.log(0.008), math.log(0.06))),
            thump=rng.uniform(0.0, 1.0),
            drive=rng.uniform(1.0, 6.0) if rng.random() < 0.3 else 0.0,
        )


def play_bass(
    rng: np.random.Generator, part: Part, *, attack_db: float, n_samples: int, sample_rate: int
) -> NDArray[np.float32]:
    """Play a part, float32, shape (n_samples,), of any level.

    Parameters
    ----------
    attack_db : float
        Peak of the attack's noise against that of the tone, in dB.
    """
    build = _Build.draw(rng)
    audio = np.zeros(n_samples)
    of_pitch: dict[int, FloatArray] = {}
    for tone in part.tones:
        if tone.pitch not in of_pitch:
            of_pitch[tone.pitch] = _string(rng, build, tone.pitch, sample_rate)
        sound = _held(of_pitch[tone.pitch], tone, sample_rate)
        attack = _attack(rng, build, sample_rate) * 10 ** (attack_db / 20)
        sound[: attack.size] += attack[: sound.size]
        start = round(tone.time_s * sample_rate)
        end = min(n_samples, start + sound.size)
        if end > start:
            audio[start:end] += (tone.velocity / 127) ** 2 * sound[: end - start]
    if build.drive and (peak := float(np.abs(audio).max(initial=0.0))) > 0.0:
        audio = np.tanh(audio * (build.drive / peak))
    return audio.astype(np.float32)


def _string(rng: np.random.Generator, build: _Build, pitch: int, sample_rate: int) -> FloatArray:
    """One tone as long as it sounds, with a peak of 1."""
    fundamental_hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
    time_s = np.arange(round(min(build.decay_s, _LONGEST_S) * sample_rate)) / sample_rate
    cycles = fundamental_hz * (time_s + build.glide * build.glide_s * (1.0 - np.exp(time_s / -build.glide_s)))
    tone = np.zeros(time_s.size)
    for harmonic in range(1, max(2, int(_HIGHEST_HZ / fundamental_hz))):
        n_sounding = min(time_s.size, round(build.decay_s * harmonic**-build.damping * sample_rate))
        level = abs(math.sin(math.pi * harmonic * build.place)) * harmonic**-build.tilt
        decay = np.exp(time_s[:n_sounding] * (-math.log(1000.0) * harmonic**build.damping / build.decay_s))
        phase = rng.uniform(0.0, 0.05)
        tone[:n_sounding] += level * decay * np.sin(2 * np.pi * (harmonic * cycles[:n_sounding] + phase))
    normalised: FloatArray = tone / max(float(np.abs(tone).max(initial=0.0)), 1e-9)
    return normalised


def _held(sound: FloatArray, tone: Tone, sample_rate: int) -> FloatArray:
    """The tone as long as it is held, and its release."""
    n_held, n_release = round(tone.duration_s * sample_rate), round(_RELEASE_S * sample_rate)
    held = sound[: n_held + n_release].copy()
    release = held[n_held:]
    release *= np.linspace(1.0, 0.0, n_release)[: release.size]
    return held


def _attack(rng: np.random.Generator, build: _Build, sample_rate: int) -> FloatArray:
    """The noise of a finger, a pick or a thumb, another one each time, with a peak of 1."""
    n_samples = round(build.noise_s * sample_rate)
    white = white_noise(rng, n_samples, sample_rate=sample_rate)
    bright, low = (in_band(white, *band, sample_rate=sample_rate) for band in (build.noise_hz, (40.0, 250.0)))
    noise = bright / np.abs(bright).max() + build.thump * low / np.abs(low).max()
    noise *= np.exp(np.arange(n_samples) * (-math.log(1000.0) / n_samples))
    shaped: FloatArray = noise / np.abs(noise).max()
    return shaped
