"""Synthesized drums: those of each lane, another one each time, and as players and drums behave."""

import numpy as np
import pytest

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.studio import synthesis
from drum_crnn.studio.kits import SAMPLE_RATE, Kit, Sound, energy_of, trim_to_attack
from drum_crnn.studio.synthesis import synthesize_piece, synthesized_kit
from drum_crnn.studio.variation import PIECES, has_piece

SEEDS = range(8)
KITS = [synthesized_kit(seed) for seed in SEEDS]


def hard(sound: Sound) -> np.ndarray:
    return sound.layers_at(127)[0].sample.audio.astype(np.float64)


def soft(sound: Sound) -> np.ndarray:
    return sound.layers_at(1)[0].sample.audio.astype(np.float64)


def centroid_hz(audio: np.ndarray) -> float:
    power = np.square(np.abs(np.fft.rfft(audio)))
    return float((power * np.fft.rfftfreq(audio.size, 1 / SAMPLE_RATE)).sum() / power.sum())


def strongest_hz(audio: np.ndarray) -> float:
    late = audio[SAMPLE_RATE // 50 :]  # after the click and most of the glide
    return float(np.abs(np.fft.rfft(late, 1 << 17)).argmax() * SAMPLE_RATE / (1 << 17))


def decay_s(audio: np.ndarray) -> float:
    """Time by which 99 % of the energy has passed."""
    energy = np.cumsum(np.square(audio))
    return float(np.searchsorted(energy, 0.99 * energy[-1]) / SAMPLE_RATE)


def test_every_number_is_another_kit_and_always_the_same_one() -> None:
    again = synthesized_kit(3)
    assert again.name == "synthesized/3"
    samples = [{layer.sample.sha256 for sound in kit.sounds.values() for layer in sound.layers} for kit in KITS]
    assert {layer.sample.sha256 for sound in again.sounds.values() for layer in sound.layers} == samples[3]
    for number, of_kit in enumerate(samples):
        assert all(of_kit.isdisjoint(other) for other in samples[:number])


def test_a_kit_has_every_lane() -> None:
    for kit in KITS:
        assert {LANE_OF_NOTE[note] for note in kit.sounds} == set(range(len(LANES)))
        assert all(has_piece(kit, piece) for piece in PIECES)


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_has_only_its_own_drums(piece: str) -> None:
    made = Kit("test/made", synthesize_piece(np.random.default_rng(0), piece))
    assert [other for other in PIECES if has_piece(made, other)] == [piece]


@pytest.mark.parametrize("electronic", [0.0, 1.0])
def test_hits_are_whole_and_begin_with_their_attack(monkeypatch: pytest.MonkeyPatch, electronic: float) -> None:
    monkeypatch.setattr(synthesis, "_ELECTRONIC", electronic)
    for seed in SEEDS:
        for note, sound in synthesized_kit(seed).sounds.items():
            assert (sound.layers[0].velocity_low, sound.layers[-1].velocity_high) == (1, 127)
            assert all(
                one.velocity_high + 1 == other.velocity_low
                for one, other in zip(sound.layers, sound.layers[1:], strict=False)
            )
            for layer in sound.layers:
                audio = layer.sample.audio
                assert np.isfinite(audio).all(), note
                assert 0.01 < np.abs(audio).max() < 20.0, note
                assert audio.size <= 3.0 * SAMPLE_RATE, note
                # What a kit of recordings would cut off before the attack: a label may not be early.
                assert audio.size - trim_to_attack(audio).size <= 0.004 * SAMPLE_RATE, (seed, note)


def test_toms_go_down_and_hats_close() -> None:
    for kit in KITS:
        pitches = [strongest_hz(hard(kit.sounds[note])) for note in (50, 48, 47, 45, 43, 41)]
        assert sum(np.diff(pitches) < 0) >= 4, pitches  # a mode may be stronger than the lowest one
        assert decay_s(hard(kit.sounds[46])) > 1.5 * decay_s(hard(kit.sounds[42]))


def test_hard_strokes_are_brighter_but_all_layers_equally_loud() -> None:
    ratios = []
    for kit in KITS:
        for note in (36, 38, 43, 50):
            sound = kit.sounds[note]
            ratios.append(centroid_hz(hard(sound)) / centroid_hz(soft(sound)))
            energies = [energy_of(layer) for layer in sound.layers]
            assert max(energies) < 1.01 * min(energies)  # the sampler's curve sets the loudness
    assert np.median(ratios) > 1.1


def test_drums_differ_widely() -> None:
    """Kicks, snares and toms of all tunings, and cymbals of all lengths: that is what they are for."""
    for note, of_sound, factor in (
        (36, strongest_hz, 1.5),
        (38, centroid_hz, 1.7),
        (43, decay_s, 2.0),
        (49, decay_s, 2.0),
    ):
        values = [of_sound(hard(kit.sounds[note])) for kit in KITS]
        assert max(values) > factor * min(values), (note, values)
