"""Random numbers that follow from a key and a place alone, on any device, in any order, for any part of a batch.

A generator gives its numbers one after another, so a batch that is cut into other parts would get other ones. Here,
number i of a key is a hash of both: the output function of SplitMix64, whose streams pass the usual tests.

References
----------
Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (counters instead of states).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["keys_of", "uniform", "uniform_triples"]

_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_THIRD_BITS = 21  # of the 63 that are cut into three numbers

KeyArray = NDArray[np.uint64]


def keys_of(*parts: int | NDArray[np.int64]) -> KeyArray:
    """A key for each combination of non-negative integers, which are broadcast against one another: shape (n,)."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _mixed(key + np.atleast_1d(part).astype(np.uint64) * np.uint64(_GAMMA) + np.uint64(_GAMMA))
    return key


def uniform(keys: KeyArray, place: int) -> NDArray[np.float64]:
    """Number `place` of each key, in [0, 1), with 53 random bits: shape as `keys`."""
    step = np.uint64((place + 1) * _GAMMA % 2**64)
    return np.asarray((_mixed(keys + step) >> np.uint64(11)) * 2.0**-53, np.float64)


def uniform_triples(keys: Tensor, place: int, *, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three numbers in (0, 1) at each of `n` places from `place` on, for each key.

    Parameters
    ----------
    keys : int64 tensor, shape (batch,)
        The bits of keys.

    Returns
    -------
    three float32 tensors, shape (batch, n)
        On the device of the keys; the same on every device.
    """
    steps = torch.arange(place + 1, place + 1 + n, device=keys.device) * _signed(_GAMMA)
    x = keys[:, None] + steps
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    x = x ^ _shifted(x, 31)
    mask = 2**_THIRD_BITS - 1
    first, second, third = (
        ((_shifted(x, 1 + _THIRD_BITS * part) & mask).to(torch.float32) + 0.5) * 2.0**-_THIRD_BITS for part in range(3)
    )
    return first, second, third


def _mixed(x: KeyArray) -> KeyArray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
    return x ^ (x >> np.uint64(31))


def _signed(value: int) -> int:
    """The same 64 bits as a signed number, since PyTorch computes little with unsigned ones."""
    return value - 2**64 if value >= 2**63 else value


def _shifted(x: Tensor, n: int) -> Tensor:
    """Shift right, and fill with zeros: PyTorch's own shift repeats the sign."""
    shifted: Tensor = (x >> n) & (2 ** (64 - n) - 1)
    return shifted
