import hashlib
import io
import random

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from kit_builder import (
    ATTACK,
    ATTENUATION,
    COARSE_TUNE,
    DECAY,
    END_OFFSET,
    FINE_TUNE,
    HOLD,
    INSTRUMENT,
    KEYS,
    LEFT,
    MODES,
    MONO,
    PAN,
    RIGHT,
    ROM,
    ROOT_KEY,
    SAMPLE,
    SAMPLE_RATE,
    SCALE_TUNING,
    START_OFFSET,
    SUSTAIN,
    VELOCITIES,
    VORBIS,
    Font,
    FontPreset,
    FontSample,
    drum_font,
    frequency_of,
    hit,
    span,
    with_zone,
    write_soundfont,
)

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.studio.kits import Layer
from drum_crnn.studio.soundfont import open_soundfont


def crash_of(tmp_path, font: Font) -> tuple[Layer, ...]:
    """The layers of note 49 of the font's only kit."""
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", font))
    return kit.sounds[49].layers if 49 in kit.sounds else ()


def tone(frequency: float = 441.0, *, seconds: float = 1.0) -> np.ndarray:
    """A steady tone whose loops are seamless."""
    return (0.5 * np.cos(2 * np.pi * frequency * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype("f4")


def level_db(audio: np.ndarray, at_s: float) -> float:
    block = audio[round(at_s * SAMPLE_RATE) :][:441]
    return 20 * float(np.log10(np.abs(block).max()))


# ------------------------------------------------------------------------------------------------------- zones


def test_presets_and_notes(tmp_path):
    names = {35: "Kick 2", 58: "Vibraslap", 26: "Scratch", 22: "Scratch", 39: "Clap", 56: "Cowbell", 51: "Ride"}
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", drum_font(names=names)))
    assert kit.name == "test/Kit"
    assert list(kit.sounds) == [35, 36, 38, 42, 51]


def test_only_drum_presets_are_kits_by_program(tmp_path):
    font = drum_font()
    zones = [{INSTRUMENT: 0}]
    presets = [
        FontPreset("Late", zones, program=24),
        FontPreset("Piano", zones, bank=0),
        FontPreset("Early", zones),
        FontPreset("Early", zones, program=8),
    ]
    path = write_soundfont(tmp_path / "test.sf2", Font(font.samples, font.instruments, presets))
    assert [kit.name for kit in open_soundfont(path)] == ["test/Early", "test/Early (8)", "test/Late"]
    assert [kit.name for kit in open_soundfont(path, preset="Late")] == ["test/Late"]


def test_a_preset_without_kick_snare_or_hihat_is_left_out(tmp_path):
    font = drum_font()
    presets = [*font.presets, FontPreset("Timpani", [{INSTRUMENT: 0, KEYS: span(36, 38)}], program=48)]
    path = write_soundfont(tmp_path / "test.sf2", Font(font.samples, font.instruments, presets))
    assert [kit.name for kit in open_soundfont(path)] == ["test/Kit"]


def test_ranges_are_intersected_at_both_levels(tmp_path):
    samples = drum_font().samples
    instrument = [
        {KEYS: span(36, 36), SAMPLE: 0},
        {KEYS: span(38, 38), VELOCITIES: span(0, 80), SAMPLE: 1},
        {KEYS: span(40, 42), SAMPLE: 2},
    ]
    presets = [
        FontPreset(
            "Kit",
            [
                {KEYS: span(30, 38), VELOCITIES: span(50, 127), INSTRUMENT: 0},
                {KEYS: span(42, 60), INSTRUMENT: 0},
            ],
        )
    ]
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", Font(samples, [instrument], presets)))
    ranges = {
        note: [(layer.velocity_low, layer.velocity_high) for layer in sound.layers]
        for note, sound in kit.sounds.items()
    }
    # Key 40 is in the instrument's third zone, but in neither zone of the preset.
    assert ranges == {36: [(50, 127)], 38: [(50, 80)], 42: [(1, 127)]}


def test_stacked_zones_sound_together_over_their_keys_only(tmp_path):
    font = drum_font()
    snap = FontSample("Filter Snap", hit(6000, seconds=0.05))
    zones = [*font.instruments[0], {KEYS: span(37, 60), SAMPLE: len(font.samples)}]
    (kit,) = open_soundfont(write_soundfont(tmp_path / "t.sf2", Font([*font.samples, snap], [zones], font.presets)))
    stacks = {note: [layer.sample.name for layer in sound.layers] for note, sound in kit.sounds.items()}
    assert stacks[36] == ["Kick"]
    assert stacks[38] == ["Snare", "Filter Snap"]


def test_global_zones_are_defaults_and_presets_add(tmp_path):
    font = drum_font()
    instrument = [{ATTENUATION: 100}, *font.instruments[0][:2], {**font.instruments[0][2], ATTENUATION: 200}]
    presets = [
        FontPreset(
            "Kit",
            [
                {ATTENUATION: 50},
                {INSTRUMENT: 0, KEYS: span(0, 36)},
                {INSTRUMENT: 0, ATTENUATION: 0, KEYS: span(37, 127)},
            ],
        )
    ]
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", Font(font.samples, [instrument], presets)))
    # 0.4 of what is written, in centibels: 150, 100 and 200.
    decibels = {note: 20 * np.log10(sound.layers[0].gain) for note, sound in kit.sounds.items()}
    assert decibels == pytest.approx({36: -6.0, 38: -4.0, 42: -8.0})


def test_a_sample_named_after_another_drum_is_not_played(tmp_path):
    names = {59: "Open High Hat", 36: "Timpani F", 35: "Kick", 51: "Ride", 45: "Acoustic Tom", 48: "Low Tom"}
    font = drum_font(names=names)
    snap = FontSample("Filter Snap", hit(6000, seconds=0.05))
    zones = [*font.instruments[0], {KEYS: span(36, 60), SAMPLE: len(font.samples)}]
    (kit,) = open_soundfont(write_soundfont(tmp_path / "t.sf2", Font([*font.samples, snap], [zones], font.presets)))
    # 36 and 59 would keep only the noise of the stack. Toms may have any tom's name.
    assert {36, 59}.isdisjoint(kit.sounds)
    assert {35, 51, 45, 48} <= kit.sounds.keys()


@pytest.mark.parametrize(("program", "note"), [(24, 52), (40, 40), (48, 59)])
def test_notes_of_other_meaning_in_some_programs(tmp_path, program, note):
    names = {52: "Crash", 40: "Snare", 59: "Ride"}
    for number, expected in ((0, True), (program, False)):
        font = drum_font(names=names, program=number)
        (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", font))
        assert (note in kit.sounds) == expected


def test_the_avl_fonts_have_keys_of_their_own(tmp_path):
    keys = (36, 38, 42, 45, 47, 48, 50, 52, 58, 60, 39)
    font = drum_font(names={key: f"{key}-1" for key in keys})
    font = Font(
        font.samples, font.instruments, [FontPreset("Kit", [{INSTRUMENT: 0}], bank=0)], {"INAM": "Black Pearl 4pc"}
    )
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", font))
    names = {note: sound.layers[0].sample.name for note, sound in kit.sounds.items()}
    assert names == {36: "36-1", 38: "38-1", 42: "42-1", 48: "45-1", 50: "47-1", 52: "60-1"}


def test_what_general_midi_has_beside_the_lanes_is_percussion(tmp_path):
    names = {39: "Clap", 54: "Tambourine", 56: "Cowbell", 58: "Vibraslap", 70: "Maracas", 73: "Guiro", 84: "Belltree"}
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", drum_font(names=names)))
    assert set(kit.sounds) == {36, 38, 42}
    assert {sound.note: sound.layers[0].sample.name for sound in kit.percussion} == {
        39: "Clap", 54: "Tambourine", 56: "Cowbell", 58: "Vibraslap", 70: "Maracas"
    }  # fmt: skip
    assert frequency_of(kit.percussion[1].layers[0].sample.audio) == pytest.approx(200 + 20 * 54, abs=3)


def test_fonts_with_keys_of_their_own_have_no_percussion(tmp_path):
    font = drum_font(names={39: "Clap", 56: "Cowbell"})
    font = Font(
        font.samples, font.instruments, [FontPreset("Kit", [{INSTRUMENT: 0}], bank=0)], {"INAM": "Black Pearl 4pc"}
    )
    (kit,) = open_soundfont(write_soundfont(tmp_path / "test.sf2", font))
    assert kit.percussion == ()


def test_percussion_does_not_make_a_kit(tmp_path):
    keys = {39: "Clap", 54: "Tambourine", 36: "Kick"}
    samples = [FontSample(name, hit(200 + 20 * key), root=key) for key, name in keys.items()]
    zones = [{KEYS: span(key, key), SAMPLE: index} for index, key in enumerate(keys)]
    font = Font(samples, [zones], [FontPreset("Kit", [{INSTRUMENT: 0}])])
    with pytest.raises(DrumCrnnError, match="holds no drum kit"):
        open_soundfont(write_soundfont(tmp_path / "test.sf2", font))


# ------------------------------------------------------------------------------------------------------- pitch


@pytest.mark.parametrize(
    ("zone", "sample", "semitones"),
    [
        ({}, {"root": 49}, 0),
        ({}, {"root": 37}, 12),
        ({ROOT_KEY: 61}, {"root": 49}, -12),
        ({ROOT_KEY: -1 & 0xFFFF}, {"root": 49}, 0),
        ({COARSE_TUNE: 5}, {"root": 49}, 5),
        ({FINE_TUNE: -50 & 0xFFFF}, {"root": 49}, -0.5),
        ({}, {"root": 49, "correction": 30}, 0.3),
        ({SCALE_TUNING: 50}, {"root": 45}, 2),
        ({SCALE_TUNING: 0}, {"root": 10}, 0),
        ({SCALE_TUNING: 0}, {"root": 255}, 0),
        ({}, {"root": 49, "sample_rate": 22_050}, -12),
    ],
)
def test_tuning(tmp_path, zone, sample, semitones):
    (layer,) = crash_of(tmp_path, with_zone(zone, FontSample("Tone", tone(1000.0), **sample)))
    assert frequency_of(layer.sample.audio) == pytest.approx(1000 * 2 ** (semitones / 12), rel=0.002)


def test_the_tuning_of_the_preset_adds(tmp_path):
    font = with_zone({COARSE_TUNE: 2}, FontSample("Tone", tone(1000.0), root=49))
    presets = [FontPreset("Kit", [{INSTRUMENT: 0, COARSE_TUNE: 3}])]
    (layer,) = crash_of(tmp_path, Font(font.samples, font.instruments, presets))
    assert frequency_of(layer.sample.audio) == pytest.approx(1000 * 2 ** (5 / 12), rel=0.002)


def test_a_pitch_envelope_falls_to_the_note(tmp_path):
    # An octave up at first, decaying in 2 ** (-1200 / 1200) = 0.5 s.
    zone = {7: 1200, 28: -1200 & 0xFFFF, 29: 1000}
    (layer,) = crash_of(tmp_path, with_zone(zone, FontSample("Tone", tone(500.0, seconds=3), root=49)))
    audio = layer.sample.audio
    assert frequency_of(audio[:1323]) == pytest.approx(970, rel=0.03)
    assert frequency_of(audio[SAMPLE_RATE : SAMPLE_RATE + 22_050]) == pytest.approx(500, rel=0.005)


def test_a_pitch_envelope_that_stays_shifts_the_note(tmp_path):
    (layer,) = crash_of(tmp_path, with_zone({7: 1200}, FontSample("Tone", tone(500.0), root=49)))
    assert frequency_of(layer.sample.audio) == pytest.approx(1000, rel=0.002)


# ------------------------------------------------------------------------------------------------------- samples


def test_the_attack_is_at_the_start(tmp_path):
    sample = FontSample("Crash", hit(3000, silence_s=0.03), root=49)
    (layer,) = crash_of(tmp_path, with_zone({}, sample))
    assert np.argmax(np.abs(layer.sample.audio)) <= 0.0015 * SAMPLE_RATE


def test_offsets(tmp_path):
    first, second = hit(1000, seconds=0.1), hit(3000, seconds=0.1)
    sample = FontSample("Crash", np.concatenate([first, second, first]), root=49)
    zone = {START_OFFSET: first.size, END_OFFSET: -first.size & 0xFFFF}
    (layer,) = crash_of(tmp_path, with_zone(zone, sample))
    assert frequency_of(layer.sample.audio) == pytest.approx(3000, abs=30)
    assert layer.sample.audio.size <= second.size


def test_the_checksum_is_that_of_the_stored_bytes(tmp_path):
    audio = hit(3000, silence_s=0.01)
    stored = np.round(audio * 32767).astype("<i2").tobytes()
    font = with_zone({START_OFFSET: 10, COARSE_TUNE: 3}, FontSample("Crash", audio, root=49))
    (layer,) = crash_of(tmp_path, font)
    assert layer.sample.sha256 == hashlib.sha256(stored).hexdigest()
    assert layer.sample.source == "test.sf2"


@pytest.mark.parametrize("linked", [True, False])
def test_a_stereo_pair_is_one_sample(tmp_path, linked):
    # The right channel starts 20 ms later: trimmed one by one, they would be summed with a comb filter.
    left, right = hit(2000, level=0.6), hit(2000, level=0.4, silence_s=0.02)
    left = np.pad(left, (0, right.size - left.size))
    kinds = (LEFT, RIGHT) if linked else (MONO, MONO)
    samples = (
        FontSample("Crash L", left, root=49, kind=kinds[0], link=1),
        FontSample("Crash R", right, root=49, kind=kinds[1], link=0),
    )
    zones = ({PAN: -500 & 0xFFFF}, {PAN: 500, SAMPLE: 1})
    (layer,) = crash_of(tmp_path, with_zone(zones[0], *samples, more=zones[1:]))
    expected = (left + right) / 2
    assert layer.gain == 1
    length = layer.sample.audio.size - SAMPLE_RATE // 100
    # The shortest attack of the format is a millisecond.
    assert np.allclose(layer.sample.audio[100:length], expected[100:length], atol=1e-4)
    stored = [np.round(side * 32767).astype("<i2").tobytes() for side in (left, right)]
    assert layer.sample.sha256 == hashlib.sha256(b"".join(stored)).hexdigest()


def test_zones_at_other_velocities_are_no_pair(tmp_path):
    samples = (FontSample("Crash A", hit(2000), root=49), FontSample("Crash B", hit(2100), root=49))
    zones = (
        {PAN: -500 & 0xFFFF, VELOCITIES: span(0, 63)},
        {PAN: 500, VELOCITIES: span(64, 127), SAMPLE: 1},
    )
    layers = crash_of(tmp_path, with_zone(zones[0], *samples, more=zones[1:]))
    assert [layer.sample.name for layer in layers] == ["Crash A", "Crash B"]


def test_samples_in_rom_are_skipped(tmp_path):
    sample = FontSample("Crash", hit(), kind=MONO | ROM, root=49)
    assert crash_of(tmp_path, with_zone({}, sample)) == ()


def test_silent_samples_are_skipped(tmp_path):
    sample = FontSample("Crash", np.zeros(1000, dtype=np.float32), root=49)
    assert crash_of(tmp_path, with_zone({}, sample)) == ()


def test_presets_share_samples(tmp_path):
    font = drum_font()
    presets = [FontPreset("A", [{INSTRUMENT: 0}]), FontPreset("B", [{INSTRUMENT: 0}], program=8)]
    one, other = open_soundfont(write_soundfont(tmp_path / "t.sf2", Font(font.samples, font.instruments, presets)))
    assert one.sounds[36].layers[0].sample is other.sounds[36].layers[0].sample


@pytest.mark.parametrize(("info", "licence"), [({}, "not stated"), ({"ICOP": " CC0\n by me "}, "CC0 by me")])
def test_the_licence_is_the_copyright_field(tmp_path, info, licence):
    font = drum_font()
    path = write_soundfont(tmp_path / "t.sf2", Font(font.samples, font.instruments, font.presets, info))
    (kit,) = open_soundfont(path)
    assert kit.sounds[36].layers[0].sample.licence == licence


def test_samples_in_ogg_vorbis(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, hit(1000.0, silence_s=0.02), SAMPLE_RATE, format="OGG", subtype="VORBIS")
    data = buffer.getvalue() + (b"\0" if len(buffer.getvalue()) % 2 == 0 else b"")
    font = drum_font()
    samples = [FontSample(one.name, one.audio, root=one.root, kind=MONO | VORBIS, data=data) for one in font.samples]
    path = write_soundfont(tmp_path / "test.sf3", Font(samples, font.instruments, font.presets))
    (kit,) = open_soundfont(path)
    assert frequency_of(kit.sounds[36].layers[0].sample.audio) == pytest.approx(1000, abs=10)
    assert np.abs(kit.sounds[36].layers[0].sample.audio[:70]).max() > 0.3


def test_chunks_of_odd_size_need_no_padding(tmp_path):
    # Writers of SF3 leave it out: the chunk after 'smpl' then begins at an odd position.
    path = write_soundfont(tmp_path / "test.sf2", drum_font())
    content = path.read_bytes()
    place = content.index(b"smpl")
    size = int.from_bytes(content[place + 4 : place + 8], "little")
    end = place + 8 + size
    path.write_bytes(
        content[: place + 4] + (size - 1).to_bytes(4, "little") + content[place + 8 : end - 1] + content[end:]
    )
    assert [kit.name for kit in open_soundfont(path)] == ["test/Kit"]


# ------------------------------------------------------------------------------------------------------- envelope


def test_the_envelope_decays_by_100_db_in_its_time(tmp_path):
    # Attack 1 ms, hold 0.25 s, decay 1 s: 25 dB after another quarter.
    zone = {HOLD: -2400 & 0xFFFF, DECAY: 0, SUSTAIN: 1000}
    (layer,) = crash_of(tmp_path, with_zone(zone, FontSample("Tone", tone(seconds=2), root=49)))
    audio = layer.sample.audio
    assert level_db(audio, 0.2) == pytest.approx(-6, abs=0.2)
    assert level_db(audio, 0.5) == pytest.approx(-31, abs=1.5)
    assert audio.size / SAMPLE_RATE == pytest.approx(0.25 + 0.6, abs=0.03)


def test_the_decay_stops_at_the_sustain_level(tmp_path):
    zone = {DECAY: -1200 & 0xFFFF, SUSTAIN: 120}
    (layer,) = crash_of(tmp_path, with_zone(zone, FontSample("Tone", tone(seconds=2), root=49)))
    assert level_db(layer.sample.audio, 1.0) == pytest.approx(-18, abs=0.3)


def test_a_slow_attack_is_no_late_label(tmp_path):
    # It rises for 0.25 s; the attack is where it has come near enough to its peak, and nothing precedes it.
    zone = {ATTACK: -2400 & 0xFFFF}
    (layer,) = crash_of(tmp_path, with_zone(zone, FontSample("Tone", tone(), root=49)))
    assert np.abs(layer.sample.audio[44:88]).max() > 0.1 * np.abs(layer.sample.audio).max()


@pytest.mark.parametrize(
    ("zone", "seconds"), [({HOLD: -1200 & 0xFFFF, DECAY: 0, SUSTAIN: 1000}, 1.1), ({SUSTAIN: 0}, 3.0)]
)
def test_a_loop_sounds_as_long_as_its_envelope(tmp_path, zone, seconds):
    sample = FontSample("Tone", tone(441.0, seconds=0.1), root=49, loop=(1000, 4000))
    (layer,) = crash_of(tmp_path, with_zone({**zone, MODES: 1}, sample))
    audio = layer.sample.audio
    assert audio.size / SAMPLE_RATE == pytest.approx(seconds, abs=0.05)
    # 3000 samples hold 30 periods, so that the loop is seamless.
    assert frequency_of(audio) == pytest.approx(441, abs=2)


def test_without_the_mode_a_loop_is_not_played(tmp_path):
    sample = FontSample("Tone", tone(441.0, seconds=0.1), root=49, loop=(1000, 4000))
    (layer,) = crash_of(tmp_path, with_zone({}, sample))
    assert layer.sample.audio.size <= 0.1 * SAMPLE_RATE


def test_the_filter_removes_high_frequencies(tmp_path):
    both = (tone(200.0) + tone(10_000.0)) / 2
    audios = [
        crash_of(tmp_path, with_zone(zone, FontSample("Tone", both, root=49)))[0].sample.audio
        for zone in ({}, {8: 8000})
    ]
    bands = [np.abs(np.fft.rfft(audio, n=SAMPLE_RATE))[[200, 10_000]] for audio in audios]
    assert bands[1][0] == pytest.approx(bands[0][0], rel=0.1)
    assert bands[1][1] < 0.05 * bands[0][1]  # 8000 cents are 831 Hz


# ------------------------------------------------------------------------------------------------------- bad input


def test_a_file_of_another_format_is_named(tmp_path):
    path = tmp_path / "font.sf2"
    for content in (b"", b"not a font", b"RIFF\x10\0\0\0WAVEfmt "):
        path.write_bytes(content)
        with pytest.raises(DrumCrnnError, match=r"font\.sf2: is no SoundFont"):
            open_soundfont(path)


@pytest.mark.parametrize("bank", [127, 120])
def test_drums_in_the_banks_of_other_standards(tmp_path, bank):
    font = drum_font()
    presets = [FontPreset("Kit", [{INSTRUMENT: 0}], bank=bank), FontPreset("Piano", [{INSTRUMENT: 0}], bank=0)]
    path = write_soundfont(tmp_path / "test.sf2", Font(font.samples, font.instruments, presets))
    assert [kit.name for kit in open_soundfont(path)] == ["test/Kit"]


def test_drums_in_a_bank_of_other_instruments_open_by_name(tmp_path):
    font = drum_font()
    presets = [FontPreset("Kit", [{INSTRUMENT: 0}], bank=0)]
    path = write_soundfont(tmp_path / "test.sf2", Font(font.samples, font.instruments, presets))
    assert [kit.name for kit in open_soundfont(path, preset="Kit")] == ["test/Kit"]
    with pytest.raises(DrumCrnnError, match="has no drum preset 'Other'; it has: Kit"):
        open_soundfont(path, preset="Other")
    with pytest.raises(DrumCrnnError, match="opens by its name"):
        open_soundfont(path)


def test_a_sample_outside_the_file_is_left_out_with_a_warning(tmp_path, capsys):
    path = write_soundfont(tmp_path / "font.sf2", drum_font(names={49: "Crash"}))
    (whole,) = open_soundfont(path)
    content = bytearray(path.read_bytes())
    header = content.index(b"Crash", content.index(b"shdr"))
    content[header + 24 : header + 28] = b"\xff\xff\xff\x7f"  # its end
    path.write_bytes(content)
    (kit,) = open_soundfont(path)
    assert set(whole.sounds) - set(kit.sounds) == {49}
    assert "lies outside the file, so it is left out" in capsys.readouterr().err


def test_a_font_without_drums_is_named(tmp_path):
    font = drum_font()
    presets = [FontPreset("Piano", [{INSTRUMENT: 0}], bank=0)]
    path = write_soundfont(tmp_path / "piano.sf2", Font(font.samples, font.instruments, presets))
    with pytest.raises(DrumCrnnError, match=r"piano\.sf2: holds no drum kit"):
        open_soundfont(path)


@given(st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_a_damaged_font_is_read_or_named(tmp_path_factory, seed):
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("damaged") / "font.sf2"
    content = bytearray(write_soundfont(path, drum_font()).read_bytes())
    if chance.random() < 0.4:
        del content[chance.randrange(len(content)) :]
    else:
        # The tables are at the end.
        start = content.index(b"pdta")
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(start, len(content))] = chance.randrange(256)
    path.write_bytes(content)
    try:
        kits = open_soundfont(path)
    except DrumCrnnError as error:
        kits, message = [], str(error)
        if "font.sf2" not in message:
            raise
    assert all(kit.sounds for kit in kits)
