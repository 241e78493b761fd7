"""Kits: what each note sounds like at each velocity, wherever the samples come from.

A `Kit` holds one `Sound` per MIDI note, a sound holds `Layer`s for ranges of velocity, and a layer plays a `Sample`.

Conventions
-----------
- Audio is mono float32 at 44.1 kHz. Every sample begins with its attack (`trim_to_attack`), so that a label at the
  sample's first index is never early.
- The velocity decides which layers play, and the gain of one curve by which the sampler multiplies every layer. Sounds
  with several ranges of velocity are therefore *levelled* (`level_velocities`): their ranges differ only in timbre.
  Loudness follows the curve alone, without a jump where one range ends.
- Layers that match the same velocity sound together: SoundFonts stack samples so.
"""

import hashlib
import io
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES

__all__ = [
    "SAMPLE_RATE",
    "FloatArray",
    "Kit",
    "Layer",
    "Sample",
    "Sound",
    "energy_of",
    "finish_one_shot",
    "kit_table_rows",
    "level_velocities",
    "read_one_shot",
    "resample",
    "substitute",
    "trim_to_attack",
    "without_notes",
    "without_samples",
]

FloatArray = NDArray[np.float32]

SAMPLE_RATE = 44_100

# A one-shot ends where it has decayed by 60 dB, or after this time: cymbals ring for half a minute.
_MAX_SECONDS = 10.0
_SILENCE = 10 ** (-60 / 20)

# Notes of the same lane that replace a note the kit lacks, most similar first. Lanes hold several instruments (splash
# and china are crashes), so the numbers of the notes do not tell how similar they are.
_SUBSTITUTES: dict[int, tuple[int, ...]] = {
    35: (36,),
    36: (35,),
    37: (40, 38),
    38: (40, 37),
    40: (38, 37),
    42: (22, 44, 26, 46),
    22: (42, 44, 26, 46),
    44: (42, 22, 26, 46),
    46: (26, 42, 22, 44),
    26: (46, 42, 22, 44),
    48: (50,),
    50: (48,),
    45: (47,),
    47: (45,),
    41: (43, 58),
    43: (41, 58),
    58: (43, 41),
    49: (57, 55, 52),
    57: (49, 55, 52),
    52: (57, 49, 55),
    55: (57, 49, 52),
    51: (59, 53),
    59: (51, 53),
    53: (51, 59),
}


@dataclass(frozen=True, eq=False)
class Sample:
    """One recorded hit.

    Attributes
    ----------
    name : str
        Its name in the source.
    audio : float32 array, shape (n_samples,)
        Mono, 44.1 kHz, attack at index 0.
    sha256 : str
        Checksum of the sample's bytes as the source stores them: equal in all kits that share the sample.
    source : str
        The file it came from, relative to the kit's source.
    licence : str
        What the source says about its use, or "not stated".
    """

    name: str
    audio: FloatArray
    sha256: str
    source: str
    licence: str


@dataclass(frozen=True, eq=False)
class Layer:
    """A sample that sounds for velocities `velocity_low`–`velocity_high` (inclusive, 1–127) at the linear `gain`."""

    sample: Sample
    velocity_low: int
    velocity_high: int
    gain: float


@dataclass(frozen=True, eq=False)
class Sound:
    """What a kit plays for one MIDI note."""

    note: int
    layers: tuple[Layer, ...]

    def layers_at(self, velocity: int) -> tuple[Layer, ...]:
        """The layers that sound together at `velocity`; in a gap between ranges, those of the nearest range."""
        distances = [max(layer.velocity_low - velocity, velocity - layer.velocity_high, 0) for layer in self.layers]
        nearest = min(distances)
        return tuple(layer for layer, distance in zip(self.layers, distances, strict=True) if distance == nearest)


@dataclass(frozen=True, eq=False)
class Kit:
    """A drum kit, named FAMILY/PRESET: "TimGM6mb/Standard", "hydrogen/GMRockKit".

    Attributes
    ----------
    sounds : mapping of note to Sound
        Sounds of the lanes.
    percussion : tuple of Sound
        Sounds of no lane: tambourine, shaker, congas. Their notes only tell them apart.
    """

    name: str
    sounds: Mapping[int, Sound]
    percussion: tuple[Sound, ...] = ()

    @property
    def family(self) -> str:
        """The part of the name before the slash: kits of one family come from one source."""
        return self.name.split("/", 1)[0]


def substitute(kit: Kit, note: int) -> int | None:
    """The note of `kit` that plays `note`: itself, or the most similar one of its lane; None if the lane is missing.

    The order: the twin drum or articulation first (35 and 36, 49 and 57), then others of the lane. Hi-hat edge notes
    fall back on their own opening (22 on 42, 26 on 46), a pedal on a closed hat; a splash or china on a crash; a bell
    on the ride. Notes of no lane give None.
    """
    if note not in LANE_OF_NOTE:
        return None
    return next((candidate for candidate in (note, *_SUBSTITUTES[note]) if candidate in kit.sounds), None)


def without_notes(kit: Kit, notes: Collection[int]) -> Kit:
    """The kit without the sounds of `notes`."""
    return replace(kit, sounds={note: sound for note, sound in kit.sounds.items() if note not in notes})


def without_samples(kit: Kit, sha256s: Collection[str]) -> Kit:
    """The kit without the layers whose sample is among `sha256s`; sounds left with no layers disappear.

    Where a stack loses a sample, the rest of the stack is removed too if it has less than a quarter of the stack's
    energy: the noise of a beater alone is no kick drum.
    """
    sounds = {note: left for note, sound in kit.sounds.items() if (left := _without(sound, sha256s)) is not None}
    percussion = tuple(left for sound in kit.percussion if (left := _without(sound, sha256s)) is not None)
    return replace(kit, sounds=sounds, percussion=percussion)


def _without(sound: Sound, sha256s: Collection[str]) -> Sound | None:
    kept = tuple(layer for layer in sound.layers if layer.sample.sha256 not in sha256s)
    kept = tuple(layer for layer in kept if _carries(layer, sound, kept))
    return replace(sound, layers=kept) if kept else None


def _carries(layer: Layer, sound: Sound, kept: Sequence[Layer]) -> bool:
    velocity = (layer.velocity_low + layer.velocity_high) // 2
    stack = sound.layers_at(velocity)
    remaining = sum(energy_of(other) for other in stack if other in kept)
    return remaining >= 0.25 * sum(energy_of(other) for other in stack)


def kit_table_rows(kit: Kit) -> list[dict[str, Any]]:
    """One row per note and layer: kit, note, lane, velocity_low, velocity_high, sample, sha256, source, licence.

    Percussion comes last; its lane is empty.
    """
    return [
        {
            "kit": kit.name,
            "note": note,
            "lane": LANES[LANE_OF_NOTE[note]] if sound is kit.sounds.get(note) else "",
            "velocity_low": layer.velocity_low,
            "velocity_high": layer.velocity_high,
            "sample": layer.sample.name,
            "sha256": layer.sample.sha256,
            "source": layer.sample.source,
            "licence": layer.sample.licence,
        }
        for note, sound in (*sorted(kit.sounds.items()), *((sound.note, sound) for sound in kit.percussion))
        for layer in sound.layers
    ]


def level_velocities(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Make the ranges of velocity equally loud, so that only the sampler's velocity curve sets the loudness.

    The stack of the highest range keeps its level. All others are scaled to the same level, by 24 dB at most; layers
    that span several ranges are split. Otherwise soft layers would be attenuated twice, by the player's soft stroke
    and by the curve, and loudness would jump where one range ends.
    """
    edges = sorted({layer.velocity_low for layer in layers} | {layer.velocity_high + 1 for layer in layers})
    stacks = []
    for low, end in itertools.pairwise(edges):
        stack = [layer for layer in layers if layer.velocity_low <= low <= layer.velocity_high]
        if stack:
            stacks.append([replace(layer, velocity_low=low, velocity_high=end - 1) for layer in stack])
    if len(stacks) <= 1:
        return tuple(layers)
    levels = [float(np.sqrt(sum(energy_of(layer) for layer in stack))) for stack in stacks]
    return tuple(
        replace(layer, gain=layer.gain * float(np.clip(levels[-1] / max(level, 1e-9), 1 / 16, 16)))
        for stack, level in zip(stacks, levels, strict=True)
        for layer in stack
    )


def energy_of(layer: Layer) -> float:
    """Energy of the first 0.1 s, which measures the loudness of a hit."""
    start = layer.sample.audio[: SAMPLE_RATE // 10]
    return layer.gain**2 * float(np.dot(start, start))


def resample(audio: FloatArray, *, sample_rate: float) -> FloatArray:
    """Resample mono audio to 44.1 kHz with a linear-phase filter, without delay.

    A `sample_rate` above the true one raises the pitch: an octave for twice the rate.
    """
    if sample_rate == SAMPLE_RATE or not audio.size:
        return audio
    result: FloatArray = soxr.resample(audio, sample_rate, SAMPLE_RATE, quality="HQ").astype(np.float32, copy=False)
    return result


def read_one_shot(path: Path, *, source: str, licence: str, semitones: float = 0.0) -> Sample | None:
    """Read a hit from an audio file: channels averaged, at 44.1 kHz, shifted by `semitones`, from its attack on.

    Returns
    -------
    Sample or None
        None if the file holds only silence. Its sha256 is that of the whole file.

    Raises
    ------
    DrumCrnnError
        If the file is missing or is not an audio file.
    """
    try:
        content = path.read_bytes()
        channels, sample_rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file, though the kit names it; install the kit again") from None
    except OSError as error:
        raise refused_error(path, error) from None
    except soundfile.LibsndfileError as error:
        raise DrumCrnnError(f"{path}: is not a readable audio file ({error}); install the kit again") from None
    if not np.isfinite(channels).all():
        raise DrumCrnnError(f"{path}: holds samples that are not numbers; export it again")
    mono = channels.mean(axis=1, dtype=np.float32)
    audio = finish_one_shot(resample(mono, sample_rate=sample_rate * 2 ** (semitones / 12)))
    return Sample(path.name, audio, hashlib.sha256(content).hexdigest(), source, licence) if audio.size else None


def finish_one_shot(audio: FloatArray) -> FloatArray:
    """Cut a hit out of a recording at 44.1 kHz: from its attack until it has decayed by 60 dB, 10 s at most.

    The end is faded over 10 ms. An array of length 0 means silence.
    """
    audio = trim_to_attack(audio)
    loud = np.flatnonzero(np.abs(audio) >= _SILENCE * np.abs(audio).max(initial=0.0))
    if not loud.size or not audio.any():
        return np.zeros(0, dtype=np.float32)
    n_fade = SAMPLE_RATE // 100
    audio = audio[: min(loud[-1] + n_fade, round(_MAX_SECONDS * SAMPLE_RATE))].copy()
    n_fade = min(n_fade, audio.size // 2)
    audio[audio.size - n_fade :] *= np.linspace(1.0, 0.0, n_fade, dtype=np.float32)
    return audio


def trim_to_attack(audio: FloatArray, *, threshold_db: float = -12.0, margin_s: float = 0.0005) -> FloatArray:
    """Cut off what precedes the attack of a one-shot: silence, tape noise, the sound of a pedal.

    The hit is the 100 ms after the recording first comes within 20 dB of its peak. Its attack is searched backwards
    from the first sample within 10 dB of the hit's peak: it begins after the last pause of 3 ms during which the
    signal stays under `threshold_db` of the hit's peak, or under twice the noise before the hit. The threshold is
    this high because many recordings have a precursor, 15 to 20 dB softer and up to 10 ms early. Listeners and
    detectors place an onset where the energy rises most.

    Parameters
    ----------
    audio : float32 array, shape (n_samples,)
        Mono, 44.1 kHz.
    threshold_db : float
        Relative to the hit's peak; at most -10.
    margin_s : float
        Kept before the attack, and faded in, to avoid a click.

    Returns
    -------
    float32 array
        Begins `margin_s` before the attack; empty if `audio` is silent.
    """
    magnitude = np.abs(audio)
    peak = float(magnitude.max(initial=0.0))
    if peak == 0.0:
        return np.zeros(0, dtype=np.float32)
    first = int(np.argmax(magnitude >= 0.1 * peak))
    hit_peak = float(magnitude[first : first + SAMPLE_RATE // 10].max())
    certain = first + int(np.argmax(magnitude[first:] >= 10 ** (-10 / 20) * hit_peak))

    threshold = max(10 ** (threshold_db / 20) * hit_peak, 2 * _noise_peak(magnitude[:first]))
    threshold = min(threshold, float(magnitude[certain]))
    crossings = np.flatnonzero(magnitude[: certain + 1] >= threshold)
    pause = round(0.003 * SAMPLE_RATE)
    after_pause = np.flatnonzero(np.diff(crossings, prepend=-pause - 1) > pause)
    attack = int(crossings[after_pause[-1]])

    n_margin = min(round(margin_s * SAMPLE_RATE), attack)
    trimmed = audio[attack - n_margin :].astype(np.float32)
    trimmed[:n_margin] *= np.linspace(0.0, 1.0, n_margin, endpoint=False, dtype=np.float32)
    return trimmed


def _noise_peak(magnitude: FloatArray) -> float:
    """Level of the noise before a hit: the median of the peaks of 5 ms blocks, 0 for less than two blocks."""
    block = SAMPLE_RATE // 200
    n_blocks = magnitude.size // block
    if n_blocks < 2:
        return 0.0
    return float(np.median(magnitude[: n_blocks * block].reshape(n_blocks, block).max(axis=1)))
