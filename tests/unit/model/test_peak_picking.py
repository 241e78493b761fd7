"""Peak picking against a peak picker too simple to be wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.peak_picking import PeakPickingParams, find_peaks, pick_peaks, pooled_toms, refined
from drum_crnn.music.lanes import LANES, N_LANES

# Few levels, so that plateaus and equal peaks are common.
ACTIVATIONS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), max_size=40).map(
    lambda values: np.array(values, dtype=np.float32)
)
RADII = st.integers(1, 6)


def brute_force(activation: np.ndarray, radius: int) -> list[int]:
    return [
        n
        for n, value in enumerate(activation)
        if all(value > other for other in activation[max(0, n - radius) : n])
        and all(value >= other for other in activation[n + 1 : n + radius + 1])
    ]


@given(ACTIVATIONS, RADII)
def test_finds_what_brute_force_finds(activation: np.ndarray, radius: int) -> None:
    peaks = find_peaks(activation, params=PeakPickingParams(max_radius=radius))
    assert peaks.tolist() == brute_force(activation, radius)


@given(ACTIVATIONS, RADII)
def test_peaks_are_further_apart_than_the_radius(activation: np.ndarray, radius: int) -> None:
    peaks = find_peaks(activation, params=PeakPickingParams(max_radius=radius))
    assert (np.diff(peaks) > radius).all()


@given(ACTIVATIONS, RADII, st.sampled_from([0.1, 0.25, 0.3, 0.75, 1.0]))
def test_threshold_only_selects_among_the_peaks(activation: np.ndarray, radius: int, threshold: float) -> None:
    params = PeakPickingParams(max_radius=radius)
    expected = [n for n in brute_force(activation, radius) if activation[n] >= threshold]
    assert pick_peaks(activation, threshold=threshold, params=params).tolist() == expected


def test_random_activation_of_many_frames() -> None:
    activation = np.random.default_rng(0).random(5000)
    for radius in (1, 2, 3, 10):
        assert find_peaks(activation, params=PeakPickingParams(max_radius=radius)).tolist() == brute_force(
            activation, radius
        )


def test_earliest_frame_of_a_plateau_wins() -> None:
    activation = np.array([0.0, 0.9, 0.9, 0.9, 0.0])
    assert find_peaks(activation, params=PeakPickingParams(max_radius=2)).tolist() == [1]


def test_threshold_is_not_rounded_to_single_precision() -> None:
    activation = np.array([0.0, 0.3, 0.0], dtype=np.float32)  # float32(0.3) is 0.30000001192...
    params = PeakPickingParams(max_radius=1)
    assert pick_peaks(activation, threshold=float(activation[1]), params=params).tolist() == [1]
    assert pick_peaks(activation, threshold=0.300000015, params=params).tolist() == []  # also 0.3 as float32


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (np.zeros((3, 2)), "1-D"),
        (np.array([0.5, 1.5]), "logits"),
        (np.array([-0.1, 0.5]), "logits"),
        (np.array([0.5, np.nan]), "logits"),
    ],
)
def test_refuses_what_is_no_activation(activation: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_peaks(activation, params=PeakPickingParams(max_radius=3))


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_refuses_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        pick_peaks(np.zeros(3), threshold=threshold, params=PeakPickingParams(max_radius=3))


def test_params_want_a_radius_of_at_least_one_frame() -> None:
    with pytest.raises(DrumCrnnError, match=r"peak_picking\.max_radius"):
        PeakPickingParams.check({"max_radius": 0}, source="params.yaml")


TOMS = [LANES.index(name) for name in ("high_tom", "mid_tom", "low_tom")]
POOLED = PeakPickingParams(max_radius=2, pool_toms=True)


def toms_only(*rows: tuple[float, float, float]) -> np.ndarray:
    """Activations of the three toms, one row per frame; all other lanes are 1."""
    activation = np.ones((len(rows), N_LANES), np.float32)
    activation[:, TOMS] = np.reshape(rows, (-1, 3))
    return activation


def test_a_doubtful_tom_becomes_one_certain_one() -> None:
    """No lane reaches 0.5, and another lane is ahead in the frame after the peak. It is still one stroke."""
    activation = toms_only((0, 0, 0), (0, 0.1, 0.1), (0.1, 0.4, 0.3), (0.1, 0.2, 0.25), (0, 0, 0), (0, 0, 0))
    pooled = pooled_toms(activation, params=POOLED)
    assert pooled[2, TOMS] == pytest.approx([0.1, 0.8, 0.3])
    found = [pick_peaks(pooled[:, lane], threshold=0.5, params=POOLED).tolist() for lane in TOMS]
    assert found == [[], [2], []]


def test_two_toms_at_once_stay_two_and_where_they_are() -> None:
    """Their sum exceeds 1 in the frames around as well."""
    around, at = (0.66, 0.05, 0.63), (0.95, 0.05, 0.9)
    pooled = pooled_toms(toms_only((0, 0, 0), around, at, around, (0, 0, 0)), params=POOLED)
    assert pooled[2, TOMS] == pytest.approx([1.0, 0.05, 0.9])
    found = [pick_peaks(pooled[:, lane], threshold=0.5, params=POOLED).tolist() for lane in TOMS]
    assert found == [[2], [], [2]]


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), max_size=20), st.integers(1, 4))
def test_pooling_raises_peaks_to_the_sum_and_nothing_else(rows: list, radius: int) -> None:
    activation = toms_only(*rows)
    before = activation.copy()
    params = PeakPickingParams(max_radius=radius, pool_toms=True)
    pooled = pooled_toms(activation, params=params)
    assert np.array_equal(activation, before)
    assert pooled.dtype == activation.dtype
    total = np.minimum(activation[:, TOMS].sum(axis=1), 1)
    for lane in range(N_LANES):
        peaks = find_peaks(activation[:, lane], params=params)
        assert find_peaks(pooled[:, lane], params=params).tolist() == peaks.tolist()
        changed = np.flatnonzero(pooled[:, lane] != activation[:, lane])
        assert lane in TOMS or not len(changed)
        assert np.isin(changed, peaks).all()
        assert np.array_equal(pooled[changed, lane], total[changed])


def test_unpooled_toms_are_left_as_they_are() -> None:
    activation = toms_only((0.4, 0.4, 0.1))
    assert pooled_toms(activation, params=PeakPickingParams(max_radius=2)) is activation


def test_pooling_wants_all_lanes() -> None:
    with pytest.raises(ValueError, match="8"):
        pooled_toms(np.zeros((5, 3)), params=POOLED)


@given(st.floats(-0.49, 0.49), st.floats(0.01, 0.2), st.floats(0.5, 1.0), st.integers(1, 8))
def test_the_top_of_a_parabola_is_found_between_frames(shift: float, width: float, height: float, frame: int) -> None:
    frames = np.arange(10)
    activation = height - width * (frames - frame - shift) ** 2
    assert refined(np.array([frame]), activation)[0] == pytest.approx(frame + shift, abs=1e-6)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.integers(1, 3))
def test_times_between_frames_stay_with_their_peaks(values: list[float], radius: int) -> None:
    activation = np.array(values, np.float32)
    peaks = find_peaks(activation, params=PeakPickingParams(max_radius=radius))
    frames = refined(peaks, activation)
    np.testing.assert_array_equal(np.rint(frames), peaks)
    assert (np.diff(frames) > 0).all()
    assert frames.min() >= 0
    assert frames.max() <= len(activation) - 1


def test_a_peak_that_is_none_of_its_own_lane_stays() -> None:
    """Pooled toms have peaks of the lane's neighbours."""
    assert refined(np.array([1]), np.array([0.1, 0.2, 0.9])).tolist() == [1.0]
    assert refined(np.array([], np.int64), np.array([0.1])).tolist() == []
