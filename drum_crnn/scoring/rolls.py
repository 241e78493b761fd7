"""A picture of references and estimates in the recordings with the best, the median and the worst F.

Each lane is a row of two halves: references above, estimates below. Matched onsets have one colour in both halves,
misses another one above, and extras a third one below. So the picture can be read without its colours.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.scoring.metrics import Matches

__all__ = ["EXTRA", "FOUND", "MISSED", "choose_rolls", "paint_rolls"]

_SECONDS = 8  # of each recording, from the whole second before its first onset on
_PIXELS_A_SECOND = 80
_LEFT, _RIGHT, _HALF, _GAP = 84, 16, 8, 4
_LOWER = _HALF + 1  # where the lower half begins
_ROW = _LOWER + _HALF + _GAP
_LEGEND, _TITLE, _AXIS, _BETWEEN = 62, 24, 18, 16
_MARK_WIDTH = 3
_BACKGROUND, _TEXT, _GRID, _STRIPE = (255, 255, 255), (40, 40, 40), (205, 205, 205), (243, 244, 247)
# From the palette of Okabe and Ito, for people who cannot tell red from green.
FOUND, MISSED, EXTRA = (0, 114, 178), (230, 159, 0), (204, 60, 120)


def choose_rolls(f_of: Mapping[str, float]) -> dict[str, str]:
    """Choose the recordings with the best, the median and the worst F, each once.

    Parameters
    ----------
    f_of : mapping of str to float
        F of each recording. Those without references and estimates have none (NaN), and are not chosen. Equal ones are
        ordered by name.

    Returns
    -------
    dict of str to str
        The title of each chosen recording's roll.
    """
    ranked = sorted((-f, name) for name, f in f_of.items() if not math.isnan(f))
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    titles: dict[str, str] = {}
    for word, place in places.items():
        if ranked and (name := ranked[place][1]) not in titles:
            titles[name] = f"{word} of {len(ranked)}: {name}, F {-ranked[place][0]:.3f}"
    return titles


def paint_rolls(rolls: Sequence[tuple[str, Matches]]) -> Image.Image:
    """Draw an excerpt of each recording.

    Parameters
    ----------
    rolls : sequence of (str, Matches)
        A title, and the onsets. Onsets that ignore windows leave out are not drawn.

    Returns
    -------
    PIL image
        The same for the same input.
    """
    of_roll = _TITLE + _ROW * len(LANES) + _AXIS + _BETWEEN
    size = _LEFT + _SECONDS * _PIXELS_A_SECOND + _RIGHT, _LEGEND + of_roll * max(1, len(rolls))
    image = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(image)
    _draw_legend(draw)
    if not rolls:
        _write(draw, 6, _LEGEND, "Nothing was played in the test split, and nothing was heard.")
    for place, (title, matches) in enumerate(rolls):
        _draw_roll(draw, _LEGEND + place * of_roll, title, matches)
    return image


def _draw_legend(draw: ImageDraw.ImageDraw) -> None:
    _write(draw, 6, 6, "Played and heard in three recordings of the test split", size=17)
    y = 34
    x = _write(draw, 6, y, "in each row: played above, heard below")
    for colour, word, upper, lower in (
        (FOUND, "found", True, True),
        (MISSED, "missed", True, False),
        (EXTRA, "extra", False, True),
    ):
        x += 26
        for is_drawn, top in ((upper, y - 1), (lower, y - 1 + _LOWER)):
            if is_drawn:
                draw.rectangle((x, top, x + _MARK_WIDTH - 1, top + _HALF - 1), fill=colour)
        x = _write(draw, x + 9, y, word)


def _draw_roll(draw: ImageDraw.ImageDraw, top: int, title: str, matches: Matches) -> None:
    reference, estimate = matches.reference, matches.estimate
    firsts = [float(onsets.time_s[0]) for onsets in (reference, estimate) if len(onsets)]
    start_s = math.floor(min(firsts))
    _write(draw, 6, top, title)
    top += _TITLE
    bottom = top + _ROW * len(LANES)
    for lane, name in enumerate(LANES):
        y = top + lane * _ROW
        if lane % 2 == 0:
            draw.rectangle((_LEFT, y, _LEFT + _SECONDS * _PIXELS_A_SECOND, y + _ROW - 1), fill=_STRIPE)
        _write(draw, 6, y + 3, name)
    for second in range(_SECONDS + 1):
        x = _LEFT + second * _PIXELS_A_SECOND
        draw.line((x, top, x, bottom + 3), fill=_GRID)
        _write(draw, x, bottom + 4, f"{start_s + second} s", anchor="ma")
    for onsets, found, down, other in (
        (reference, matches.pairs[:, 0], 0, MISSED),
        (estimate, matches.pairs[:, 1], _LOWER, EXTRA),
    ):
        _draw_onsets(draw, onsets, np.isin(np.arange(len(onsets)), found), start_s, top + down, other)


def _draw_onsets(
    draw: ImageDraw.ImageDraw,
    onsets: Onsets,
    is_found: NDArray[np.bool_],
    start_s: int,
    top: int,
    other: tuple[int, ...],
) -> None:
    is_seen = (onsets.time_s >= start_s) & (onsets.time_s < start_s + _SECONDS)
    for time_s, lane, found in zip(onsets.time_s[is_seen], onsets.lane[is_seen], is_found[is_seen], strict=True):
        x = _LEFT + round((float(time_s) - start_s) * _PIXELS_A_SECOND) - _MARK_WIDTH // 2
        y = top + int(lane) * _ROW + _GAP // 2
        draw.rectangle((x, y, x + _MARK_WIDTH - 1, y + _HALF - 1), fill=FOUND if found else other)


def _write(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, *, anchor: str = "la", size: int = 13) -> int:
    """Write a line; returns where it ends."""
    font = ImageFont.load_default(size=size)
    draw.text((x, y), text, fill=_TEXT, font=font, anchor=anchor)
    return x + round(draw.textlength(text, font=font))
