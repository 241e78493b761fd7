"""What makes a recording doubtful is noticed on one side of each line, and not on the other."""

import numpy as np
import pytest
import scipy.signal
import soxr
from numpy.typing import ArrayLike, NDArray

from drum_crnn.music import audio
from drum_crnn.music.audio import mono_blocks
from drum_crnn.music.condition import Condition

RATE = 44_100


def strokes(seconds: float = 3.0, *, decay_s: float = 0.05, rate: int = RATE) -> NDArray[np.float32]:
    """Bursts of noise, two a second, with a peak of one."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * rate)) / rate
    sound = rng.normal(size=len(time_s)) * np.exp(-(time_s % 0.5) / decay_s)
    return (sound / np.abs(sound).max()).astype(np.float32)


def heard(samples: ArrayLike, *, rate: int = RATE) -> Condition:
    condition = Condition()
    for _ in mono_blocks(np.asarray(samples), from_rate=rate, to_rate=RATE, listen=condition.listen):
        pass
    return condition


def check(samples: ArrayLike, *words: str, rate: int = RATE) -> None:
    """Each doubt holds the words for it, and there are no others."""
    doubts = heard(samples, rate=rate).doubts()
    assert len(doubts) == len(words), doubts
    for doubt, expected in zip(doubts, words, strict=True):
        assert expected in doubt
        assert "; " in doubt  # what to do


def test_a_good_recording_raises_no_doubt() -> None:
    check(strokes())
    check(np.stack([strokes(), 0.3 * strokes()], axis=1))
    check((strokes() * 32767).astype(np.int16))
    assert heard(strokes()).gain == 1


@pytest.mark.parametrize("decibels", [-44.0, -20.0])
def test_quiet_is_no_doubt(decibels: float) -> None:
    check(strokes() * 10 ** (decibels / 20))


@pytest.mark.parametrize("decibels", [22.0, 90.3, 380.0])
def test_samples_of_another_scale(decibels: float) -> None:
    """Floats in units of 16-bit integers, as some programs write them, or of none at all."""
    samples = (strokes() * 10 ** (decibels / 20)).astype(np.float32)
    check(samples, f"has samples far above full scale (its peak is {heard(samples).peak_db:+.0f} dBFS)")
    assert 20 * np.log10(heard(samples).gain * np.ptp(samples) / 2) == pytest.approx(-12.0, abs=0.01)
    check(strokes() * 8)


@pytest.mark.parametrize("decibels", [-47.0, -60.0, -73.0])
def test_almost_silent(decibels: float) -> None:
    samples = strokes() * 10 ** (decibels / 20)
    check(samples, f"is almost silent (its peak is {heard(samples).peak_db:.0f} dBFS) and was amplified")
    louder = heard(samples).gain * np.ptp(samples) / 2
    assert 20 * np.log10(louder) == pytest.approx(-12.0, abs=0.01)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(RATE, np.float32),
        np.full(RATE, -0.5, np.float32),
        np.full((RATE, 2), 7, np.int16),
        np.random.default_rng(0).integers(-1, 2, RATE).astype(np.int16),
        np.ones(1, np.float32),
    ],
    ids=["zeros", "constant", "constant in 16 bits", "dither", "one sample"],
)
def test_silence(samples: NDArray[np.generic]) -> None:
    check(samples, "is silent from beginning to end")
    assert heard(samples).gain == 1


def test_a_constant_below_the_sound_is_not_loudness() -> None:
    check(0.001 * strokes() + np.float32(0.5), "is almost silent (its peak is -61 dBFS)")


def test_channels_that_cancel() -> None:
    check(np.stack([strokes(), -strokes()], axis=1), "has channels that cancel each other, so their difference")
    check(np.stack([strokes(), -0.4 * strokes()], axis=1))
    for_a_while = np.stack([strokes(60.0), strokes(60.0)], axis=1)
    for_a_while[20 * RATE : 40 * RATE, 1] *= -1
    check(for_a_while, "cancel each other in 20 s of it")


@pytest.mark.parametrize("level", [1.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize(("limit", "is_clipped"), [(0.9, False), (0.6, False), (0.05, True), (0.02, True)])
def test_clipping(limit: float, is_clipped: bool, dtype: type, level: float) -> None:
    """Also if the level was changed afterwards."""
    tone = np.sin(2 * np.pi * 100 * np.arange(3 * RATE) / RATE) * np.exp(-(np.arange(3 * RATE) / RATE % 0.5) / 0.05)
    samples = level * np.clip((tone + 0.05 * strokes()) / limit, -1, 1)
    cut = (samples * 32767).astype(np.int16) if dtype is np.int16 else samples.astype(np.float32)
    check(cut, *(["is clipped ("] if is_clipped else []))


@pytest.mark.parametrize(("rate", "is_limited"), [(8_000, True), (11_025, True), (16_000, False), (22_050, False)])
def test_low_rates(rate: int, is_limited: bool) -> None:
    words = ["has nothing above 5.5 kHz"] if is_limited else []
    low = soxr.resample(strokes(), RATE, rate)
    check(low, *words, rate=rate)
    check(soxr.resample(low, rate, RATE), *words)


@pytest.mark.parametrize(("edge_hz", "is_limited"), [(3_400, True), (5_500, False)])
def test_a_telephone(edge_hz: float, is_limited: bool) -> None:
    filter_ = scipy.signal.butter(12, edge_hz, fs=RATE, output="sos")
    check(scipy.signal.sosfilt(filter_, strokes()), *(["has nothing above 5.5 kHz"] if is_limited else []))


def test_a_low_tone_with_a_click_is_not_limited() -> None:
    """A kick alone has little above 5.5 kHz, but not nothing."""
    time_s = np.arange(RATE) / RATE
    kick = np.sin(2 * np.pi * 50 * time_s) * np.exp(-time_s / 0.1) + 0.1 * strokes(1.0, decay_s=0.002)
    check(kick)


def test_several_doubts_at_once_and_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    low = soxr.resample(0.002 * strokes(), RATE, 8_000)
    both = np.stack([low, -low], axis=1)
    check(both, "is almost silent", "cancel each other", "nothing above", rate=8_000)
    before = heard(both, rate=8_000).peak_db
    monkeypatch.setattr(audio, "_BLOCK_S", 0.7)
    assert heard(both, rate=8_000).peak_db == pytest.approx(before)
    check(both, "is almost silent", "cancel each other", "nothing above", rate=8_000)


def test_without_any_block_nothing_was_heard() -> None:
    assert Condition().is_silent
    assert Condition().gain == 1
