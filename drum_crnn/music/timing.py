"""Seconds and frames: the only module that converts between them.

Times are seconds as float64. Frame n is centred on `n / frame_rate` seconds.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["frame_to_time", "n_frames_of", "time_to_frame"]


def time_to_frame(time_s: ArrayLike, frame_rate: float) -> NDArray[np.int64]:
    """Nearest frame of each time; same shape as `time_s` (a scalar gives a 0-d array)."""
    return np.rint(np.asarray(time_s, dtype=np.float64) * frame_rate).astype(np.int64)


def frame_to_time(frame: ArrayLike, frame_rate: float) -> NDArray[np.float64]:
    """Time in seconds on which each frame is centred."""
    return np.asarray(frame, dtype=np.float64) / frame_rate


def n_frames_of(n_samples: int, hop_length: int) -> int:
    """Frames of a signal: one every `hop_length` samples, the first centred on sample 0; none if it is empty."""
    return 0 if n_samples <= 0 else 1 + (n_samples - 1) // hop_length
