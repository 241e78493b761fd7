"""Corpora that the studio renders."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from builders import section
from corpus_builder import GROOVE_HEADER, write_table
from first_party import ROOT
from fluidsynth import needs_fluidsynth
from kit_builder import effects_of, hit, tone_kit, varied
from miniature import write_params
from ruamel.yaml import YAML
from yaml_files import read_yaml, write_yaml

from drum_crnn.band.synthesizer import has_fluidsynth
from drum_crnn.data.audibility import audibility_path, read_audibility
from drum_crnn.data.corpus import EGMD_COLUMNS, Corpus, Recording
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.midi_writing import write_midi
from drum_crnn.preparation.checking import validate
from drum_crnn.studio.accompaniment import BandVariation
from drum_crnn.studio.kits import Kit
from drum_crnn.studio.performances import read_performances, select_hours
from drum_crnn.studio.playing import PlayingVariation
from drum_crnn.studio.production import ProductionVariation
from drum_crnn.studio.rendering import (
    KitGroup,
    RenderParams,
    RenderSummary,
    load_variations,
    open_groups,
    render_corpus,
)
from drum_crnn.studio.sampler import mix, normalised
from drum_crnn.studio.sources import open_kits
from drum_crnn.studio.variation import PIECES

TIMGM = "pretty_midi:TimGM6mb#{}".format
BEATS = [Note(0.5 * index, note, 100) for index, note in enumerate((36, 42, 38, 42, 51, 49))]
# Every note has a velocity of its own, so that it is known again; the pauses differ.
LONG = [Note(0.05 + 0.13 * index + 0.001 * (index % 7), (36, 38, 42, 51)[index % 4], 20 + index) for index in range(90)]


def session(name: str = "main", **changes: Any) -> dict[str, Any]:
    plain = {"splits": "all", "kits": "heard", "takes": 1, "segment_s": None, "variation": None}
    return {"name": name, **plain, **changes}


def render(folder: Path, **changes: Any) -> Path:
    summarised(folder, **changes)
    return folder / "rendered"


def summarised(
    folder: Path, *, n_workers: int = 1, variations: Path = ROOT / "variations.yaml", **changes: object
) -> RenderSummary:
    folder.mkdir(exist_ok=True)
    params = RenderParams.load(write_params(folder / "params.yaml", render=changes))
    loaded = load_variations(variations)
    return render_corpus(folder / "rendered", folder / "kits.csv", params, loaded, n_workers=n_workers)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def songs(folder: Path, **notes: list[Note]) -> str:
    """A folder of MIDI files at 120 bpm."""
    for name, played in notes.items():
        write_midi(folder / "songs" / f"{name}.mid", played, ticks_per_beat=22_050)
    return str(folder / "songs")


def groove(folder: Path, *, splits: tuple[str, ...] = ("train", "validation", "test"), bpm: float = 120.0) -> str:
    """A tree like Groove's, with a performance of each split."""
    rows = []
    for split in splits:
        write_midi(folder / "groove" / f"{split}.mid", LONG, bpm=bpm)
        row = dict.fromkeys(GROOVE_HEADER, "x") | {"id": f"drummer1/{split}", "bpm": f"{bpm:g}", "duration": "12.0"}
        rows.append(row | {"midi_filename": f"{split}.mid", "audio_filename": "", "split": split})
    write_table(folder / "groove" / "info.csv", rows, header=GROOVE_HEADER)
    return str(folder / "groove")


def recordings(rendered: Path) -> list[Recording]:
    return Corpus.open(rendered).recordings


def notes_of(rendered: Path, recording: Recording) -> list[Note]:
    return read_midi(rendered / recording.midi_path)


VARIED = [
    session("plain"),
    session("varied", takes=2, segment_s=2.0, variation="studio"),
    session("stress", splits=["test"], kits="unheard", variation="stress"),
    session("soft", splits=["test"], variation="soft"),
    session("rough", splits=["test"], variation="rough"),
    *([session("songs", splits=["test"], variation="songs_low")] if has_fluidsynth() else []),
]


@pytest.fixture(scope="module")
def varied_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with every variation of the project."""
    folder = tmp_path_factory.mktemp("varied")
    return render(folder, sessions=VARIED)


# ------------------------------------------------------------------------------------------------------- the corpus


@pytest.mark.processes
def test_the_bytes_do_not_depend_on_the_workers(tmp_path: Path, varied_corpus: Path) -> None:
    two = render(tmp_path, n_workers=2, sessions=VARIED)
    assert len(contents(varied_corpus)) > 60
    assert contents(varied_corpus) == contents(two)
    assert (varied_corpus.parent / "kits.csv").read_bytes() == (tmp_path / "kits.csv").read_bytes()


def test_bands_of_unheard_material_have_the_unheard_fonts_where_there_are_any(tmp_path: Path) -> None:
    variations = load_variations(ROOT / "variations.yaml")
    heard, unheard = variations["songs"].band, variations["songs_even"].band
    assert heard is not None
    assert unheard is not None
    for fonts, expected in ((["u"], ("u",)), ([], ("h",))):
        file = write_params(tmp_path / "params.yaml", render={"fonts": ["h"], "unheard_fonts": fonts})
        params = RenderParams.load(file)
        assert params.fonts_of(heard) == ("h",)
        assert params.fonts_of(unheard) == expected


def test_another_seed_gives_another_corpus(tmp_path: Path) -> None:
    performances = songs(tmp_path, one=BEATS)
    rendered = [
        contents(render(tmp_path / f"{index}", performances=performances, sessions=[session()], seed=seed))
        for index, seed in enumerate((1, 1, 2))
    ]
    assert rendered[0] == rendered[1]
    assert rendered[0] != rendered[2]


@pytest.mark.parametrize("variation", [None, "studio"])
def test_it_is_a_corpus_without_a_fault(tmp_path: Path, varied_corpus: Path, variation: str | None) -> None:
    corpus = Corpus.open(render(tmp_path) if variation is None else varied_corpus)
    assert validate(corpus) == []
    assert {recording.split for recording in corpus.recordings} == {"train", "validation", "test"}
    for recording in corpus.recordings:
        is_unheard = recording.kit == "TimGM6mb/TR 808"
        assert recording.split == "test" or not is_unheard


def test_the_table_says_how_each_was_made(varied_corpus: Path) -> None:
    conditions = Counter(recording.condition for recording in recordings(varied_corpus))
    sessions = {one["variation"] or "plain": one["name"] for one in VARIED}
    assert conditions.keys() == sessions.keys()
    assert conditions["plain"] == 8
    assert conditions["studio"] >= 2 * 8
    for recording in recordings(varied_corpus):
        assert f"_{sessions[recording.condition]}_" in recording.audio_path
    with (varied_corpus / "corpus.csv").open(newline="") as file:
        assert next(csv.reader(file)) == [*EGMD_COLUMNS, "condition"]


def test_recordings_have_their_levels_and_are_no_silence(varied_corpus: Path) -> None:
    for recording in recordings(varied_corpus):
        audio, rate = soundfile.read(varied_corpus / recording.audio_path)
        assert rate == 44_100
        assert -15.1 <= 20 * np.log10(np.abs(audio).max()) <= -0.9
        assert len(audio) / rate == pytest.approx(recording.duration_s, abs=1e-6)


def test_an_audibility_lies_beside_each_midi(varied_corpus: Path) -> None:
    found = {path.name for path in varied_corpus.rglob("*.audibility.csv")}
    assert found == {audibility_path(Path(recording.midi_path)).name for recording in recordings(varied_corpus)}
    plain: list[float] = []
    for recording in recordings(varied_corpus):
        notes = notes_of(varied_corpus, recording)
        audibility_db = read_audibility(varied_corpus / recording.midi_path, notes)
        assert audibility_db is not None
        assert len(audibility_db) == len(notes) > 0
        assert max(audibility_db) <= 60.1
        plain += audibility_db if recording.condition == "plain" else []
    assert max(plain) == pytest.approx(60, abs=1)
    assert min(plain) < 10


def test_the_summary_counts_what_is_there(tmp_path: Path) -> None:
    sessions = [session("a", takes=2), session("b", variation="stress")]
    summary = summarised(tmp_path, performances=songs(tmp_path, one=BEATS, two=LONG), sessions=sessions)
    found = recordings(tmp_path / "rendered")
    assert (summary.n_recordings, summary.n_performances) == (len(found), 2) == (6, 2)
    assert summary.n_kits == 3
    for condition in ("plain", "stress"):
        seconds = sum(recording.duration_s for recording in found if recording.condition == condition)
        assert summary.audio_s_of[condition] == pytest.approx(seconds)
    assert summary.audio_s == pytest.approx(sum(recording.duration_s for recording in found))


def test_the_other_recordings_change_none(tmp_path: Path) -> None:
    performances = songs(tmp_path, one=BEATS, two=LONG)
    varied_session = session("varied", takes=2, segment_s=4.0, variation="studio")
    few = contents(render(tmp_path / "few", performances=performances, sessions=[varied_session]))
    more = [session("other", takes=2, variation="stress"), varied_session | {"takes": 2}]
    many = contents(render(tmp_path / "many", performances=performances, sessions=more))
    shared = [name for name in few if "_varied_" in name]
    assert len(shared) > 10
    assert all(few[name] == many[name] for name in shared)


def test_takes_differ_and_are_played_on_different_kits(tmp_path: Path) -> None:
    performances = songs(tmp_path, one=BEATS)
    rendered = render(tmp_path, performances=performances, sessions=[session(takes=3)])
    found = recordings(rendered)
    assert [recording.kit for recording in found[:2]] in (
        ["TimGM6mb/Standard", "TimGM6mb/Power"],
        ["TimGM6mb/Power", "TimGM6mb/Standard"],
    )
    assert found[2].kit == found[0].kit  # there are two kits, so the third take has the first again
    assert len({(rendered / recording.audio_path).read_bytes() for recording in found}) == 3


# ------------------------------------------------------------------------------------------------------- variations


def only(folder: Path, part: str, effects: Any) -> Path:
    """A file of one variation, "one", which varies a single part."""
    values = effects.model_dump(mode="json")
    write_yaml(folder / "one.yaml", {"one": NOTHING | {part: values}})
    return folder / "one.yaml"


def test_the_labels_of_varied_playing_are_what_sounds(tmp_path: Path) -> None:
    """Played again from its own labels, a recording is the same, sample by sample."""
    playing = varied(
        PlayingVariation, "playing", tempo=1.25, velocity_lift=0.5, ride_hats=0.5, tom_snares=0.5, drop_kicks=0.3,
        added_crashes=0.5,
    )  # fmt: skip
    sessions = [session("varied", segment_s=4.0, variation="one")]
    rendered = render(
        tmp_path,
        performances=songs(tmp_path, one=LONG),
        sessions=sessions,
        variations=only(tmp_path, "playing", playing),
    )
    kits = {kit.name: kit for name in ("Standard", "Power") for kit in open_kits(TIMGM(name))}
    found = recordings(rendered)
    assert len(found) == 3
    for recording in found:
        assert recording.bpm == 150  # 120 by default, at the tempo it was played
        heard, _ = soundfile.read(rendered / recording.audio_path, dtype="float32")
        audio = mix(notes_of(rendered, recording), kits[recording.kit]).audio
        again = normalised(audio, peak_dbfs=20 * np.log10(np.abs(heard).max()))
        # A tick at 150 bpm is 0.8 samples: what is read is never further than one sample from what was played.
        assert abs(len(again) - len(heard)) <= 1
        assert np.corrcoef(again[: len(heard)], heard[: len(again)])[0, 1] > 0.95
    played = {note.note for recording in found for note in notes_of(rendered, recording)}
    assert played & {43, 47, 50}
    assert played & {49, 57}


def test_plain_labels_are_exact(tmp_path: Path) -> None:
    rendered = render(tmp_path, performances=songs(tmp_path, one=LONG), sessions=[session()])
    (recording,) = recordings(rendered)
    played = notes_of(rendered, recording)
    assert [(note.note, note.velocity) for note in played] == [(note.note, note.velocity) for note in LONG]
    assert [note.time_s for note in played] == pytest.approx([note.time_s for note in LONG], abs=0.6 / 44_100)


def test_production_moves_no_label(tmp_path: Path) -> None:
    """The same notes with room, mixing desk and MP3, and without: no sound moves."""
    production = varied(
        ProductionVariation, "production", room=-12.0, eq=6.0, compressor=20.0, saturation=6.0, mp3=6.0, noise=-40.0
    )
    sessions = [session("one"), session("two", variation="one")]
    rendered = render(
        tmp_path,
        kits=[TIMGM("Standard")],
        performances=songs(tmp_path, one=BEATS),
        sessions=sessions,
        variations=only(tmp_path, "production", production),
    )
    plain, produced = recordings(rendered)
    assert (plain.condition, produced.condition) == ("plain", "one")
    assert notes_of(rendered, plain) == notes_of(rendered, produced)
    one, other = (soundfile.read(rendered / recording.audio_path)[0] for recording in (plain, produced))
    for note in BEATS:
        piece = slice(round(note.time_s * 44_100), round((note.time_s + 0.1) * 44_100))
        lags = np.correlate(other[piece], one[piece], mode="full")
        assert abs(int(np.argmax(np.abs(lags))) - (len(one[piece]) - 1)) <= 44
    assert not np.allclose(one[: len(other)], other[: len(one)], atol=0.01)


def test_surroundings_lower_audibility_and_the_desk_does_not(tmp_path: Path) -> None:
    def audibility(name: str, **effects: Any) -> np.ndarray:
        rendered = render(
            tmp_path / name,
            kits=[TIMGM("Standard")],
            performances=performances,
            sessions=[session(variation="one")],
            variations=only(tmp_path, "production", varied(ProductionVariation, "production", **effects)),
        )
        (recording,) = recordings(rendered)
        return np.array(read_audibility(rendered / recording.midi_path, notes_of(rendered, recording)))

    performances = songs(tmp_path, one=BEATS)
    clean = audibility("clean")
    assert np.array_equal(audibility("desk", room=-4.0, eq=9.0, compressor=20.0, saturation=12.0), clean)
    assert (audibility("noise", noise=-20.0) < clean - 3).all()


@needs_fluidsynth
def test_a_band_hides_strokes_and_moves_none(tmp_path: Path) -> None:
    performances = songs(tmp_path, one=LONG)
    off = {"enabled": False, "probability": 0.0, "range": [0.0, 0.0]}
    changes = {
        "level": {"enabled": True, "probability": 1.0, "range": [12.0, 12.0]},
        "intro": off,
        "rest": off,
        "eq": off,
    }
    found = {}
    for name, enabled in (("alone", False), ("song", True)):
        values = read_yaml(ROOT / "variations.yaml")["songs"]["band"] | changes | {"enabled": enabled}
        rendered = render(
            tmp_path / name,
            kits=[TIMGM("Standard")],
            performances=performances,
            sessions=[session(variation="one")],
            variations=only(tmp_path, "band", BandVariation.check(values, source="test")),
        )
        (recording,) = recordings(rendered)
        notes = notes_of(rendered, recording)
        found[name] = notes, np.array(read_audibility(rendered / recording.midi_path, notes))
    assert found["song"][0] == found["alone"][0]
    assert (found["song"][1] <= found["alone"][1] + 0.5).all()
    assert np.median(found["alone"][1] - found["song"][1]) > 2.0


# ------------------------------------------------------------------------------------------------------- segments


@pytest.mark.parametrize("takes", [1, 3])
def test_segments_together_hold_every_note_once(tmp_path: Path, takes: int) -> None:
    performances = songs(tmp_path, one=LONG)
    rendered = render(tmp_path, performances=performances, sessions=[session(takes=takes, segment_s=3.0)])
    of_take: dict[str, list[Recording]] = {}
    for recording in recordings(rendered):
        take, segment = recording.audio_path.removesuffix(".wav").split("_")[-2:]
        of_take.setdefault(take, []).append(recording)
        assert int(segment) == len(of_take[take])
    assert len(of_take) == takes
    starts = []
    for segments in of_take.values():
        pieces = [notes_of(rendered, recording) for recording in segments]
        played = list(itertools.chain(*pieces))
        assert [(note.note, note.velocity) for note in played] == [(note.note, note.velocity) for note in LONG]
        time_of = {note.velocity: note.time_s for note in LONG}
        for piece in pieces:
            shifts = [note.time_s - time_of[note.velocity] for note in piece]
            assert np.ptp(shifts) < 1e-4  # moved as a whole
            assert piece[-1].time_s - piece[0].time_s <= 3.0
            assert piece[0].time_s >= 0.1
        starts.append(tuple(piece[0].velocity for piece in pieces))
    assert len(set(starts)) == takes  # each take is cut elsewhere


def test_silence_before_a_segment_differs(tmp_path: Path) -> None:
    rendered = render(tmp_path, performances=songs(tmp_path, one=LONG), sessions=[session(takes=2, segment_s=2.0)])
    firsts = [notes_of(rendered, recording)[0].time_s for recording in recordings(rendered)]
    assert 0.1 <= min(firsts) < max(firsts) <= 1.0 + 0.15
    assert np.ptp(firsts) > 0.3


def test_a_performance_shorter_than_a_segment_is_one(tmp_path: Path) -> None:
    rendered = render(tmp_path, performances=songs(tmp_path, one=LONG), sessions=[session(segment_s=600.0)])
    (recording,) = recordings(rendered)
    assert len(notes_of(rendered, recording)) == len(LONG)


def test_a_segment_of_hardly_any_notes_is_left_out(tmp_path: Path) -> None:
    beats = [*LONG[:35], Note(9.0, 36, 90), Note(9.5, 36, 90), Note(10.0, 36, 90)]
    rendered = render(tmp_path, performances=songs(tmp_path, one=beats), sessions=[session(segment_s=5.001)])
    assert [len(notes_of(rendered, recording)) for recording in recordings(rendered)] == [
        sum(note.time_s < 5.0 for note in beats)
    ]


# ------------------------------------------------------------------------------------------------------- sessions


def test_a_session_records_its_splits_on_its_kits(tmp_path: Path) -> None:
    rendered = render(
        tmp_path,
        performances=groove(tmp_path),
        kits=[TIMGM("Standard")],
        validation_kits=[TIMGM("Electronic")],
        unheard_kits=[TIMGM("TR 808")],
        sessions=[
            session("train", splits=["train"], takes=2, segment_s=4.0),
            session("validation", splits=["validation"], kits="validation"),
            session("test", splits=["test"], kits="unheard"),
            session("both", splits=["validation", "test"]),
        ],
    )
    found = {(recording.split, recording.kit.partition("/")[2]) for recording in recordings(rendered)}
    assert found == {
        ("train", "Standard"), ("validation", "Electronic"), ("validation", "Standard"), ("test", "TR 808"),
        ("test", "Standard"),
    }  # fmt: skip
    of_split = Counter(recording.split for recording in recordings(rendered))
    assert of_split["train"] >= 2 * 3
    assert (of_split["validation"], of_split["test"]) == (2, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sessions": [session(kits="unheard")]}, "'main' would use unheard kits in training"),
        ({"sessions": [session(kits="unheard", splits=["train", "test"])]}, "would use unheard kits in training"),
        (
            {"sessions": [session(kits="unheard", splits=["validation"])]},
            "would use unheard kits in the validation split",
        ),
        (
            {"sessions": [session(kits="validation")], "validation_kits": [TIMGM("Jazz")]},
            "would use validation kits in training",
        ),
        (
            {"sessions": [session(kits="validation", splits=["validation"])]},
            "plays validation kits, but there are none",
        ),
        (
            {"sessions": [session(kits="unheard", splits=["test"])], "unheard_kits": []},
            "plays unheard kits, but there are none",
        ),
        ({"sessions": [session("a"), session("b"), session("a")]}, "sessions: two sessions are named 'a'"),
        ({"sessions": []}, "render.sessions: .* at least 1"),
        ({"sessions": [session("no spaces")]}, r"render.sessions\[0\].*: .*pattern"),
        ({"sessions": [session(takes=0)]}, r"render.sessions\[0\].*greater than or equal to 1"),
        ({"sessions": [session(segment_s=0.5)]}, r"render.sessions\[0\].*greater than 1"),
        ({"sessions": [session(splits=["training"])]}, r"render.sessions\[0\]"),
        ({"sessions": [session(kits="all")]}, r"render.sessions\[0\]"),
        ({"peak_dbfs": [-1.0, 1.0]}, "peak_dbfs must be"),
    ],
)
def test_an_invalid_session_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DrumCrnnError, match=message):
        section(RenderParams, **changes)


def test_a_session_with_an_unknown_variation(tmp_path: Path) -> None:
    sessions = [session(variation="studdio")]
    with pytest.raises(
        DrumCrnnError,
        match=r"render\.sessions: 'main' needs the unknown variation 'studdio'; known: studio, stress, songs,",
    ):
        render(tmp_path, sessions=sessions)
    with pytest.raises(DrumCrnnError, match=r"unknown variation 'studdio'; known: none$"):
        render_corpus(
            tmp_path / "rendered", tmp_path / "k.csv", section(RenderParams, sessions=sessions), {}, n_workers=1
        )
    assert not (tmp_path / "rendered").exists()


NOTHING = {"playing": None, "kit": None, "band": None, "production": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"production": {"mp3": {"enabled": True, "probability": 0.5, "range": [0.0, 10.0]}}},
            r"own\.yaml: one\.production: mp3\.range must lie within \[0, 9\]",
        ),
        (
            {"production": {"room": {"enabled": True, "probability": 1.5, "range": [0.0, 1.0]}}},
            r"own\.yaml: one\.production\.room\.probability: Input should be less than or equal to 1 \(found 1\.5\)",
        ),
        ({"playing": {"drop_hatss": 1}}, r"one\.playing\.drop_hatss: unknown key; did you mean 'drop_hats'\?"),
        ({"kit": {"gain": None}}, r"one\.kit\.gain: should be a group of the keys enabled, probability, range"),
        ({"kit": 3}, r"one\.kit: should be a group of the keys enabled, probability, mix_kits, .*\(found 3\)"),
    ],
)
def test_a_wrong_value_of_a_variation_is_named_and_explained(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    ((part, values),) = change.items()
    whole = effects_of(part) | values if isinstance(values, dict) else values
    write_yaml(tmp_path / "own.yaml", {"one": NOTHING | {part: whole}})
    with pytest.raises(DrumCrnnError, match=message):
        load_variations(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        (
            {"one": {"playing": None}},
            r"own\.yaml: one\.kit: is missing\n.*one\.band: is missing\n.*own\.yaml: one\.production: is missing",
        ),
        (
            {"one": {**NOTHING, "room": None}},
            r"own\.yaml: one\.room: unknown key; known: playing, kit, band, production",
        ),
        ({"one": 3}, r"own\.yaml: one: should be a group of the keys playing, kit, band, production"),
        ({"plain": NOTHING}, r"own\.yaml: 'plain' means recordings without a variation; choose another name"),
        ({"Big Room": NOTHING}, r"own\.yaml: 'Big Room': use small letters, digits and _"),
        ({1: NOTHING}, r"own\.yaml: '1': use small letters, digits and _"),
        ([NOTHING], r"own\.yaml: should hold keys"),
    ],
)
def test_a_file_of_variations_is_checked(tmp_path: Path, variations: Any, message: str) -> None:
    write_yaml(tmp_path / "own.yaml", variations)
    with pytest.raises(DrumCrnnError, match=message):
        load_variations(tmp_path / "own.yaml")


def test_the_projects_files_have_no_anchors() -> None:
    """With one, `dvc exp run -S` changes nothing, without a word (DVC 3.67)."""
    for name in ("variations.yaml", "params.yaml"):
        document = YAML().load(ROOT / name)
        assert not any(hasattr(value, "anchor") and value.anchor.value for value in nodes_of(document)), name


def nodes_of(value: Any) -> Iterator[Any]:
    yield value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        yield from nodes_of(one)


def test_there_may_be_any_number_of_variations(tmp_path: Path) -> None:
    assert list(load_variations(ROOT / "variations.yaml")) == [
        "studio", "stress", "songs", "songs_loud", "songs_even", "songs_low", "songs_lowest", "soft", "rough",
    ]  # fmt: skip
    write_yaml(tmp_path / "own.yaml", {"one": NOTHING, "other_2": NOTHING})
    assert list(load_variations(tmp_path / "own.yaml")) == ["one", "other_2"]
    write_yaml(tmp_path / "own.yaml", {})
    assert load_variations(tmp_path / "own.yaml") == {}
    with pytest.raises(DrumCrnnError, match=r"nothing\.yaml: there is no such file"):
        load_variations(tmp_path / "nothing.yaml")


def test_a_session_for_performances_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        DrumCrnnError, match=r"render\.sessions: 'unheard' records test performances, but there are none"
    ):
        render(tmp_path, performances=songs(tmp_path, one=BEATS))
    assert not (tmp_path / "rendered").exists()


# ------------------------------------------------------------------------------------------------------- kits


def samples_of(group: KitGroup) -> set[str]:
    sounds = [sound for kit in group.kits for sound in kit.sounds.values()]
    return {layer.sample.sha256 for sound in (*sounds, *group.percussion) for layer in sound.layers}


def test_no_sample_of_an_unheard_kit_is_used_in_training() -> None:
    """With the project's own params: kits are held out by sample, not by name."""
    groups = open_groups(RenderParams.load(ROOT / "params.yaml"))
    heard, unheard = samples_of(groups["heard"]), samples_of(groups["unheard"])
    assert len(heard) > 10
    assert len(unheard) > 5
    assert not heard & unheard
    lanes = {LANE_OF_NOTE[note] for kit in groups["unheard"].kits for note in kit.sounds}
    assert len(lanes) == 8  # together, the unheard kits have them all


def test_groups_share_no_sample_drum_or_percussion() -> None:
    groups = open_groups(
        section(
            RenderParams,
            kits=[TIMGM("Standard"), TIMGM("Room")],
            validation_kits=[TIMGM("Jazz"), TIMGM("Power")],
            unheard_kits=[TIMGM("Electronic"), TIMGM("TR 808")],
        )
    )
    of_group = [samples_of(groups[name]) for name in ("heard", "validation", "unheard")]
    assert all(of_group)
    for one, other in itertools.combinations(of_group, 2):
        assert not one & other
    assert groups["heard"].percussion
    for group in groups.values():
        firsts = [sound.layers[0].sample.sha256 for sound in group.percussion]
        assert len(set(firsts)) == len(firsts)  # each once, though presets share them
        assert {row["sha256"] for row in group.table} >= samples_of(group)


def test_withheld_notes_are_left_for_the_other_groups() -> None:
    with_china, without = (
        open_groups(section(RenderParams, withheld_notes=withheld)) for withheld in ([], [51, 53, 59])
    )
    assert any(51 in kit.sounds for kit in with_china["heard"].kits)
    assert not any({51, 53, 59} & kit.sounds.keys() for kit in without["heard"].kits)
    rides = [{51, 59, 53} & kit.sounds.keys() for kit in without["unheard"].kits]
    assert any(rides)


def test_a_kit_named_twice_and_a_kit_of_which_nothing_is_left() -> None:
    with pytest.raises(DrumCrnnError, match="the kits TimGM6mb/Jazz have no samples left: earlier groups"):
        open_groups(section(RenderParams, kits=[TIMGM("Jazz")], unheard_kits=[TIMGM("Jazz")], withheld_notes=[]))
    with pytest.raises(DrumCrnnError, match="name a kit twice: TimGM6mb/Jazz"):
        open_groups(section(RenderParams, kits=[TIMGM("Jazz"), TIMGM("Jazz")]))


def test_each_entry_of_a_group_is_drawn_equally_often() -> None:
    """Whatever the number of its presets, and only if it has the piece that is wanted."""
    single = tone_kit({36: hit(), 38: hit()}, name="a/1")
    presets = [tone_kit({36: hit(), 42: hit()}, name=f"b/{index}") for index in range(5)]
    group = KitGroup.of([[single], presets])
    rng = np.random.default_rng(0)
    names = Counter(group.draw(rng, "kick").family for _ in range(1000))
    assert names["a"] == pytest.approx(500, abs=4 * np.sqrt(250))
    assert {group.draw(rng, "snare").name for _ in range(50)} == {"a/1"}
    assert {group.draw(rng, "hihat").family for _ in range(50)} == {"b"}
    assert group.draw(rng, "ride") in group.kits
    assert all(group.draw(rng, piece) in group.kits for piece in PIECES)


def test_a_kit_of_percussion_alone_is_no_entry_but_plays() -> None:
    drums = tone_kit({36: hit()}, name="a/1")
    shaker = tone_kit({42: hit(5000.0)}, name="b/1").sounds[42]
    group = KitGroup.of([[drums], [Kit("b/1", {}, (shaker,))]])
    assert group.entries == ((drums,),)
    assert group.percussion == (shaker,)
    assert [row["kit"] for row in group.table] == ["a/1", "b/1"]


def test_the_table_of_samples_says_the_same(tmp_path: Path) -> None:
    render(tmp_path, performances=groove(tmp_path))
    with (tmp_path / "kits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_group = {group: {row["sha256"] for row in rows if row["group"] == group} for group in ("heard", "unheard")}
    assert of_group["heard"]
    assert of_group["unheard"]
    assert not of_group["heard"] & of_group["unheard"]
    assert all(row["source"] and row["licence"] for row in rows)
    assert {row["lane"] for row in rows} >= {"", "kick", "snare", "hihat"}


# ------------------------------------------------------------------------------------------------------- performances


def test_a_folder_of_midi(tmp_path: Path) -> None:
    write_midi(tmp_path / "songs" / "funk" / "one.mid", BEATS)
    rendered = render(tmp_path, performances=str(tmp_path / "songs"), sessions=[session()], unheard_kits=[])
    (recording,) = Corpus.open(rendered).recordings
    played = read_midi(rendered / recording.midi_path)
    assert [note.note for note in played] == [note.note for note in BEATS]
    # At most a sample away, which is what the resolution of the file allows.
    assert all(abs(a.time_s - b.time_s) <= 1 / 44_100 for a, b in zip(played, BEATS, strict=True))


def test_an_empty_folder_of_performances(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    with pytest.raises(DrumCrnnError, match=r"songs: holds no table and no \.mid"):
        render(tmp_path, performances=str(tmp_path / "songs"))


def test_performances_without_a_note(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"songs: holds no performance with notes"):
        render(tmp_path, performances=songs(tmp_path, one=[]), sessions=[session()])


def test_a_performance_is_what_most_of_its_kits_say(tmp_path: Path) -> None:
    """The first row of E-GMD may be a kit that sends every hi-hat note elsewhere."""
    remapped = [Note(note.time_s, 54 if note.note == 42 else note.note, note.velocity) for note in BEATS]
    rows = []
    for kit, notes in enumerate((remapped, BEATS, BEATS)):
        write_midi(tmp_path / f"{kit}.midi", notes)
        rows.append(f"d,s,p,rock,100,beat,4-4,3.0,test,{kit}.midi,{kit}.wav,kit {kit}")
    (tmp_path / "table.csv").write_text("\n".join([",".join(EGMD_COLUMNS), *rows]) + "\n")
    (performance,) = read_performances(tmp_path)
    assert [note.note for note in performance.notes] == [note.note for note in BEATS]


def test_hidden_files_are_no_performances(tmp_path: Path) -> None:
    """A Mac leaves such files in archives; neither their MIDI nor their tables can be read."""
    write_midi(tmp_path / "a.mid", BEATS)
    (tmp_path / "__MACOSX").mkdir()
    for name in ("._a.mid", "__MACOSX/a.mid", "._table.csv"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert [performance.id for performance in read_performances(tmp_path)] == ["a"]


def test_more_hours_contain_fewer(tmp_path: Path) -> None:
    for index in range(12):
        write_midi(tmp_path / f"{index}.mid", BEATS)
    performances = read_performances(tmp_path)
    few, many = (select_hours(performances, {"": hours / 3600}, seed=3) for hours in (5.0, 15.0))
    assert {p.id for p in few} < {p.id for p in many}
    assert len(few) == 2  # 2.5 s each, until 5 s are reached
    assert select_hours(performances, {"": None}, seed=3) == sorted(performances, key=lambda p: p.id)
