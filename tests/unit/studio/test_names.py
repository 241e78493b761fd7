import pytest

from drum_crnn.music.lanes import LANE_OF_NOTE
from drum_crnn.studio.names import NOTES_OF_DRUM, OTHER, assign_notes, drum_of_name, is_percussion, may_be_lane


def test_every_note_of_every_lane_has_a_drum():
    notes = {note for notes in NOTES_OF_DRUM.values() for note in notes}
    assert notes == set(LANE_OF_NOTE)
    for drum, candidates in NOTES_OF_DRUM.items():
        assert len({LANE_OF_NOTE[note] for note in candidates}) == 1, drum


@pytest.mark.parametrize(
    ("name", "drum"),
    [
        ("Kick", "kick"),
        ("BassDrum", "kick"),
        ("c3 - bass drum 1", "kick"),
        ("BD", "kick"),
        ("Snare Rock", "snare"),
        ("Snare1", "snare"),
        ("SD_03", "snare"),
        ("Snr_Acou_01", "snare"),
        ("Snare Rimshot (Pearl Free Floating Maple 14x3.5)", "rimshot"),
        ("Rim Click (Pearl)", "cross_stick"),
        ("Pearl Side Stick", "cross_stick"),
        ("SideStick", "cross_stick"),
        ("c#3 - stick", "stick"),
        ("f#3 - hi-hat closed", "hat_closed"),
        ("Closed HH 1", "hat_closed"),
        ("VariBreaks Hat 2 Cl", "hat_closed"),
        ("CHH", "hat_closed"),
        ("hihat", "hat_closed"),
        ("hihat_open", "hat_open"),
        ("Open High Hat", "hat_open"),
        ("Hi Hat Opened", "hat_open"),
        ("Side OHH", "hat_open"),
        ("Hat Semi-Open", "hat_half_open"),
        ('Hi-Hat Semiopen (Paiste Alpha Metal edge 14")', "hat_half_open"),
        ("High Hat Foot", "hat_pedal"),
        ("VariBreaks Hat 1 Pd", "hat_pedal"),
        ('Tom Low (Tama Superstar 16")', "tom_low"),
        ("Pearl Tom Floor", "tom_floor"),
        ("FloorTom-1", "tom_floor"),
        ("c4 - middle tom", "tom_mid"),
        ("tomhi2", "tom_high"),
        ("tomh", "tom_high"),
        ("tomm", "tom_mid"),
        ("toml", "tom_low"),
        ("cymbal_closed", "hat_closed"),
        ("drum_cymbal_open", "hat_open"),
        ("Cymbal Pedal", "hat_pedal"),
        ("high_tom", "tom_high"),
        ("Tom 2", "tom 2"),
        ("Acoustic Tom", "tom"),
        ("Med Crash Cymbal", "crash"),
        ("crash16inch", "crash"),
        ('Crash/Ride (Paiste Rude Crash/Ride 18")', "crash"),
        ('Crash/Ride Bow (Paiste Rude Crash/Ride 18")', "ride"),
        ("ride-crash20inch", "ride"),
        ('Ride (Custom, Zagrebin 22")', "ride"),
        ("Custom Ride", "ride"),
        ("ride-cup", "ride_bell"),
        ("Bell", "ride_bell"),
        ("Zildjian Splash", "splash"),
        ("ChinaCrashCymb", "china"),
        ("China Crash(L)", "china"),
        ("Cymbal", "cymbal"),
        ("Hand Clap", OTHER),
        ("Cowbell", OTHER),
        ("Tambourine Pedal", OTHER),
        ("Djembe1 Bass", OTHER),
        ("Sangban1 Bell Hit", OTHER),
        ("Snare Roll", OTHER),
        ("Zildjian Splash Choke", OTHER),
        ("Brush Swirl(L)", OTHER),
        ("Timp Drum A1", OTHER),
        ("Custom", None),
        ("Drum 1", None),
        ("Sine Wave", None),
        ("808 Click", None),
        ("", None),
    ],
)
def test_names(name, drum):
    assert drum_of_name(name) == drum


@pytest.mark.parametrize(
    ("name", "note", "expected"),
    [
        ("Open High Hat", 59, False),
        ("Open High Hat", 46, True),
        ("Timp Drum A1", 36, False),
        ("Acoustic Tom", 41, True),
        ("Tom Hi", 45, True),
        ("Tom Hi", 38, False),
        ("Med Crash Cymbal", 51, False),
        ("Ride Cymbal", 51, True),
        ("Cymbal", 51, True),
        ("Cymbal", 42, False),
        ("Rim Shot", 37, True),
        ("Filter Snap", 36, True),
        ("Syn Drum Wave", 45, True),
    ],
)
def test_what_a_sample_may_play(name, note, expected):
    assert may_be_lane(name, note) == expected


@pytest.mark.parametrize(
    ("named", "notes"),
    [
        # Further instruments of one drum take its next note, and then none.
        ([("Kick 1", None), ("Kick 2", None), ("Kick 3", None)], [36, 35, None]),
        # The name wins over a note that says something else.
        ([("Ride (Custom)", 56), ("Snare 2", 47)], [51, 38]),
        # Where the name is ambiguous, the note decides.
        ([("Stick", 37)], [37]),
        ([("Stick", None)], [37]),
        ([("Stick", 39)], [None]),
        ([("Stick", 37), ("Rim Click", None)], [None, 37]),
        ([("Cymbal", 51)], [51]),
        ([("Cymbal", 49), ("Crash", None)], [49, 57]),
        ([("Cymbal", None), ("Crash", None)], [None, 49]),
        ([("Cymbal", None)], [49]),
        # Numbered toms go from high to low.
        ([("Tom 1", 45), ("Tom 2", 43), ("Floor Tom", 41)], [50, 47, 41]),
        ([("Tom 3", None), ("Tom 2", None), ("Tom 1", None)], [43, 47, 50]),
        # The highest rack tom is the high one.
        ([("Tom", None), ("Floor Tom", None)], [50, 41]),
        ([("Mid Tom", None), ("Low Tom", None)], [50, 43]),
        ([("Mid Tom", None), ("High Tom", None)], [47, 50]),
        ([("Mid Tom", None), ("Tom 1", None)], [47, 50]),
        ([("Low Tom", None), ("Floor Tom", None)], [43, 41]),
        ([("Tom Hi", None), ("tomhi2", None), ("tomhi3", None)], [50, 48, None]),
        ([("Drum 1", 36), ("Cowbell", 56)], [None, None]),
    ],
)
def test_notes_of_a_kit(named, notes):
    assert assign_notes(named) == notes


@pytest.mark.parametrize("name", ["Cowbell", "Hand Clap", "g#4 - cowbell", "Tambourine (Pearl PTM-10GH)", "Conga 1"])
def test_percussion(name):
    assert is_percussion(name)


@pytest.mark.parametrize("name", ["Snare Roll", "Splash Choke", "Hat Swish", "Kick", "Drum 1"])
def test_other_strokes_on_drums_are_no_percussion(name):
    assert not is_percussion(name)
