import pytest
from kit_builder import frequency_of, hit, write_wav

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.studio.one_shots import open_one_shots


def test_files_and_folders_named_after_drums(tmp_path):
    folder = tmp_path / "Basement"
    names = ["kick.wav", "snare.flac", "hihat_closed.ogg", "hihat_open.wav", "hihat_pedal.wav", "high_tom.wav"]
    names += ["mid_tom.wav", "low_tom/a.wav", "Crash.wav", "ride/soft.wav", "cowbell.wav", "notes.wav"]
    for name in names:
        write_wav(folder / name, hit(silence_s=0.02))
    (folder / "kick.txt").write_text("no audio")
    kit = open_one_shots(folder)
    assert kit.name == "one_shots/Basement"
    assert {note: sound.layers[0].sample.source for note, sound in kit.sounds.items()} == {
        36: "kick.wav",
        38: "snare.flac",
        42: "hihat_closed.ogg",
        46: "hihat_open.wav",
        44: "hihat_pedal.wav",
        50: "high_tom.wav",
        47: "mid_tom.wav",
        43: "low_tom/a.wav",
        49: "Crash.wav",
        51: "ride/soft.wav",
    }


def test_files_of_a_folder_are_layers_by_loudness(tmp_path):
    for name, level in (("a", 0.5), ("b", 0.1), ("c", 0.3)):
        write_wav(tmp_path / "snare" / f"{name}.wav", hit(level=level))
    layers = open_one_shots(tmp_path).sounds[38].layers
    assert [(one.sample.name, one.velocity_low, one.velocity_high) for one in layers] == [
        ("b.wav", 1, 42),
        ("c.wav", 43, 85),
        ("a.wav", 86, 127),
    ]
    # Levelled: only the velocity sets the loudness.
    assert [one.gain for one in layers] == pytest.approx([5, 5 / 3, 1], rel=0.01)


def test_a_suffix_orders_layers(tmp_path):
    for number, level in ((1, 0.5), (2, 0.1), (10, 0.3)):
        write_wav(tmp_path / f"snare_v{number}.wav", hit(level=level))
    layers = open_one_shots(tmp_path).sounds[38].layers
    assert [one.sample.name for one in layers] == ["snare_v1.wav", "snare_v2.wav", "snare_v10.wav"]


def test_hits_of_each_strength_are_layers(tmp_path):
    """Named PART-STRENGTH-HIT: strengths in order, and the hits of one by their level."""
    levels = {"2-1": 0.2, "2-2": 0.1, "1-1": 0.5, "1-2": 0.4}
    for suffix, level in levels.items():
        for drum in ("tomh", "toml"):
            write_wav(tmp_path / f"{drum}-{suffix}.mp3", hit(300.0, level=level))
    kit = open_one_shots(tmp_path)
    assert set(kit.sounds) == {50, 43}
    names = [one.sample.name for one in kit.sounds[50].layers]
    assert names == ["tomh-1-2.mp3", "tomh-1-1.mp3", "tomh-2-2.mp3", "tomh-2-1.mp3"]


def test_soft_and_hard_are_layers(tmp_path):
    for name, level in (("hard", 0.1), ("soft", 0.5), ("medium", 0.2)):
        write_wav(tmp_path / f"tom_lo_{name}.wav", hit(level=level))
    layers = open_one_shots(tmp_path).sounds[43].layers
    assert [one.sample.name for one in layers] == ["tom_lo_soft.wav", "tom_lo_medium.wav", "tom_lo_hard.wav"]


def test_files_of_the_same_bytes_count_once(tmp_path):
    for name, level in (("1-1", 0.1), ("1-2", 0.3), ("2-1", 0.3), ("2-2", 0.5)):
        write_wav(tmp_path / f"crash-{name}.wav", hit(level=level))
    layers = open_one_shots(tmp_path).sounds[49].layers
    assert [one.sample.name for one in layers] == ["crash-1-1.wav", "crash-1-2.wav", "crash-2-2.wav"]


def test_a_pattern_chooses_among_what_lies_in_a_folder(tmp_path):
    for name in ("drum_kick.wav", "drum_snare.wav", "bass_long.wav", "loops/kick.wav", "drum_ride/soft.wav"):
        write_wav(tmp_path / name, hit())
    assert set(open_one_shots(tmp_path, pattern="drum_*").sounds) == {36, 38, 51}
    with pytest.raises(DrumCrnnError, match=r"it holds: no audio file like synth_\*"):
        open_one_shots(tmp_path, pattern="synth_*")


def test_names_without_suffix_are_instruments(tmp_path):
    for number in (1, 2):
        write_wav(tmp_path / f"kick {number}.wav", hit(200.0 * number))
    kit = open_one_shots(tmp_path)
    assert {note: round(frequency_of(sound.layers[0].sample.audio), -1) for note, sound in kit.sounds.items()} == {
        35: 400,
        36: 200,
    }


def test_hidden_files_are_no_drums(tmp_path):
    """A Mac leaves such files in archives; they are no audio."""
    write_wav(tmp_path / "kit" / "kick.wav", hit(100.0))
    for name in ("._kick.wav", "__MACOSX/snare.wav", ".cache/hihat.wav"):
        (tmp_path / "kit" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "kit" / name).write_bytes(b"\0\5\x16\7")
    assert list(open_one_shots(tmp_path / "kit").sounds) == [36]


@pytest.mark.parametrize(("name", "text"), [("LICENSE", "CC0 1.0\nmore"), ("licence.txt", "\n  CC0 1.0  \n")])
def test_the_licence_is_the_first_line_of_its_file(tmp_path, name, text):
    write_wav(tmp_path / "kick.wav", hit())
    assert open_one_shots(tmp_path).sounds[36].layers[0].sample.licence == "not stated"
    (tmp_path / name).write_text(text)
    assert open_one_shots(tmp_path).sounds[36].layers[0].sample.licence == "CC0 1.0"


def test_a_folder_without_drums_is_explained(tmp_path):
    with pytest.raises(DrumCrnnError, match=r"no file is named after a drum.*; it holds: no audio"):
        open_one_shots(tmp_path)
    write_wav(tmp_path / "cowbell.wav", hit())
    with pytest.raises(DrumCrnnError, match="it holds: cowbell"):
        open_one_shots(tmp_path)


def test_a_file_that_is_no_audio_is_named(tmp_path):
    (tmp_path / "kick.wav").write_text("boom")
    with pytest.raises(DrumCrnnError, match=r"kick\.wav: is not a readable audio file"):
        open_one_shots(tmp_path)
