"""The choice of thresholds against hand-made curves."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peak_builder import TOLERANCE_S, curve, lane_peaks

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANES, N_LANES
from drum_crnn.scoring.sweep import LanePeaks, ThresholdCurve, counts_at, merge_curves, sweep_lane
from drum_crnn.scoring.thresholds import ThresholdParams, choose_threshold, tune


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
