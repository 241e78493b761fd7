"""Noise that fills a band of frequencies, for attacks and for what has too many modes to count."""

import numpy as np
import scipy.signal
from numpy.typing import NDArray

__all__ = ["in_band", "white_noise"]

_SETTLING_S = 0.005  # until the filter swings


def white_noise(rng: np.random.Generator, n_samples: int, *, sample_rate: int) -> NDArray[np.float64]:
    """Noise for `in_band`, a little longer than `n_samples`."""
    return rng.standard_normal(n_samples + round(_SETTLING_S * sample_rate))


def in_band(white: NDArray[np.float64], low_hz: float, high_hz: float, *, sample_rate: int) -> NDArray[np.float64]:
    """What of the noise is between two frequencies, shape (n_samples,), once the filter swings: 6 dB an octave."""
    sections = scipy.signal.butter(1, (low_hz, high_hz), "bandpass", fs=sample_rate, output="sos")
    return np.asarray(scipy.signal.sosfilt(sections, white)[round(_SETTLING_S * sample_rate) :])
