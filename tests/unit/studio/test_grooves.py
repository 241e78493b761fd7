"""The groove generator: the same every time, playable by one person, and in proportion."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, N_LANES
from drum_crnn.studio.drummer import Hit, _metre, _swung
from drum_crnn.studio.fills import FILLS
from drum_crnn.studio.groove_params import GrooveParams
from drum_crnn.studio.grooves import generate_performances
from drum_crnn.studio.performances import Performance
from drum_crnn.studio.playable import keep_playable
from drum_crnn.studio.styles import LETTERS, STYLES

PARAMS: dict[str, Any] = {
    "performances": 28,
    "seconds": (10.0, 20.0),
    "tempo_bpm": (60.0, 200.0),
    "styles": tuple(STYLES),
    "fill_performances": 0.1,
    "swing": 1.0,
    "timing": 1.0,
    "velocity": 1.0,
    "ghosts": 1.0,
    "flams": 1.0,
    "fills": 0.8,
    "split": (0.7, 0.15, 0.15),
}
HAND_LANES = {LANES.index(name) for name in LANES if name != "kick"}
PEDAL = 44


def generate(*, seed: int = 1, **changes: Any) -> list[Performance]:
    return generate_performances(GrooveParams(**(PARAMS | changes)), seed=seed)


def lane_gaps_s(performance: Performance) -> dict[int, list[float]]:
    """Times between successive notes, per lane."""
    times: dict[int, list[float]] = {}
    for note in performance.notes:
        times.setdefault(LANE_OF_NOTE[note.note], []).append(note.time_s)
    return {lane: np.diff(own).tolist() for lane, own in times.items()}


def check_playable(performance: Performance) -> None:
    hands = [n for n in performance.notes if LANE_OF_NOTE[n.note] in HAND_LANES and n.note != PEDAL]
    for i, note in enumerate(hands):
        together = [other for other in hands[i:] if other.time_s - note.time_s < 0.015]
        assert len(together) <= 2, f"{performance.id}: {together}"
        # Two hands make two strokes; only the bounces of a flam, drag or ruff (on one drum) add more.
        drums = {LANE_OF_NOTE[other.note] for other in hands[i:] if other.time_s - note.time_s < 0.06}
        assert len(drums) <= 2, f"{performance.id}: {len(drums)} drums within 60 ms at {note.time_s}"
    for lane, gaps in lane_gaps_s(performance).items():
        assert min(gaps, default=1.0) > 0.0119, f"{performance.id}: {LANES[lane]}"


def check_valid(performance: Performance) -> None:
    assert performance.notes
    assert list(performance.notes) == sorted(performance.notes)
    assert 0.0999 <= performance.notes[0].time_s <= 0.5001
    assert all(1 <= note.velocity <= 127 and note.note in LANE_OF_NOTE for note in performance.notes)


@pytest.fixture(scope="module")
def many() -> list[Performance]:
    return generate(performances=280)


class TestTables:
    @pytest.mark.parametrize("name", STYLES)
    def test_every_row_is_one_bar_of_known_letters(self, name: str) -> None:
        style = STYLES[name]
        for groove in style.grooves + style.bridges:
            assert len(groove.right) == len(groove.left) == len(groove.kick) == style.beats * style.steps
            assert len(groove.foot) in (0, len(groove.right))
            assert set(groove.right + groove.left + groove.kick + groove.foot) <= {*LETTERS, "."}
            assert set(groove.kick) <= set("gx-X.")
            assert set(groove.foot) <= set("pk.")

    @pytest.mark.parametrize("kind", FILLS)
    def test_fills_have_the_asked_length(self, kind: str) -> None:
        for n, seed in itertools.product(range(2, 17), range(5)):
            letters = FILLS[kind](n, np.random.default_rng(seed))
            assert len(letters) == n
            assert set(letters) <= {*LETTERS, ".", "U"}
            assert set(letters) != {"."}

    def test_styles_name_known_fills(self) -> None:
        assert all(set(style.fills) <= set(FILLS) for style in STYLES.values())


class TestStreams:
    def test_same_seed_same_performances(self) -> None:
        assert generate(seed=3) == generate(seed=3)

    def test_performance_does_not_depend_on_how_many_there_are(self) -> None:
        assert generate(performances=17) == generate(performances=40)[:17]

    def test_no_two_performances_are_alike(self, many: list[Performance]) -> None:
        rhythms = {tuple((round(n.time_s - p.notes[0].time_s, 3), n.note) for n in p.notes) for p in many}
        assert len(rhythms) == len(many)
        assert len({performance.id for performance in many}) == len(many)

    def test_other_seed_other_notes(self) -> None:
        assert all(one.notes != other.notes for one, other in zip(generate(seed=1), generate(seed=2), strict=True))


class TestPerformances:
    def test_notes_are_valid_and_playable(self, many: list[Performance]) -> None:
        for performance in many:
            check_valid(performance)
            check_playable(performance)

    def test_styles_take_turns_and_keep_their_tempo(self, many: list[Performance]) -> None:
        assert Counter(p.style for p in many) == dict.fromkeys(STYLES, 20)
        for performance in many:
            low, high = STYLES[performance.style].tempo
            assert low <= performance.bpm <= high
        bpm = [performance.bpm for performance in many]
        assert min(bpm) < 75
        assert max(bpm) > 180

    def test_lanes_are_in_proportion(self, many: list[Performance]) -> None:
        counts = np.bincount([LANE_OF_NOTE[n.note] for p in many for n in p.notes], minlength=N_LANES)
        shares = dict(zip(LANES, counts / counts.sum(), strict=True))
        assert min(shares.values()) >= 0.03, shares
        assert set(sorted(shares, key=shares.__getitem__)[-3:]) == {"kick", "snare", "hihat"}

    def test_articulations_all_occur(self, many: list[Performance]) -> None:
        played = {note.note for performance in many for note in performance.notes}
        assert played >= {36, 37, 38, 40, 22, 26, 42, 44, 46, 48, 50, 45, 47, 41, 43, 49, 52, 55, 57, 51, 53, 59}

    def test_durations(self, many: list[Performance]) -> None:
        for performance in many:
            end = performance.notes[-1].time_s
            bar = STYLES[performance.style].beats * 60.0 / performance.bpm
            if performance.beat_type == "fill":
                assert end <= 2 * bar + 1.0
            elif performance.style != "exercise":
                assert 10.0 - 2 * bar <= end <= 20.0 + 1.0  # lead-in, and a crash on the beat after the last bar

    def test_splits_have_their_shares_within_every_style(self, many: list[Performance]) -> None:
        for style in STYLES:
            assert Counter(p.split for p in many if p.style == style) == {"train": 14, "validation": 3, "test": 3}

    @given(seed=st.integers(0, 1000), n=st.integers(20, 60))
    @settings(max_examples=10, deadline=None)
    def test_few_performances_have_every_split(self, seed: int, n: int) -> None:
        performances = generate(seed=seed, performances=n, styles=("rock", "jazz", "funk"), seconds=(1.0, 2.0))
        counts = Counter(performance.split for performance in performances)
        for name, share in zip(("train", "validation", "test"), PARAMS["split"], strict=True):
            assert abs(counts[name] - share * n) <= 3, counts


class TestAmounts:
    def test_without_swing_and_timing_every_note_is_on_the_grid(self) -> None:
        for performance in generate(swing=0.0, timing=0.0, flams=0.0):
            times = np.array([note.time_s for note in performance.notes])
            ticks = (times - times[0]) * performance.bpm / 60.0 * 24  # thirds and eighths of a beat are whole
            np.testing.assert_allclose(ticks, np.rint(ticks), atol=1e-3)

    def test_timing_deviates_as_people_do(self) -> None:
        """Groove (1,150 human performances): 16 to 32 ms about the grid; successive notes deviate alike."""
        spreads, correlations = [], []
        for performance in generate(performances=20, styles=("rock",), fills=0.0, flams=0.0, fill_performances=0.0):
            step = 15.0 / performance.bpm
            times = np.array([note.time_s for note in performance.notes])
            centre = np.angle(np.exp(2j * np.pi * times / step).mean()) / (2 * np.pi) * step
            late = (times - centre + step / 2) % step - step / 2
            spreads.append(late.std())
            correlations.append(np.corrcoef(late[:-1], late[1:])[0, 1])
        assert 0.010 < np.median(spreads) < 0.032
        assert np.median(correlations) > 0.15

    def test_flams_are_grace_notes_of_20_to_40_ms(self) -> None:
        def close_pairs(flams: float) -> list[float]:
            performances = generate(flams=flams, timing=0.0, styles=("rock", "funk", "reggae"))
            snare = LANES.index("snare")
            return [gap for p in performances for gap in lane_gaps_s(p).get(snare, []) if gap < 0.055]

        assert close_pairs(0.0) == []
        assert len(close_pairs(2.0)) > 30
        assert all(0.0199 <= gap <= 0.0401 for gap in close_pairs(2.0))

    def test_ghosts(self) -> None:
        def n_soft_snares(amount: float) -> int:
            performances = generate(ghosts=amount, velocity=0.0, styles=("funk", "breakbeat"))
            return sum(n.note == 38 and n.velocity < 30 for p in performances for n in p.notes)

        assert n_soft_snares(0.0) < n_soft_snares(1.0) < n_soft_snares(2.0)

    def test_velocity_0_plays_the_strengths_as_written(self) -> None:
        styles = ("rock", "punk", "disco")
        flat = generate(velocity=0.0, flams=0.0, styles=styles)
        shaped = generate(velocity=1.0, flams=0.0, styles=styles)
        kicks = [{n.velocity for p in ps for n in p.notes if n.note in (35, 36)} for ps in (flat, shaped)]
        assert len(kicks[0]) <= 3
        assert len(kicks[1]) > 40

    def test_strong_places_of_the_bar_are_louder(self) -> None:
        """Hi-hats written at one strength: those on pulses are louder than those between them."""
        swing = STYLES["hiphop"]
        assert [_metre(beat, swing) for beat in (0.0, 4.0, 1.0, 1.5, 1.25)] == [0.5, 0.5, 0.3, -0.2, -0.5]
        assert _metre(1.5, STYLES["ballad"]) == 0.3

    @given(beats=st.lists(st.floats(0, 64), min_size=2, max_size=2, unique=True), played=st.floats(0.4, 0.8))
    def test_swing_keeps_order_and_beats(self, beats: list[float], played: float) -> None:
        swing = STYLES["jazz"].swing
        early, late = sorted(beats)
        assert _swung(early, swing=swing, played=played) <= _swung(late, swing=swing, played=played)
        assert _swung(7.0, swing=swing, played=played) == pytest.approx(7.0)
        assert _swung(7 + 2 / 3, swing=swing, played=played) == pytest.approx(7 + played)


class TestKeepPlayable:
    @given(
        st.lists(
            st.builds(
                Hit,
                time_s=st.floats(0, 0.6),
                limb=st.sampled_from(("right", "left", "kick", "foot")),
                note=st.sampled_from((36, 38, 42, 48, 51)),
                velocity=st.integers(1, 127),
                is_grace=st.booleans(),
            ),
            max_size=30,
        )
    )
    def test_against_all_pairs(self, hits: list[Hit]) -> None:
        def clash(a: Hit, b: Hit) -> bool:
            gap, same_lane = abs(a.time_s - b.time_s), LANE_OF_NOTE[a.note] == LANE_OF_NOTE[b.note]
            needed = 0.012 if same_lane else 0.0
            if a.limb == b.limb:
                needed = 0.018 if same_lane and (a.is_grace or b.is_grace) else 0.080
            return gap < needed

        # A gap that equals a limit to the last bit may fall either way.
        gaps = {abs(a.time_s - b.time_s) for a, b in itertools.combinations(hits, 2)}
        assume(all(abs(gap - limit) > 1e-9 for gap in gaps for limit in (0.012, 0.018, 0.080)))
        kept = keep_playable(hits)
        assert [hit.time_s for hit in kept] == sorted(hit.time_s for hit in kept)
        assert not any(clash(a, b) for a, b in itertools.combinations(kept, 2))
        dropped = Counter(hits) - Counter(kept)
        assert not Counter(kept) - Counter(hits)
        assert all(any(clash(hit, other) for other in kept) for hit in dropped), "removed without need"

    def test_a_flam_takes_precedence_over_the_hihat(self) -> None:
        hat = Hit(1.0, "right", 42, 100)
        flam = [Hit(1.0, "left", 38, 110), Hit(0.97, "right", 38, 50, is_grace=True)]
        assert keep_playable([hat, *flam]) == flam[::-1]


ordered = st.tuples(st.floats(30, 300), st.floats(30, 300)).map(lambda pair: (min(pair), max(pair)))
amount = st.floats(0, 2)


@given(
    seed=st.integers(0, 2**40),
    tempo=ordered,
    styles=st.lists(st.sampled_from(tuple(STYLES)), min_size=1, max_size=4, unique=True),
    amounts=st.fixed_dictionaries(dict.fromkeys(("swing", "timing", "velocity", "ghosts", "flams"), amount)),
    shares=st.fixed_dictionaries({name: st.floats(0, 1) for name in ("fills", "fill_performances")}),
    shortest=st.floats(0.1, 8),
)
@settings(max_examples=60, deadline=None)
def test_any_parameters_give_playable_performances(
    seed: int,
    tempo: tuple[float, float],
    styles: list[str],
    amounts: dict[str, float],
    shares: dict[str, float],
    shortest: float,
) -> None:
    seconds = (shortest, shortest + 4.0)
    changes = {"styles": tuple(styles), "tempo_bpm": tempo, "seconds": seconds, **amounts, **shares}
    for performance in generate(seed=seed, performances=4, **changes):
        check_valid(performance)
        check_playable(performance)
        assert tempo[0] <= performance.bpm <= tempo[1]
        assert performance.split in ("train", "validation", "test")
        assert performance.beat_type in ("beat", "fill")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"styles": ["rokc"]}, "'rokc' is unknown; did you mean 'rock'"),
        ({"styles": ["rock", "rock"]}, "twice"),
        ({"styles": []}, "styles"),
        ({"tempo_bpm": [120.0, 90.0]}, r"tempo_bpm should be \[lowest, highest\]"),
        ({"seconds": [20.0, 10.0]}, r"seconds should be"),
        ({"split": [0.7, 0.2, 0.2]}, "sum to 1"),
        ({"swing": 3.0}, "swing"),
        ({"performances": 0}, "performances"),
        ({"flamms": 1.0}, "did you mean 'flams'"),
    ],
)
def test_bad_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    class Section(ParamsSection):
        section = "render"
        grooves: GrooveParams

    with pytest.raises(DrumCrnnError, match=message):
        Section.check({"grooves": PARAMS | changes}, source="params.yaml")
