"""Scores: counted by hand, held against mir_eval, and checked for what must add up."""

import math

import mir_eval
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drum_crnn.music.lanes import LANES, N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.counting import LaneCounts
from drum_crnn.scoring.metrics import (
    CLASSES,
    bootstrap_interval,
    count_by_group,
    count_classes,
    count_matches,
    match_onsets,
    timing_of_lanes,
    velocity_mae,
)

KICK, SNARE, HIHAT, CRASH, RIDE = (LANES.index(name) for name in ("kick", "snare", "hihat", "crash", "ride"))
NO_WINDOWS = IgnoreWindows.empty()


def played(*onsets: tuple[float, int] | tuple[float, int, int]) -> Onsets:
    """Onsets from (time, lane) or (time, lane, velocity)."""
    full = [(*onset, 100)[:3] for onset in onsets]
    return Onsets.in_order(
        np.array([time for time, _, _ in full], dtype=float),
        np.array([lane for _, lane, _ in full], dtype=int),
        np.array([velocity for _, _, velocity in full], dtype=int),
    )


def windows(*of_lane: tuple[float, float, int]) -> IgnoreWindows:
    return IgnoreWindows(
        np.array([start for start, _, _ in of_lane]),
        np.array([end for _, end, _ in of_lane]),
        np.array([lane for _, _, lane in of_lane], dtype=int),
    )


def counts_of(counts: LaneCounts, lane: int) -> tuple[int, int, int]:
    return int(counts.tp[lane]), int(counts.fp[lane]), int(counts.fn[lane])


def lane_counts(*of_lanes: tuple[int, int, int]) -> LaneCounts:
    """Counts of the first lanes; the others are empty."""
    table = np.zeros((3, N_LANES), dtype=np.int64)
    for lane, of_lane in enumerate(of_lanes):
        table[:, lane] = of_lane
    return LaneCounts(*table)


# Times on a grid of 1/64 s with a tolerance of 4/64 s: differences equal to the tolerance occur, and are exact.
TOLERANCE_S = 1 / 16
GRID = st.integers(0, 100).map(lambda n: n / 64)
ONSETS = st.lists(st.tuples(GRID, st.integers(0, 3), st.integers(0, 127)), max_size=25).map(lambda all_: played(*all_))
WINDOWS = st.lists(st.tuples(GRID, GRID, st.integers(0, 3)), max_size=4).map(
    lambda all_: windows(*[(min(a, b), max(a, b), lane) for a, b, lane in all_])
)


class TestMatching:
    def test_counted_by_hand(self) -> None:
        reference = played((1.0, KICK), (2.0, KICK), (3.0, KICK), (1.0, SNARE))
        estimate = played((1.04, KICK), (2.06, KICK), (2.98, KICK), (3.02, KICK), (1.0, HIHAT))
        counts = count_matches(reference, estimate, NO_WINDOWS, tolerance_s=0.05)
        assert counts_of(counts, KICK) == (2, 2, 1)  # 2.06 is too late, 3.02 is one too many
        assert counts_of(counts, SNARE) == (0, 0, 1)
        assert counts_of(counts, HIHAT) == (0, 1, 0)
        assert counts_of(count_matches(reference, estimate, NO_WINDOWS, tolerance_s=0.025), KICK) == (1, 3, 2)

    def test_matching_is_the_largest_not_the_nearest(self) -> None:
        # 1.04 is nearest to 1.05, but then 1.09 would have nothing left.
        counts = count_matches(
            played((1.0, KICK), (1.05, KICK)), played((1.04, KICK), (1.09, KICK)), NO_WINDOWS, tolerance_s=0.05
        )
        assert counts_of(counts, KICK) == (2, 0, 0)

    @given(ONSETS, ONSETS)
    def test_agrees_with_mir_eval_onset_in_every_lane(self, reference: Onsets, estimate: Onsets) -> None:
        counts = count_matches(reference, estimate, NO_WINDOWS, tolerance_s=TOLERANCE_S)
        f, precision, recall = counts.f(), counts.precision(), counts.recall()
        for lane in range(N_LANES):
            one, other = reference.of_lane(lane).time_s, estimate.of_lane(lane).time_s
            if len(one) == len(other) == 0:
                assert np.isnan([f[lane], precision[lane], recall[lane]]).all()
            else:
                expected = (
                    mir_eval.onset.f_measure(one, other, window=TOLERANCE_S) if len(one) and len(other) else (0,) * 3
                )
                assert (f[lane], precision[lane], recall[lane]) == pytest.approx(expected)

    @given(ONSETS, ONSETS, WINDOWS)
    def test_pairs_are_what_they_claim(self, reference: Onsets, estimate: Onsets, ignore: IgnoreWindows) -> None:
        matches = match_onsets(reference, estimate, ignore, tolerance_s=TOLERANCE_S)
        for column in matches.pairs.T:
            assert len(set(column)) == len(column)
        assert (matches.lane == matches.estimate.lane[matches.pairs[:, 1]]).all()
        assert (np.abs(matches.errors().time_s) <= TOLERANCE_S).all()

    def test_tolerance_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="tolerance_s"):
            match_onsets(played(), played(), NO_WINDOWS, tolerance_s=0)


class TestIgnoreWindows:
    def test_reference_inside_is_no_miss(self) -> None:
        reference = played((1.0, SNARE), (2.0, SNARE), (1.0, KICK))
        counts = count_matches(reference, played(), windows((0.95, 1.05, SNARE)), tolerance_s=0.05)
        assert counts_of(counts, SNARE) == (0, 0, 1)
        assert counts_of(counts, KICK) == (0, 0, 1)  # the window is the snare's

    def test_ends_belong_to_the_window(self) -> None:
        reference = played((1.0, SNARE), (1.5, SNARE), (1.5625, SNARE))
        counts = count_matches(reference, played(), windows((1.0, 1.5, SNARE)), tolerance_s=0.05)
        assert counts_of(counts, SNARE) == (0, 0, 1)

    def test_estimate_within_the_tolerance_of_the_window_is_no_extra(self) -> None:
        estimate = played((0.9375, SNARE), (1.25, SNARE), (1.5625, SNARE), (1.578125, SNARE))
        counts = count_matches(played(), estimate, windows((1.0, 1.5, SNARE)), tolerance_s=0.0625)
        assert counts_of(counts, SNARE) == (0, 1, 0)  # 1.578125 alone is beyond 1.5 + 0.0625

    def test_estimate_inside_can_match_a_reference_outside(self) -> None:
        counts = count_matches(
            played((1.53, SNARE)), played((1.49, SNARE)), windows((1.0, 1.5, SNARE)), tolerance_s=0.05
        )
        assert counts_of(counts, SNARE) == (1, 0, 0)

    @pytest.mark.parametrize("reference_s", [1.1875, 1.3125])
    def test_estimate_inside_can_match_a_reference_exactly_the_tolerance_away(self, reference_s: float) -> None:
        counts = count_matches(
            played((reference_s, SNARE)), played((1.25, SNARE)), windows((1.24, 1.26, SNARE)), tolerance_s=0.0625
        )
        assert counts_of(counts, SNARE) == (1, 0, 0)

    def test_estimates_that_could_match_count_whether_or_not_they_do(self) -> None:
        # Both are near the reference at 1.53; one matches, and the other is an extra although it lies in the window.
        counts = count_matches(
            played((1.53, SNARE)), played((1.49, SNARE), (1.54, SNARE)), windows((1.0, 1.5, SNARE)), tolerance_s=0.05
        )
        assert counts_of(counts, SNARE) == (1, 1, 0)

    def test_a_reference_left_out_saves_no_estimate(self) -> None:
        # The reference at 1.0 is ignored, so the estimate beside it is too, instead of becoming a true positive.
        counts = count_matches(played((1.0, KICK)), played((1.0, KICK)), windows((1.0, 1.0, KICK)), tolerance_s=0.05)
        assert counts_of(counts, KICK) == (0, 0, 0)
        assert math.isnan(counts.f()[KICK])

    @given(ONSETS, ONSETS, WINDOWS)
    def test_rule_in_its_own_words(self, reference: Onsets, estimate: Onsets, ignore: IgnoreWindows) -> None:
        def inside(time: float, lane: int, margin: float) -> bool:
            return any(
                lane == of and start - margin <= time <= end + margin
                for start, end, of in zip(ignore.start_s, ignore.end_s, ignore.lane, strict=True)
            )

        kept = [
            (time, lane)
            for time, lane in zip(reference.time_s, reference.lane, strict=True)
            if not inside(time, lane, 0)
        ]
        heard = [
            (time, lane)
            for time, lane in zip(estimate.time_s, estimate.lane, strict=True)
            if not inside(time, lane, TOLERANCE_S)
            or any(lane == other and abs(time - at) <= TOLERANCE_S for at, other in kept)
        ]
        expected = count_matches(played(*kept), played(*heard), NO_WINDOWS, tolerance_s=TOLERANCE_S)
        counts = count_matches(reference, estimate, ignore, tolerance_s=TOLERANCE_S)
        assert [counts.tp.tolist(), counts.fp.tolist(), counts.fn.tolist()] == [
            expected.tp.tolist(),
            expected.fp.tolist(),
            expected.fn.tolist(),
        ]


class TestScores:
    def test_by_hand(self) -> None:
        counts = lane_counts((8, 2, 0), (1, 0, 3))
        assert counts.precision()[:2].tolist() == [0.8, 1.0]
        assert counts.recall()[:2].tolist() == [1.0, 0.25]
        assert counts.f()[:2] == pytest.approx([16 / 18, 2 / 5])
        assert counts.sum_f() == pytest.approx(18 / 23)  # 2 * 9 / (2 * 9 + 2 + 3)
        assert counts.mean_f() == pytest.approx((16 / 18 + 2 / 5) / 2)

    def test_lane_with_nothing_on_either_side_is_left_out_of_the_mean(self) -> None:
        counts = lane_counts((5, 0, 0), (0, 0, 0))
        assert np.isnan([counts.precision()[1], counts.recall()[1], counts.f()[1]]).all()
        assert counts.mean_f() == 1.0

    @pytest.mark.parametrize("one_sided", [(0, 3, 0), (0, 0, 3)])
    def test_lane_with_one_side_empty_scores_zero(self, one_sided: tuple[int, int, int]) -> None:
        counts = lane_counts((5, 0, 0), one_sided)
        assert [counts.precision()[1], counts.recall()[1], counts.f()[1]] == [0.0, 0.0, 0.0]
        assert counts.mean_f() == 0.5

    def test_nothing_at_all_is_undefined(self) -> None:
        assert np.isnan(LaneCounts.zeros().mean_f())
        assert np.isnan(LaneCounts.zeros().sum_f())

    def test_the_rule_for_empty_lanes_looks_at_the_sum_over_recordings(self) -> None:
        total = lane_counts((0, 1, 0)) + lane_counts((1, 0, 0))
        assert total.f()[0] == pytest.approx(2 / 3)

    def test_leading_axes_are_kept(self) -> None:
        many, one = lane_counts((8, 2, 0), (1, 0, 3)), lane_counts((1, 1, 1))
        stacked = LaneCounts(np.stack([many.tp, one.tp]), np.stack([many.fp, one.fp]), np.stack([many.fn, one.fn]))
        assert stacked.sum_f().tolist() == [many.sum_f(), one.sum_f()]
        assert stacked.mean_f().tolist() == [many.mean_f(), one.mean_f()]
        np.testing.assert_array_equal(stacked.f()[1], one.f())

    def test_count_by_group_adds_up_and_sorts(self) -> None:
        groups = count_by_group(
            [("rock", lane_counts((1, 2, 3))), ("jazz", lane_counts((7, 0, 0))), ("rock", lane_counts((10, 20, 30)))]
        )
        assert list(groups) == ["jazz", "rock"]
        assert counts_of(groups["rock"], 0) == (11, 22, 33)


class TestTiming:
    def test_medians_by_hand(self) -> None:
        first = match_onsets(
            played((1.0, KICK, 64), (2.0, KICK, 64), (3.0, SNARE, 64)),
            played((1.004, KICK, 64), (1.99, KICK, 64), (3.5, SNARE, 64)),
            NO_WINDOWS,
            tolerance_s=0.05,
        )
        second = match_onsets(played((1.0, KICK, 64)), played((1.006, KICK, 64)), NO_WINDOWS, tolerance_s=0.05)
        bias_s, error_s = timing_of_lanes([first.errors(), second.errors()])
        assert bias_s[[KICK, -1]] == pytest.approx([0.004, 0.004])
        assert error_s[[KICK, -1]] == pytest.approx([0.006, 0.006])
        assert np.isnan([bias_s[SNARE], error_s[SNARE]]).all()  # the snare was not matched

    def test_nothing_matched_no_times(self) -> None:
        assert np.isnan(timing_of_lanes([])).all()


class TestVelocity:
    def test_mean_absolute_error_by_hand(self) -> None:
        first = match_onsets(
            played((1.0, KICK, 100), (2.0, KICK, 50), (3.0, SNARE, 80)),
            played((1.0, KICK, 90), (2.0, KICK, 54), (3.5, SNARE, 1)),
            NO_WINDOWS,
            tolerance_s=0.05,
        )
        second = match_onsets(played((1.0, HIHAT, 20)), played((1.01, HIHAT, 60)), NO_WINDOWS, tolerance_s=0.05)
        pooled, of_lane = velocity_mae([first.errors(), second.errors()])
        assert pooled == pytest.approx((10 + 4 + 40) / 3)
        assert of_lane[[KICK, HIHAT]].tolist() == [7.0, 40.0]
        assert math.isnan(of_lane[SNARE])  # the snare was not matched, so its velocity counts nowhere

    def test_no_matched_onset_no_error(self) -> None:
        pooled, of_lane = velocity_mae([])
        assert math.isnan(pooled)
        assert np.isnan(of_lane).all()

    @example([(KICK, v, w, True, True) for v, w in ((65, 0), (65, 0), (65, 0), (64, 20), (64, 90))])
    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 127), st.integers(0, 127), st.booleans(), st.booleans()),
            min_size=1,
            max_size=30,
        )
    )
    def test_velocity_f_is_that_of_mir_eval(self, strokes: list[tuple[int, int, int, bool, bool]]) -> None:
        # A stroke every half second, so that both ways of matching find the same pairs.
        strokes = [*strokes, (0, 64, 64, True, True)]  # mir_eval wants at least one reference and one estimate
        reference = played(*[(n / 2, lane, v) for n, (lane, v, _, is_played, _) in enumerate(strokes) if is_played])
        estimate = played(*[(n / 2 + 0.02, lane, v) for n, (lane, _, v, _, is_found) in enumerate(strokes) if is_found])
        matched = mir_eval.transcription_velocity.match_notes(
            np.stack([reference.time_s, reference.time_s + 0.1], axis=1),
            100.0 * 2.0**reference.lane,
            reference.velocity,
            np.stack([estimate.time_s, estimate.time_s + 0.1], axis=1),
            100.0 * 2.0**estimate.lane,
            estimate.velocity,
            offset_ratio=None,
        )
        counts = match_onsets(reference, estimate, NO_WINDOWS, tolerance_s=0.05).velocity_counts()
        assert counts.tp.tolist() == np.bincount([reference.lane[i] for i, _ in matched], minlength=N_LANES).tolist()
        assert (counts.tp + counts.fn).sum() == len(reference)
        assert (counts.tp + counts.fp).sum() == len(estimate)

    def test_velocity_on_another_scale_is_right(self) -> None:
        reference = played(*[(n / 2, KICK, v) for n, v in enumerate((20, 60, 100, 120))])
        estimate = played(*[(n / 2, KICK, v) for n, v in enumerate((10, 30, 50, 60))])
        assert counts_of(match_onsets(reference, estimate, NO_WINDOWS, tolerance_s=0.05).velocity_counts(), KICK) == (
            4,
            0,
            0,
        )


def test_timing_errors_are_estimate_minus_reference() -> None:
    matches = match_onsets(
        played((1.0, KICK), (2.0, SNARE), (3.0, KICK)),
        played((1.03, KICK), (1.99, SNARE), (3.2, KICK)),
        NO_WINDOWS,
        tolerance_s=0.05,
    )
    assert matches.errors().time_s == pytest.approx([0.03, -0.01])


class TestConfusion:
    def test_by_hand(self) -> None:
        reference = played((1.0, KICK), (2.0, SNARE), (3.0, HIHAT), (4.0, CRASH))
        estimate = played((1.0, KICK), (2.03, HIHAT), (3.0, HIHAT), (5.0, KICK))
        table = match_onsets(reference, estimate, NO_WINDOWS, tolerance_s=0.05).confusion()
        expected = np.zeros((N_LANES + 1, N_LANES + 1), dtype=int)
        expected[KICK, KICK] = 1
        expected[SNARE, HIHAT] = 1  # a snare was taken for a hi-hat
        expected[HIHAT, HIHAT] = 1
        expected[CRASH, -1] = 1  # missed
        expected[-1, KICK] = 1  # extra
        np.testing.assert_array_equal(table, expected)

    def test_what_was_found_in_its_own_lane_is_no_stand_in(self) -> None:
        # The kick is found; the snare estimated at the same time is an extra, not a kick taken for a snare.
        table = match_onsets(
            played((1.0, KICK)), played((1.0, KICK), (1.0, SNARE)), NO_WINDOWS, tolerance_s=0.05
        ).confusion()
        assert table[KICK, KICK] == 1
        assert table[-1, SNARE] == 1
        assert table.sum() == 2

    @given(ONSETS, ONSETS, WINDOWS)
    def test_sums_reproduce_the_counts(self, reference: Onsets, estimate: Onsets, ignore: IgnoreWindows) -> None:
        matches = match_onsets(reference, estimate, ignore, tolerance_s=TOLERANCE_S)
        counts, table = matches.counts(), matches.confusion()
        np.testing.assert_array_equal(np.diag(table)[:-1], counts.tp)
        np.testing.assert_array_equal(table[:-1].sum(axis=1), counts.tp + counts.fn)
        np.testing.assert_array_equal(table[:, :-1].sum(axis=0), counts.tp + counts.fp)
        assert table[-1, -1] == 0

    @given(ONSETS, ONSETS)
    def test_a_miss_and_an_extra_are_never_at_the_same_time(self, reference: Onsets, estimate: Onsets) -> None:
        # All pairs within the tolerance, of whatever lanes: no larger number of stand-ins is possible.
        matches = match_onsets(reference, estimate, NO_WINDOWS, tolerance_s=TOLERANCE_S)
        missed = np.delete(reference.time_s, matches.pairs[:, 0])
        extra = np.delete(estimate.time_s, matches.pairs[:, 1])
        table = matches.confusion()
        n_stand_ins = table[:-1, :-1].sum() - np.trace(table[:-1, :-1])
        assert n_stand_ins == len(mir_eval.util.match_events(missed, extra, TOLERANCE_S))


class TestBootstrap:
    PERFORMANCES = {  # noqa: RUF012
        "a": lane_counts((1, 5, 0), (2, 0, 0)),
        "b": lane_counts((10, 0, 50), (1, 1, 1)),
        "c": lane_counts((100, 500, 0), (0, 0, 4)),
    }

    def test_every_resample_adds_up_as_many_performances_as_there_are(self) -> None:
        seen: list[LaneCounts] = []

        def statistic(counts: LaneCounts) -> np.ndarray:
            seen.append(counts)
            return counts.sum_f()

        bootstrap_interval(self.PERFORMANCES, statistic, n_resamples=500, confidence=0.9, seed=1)
        tp, fp, fn = seen[0].tp[:, 0], seen[0].fp[:, 0], seen[0].fn[:, 0]
        hundreds, tens, ones = tp // 100, tp // 10 % 10, tp % 10  # how often c, b and a were drawn
        assert len(tp) == 500
        assert (hundreds + tens + ones == 3).all()
        assert (fp == 5 * ones + 500 * hundreds).all()  # tp, fp and fn come from the same draw
        assert (fn == 50 * tens).all()
        assert len({*zip(hundreds, tens, ones, strict=True)}) == 10  # all ways to draw three of three

    def test_interval_is_that_of_the_known_distribution(self) -> None:
        # Of two performances, one perfect and one all wrong, drawn twice: F is 0, 1/2 or 1 with odds 1 : 2 : 1.
        two = {"good": lane_counts((10, 0, 0)), "bad": lane_counts((0, 10, 10))}
        wide = bootstrap_interval(two, LaneCounts.sum_f, n_resamples=2000, confidence=0.95, seed=0)
        narrow = bootstrap_interval(two, LaneCounts.sum_f, n_resamples=2000, confidence=0.4, seed=0)
        assert (wide.low, wide.high) == (0.0, 1.0)
        assert (narrow.low, narrow.high) == (0.5, 0.5)
        middling = bootstrap_interval(two, LaneCounts.sum_f, n_resamples=2000, confidence=0.6, seed=0)
        assert (middling.low, middling.high) == (0.0, 1.0)  # a fifth is cut off on either side, less than a quarter

    def test_same_seed_same_interval_in_whatever_order(self) -> None:
        options = {"n_resamples": 200, "confidence": 0.95}
        first = bootstrap_interval(self.PERFORMANCES, LaneCounts.f, **options, seed=3)
        turned = dict(reversed(self.PERFORMANCES.items()))
        np.testing.assert_array_equal(first, bootstrap_interval(turned, LaneCounts.f, **options, seed=3))
        other = bootstrap_interval(self.PERFORMANCES, LaneCounts.sum_f, **options, seed=4)
        assert other != bootstrap_interval(self.PERFORMANCES, LaneCounts.sum_f, **options, seed=3)

    def test_more_kits_of_the_same_performances_do_not_narrow_it(self) -> None:
        kits = count_by_group((name, counts) for name, counts in self.PERFORMANCES.items() for _ in range(43))
        options = {"n_resamples": 300, "confidence": 0.95, "seed": 5}
        assert bootstrap_interval(kits, LaneCounts.sum_f, **options) == bootstrap_interval(
            self.PERFORMANCES, LaneCounts.sum_f, **options
        )

    def test_undefined_lanes_stay_undefined_and_rare_ones_are_not_lost(self) -> None:
        interval = bootstrap_interval(
            {"with": lane_counts((1, 0, 0), (1, 0, 0)), "without": lane_counts((1, 0, 0))},
            LaneCounts.f,
            n_resamples=200,
            confidence=0.95,
            seed=0,
        )
        assert interval.low[:2].tolist() == interval.high[:2].tolist() == [1.0, 1.0]
        assert np.isnan(interval.low[2:]).all()
        assert np.isnan(interval.high[2:]).all()

    def test_refuses_no_performances_and_odd_confidence(self) -> None:
        with pytest.raises(ValueError, match="no performance"):
            bootstrap_interval({}, LaneCounts.sum_f, n_resamples=10, confidence=0.95, seed=0)
        with pytest.raises(ValueError, match="confidence"):
            bootstrap_interval(self.PERFORMANCES, LaneCounts.sum_f, n_resamples=10, confidence=95, seed=0)


class TestClasses:
    def test_every_lane_is_of_one_class(self) -> None:
        assert sorted(lane for lanes in CLASSES.values() for lane in lanes) == sorted(LANES)

    def test_the_wrong_tom_is_a_tom(self) -> None:
        high, mid, low = (LANES.index(name) for name in ("high_tom", "mid_tom", "low_tom"))
        reference = played((1.0, high), (2.0, mid), (3.0, low), (3.01, high), (4.0, KICK))
        estimate = played((1.0, low), (2.02, mid), (3.0, mid), (5.0, SNARE))
        counts = count_classes(reference, estimate, NO_WINDOWS, tolerance_s=0.05)
        assert counts_of(counts, [*CLASSES].index("toms")) == (3, 0, 0)  # the two at 3 s are one stroke
        assert counts_of(counts, [*CLASSES].index("kick")) == (0, 0, 1)
        assert counts_of(counts, [*CLASSES].index("snare")) == (0, 1, 0)

    def test_what_is_ignored_stays_so(self) -> None:
        """An ignored crash neither has to be found nor is it wrong to find it, be it as a ride."""
        reference = played((1.0, CRASH), (2.0, CRASH))
        for heard in (CRASH, RIDE):
            counts = count_classes(
                reference, played((1.0, heard), (2.0, heard)), windows((0.9, 1.1, CRASH)), tolerance_s=0.05
            )
            assert counts_of(counts, [*CLASSES].index("cymbals")) == (1, 0, 0)

    def test_a_ride_in_the_window_of_a_crash_counts(self) -> None:
        counts = count_classes(
            played((1.0, CRASH), (1.0, RIDE)), played((1.0, CRASH)), windows((0.9, 1.1, CRASH)), tolerance_s=0.05
        )
        assert counts_of(counts, [*CLASSES].index("cymbals")) == (1, 0, 0)

    @given(ONSETS, ONSETS, WINDOWS)
    def test_classes_of_one_lane_are_scored_as_that_lane(
        self, reference: Onsets, estimate: Onsets, ignore: IgnoreWindows
    ) -> None:
        lanes = count_matches(reference, estimate, ignore, tolerance_s=TOLERANCE_S)
        classes = count_classes(reference, estimate, ignore, tolerance_s=TOLERANCE_S)
        for index, name in enumerate(CLASSES):
            if name in LANES and not _has_doubles(reference, estimate, lane=LANES.index(name)):
                assert counts_of(classes, index) == counts_of(lanes, LANES.index(name))


def _has_doubles(*sides: Onsets, lane: int) -> bool:
    return any((np.diff(side.time_s[side.lane == lane]) < 1 / 64).any() for side in sides)
