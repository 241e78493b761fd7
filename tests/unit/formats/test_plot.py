"""The picture of a transcription, read back pixel by pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
from builders import RATE, noise, small_features
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transcriptions import Row, any_transcription, transcription

from drum_crnn.formats.plot import (
    ACTIVATION,
    BAR,
    CONFIDENCE,
    LEFT,
    MAX_ROWS,
    ONSET,
    THRESHOLD,
    WIDTH,
    paint_plot,
    write_plot,
)
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANES, N_LANES
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

FRAME_RATE = 100.0
HALF = (0.5,) * N_LANES


def with_activation(made: Transcription, peaks: dict[tuple[float, str], float] | None = None) -> Transcription:
    """The same onsets; all activations are 0 but those at the given times."""
    activation = np.zeros((max(1, round(made.duration_s * FRAME_RATE)), N_LANES), np.float32)
    for (time_s, lane), value in (peaks or {}).items():
        activation[round(time_s * FRAME_RATE), LANES.index(lane)] = value
    columns = (made.time_s, made.lane, made.velocity, made.confidence)
    return Transcription(*columns, duration_s=made.duration_s, activation=activation)


def painted(
    made: Transcription,
    *,
    frames: list[np.ndarray] | None = None,
    thresholds: tuple[float, ...] = HALF,
    tempo_map: TempoMap | None = None,
) -> np.ndarray:
    frames = frames if frames is not None else [np.full((round(made.duration_s * FRAME_RATE), 20), -90, np.float32)]
    image = paint_plot(made, frames, frame_rate=FRAME_RATE, thresholds=thresholds, title="song", tempo_map=tempo_map)
    return np.asarray(image)


def are(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == np.array(colour)).all(axis=2)


def threshold_lines(pixels: np.ndarray) -> np.ndarray:
    """Their y, shape (n_rows, n_lanes), by which the lanes are found; dots may cover a few pixels of them."""
    return np.flatnonzero(are(pixels[:, LEFT : LEFT + 6], THRESHOLD).any(axis=1)).reshape(-1, N_LANES)


def columns_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> set[tuple[str, int]]:
    """Lanes and columns, counted through all rows, that hold a colour between a lane's line and the one above it."""
    found = set()
    is_colour = are(pixels, colour)
    for row, lines in enumerate(threshold_lines(pixels)):
        for lane, line in enumerate(lines):
            above = is_colour[line - 20 : line + 1, LEFT : LEFT + WIDTH]
            found |= {(LANES[lane], row * WIDTH + int(x)) for x in np.flatnonzero(above.any(axis=0))}
    return found


@given(made=any_transcription())
@settings(max_examples=15, deadline=None)
def test_onsets_are_where_they_are(made: Transcription) -> None:
    """Two minutes: four rows of 30 s, 50 pixels a second. A mark is two pixels wide, and ends with its row."""
    expected = set()
    for time_s, lane, _, _ in made.rows():
        column = min(math.floor(time_s * 50 + 1e-6), 4 * WIDTH - 1)
        expected |= {(lane, column)} | ({(lane, column + 1)} if (column + 1) % WIDTH else set())
    pixels = painted(with_activation(made))
    assert threshold_lines(pixels).shape == (4, N_LANES)
    assert columns_of(pixels, ONSET) == expected


def test_louder_onsets_are_taller_and_surer_ones_have_a_higher_dot() -> None:
    rows: list[Row] = [(1.0, "snare", 20, 0.55), (2.0, "snare", 70, 0.7), (3.0, "snare", 127, 0.95)]
    pixels = painted(with_activation(transcription(rows, duration_s=30)))
    columns = [LEFT + 50, LEFT + 100, LEFT + 150]
    tall = are(pixels, ONSET).sum(axis=0)[columns].tolist()
    assert tall == sorted(set(tall))
    dots = [int(np.flatnonzero(are(pixels, CONFIDENCE)[60:, column])[0]) for column in columns]
    assert dots == sorted(set(dots), reverse=True)


@pytest.mark.parametrize(("value", "threshold", "reaches"), [(0.9, 0.5, True), (0.3, 0.5, False), (0.3, 0.2, True)])
def test_activations_rise_above_the_line_if_they_reach_the_threshold(
    value: float, threshold: float, reaches: bool
) -> None:
    made = with_activation(transcription([], duration_s=60), {(42.0, "crash"): value})
    thresholds = (*HALF[:6], threshold, *HALF[7:])
    pixels = painted(made, thresholds=thresholds)
    is_active = are(pixels, ACTIVATION)
    is_active[:60] = False  # the legend
    assert np.flatnonzero(is_active.any(axis=0)).tolist() == [LEFT + 12 * 50]
    line = threshold_lines(pixels)[1, LANES.index("crash")]
    ys = np.flatnonzero(is_active.any(axis=1))
    assert (ys[0] < line) == reaches
    assert line - 22 < ys[0]
    assert ys[-1] < line + 22  # in no other lane


def test_the_spectrogram_has_a_sound_at_its_time_and_low_bands_below() -> None:
    frames = np.full((6000, 20), -80, np.float32)
    frames[4000, 2] = 0.0
    pixels = painted(with_activation(transcription([], duration_s=60)), frames=[frames])
    lines = threshold_lines(pixels)
    darkness = 255 * 3 - pixels.astype(int).sum(axis=2)
    above = darkness[lines[0, -1] + 40 : lines[1, 0] - 45, LEFT : LEFT + WIDTH]  # the second row's
    assert np.flatnonzero(above.max(axis=0) > 600).tolist() == [10 * 50]
    y = np.flatnonzero(above[:, 10 * 50] > 600).mean()
    assert y > 0.7 * len(above)


def test_frames_may_come_in_any_parts() -> None:
    frames = np.random.default_rng(0).uniform(-80, 0, (3150, 20)).astype(np.float32)
    made = with_activation(transcription([], duration_s=31.5))
    whole = painted(made, frames=[frames])
    for cuts in ([1, 2, 3, 1000], [0, 777, 777], list(range(7, 3150, 7))):
        np.testing.assert_array_equal(painted(made, frames=np.split(frames, cuts)), whole)


def test_bars_are_drawn_if_they_are_known() -> None:
    made = with_activation(transcription([], duration_s=30))
    pixels = painted(made, tempo_map=TempoMap.constant(60.0))
    lines = threshold_lines(pixels)[0]
    between = are(pixels, BAR)[lines[0] + 2, LEFT : LEFT + WIDTH]
    assert np.flatnonzero(between).tolist() == [200 * bar for bar in range(8)]
    assert not are(painted(made), BAR).any()


def test_a_bar_that_begins_where_the_recording_ends_is_not_drawn() -> None:
    made = with_activation(transcription([], duration_s=4.0))
    pixels = painted(made, tempo_map=TempoMap.constant(60.0))
    numbers = pixels[60 : threshold_lines(pixels)[0, 0]]
    assert (numbers[:, LEFT : LEFT + 100] != 255).any()
    assert (numbers[:, LEFT + 4 * WIDTH // 5 :] == 255).all()


def test_dense_bars_are_thinned() -> None:
    made = with_activation(transcription([], duration_s=30))
    pixels = painted(made, tempo_map=TempoMap.constant(1000.0, 1, 4))  # 3 pixels a bar
    columns = np.flatnonzero(are(pixels, BAR)[threshold_lines(pixels)[0, 0] + 2])
    assert np.diff(columns).min() >= 5


@pytest.mark.parametrize(
    ("duration_s", "n_rows"), [(0, 1), (2, 1), (30, 1), (31, 2), (600, 20), (601, 20), (36_000, 20)]
)
def test_a_page_is_bounded_and_holds_the_last_onset(duration_s: float, n_rows: int) -> None:
    rows: list[Row] = [(0.99 * duration_s, "ride", 100)]
    made = transcription(rows, duration_s=duration_s)
    activation = np.zeros((duration_s, N_LANES), np.float32)  # one frame a second
    columns = (made.time_s, made.lane, made.velocity, made.confidence)
    made = Transcription(*columns, duration_s=duration_s, activation=activation)
    image = paint_plot(
        made, [np.full((duration_s, 20), -90, np.float32)], frame_rate=1.0, thresholds=HALF, title="song"
    )
    assert image.width == 1608
    assert image.height <= 8456
    pixels = np.asarray(image)
    found = np.flatnonzero(are(pixels[60:], ONSET).any(axis=1)) + 60
    assert n_rows <= MAX_ROWS
    row_height = (image.height - 56) // n_rows
    assert (found - 56).min() // row_height == n_rows - 1


def test_any_title_and_nothing_at_all() -> None:
    nothing = with_activation(transcription([], duration_s=0.0))
    image = paint_plot(nothing, [], frame_rate=FRAME_RATE, thresholds=HALF, title="ドラム \udce9")
    assert not are(np.asarray(image)[60:], ONSET).any()


def test_without_activation_it_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match="keep_activation=True"):
        painted(transcription([], duration_s=1.0))


@given(threshold=st.floats(0.01, 1.0))
@settings(max_examples=10, deadline=None)
def test_lines_follow_the_thresholds(threshold: float) -> None:
    made = with_activation(transcription([], duration_s=10))
    usual = threshold_lines(painted(made))[0]
    moved = threshold_lines(painted(made, thresholds=(*HALF[:2], threshold, *HALF[3:])))[0]
    assert (moved - usual)[[0, 1, 3, 4, 5, 6, 7]].tolist() == [0] * 7
    assert usual[2] - moved[2] == pytest.approx(22 * (threshold - 0.5), abs=1.01)


def test_a_file_is_a_png_and_one_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "song.wav", noise(RATE), RATE)
    made = with_activation(transcription([(0.5, "kick", 100)], duration_s=1.0))
    options = {"recording": tmp_path / "song.wav", "features": small_features(), "thresholds": HALF, "title": "x"}
    write_plot(tmp_path / "song.png", made, **options)
    with Image.open(tmp_path / "song.png") as image:
        assert image.format == "PNG"
        assert are(np.asarray(image), ONSET).any()
    (tmp_path / "file").touch()
    with pytest.raises(DrumCrnnError, match=r"song\.png: cannot be written"):
        write_plot(tmp_path / "file" / "song.png", made, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "song.png", "song.wav"]
