"""Average precision, precision–recall curves and reliability: by hand, and against counts made from scratch."""

import itertools
import math
import tracemalloc
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peak_builder import LANE, TOLERANCE_S, counts_from_scratch, curve, lane_peaks

from drum_crnn.music.onsets import IgnoreWindows
from drum_crnn.scoring.curves import (
    N_BINS,
    Detections,
    Reliability,
    ReliabilityBins,
    average_precision,
    precision_recall,
)
from drum_crnn.scoring.sweep import LanePeaks, ThresholdCurve, sweep_lane

RECORDINGS = st.lists(lane_peaks(), min_size=1, max_size=3)


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    """scikit-learn warns, and goes on with a number, where a score is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def swept(recordings: list[LanePeaks]) -> ThresholdCurve:
    return sweep_lane(recordings, tolerance_s=TOLERANCE_S)


def lane(peaks: dict[float, float], references: list[float], ignore: IgnoreWindows | None = None) -> ThresholdCurve:
    """The curve of one recording, from activations by time."""
    activation = np.array(list(peaks.values()), dtype=np.float32)
    windows = ignore or IgnoreWindows.empty()
    return swept([LanePeaks(LANE, np.array(list(peaks)), activation, np.array(references), windows)])


def levels(recordings: list[LanePeaks]) -> list[float]:
    """The distinct activations, from the highest downwards."""
    return sorted({level for peaks in recordings for level in peaks.activation.tolist()}, reverse=True)


def detected(recordings: list[LanePeaks]) -> Detections:
    detections = Detections()
    for peaks in recordings:
        detections.add(peaks, tolerance_s=TOLERANCE_S)
    return detections


def reliability(curve: ThresholdCurve) -> Reliability:
    return ReliabilityBins.of(curve).reliability()


def empty_curve(*, n_references: int) -> ThresholdCurve:
    return ThresholdCurve(np.empty(0), np.empty(0, dtype=int), np.empty(0, dtype=int), n_references)


class TestAveragePrecision:
    def test_by_hand(self) -> None:
        # Right, wrong, right; the third reference is never found, and so recall ends at 2/3.
        known = lane({1.0: 0.9, 2.0: 0.8, 3.0: 0.7}, [1.0, 3.0, 4.0])
        assert average_precision(known) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)

    def test_of_two_peaks_at_one_reference_the_higher_is_right(self) -> None:
        first, second = (
            lane({1.0: 0.9, 1.03: 0.5, 2.0: 0.4}, [1.0, 2.0]),
            lane({1.0: 0.9, 2.0: 0.5, 1.03: 0.4}, [1.0, 2.0]),
        )
        assert average_precision(first) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
        assert average_precision(second) == 1.0

    def test_equal_activations_are_one_threshold(self) -> None:
        """Their order says nothing, so it changes nothing."""
        assert average_precision(lane({1.0: 0.5, 2.0: 0.5}, [1.0])) == pytest.approx(1 / 2)
        assert average_precision(lane({1.0: 0.5, 2.0: 0.5}, [2.0])) == pytest.approx(1 / 2)

    def test_what_ignore_windows_leave_out_is_neither_right_nor_wrong(self) -> None:
        ignore = IgnoreWindows(np.array([0.9]), np.array([1.1]), np.array([LANE]))
        assert average_precision(lane({1.0: 0.9, 2.0: 0.8}, [1.0, 2.0], ignore)) == 1.0
        assert average_precision(lane({1.0: 0.9, 2.0: 0.8}, [2.0])) == pytest.approx(1 / 2)

    def test_wrong_peaks_below_all_right_ones_cost_nothing(self) -> None:
        assert average_precision(curve((0.9, 4, 0), (0.1, 4, 900), n_references=4)) == 1.0

    def test_nothing_found_is_0_and_nothing_to_find_is_undefined(self) -> None:
        assert average_precision(curve((0.9, 0, 3), n_references=4)) == 0.0
        assert average_precision(empty_curve(n_references=4)) == 0.0
        assert math.isnan(average_precision(curve((0.9, 0, 3), n_references=0)))
        assert math.isnan(average_precision(empty_curve(n_references=0)))

    @given(RECORDINGS)
    def test_equals_the_sum_over_counts_made_from_scratch(self, recordings: list[LanePeaks]) -> None:
        expected, recall = 0.0, 0.0
        for level in levels(recordings):
            tp, fp, fn = counts_from_scratch(recordings, level)
            if tp:
                expected += tp / (tp + fp) * (tp / (tp + fn) - recall)
                recall = tp / (tp + fn)
        found = average_precision(swept(recordings))
        if swept(recordings).n_references == 0:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(expected)

    @given(RECORDINGS)
    def test_depends_on_the_order_of_activations_alone(self, recordings: list[LanePeaks]) -> None:
        squared = [
            LanePeaks(peaks.lane, peaks.time_s, peaks.activation**2, peaks.reference_s, peaks.ignore)
            for peaks in recordings
        ]
        found, of_squared = average_precision(swept(recordings)), average_precision(swept(squared))
        assert found == pytest.approx(of_squared, nan_ok=True)


class TestPrecisionRecall:
    @given(RECORDINGS)
    def test_equals_counts_made_from_scratch_at_every_threshold(self, recordings: list[LanePeaks]) -> None:
        found = swept(recordings)
        points = precision_recall(found)
        if len(found.tp) == 0 or found.tp[-1] == 0:
            assert [len(column) for column in points] == [0, 0, 0]
            return
        assert points.threshold.tolist() == found.threshold.tolist()
        for threshold, precision, recall in zip(*points, strict=True):
            tp, fp, fn = counts_from_scratch(recordings, threshold)
            assert (precision, recall) == pytest.approx((tp / (tp + fp), tp / (tp + fn)))

    def test_by_hand(self) -> None:
        points = precision_recall(curve((0.9, 1, 0), (0.5, 1, 1), (0.2, 3, 3), n_references=4))
        assert points.threshold.tolist() == [0.9, 0.5, 0.2]
        assert points.precision.tolist() == [1.0, 0.5, 0.5]
        assert points.recall.tolist() == [0.25, 0.25, 0.75]


class TestReliability:
    def test_by_hand(self) -> None:
        # The bins from 0.6 to 0.7 and from 0.9 to 1 hold peaks.
        found = reliability(curve((1.0, 2, 0), (0.96, 3, 0), (0.7, 4, 0), (0.65, 4, 3), n_references=9))
        assert found.confidence == pytest.approx([(0.7 + 3 * 0.65) / 4, (2 * 1.0 + 0.96) / 3])
        assert found.share_right == pytest.approx([1 / 4, 1])
        assert found.n_peaks.tolist() == [4, 3]

    def test_all_wrong_all_right_and_nothing(self) -> None:
        assert reliability(curve((0.5, 0, 2), n_references=0)).share_right.tolist() == [0.0]
        assert reliability(curve((0.5, 2, 0), n_references=2)).share_right.tolist() == [1.0]
        assert [len(column) for column in reliability(empty_curve(n_references=3))] == [0, 0, 0]

    @given(RECORDINGS)
    def test_each_bin_holds_the_peaks_of_its_interval(self, recordings: list[LanePeaks]) -> None:
        known = swept(recordings)
        bins = list(zip(*reliability(known), strict=True))
        edges = np.linspace(0, 1, N_BINS + 1)
        above = [counts_from_scratch(recordings, np.nextafter(edge, 2)) for edge in edges]  # the end belongs to the bin
        for (low, high), (of_low, of_high) in zip(itertools.pairwise(edges), itertools.pairwise(above), strict=True):
            right, wrong = of_low[0] - of_high[0], of_low[1] - of_high[1]
            if right + wrong:
                confidence, share_right, n_peaks = bins.pop(0)
                assert low < confidence <= high
                assert share_right == pytest.approx(right / (right + wrong))
                assert n_peaks == right + wrong
        assert not bins

    @given(RECORDINGS)
    def test_recordings_one_by_one_give_that_of_all(self, recordings: list[LanePeaks]) -> None:
        for one, other in zip(detected(recordings).bins.reliability(), reliability(swept(recordings)), strict=True):
            np.testing.assert_allclose(one, other)

    def test_of_no_lane_is_empty(self) -> None:
        assert [len(column) for column in ReliabilityBins.total(()).reliability()] == [0, 0, 0]

    def test_a_calibrated_lane_lies_on_the_diagonal(self) -> None:
        rng = np.random.default_rng(0)
        activation = np.sort(rng.random(20_000))[::-1]
        tp = np.cumsum(rng.random(20_000) < activation)
        found = reliability(ThresholdCurve(activation, tp, np.arange(1, 20_001) - tp, int(tp[-1])))
        assert found.n_peaks.sum() == 20_000
        assert found.share_right == pytest.approx(found.confidence, abs=0.04)


class TestDetections:
    @given(RECORDINGS, st.integers(0, 9).map(lambda n: n / 8))
    def test_few_points_of_the_curve_say_what_all_say(self, recordings: list[LanePeaks], threshold: float) -> None:
        whole, few = swept(recordings), detected(recordings).curve(threshold=threshold)
        assert few.n_references == whole.n_references
        assert average_precision(few) == pytest.approx(average_precision(whole), nan_ok=True)
        points = dict(
            zip(whole.threshold.tolist(), zip(whole.tp.tolist(), whole.fp.tolist(), strict=True), strict=True)
        )
        growing = {
            level
            for level in points
            if points[level][0] > max([0, *(points[higher][0] for higher in points if higher > level)])
        }
        reaching = [level for level in points if level >= threshold]
        assert set(few.threshold.tolist()) == growing | set(sorted(reaching)[:1])
        for place, level in enumerate(few.threshold.tolist()):
            assert (few.tp[place], few.fp[place]) == points[level]
        assert (np.diff(few.threshold) < 0).all()

    def test_a_threshold_is_not_rounded_to_the_activations(self) -> None:
        """As float32, 0.3 is a little above 0.3."""
        at = [float(np.float32(0.3)), float(np.nextafter(np.float32(0.3), np.float32(1)))]
        recordings = [
            LanePeaks(LANE, np.array([1.0, 2.0]), np.array(at, np.float32), np.empty(0), IgnoreWindows.empty())
        ]
        between = (at[0] + at[1]) / 2
        assert detected(recordings).curve(threshold=0.3).threshold.tolist() == at[:1]
        assert detected(recordings).curve(threshold=between).threshold.tolist() == at[1:]

    def test_a_peak_takes_four_bytes(self) -> None:
        """E-GMD's test split has some twenty million of them."""
        detections, n_peaks, n_recordings = Detections(), 10_000, 50
        rng = np.random.default_rng(0)
        tracemalloc.start()
        try:
            for _ in range(n_recordings):
                peaks = LanePeaks(
                    LANE, np.arange(n_peaks) / 10, rng.random(n_peaks, np.float32), np.empty(0), IgnoreWindows.empty()
                )
                detections.add(peaks, tolerance_s=TOLERANCE_S)
            del peaks
            kept, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            detections.curve(threshold=0.5)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 5 * n_peaks * n_recordings
        assert peak < 20 * n_peaks * n_recordings
