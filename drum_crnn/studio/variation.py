"""Varied kits: drums of several kits, or synthesized, each with a changed loudness, pitch, colour and decay.

A kit of samples is one drum kit, in one room, on one day. A *varied* kit may have each of its pieces (kick, snare,
hi-hat, toms, crashes, ride) from another kit. It changes the sound of each piece, once for a recording. Further changes
differ from hit to hit, since nobody strikes the same place twice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from pydantic import Field, model_validator

from drum_crnn.foundation.params import Effect, StrictModel
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, TOM_LANES
from drum_crnn.studio.equaliser import equalised
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, Kit, Layer, Sample, Sound, energy_of, resample, substitute
from drum_crnn.studio.sampler import Manner
from drum_crnn.studio.synthesis import synthesize_piece

__all__ = ["PIECES", "KitVariation", "PieceShape", "VariedManner", "has_piece", "vary_kit"]

# The toms of a kit stay together, or a low one might be higher than a high one; so do crash, splash and china.
PIECES: tuple[str, ...] = ("kick", "snare", "hihat", "toms", "crash", "ride")
_PIECE_OF_NOTE = {note: "toms" if LANES[lane].endswith("_tom") else LANES[lane] for note, lane in LANE_OF_NOTE.items()}
# Modes of an ideal circular membrane, as multiples of the lowest: zeros of Bessel functions over the first (2.405).
_MODES = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918)
_GATED = ("snare", "toms")  # the pieces that may get a gated reverb
_SKINS = ("kick", "snare", "toms")
_DULL_HZ = 1500.0


class KitVariation(StrictModel):
    """Part `kit` of a variation: other drums.

    `probability` is the share of recordings whose kit is varied at all; those of the effects apply to these. The
    comments of `variations.yaml` name the amounts and their units, and docs/studio.md explains the effects.
    """

    enabled: bool
    probability: float = Field(ge=0, le=1)
    mix_kits: Effect
    synthesized: Effect
    one_tom: Effect
    gain: Effect
    blend: Effect
    eq: Effect
    pitch: Effect
    tom_pitch: Effect
    decay_s: Effect
    ring: Effect
    gated_reverb: Effect
    dull: Effect
    boom: Effect
    brush: Effect
    velocity_power: Effect
    hit_gain: Effect
    hit_layer: Effect

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, low, high in (
            ("mix_kits", 0, 1),
            ("synthesized", 0, 1),
            ("one_tom", 0, 1),
            ("eq", 0, 24),
            ("pitch", -24, 24),
            ("tom_pitch", -24, 24),
            ("decay_s", 0.02, math.inf),
            ("dull", 0, 80),
            ("velocity_power", 0.1, 10),
            ("hit_gain", 0, 40),
            ("hit_layer", 0, 127),
        ):
            if not low <= getattr(self, name).range[0] <= getattr(self, name).range[1] <= high:
                raise ValueError(f"{name}.range must lie within [{low}, {high}]")
        return self


@dataclass(frozen=True, slots=True)
class PieceShape:
    """How one piece of a varied kit sounds; None where nothing is changed."""

    gain_db: float = 0.0
    eq_db: float | None = None
    semitones: float | None = None
    decay_s: float | None = None
    ring_db: float | None = None
    gated_reverb_db: float | None = None
    dull_db: float | None = None
    boom_db: float | None = None
    brush_db: float | None = None
    seed: int = 0  # of equaliser, ring, reverb, boom and brush

    def __call__(self, hit: FloatArray) -> FloatArray:
        """Change one hit, shape (n_samples,); its attack stays at index 0."""
        if self.semitones is not None:
            hit = resample(hit, sample_rate=SAMPLE_RATE * 2 ** (self.semitones / 12))
        if self.eq_db is not None:
            hit = equalised(np.random.default_rng([self.seed, 0]), hit, self.eq_db)
        if self.dull_db is not None:
            hit = _dulled(hit, self.dull_db)
        if self.decay_s is not None:
            hit = hit * np.exp(np.arange(hit.size) * (-np.log(1000.0) / (self.decay_s * SAMPLE_RATE)))
        if self.ring_db is not None:
            hit = _with_ring(np.random.default_rng([self.seed, 2]), hit, self.ring_db)
        if self.gated_reverb_db is not None:
            hit = _with_gated_reverb(np.random.default_rng([self.seed, 1]), hit, self.gated_reverb_db)
        if self.boom_db is not None:
            hit = _with_boom(np.random.default_rng([self.seed, 3]), hit, self.boom_db)
        if self.brush_db is not None:
            hit = _with_brush(np.random.default_rng([self.seed, 4]), hit, self.brush_db)
        return np.asarray(hit * 10 ** (self.gain_db / 20), dtype=np.float32)


@dataclass
class VariedManner(Manner):
    """How a varied kit is played; made for one recording."""

    shapes: Mapping[str, PieceShape]
    power: float
    hit_gain_db: float
    hit_layer: float
    rng: np.random.Generator
    _shaped: dict[tuple[str, int], FloatArray] = field(default_factory=dict)

    def strike(self, sound: Sound, velocity: int) -> tuple[tuple[Layer, ...], float]:
        """Layers and loudness of a hit: velocity to the power, a little different each time."""
        gain, layer = self.rng.uniform(-1.0, 1.0, 2)
        of_layer = int(np.clip(round(velocity + layer * self.hit_layer), 1, 127))
        return sound.layers_at(of_layer), (velocity / 127) ** self.power * 10 ** (gain * self.hit_gain_db / 20)

    def audio(self, note: int, sample: Sample) -> FloatArray:
        """The sample as the piece of `note` sounds; computed when it is first played."""
        piece = _PIECE_OF_NOTE.get(note, "")
        if piece not in self.shapes:
            return sample.audio
        key = piece, id(sample)
        if key not in self._shaped:
            self._shaped[key] = self.shapes[piece](sample.audio)
        return self._shaped[key]


def vary_kit(
    rng: np.random.Generator, main: Kit, others: Sequence[Kit], seconds: Sequence[Kit], params: KitVariation
) -> tuple[Kit, VariedManner | None]:
    """Draw a varied kit.

    Parameters
    ----------
    main : Kit
        The kit that gives the name, and the pieces that do not come from others.
    others : sequence of Kit
        One for each of `PIECES`: the kit of a piece that is not the main kit's own.
    seconds : sequence of Kit
        One for each of `PIECES`: the kit whose piece is struck together with it, if any.

    Returns
    -------
    Kit
        Pieces of other kits are as loud as the main kit's own: levels differ between makers of samples.
    VariedManner or None
        How to play it; None if the kit is unchanged. Both cases draw equally many numbers from `rng`.
    """
    acts = rng.random() < params.probability and params.enabled
    probability = params.mix_kits.draw(rng) or 0.0
    sounds: dict[int, Sound] = {}
    shapes = {}
    for piece, other, second in zip(PIECES, others, seconds, strict=True):
        own, theirs = _piece(main, piece), _piece(other, piece)
        is_foreign = rng.random() < probability
        chosen = theirs if theirs and (is_foreign or not own) else own
        pitch = (params.tom_pitch if piece == "toms" else params.pitch).draw(rng)
        gain, blend, eq, decay, ring, gate = (
            effect.draw(rng)
            for effect in (params.gain, params.blend, params.eq, params.decay_s, params.ring, params.gated_reverb)
        )
        seed = int(rng.integers(1 << 31))
        # From a stream of their own, since the effects above are older: recordings keep what they had.
        extra = np.random.default_rng([seed, 5])
        dull, boom, synthesized = (effect.draw(extra) for effect in (params.dull, params.boom, params.synthesized))
        if extra.random() < (synthesized or 0.0) and acts:
            chosen = synthesize_piece(np.random.default_rng([seed, 6]), piece)
        level_db = _level_db(own) - _level_db(chosen) if own and chosen else 0.0
        if blend is not None and chosen and (added := _piece(second, piece)):
            chosen = _blended(chosen, added, blend)
        shapes[piece] = PieceShape(
            gain_db=level_db + (gain or 0.0),
            eq_db=eq,
            semitones=pitch,
            decay_s=decay,
            ring_db=ring if piece == "snare" else None,
            gated_reverb_db=gate if piece in _GATED else None,
            dull_db=dull if piece in _SKINS else None,
            boom_db=boom if piece == "kick" else None,
            seed=seed,
        )
        sounds.update(chosen)
    sounds.update(_one_tom_a_lane(rng, sounds, params.one_tom.draw(rng) or 0.0))
    power = params.velocity_power.draw(rng) or 2.0
    hit_gain, hit_layer = params.hit_gain.draw(rng) or 0.0, params.hit_layer.draw(rng) or 0.0
    seed = int(rng.integers(1 << 63))
    if not acts:
        return main, None
    if (brush := params.brush.draw(np.random.default_rng([seed, 1]))) is not None:  # a drummer has two of them, or none
        shapes |= {piece: replace(shape, brush_db=brush) for piece, shape in shapes.items() if piece != "kick"}
    manner = VariedManner(shapes, power, hit_gain, hit_layer, np.random.default_rng(seed))
    return Kit(main.name, dict(sorted(sounds.items()))), manner


def has_piece(kit: Kit, piece: str) -> bool:
    """Whether a kit has a sound of one of `PIECES`."""
    return any(_PIECE_OF_NOTE[note] == piece for note in kit.sounds)


def _piece(kit: Kit, piece: str) -> dict[int, Sound]:
    return {note: sound for note, sound in kit.sounds.items() if _PIECE_OF_NOTE[note] == piece}


def _blended(sounds: Mapping[int, Sound], added: Mapping[int, Sound], level_db: float) -> dict[int, Sound]:
    """The sounds together with others that are at `level_db` relative to them; the sum is as loud as before."""
    share = 10 ** (level_db / 10)
    factor = 10 ** ((_level_db(sounds) - _level_db(added)) / 20) * math.sqrt(share / (1.0 + share))
    of_added = Kit("", added)
    blended = {}
    for note, sound in sounds.items():
        other = substitute(of_added, note)
        layers = [replace(layer, gain=layer.gain / math.sqrt(1.0 + share)) for layer in sound.layers]
        if other is not None:
            layers += [replace(layer, gain=layer.gain * factor) for layer in added[other].layers]
        blended[note] = replace(sound, layers=tuple(layers))
    return blended


def _one_tom_a_lane(rng: np.random.Generator, sounds: Mapping[int, Sound], probability: float) -> dict[int, Sound]:
    """The sounds of those tom lanes in which one tom plays all notes."""
    played: dict[int, Sound] = {}
    for lane in TOM_LANES:
        notes = [note for note in sorted(sounds) if LANE_OF_NOTE[note] == lane]
        chance, which = rng.random(2)
        if notes and chance < probability:
            drawn = sounds[notes[int(which * len(notes))]]
            played |= {note: replace(drawn, note=note) for note in notes}
    return played


def _level_db(sounds: Mapping[int, Sound]) -> float:
    """Level of a piece: that of its loudest sound, at full velocity."""
    energy = max(sum(energy_of(layer) for layer in sound.layers_at(127)) for sound in sounds.values())
    return 10.0 * float(np.log10(max(energy, 1e-12)))


def _with_ring(rng: np.random.Generator, hit: FloatArray, level_db: float) -> FloatArray:
    """The hit with the decaying tone of an undamped drum."""
    lowest_hz, decay_s = 440.0 * 2 ** rng.uniform(-1.5, 0.0), rng.uniform(0.15, 0.9)
    time_s = np.arange(round(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.zeros_like(time_s)
    for ratio, loudness, phase in zip(_MODES, rng.uniform(0.1, 1.0, len(_MODES)), rng.random(len(_MODES)), strict=True):
        # Higher modes ring shorter.
        envelope = np.exp(time_s * (-np.log(1000.0) * ratio / decay_s))
        tone += loudness / ratio * envelope * np.sin(2 * np.pi * (lowest_hz * ratio * time_s + phase))
    tone *= np.minimum(1.0, time_s / 0.002)  # no click
    return _with_added(hit, tone, level_db, n_compared=SAMPLE_RATE // 10)


def _with_gated_reverb(rng: np.random.Generator, hit: FloatArray, level_db: float) -> FloatArray:
    """The hit with dense noise of the same colour, which ends abruptly."""
    n_gate = round(rng.uniform(0.12, 0.3) * SAMPLE_RATE)
    response = rng.standard_normal(n_gate) * np.exp(np.arange(n_gate) * (-2.0 / n_gate))
    wet = scipy.signal.oaconvolve(hit[: SAMPLE_RATE // 20], response)[:n_gate]
    fade = SAMPLE_RATE // 100
    wet[-fade:] *= np.linspace(1.0, 0.0, fade)
    return _with_added(hit, wet, level_db, n_compared=n_gate)


def _dulled(hit: FloatArray, amount_db: float) -> FloatArray:
    """The hit with less above 1.5 kHz: felt beaters, cloth on the skin, a snare without its wires."""
    low = scipy.signal.sosfilt(scipy.signal.butter(1, _DULL_HZ, fs=SAMPLE_RATE, output="sos"), hit)
    return np.asarray(low + (hit - low) * 10 ** (-amount_db / 20), dtype=np.float32)


def _with_boom(rng: np.random.Generator, hit: FloatArray, level_db: float) -> FloatArray:
    """The hit with the long, deep tone of a bass drum that nothing damps."""
    deep_hz, decay_s = rng.uniform(45.0, 110.0), rng.uniform(0.25, 0.9)
    time_s = np.arange(round(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    # The skin is tighter while it moves far.
    phase = deep_hz * (time_s + 0.01 * rng.uniform(0.0, 1.0) * (1.0 - np.exp(-time_s / 0.03)))
    tone = np.sin(2 * np.pi * phase) * np.exp(time_s * (-np.log(1000.0) / decay_s)) * np.minimum(1.0, time_s / 0.002)
    return _with_added(hit, tone, level_db, n_compared=SAMPLE_RATE // 10)


def _with_brush(rng: np.random.Generator, hit: FloatArray, level_db: float) -> FloatArray:
    """The hit with the swish of wires that land one after the other."""
    seconds = rng.uniform(0.05, 0.14)
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    low, high = rng.uniform(700.0, 2500.0), rng.uniform(6000.0, 12_000.0)
    sections = scipy.signal.butter(1, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos")
    swish = scipy.signal.sosfilt(sections, rng.standard_normal(time_s.size))
    swish *= np.minimum(1.0, time_s / rng.uniform(0.001, 0.008)) * np.exp(time_s * (-6.9 / seconds))
    return _with_added(hit, swish, level_db, n_compared=time_s.size)


def _with_added(hit: FloatArray, added: NDArray[np.floating], level_db: float, *, n_compared: int) -> FloatArray:
    """The hit with another sound; `level_db` compares the two over their first `n_compared` samples."""
    energy, of_added = (float(np.square(sound[:n_compared]).sum()) for sound in (hit, added))
    result = np.zeros(max(hit.size, added.size))
    result[: hit.size] = hit
    result[: added.size] += added * np.sqrt(energy / max(of_added, 1e-12)) * 10 ** (level_db / 20)
    return np.asarray(result, dtype=np.float32)
