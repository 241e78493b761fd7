"""Samples without a header, from a pipe."""

from collections.abc import Iterator
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["raw_blocks"]

_BLOCK_BYTES = 1 << 16


def raw_blocks(stream: BufferedReader, *, dtype: np.dtype[Any], n_channels: int) -> Iterator[NDArray[Any]]:
    """Blocks of samples without a header, as they come.

    Yields
    ------
    array of `dtype`, shape (n_samples, n_channels)
        Bytes at the end that are no whole sample of all channels are left out.
    """
    size = dtype.itemsize * n_channels
    rest = b""
    while data := stream.read1(_BLOCK_BYTES):  # as soon as there are some
        rest += data
        n_bytes = len(rest) // size * size
        yield np.frombuffer(rest[:n_bytes], dtype).reshape(-1, n_channels)
        rest = rest[n_bytes:]
