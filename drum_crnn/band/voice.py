"""A singer: vowels with formants, and the consonants before them.

Of all that plays in a song, sibilants are nearest to hi-hats, and plosives to kicks and snares. SoundFonts have none:
their choirs sing "aah". So the voice is made of its parts, a pulse in the throat and resonances of the mouth.

References
----------
Fant, "Acoustic Theory of Speech Production", 1960 (source and filter); Peterson & Barney, "Control methods used in a
study of the vowels", JASA 1952 (formants).
"""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from drum_crnn.band.players import Part, Tone

__all__ = ["sing"]

FloatArray = NDArray[np.float64]

# The three lowest formants in Hz, of men.
_VOWELS = (
    (730.0, 1090.0, 2440.0),
    (530.0, 1840.0, 2480.0),
    (270.0, 2290.0, 3010.0),
    (570.0, 840.0, 2410.0),
    (300.0, 870.0, 2240.0),
)
_STRENGTHS = (1.0, 0.5, 0.25)
_LONGEST_S = 4.0
_SIBILANT, _PLOSIVE = 0.45, 0.2  # probabilities before a vowel


def sing(rng: np.random.Generator, part: Part, *, n_samples: int, sample_rate: int) -> NDArray[np.float32]:
    """Sing a part, float32, shape (n_samples,), of any level. Vowels begin at the times of the tones."""
    audio = np.zeros(n_samples)
    size = rng.uniform(1.0, 1.25)  # of formants: large heads have low ones
    sharpness = rng.uniform(0.3, 1.5)
    previous: Tone | None = None
    for tone in part.tones:
        start = round(tone.time_s * sample_rate)
        loudness = (tone.velocity / 127) ** 2
        vowel = _vowel(rng, tone, previous, size=size, sample_rate=sample_rate)
        _add(audio, start, loudness * vowel)
        chance = rng.random()
        if chance < _SIBILANT + _PLOSIVE:
            level = loudness * sharpness * np.sqrt(np.square(vowel).mean())
            consonant = _sibilant(rng, sample_rate) if chance < _SIBILANT else _plosive(rng, sample_rate)
            _add(audio, start - consonant.size, level * consonant)
        previous = tone
    return audio.astype(np.float32)


def _vowel(rng: np.random.Generator, tone: Tone, previous: Tone | None, *, size: float, sample_rate: int) -> FloatArray:
    """A sung vowel: a falling spectrum of harmonics with a vibrato, through resonances."""
    seconds = min(tone.duration_s, _LONGEST_S)
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = tone.pitch + 0.15 * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * time_s) * np.minimum(1.0, time_s / 0.4)
    if previous is not None:
        pitch = pitch + (previous.pitch - tone.pitch) * np.exp(-time_s / 0.03)
    phase = np.cumsum(440.0 * 2.0 ** ((pitch - 69.0) / 12.0)) / sample_rate
    throat = 1.0 - 2.0 * (phase % 1.0) + 0.05 * rng.standard_normal(time_s.size)
    throat = scipy.signal.lfilter([0.15], [1.0, -0.85], throat)
    vowel = np.zeros(time_s.size)
    for formant_hz, strength in zip(_VOWELS[int(rng.integers(len(_VOWELS)))], _STRENGTHS, strict=True):
        numerator, denominator = scipy.signal.iirpeak(size * formant_hz, Q=formant_hz / 100.0, fs=sample_rate)
        vowel += strength * scipy.signal.lfilter(numerator, denominator, throat)
    rise_s, fall_s = min(0.04, seconds / 4), min(0.08, seconds / 4)
    shaped: FloatArray = vowel * np.minimum(1.0, time_s / rise_s) * np.minimum(1.0, (seconds - time_s) / fall_s)
    return shaped


def _sibilant(rng: np.random.Generator, sample_rate: int) -> FloatArray:
    """Noise of the teeth, as in "s" or "sh", of level 1 at its height."""
    noise = rng.standard_normal(round(rng.uniform(0.05, 0.16) * sample_rate))
    low, high = rng.uniform(2500.0, 6000.0), rng.uniform(8000.0, 14_000.0)
    sections = scipy.signal.butter(2, (low, high), "bandpass", fs=sample_rate, output="sos")
    hiss = scipy.signal.sosfilt(sections, noise)
    hiss /= np.sqrt(np.square(hiss).mean())
    shaped: FloatArray = hiss * np.sin(np.linspace(0.0, np.pi, noise.size)) ** rng.uniform(0.3, 1.0)
    return shaped


def _plosive(rng: np.random.Generator, sample_rate: int) -> FloatArray:
    """A burst, as in "t", "k" or "p", and a short breath after it."""
    n_samples = round(rng.uniform(0.02, 0.05) * sample_rate)
    decay = np.exp(-np.arange(n_samples) / (rng.uniform(0.003, 0.012) * sample_rate))
    noise = scipy.signal.lfilter([1.0, -rng.uniform(-0.6, 0.9)], [1.0], rng.standard_normal(n_samples))
    burst: FloatArray = 3.0 * noise * decay
    return burst


def _add(audio: FloatArray, start: int, sound: FloatArray) -> None:
    """Add a sound to the audio; what is before its beginning or after its end is left out."""
    first, last = max(0, start), min(audio.size, start + sound.size)
    if first < last:
        audio[first:last] += sound[first - start : last - start]
