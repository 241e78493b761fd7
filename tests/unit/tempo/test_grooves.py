"""The likelihood of shifted bars, against a loop."""

import numpy as np
import pytest

from drum_crnn.tempo.grooves import N_CHANNELS, SLOTS, Grooves, channels_of


def test_the_likelihood_is_that_of_a_mixture_of_poisson_processes() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.3, 0.7])
    grooves = Grooves(rng.uniform(0.01, 0.3, (2, N_CHANNELS, SLOTS)), shares, np.zeros(22))
    bars = rng.poisson(0.02, (3, N_CHANNELS, SLOTS)).astype(np.float64)
    bars[1] = 0.0
    found = grooves.log_likelihood(bars, np.array([1.0, 1.0, 0.5]))
    assert (found[1] == 0).all()
    for bar, heard in ((0, 1.0), (2, 0.5)):
        for shift in (0, 1, 50):
            moved = np.roll(bars[bar], shift, axis=-1)
            fits = [(moved * np.log(rates)).sum() - heard * rates.sum() for rates in grooves.rates]
            assert found[bar, shift] == pytest.approx(np.log((shares * np.exp(fits)).sum()), rel=1e-4)


def test_the_grooves_of_the_package_have_their_back_beat_on_two_and_four() -> None:
    grooves = Grooves.load()
    assert grooves.shares.sum() == pytest.approx(1.0, abs=1e-3)
    mean = (grooves.shares[:, None, None] * grooves.rates).sum(axis=0)
    loud_kick, loud_snare = (mean[channel].reshape(4, -1)[:, 0] for channel in (1, 3))
    assert loud_kick.argmax() == 0
    assert min(loud_snare[1], loud_snare[3]) > 3 * max(loud_snare[0], loud_snare[2])


def test_channels_are_lanes_soft_and_loud() -> None:
    assert channels_of(np.array([0, 0, 7]), np.array([63, 64, 127])).tolist() == [0, 1, 15]
