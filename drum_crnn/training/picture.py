"""A picture of a model's predictions: each lane's activation below its reference onsets."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.timing import time_to_frame

__all__ = ["prediction_picture"]

_LABEL_WIDTH = 84
_REFERENCE_HEIGHT, _ACTIVATION_HEIGHT, _GAP = 8, 24, 8
_BACKGROUND, _TEXT, _REFERENCE = (255, 255, 255), (40, 40, 40), (200, 60, 40)
_QUIET, _LOUD = np.array([240, 243, 248]), np.array([20, 60, 140])


def prediction_picture(
    activation: NDArray[np.float32], reference: Onsets, *, frame_rate: float, title: str, frame_width: int = 2
) -> NDArray[np.uint8]:
    """Paint an excerpt: one strip per lane, with its onsets in red above its activation in blue.

    Parameters
    ----------
    activation : float array, shape (n_frames, n_lanes)
        Probabilities in [0, 1].
    reference : Onsets
        Times in seconds from the beginning of the excerpt; later ones are left out.
    frame_width : int
        Pixels per frame.

    Returns
    -------
    uint8 array, shape (height, width, 3)
    """
    n_frames = len(activation)
    row = _REFERENCE_HEIGHT + _ACTIVATION_HEIGHT + _GAP
    top = 22
    image = Image.new("RGB", (_LABEL_WIDTH + n_frames * frame_width, top + row * len(LANES)), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=11)
    draw.text((4, 4), title, fill=_TEXT, font=font)
    for lane, name in enumerate(LANES):
        y = top + lane * row
        draw.text((4, y + _REFERENCE_HEIGHT + 5), name, fill=_TEXT, font=font)
        shade = np.clip(activation[:, lane], 0, 1)[:, None]
        colours = np.repeat(_QUIET + (shade * (_LOUD - _QUIET)), frame_width, axis=0).astype(np.uint8)
        strip = np.broadcast_to(colours, (_ACTIVATION_HEIGHT, *colours.shape))
        image.paste(Image.fromarray(np.ascontiguousarray(strip)), (_LABEL_WIDTH, y + _REFERENCE_HEIGHT))
        frames = time_to_frame(reference.of_lane(lane).time_s, frame_rate)
        for frame in frames[frames < n_frames]:
            x = _LABEL_WIDTH + int(frame) * frame_width
            draw.rectangle((x, y, x + frame_width - 1, y + _REFERENCE_HEIGHT - 1), fill=_REFERENCE)
    return np.array(image)  # a writable copy
