"""Windows cover each frame once, whatever the blocks; activations depend on the recording alone."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from builders import section, small_model, untrained
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from drum_crnn.model.activations import Activations, onsets_of
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.inference import activations_of, activations_of_all, stream_activations
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import N_LANES

FLOOR_DB = -90.0
STEP = 0.01


class Echo(DrumCrnn):
    """A fake model. Its onset logit is the frame's only band, and its velocity logit the negative of that."""

    def __init__(self, *, window_frames: int, margin_frames: int) -> None:
        nn.Module.__init__(self)
        self.params = small_model(window_frames=window_frames, margin_frames=margin_frames)
        self.n_mels = 1
        self.weight = nn.Parameter(torch.zeros(1))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes.append(tuple(frames.shape))
        logits = frames.expand(-1, -1, N_LANES)
        return logits, -logits


def numbered(n_frames: int) -> np.ndarray:
    """Frames that hold their own number."""
    return (STEP * np.arange(n_frames, dtype=np.float32))[:, None]


def numbers(activations: Activations) -> np.ndarray:
    onset = activations.onset.astype(np.float64)
    np.testing.assert_allclose(activations.velocity, 127.0 * (1.0 - onset), atol=1e-3)
    assert (onset == onset[:, :1]).all()
    return np.rint(np.log(onset[:, 0] / (1.0 - onset[:, 0])) / STEP).astype(int)


def blocks_of(frames: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    return np.split(frames, sorted(cut % (len(frames) + 1) for cut in cuts))


@settings(deadline=None)
@given(
    n_frames=st.integers(0, 250),
    window=st.integers(1, 40),
    margin=st.integers(0, 19),
    batch_windows=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 250), max_size=5),
)
def test_inner_parts_are_every_frame_once_in_order(
    n_frames: int, window: int, margin: int, batch_windows: int, cuts: list[int]
) -> None:
    model = Echo(window_frames=max(window, 2 * margin + 1), margin_frames=margin)
    parts = stream_activations(
        model, blocks_of(numbered(n_frames), cuts), floor_db=FLOOR_DB, batch_windows=batch_windows
    )
    np.testing.assert_array_equal(numbers(Activations.concatenate(parts)), np.arange(n_frames))
    # Memory is bounded: windows have one size, and a batch holds at most `batch_windows`.
    for batch, n_window, _ in model.shapes:
        assert n_window == model.params.window_frames
        assert batch <= batch_windows


@pytest.mark.parametrize(("n_frames", "n_windows"), [(1, 1), (60, 1), (61, 2), (96, 2), (97, 3)])
def test_no_more_windows_than_needed(n_frames: int, n_windows: int) -> None:
    model = Echo(window_frames=60, margin_frames=12)
    activations_of(model, numbered(n_frames), floor_db=FLOOR_DB)
    assert model.shapes == [(n_windows, 60, 1)]


@pytest.mark.parametrize("n_frames", [0, 1, 11, 60, 61, 96, 97, 200])
@pytest.mark.parametrize("cuts", [[], [0, 0], [1], [5, 59, 60, 61], list(range(200))])
def test_blocks_change_no_bit(n_frames: int, cuts: list[int]) -> None:
    model = untrained()
    frames = np.random.default_rng(0).uniform(-90.0, 0.0, (n_frames, 20)).astype(np.float16)
    whole = activations_of(model, frames, floor_db=FLOOR_DB)
    assert whole.onset.shape == whole.velocity.shape == (n_frames, N_LANES)
    assert whole.onset.dtype == whole.velocity.dtype == np.float32
    streamed = Activations.concatenate(stream_activations(model, blocks_of(frames, cuts), floor_db=FLOOR_DB))
    np.testing.assert_array_equal(streamed.onset, whole.onset)
    np.testing.assert_array_equal(streamed.velocity, whole.velocity)


def test_batches_of_windows_are_a_matter_of_speed() -> None:
    model = untrained()
    frames = np.random.default_rng(1).uniform(-90.0, 0.0, (500, 20)).astype(np.float32)
    one, eight = (activations_of(model, frames, floor_db=FLOOR_DB, batch_windows=n) for n in (1, 8))
    np.testing.assert_allclose(one.onset, eight.onset, atol=1e-5)
    np.testing.assert_allclose(one.velocity, eight.velocity, atol=1e-3)


@given(lengths=st.lists(st.integers(0, 100), max_size=6), batch_windows=st.integers(1, 9) | st.none())
def test_each_recording_gets_its_own_frames_however_windows_are_grouped(
    lengths: list[int], batch_windows: int | None
) -> None:
    model = Echo(window_frames=60, margin_frames=12)
    frames = numbered(600)
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    recordings = [frames[start : start + n] for start, n in zip(starts, lengths, strict=True)]
    found = list(activations_of_all(model, recordings, floor_db=FLOOR_DB, batch_windows=batch_windows))
    assert len(found) == len(lengths)
    for start, n, activations in zip(starts, lengths, found, strict=True):
        np.testing.assert_array_equal(numbers(activations), np.arange(start, start + n))
    if batch_windows:  # no batch is smaller than it need be
        sizes = [batch for batch, *_ in model.shapes]
        assert set(sizes[:-1]) <= {batch_windows}


def test_a_recording_is_predicted_as_soon_as_its_windows_are() -> None:
    """Else memory would grow with the corpus."""
    model, read = Echo(window_frames=60, margin_frames=12), []

    def recordings() -> Iterator[np.ndarray]:
        for number in range(50):
            read.append(number)
            yield numbered(100)

    for number, _ in enumerate(activations_of_all(model, recordings(), floor_db=FLOOR_DB, batch_windows=8)):
        assert len(read) <= number + 8


def test_short_recording_is_padded_with_silence() -> None:
    model = untrained()
    frames = np.random.default_rng(2).uniform(-90.0, 0.0, (17, 20)).astype(np.float32)
    padded = np.full((model.params.window_frames, 20), FLOOR_DB, np.float32)
    padded[:17] = frames
    with torch.inference_mode():
        onset, velocity = model(torch.from_numpy(padded)[None])
    found = activations_of(model, frames, floor_db=FLOOR_DB)
    np.testing.assert_allclose(found.onset, onset.sigmoid()[0, :17].numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.velocity, (127.0 * velocity.sigmoid())[0, :17].numpy(), rtol=1e-5)


def test_a_frame_depends_on_its_window_alone() -> None:
    """Windows of 60 with margins of 12 begin at 0, 36, 72, …; their inner parts end at 48, 84, 120, …"""
    model = untrained()
    frames = np.random.default_rng(3).uniform(-90.0, 0.0, (300, 20)).astype(np.float32)
    changed = frames.copy()
    changed[96:] = 0.0
    one, other = (activations_of(model, f, floor_db=FLOOR_DB) for f in (frames, changed))
    np.testing.assert_array_equal(one.onset[:84], other.onset[:84])  # in windows that end before 96
    assert not np.array_equal(one.onset[84:96], other.onset[84:96])  # in a window that holds frames after 96


def test_every_frame_has_its_margin_as_context() -> None:
    """Windows overlap by enough: each frame within the margin, on either side, influences the prediction."""
    model = untrained()
    frames = np.full((200, 20), -40.0, np.float32)
    plain = activations_of(model, frames, floor_db=FLOOR_DB).onset
    for place in (47, 48, 49, 83, 84, 120):
        changed = frames.copy()
        changed[place] = 0.0
        found = activations_of(model, changed, floor_db=FLOOR_DB).onset
        for near in range(-4, 5):
            assert not np.array_equal(found[place + near], plain[place + near]), (place, near)


def test_model_is_put_into_evaluation_mode_and_makes_no_graph() -> None:
    model = untrained(small_model(dropout=0.5)).train()
    frames = np.zeros((30, 20), np.float32)
    one, other = (activations_of(model, frames, floor_db=FLOOR_DB) for _ in range(2))
    np.testing.assert_array_equal(one.onset, other.onset)


def test_onsets_are_peaks_above_the_threshold_of_their_lane() -> None:
    onset, velocity = np.zeros((50, N_LANES), np.float32), np.full((50, N_LANES), 64.4, np.float32)
    onset[[9, 10, 11], 1] = [0.4, 0.9, 0.5]
    onset[20, 0], onset[20, 7], onset[30, 7] = 0.5, 0.25, 0.24
    velocity[10, 1], velocity[20, 0] = 0.2, 127.0
    found = onsets_of(
        Activations(onset, velocity),
        thresholds=[0.5] * 7 + [0.25],
        peak_picking=section(PeakPickingParams),
        frame_rate=100.0,
    )
    # Between frames: the top of the parabola through 0.4, 0.9 and 0.5 is an eighteenth of a frame late.
    assert found.time_s.tolist() == pytest.approx([0.1 + 0.01 / 18, 0.2, 0.2])
    assert found.lane.tolist() == [1, 0, 7]
    assert found.velocity.tolist() == [1, 127, 64]  # never 0: that would be a note-off


def test_a_doubtful_tom_is_found_if_toms_are_pooled() -> None:
    onset, velocity = np.zeros((20, N_LANES), np.float32), np.full((20, N_LANES), 64.0, np.float32)
    onset[10, 3:6] = [0.3, 0.4, 0.1]
    for pool_toms, lanes in ((True, [4]), (False, [])):
        picking = section(PeakPickingParams, pool_toms=pool_toms)
        found = onsets_of(Activations(onset, velocity), thresholds=[0.5] * 8, peak_picking=picking, frame_rate=100.0)
        assert found.lane.tolist() == lanes


def test_no_activations_give_no_onsets() -> None:
    nothing = Activations.concatenate([])
    found = onsets_of(nothing, thresholds=[0.5] * 8, peak_picking=section(PeakPickingParams), frame_rate=100.0)
    assert len(found) == 0
