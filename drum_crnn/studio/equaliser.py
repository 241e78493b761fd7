"""The equaliser of the studio, for single drums and for whole mixes."""

from types import ModuleType

import numpy as np

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray

__all__ = ["equalised", "pedalboard"]


def equalised(rng: np.random.Generator, audio: FloatArray, width_db: float) -> FloatArray:
    """The audio with four bands raised or lowered by up to `width_db`: low shelf, two peaks, high shelf.

    The filters are causal: no onset comes earlier.
    """
    effects = pedalboard()
    gains = rng.uniform(-width_db, width_db, 4)
    chain = effects.Pedalboard(
        [
            effects.LowShelfFilter(cutoff_frequency_hz=rng.uniform(60, 250), gain_db=gains[0]),
            effects.PeakFilter(cutoff_frequency_hz=rng.uniform(200, 1200), gain_db=gains[1], q=rng.uniform(0.5, 2)),
            effects.PeakFilter(cutoff_frequency_hz=rng.uniform(1200, 6000), gain_db=gains[2], q=rng.uniform(0.5, 2)),
            effects.HighShelfFilter(cutoff_frequency_hz=rng.uniform(4000, 12000), gain_db=gains[3]),
        ]
    )
    return np.asarray(chain(audio, SAMPLE_RATE))


def pedalboard() -> ModuleType:
    """The package `pedalboard`, which only some effects need.

    Raises
    ------
    DrumCrnnError
        If it is not installed.
    """
    try:
        import pedalboard as effects
    except ImportError:
        raise DrumCrnnError(
            "equalisers, compressor and MP3 need the package pedalboard; "
            "pip install -e '.[studio]', or disable eq (of kit and production), compressor and mp3 in variations.yaml"
        ) from None
    return effects
