"""References to kits: what they open, and the messages for wrong ones."""

import numpy as np
import pytest
from kit_builder import hit, write_wav

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.studio.sources import open_kits


def test_the_kits_of_pretty_midi():
    kits = open_kits("pretty_midi:TimGM6mb")
    assert [kit.name for kit in kits] == [
        f"TimGM6mb/{name}"
        for name in ("Standard", "Room", "Power", "Electronic", "TR 808", "Jazz", "Brush", "Orchestra")
    ]
    for kit in kits:
        assert kit.family == "TimGM6mb"
        # Every lane is there; Roland's own notes are not in General MIDI.
        assert {LANE_OF_NOTE[note] for note in kit.sounds} == set(range(len(LANES)))
        assert kit.sounds.keys().isdisjoint({22, 26, 58})
        for note, sound in kit.sounds.items():
            assert sound.note == note
            assert all(layer.sample.audio.dtype == np.float32 for layer in sound.layers)
            assert all(np.isfinite(layer.sample.audio).all() for layer in sound.layers)


def test_a_path_inside_an_installed_package():
    (kit,) = open_kits("soundfont:@pretty_midi/TimGM6mb.sf2#TR 808")
    (same,) = open_kits("pretty_midi:TimGM6mb#TR 808")
    assert kit.name == same.name
    assert kit.sounds.keys() == same.sounds.keys()


def test_a_part_of_a_folder_of_one_shots(tmp_path):
    for name in ("drum_kick.wav", "loop_snare.wav"):
        write_wav(tmp_path / name, hit())
    (kit,) = open_kits(f"one_shots:{tmp_path}#drum_*")
    assert set(kit.sounds) == {36}


def test_one_preset_by_name():
    (kit,) = open_kits("pretty_midi:TimGM6mb#TR 808")
    assert kit.name == "TimGM6mb/TR 808"


def test_synthesized_kits_by_number():
    assert [kit.name for kit in open_kits("synthesized:3-4")] == ["synthesized/3", "synthesized/4"]
    assert [kit.name for kit in open_kits("synthesized:3")] == ["synthesized/3"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("TimGM6mb", "write SCHEME:WHERE"),
        ("soundfont:", "write SCHEME:WHERE"),
        ("sfz:/kits/kit.sfz", "unknown scheme 'sfz'; known: pretty_midi"),
        ("pretty_midi:TimGM7mb", "no such SoundFont; it has: TimGM6mb"),
        ("pretty_midi:TimGM6mb#Rock", "no drum preset 'Rock'; it has: Brush, Electronic"),
        ("soundfont:/nowhere/font.sf2", "/nowhere/font.sf2: there is no such SoundFont"),
        ("hydrogen:/nowhere/kit", "/nowhere/kit: holds no drumkit.xml"),
        ("hydrogen:/nowhere/kit#preset", "a hydrogen kit has no parts; leave out '#preset'"),
        ("synthesized:1-2#kick", "a synthesized kit has no parts; leave out '#kick'"),
        ("synthesized:many", "'synthesized:many': write a number, or two such as synthesized:1-8"),
        ("synthesized:8-1", "write a number, or two such as synthesized:1-8"),
        ("synthesized:-3", "write a number, or two such as synthesized:1-8"),
        ("one_shots:@no_such_package/drums", "the Python package no_such_package is not installed"),
        ("one_shots:@../drums", r"the Python package \.\. is not installed"),
        ("one_shots:/nowhere/kit", "/nowhere/kit: there is no such folder"),
    ],
)
def test_a_wrong_reference_is_explained(reference, message):
    with pytest.raises(DrumCrnnError, match=message):
        open_kits(reference)
