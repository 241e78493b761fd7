"""The threshold sweep against mir_eval at single thresholds."""

import math

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peak_builder import LANE, TOLERANCE_S, counts_from_scratch, curve, lane_peaks

from drum_crnn.model.activations import Activations, onsets_of
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.metrics import count_matches
from drum_crnn.scoring.sweep import (
    LanePeaks,
    ThresholdCurve,
    best_counts,
    best_f,
    merge_curves,
    peaks_of_lanes,
    pooled_best_f,
    sweep_lane,
)


class TestSweep:
    @given(st.lists(lane_peaks(), max_size=3))
    def test_equals_count_matches_at_every_threshold(self, recordings: list[LanePeaks]) -> None:
        swept = sweep_lane(recordings, tolerance_s=TOLERANCE_S)
        thresholds = np.arange(1, 18) / 16  # each level, between the levels, and above all of them
        counts = swept.at(thresholds)
        for n, threshold in enumerate(thresholds):
            assert (counts.tp[n], counts.fp[n], counts.fn[n]) == counts_from_scratch(recordings, threshold)

    @given(lane_peaks())
    def test_has_one_row_for_each_distinct_activation(self, peaks: LanePeaks) -> None:
        everything = LanePeaks(LANE, peaks.time_s, peaks.activation, peaks.reference_s, IgnoreWindows.empty())
        swept = sweep_lane([everything], tolerance_s=TOLERANCE_S)
        assert swept.threshold.tolist() == sorted({*peaks.activation.tolist()}, reverse=True)
        assert (swept.tp + swept.fp).tolist() == [(peaks.activation >= level).sum() for level in swept.threshold]
        assert swept.fn.tolist() == (len(peaks.reference_s) - swept.tp).tolist()

    def test_long_dense_passages(self) -> None:
        # References and peaks so close that each recording is one long chain of rivals.
        rng = np.random.default_rng(0)
        for _ in range(5):
            reference = np.cumsum(rng.uniform(0.02, 0.1, 400))
            times = np.cumsum(rng.uniform(0.02, 0.07, 500))
            activation = rng.random(500).astype(np.float32)
            swept = sweep_lane([LanePeaks(LANE, times, activation, reference, IgnoreWindows.empty())], tolerance_s=0.05)
            for threshold in rng.choice(activation, 20):
                matching = mir_eval.util.match_events(reference, times[activation >= threshold], 0.05)
                assert swept.at(np.array([threshold], dtype=float)).tp.tolist() == [len(matching)]

    def test_a_later_peak_can_make_room_for_both(self) -> None:
        # The louder peak could take either reference, the softer one only the first.
        peaks = LanePeaks(
            LANE,
            np.array([1.04, 0.96]),
            np.array([0.9, 0.5], dtype=np.float32),
            np.array([1.0, 1.08]),
            IgnoreWindows.empty(),
        )
        swept = sweep_lane([peaks], tolerance_s=0.05)
        assert (swept.tp.tolist(), swept.fp.tolist(), swept.fn.tolist()) == ([1, 2], [0, 0], [1, 0])

    def test_no_recordings_no_rows(self) -> None:
        swept = sweep_lane([], tolerance_s=0.05)
        assert (len(swept.threshold), swept.n_references) == (0, 0)

    @given(st.lists(lane_peaks(), min_size=1, max_size=4))
    def test_merged_curves_equal_the_curve_of_all(self, recordings: list[LanePeaks]) -> None:
        together = sweep_lane(recordings, tolerance_s=TOLERANCE_S)
        merged = merge_curves([sweep_lane([peaks], tolerance_s=TOLERANCE_S) for peaks in recordings])
        for one, other in ((together.threshold, merged.threshold), (together.tp, merged.tp), (together.fp, merged.fp)):
            np.testing.assert_array_equal(one, other)
        assert together.n_references == merged.n_references

    def test_tolerance_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="tolerance_s"):
            sweep_lane([], tolerance_s=0)


class TestPeaksOfLanes:
    @pytest.mark.parametrize("pool_toms", [False, True])
    def test_sweep_of_activations_equals_transcribing_and_counting(self, pool_toms: bool) -> None:
        rng = np.random.default_rng(1)
        activation = rng.random((600, N_LANES), dtype=np.float32)
        reference = Onsets.in_order(rng.uniform(0, 6, 200), rng.integers(0, N_LANES, 200), np.full(200, 64))
        ignore = IgnoreWindows(np.arange(5.0), np.arange(5.0) + 0.2, rng.integers(0, N_LANES, 5))
        picking = PeakPickingParams(max_radius=3, pool_toms=pool_toms)
        lanes = peaks_of_lanes(activation, reference, ignore, frame_rate=100, min_activation=0.3, params=picking)
        curves = [sweep_lane([peaks], tolerance_s=0.05) for peaks in lanes]
        for threshold in (0.3, 0.5, 0.77, 0.97):
            estimate = onsets_of(
                Activations(activation, np.full_like(activation, 64.0)),
                thresholds=[threshold] * N_LANES,
                peak_picking=picking,
                frame_rate=100,
            )
            expected = count_matches(reference, estimate, ignore, tolerance_s=0.05)
            for lane, swept in enumerate(curves):
                counts = swept.at(np.array([threshold]))
                assert [counts.tp[0], counts.fp[0], counts.fn[0]] == [
                    expected.tp[lane],
                    expected.fp[lane],
                    expected.fn[lane],
                ]

    def test_low_peaks_are_left_out(self) -> None:
        activation = np.zeros((100, N_LANES), dtype=np.float32)
        activation[[10, 50, 90], 0] = [0.2, 0.4, 0.3]
        lanes = peaks_of_lanes(
            activation,
            Onsets.empty(),
            IgnoreWindows.empty(),
            frame_rate=100,
            min_activation=0.25,
            params=PeakPickingParams(max_radius=3),
        )
        assert lanes[0].time_s.tolist() == [0.5, 0.9]
        assert [len(peaks.time_s) for peaks in lanes[1:]] == [0] * (N_LANES - 1)


class TestBest:
    def test_best_point_by_hand(self) -> None:
        point = best_f(curve((0.9, 1, 0), (0.6, 3, 1), (0.2, 4, 8), n_references=4))
        assert point.f == pytest.approx(6 / 8)
        assert point[1:] == (0.6, 3, 1, 1)

    def test_highest_of_equal_thresholds(self) -> None:
        assert best_f(curve((0.9, 2, 0), (0.5, 4, 4), n_references=4)).threshold == 0.9

    def test_lanes_without_references_or_peaks(self) -> None:
        no_references = best_f(curve((0.9, 0, 1), n_references=0))
        assert math.isnan(no_references.f)
        assert no_references[2:] == (0, 0, 0)
        no_peaks = best_f(ThresholdCurve(np.empty(0), np.empty(0, dtype=int), np.empty(0, dtype=int), 3))
        assert no_peaks.f == 0
        assert math.isnan(no_peaks.threshold)
        assert no_peaks[2:] == (0, 0, 3)

    def test_pooled_takes_each_lane_at_its_own_best(self) -> None:
        curves = [
            curve((0.9, 1, 0), (0.6, 3, 1), (0.2, 4, 8), n_references=4),  # best: 3, 1, 1
            curve((0.4, 5, 0), (0.3, 5, 9), n_references=6),  # best: 5, 0, 1
            curve((0.9, 0, 7), n_references=0),  # best: nothing
        ]
        assert pooled_best_f(curves) == pytest.approx(16 / 19)
        assert best_counts(curves).f() == pytest.approx([6 / 8, 10 / 11, math.nan], nan_ok=True)
