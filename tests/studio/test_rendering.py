"""Corpora that the studio renders."""

import csv
from pathlib import Path

import pytest
from miniature import write_params

from drum_crnn.corpus import EGMD_COLUMNS, Corpus, validate
from drum_crnn.errors import DrumCrnnError
from drum_crnn.lanes import LANE_OF_NOTE
from drum_crnn.midi import Note, read_midi, write_midi
from drum_crnn.studio.performances import read_performances, take_hours
from drum_crnn.studio.rendering import RenderParams, open_all_kits, render_corpus

ROOT = Path(__file__).parent.parent.parent
BEATS = [Note(0.5 * index, note, 100) for index, note in enumerate((36, 42, 38, 42, 51, 49))]


def render(folder: Path, *, n_workers: int = 1, **changes: object) -> Path:
    params = RenderParams.load(write_params(folder / "params.yaml", render=changes))
    render_corpus(folder / "rendered", folder / "kits.csv", params, n_workers=n_workers)
    return folder / "rendered"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_bytes_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = render(tmp_path / "one"), render(tmp_path / "two", n_workers=2)
    assert len(contents(one)) > 10
    assert contents(one) == contents(two)
    assert (tmp_path / "one" / "kits.csv").read_bytes() == (tmp_path / "two" / "kits.csv").read_bytes()


def test_another_seed_gives_another_corpus(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert contents(render(tmp_path / "one")) != contents(render(tmp_path / "two", seed=2))


def test_it_is_a_corpus_without_a_fault(tmp_path: Path) -> None:
    corpus = Corpus.open(render(tmp_path))
    assert validate(corpus) == []
    assert {recording.split for recording in corpus.recordings} == {"train", "validation", "test"}
    for recording in corpus.recordings:
        is_unheard = recording.kit == "TimGM6mb/TR 808"
        assert recording.split == "test" or not is_unheard


def test_the_project_plays_no_sample_to_training_that_it_calls_unheard() -> None:
    """With the project's own params: what is unheard is held out by sample, not by the name of a kit."""
    heard, unheard = open_all_kits(RenderParams.load(ROOT / "params.yaml"))
    samples = [
        {layer.sample.sha256 for kit in kits for sound in kit.sounds.values() for layer in sound.layers}
        for kits in (heard, unheard)
    ]
    assert len(samples[0]) > 10
    assert len(samples[1]) > 5
    assert not samples[0] & samples[1]
    lanes = {LANE_OF_NOTE[note] for kit in unheard for note in kit.sounds}
    assert len(lanes) == 8  # together, the unheard kits have them all


def test_the_table_of_samples_says_the_same(tmp_path: Path) -> None:
    render(tmp_path)
    with (tmp_path / "kits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_side = {side: {row["sha256"] for row in rows if row["side"] == side} for side in ("heard", "unheard")}
    assert of_side["heard"]
    assert of_side["unheard"]
    assert not of_side["heard"] & of_side["unheard"]
    assert all(row["source"] and row["licence"] for row in rows)


def test_a_folder_of_midi(tmp_path: Path) -> None:
    write_midi(tmp_path / "songs" / "funk" / "one.mid", BEATS)
    rendered = render(tmp_path, performances=str(tmp_path / "songs"), unheard_kits=[])
    (recording,) = Corpus.open(rendered).recordings
    played = read_midi(rendered / recording.midi_path)
    assert [note.note for note in played] == [note.note for note in BEATS]
    # At most a sample away, which is what the resolution of the file allows.
    assert all(abs(a.time_s - b.time_s) <= 1 / 44_100 for a, b in zip(played, BEATS, strict=True))


def test_unheard_kits_need_test_performances(tmp_path: Path) -> None:
    write_midi(tmp_path / "songs" / "one.mid", BEATS)
    with pytest.raises(DrumCrnnError, match=r"set render\.unheard_kits to \[\]"):
        render(tmp_path, performances=str(tmp_path / "songs"))
    assert not (tmp_path / "rendered").exists()


def test_an_empty_folder_of_performances(tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    with pytest.raises(DrumCrnnError, match=r"songs: holds no table and no \.mid"):
        render(tmp_path, performances=str(tmp_path / "songs"))


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


def test_more_hours_contain_fewer(tmp_path: Path) -> None:
    for index in range(12):
        write_midi(tmp_path / f"{index}.mid", BEATS)
    performances = read_performances(tmp_path)
    few, many = (take_hours(performances, {"": hours / 3600}, seed=3) for hours in (5.0, 15.0))
    assert {p.id for p in few} < {p.id for p in many}
    assert len(few) == 2  # 2.5 s each, until 5 s are reached
    assert take_hours(performances, {"": None}, seed=3) == sorted(performances, key=lambda p: p.id)
