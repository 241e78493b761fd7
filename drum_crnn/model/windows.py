"""Cutting a recording into the fixed overlapping windows on which inference is defined.

A recording is cut into windows of `window_frames` that overlap by twice `margin_frames`. Only the inner part of each
window is used, so that the model sees every frame in its context. The positions of the windows depend on the recording
alone. So the result is the same for any block size and batch size, and memory is bounded for any length.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from drum_crnn.model.model_params import ModelParams

__all__ = ["cut_windows"]

FloatArray = NDArray[np.float32]


def cut_windows(
    blocks: Iterable[NDArray[np.floating]],
    params: ModelParams,
    *,
    n_mels: int,
    floor_db: float,
    is_first: bool = True,
    is_last: bool = True,
) -> Iterator[tuple[FloatArray, slice]]:
    """Each window, and the slice of it to keep. The kept slices together are all frames, once each, in order.

    Parameters
    ----------
    blocks : iterable of float arrays, shape (n_frames, n_mels)
        The frames of a recording, in decibels, of any length each.
    floor_db : float
        Level of silence, which pads the last window.
    is_first, is_last : bool
        Whether the frames are the start and the end of a recording. If not, their first or last margin is not kept;
        frames that are not the last fill whole windows.
    """
    size, margin = params.window_frames, params.margin_frames
    hop = size - 2 * margin
    buffer = np.zeros((0, n_mels), np.float32)
    keep_from = 0 if is_first else margin  # the first window has nothing before it, so its first margin is kept too
    for block in blocks:
        buffer = np.concatenate([buffer, block.astype(np.float32)])
        # Strictly more: the last window keeps its last margin, and only the end shows which window is the last.
        while len(buffer) > size:
            yield buffer[:size], slice(keep_from, size - margin)
            buffer, keep_from = buffer[hop:], margin
    keep_to = len(buffer) if is_last else size - margin
    if keep_to > keep_from:
        last = np.full((size, n_mels), floor_db, np.float32)
        last[: len(buffer)] = buffer
        yield last, slice(keep_from, keep_to)
