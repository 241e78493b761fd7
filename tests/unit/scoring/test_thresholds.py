"""The threshold sweep against mir_eval at single thresholds, and the choice against hand-made curves."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import mir_eval
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.inference import Activations, onsets_of
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES, N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.metrics import count_matches
from drum_crnn.scoring.sweep import (
    LanePeaks,
    ThresholdCurve,
    best_counts,
    best_f,
    counts_at,
    merge_curves,
    peaks_of_lanes,
    pooled_best_f,
    sweep_lane,
)
from drum_crnn.scoring.thresholds import ThresholdParams, choose_threshold, tune

LANE = 2
TOLERANCE_S = 1 / 16
# Coarse binary grids: equal activations, and differences equal to the tolerance, are common and exact.
GRID = st.integers(0, 60).map(lambda n: n / 64)
LEVELS = st.integers(1, 8).map(lambda n: n / 8)


@st.composite
def lane_peaks(draw: st.DrawFn) -> LanePeaks:
    peaks = sorted(draw(st.lists(st.tuples(GRID, LEVELS), max_size=20, unique_by=lambda peak: peak[0])))
    references = sorted(draw(st.lists(GRID, max_size=15)))
    windows = draw(st.lists(st.tuples(GRID, GRID, st.sampled_from([LANE, LANE, LANE + 1])), max_size=3))
    return LanePeaks(
        LANE,
        np.array([time for time, _ in peaks]),
        np.array([level for _, level in peaks], dtype=np.float32),
        np.array(references, dtype=np.float64),
        IgnoreWindows(
            np.array([min(a, b) for a, b, _ in windows]),
            np.array([max(a, b) for a, b, _ in windows]),
            np.array([lane for _, _, lane in windows], dtype=int),
        ),
    )


def onsets(time_s: np.ndarray) -> Onsets:
    return Onsets(time_s, np.full(len(time_s), LANE), np.full(len(time_s), 64))


def curve(*rows: tuple[float, int, int], n_references: int) -> ThresholdCurve:
    """A curve from (threshold, tp, fp), highest threshold first."""
    threshold, tp, fp = (np.array(column) for column in zip(*rows, strict=True))
    return ThresholdCurve(threshold.astype(float), tp, fp, n_references)


def params(**changes: Any) -> ThresholdParams:
    return ThresholdParams.check(
        {
            "floor": 0.1,
            "ceiling": 0.9,
            "min_onsets": 10,
            "tie_tolerance": 0.0,
            "given": None,
            "rule": "plateau",
            **changes,
        },
        source="test",
    )


class TestSweep:
    @given(st.lists(lane_peaks(), max_size=3))
    def test_equals_count_matches_at_every_threshold(self, recordings: list[LanePeaks]) -> None:
        swept = sweep_lane(recordings, tolerance_s=TOLERANCE_S)
        thresholds = np.arange(1, 18) / 16  # each level, between the levels, and above all of them
        counts = swept.at(thresholds)
        for n, threshold in enumerate(thresholds):
            expected = np.zeros(3, dtype=int)
            for peaks in recordings:
                estimate = onsets(peaks.time_s[peaks.activation >= threshold])
                of_recording = count_matches(onsets(peaks.reference_s), estimate, peaks.ignore, tolerance_s=TOLERANCE_S)
                expected += [of_recording.tp[LANE], of_recording.fp[LANE], of_recording.fn[LANE]]
            assert [counts.tp[n], counts.fp[n], counts.fn[n]] == expected.tolist()

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


class TestChoice:
    def test_middle_of_the_stretch_with_the_best_f(self) -> None:
        # Between 0.2 (excluded) and 0.6 (included) all four are found and nothing else.
        assert choose_threshold(
            curve((0.8, 2, 0), (0.6, 4, 0), (0.2, 4, 4), n_references=4), params=params()
        ) == pytest.approx(0.4)

    @pytest.mark.parametrize(("rule", "expected"), [("best", 0.6), ("plateau", 0.4), ("halfway", 0.45), ("fixed", 0.5)])
    def test_rules(self, rule: str, expected: float) -> None:
        # Peaks at 0.6 and above are right, those at 0.2 and below are wrong: from 0.2 to 0.6 all thresholds are best.
        known = curve((0.9, 1, 0), (0.6, 3, 0), (0.2, 3, 8), n_references=3)
        assert choose_threshold(known, params=params(rule=rule)) == pytest.approx(expected)

    def test_together_is_the_best_pooled_f(self) -> None:
        """Against all combinations of thresholds."""
        rng = np.random.default_rng(5)
        for _ in range(8):
            curves = []
            for n_references in rng.integers(1, 40, 3):
                hits = rng.random(9) < rng.uniform(0.1, 0.9)
                tp = np.minimum(np.cumsum(hits), n_references)
                curves.append(
                    ThresholdCurve(np.sort(rng.random(9))[::-1], tp, np.arange(1, 10) - tp, int(n_references))
                )
            limits = params(rule="together", floor=0.01, ceiling=0.999)
            chosen = tune(curves, params=limits).threshold

            def pooled_f(thresholds: Sequence[float], curves: list[ThresholdCurve] = curves) -> float:
                return float(counts_at(curves, np.array(thresholds)).sum_f())

            every = itertools.product(*([*curve.threshold[curve.threshold >= 0.01], 0.999] for curve in curves))
            assert pooled_f(chosen) == pytest.approx(max(map(pooled_f, every)))

    def test_wide_plateau_beats_narrow_chance_peak_within_the_tie_tolerance(self) -> None:
        # F is 0.974 from 0.4 to 0.8 (excluding 0.4), 0.964 at 0.4, 0.980 at 0.39 and 0.824 at 0.38.
        bumpy = curve((0.8, 95, 0), (0.4, 95, 2), (0.39, 98, 2), (0.38, 98, 40), n_references=100)
        assert choose_threshold(bumpy, params=params()) == pytest.approx(0.385)
        assert choose_threshold(bumpy, params=params(tie_tolerance=0.01)) == pytest.approx(0.6)

    def test_stays_between_floor_and_ceiling(self) -> None:
        low = curve((0.95, 1, 0), (0.03, 9, 0), n_references=9)  # best far below the floor
        high = curve((0.99, 9, 0), (0.95, 9, 50), n_references=9)  # best above the ceiling
        assert 0.1 <= choose_threshold(low, params=params()) <= 0.9
        assert 0.1 <= choose_threshold(high, params=params()) <= 0.9
        assert choose_threshold(low, params=params(floor=0.5, ceiling=0.5)) == 0.5

    def test_peaks_on_floor_and_ceiling(self) -> None:
        both = curve((0.75, 4, 0), (0.25, 5, 0), n_references=5)
        assert choose_threshold(both, params=params(floor=0.25, ceiling=0.75)) == 0.25  # best at the floor itself alone

    @given(
        st.lists(lane_peaks(), min_size=1, max_size=3),
        st.sampled_from([0.05, 0.125, 0.3]),
        st.sampled_from([0.3, 0.75, 1.0]),
        st.sampled_from([0.0, 0.01, 0.2]),
    )
    def test_chosen_is_as_good_as_any_within_the_limits(
        self, recordings: list[LanePeaks], floor: float, ceiling: float, tie_tolerance: float
    ) -> None:
        swept = sweep_lane(recordings, tolerance_s=TOLERANCE_S)
        if swept.n_references == 0:
            with pytest.raises(ValueError, match="without reference"):
                choose_threshold(swept, params=params(floor=floor, ceiling=ceiling))
            return
        chosen = choose_threshold(swept, params=params(floor=floor, ceiling=ceiling, tie_tolerance=tie_tolerance))
        assert floor <= chosen <= ceiling
        best = swept.at(np.linspace(floor, ceiling, 400)).f().max()
        assert swept.at(np.array([chosen])).f()[0] >= best - tie_tolerance - 1e-12


class TestTune:
    def test_lane_with_few_onsets_takes_the_pooled_threshold(self) -> None:
        frequent = curve((0.8, 50, 0), (0.4, 100, 0), (0.2, 100, 90), n_references=100)
        rare = curve((0.7, 2, 0), (0.6, 2, 1), n_references=2)
        tuned = tune([frequent, rare], params=params())
        assert tuned.is_pooled.tolist() == [False, True]
        assert tuned.threshold[0] == choose_threshold(frequent, params=params())
        assert tuned.threshold[1] == tuned.pooled == choose_threshold(merge_curves([frequent, rare]), params=params())

    def test_lane_without_onsets_takes_it_too(self) -> None:
        frequent = curve((0.8, 50, 0), n_references=100)
        silent = ThresholdCurve(np.empty(0), np.empty(0, dtype=int), np.empty(0, dtype=int), 0)
        tuned = tune([frequent, silent], params=params())
        assert tuned.threshold[1] == tuned.pooled

    def test_nothing_to_tune_by_is_an_error_for_people(self) -> None:
        with pytest.raises(DrumCrnnError, match="validation split has no onset"):
            tune([sweep_lane([], tolerance_s=0.05)] * N_LANES, params=params())

    def test_given_thresholds_are_taken_as_they_are(self) -> None:
        given = {lane: 0.2 + 0.1 * index for index, lane in enumerate(reversed(LANES))}
        curves = [curve((0.8, 50, 0), (0.4, 100, 0), n_references=100)] + [
            curve((0.7, 2, 0), n_references=2) for _ in LANES[1:]
        ]
        tuned = tune(curves, params=params(rule="given", given=given, ceiling=0.6))
        assert dict(zip(LANES, tuned.threshold, strict=True)) == given
        assert not tuned.is_pooled.any()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (None, r"thresholds: given must hold the threshold of each lane, since rule is 'given'"),
            ({"kick": 0.5}, r"thresholds: given must hold the threshold of each lane, and nothing else: kick, snare"),
            (dict.fromkeys(LANES, 0.5) | {"ride": 0.0}, r"thresholds: given.ride should be above 0"),
        ],
    )
    def test_params_refuse_given_thresholds_that_are_none(self, given: Any, message: str) -> None:
        with pytest.raises(DrumCrnnError, match=message):
            params(rule="given", given=given)

    def test_params_refuse_a_floor_above_the_ceiling(self) -> None:
        with pytest.raises(DrumCrnnError, match="floor"):
            params(floor=0.8, ceiling=0.3)
