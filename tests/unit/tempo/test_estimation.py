"""Tempo, beats and bars of grooves whose beats are known."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import mir_eval
import numpy as np
import pytest
from groove_builder import (
    FIVE,
    FUNK,
    HALF_TIME,
    ROCK,
    SIX_EIGHT,
    SIXTEENTHS,
    SWING,
    WALTZ,
    Bar,
    drifting,
    groove,
    slowing,
    steady,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.midi_tempo import read_tempo_map
from drum_crnn.music.midi_writing import write_midi
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.tempo.alignment import align
from drum_crnn.tempo.clock import BeatClock
from drum_crnn.tempo.estimation import TempoEstimate, estimate_tempo_map
from drum_crnn.tempo.grooves import Grooves, channels_of


def beat_f(reference: np.ndarray, estimate: np.ndarray, *, within_s: float = 0.03) -> float:
    return float(mir_eval.beat.f_measure(reference, estimate, f_measure_threshold=within_s))


def signature_of(estimate: TempoEstimate) -> tuple[int, int]:
    last = estimate.tempo_map.signatures[-1]
    return last.numerator, last.denominator


@pytest.mark.parametrize("bar", [ROCK, SIXTEENTHS, SWING], ids=["rock", "sixteenths", "swing"])
@pytest.mark.parametrize("bpm", [84.0, 120.0, 150.0])
def test_a_steady_groove(bar: Bar, bpm: float) -> None:
    onsets, beats_s = groove(bar, 4, steady(bpm))
    found = estimate_tempo_map(onsets)
    assert found.bpm == pytest.approx(bpm, rel=0.005)
    assert beat_f(beats_s, found.beats_s) > 0.97
    assert beat_f(beats_s[::4], found.downbeats_s) > 0.9
    assert signature_of(found) == (4, 4)
    assert 0.5 < found.confidence <= 1.0
    # One tempo, after the bar before the first downbeat.
    assert [tempo.bpm for tempo in found.tempo_map.tempos][1:] == [bpm]


def test_a_slow_groove_whose_sixteenths_repeat_best() -> None:
    """The intervals alone say 288 bpm."""
    onsets, beats_s = groove(FUNK, 4, steady(72.0), n_bars=12)
    found = estimate_tempo_map(onsets)
    assert found.bpm == pytest.approx(72.0, rel=0.005)
    assert beat_f(beats_s, found.beats_s) > 0.97


@pytest.mark.parametrize(
    "seconds_of",
    [drifting(110.0), drifting(96.0, depth=0.1), slowing(126.0, to_bpm=92.0, n_beats=96)],
    ids=["drifting", "drifting more", "ritardando"],
)
def test_a_tempo_that_changes(seconds_of: Callable[[np.ndarray], np.ndarray]) -> None:
    """The map follows it: its beats are where the drummer's are."""
    onsets, beats_s = groove(ROCK, 4, seconds_of)
    found = estimate_tempo_map(onsets)
    assert beat_f(beats_s, found.beats_s) > 0.95
    assert beat_f(beats_s[::4], found.downbeats_s) > 0.9
    first = float(found.tempo_map.beats_of(found.downbeats_s[0]))
    of_map = found.tempo_map.seconds_of(first + np.arange(len(beats_s)))
    assert beat_f(beats_s[4:], of_map[of_map > beats_s[4] - 0.1]) > 0.95
    assert len(found.tempo_map.tempos) < len(beats_s) / 4  # not one a beat


@pytest.mark.parametrize(
    ("bar", "n_beats", "bpm", "signature"),
    [(WALTZ, 3, 110.0, (3, 4)), (FIVE, 5, 120.0, (5, 4)), (SIX_EIGHT, 2, 70.0, (6, 8))],
    ids=["3/4", "5/4", "6/8"],
)
def test_other_metres(bar: Bar, n_beats: int, bpm: float, signature: tuple[int, int]) -> None:
    onsets, beats_s = groove(bar, n_beats, steady(bpm), n_bars=32)
    found = estimate_tempo_map(onsets, bpm_hint=bpm)
    assert signature_of(found) == signature
    assert beat_f(beats_s, found.beats_s) > 0.97
    assert beat_f(beats_s[::n_beats], found.downbeats_s) > 0.9
    quarters = {(6, 8): 1.5}.get(signature, 1.0)
    assert found.tempo_map.tempos[-1].bpm == pytest.approx(bpm * quarters, rel=0.005)


def test_half_time_is_told_and_can_be_chosen() -> None:
    """Half as fast or not: people differ, so one is an alternative of the other."""
    onsets, beats_s = groove(HALF_TIME, 4, steady(140.0))
    found = estimate_tempo_map(onsets)
    double, half = (estimate_tempo_map(onsets, octave=octave) for octave in ("double", "half"))
    assert min(abs(found.bpm / bpm - 1) for bpm in (70.0, 140.0)) < 0.005
    assert double.bpm == pytest.approx(2 * found.bpm, rel=0.01)
    assert half.bpm == pytest.approx(found.bpm / 2, rel=0.01)
    assert {"half": half, "double": double}[found.alternative].bpm == pytest.approx(found.alternative_bpm, rel=0.01)
    hinted = estimate_tempo_map(onsets, bpm_hint=137.0)
    assert hinted.bpm == pytest.approx(140.0, rel=0.005)
    assert beat_f(beats_s, hinted.beats_s) > 0.97


@settings(max_examples=15, deadline=None)
@given(shift_s=st.floats(0.0, 20.0))
def test_what_is_shifted_in_time_has_its_beats_shifted(shift_s: float) -> None:
    onsets, _ = groove(ROCK, 4, steady(110.0, offset_s=0.4), n_bars=8)
    shifted = Onsets(onsets.time_s + shift_s, onsets.lane, onsets.velocity)
    found, later = estimate_tempo_map(onsets), estimate_tempo_map(shifted)
    assert later.beats_s[-len(found.beats_s) :] - shift_s == pytest.approx(found.beats_s, abs=0.002)
    assert later.bpm == pytest.approx(found.bpm, rel=0.002)


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.85, 1.15))
def test_what_is_played_faster_has_a_higher_tempo(scale: float) -> None:
    onsets, _ = groove(ROCK, 4, steady(110.0), n_bars=8)
    scaled = Onsets(onsets.time_s * scale, onsets.lane, onsets.velocity)
    assert estimate_tempo_map(scaled).bpm == pytest.approx(estimate_tempo_map(onsets).bpm / scale, rel=0.005)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 60.0), st.integers(0, 7), st.integers(1, 127)), max_size=60),
    st.sampled_from(["auto", "half", "double"]),
)
def test_any_onsets_give_a_map_whose_beats_increase(
    tmp_path_factory: pytest.TempPathFactory, struck: list[tuple[float, int, int]], octave: str
) -> None:
    onsets = (
        Onsets.in_order([s[0] for s in struck], [s[1] for s in struck], [s[2] for s in struck])
        if struck
        else (Onsets.empty())
    )
    found = estimate_tempo_map(onsets, octave=octave)
    assert (np.diff(found.beats_s) > 0).all()
    assert np.isin(found.downbeats_s, found.beats_s).all()
    assert 0.0 <= found.confidence <= 1.0 + 1e-9
    times = np.linspace(0.0, 60.0, 50)
    assert found.tempo_map.seconds_of(found.tempo_map.beats_of(times)) == pytest.approx(times, abs=1e-6)
    path = tmp_path_factory.mktemp("midi") / "file.mid"
    write_midi(path, [Note(time_s, 38, 90) for time_s in onsets.time_s.tolist()], tempo_map=found.tempo_map)
    assert [note.time_s for note in read_midi(path)] == pytest.approx(onsets.time_s.tolist(), abs=0.001)


@pytest.mark.parametrize("n_onsets", [0, 1, 7])
def test_too_few_onsets_give_the_default_map(n_onsets: int) -> None:
    onsets = Onsets(np.arange(n_onsets) * 0.5, np.zeros(n_onsets, dtype=np.int64), np.full(n_onsets, 90))
    found = estimate_tempo_map(onsets)
    assert (found.tempo_map, found.bpm, found.confidence) == (TempoMap.constant(120.0), 120.0, 0.0)
    assert len(found.beats_s) == len(found.downbeats_s) == 0
    assert estimate_tempo_map(onsets, bpm_hint=90.0).tempo_map == TempoMap.constant(90.0)


def test_bars_of_the_file_begin_at_the_downbeats(tmp_path: Path) -> None:
    """Counted as any program does: a bar is as long as its time signature says."""
    onsets, _ = groove(ROCK, 4, drifting(110.0))
    found = estimate_tempo_map(onsets)
    write_midi(tmp_path / "file.mid", [], tempo_map=found.tempo_map)
    tempo_map = read_tempo_map(tmp_path / "file.mid")
    starts = tempo_map.beats_of([signature.time_s for signature in tempo_map.signatures]).tolist()
    bars = []
    for signature, start, end in zip(tempo_map.signatures, starts, [*starts[1:], 100.0], strict=True):
        assert (end - start) % signature.quarters == pytest.approx(0.0, abs=0.01) or end == 100.0
        bars += np.arange(start, end - 1e-3, signature.quarters).tolist()
    assert beat_f(found.downbeats_s, tempo_map.seconds_of(bars), within_s=0.02) > 0.9


@pytest.mark.parametrize("bpm_hint", [10.0, 500.0, float("nan")])
def test_an_impossible_hint_is_refused(bpm_hint: float) -> None:
    with pytest.raises(ValueError, match="bpm_hint is"):
        estimate_tempo_map(Onsets.empty(), bpm_hint=bpm_hint)
    with pytest.raises(ValueError, match="octave is 'third'"):
        estimate_tempo_map(Onsets.empty(), octave="third")


@pytest.mark.parametrize("bpm_hint", [60.0, 240.0])
def test_bars_of_the_other_level_begin_where_bars_began(bpm_hint: float) -> None:
    """As one who says that bars are too short expects: every second line goes, and none moves."""
    onsets, beats_s = groove(ROCK, 4, steady(120.0), n_bars=16)
    found, other = estimate_tempo_map(onsets), estimate_tempo_map(onsets, bpm_hint=bpm_hint)
    assert other.bpm == pytest.approx(bpm_hint, rel=0.005)
    coarse, fine = (other, found) if bpm_hint < 120.0 else (found, other)
    assert np.isin(coarse.downbeats_s, fine.downbeats_s).all()
    assert len(fine.downbeats_s) == pytest.approx(2 * len(coarse.downbeats_s), abs=1)
    if bpm_hint < 120.0:  # a crash marks each eighth bar
        assert beat_f(beats_s[::8], coarse.downbeats_s) > 0.9
    assert other.alternative_bpm == found.bpm


def test_a_hint_of_what_is_found_anyhow_changes_nothing() -> None:
    onsets, _ = groove(SIXTEENTHS, 4, drifting(104.0))
    assert estimate_tempo_map(onsets, bpm_hint=104.0).tempo_map == estimate_tempo_map(onsets).tempo_map


def test_memory_hardly_grows_with_the_length() -> None:
    """An hour and a half of 60,000 onsets takes less than half a kilobyte for each, not four."""
    onsets, beats_s = groove(SIXTEENTHS, 4, drifting(120.0), n_bars=2860)
    assert len(onsets) > 60_000
    tracemalloc.start()
    try:
        found = estimate_tempo_map(onsets)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert beat_f(beats_s, found.beats_s) > 0.95
    assert peak < 30e6


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    onsets, _ = groove(SIXTEENTHS, 4, drifting(104.0))
    found = estimate_tempo_map(onsets)
    monkeypatch.setattr("drum_crnn.tempo.alignment._BARS_AT_ONCE", 3)
    monkeypatch.setattr("drum_crnn.tempo.periodicity._HOPS_AT_ONCE", 7)
    in_small_blocks = estimate_tempo_map(onsets)
    assert in_small_blocks.beats_s.tolist() == found.beats_s.tolist()
    assert in_small_blocks.downbeats_s.tolist() == found.downbeats_s.tolist()
    assert in_small_blocks.confidence == pytest.approx(found.confidence, abs=1e-4)


def test_clocks_that_are_searched_side_by_side_do_not_disturb_each_other() -> None:
    onsets, _ = groove(ROCK, 4, drifting(110.0))
    channel = channels_of(onsets.lane, onsets.velocity)
    clocks = [BeatClock(np.array([0.0, 1.0]), np.array([0.0, bpm / 60])) for bpm in (55.0, 165.0, 110.0)]
    together = align(Grooves.load(), clocks, onsets.time_s, channel, max_shift=2, spread=0.5)
    for clock, one in zip(clocks, together, strict=True):
        (alone,) = align(Grooves.load(), [clock], onsets.time_s, channel, max_shift=2, spread=0.5)
        assert one.shifts.tolist() == alone.shifts.tolist()
        assert one.score == alone.score
