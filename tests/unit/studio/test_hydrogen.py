import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit_builder import frequency_of, hit, write_hydrogen, write_wav

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.studio.hydrogen import open_hydrogen

DRUMKITS = Path("/usr/share/hydrogen/data/drumkits")


def layer(filename: str, low: float = 0, high: float = 1, *, gain: float = 1, pitch: float = 0) -> str:
    return (
        f"<layer><filename>{filename}</filename><min>{low}</min><max>{high}</max>"
        f"<gain>{gain}</gain><pitch>{pitch}</pitch></layer>"
    )


def instrument(name: str, content: str, *, more: str = "") -> str:
    return f"<instrument><name>{name}</name>{more}{content}</instrument>"


@pytest.fixture
def folder(tmp_path):
    for index in range(1, 4):
        write_wav(tmp_path / "My Kit" / f"{index}.wav", hit(300.0 * index, silence_s=0.02))
    write_wav(tmp_path / "My Kit" / "emptySample.wav", np.zeros(100))
    write_wav(tmp_path / "My Kit" / "4.flac", hit(1200.0))
    return tmp_path / "My Kit"


def ranges(kit, note: int) -> list[tuple[str, int, int]]:
    return [(one.sample.name, one.velocity_low, one.velocity_high) for one in kit.sounds[note].layers]


def test_layers_volume_gain_and_licence(folder):
    content = layer("1.wav", 0, 0.5, gain=2) + layer("2.wav", 0.5, 1, gain=0.5)
    write_hydrogen(folder, instrument("Snare", content, more="<volume>0.8</volume><gain>0.5</gain>"))
    kit = open_hydrogen(folder)
    assert kit.name == "hydrogen/My Kit"
    assert ranges(kit, 38) == [("1.wav", 1, 63), ("2.wav", 64, 127)]
    # The highest range keeps its level: 0.8 × 0.5 × 0.5. Here both samples are equally loud, so the other follows.
    gains = [one.gain for one in kit.sounds[38].layers]
    assert gains[1] == pytest.approx(0.2)
    assert gains[0] == pytest.approx(gains[1], rel=0.05)
    sample = kit.sounds[38].layers[0].sample
    assert sample.licence == "CC0"
    assert sample.source == "1.wav"
    assert np.argmax(np.abs(sample.audio)) < 66


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        # Hydrogen plays the first that fits.
        ([(0, 0.5), (0, 1), (0, 1)], [("1.wav", 1, 63), ("2.wav", 64, 127)]),
        ([(0.6, 1), (0.3, 0.7), (0, 0.3)], [("3.wav", 1, 38), ("2.wav", 39, 76), ("1.wav", 77, 127)]),
        # In a gap, the nearest one.
        ([(0, 0.2), (0.4, 0.9)], [("1.wav", 1, 38), ("2.wav", 39, 127)]),
    ],
)
def test_every_velocity_has_one_layer(folder, bounds, expected):
    content = "".join(layer(f"{index}.wav", *bound) for index, bound in enumerate(bounds, start=1))
    write_hydrogen(folder, instrument("Snare", content))
    kit = open_hydrogen(folder)
    assert sorted(ranges(kit, 38), key=lambda one: one[1]) == expected


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=3))
def test_ranges_cover_all_velocities_once(tmp_path_factory, bounds):
    folder = tmp_path_factory.mktemp("kit")
    content = ""
    for index, bound in enumerate(bounds):
        write_wav(folder / f"{index}.wav", hit(seconds=0.05))
        content += layer(f"{index}.wav", min(bound), max(bound))
    kit = open_hydrogen(write_hydrogen(folder, instrument("Kick", content)))
    covered = sorted(velocity for _, low, high in ranges(kit, 36) for velocity in range(low, high + 1))
    assert covered == list(range(1, 128))


def test_all_shapes_of_files(folder):
    write_hydrogen(
        folder,
        instrument("Kick", "<filename>4.flac</filename>", more="<volume>0.5</volume>")
        + instrument(
            "Snare", f"<instrumentComponent><component_id>0</component_id>{layer('2.wav')}</instrumentComponent>"
        )
        + instrument("Closed HH", layer("3.wav", pitch=12), more="<midiOutNote>60</midiOutNote>"),
        xmlns=' xmlns="http://www.hydrogen-music.org/drumkit"',
        licence="<licence>GPL</licence>",
    )
    kit = open_hydrogen(folder)
    assert {note: round(frequency_of(sound.layers[0].sample.audio), -1) for note, sound in kit.sounds.items()} == {
        36: 1200,
        38: 600,
        42: 1800,
    }
    assert kit.sounds[36].layers[0].gain == 0.5
    assert kit.sounds[36].layers[0].sample.licence == "GPL"


def test_empty_muted_and_other_instruments_are_left_out(folder):
    write_hydrogen(
        folder,
        instrument("Kick", layer("1.wav"))
        + instrument("Snare", layer("2.wav"), more="<isMuted>true</isMuted>")
        + instrument("Tom 1", "<filename>emptySample.wav</filename>")
        + instrument("Crash", "")
        + instrument("Ride", layer("emptySample.wav"))
        + instrument("Cowbell", layer("not there.wav"))
        + instrument("Closed Hat", layer("3.wav", gain=0)),
        licence="",
    )
    kit = open_hydrogen(folder)
    assert list(kit.sounds) == [36]
    assert kit.sounds[36].layers[0].sample.licence == "not stated"


def test_what_is_of_no_lane_is_percussion(folder):
    content = "".join(
        instrument(name, layers)
        for name, layers in (
            ("Kick", layer("1.wav")),
            ("Cowbell", layer("2.wav", 0, 0.5) + layer("3.wav", 0.5, 1)),
            ("Kick 2", layer("2.wav")),
            ("Kick 3", layer("3.wav")),  # a kick for which no note is left
            ("Drum 7", layer("3.wav")),
            ("Shaker", layer("3.wav", gain=0.5)),
            ("Tambourine", layer("2.wav") + layer("not there.wav")),
            ("Conga", layer("2.wav", gain=0)),
        )
    )
    kit = open_hydrogen(write_hydrogen(folder, content))
    assert list(kit.sounds) == [35, 36]
    assert [[one.sample.name for one in sound.layers] for sound in kit.percussion] == [["2.wav", "3.wav"], ["3.wav"]]
    assert [(one.velocity_low, one.velocity_high) for one in kit.percussion[0].layers] == [(1, 63), (64, 127)]
    assert kit.percussion[1].layers[0].gain == 0.5
    assert len({sound.note for sound in kit.percussion}) == 2


def test_a_kit_may_be_percussion_alone(folder):
    kit = open_hydrogen(write_hydrogen(folder, instrument("Djembe", layer("1.wav"))))
    assert kit.sounds == {}
    assert [sound.layers[0].sample.name for sound in kit.percussion] == ["1.wav"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (instrument("Kick", layer("9.wav")), r"drumkit\.xml: lacks 9\.wav; install the kit again"),
        (instrument("Kick", layer("../1.wav")), "lies outside the drumkit's folder"),
        (instrument("Kick", layer("/etc/passwd")), "lies outside the drumkit's folder"),
        (instrument("Kick", layer("1.wav"), more="<volume>loud</volume>"), "has text in place of a number .*loud"),
        (
            instrument("Drum 7", layer("1.wav")),
            "no instrument is a drum of the eight lanes or percussion; it has: Drum 7",
        ),
        (instrument("Djembe", layer("not there.wav")), "lanes or percussion; it has: Djembe"),
        (instrument("Djembe", layer("1.wav", gain=0)), "lanes or percussion; it has: Djembe"),
        ("", "it has: none with a name"),
    ],
)
def test_a_wrong_drumkit_is_explained(folder, content, message):
    write_hydrogen(folder, content)
    with pytest.raises(DrumCrnnError, match=message):
        open_hydrogen(folder)


def test_a_drum_whose_file_is_missing_is_left_out_with_a_warning(folder, capsys):
    write_hydrogen(folder, instrument("Kick", layer("1.wav")) + instrument("Ride", layer("gone.wav")))
    assert list(open_hydrogen(folder).sounds) == [36]
    assert "drumkit.xml: lacks gone.wav; the kit plays without this drum" in capsys.readouterr().err


def test_names_in_other_letters_and_numbers_of_other_languages(folder):
    (folder / "1.wav").rename(folder / "Kick.wav")
    write_hydrogen(folder, instrument("Kick", layer("KICK.WAV"), more="<volume>0,5</volume>"))
    (one,) = open_hydrogen(folder).sounds[36].layers
    assert one.sample.name == "Kick.wav"


@pytest.mark.parametrize("compression", ["", "gz"])
def test_an_archive_is_the_kit_in_it(folder, tmp_path, compression):
    write_hydrogen(folder, instrument("Kick", layer("1.wav")))
    archive = tmp_path / "Other Name.h2drumkit"
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(folder, "My Kit")
    kit = open_hydrogen(archive)
    assert kit.name == "hydrogen/Other Name"
    assert kit.sounds[36].layers[0].sample.sha256 == open_hydrogen(folder).sounds[36].layers[0].sample.sha256
    archive.write_bytes(archive.read_bytes()[:700])
    with pytest.raises(DrumCrnnError, match=r"Other Name\.h2drumkit: (is no archive|holds no drumkit\.xml|.*is )"):
        open_hydrogen(archive)


def test_nothing_of_an_archive_is_written_outside(folder, tmp_path):
    write_hydrogen(folder, instrument("Kick", layer("1.wav")))
    with tarfile.open(tmp_path / "x.h2drumkit", "w") as tar:
        tar.add(folder, "My Kit")
        tar.add(folder / "1.wav", "../../escaped.wav")
        tar.add(folder / "1.wav", f"{tmp_path}/escaped.wav")
    assert list(open_hydrogen(tmp_path / "x.h2drumkit").sounds) == [36]
    assert not list(tmp_path.rglob("escaped.wav"))


def test_what_lies_behind_the_document_is_passed_over(folder):
    write_hydrogen(folder, instrument("Kick", layer("1.wav")))
    path = folder / "drumkit.xml"
    path.write_bytes(path.read_bytes() + b"\n</drumkit_info>\0junk")
    assert list(open_hydrogen(folder).sounds) == [36]


@pytest.mark.parametrize(
    ("content", "message"), [("<drumkit_info>", "not valid XML"), ("<song/>", "its root is <song>")]
)
def test_a_file_that_is_no_drumkit_is_named(tmp_path, content, message):
    (tmp_path / "drumkit.xml").write_text(content)
    with pytest.raises(DrumCrnnError, match=message):
        open_hydrogen(tmp_path)


@pytest.mark.skipif(not DRUMKITS.is_dir(), reason="Debian's hydrogen-data is not installed")
@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("GMRockKit", set()),
        ("Millo-Drums_v.1", set()),
        ("TR808EmulationKit", {"ride"}),
        ("HardElectro1", set(LANES[3:])),
    ],
)
def test_installed_drumkits(name, missing):
    if not (DRUMKITS / name).is_dir():
        pytest.skip(f"drumkit {name} is not installed")
    kit = open_hydrogen(DRUMKITS / name)
    assert set(LANES) - {LANES[LANE_OF_NOTE[note]] for note in kit.sounds} == missing
