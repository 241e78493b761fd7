"""What happens to a mix before it is published: percussion, noise, a room, a mixing desk, a lossy file.

Each effect has a switch, a probability and a range in `ProductionVariation`, and is drawn once for a recording. First,
percussion, leakage and noise are added to the mix; they count as the rest when audibility is measured. Then follow
equaliser, room, comb, low and high cut, compressor, saturation, clipping, sample rate, MP3. No effect moves an onset.

Equaliser, compressor and MP3 come from `pedalboard`, which is needed only if one of them is enabled.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import scipy.fft
import scipy.signal
import soxr
from pydantic import model_validator

from drum_crnn.foundation.params import Effect, StrictModel
from drum_crnn.studio.equaliser import equalised, pedalboard
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, Sound

__all__ = ["ProductionVariation", "active_level", "add_surroundings", "produce"]

_LATER = np.float32(0.8)  # gain of the second of two channels


class ProductionVariation(StrictModel):
    """Part `production` of a variation: what happens to the mix.

    The comments of `variations.yaml` name the amounts and their units, and docs/studio.md explains the effects.
    """

    percussion: Effect
    leakage: Effect
    noise: Effect
    room: Effect
    room_decay_s: tuple[float, float]
    eq: Effect
    low_cut: Effect
    high_cut: Effect
    compressor: Effect
    saturation: Effect
    clip: Effect
    comb: Effect
    sample_rate: Effect
    mp3: Effect

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0.05 <= self.room_decay_s[0] <= self.room_decay_s[1]:
            raise ValueError("room_decay_s must be [low, high], at least 0.05 s")
        for name in ("low_cut", "high_cut"):
            low, high = getattr(self, name).range
            if not 10 <= low <= high <= 20_000:
                raise ValueError(f"{name}.range is in Hz: it must lie within [10, 20000]")
        for name, low, high in (("clip", 0, 60), ("comb", 0, 50), ("sample_rate", 4000, SAMPLE_RATE)):
            if not low <= getattr(self, name).range[0] <= getattr(self, name).range[1] <= high:
                raise ValueError(f"{name}.range must lie within [{low}, {high}]")
        if not 0 <= self.mp3.range[0] <= self.mp3.range[1] <= 9:
            raise ValueError("mp3.range must lie within [0, 9]")
        return self


def add_surroundings(
    rng: np.random.Generator, mix: FloatArray, percussion: Sequence[Sound], params: ProductionVariation, *, bpm: float
) -> FloatArray:
    """The mix with percussion, leakage and noise, shape (n_samples,).

    Parameters
    ----------
    percussion : sequence of Sound
        Sounds to choose from; none is added if there are none.
    bpm : float
        Tempo of the percussion and of the leaking instruments.
    """
    amounts = [effect.draw(rng) for effect in (params.percussion, params.leakage, params.noise)]
    streams = [np.random.default_rng(seed) for seed in rng.integers(1 << 63, size=3)]
    peak, level = float(np.abs(mix).max(initial=0.0)), active_level(mix)
    if peak == 0.0:
        return mix
    result = mix.copy()
    if amounts[0] is not None and percussion:
        result += _percussion(streams[0], percussion, mix.size, bpm=bpm) * np.float32(peak * 10 ** (amounts[0] / 20))
    if amounts[1] is not None:
        result += _leakage(streams[1], mix.size, bpm=bpm) * np.float32(level * 10 ** (amounts[1] / 20))
    if amounts[2] is not None:
        result += _noise(streams[2], mix.size) * np.float32(level * 10 ** (amounts[2] / 20))
    return result


def produce(rng: np.random.Generator, audio: FloatArray, params: ProductionVariation) -> FloatArray:
    """The audio as it is mixed and published, shape (n_samples,), of any level.

    Raises
    ------
    DrumCrnnError
        If `pedalboard` is needed and not installed.
    """
    equalise, room, low_cut, high_cut, compress, saturate, mp3 = (
        effect.draw(rng)
        for effect in (
            params.eq, params.room, params.low_cut, params.high_cut, params.compressor, params.saturation, params.mp3
        )
    )  # fmt: skip
    decay_s = rng.uniform(*params.room_decay_s)
    streams = [np.random.default_rng(seed) for seed in rng.integers(1 << 63, size=3)]
    clip, comb, sample_rate = (effect.draw(rng) for effect in (params.clip, params.comb, params.sample_rate))
    audio = _to_full_scale(audio)
    if equalise is not None:
        audio = equalised(streams[0], audio, equalise)
    if room is not None:
        audio = _in_room(streams[1], audio, room, decay_s)
    if comb is not None:
        audio = _with_echo(audio, comb)
    for kind, cutoff in (("highpass", low_cut), ("lowpass", high_cut)):
        if cutoff is not None:
            sections = scipy.signal.butter(2, cutoff, kind, fs=SAMPLE_RATE, output="sos")
            audio = scipy.signal.sosfilt(sections, audio).astype(np.float32)
    audio = _to_full_scale(audio)
    if compress is not None:
        audio = _to_full_scale(_compressed(streams[2], audio, compress))
    if saturate is not None:
        audio = np.tanh(audio * np.float32(10 ** (saturate / 20)))
    if clip is not None:
        audio = np.clip(_to_full_scale(audio) * np.float32(10 ** (clip / 20)), -1.0, 1.0)
    if sample_rate is not None:
        audio = _at_rate(audio, round(sample_rate))
    if mp3 is not None:
        # Not at full scale: the decoder would clip what coding adds to the peaks.
        audio = pedalboard().MP3Compressor(vbr_quality=mp3)(_to_full_scale(audio) * np.float32(0.7), SAMPLE_RATE)
    return audio


def _with_echo(audio: FloatArray, milliseconds: float) -> FloatArray:
    """The sum of two channels of which one is later and softer: peaks and notches, like a comb's teeth."""
    lag = round(milliseconds / 1000 * SAMPLE_RATE)
    result = audio.copy()
    result[lag:] += _LATER * audio[: max(0, audio.size - lag)]
    return result


def _at_rate(audio: FloatArray, sample_rate: int) -> FloatArray:
    """The audio as a recording of a lower sample rate has it: nothing above half of it."""
    if sample_rate == SAMPLE_RATE or not audio.size:
        return audio
    there = soxr.resample(audio, SAMPLE_RATE, sample_rate)
    back = np.zeros_like(audio)
    result = soxr.resample(there, sample_rate, SAMPLE_RATE)[: audio.size]
    back[: result.size] = result
    return back


def _to_full_scale(audio: FloatArray) -> FloatArray:
    peak = float(np.abs(audio).max(initial=0.0))
    return audio / np.float32(peak) if peak > 0 else audio


def active_level(audio: FloatArray) -> float:
    """Root mean square of the louder half of 50 ms blocks, so that pauses do not count."""
    block = SAMPLE_RATE // 20
    n_blocks = audio.size // block
    if n_blocks == 0:
        return float(np.sqrt(np.mean(np.square(audio)))) if audio.size else 0.0
    energy = np.square(audio[: n_blocks * block]).reshape(n_blocks, block).mean(axis=1)
    return float(np.sqrt(np.mean(np.sort(energy)[n_blocks // 2 :])))


def _percussion(rng: np.random.Generator, sounds: Sequence[Sound], n_samples: int, *, bpm: float) -> FloatArray:
    """One or two sounds in a steady pattern of quarters, eighths or sixteenths, or with gaps; hits of peak 1."""
    audio = np.zeros(n_samples, np.float32)
    for index in rng.choice(len(sounds), size=int(rng.integers(1, 3)), replace=True):
        step_s = 60.0 / bpm / float(rng.choice([1, 2, 2, 4]))
        while step_s < 0.09:  # hands are no faster
            step_s *= 2
        density = float(rng.choice([1.0, 1.0, 0.5, 0.2]))
        times = np.arange(rng.uniform(0.0, step_s), n_samples / SAMPLE_RATE, step_s)
        times = times[rng.random(times.size) < density]
        sample = sounds[int(index)].layers_at(100)[0].sample.audio
        peak = float(np.abs(sample).max(initial=1e-9))
        accents, hurry_s = rng.uniform(0.4, 1.0, times.size), rng.normal(0.0, 0.006, times.size)
        for time_s, accent in zip(times + hurry_s, accents, strict=True):
            start = max(0, round(time_s * SAMPLE_RATE))
            hit = sample[: max(0, n_samples - start)]
            audio[start : start + hit.size] += hit * np.float32(accent / peak)
    return audio


def _leakage(rng: np.random.Generator, n_samples: int, *, bpm: float) -> FloatArray:
    """A bass line and chords of plucked tones, a few harmonics each; level 1."""
    audio = np.zeros(n_samples + SAMPLE_RATE * 2, np.float64)
    beat_s = 60.0 / bpm
    root = int(rng.integers(28, 40))
    times = np.arange(SAMPLE_RATE * 2) / SAMPLE_RATE
    for start in np.arange(0.0, n_samples / SAMPLE_RATE, beat_s * float(rng.choice([0.5, 1.0, 2.0]))):
        degree = int(rng.choice([0, 0, 3, 5, 7, 10]))
        pitches = [root + degree, *(root + 24 + degree + step for step in (0, 4, 7) if rng.random() < 0.5)]
        decay = np.exp(-times / rng.uniform(0.2, 0.8)) * np.minimum(times / rng.uniform(0.003, 0.05), 1.0)
        tone = np.zeros(times.size)
        for pitch in pitches:
            frequency = 440.0 * 2 ** ((pitch - 69) / 12)
            for harmonic in range(1, 7):
                tone += np.sin(2 * np.pi * frequency * harmonic * times + rng.uniform(0, 6.28)) / harmonic**1.5
        first = round(start * SAMPLE_RATE)
        audio[first : first + tone.size] += tone * decay * rng.uniform(0.5, 1.0)
    leaked = audio[:n_samples]
    return (leaked / max(float(np.sqrt(np.mean(np.square(leaked)))), 1e-9)).astype(np.float32)


def _noise(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Noise that falls by 0 to 6 dB an octave, with hum in a third of the cases; level 1."""
    n_fft = scipy.fft.next_fast_len(n_samples, real=True)
    spectrum = rng.standard_normal(n_fft // 2 + 1) + 1j * rng.standard_normal(n_fft // 2 + 1)
    spectrum *= np.maximum(np.arange(spectrum.size), 1.0) ** -rng.uniform(0.0, 1.0)
    noise = scipy.fft.irfft(spectrum, n_fft)[:n_samples]
    hum, mains, strength = rng.random(), float(rng.choice([50.0, 60.0])), rng.uniform(0.3, 2.0)
    if hum < 1 / 3:
        times = np.arange(n_samples) / SAMPLE_RATE
        level = np.sqrt(np.mean(np.square(noise)))
        noise += level * strength * sum(np.sin(2 * np.pi * mains * k * times + k) / k for k in (1, 2, 3, 5))
    noise /= np.sqrt(np.mean(np.square(noise)))
    return noise.astype(np.float32)  # type: ignore[no-any-return]  # scipy has no types


def _compressed(rng: np.random.Generator, audio: FloatArray, excess_db: float) -> FloatArray:
    compressor = pedalboard().Compressor(
        threshold_db=-excess_db,
        ratio=float(rng.uniform(2, 8)),
        attack_ms=float(np.exp(rng.uniform(np.log(0.5), np.log(30)))),
        release_ms=float(np.exp(rng.uniform(np.log(40), np.log(400)))),
    )
    return np.asarray(compressor(audio, SAMPLE_RATE))


def _in_room(rng: np.random.Generator, audio: FloatArray, level_db: float, decay_s: float) -> FloatArray:
    """The audio with a room: some early reflections, then noise that decays, high frequencies faster.

    References
    ----------
    Moorer, "About this reverberation business", Computer Music Journal, 1979: decaying noise for the late part.
    """
    n = round(decay_s * SAMPLE_RATE)
    times = np.arange(n) / SAMPLE_RATE
    noise = rng.standard_normal(n)
    dull = scipy.signal.sosfilt(scipy.signal.butter(1, rng.uniform(1500, 6000), fs=SAMPLE_RATE, output="sos"), noise)
    late = 0.4 * noise * np.exp(times * (-6.9 / (0.5 * decay_s))) + dull * np.exp(times * (-6.9 / decay_s))
    late[: round(rng.uniform(0.002, 0.025) * SAMPLE_RATE)] = 0.0  # time to the walls and back
    for _ in range(6):
        late[min(n - 1, round(rng.uniform(0.001, 0.03) * SAMPLE_RATE))] += rng.normal(0.0, 4.0)
    late *= 10 ** (level_db / 20) / np.sqrt(np.square(late).sum())
    return (audio + scipy.signal.oaconvolve(audio, late)[: audio.size]).astype(np.float32)  # type: ignore[no-any-return]  # scipy has no types
