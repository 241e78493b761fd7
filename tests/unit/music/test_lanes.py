"""The tables of lanes and notes, compared with a second copy from the data sets' documentation."""

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, N_LANES, OUTPUT_NOTES, UNMAPPED_NOTES

# Numbers of the Roland TD-17 that Groove and E-GMD were played on, as their authors list them.
TD17 = {
    36: "kick",
    38: "snare",  # head
    40: "snare",  # rim
    37: "snare",  # cross stick
    48: "high_tom",
    50: "high_tom",  # rim
    45: "mid_tom",
    47: "mid_tom",  # rim
    43: "low_tom",
    58: "low_tom",  # rim
    46: "hihat",  # open, bow
    26: "hihat",  # open, edge
    42: "hihat",  # closed, bow
    22: "hihat",  # closed, edge
    44: "hihat",  # pedal
    49: "crash",
    55: "crash",  # edge
    57: "crash",
    52: "crash",  # edge
    51: "ride",
    59: "ride",  # edge
    53: "ride",  # bell
}
# General MIDI percussion, where the TD-17 does not have it.
GENERAL_MIDI = {35: "kick", 41: "low_tom"}


def test_lanes_stand_in_their_order() -> None:
    assert LANES == ("kick", "snare", "hihat", "high_tom", "mid_tom", "low_tom", "crash", "ride")
    assert N_LANES == len(LANES) == 8


def test_every_known_note_has_its_lane_and_no_other_has_one() -> None:
    assert {note: LANES[lane] for note, lane in LANE_OF_NOTE.items()} == TD17 | GENERAL_MIDI


def test_output_notes_map_back_to_their_lane() -> None:
    assert OUTPUT_NOTES == (36, 38, 42, 50, 47, 43, 49, 51)
    assert [LANE_OF_NOTE[note] for note in OUTPUT_NOTES] == list(range(N_LANES))


def test_the_unmapped_are_those_and_no_note_is_both() -> None:
    assert UNMAPPED_NOTES.keys() == {39, 54, 56}
    assert not UNMAPPED_NOTES.keys() & LANE_OF_NOTE.keys()
    assert all(0 <= note <= 127 for note in LANE_OF_NOTE.keys() | UNMAPPED_NOTES.keys())
