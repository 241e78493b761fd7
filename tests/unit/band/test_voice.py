"""The singer's pitch, time and consonants."""

import numpy as np
import pytest

from drum_crnn.band import voice
from drum_crnn.band.players import Part, Tone
from drum_crnn.band.voice import sing

RATE = 44_100


def sung(*tones: Tone, seed: int = 0, n_samples: int = 2 * RATE) -> np.ndarray:
    return sing(np.random.default_rng(seed), Part("voice", 52, tones), n_samples=n_samples, sample_rate=RATE)


@pytest.mark.parametrize("pitch", [48, 60, 69])
def test_a_vowel_has_its_pitch_and_its_time(monkeypatch: pytest.MonkeyPatch, pitch: int) -> None:
    monkeypatch.setattr(voice, "_SIBILANT", 0.0)
    monkeypatch.setattr(voice, "_PLOSIVE", 0.0)
    audio = sung(Tone(0.5, 1.0, pitch, 100))
    assert audio.dtype == np.float32
    assert not audio[: RATE // 2].any()
    assert not audio[round(1.501 * RATE) :].any()
    middle = audio[round(0.7 * RATE) : round(1.3 * RATE)].astype(np.float64)
    correlation = np.correlate(middle, middle[: middle.size // 2], "valid")
    period = 50 + correlation[50:1200].argmax()
    expected = RATE / (440.0 * 2 ** ((pitch - 69) / 12))
    assert period / expected == pytest.approx(round(period / expected), abs=0.06)
    assert period >= 0.9 * expected


@pytest.mark.parametrize(("kind", "other"), [("_SIBILANT", "_PLOSIVE"), ("_PLOSIVE", "_SIBILANT")])
def test_a_consonant_comes_before_its_vowel(monkeypatch: pytest.MonkeyPatch, kind: str, other: str) -> None:
    monkeypatch.setattr(voice, kind, 1.0)
    monkeypatch.setattr(voice, other, 0.0)
    audio = sung(Tone(0.5, 0.5, 50, 100))
    before = audio[: RATE // 2]
    assert before.any()
    assert not before[: round(0.33 * RATE)].any()
    if kind == "_SIBILANT":
        power = np.square(np.abs(np.fft.rfft(before[round(0.33 * RATE) :].astype(np.float64))))
        hz = np.fft.rfftfreq(RATE // 2 - round(0.33 * RATE), 1 / RATE)
        assert power[hz > 2000.0].sum() > 0.9 * power.sum()


def test_it_is_the_same_every_time_and_ends_with_the_recording() -> None:
    tones = (Tone(0.0, 0.3, 60, 90), Tone(0.3, 9.0, 64, 127))
    np.testing.assert_array_equal(sung(*tones), sung(*tones))
    assert np.abs(sung(*tones) - sung(*tones, seed=1)).max() > 0.0
    assert sung(*tones, n_samples=RATE).shape == (RATE,)
    assert not sung().any()
