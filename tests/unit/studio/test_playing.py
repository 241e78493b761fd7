"""Varied playing: which drums are struck, and how hard; the notes say what is played."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit_builder import effects_of, varied
from pydantic import ValidationError

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, UNMAPPED_NOTES
from drum_crnn.music.midi import Note
from drum_crnn.studio.playing import PlayingVariation, cut, vary_playing

EFFECTS = [name for name, value in effects_of("playing").items() if isinstance(value, dict)]
NEUTRAL = {name: 1.0 if name == "tempo" else 0.0 for name in EFFECTS if name != "shuffle_toms"}
CRASHES, TOMS = {49, 57}, {50, 47, 43}

# One bar of everything, several times.
BAR = [Note(0.05 * index, note, 40 + index) for index, note in enumerate([*LANE_OF_NOTE, *UNMAPPED_NOTES])]
SONG = sorted(Note(note.time_s + 2 * bar, note.note, note.velocity) for note in BAR for bar in range(8))


def params(**changes):
    return varied(PlayingVariation, "playing", **changes)


def play(notes, seed=0, **changes):
    return vary_playing(np.random.default_rng(seed), notes, params(**changes), bpm=120.0).notes


def steady(note: int, n: int = 2000, *, velocity: int = 90) -> list[Note]:
    return [Note(0.1 * index, note, velocity) for index in range(n)]


# ------------------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize(
    ("effect", "struck", "velocity", "instead"),
    [
        *(("crash_ride", note, 90, CRASHES) for note in (51, 53, 59)),
        *(("ride_bell", note, 90, {53}) for note in (51, 59)),
        *(("ride_hats", note, 90, {51}) for note in (22, 26, 42, 46)),
        *(("crash_hats", note, 90, CRASHES) for note in (22, 26, 42, 46)),
        *(("tom_hats", note, 90, {43}) for note in (22, 26, 42, 46)),
        *(("open_hats", note, 90, {46}) for note in (22, 42)),
        *(("tight_hats", note, 90, {42}) for note in (26, 46)),
        *(("drop_hats", note, 90, set()) for note in (22, 26, 42, 44, 46)),
        ("drop_pedals", 44, 90, set()),
        *(("drop_kicks", note, 90, set()) for note in (35, 36)),
        *(("drop_snares", note, 90, set()) for note in (37, 38, 40)),
        *(("tom_snares", note, 90, TOMS) for note in (37, 38, 40)),
        *(("cross_sticks", note, 90, {37}) for note in (38, 40)),
        *(("drop_ghosts", note, 49, set()) for note in (37, 38, 40)),
    ],
)
@pytest.mark.parametrize("amount", [0.25, 1.0])
def test_the_share_is_met(effect, struck, velocity, instead, amount):
    notes = steady(struck, velocity=velocity)
    played, before = play(notes, **{effect: amount}), set(notes)
    kept = [note for note in played if note in before]
    changed = [note for note in played if note not in before]
    deviation = np.sqrt(len(notes) * amount * (1 - amount))
    assert len(notes) - len(kept) == pytest.approx(len(notes) * amount, abs=4 * deviation)
    assert len(changed) == (len(notes) - len(kept) if instead else 0)
    assert {note.note for note in changed} <= instead
    assert {note.time_s for note in played} <= {note.time_s for note in notes}
    assert {note.velocity for note in played} <= {velocity}


@pytest.mark.parametrize("effect", ["crash_ride", "crash_hats", "added_crashes"])
def test_a_recording_has_one_crash_and_recordings_have_both(effect):
    notes = sorted(steady(36, 50) + steady(42, 50) + steady(51, 50))
    crashes = [{note.note for note in play(notes, seed, **{effect: 1.0})} & CRASHES for seed in range(20)]
    assert {len(crash) for crash in crashes} == {1}
    assert set.union(*crashes) == CRASHES


def test_a_snare_on_toms_visits_all_of_them():
    counts = Counter(note.note for note in play(steady(38), tom_snares=1.0))
    assert counts.keys() == TOMS
    assert min(counts.values()) > 2000 / 3 - 4 * np.sqrt(2000 * 2 / 9)


@pytest.mark.parametrize("amount", [0.25, 1.0])
def test_kicks_get_crashes(amount):
    notes = steady(36)
    played = play(notes, added_crashes=amount)
    added = [note for note in played if note.note != 36]
    assert [note for note in played if note.note == 36] == notes
    assert len(added) == pytest.approx(2000 * amount, abs=4 * np.sqrt(2000 * amount * (1 - amount)))
    assert {note.note for note in added} <= CRASHES
    assert {note.time_s for note in added} <= {note.time_s for note in notes}
    assert all(80 <= note.velocity <= 100 for note in added)
    assert play(steady(36, velocity=39), added_crashes=1.0) == steady(36, velocity=39)


def test_what_an_effect_is_not_about_stays():
    assert play(steady(38, velocity=50), drop_ghosts=1.0) == steady(38, velocity=50)
    assert play(steady(36, velocity=20), drop_ghosts=1.0) == steady(36, velocity=20)
    for effect in ("ride_hats", "crash_hats", "tom_hats", "open_hats", "tight_hats"):
        assert play(steady(44), **{effect: 1.0}) == steady(44)  # the pedal is played by a foot
    assert play(steady(42), drop_pedals=1.0, tight_hats=1.0) == steady(42)
    assert play(steady(46), open_hats=1.0) == steady(46)


def test_hats_that_go_elsewhere_are_shared_out_in_turn():
    """A half to the ride, a half of what is left to a crash, a half of the rest to the tom."""
    played = [note.note for note in play(steady(42, 4000), ride_hats=0.5, crash_hats=0.5, tom_hats=0.5)]
    shares = [played.count(51), sum(note in CRASHES for note in played), played.count(43), played.count(42)]
    assert np.array(shares) / 4000 == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.04)


def test_toms_change_places():
    notes = [Note(float(index), note, 90) for index, note in enumerate((50, 48, 47, 45, 43, 41, 58))]
    orders = set()
    for seed in range(60):
        played = [note.note for note in play(notes, seed, shuffle_toms=1.0)]
        high, mid, low = played[0], played[2], played[4]
        assert played == [high, high, mid, mid, low, low, low]
        orders.add((high, mid, low))
    assert orders == set(itertools.permutations((50, 47, 43)))


# ------------------------------------------------------------------------------------------------------- fast runs


@pytest.mark.parametrize("bpm", [60.0, 93.0, 120.0, 200.0])
def test_double_kicks_are_even_steps_of_the_beat(bpm):
    notes = sorted(steady(36, 200) + [Note(0.1 * index + 0.05, 42, 60) for index in range(200)])
    n_steps = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        played = vary_playing(rng, notes, params(double_kicks=1.0), bpm=bpm).notes
        assert [note for note in played if note.note == 42] == [note for note in notes if note.note == 42]
        kicks = np.array([note.time_s for note in played if note.note == 36])
        step_s = np.median(np.diff(kicks))
        assert 1 / 15.5 < step_s < 1 / 6.5
        n_steps.add(60 / bpm / step_s)
        assert kicks[-1] <= notes[-1].time_s + 0.05
    assert all(n == pytest.approx(round(n), rel=0.03) for n in n_steps)
    assert {round(n) for n in n_steps} <= {2, 3, 4, 6, 8}


def test_some_kicks_begin_runs_and_the_others_stay():
    notes = [Note(1.0 * index, 36, 90) for index in range(300)]
    played = play(notes, double_kicks=0.05)
    kept = [note for note in played if note in notes]
    assert 100 < len(kept) < 290
    assert len(played) > 330


def test_in_blast_beats_kick_and_snare_take_turns():
    notes = sorted(
        [Note(0.5 * index, 36, 90) for index in range(40)] + [Note(0.25 + index, 38, 90) for index in range(20)]
    )
    played = play(notes, double_kicks=1.0, blast_beats=1.0)
    numbers = [note.note for note in played]
    turns = sum(one != other for one, other in itertools.pairwise(numbers))
    assert turns > 0.85 * len(numbers)  # a run may end with a kick, and the next one begins with one
    assert play(notes, blast_beats=1.0) == notes


# ------------------------------------------------------------------------------------------------------- time, force


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 2.0])
def test_tempo_is_a_factor_of_speed(factor):
    played, tempo = vary_playing(np.random.default_rng(0), SONG, params(tempo=factor), bpm=120.0)
    assert tempo == factor
    assert [(note.note, note.velocity) for note in played] == [(note.note, note.velocity) for note in SONG]
    assert [note.time_s for note in played] == pytest.approx([note.time_s / factor for note in SONG])


def test_velocities_are_drawn_towards_110():
    notes = [Note(0.1 * velocity, 38, velocity) for velocity in range(1, 128)]
    assert play(notes, velocity_lift=0.0) == notes
    assert {note.velocity for note in play(notes, velocity_lift=1.0)} == {110}
    half = [note.velocity for note in play(notes, velocity_lift=0.5)]
    assert half == pytest.approx([(velocity + 110) / 2 for velocity in range(1, 128)], abs=0.5)
    assert half == sorted(half)


# ------------------------------------------------------------------------------------------------------- switches


@pytest.mark.parametrize("effect", sorted({*EFFECTS} - {"blast_beats"}))  # which needs double_kicks
def test_an_effect_alone_changes_something_and_switched_off_nothing(effect):
    amount = 0.8
    assert play(SONG, seed=1, **{effect: amount}) != SONG
    assert play(SONG, seed=1, **{effect: {"range": [amount, amount], "enabled": False}}) == SONG
    assert play(SONG, seed=1, **{effect: {"range": [amount, amount], "probability": 0.0}}) == SONG


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_switch_leaves_what_the_others_do(effect):
    """With all effects on, an effect that is switched off equals one of neutral amount or of probability 0."""
    for seed in range(5):
        everything = {
            name: value | {"probability": 0.7} for name, value in effects_of("playing").items() if name in EFFECTS
        }
        off = play(SONG, seed, **everything | {effect: {"enabled": False}})
        never = play(SONG, seed, **everything | {effect: {"probability": 0.0}})
        assert off == never
        if effect in NEUTRAL:
            assert off == play(SONG, seed, **everything | {effect: NEUTRAL[effect]})


def test_the_main_switch_and_its_probability():
    everything = dict.fromkeys(EFFECTS, 0.7)
    for off in ({"enabled": False}, {"probability": 0.0}):
        assert vary_playing(np.random.default_rng(0), SONG, params(**everything, **off), bpm=120.0) == (SONG, 1.0)
    sometimes = params(**everything, probability=0.3)
    drawn = [vary_playing(np.random.default_rng(seed), BAR, sometimes, bpm=120.0).notes for seed in range(400)]
    varied_ones = sum(notes != BAR for notes in drawn)
    assert varied_ones == pytest.approx(120, abs=4 * np.sqrt(400 * 0.3 * 0.7))


def test_as_many_numbers_are_drawn_whatever_is_switched():
    """The random numbers that a recording draws afterwards do not depend on its playing."""
    following = set()
    for changes in ({}, dict.fromkeys(EFFECTS, 0.7), {"enabled": False}, {"probability": 0.0}, {"drop_hats": 1.0}):
        rng = np.random.default_rng(5)
        vary_playing(rng, SONG, params(**changes), bpm=120.0)
        following.add(rng.random())
    assert len(following) == 1


def test_the_seed_decides():
    everything = {name: value for name, value in effects_of("playing").items() if name in EFFECTS}
    results = [play(SONG, seed, **everything) for seed in (1, 1, 2, 3)]
    assert results[0] == results[1]
    assert len({tuple(notes) for notes in results}) == 3


# ------------------------------------------------------------------------------------------------------- notes

NOTES = st.lists(
    st.builds(
        Note,
        time_s=st.integers(0, 40).map(lambda n: n / 10),
        note=st.sampled_from([*LANE_OF_NOTE, *UNMAPPED_NOTES]),
        velocity=st.integers(1, 127),
    ),
    max_size=40,
)
SHARES = st.fixed_dictionaries({}, optional={name: st.floats(0, 1) for name in EFFECTS if name != "tempo"})


@given(notes=NOTES, shares=SHARES, tempo=st.floats(0.5, 2), seed=st.integers(0, 99))
def test_played_notes_are_in_order_possible_and_no_two_the_same(notes, shares, tempo, seed):
    played = play(notes, seed, **shares, tempo=tempo)
    assert played == sorted(played)
    places = [(note.time_s, note.note) for note in played]
    assert len(set(places)) == len(places)
    assert all(1 <= note.velocity <= 127 and type(note.velocity) is int for note in played)
    if not shares.get("double_kicks"):
        assert {note.time_s for note in played} <= {note.time_s / tempo for note in notes}
    assert {note.note for note in played} <= LANE_OF_NOTE.keys() | UNMAPPED_NOTES.keys()
    unmapped = [{note.note for note in some if note.note in UNMAPPED_NOTES} for some in (notes, played)]
    assert unmapped[0] == unmapped[1]
    assert played == play(list(reversed(notes)), seed, **shares, tempo=tempo)


@given(notes=NOTES, effect=st.sampled_from(EFFECTS), seed=st.integers(0, 99))
def test_an_effect_keeps_to_its_drums(notes, effect, seed):
    if effect in ("tempo", "velocity_lift"):
        return
    about = {
        "hihat" if "hats" in effect or effect == "drop_pedals" else "",
        "ride" if effect in ("crash_ride", "ride_bell", "ride_hats") else "",
        "crash" if "crash" in effect else "",
        "snare" if "snares" in effect or effect in ("drop_ghosts", "cross_sticks") else "",
        "kick" if effect in ("drop_kicks", "double_kicks", "blast_beats") else "",
        *(("high_tom", "mid_tom", "low_tom") if effect in ("shuffle_toms", "tom_snares", "tom_hats") else ()),
    }
    unique = {(note.time_s, note.note): note for note in sorted(notes)}

    def others(some):
        return [n for n in some if n.note not in LANE_OF_NOTE or LANES[LANE_OF_NOTE[n.note]] not in about]

    assert others(play(notes, seed, **{effect: 1.0})) == others(sorted(unique.values()))


def test_of_two_notes_of_one_number_at_one_time_the_louder_is_played():
    notes = [Note(1.0, 42, 100), Note(1.0, 46, 60), Note(2.0, 42, 20), Note(2.0, 46, 90)]
    assert play(notes, open_hats=1.0) == [Note(1.0, 46, 100), Note(2.0, 46, 90)]
    assert play([Note(1.0, 36, 90), Note(1.0, 49, 127)], seed=4, added_crashes=1.0).count(Note(1.0, 49, 127)) == 1


def test_what_is_played_is_what_is_returned_for_every_label():
    """Changed notes are those of the drum that sounds, so that each lane's onsets are those of its sounds."""
    played = play(steady(42, 100), ride_hats=1.0)
    assert {LANES[LANE_OF_NOTE[note.note]] for note in played} == {"ride"}


# ------------------------------------------------------------------------------------------------------- params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop_hats": [0.5, 1.1]}, "drop_hats.range is a share"),
        ({"ride_bell": [-0.1, 1.0]}, "ride_bell.range is a share"),
        ({"tempo": [0.4, 1.0]}, "tempo.range must lie within"),
        ({"tempo": [1.0, 2.1]}, "tempo.range must lie within"),
        ({"probability": 1.5}, "less than or equal to 1"),
    ],
)
def test_impossible_amounts(changes, message):
    with pytest.raises(ValidationError, match=message):
        params(**changes)


# ------------------------------------------------------------------------------------------------------- cut


def test_a_stretch_is_cut_out():
    notes = [Note(1.0, 36, 1), Note(2.0, 38, 2), Note(2.5, 42, 3), Note(3.0, 36, 4)]
    assert cut(notes, 2.0, 3.0, lead_s=0.25) == [Note(0.25, 38, 2), Note(0.75, 42, 3)]
    assert cut(notes, 5.0, 9.0, lead_s=0.25) == []


@given(notes=NOTES, edges=st.lists(st.floats(0, 5), max_size=5))
def test_stretches_hold_every_note_once(notes, edges):
    edges = [0.0, *sorted(edges), 5.0]
    pieces = [cut(notes, start, end, lead_s=0.5) for start, end in itertools.pairwise(edges)]
    assert Counter((n.note, n.velocity) for piece in pieces for n in piece) == Counter(
        (n.note, n.velocity) for n in notes
    )
    assert all(note.time_s >= 0.5 - 1e-9 for piece in pieces for note in piece)
