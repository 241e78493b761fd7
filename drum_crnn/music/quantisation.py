"""Log-mel frames in eight bits: half decibels above the floor.

Training reads frames at random from files that are larger than memory, so their size is what counts. Rounding changes a
frame by 0.25 dB at most; in noise, a frame differs from the next by some 4 dB (docs/performance.md has scores).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEP_DB", "decibels", "rounded", "steps"]

STEP_DB = 0.5


def steps(frames: NDArray[np.floating], *, floor_db: float) -> NDArray[np.uint8]:
    """The nearest number of steps above the floor, for frames in decibels; higher than the last step is the last."""
    nearest = np.rint((frames - floor_db) * (1.0 / STEP_DB))
    return np.asarray(np.clip(nearest, 0, 255), np.uint8)


def decibels(of_steps: Any, *, floor_db: float) -> Any:
    """Frames in decibels, of steps in an array or a tensor of floats: exact, if the floor is a multiple of a step."""
    return of_steps * STEP_DB + floor_db


def rounded(frames: NDArray[np.floating], *, floor_db: float) -> NDArray[np.float32]:
    """Frames as the feature store gives them back: what a model should get that was trained on them."""
    of_steps = steps(frames, floor_db=floor_db).astype(np.float32)
    return np.asarray(decibels(of_steps, floor_db=floor_db))
