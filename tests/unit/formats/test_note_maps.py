"""Note maps by name and from files."""

import json
from pathlib import Path

import pytest

from drum_crnn.formats.note_maps import GENERAL_MIDI, NOTE_MAPS, load_note_map
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES

MINE = {"kick": 35, "snare": 40, "hihat": 8, "high_tom": 1, "mid_tom": 2, "low_tom": 3, "crash": 127, "ride": 0}


def test_every_map_gives_each_lane_a_note_of_its_own() -> None:
    for name, note_map in NOTE_MAPS.items():
        assert note_map.name == name
        assert len(set(note_map.notes)) == len(LANES)


@pytest.mark.parametrize("name", ["gm", "roland-td", "ezdrummer", "superior", "logic", "studio-one"])
def test_maps_near_general_midi_come_back_to_their_lanes(name: str) -> None:
    assert [LANE_OF_NOTE[note] for note in load_note_map(name).notes if note is not None] == list(range(8))


def test_no_tom_chokes_a_cymbal_in_toontracks_layout() -> None:
    """50 is General MIDI's high tom, and the choke of crash 2 there."""
    assert 50 in GENERAL_MIDI.notes
    assert not {50, 54, 56, 58} & set(NOTE_MAPS["superior"].notes)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_map_from_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    lines = (f"{lane}: {note}" for lane, note in MINE.items())
    path.write_text(json.dumps(MINE) if suffix == ".json" else "\n".join(lines), encoding="utf-8")
    assert load_note_map(str(path)).notes == tuple(MINE.values())


def test_file_may_leave_a_lane_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(f"{lane}: {'null' if lane == 'ride' else 3}" for lane in LANES), encoding="utf-8")
    assert load_note_map(str(path)).notes == (3, 3, 3, 3, 3, 3, 3, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ride": None, "cowbell": 56}, "there is no lane 'cowbell'"),
        ({"ride": 128}, "the note of ride is 128, not a number from 0 to 127"),
        ({"ride": True}, "the note of ride is True"),
        ({"ride": "D#2"}, "the note of ride is D#2"),
        ({"ride": 51.5}, "the note of ride is 51.5"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MINE | change), encoding="utf-8")
    with pytest.raises(DrumCrnnError, match=f"mine.json: .*{words}"):
        load_note_map(str(path))


def test_missing_lane_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("kick: 36\n", encoding="utf-8")
    with pytest.raises(DrumCrnnError, match="the lane snare is missing"):
        load_note_map(str(path))


@pytest.mark.parametrize("text", ["", "- 36\n- 38\n", "kick: [", "\x00"])
def test_file_that_is_no_map_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DrumCrnnError, match=r"mine\.yaml"):
        load_note_map(str(path))


def test_unknown_name_lists_the_maps() -> None:
    with pytest.raises(DrumCrnnError, match="there is no such map or file; the maps are gm, roland-td"):
        load_note_map("gmm")
