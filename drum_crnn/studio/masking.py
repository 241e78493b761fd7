"""How audible each hit is in the mix, measured while mixing.

A soft hit under a loud one is in the MIDI, but nobody can hear it. The *audibility* of a hit is the ratio of
its energy to that of all other sounds during its first 46 ms, in the third-octave band where this ratio is greatest, in
dB:

    audibility = max over bands of 10 log10(E_hit / (E_rest + E_floor))

The rest is the mix without the hit: other hits, earlier ones that still ring, percussion, noise, leakage. The floor is
60 dB below the strongest band of all hits of the recording: softer sounds are lost in any production. Within a band, a
sound is masked by others some decibels stronger (Zwicker & Fastl, "Psychoacoustics", 1990, chapter 4);
`labels.min_audibility_db` sets the limit.

Equaliser, compressor and room act on the hit and on the rest alike, so the ratio is measured before them.
"""

from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray

__all__ = ["HEAD_SAMPLES", "measure_audibility"]

HEAD_SAMPLES = 2048
_FLOOR_DB = -60.0
_LOWEST_HZ, _N_BANDS = 40.0, 26  # third octaves up to 16 kHz, the limit of most people's hearing
# Constant for 35 ms, then a fade-out; no fade-in, since a head begins with the attack.
_WINDOW = np.concatenate([np.ones(1536), np.cos(np.linspace(0.0, np.pi / 2, 512)) ** 2]).astype(np.float32)


def _band_edges() -> NDArray[np.int64]:
    """First FFT bin of each third-octave band, and the end of the last; bands are at least one bin wide."""
    edges_hz = _LOWEST_HZ * 2 ** (np.arange(_N_BANDS + 1) / 3)
    return np.unique(np.rint(edges_hz * HEAD_SAMPLES / SAMPLE_RATE).astype(np.int64))


_EDGES = _band_edges()


def measure_audibility(mix: FloatArray, onsets: Sequence[int], heads: FloatArray) -> NDArray[np.float64]:
    """Audibility of each hit, in dB.

    Parameters
    ----------
    mix : float32 array, shape (n_samples,)
        All sounds, the hits included.
    onsets : sequence of int
        First sample of each hit.
    heads : float32 array, shape (n_hits, HEAD_SAMPLES)
        The beginning of each hit as it is in the mix, zeros where it has ended.

    Returns
    -------
    float64 array, shape (n_hits,)
    """
    if not len(onsets):
        return np.zeros(0)
    padded = np.concatenate([mix, np.zeros(HEAD_SAMPLES, np.float32)])
    sounding = np.stack([padded[onset : onset + HEAD_SAMPLES] for onset in onsets])
    of_hit = _band_energies(heads)
    of_rest = _band_energies(sounding - heads)
    floor = of_hit.max() * 10 ** (_FLOOR_DB / 10) + 1e-12
    ratio: NDArray[np.float64] = 10.0 * np.log10((of_hit + 1e-15) / (of_rest + floor)).max(axis=1)
    return ratio


def _band_energies(audio: FloatArray) -> NDArray[np.float64]:
    """Energy in each band, shape (n, n_bands)."""
    spectrum = scipy.fft.rfft(audio * _WINDOW, axis=1)
    power = np.square(np.abs(spectrum)).astype(np.float64)
    bands: NDArray[np.float64] = np.add.reduceat(power[:, : _EDGES[-1]], _EDGES[:-1], axis=1)
    return bands
