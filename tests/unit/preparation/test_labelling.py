"""Making labels: which MIDI is canonical, what its notes become, and that every note is accounted for."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_builder import BEAT, Take, build_egmd, grid
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.data.audibility import write_audibility
from drum_crnn.data.catalog import Catalog
from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.data.labels import Labels
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, UNMAPPED_NOTES
from drum_crnn.music.midi import Note, canonical_midi, read_midi
from drum_crnn.preparation import labelling
from drum_crnn.preparation.cataloguing import build_catalog
from drum_crnn.preparation.labelling import LabelParams, _compare, _merge, _pair, _windows, make_labels

PARAMS = LabelParams(
    midi="canonical",
    merge_window_s=0.03,
    min_velocity=8,
    min_audibility_db=-10.0,
    ignore_radius_s=0.025,
    max_offset_s=0.05,
)
OWN = PARAMS.model_copy(update={"midi": "own"})
KICK, SNARE, HIHAT, HIGH_TOM, MID_TOM = range(5)


def catalog_of(root: Path) -> Catalog:
    params = CorpusParams(root=root, watch=root, max_broken_fraction=0.0)
    return build_catalog(Corpus.open(root), root, params)


def labels_of(root: Path, takes: list[Take], params: LabelParams = PARAMS) -> tuple[Labels, dict[str, str]]:
    """Labels of a corpus made of `takes`, and the recording of each kit."""
    build_egmd(root, takes)
    catalog = catalog_of(root)
    return make_labels(root, catalog, params), {entry.kit: entry.recording for entry in catalog}


def onsets(labels: Labels, recording: str) -> list[tuple[float, int, int]]:
    found = labels.onsets(recording)
    times = [round(float(time), 3) for time in found.time_s]
    return list(zip(times, found.lane.tolist(), found.velocity.tolist(), strict=True))


def windows(labels: Labels, recording: str) -> list[tuple[float, float, int]]:
    found = labels.ignored(recording)
    return [
        (round(float(start), 3), round(float(end), 3), int(lane))
        for start, end, lane in zip(found.start_s, found.end_s, found.lane, strict=True)
    ]


def account(labels: Labels, kit: str | None = None) -> dict[tuple[str, int], int]:
    """Notes by reason and number, of all kits or of one."""
    counts: Counter[tuple[str, int]] = Counter()
    for row in labels.accounting:
        counts[row.reason, row.note] += row.count if kit in (None, row.kit) else 0
    return dict(+counts)


# Taps of every kind that the tests below remap: a rim of each tom, which some kits turn into a snare.
PLAYED = (
    Note(0.1, 36, 100),
    Note(0.2, 38, 90),
    Note(0.3, 42, 80),
    Note(0.4, 50, 70),
    Note(0.5, 47, 60),
)
ONSETS = [(0.1, KICK, 100), (0.2, SNARE, 90), (0.3, HIHAT, 80), (0.4, HIGH_TOM, 70), (0.5, MID_TOM, 60)]


def remapped(notes: tuple[Note, ...], table: dict[int, int | None]) -> tuple[Note, ...]:
    """`notes` through a pad map; None stands for a pad that sends nothing."""
    return tuple(replace(note, note=new) for note in notes if (new := table.get(note.note, note.note)) is not None)


def test_a_plain_recording_has_its_notes(tmp_path: Path) -> None:
    labels, recordings = labels_of(tmp_path, [Take(kit="A", notes=PLAYED)])
    assert onsets(labels, recordings["A"]) == ONSETS
    assert windows(labels, recordings["A"]) == []
    assert account(labels) == {("onset", note.note): 1 for note in PLAYED}


def test_the_majority_of_kits_decides_for_all(tmp_path: Path) -> None:
    """E-GMD's trap: kit C sends tom rims to the snare, kit D all hi-hats to the tambourine, E nothing for the kick."""
    takes = [
        Take(kit="A", notes=PLAYED),
        Take(kit="B", notes=PLAYED),
        Take(kit="C", notes=PLAYED, own_notes=remapped(PLAYED, {50: 38})),
        Take(kit="D", notes=PLAYED, own_notes=remapped(PLAYED, {42: 54})),
        Take(kit="E", notes=PLAYED, own_notes=remapped(PLAYED, {36: None})),
        Take(kit="F", notes=PLAYED, own_notes=remapped(PLAYED, {42: 22, 47: 45})),  # other notes of the same lanes
        Take(kit="G", notes=PLAYED, own_notes=(*PLAYED, Note(0.7, 51, 90), Note(0.8, 56, 90))),
    ]
    labels, recordings = labels_of(tmp_path, takes)
    for kit in "ABF":
        assert onsets(labels, recordings[kit]) == ONSETS
        assert windows(labels, recordings[kit]) == []
    assert onsets(labels, recordings["C"]) == [onset for onset in ONSETS if onset[1] != HIGH_TOM]
    assert windows(labels, recordings["C"]) == [(0.375, 0.425, SNARE), (0.375, 0.425, HIGH_TOM)]
    assert onsets(labels, recordings["D"]) == [onset for onset in ONSETS if onset[1] != HIHAT]
    assert windows(labels, recordings["D"]) == [(0.275, 0.325, HIHAT)]
    assert onsets(labels, recordings["E"]) == ONSETS[1:]
    assert windows(labels, recordings["E"]) == [(0.075, 0.125, KICK)]
    assert onsets(labels, recordings["G"]) == ONSETS
    assert windows(labels, recordings["G"]) == [(0.675, 0.725, LANES.index("ride"))]
    assert account(labels) == {
        ("onset", 36): 6,
        ("onset", 38): 7,
        ("onset", 42): 6,
        ("onset", 50): 6,
        ("onset", 47): 7,
        ("remapped", 50): 1,
        ("remapped", 42): 1,
        ("missing", 36): 1,
        ("extra", 51): 1,
        ("extra", 56): 1,
    }


def test_where_each_midi_is_exact_none_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Varied recordings of one performance may have nothing in common."""
    other = (Note(0.3, 51, 90), Note(0.6, 54, 90))
    takes = [Take(kit="A", notes=PLAYED), Take(kit="B", notes=PLAYED), Take(kit="C", notes=PLAYED, own_notes=other)]
    own, recordings = labels_of(tmp_path, takes, OWN)
    assert [onsets(own, recordings[kit]) for kit in "ABC"] == [ONSETS, ONSETS, [(0.3, LANES.index("ride"), 90)]]
    assert not any(windows(own, recordings[kit]) for kit in "ABC")
    assert "if this is E-GMD, whose kits remap notes, set labels.midi to canonical" in capsys.readouterr().err
    assert account(own) == {("onset", note.note): 2 for note in PLAYED} | {("onset", 51): 1, ("no_lane", 54): 1}
    canonical = make_labels(tmp_path, catalog_of(tmp_path), PARAMS)
    assert onsets(canonical, recordings["C"]) == []
    assert sum(count for (reason, _), count in account(canonical).items() if reason in ("missing", "remapped")) == 5


def test_notes_are_compared_with_their_multiplicity(tmp_path: Path) -> None:
    """Rim and head of the snare at once: a kit that sends the rim to the kick leaves one snare and adds a kick."""
    played = (Note(0.2, 38, 90), Note(0.2, 40, 80), Note(0.5, 36, 90))
    takes = [Take(kit=kit, notes=played) for kit in "AB"]
    takes.append(Take(kit="C", notes=played, own_notes=remapped(played, {40: 36})))
    labels, recordings = labels_of(tmp_path, takes)
    assert onsets(labels, recordings["A"]) == [(0.2, SNARE, 90), (0.5, KICK, 90)]
    assert windows(labels, recordings["C"]) == [(0.175, 0.225, KICK), (0.175, 0.225, SNARE)]
    assert ("remapped", 38) in account(labels) or ("remapped", 40) in account(labels)
    assert sum(count for (reason, _), count in account(labels).items() if reason == "merged") == 2


def late(notes: tuple[Note, ...], by_s: float) -> tuple[Note, ...]:
    return tuple(replace(note, time_s=note.time_s + by_s) for note in notes)


def test_times_that_differ_by_rounding_are_the_same(tmp_path: Path) -> None:
    jittered = tuple(replace(note, time_s=note.time_s + (-1) ** i * 0.001) for i, note in enumerate(PLAYED))
    takes = [Take(kit=kit, notes=PLAYED) for kit in "AB"]
    takes += [Take(kit="C", notes=PLAYED, own_notes=late(PLAYED, 0.001))]
    takes += [Take(kit="D", notes=PLAYED, own_notes=jittered)]
    labels, recordings = labels_of(tmp_path, takes)
    for kit in "CD":
        assert windows(labels, recordings[kit]) == []
        assert onsets(labels, recordings[kit]) == ONSETS


@pytest.mark.parametrize("offset_s", [0.003, 0.005, 0.0095, -0.004])
def test_a_kit_whose_midi_is_a_little_late_loses_nothing(tmp_path: Path, offset_s: float) -> None:
    takes = [Take(kit=kit, notes=PLAYED) for kit in "AB"]
    takes.append(Take(kit="C", notes=PLAYED, own_notes=late(remapped(PLAYED, {50: 38}), offset_s)))
    labels, recordings = labels_of(tmp_path, takes)
    assert onsets(labels, recordings["C"]) == [onset for onset in ONSETS if onset[1] != HIGH_TOM]
    assert windows(labels, recordings["C"]) == [(0.375, 0.425, SNARE), (0.375, 0.425, HIGH_TOM)]
    assert labels.problems == ()


# Enough strokes, at uneven distances, for an offset that is not small, and for an ear.
LONG = tuple(
    Note(0.3 + 0.21 * i + 0.03 * (i * i % 5), (36, 42, 38, 42, 36, 50)[i % 6], 70 + 5 * (i % 7)) for i in range(30)
)


def lanes_and_times(notes: tuple[Note, ...]) -> list[tuple[float, int]]:
    return sorted((round(note.time_s, 3), LANE_OF_NOTE[note.note]) for note in notes)


@pytest.mark.parametrize("offset_s", [0.02, -0.02, 0.045])
@pytest.mark.parametrize("audio", ["canonical", "own", "silent"])
def test_a_kit_whose_midi_is_late_is_labelled_as_its_audio_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], offset_s: float, audio: str
) -> None:
    takes = [Take(kit=kit, notes=LONG, duration_s=8.0) for kit in "AB"]
    moved = late(LONG, offset_s)
    takes.append(Take(kit="C", notes=moved if audio == "own" else LONG, own_notes=moved, duration_s=8.0))
    rows = build_egmd(tmp_path, takes)
    if audio == "silent":
        soundfile.write(tmp_path / rows[-1]["audio_filename"], np.zeros(8 * 44_100), 44_100, "PCM_16")
    catalog = catalog_of(tmp_path)
    labels = make_labels(tmp_path, catalog, PARAMS)
    recording = next(entry.recording for entry in catalog if entry.kit == "C")
    found = [(time_s, lane) for time_s, lane, _ in onsets(labels, recording)]
    assert found == lanes_and_times(moved if audio == "own" else LONG)
    assert windows(labels, recording) == []
    (problem,) = labels.problems
    side = "later" if offset_s > 0 else "earlier"
    told = {"own": "and so is its audio", "canonical": "but its audio is not", "silent": "does not tell which is right"}
    assert (problem.recording, problem.kit, problem.outcome) == (recording, "C", "corrected")
    assert problem.offset_ms == pytest.approx(1000 * offset_s, abs=0.6)  # MIDI rounds to its ticks
    assert f"ms {side} than the canonical MIDI" in problem.what
    assert told[audio] in problem.what
    assert "earlier or later than the canonical MIDI was corrected: recordings of C (1, by " in capsys.readouterr().err


def test_a_kit_whose_midi_is_far_off_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takes = [Take(kit=kit, notes=LONG, duration_s=8.0) for kit in "AB"]
    takes.append(Take(kit="C", notes=LONG, own_notes=late(LONG, 0.6), duration_s=8.0))
    labels, recordings = labels_of(tmp_path, takes)
    assert recordings["C"] not in labels
    assert labels.recordings == tuple(sorted((recordings["A"], recordings["B"])))
    (problem,) = labels.problems
    assert (problem.outcome, problem.kit) == ("left_out", "C")
    assert problem.offset_ms == pytest.approx(600, abs=0.6)
    assert "more than labels.max_offset_s allows" in problem.what
    assert {reason for reason, _ in account(labels, "C")} == {"left_out"}
    assert sum(account(labels, "C").values()) == len(LONG)
    assert "C (1, by +600.0 ms)" in capsys.readouterr().err
    allowed = make_labels(tmp_path, catalog_of(tmp_path), PARAMS.model_copy(update={"max_offset_s": 1.0}))
    assert [time_s for time_s, *_ in onsets(allowed, recordings["C"])] == [t for t, _ in lanes_and_times(LONG)]


def test_a_kit_that_disagrees_wholly_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(5)
    other = tuple(Note(float(time_s), 38, 90) for time_s in np.sort(rng.uniform(0.1, 7.5, 25)))
    takes = [Take(kit=kit, notes=LONG, duration_s=8.0) for kit in "AB"]
    takes += [Take(kit="Odd", notes=LONG, own_notes=other, duration_s=8.0)]
    takes += [Take(kit="Toms", notes=LONG, own_notes=remapped(LONG, {50: 38}), duration_s=8.0)]
    labels, recordings = labels_of(tmp_path, takes)
    said = capsys.readouterr().err
    assert "nearly all notes of Odd differ" in said
    assert "Toms" not in said
    (problem,) = labels.problems
    assert (problem.recording, problem.outcome) == (recordings["Odd"], "ignored")
    assert account(labels, "Toms")["remapped", 50] == 5
    assert sum(count for (reason, _), count in account(labels, "A").items() if reason != "onset") == 0


@pytest.mark.parametrize("shuffle", list(itertools.permutations(range(3))))
def test_the_rule_for_ties(shuffle: tuple[int, ...]) -> None:
    few = [Note(0.1, 36, 90), Note(0.2, 54, 90), Note(0.3, 54, 90), Note(0.4, 54, 90)]
    more = [Note(0.1, 36, 90), Note(0.2, 42, 90)]
    most = [Note(0.1, 36, 90), Note(0.2, 42, 90), Note(0.3, 56, 90)]
    candidates = [few, more, most]
    ordered = [candidates[i] for i in shuffle]
    assert ordered[canonical_midi(ordered)] is most  # as many notes of a lane as `more`, and more in all
    assert ordered[canonical_midi([*ordered, few])] is few  # two against one
    louder = [replace(note, velocity=100) for note in most]
    assert canonical_midi([most, louder]) == 0  # one content: the first decides


def test_soft_notes_are_neither_onset_nor_silence(tmp_path: Path) -> None:
    played = (Note(0.2, 38, 7), Note(0.4, 38, 8), Note(0.41, 38, 7), Note(0.6, 42, 1))
    labels, recordings = labels_of(tmp_path, [Take(kit="A", notes=played)])
    assert onsets(labels, recordings["A"]) == [(0.4, SNARE, 8)]
    assert windows(labels, recordings["A"]) == [(0.175, 0.225, SNARE), (0.575, 0.625, HIHAT)]
    assert account(labels) == {("soft", 38): 1, ("merged", 38): 1, ("onset", 38): 1, ("soft", 42): 1}


def write_audibilities(root: Path, recording: str, audibility_db: dict[int, float], *, otherwise: float = 30.0) -> None:
    """Write the audibility of a recording's notes, by note number."""
    (midi,) = root.rglob(f"{Path(recording).name}.midi")
    notes = read_midi(midi)
    write_audibility(midi, notes, [audibility_db.get(note.note, otherwise) for note in notes])


def test_inaudible_notes_are_neither_onset_nor_silence(tmp_path: Path) -> None:
    _, recordings = labels_of(tmp_path, [Take(kit="A", notes=PLAYED), Take(kit="B", notes=PLAYED)], OWN)
    write_audibilities(tmp_path, recordings["A"], {38: -10.1, 42: -10.0, 47: -60.0})
    labels = make_labels(tmp_path, catalog_of(tmp_path), OWN)
    assert onsets(labels, recordings["A"]) == [one for one in ONSETS if one[1] not in (SNARE, MID_TOM)]
    assert windows(labels, recordings["A"]) == [(0.175, 0.225, SNARE), (0.475, 0.525, MID_TOM)]
    assert onsets(labels, recordings["B"]) == ONSETS  # not measured
    assert windows(labels, recordings["B"]) == []
    assert account(labels) == {
        ("inaudible", 38): 1,
        ("inaudible", 47): 1,
        ("onset", 36): 2,
        ("onset", 38): 1,
        ("onset", 42): 2,
        ("onset", 50): 2,
        ("onset", 47): 1,
    }
    assert labels.ignored_shares() == {lane: 0.5 if lane in ("snare", "mid_tom") else 0.0 for lane in LANES}


def test_null_ignores_no_note_as_inaudible(tmp_path: Path) -> None:
    _, recordings = labels_of(tmp_path, [Take(kit="A", notes=PLAYED)], OWN)
    write_audibilities(tmp_path, recordings["A"], {38: -60.0})
    labels = make_labels(tmp_path, catalog_of(tmp_path), OWN.model_copy(update={"min_audibility_db": None}))
    assert onsets(labels, recordings["A"]) == ONSETS
    assert windows(labels, recordings["A"]) == []


def test_only_the_loudest_of_merged_notes_has_to_be_audible(tmp_path: Path) -> None:
    flam = (Note(0.2, 38, 20), Note(0.21, 40, 90), Note(0.5, 38, 90), Note(0.51, 40, 20))
    _, recordings = labels_of(tmp_path, [Take(kit="A", notes=flam)], OWN)
    write_audibilities(tmp_path, recordings["A"], {38: -30.0})
    labels = make_labels(tmp_path, catalog_of(tmp_path), OWN)
    assert onsets(labels, recordings["A"]) == [(0.21, SNARE, 90)]
    assert windows(labels, recordings["A"]) == [(0.475, 0.525, SNARE)]
    assert account(labels) == {("merged", 38): 1, ("merged", 40): 1, ("inaudible", 38): 1, ("onset", 40): 1}


def test_a_soft_note_is_soft_and_a_note_after_the_end_is_after_it_however_audible(tmp_path: Path) -> None:
    played = (Note(0.2, 38, 7), Note(0.4, 36, 90), Note(1.2, 42, 90))
    _, recordings = labels_of(tmp_path, [Take(kit="A", notes=played)], OWN)
    write_audibilities(tmp_path, recordings["A"], {}, otherwise=-30.0)
    labels = make_labels(tmp_path, catalog_of(tmp_path), OWN)
    assert account(labels) == {("after_end", 42): 1, ("soft", 38): 1, ("inaudible", 36): 1}


def test_an_audibility_of_other_notes_is_an_error(tmp_path: Path) -> None:
    _, recordings = labels_of(tmp_path, [Take(kit="A", notes=PLAYED)], OWN)
    (midi,) = tmp_path.rglob(f"{Path(recordings['A']).name}.midi")
    write_audibility(midi, PLAYED[:-1], [0.0] * 4)
    with pytest.raises(DrumCrnnError, match="does not list the notes of"):
        make_labels(tmp_path, catalog_of(tmp_path), OWN)


def test_notes_of_no_lane_are_left_out_with_a_reason(tmp_path: Path) -> None:
    played = (Note(0.1, 39, 90), Note(0.2, 54, 90), Note(0.3, 56, 90), Note(0.4, 38, 90))
    labels, recordings = labels_of(tmp_path, [Take(kit="A", notes=played)])
    assert onsets(labels, recordings["A"]) == [(0.4, SNARE, 90)]
    assert account(labels) == {("no_lane", 39): 1, ("no_lane", 54): 1, ("no_lane", 56): 1, ("onset", 38): 1}
    assert {row.lane for row in labels.accounting if row.reason == "no_lane"} == {""}


def test_notes_after_the_end_are_left_out(tmp_path: Path) -> None:
    played = (Note(0.5, 38, 90), Note(1.0, 36, 90), Note(1.2, 36, 90))
    labels, recordings = labels_of(tmp_path, [Take(kit="A", notes=played), Take(kit="B", notes=played, duration_s=1.1)])
    assert onsets(labels, recordings["A"]) == [(0.5, SNARE, 90)]
    assert onsets(labels, recordings["B"]) == [(0.5, SNARE, 90), (1.0, KICK, 90)]
    assert account(labels) == {("after_end", 36): 3, ("onset", 38): 2, ("onset", 36): 1}


def test_an_unknown_note_is_an_error_with_file_and_number(tmp_path: Path) -> None:
    """The catalog leaves such recordings out, so this needs a catalog that no longer describes the corpus."""
    build_egmd(tmp_path, [Take(notes=(Note(0.1, 38, 90),))])
    catalog = catalog_of(tmp_path)
    build_egmd(tmp_path, [Take(notes=(Note(0.1, 99, 90),))])
    with pytest.raises(DrumCrnnError, match=r"1_rock_120_beat_4-4_1\.midi: note 99 belongs to no lane"):
        make_labels(tmp_path, catalog, PARAMS)


def test_a_midi_that_the_catalog_does_not_describe_is_an_error(tmp_path: Path) -> None:
    build_egmd(tmp_path, [Take()])
    catalog = catalog_of(tmp_path)
    build_egmd(tmp_path, [Take(notes=BEAT[:2])])
    with pytest.raises(DrumCrnnError, match=r"\.midi: is not the file that the catalog describes"):
        make_labels(tmp_path, catalog, PARAMS)
    (tmp_path / catalog.entries[0].midi_path).unlink()
    with pytest.raises(DrumCrnnError, match="there is no such file"):
        make_labels(tmp_path, catalog, PARAMS)


NOTES = st.lists(
    st.builds(
        Note,
        time_s=st.integers(0, 60).map(lambda n: n / 50),
        note=st.sampled_from([*LANE_OF_NOTE, *UNMAPPED_NOTES]),
        velocity=st.integers(1, 127),
    ),
    max_size=30,
).map(tuple)


@settings(deadline=None)
@given(played=NOTES, own=st.lists(NOTES, max_size=2), table=st.dictionaries(
    st.sampled_from(list(LANE_OF_NOTE)), st.one_of(st.none(), st.sampled_from(list(LANE_OF_NOTE)))
))  # fmt: skip
def test_every_note_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory,
    played: tuple[Note, ...],
    own: list[tuple[Note, ...]],
    table: dict[int, int | None],
) -> None:
    root = tmp_path_factory.mktemp("corpus")
    takes = [Take(kit=kit, notes=(), own_notes=played) for kit in ("A", "B", "C", "D")]
    takes.append(Take(kit="E", notes=(), own_notes=remapped(played, table)))
    takes += [Take(kit=f"F{i}", notes=(), own_notes=notes) for i, notes in enumerate(own)]
    build_egmd(root, takes)
    catalog = catalog_of(root)
    labels = make_labels(root, catalog, PARAMS)
    canonical = read_midi(root / catalog.entries[0].midi_path)  # kit A's: four of at most seven agree
    counts: Counter[str] = Counter()
    for row in labels.accounting:
        assert row.count > 0
        assert row.lane == (LANES[LANE_OF_NOTE[row.note]] if row.note in LANE_OF_NOTE else "")
        counts[row.reason] += row.count
    assert counts.total() - counts["extra"] == len(canonical) * len(catalog)
    left_out = [problem.recording for problem in labels.problems if problem.outcome == "left_out"]
    assert sorted([*labels.recordings, *left_out]) == sorted(entry.recording for entry in catalog)
    assert counts["onset"] == len(labels.onset_time_s)
    n_read = sum(len(read_midi(root / entry.midi_path)) for entry in catalog)
    if not own and not left_out and None not in table.values():  # a pad map alone loses no note and adds none
        assert counts.total() == n_read
    assert sum(row.count for row in make_labels(root, catalog, OWN).accounting) == n_read
    for recording in labels.recordings:
        found = labels.onsets(recording)
        for lane in range(len(LANES)):
            assert (np.diff(found.of_lane(lane).time_s) >= PARAMS.merge_window_s).all()
            ignored = labels.ignored(recording)
            start_s, end_s = ignored.start_s[ignored.lane == lane], ignored.end_s[ignored.lane == lane]
            assert (start_s[1:] > end_s[:-1]).all()


TIMED = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 127)), max_size=25).map(
    lambda found: sorted(Note(milliseconds / 1000, 38, velocity) for milliseconds, velocity in found)
)


@settings(deadline=None)
@given(notes=TIMED, window_ms=st.integers(1, 60))
def test_merged_notes_lie_beside_a_louder_one_that_stays(notes: list[Note], window_ms: int) -> None:
    window_s = window_ms / 1000
    kept, merged = _merge(notes, window_s)
    assert sorted([*kept, *merged]) == notes
    assert kept == sorted(kept)
    assert all(later.time_s - earlier.time_s >= window_s for earlier, later in itertools.pairwise(kept))
    for note in merged:
        assert any(abs(note.time_s - one.time_s) < window_s and one.velocity >= note.velocity for one in kept)
    if notes:
        assert max(kept, key=lambda note: note.velocity).velocity == max(note.velocity for note in notes)


def test_a_flam_keeps_its_main_stroke_and_a_roll_is_thinned() -> None:
    grace, stroke = Note(1.0, 38, 40), Note(1.02, 40, 110)
    assert _merge([grace, stroke], 0.03) == ([stroke], [grace])
    assert _merge([grace, stroke], 0.02) == ([grace, stroke], [])  # closer than, not as close as
    roll = [Note(0.02 * i, 38, 50 + i) for i in range(7)]
    assert _merge(roll, 0.03) == (roll[::2], roll[1::2])
    alike = [Note(0.0, 38, 90), Note(0.01, 38, 90)]
    assert _merge(alike, 0.03) == (alike[:1], alike[1:])


def most_pairs(one: list[Note], other: list[Note]) -> int:
    """The size of the largest matching, by brute force."""
    if not one:
        return 0
    rest = one[1:]
    best = most_pairs(rest, other)
    for i, partner in enumerate(other):
        if abs(one[0].time_s - partner.time_s) <= 0.0025:
            best = max(best, 1 + most_pairs(rest, other[:i] + other[i + 1 :]))
    return best


CLOSE = st.lists(st.integers(0, 12), max_size=5).map(lambda found: [Note(n * 0.0009, 38, 90) for n in sorted(found)])


@settings(deadline=None)
@given(one=CLOSE, other=CLOSE)
def test_pairs_are_as_many_as_can_be(one: list[Note], other: list[Note]) -> None:
    pairs, alone, alone_other = _pair(one, other)
    assert sorted([*(note for note, _ in pairs), *alone]) == one
    assert sorted([*(note for _, note in pairs), *alone_other]) == other
    assert all(abs(note.time_s - partner.time_s) <= 0.0025 for note, partner in pairs)
    assert len(pairs) == most_pairs(one, other)


@settings(deadline=None)
@given(notes=NOTES)
def test_a_midi_agrees_with_itself(notes: tuple[Note, ...]) -> None:
    assert _compare(sorted(notes), sorted(notes)) == (sorted(notes), [], [])


def test_windows_of_a_lane_that_touch_are_one() -> None:
    assert _windows([(0.5, 1), (0.01, 1), (0.54, 1), (0.52, 2), (9.0, -1)], 0.02) == [
        (0.0, 1, 0.03),
        (0.48, 1, 0.56),
        (0.5, 2, 0.54),
    ]


def test_equal_labels_give_equal_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    takes = grid(n_performances=6, kits=["A", "B", "C"])
    takes[1] = replace(takes[1], own_notes=remapped(takes[1].notes, {36: 38}))
    labels, _ = labels_of(tmp_path / "corpus", takes)
    labels.write(tmp_path / "one.h5")
    again = make_labels(tmp_path / "corpus", catalog_of(tmp_path / "corpus"), PARAMS, workers=2)
    again.write(tmp_path / "two.h5")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert again.accounting == labels.accounting


@pytest.mark.parametrize("params", [PARAMS, OWN], ids=["canonical", "own"])
def test_only_new_content_is_labelled_and_labels_do_not_depend_on_the_past(
    tmp_path: Path, params: LabelParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, memory = tmp_path / "corpus", tmp_path / "memory.npz"
    takes = grid(n_performances=3, kits=["A", "B", "C"])
    takes[1] = replace(takes[1], own_notes=remapped(takes[1].notes, {36: 38, 42: None}))
    takes[5] = replace(takes[5], duration_s=0.6)
    build_egmd(root, takes)
    read: list[Path] = []
    monkeypatch.setattr(labelling, "read_midi", lambda path: read.append(path) or read_midi(path))

    def made(memory: Path | None, workers: int = 1) -> bytes:
        read.clear()
        labels = make_labels(root, catalog_of(root), params, workers=workers, memory=memory)
        labels.write(tmp_path / "labels.h5")
        labels.write_accounting(tmp_path / "account.csv")
        return (tmp_path / "labels.h5").read_bytes() + (tmp_path / "account.csv").read_bytes()

    first = made(None)
    assert made(memory) == first
    assert made(memory) == first
    assert read == []
    build_egmd(root, [*takes[:-1], replace(takes[-1], own_notes=remapped(takes[-1].notes, {38: 36, 22: None}))])
    changed = made(memory)
    assert len({path.parent for path in read}) == 1  # the performances lie in folders of their own
    assert changed == made(None) == made(memory, workers=2)
    assert changed != first
    build_egmd(root, takes)
    assert made(memory, workers=2) == first
    memory.write_bytes(memory.read_bytes()[:-9])
    assert made(memory) == first


def test_labels_follow_the_audibility_of_notes_and_the_params(tmp_path: Path) -> None:
    build_egmd(tmp_path / "corpus", [Take()])
    catalog, memory = catalog_of(tmp_path / "corpus"), tmp_path / "memory.npz"
    assert len(make_labels(tmp_path / "corpus", catalog, OWN, memory=memory).onset_time_s) == 6
    write_audibilities(tmp_path / "corpus", catalog.entries[0].recording, {38: -30.0})
    assert len(make_labels(tmp_path / "corpus", catalog, OWN, memory=memory).onset_time_s) == 5
    deaf = OWN.model_copy(update={"min_velocity": 127})
    assert len(make_labels(tmp_path / "corpus", catalog, deaf, memory=memory).onset_time_s) == 0
    assert len(make_labels(tmp_path / "corpus", catalog, OWN, memory=memory).onset_time_s) == 5


def test_the_accounting_is_written_in_the_order_of_the_reasons(tmp_path: Path) -> None:
    labels, _ = labels_of(tmp_path / "corpus", [Take(notes=(Note(0.1, 54, 9), Note(0.2, 38, 9), Note(0.2, 36, 2)))])
    labels.write_accounting(tmp_path / "account.csv")
    assert (tmp_path / "account.csv").read_text() == (
        "kit,reason,note,lane,count\n"
        "Acoustic Kit,no_lane,54,,1\nAcoustic Kit,soft,36,kick,1\nAcoustic Kit,onset,38,snare,1\n"
    )


def test_remembered_labels_come_with_their_problems(tmp_path: Path) -> None:
    """Each recording of a kit that is late has a problem of its own, though all share their labels."""
    takes = [Take(kit=kit, notes=LONG, duration_s=8.0) for kit in "ABCG"]
    for kit, by_s in (("D", 0.02), ("E", 0.02), ("F", 0.6)):
        takes.append(Take(kit=kit, notes=LONG, own_notes=late(LONG, by_s), duration_s=8.0))
    build_egmd(tmp_path / "corpus", takes)
    catalog, memory = catalog_of(tmp_path / "corpus"), tmp_path / "memory.npz"
    first = make_labels(tmp_path / "corpus", catalog, PARAMS, memory=memory)
    again = make_labels(tmp_path / "corpus", catalog, PARAMS, memory=memory)
    assert [problem.kit for problem in first.problems] == ["D", "E", "F"]
    assert again.problems == first.problems
    assert again.accounting == first.accounting
    np.testing.assert_array_equal(again.onset_time_s, first.onset_time_s)
