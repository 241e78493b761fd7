"""The mean of the channels, bit by bit, except where they cancel each other in it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drum_crnn.music.downmix import Downmix

RATE = 8_000


def noise(seconds: float = 1.0, *, seed: int = 0, scale: float = 0.1) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(seed).normal(size=round(seconds * RATE))).astype(np.float32)


def old_mean(block: NDArray[Any]) -> NDArray[np.float32]:
    """What the channels became in all versions before this class."""
    mono: NDArray[np.float32] = (
        block[:, 0].astype(np.float32) if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    )
    if block.dtype == np.int16:
        mono /= np.float32(32768.0)
    return mono


@given(
    seed=st.integers(0, 10**6),
    n_channels=st.integers(1, 20),
    length=st.integers(1, 3000),
    dtype=st.sampled_from([np.int16, np.float32, np.float64]),
    shared=st.floats(0.0, 1.0),
)
def test_unrelated_and_related_channels_have_their_mean_bit_by_bit(
    seed: int, n_channels: int, length: int, dtype: type, shared: float
) -> None:
    rng = np.random.default_rng(seed)
    channels = shared * rng.normal(size=(length, 1)) + rng.normal(size=(length, n_channels))
    block = np.clip(3000 * channels, -32768, 32767).astype(np.int16) if dtype is np.int16 else channels.astype(dtype)
    downmix = Downmix(RATE)
    for part in (block, block[: length // 2 + 1], block[:1]):
        np.testing.assert_array_equal(downmix(part), old_mean(part))
        assert not downmix.cancels


@pytest.mark.parametrize("gains", [(1.0, 0.0), (1.0, 1.0), (1.0, -0.45), (1.0, 0.2, 0.0, 0.0), (0.0,) * 30 + (1.0,)])
def test_on_one_side_of_the_line_is_the_mean(gains: tuple[float, ...]) -> None:
    """One channel at -7 dB and out of phase takes less than 10 dB from the mean."""
    block = noise()[:, None] * np.array(gains, np.float32)
    downmix = Downmix(RATE)
    np.testing.assert_array_equal(downmix(block), old_mean(block))
    assert not downmix.cancels


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("gains", [(1.0, -1.0), (-1.0, 1.0), (1.0, -0.6), (0.6, -1.0), (1.0, 1.0, -1.0, -1.0)])
def test_on_the_other_side_channels_enter_with_the_sign_of_their_correlation(
    gains: tuple[float, ...], dtype: type
) -> None:
    exact = noise()[:, None] * np.array(gains, np.float32)
    block = np.round(exact * 32768).astype(np.int16) if dtype is np.int16 else exact
    downmix = Downmix(RATE)
    mono = downmix(block)  # from the first sample on
    assert downmix.cancels
    wanted = noise() * np.abs(gains).mean()
    sign = np.sign(mono @ wanted)
    np.testing.assert_allclose(sign * mono, wanted, atol=3e-5 if dtype is np.int16 else 1e-6)


def test_a_change_is_a_fade_and_the_sign_stays() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 100 * np.arange(4 * RATE) / RATE)).astype(np.float32)
    gains = np.repeat(np.array([[1, 1], [1, -1], [1, -1], [1, 1]], np.float32), RATE, axis=0)
    channels = tone[:, None] * gains
    downmix = Downmix(RATE)
    parts, cancels = [], []
    for start in range(0, len(channels), RATE):
        parts.append(downmix(channels[start : start + RATE]))
        cancels.append(downmix.cancels)
    assert cancels == [False, True, True, False]
    mono = np.concatenate(parts)
    steepest = 0.5 * 2 * np.pi * 100 / RATE
    assert np.abs(np.diff(mono)).max() < 1.5 * steepest
    np.testing.assert_allclose(
        np.abs(mono[2 * RATE + 400 : 3 * RATE]), np.abs(tone[2 * RATE + 400 : 3 * RATE]), atol=1e-5
    )


@pytest.mark.parametrize("seconds", [0.001, 0.05])
def test_so_few_samples_decide_nothing(seconds: float) -> None:
    block = np.stack([noise(seconds), -noise(seconds)], axis=1)
    assert Downmix(RATE)(block).tolist() == [0.0] * len(block)


@pytest.mark.parametrize(("scale", "cancels"), [(1e-6, False), (1e-5, True)])
def test_noise_below_24_bits_decides_nothing(scale: float, cancels: bool) -> None:
    downmix = Downmix(RATE)
    downmix(np.stack([noise(scale=scale), -noise(scale=scale)], axis=1))
    assert downmix.cancels == cancels


def test_a_constant_of_either_sign_decides_nothing() -> None:
    block = np.stack([noise() + 0.5, noise() - 0.5], axis=1)
    downmix = Downmix(RATE)
    np.testing.assert_array_equal(downmix(block), old_mean(block))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_so_and_spoils_nothing_after_it(value: float) -> None:
    block = np.stack([noise(), noise(seed=1)], axis=1)
    bad = block.copy()
    bad[100, 1] = value
    downmix = Downmix(RATE)
    assert not np.isfinite(downmix(bad)[100])
    np.testing.assert_array_equal(downmix(block), old_mean(block))
