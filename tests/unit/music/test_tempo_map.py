"""Tempo maps: hand-counted beats, round trips, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap

FOUR = (Signature(0.0, 4, 4),)
BPM = st.floats(4.0, 1000.0)


@st.composite
def tempo_maps(draw: st.DrawFn) -> TempoMap:
    times = sorted(draw(st.sets(st.integers(1, 600_000), max_size=8)))
    first = draw(st.sampled_from([0.0, 0.4, 3.0]))
    return TempoMap(tuple(Tempo(first + time / 1000, draw(BPM)) for time in [0, *times]), FOUR)


def test_constant_tempo_counts_quarters() -> None:
    plain = TempoMap.constant()
    assert plain == TempoMap((Tempo(0.0, 120.0),), (Signature(0.0, 4, 4),))
    assert plain.beats_of(60.0) == 120.0
    assert plain.seconds_of([0.0, 1.0]).tolist() == [0.0, 0.5]
    assert TempoMap.constant(90, 6, 8).beats_of(2.0) == 3.0  # quarters in every signature
    assert (Signature(0.0, 6, 8).quarters, Signature(0.0, 5, 4).quarters) == (3.0, 5.0)


def test_changes_are_counted_by_hand() -> None:
    """60 bpm from 1 s on: two beats until then. 240 bpm from 3 s on: two more."""
    changing = TempoMap((Tempo(0.0, 120.0), Tempo(1.0, 60.0), Tempo(3.0, 240.0)), FOUR)
    assert changing.beats_of([0.5, 1.0, 2.0, 3.0, 3.5]).tolist() == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert changing.seconds_of([1.0, 2.0, 3.0, 4.0, 6.0]).tolist() == [0.5, 1.0, 2.0, 3.0, 3.5]


def test_first_tempo_holds_before_its_own_time() -> None:
    late = TempoMap((Tempo(2.0, 60.0), Tempo(4.0, 120.0)), FOUR)
    assert late.beats_of([-1.0, 0.0, 1.0, 4.0, 5.0]).tolist() == [-1.0, 0.0, 1.0, 4.0, 6.0]
    assert late.seconds_of([-1.0, 0.0, 1.0, 4.0, 6.0]).tolist() == [-1.0, 0.0, 1.0, 4.0, 5.0]


@given(tempo_maps(), st.lists(st.floats(0.0, 10_000.0), max_size=20))
def test_times_survive_the_round_trip_and_beats_rise(tempo_map: TempoMap, times: list[float]) -> None:
    beats = tempo_map.beats_of(times)
    assert beats.shape == (len(times),)
    np.testing.assert_allclose(tempo_map.seconds_of(beats), times, rtol=1e-12, atol=1e-9)
    assert (np.diff(tempo_map.beats_of(sorted(times))) >= 0).all()


@given(tempo_maps(), st.lists(st.floats(0.0, 10_000.0), max_size=20))
def test_beats_survive_the_round_trip(tempo_map: TempoMap, beats: list[float]) -> None:
    np.testing.assert_allclose(tempo_map.beats_of(tempo_map.seconds_of(beats)), beats, rtol=1e-12, atol=1e-9)


@given(tempo_maps())
def test_beats_are_the_integral_of_the_tempo(tempo_map: TempoMap) -> None:
    """An oracle that adds beats up in steps of a millisecond, over the first seconds."""
    grid = np.arange(0, 5.0, 0.001)
    starts = [tempo.time_s for tempo in tempo_map.tempos]
    tempo_at = [max(sum(start <= time for start in starts) - 1, 0) for time in grid + 0.0005]
    summed = np.cumsum([tempo_map.tempos[index].bpm / 60 * 0.001 for index in tempo_at])
    largest = max(tempo.bpm for tempo in tempo_map.tempos) / 60 * 0.001  # a change may lie within a step
    np.testing.assert_allclose(tempo_map.beats_of(grid + 0.001), summed, atol=len(tempo_map.tempos) * largest)


@pytest.mark.parametrize(
    ("tempos", "signatures", "message"),
    [
        ((), FOUR, "there is no tempo"),
        ((Tempo(0.0, 120.0),), (), "there is no time signature"),
        ((Tempo(0.0, 0.0),), FOUR, "a tempo is 0.0 bpm"),
        ((Tempo(0.0, math.nan),), FOUR, "a tempo is nan bpm"),
        ((Tempo(0.0, math.inf),), FOUR, "a tempo is inf bpm"),
        ((Tempo(-1.0, 120.0),), FOUR, "a tempo lies before the start"),
        ((Tempo(math.nan, 120.0),), FOUR, "at no finite time"),
        ((Tempo(1.0, 120.0), Tempo(1.0, 90.0)), FOUR, "two are at the same time"),
        ((Tempo(2.0, 120.0), Tempo(1.0, 90.0)), FOUR, "not in order of time"),
        ((Tempo(0.0, 120.0),), (Signature(0.0, 4, 6),), "a time signature is 4/6"),
        ((Tempo(0.0, 120.0),), (Signature(0.0, 0, 4),), "a time signature is 0/4"),
    ],
)
def test_what_is_no_tempo_map_is_refused(tempos: tuple, signatures: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TempoMap(tempos, signatures)
