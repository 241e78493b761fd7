"""The bass's pitch, time and attack."""

import numpy as np
import pytest

from drum_crnn.band.bass import play_bass
from drum_crnn.band.players import Part, Tone

RATE = 44_100


def played(*tones: Tone, seed: int = 0, attack_db: float = -40.0, n_samples: int = 2 * RATE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    part = Part("bass", 33, tones)
    return play_bass(rng, part, attack_db=attack_db, n_samples=n_samples, sample_rate=RATE).astype(np.float64)


@pytest.mark.parametrize("pitch", [28, 36, 45])
def test_a_tone_has_its_pitch_and_its_time(pitch: int) -> None:
    expected_hz = 440.0 * 2 ** ((pitch - 69) / 12)
    for seed in range(6):
        audio = played(Tone(0.5, 0.6, pitch, 100), seed=seed)
        assert not audio[: RATE // 2].any()
        assert not audio[round(1.15 * RATE) :].any()
        late = audio[round(0.65 * RATE) : round(1.05 * RATE)]  # after the glide
        spectrum = np.abs(np.fft.rfft(late * np.hanning(late.size), 1 << 17))
        hz = np.fft.rfftfreq(1 << 17, 1 / RATE)
        harmonics = hz / expected_hz
        is_harmonic = (np.abs(harmonics - np.rint(harmonics)) * expected_hz < 6.0) & (hz > 20.0)
        assert np.square(spectrum[is_harmonic]).sum() > 0.9 * np.square(spectrum[hz > 20.0]).sum(), seed


def test_the_attack_is_as_loud_as_it_should_be() -> None:
    """What an attack adds is short, and at 0 dB as high as the tone."""
    tone = Tone(0.5, 1.0, 40, 127)
    for seed in range(20):
        quiet, loud = played(tone, seed=seed, attack_db=-300.0), played(tone, seed=seed, attack_db=0.0)
        if np.abs(quiet).max() < 1.0 - 1e-6:  # a drive limits the sum
            continue
        attack = loud - quiet
        assert np.abs(attack).max() == pytest.approx(1.0, rel=0.01)
        assert not attack[round(0.57 * RATE) :].any()


def test_it_is_the_same_every_time_and_ends_with_the_recording() -> None:
    tones = (Tone(0.0, 0.3, 40, 90), Tone(0.3, 9.0, 33, 127))
    np.testing.assert_array_equal(played(*tones), played(*tones))
    assert np.abs(played(*tones) - played(*tones, seed=1)).max() > 0.0
    assert played(*tones, n_samples=RATE).shape == (RATE,)
    assert not played().any()


def test_basses_differ_in_length_and_colour() -> None:
    tone = Tone(0.0, 1.9, 33, 127)
    energies = [np.square(played(tone, seed=seed)) for seed in range(20)]
    ends = [np.searchsorted(np.cumsum(energy), 0.95 * energy.sum()) for energy in energies]
    assert max(ends) > 2 * min(ends)
