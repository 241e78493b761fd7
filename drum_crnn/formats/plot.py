"""A picture of a transcription: what the model heard, and what it made of it.

From top to bottom, each row of the page has the spectrogram, the numbers of bars, eight lanes, and the seconds. A lane
is a strip with its onsets, the taller the louder, above its activation. There, a line is the threshold, and a dot the
confidence of an onset. A tom's dot may lie above its activation, since the toms are pooled before peaks are picked.

A row holds 30 s, 50 pixels a second. A shorter recording fills one row, and a longer one has `MAX_ROWS` at most: from
10 minutes on, rows hold more seconds, so that the page never grows.
"""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drum_crnn.formats.bars import bars_until
from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.console import printable
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = [
    "ACTIVATION",
    "BAR",
    "CONFIDENCE",
    "LEFT",
    "MAX_ROWS",
    "ONSET",
    "THRESHOLD",
    "WIDTH",
    "paint_plot",
    "write_plot",
]

FloatArray = NDArray[np.float32]
Colour = tuple[int, int, int]

MAX_ROWS = 20
LEFT, WIDTH, _RIGHT = 84, 1500, 24  # pixels; `WIDTH` of a full row between the names of the lanes and the margin
_ROW_S, _SHORTEST_ROW_S = 30, 5
_HEADER, _BETWEEN, _AXIS = 56, 18, 18
_SPECTROGRAM, _BARS = 96, 16
_STRIP, _PANEL, _GAP = 9, 22, 3  # of a lane: onsets, activation, and the space before the next lane
_LANE = _STRIP + _PANEL + _GAP
_LANES = _LANE * len(LANES)
_ROW = _SPECTROGRAM + _BARS + _LANES + _AXIS
_MARK = 2  # pixels, the width of an onset
_RANGE_DB = 70.0  # of the spectrogram, below its maximum
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_TICK_PIXELS, _NUMBER_PIXELS, _BAR_PIXELS = 70, 34, 6  # the least distances of times, of bars' numbers, of bars

_BACKGROUND, _TEXT, _STRIPES = (255, 255, 255), (40, 40, 40), ((243, 244, 247), (250, 250, 252))
_SOFT, _LOUD = np.array([255, 255, 255]), np.array([16, 24, 64])
# From the palette of Okabe and Ito, for people who cannot tell red from green.
ACTIVATION: Colour = (86, 180, 233)
THRESHOLD: Colour = (230, 159, 0)
ONSET: Colour = (204, 60, 120)
CONFIDENCE: Colour = (0, 60, 110)
BAR: Colour = (170, 174, 184)


class _Scale(NamedTuple):
    """How time lies on the page."""

    n_rows: int
    row_s: int

    @property
    def pixels(self) -> float:
        """Of a second."""
        return WIDTH / self.row_s

    def columns(self, time_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Columns as if all rows were one."""
        return np.floor(time_s * self.pixels + 1e-6).astype(np.int64)


def write_plot(
    path: Path,
    transcription: Transcription,
    *,
    recording: Path,
    features: FeatureParams,
    thresholds: Sequence[float],
    title: str,
    tempo_map: TempoMap | None = None,
) -> None:
    """Write a PNG file, whole or not at all; the arguments are those of `paint_plot`.

    Raises
    ------
    DrumCrnnError
        If the recording cannot be read or the file cannot be written.
    """
    frames = LogMel(features).stream(read_blocks(recording, sample_rate=features.sample_rate))
    image = paint_plot(
        transcription,
        frames,
        frame_rate=features.frame_rate,
        thresholds=thresholds,
        title=title,
        tempo_map=tempo_map,
    )
    content = io.BytesIO()
    image.save(content, format="PNG")
    with replace_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def paint_plot(
    transcription: Transcription,
    frames: Iterable[FloatArray],
    *,
    frame_rate: float,
    thresholds: Sequence[float],
    title: str,
    tempo_map: TempoMap | None = None,
) -> Image.Image:
    """Draw a transcription.

    Parameters
    ----------
    transcription : Transcription
        With its activation.
    frames : iterable of float32 arrays, shape (n_frames, n_mels)
        The log-mel spectrogram in dB, in parts.
    frame_rate : float
        Frames a second, of spectrogram and activation.
    thresholds : sequence of float
        One for each lane.
    tempo_map : TempoMap, optional
        Where bars lie; without it, none are drawn.

    Returns
    -------
    PIL image
        The same for the same input, 1608 pixels wide and at most 8456 high.

    Raises
    ------
    ValueError
        If the transcription holds no activation.
    """
    if transcription.activation is None:
        raise ValueError("the transcription holds no activation; transcribe with keep_activation=True")
    scale = _scale_of(transcription.duration_s)
    height = _HEADER + scale.n_rows * (_ROW + _BETWEEN)
    pixels = np.full((height, LEFT + WIDTH + _RIGHT, 3), _BACKGROUND, np.uint8)
    spectrogram = _shades(_by_column(frames, scale, frame_rate))
    activation = _by_column([transcription.activation], scale, frame_rate)
    bars = _bars(tempo_map, transcription.duration_s, scale)
    end = max(1, math.ceil(transcription.duration_s * scale.pixels))
    for row in range(scale.n_rows):
        top = _top(row)
        here = slice(row * WIDTH, min((row + 1) * WIDTH, end))
        shades = spectrogram[here]
        pixels[top : top + _SPECTROGRAM, LEFT : LEFT + len(shades)] = shades.transpose(1, 0, 2)
        lanes = pixels[top + _SPECTROGRAM + _BARS :][:_LANES, LEFT : LEFT + here.stop - here.start]
        _paint_lanes(lanes, activation[here], thresholds, [bar - here.start for bar, _ in bars])
    _paint_onsets(pixels, transcription, scale)
    image = Image.fromarray(pixels)
    _write_words(ImageDraw.Draw(image), title, scale, bars, transcription.duration_s)
    return image


def _scale_of(duration_s: float) -> _Scale:
    if duration_s <= _ROW_S:
        return _Scale(1, max(_SHORTEST_ROW_S, math.ceil(duration_s)))
    row_s = max(_ROW_S, math.ceil(duration_s / MAX_ROWS))
    return _Scale(math.ceil(duration_s / row_s), row_s)


def _top(row: int) -> int:
    return _HEADER + row * (_ROW + _BETWEEN)


def _by_column(parts: Iterable[FloatArray], scale: _Scale, frame_rate: float) -> FloatArray:
    """The maximum of the frames in each column; where frames are wider than columns, each fills several.

    Returns
    -------
    float32 array, shape (n_columns, n_values)
        Without the columns after the last frame.
    """
    columns: list[NDArray[np.int64]] = []
    values: list[FloatArray] = []
    first = 0
    for part in parts:
        if not len(part):
            continue
        at = scale.columns(np.arange(first, first + len(part)) / frame_rate)
        starts = np.flatnonzero(np.diff(at, prepend=-1))
        found = np.maximum.reduceat(part, starts, axis=0)
        if columns and columns[-1][-1] == at[0]:  # a column that two parts share
            found[0] = np.maximum(found[0], values[-1][-1])
            columns[-1], values[-1] = columns[-1][:-1], values[-1][:-1]
        columns.append(at[starts])
        values.append(found)
        first += len(part)
    if not first:
        return np.zeros((0, len(LANES)), np.float32)
    is_set = np.concatenate(columns)
    last = scale.columns(np.array([first / frame_rate]))[0]
    before = np.searchsorted(is_set, np.arange(max(last, is_set[-1] + 1)), side="right") - 1
    whole: FloatArray = np.concatenate(values)[before]
    return whole


def _shades(spectrogram: FloatArray) -> NDArray[np.uint8]:
    """Colours of the spectrogram, shape (n_columns, _SPECTROGRAM, 3), low bands at the bottom."""
    if not spectrogram.size:
        return np.zeros((0, _SPECTROGRAM, 3), np.uint8)
    loudness = ((spectrogram - spectrogram.max()) / np.float32(_RANGE_DB) + 1).clip(0, 1)
    if spectrogram.max() == spectrogram.min():
        loudness[:] = 0  # silence
    palette = np.rint(_SOFT + np.linspace(0, 1, 256)[:, None] * (_LOUD - _SOFT)).astype(np.uint8)
    band = np.arange(_SPECTROGRAM)[::-1] * spectrogram.shape[1] // _SPECTROGRAM
    shades: NDArray[np.uint8] = palette[np.rint(loudness * 255).astype(np.uint8)[:, band]]
    return shades


def _paint_lanes(
    pixels: NDArray[np.uint8], activation: FloatArray, thresholds: Sequence[float], bars: Sequence[int]
) -> None:
    """Paint the lanes of one row into its pixels, shape (_LANES, n_columns, 3)."""
    for lane, threshold in enumerate(thresholds):
        block = pixels[lane * _LANE : lane * _LANE + _STRIP + _PANEL]
        block[:] = _STRIPES[lane % 2]
        block[:, [bar for bar in bars if 0 <= bar < block.shape[1]]] = BAR
        panel = block[_STRIP:, : len(activation)]
        heights = np.rint(activation[:, lane] * _PANEL)
        panel[np.arange(_PANEL, 0, -1)[:, None] <= heights] = ACTIVATION
        block[_STRIP + _PANEL - max(1, round(threshold * _PANEL))] = THRESHOLD


def _paint_onsets(pixels: NDArray[np.uint8], transcription: Transcription, scale: _Scale) -> None:
    columns = scale.columns(transcription.time_s)
    tall = 2 + np.rint((_STRIP - 3) * transcription.velocity / 127).astype(np.int64)
    high = np.rint(transcription.confidence * _PANEL).astype(np.int64).clip(1)
    for column, lane, n_tall, n_high in zip(
        columns.tolist(), transcription.lane.tolist(), tall.tolist(), high.tolist(), strict=True
    ):
        row, x = divmod(min(column, scale.n_rows * WIDTH - 1), WIDTH)
        across = slice(LEFT + x, LEFT + min(x + _MARK, WIDTH))
        panel = _top(row) + _SPECTROGRAM + _BARS + lane * _LANE + _STRIP
        pixels[panel - n_tall : panel, across] = ONSET
        y = panel + _PANEL - n_high
        pixels[y : min(y + _MARK, panel + _PANEL), across] = CONFIDENCE


def _bars(tempo_map: TempoMap | None, duration_s: float, scale: _Scale) -> list[tuple[int, int]]:
    """Column and number of each bar, as if all rows were one; only every second, fourth … where they are dense."""
    if tempo_map is None:
        return []
    starts_s = tempo_map.seconds_of([bar.start for bar in bars_until(tempo_map, duration_s)])
    columns = scale.columns(starts_s)
    distance = float(np.median(np.diff(columns))) if len(columns) > 1 else math.inf
    every = _thinned(distance, _BAR_PIXELS)
    end = scale.columns(np.array([duration_s]))[0]
    numbered = enumerate(columns.tolist(), start=1)
    return [(column, number) for number, column in numbered if (number - 1) % every == 0 and column < end]


def _thinned(distance: float, least: int) -> int:
    """The power of two by which a distance in pixels must grow, to be as large as it should be."""
    return 1 if distance >= least else 2 ** math.ceil(math.log2(least / max(distance, 1e-3)))


def _write_words(
    draw: ImageDraw.ImageDraw, title: str, scale: _Scale, bars: Sequence[tuple[int, int]], duration_s: float
) -> None:
    _write(draw, 6, 6, printable(title), size=17)
    _write_legend(draw, 32, has_bars=bool(bars))
    step = next((tick for tick in _TICKS_S if tick * scale.pixels >= _TICK_PIXELS), _TICKS_S[-1])
    for row in range(scale.n_rows):
        lanes = _top(row) + _SPECTROGRAM + _BARS
        for lane, name in enumerate(LANES):
            _write(draw, 6, lanes + lane * _LANE + _STRIP + 3, name)
        start_s = row * scale.row_s
        first = -(-start_s // step) * step
        for second in range(first, min(start_s + scale.row_s, math.floor(duration_s)) + 1, step):
            x = LEFT + round((second - start_s) * scale.pixels)
            draw.line((x, lanes + _LANES, x, lanes + _LANES + 3), fill=_TEXT)
            _write(draw, x, lanes + _LANES + 4, _clock(second), anchor="ma")
    beyond = -math.inf
    for column, number in bars:
        row, x = divmod(column, WIDTH)
        if column >= beyond:
            _write(draw, LEFT + x, _top(row) + _SPECTROGRAM + 2, str(number), size=11)
            beyond = column + _NUMBER_PIXELS


def _write_legend(draw: ImageDraw.ImageDraw, y: int, *, has_bars: bool) -> None:
    x = _write(draw, 6, y, "spectrogram; for each lane:")
    entries = [(ONSET, "onset, the taller the louder"), (ACTIVATION, "activation"), (THRESHOLD, "threshold")]
    entries += [(CONFIDENCE, "confidence"), *([(BAR, "bar")] if has_bars else [])]
    for colour, word in entries:
        draw.rectangle((x + 20, y + 3, x + 30, y + 11), fill=colour)
        x = _write(draw, x + 36, y, word)


def _clock(seconds: int) -> str:
    """Such as 1:05, or 1:00:05."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _write(draw: ImageDraw.ImageDraw, x: int, y: int, text: str, *, anchor: str = "la", size: int = 13) -> int:
    """Write a line; returns where it ends."""
    font = ImageFont.load_default(size=size)
    draw.text((x, y), text, fill=_TEXT, font=font, anchor=anchor)
    return x + round(draw.textlength(text, font=font))
