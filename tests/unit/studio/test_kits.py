import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from kit_builder import SAMPLE_RATE, frequency_of, hit, tone_kit, write_wav

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANE_OF_NOTE
from drum_crnn.studio.kits import (
    Kit,
    Layer,
    Sample,
    Sound,
    finish_one_shot,
    kit_table_rows,
    level_velocities,
    read_one_shot,
    resample,
    substitute,
    trim_to_attack,
    without_notes,
    without_samples,
)

MARGIN = round(0.0005 * SAMPLE_RATE)


def sample(sha256: str, *, level: float = 1.0, n_samples: int = 4410) -> Sample:
    return Sample(sha256, np.full(n_samples, level, dtype=np.float32), sha256, "test", "CC0")


# ------------------------------------------------------------------------------------------------------- attack


@given(
    silence=st.integers(0, 4000),
    noise_db=st.sampled_from([None, -60, -40, -26]),
    frequency=st.sampled_from([50.0, 200.0, 1000.0, 6000.0]),
    level=st.sampled_from([1.0, 0.01]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_attack_is_found_after_silence_and_noise(silence, noise_db, frequency, level, seed):
    clean = hit(frequency, level=level)
    before = np.zeros(silence, dtype=np.float32)
    if noise_db is not None:
        before += level * 10 ** (noise_db / 20) * np.random.default_rng(seed).uniform(-1, 1, silence).astype(np.float32)
    trimmed = trim_to_attack(np.concatenate([before, clean]))
    margin = min(MARGIN, silence)
    assert abs(trimmed.size - margin - clean.size) <= 2
    assert np.abs(trimmed[margin : margin + 3]).max() >= 0.9 * level


def test_a_precursor_is_cut_off():
    # Many recordings of cymbals have one, 15 dB softer and some milliseconds early.
    clean = hit(3000.0)
    forerunner = np.zeros(round(0.009 * SAMPLE_RATE), dtype=np.float32)
    forerunner[::20] = 0.5 * 10 ** (-15 / 20)
    assert trim_to_attack(np.concatenate([forerunner, clean])).size == clean.size + MARGIN


def test_the_swing_of_a_low_drum_is_no_pause():
    assert trim_to_attack(hit(30.0, seconds=0.5)).size == hit(30.0, seconds=0.5).size


def test_the_margin_fades_in_from_zero():
    audio = np.concatenate([np.full(2000, 0.01, dtype=np.float32), hit()])
    trimmed = trim_to_attack(audio)
    assert trimmed[0] == 0
    assert np.all(np.diff(trimmed[:MARGIN]) > 0)


@pytest.mark.parametrize("audio", [np.zeros(0, np.float32), np.zeros(1000, np.float32)])
def test_silence_has_no_attack(audio):
    assert trim_to_attack(audio).size == 0
    assert finish_one_shot(audio).size == 0


def test_a_one_shot_ends_60_db_below_its_peak():
    audio = finish_one_shot(np.concatenate([hit(seconds=1.0, level=1.0), np.zeros(SAMPLE_RATE, np.float32)]))
    # exp(-t / 0.05) has fallen by 60 dB after 0.05 * ln(1000) = 0.345 s.
    assert audio.size / SAMPLE_RATE == pytest.approx(0.345 + 0.01, abs=0.005)
    assert abs(audio[-1]) < 1e-4


def test_an_endless_sound_ends_after_ten_seconds():
    audio = finish_one_shot(np.ones(12 * SAMPLE_RATE, dtype=np.float32))
    assert audio.size == 10 * SAMPLE_RATE
    assert audio[-1] == 0


def test_resampling_keeps_pitch_and_time_unless_asked():
    tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050).astype(np.float32)
    as_recorded = resample(tone, sample_rate=22_050)
    assert frequency_of(as_recorded) == pytest.approx(440, abs=1)
    assert as_recorded.size == 44_100
    assert frequency_of(resample(tone, sample_rate=44_100)) == pytest.approx(880, abs=1)
    click = np.zeros(2000, dtype=np.float32)
    click[500] = 1
    assert np.argmax(resample(click, sample_rate=22_050)) == 1000


# ------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(("suffix", "sample_rate"), [(".wav", 44_100), (".flac", 48_000), (".ogg", 22_050)])
def test_files_of_any_rate_and_channels_are_read(tmp_path, suffix, sample_rate):
    times = np.arange(sample_rate // 2) / sample_rate
    tone = np.exp(-times / 0.05) * np.cos(2 * np.pi * 600 * times)
    path = write_wav(tmp_path / f"hit{suffix}", np.stack([0.6 * tone, 0.2 * tone], axis=1), sample_rate=sample_rate)
    read = read_one_shot(path, source="hit", licence="CC0")
    assert read is not None
    assert read.audio.dtype == np.float32
    assert read.audio.max() == pytest.approx(0.4, abs=0.06)
    assert frequency_of(read.audio) == pytest.approx(600, abs=3)


def test_semitones_shift_the_pitch(tmp_path):
    path = write_wav(tmp_path / "hit.wav", hit(500.0))
    read = read_one_shot(path, source="hit", licence="CC0", semitones=12)
    assert read is not None
    assert frequency_of(read.audio) == pytest.approx(1000, abs=5)


@pytest.mark.parametrize("content", [b"", b"this is a letter to a friend, named .wav\n" * 5, b"RIFF\x24\0\0\0WAVEfmt "])
def test_a_file_that_is_no_audio_is_named(tmp_path, content):
    path = tmp_path / "hit.wav"
    path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=r"hit\.wav: is not a readable audio file"):
        read_one_shot(path, source="hit", licence="CC0")


def test_a_file_of_nan_is_named(tmp_path):
    path = tmp_path / "hit.wav"
    soundfile.write(path, np.full(100, np.nan, dtype=np.float32), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(DrumCrnnError, match="not numbers"):
        read_one_shot(path, source="hit", licence="CC0")


# ------------------------------------------------------------------------------------------------------- kits


def test_each_note_of_a_lane_stands_in_for_each_other():
    for note, lane in LANE_OF_NOTE.items():
        for other, other_lane in LANE_OF_NOTE.items():
            kit = tone_kit({other: hit()})
            assert substitute(kit, note) == (other if lane == other_lane else None)


@pytest.mark.parametrize(
    ("note", "available", "expected"),
    [
        (22, {42, 46, 44}, 42),
        (26, {42, 46, 44}, 46),
        (44, {42, 46}, 42),
        (58, {41, 43, 47}, 43),
        (55, {49, 52}, 49),
        (53, {51, 59}, 51),
        (38, {38, 40}, 38),
        (39, {38, 40, 36}, None),
        (99, {38}, None),
    ],
)
def test_the_most_similar_note_stands_in(note, available, expected):
    assert substitute(tone_kit(dict.fromkeys(available, hit())), note) == expected


@pytest.mark.parametrize(
    ("velocity", "names"), [(1, "a"), (40, "a"), (41, "a"), (49, "b"), (50, "b"), (90, "bc"), (91, "c"), (127, "c")]
)
def test_layers_at_a_velocity(velocity, names):
    sound = Sound(38, (Layer(sample("a"), 1, 40, 1), Layer(sample("b"), 50, 90, 1), Layer(sample("c"), 80, 110, 1)))
    assert "".join(layer.sample.name for layer in sound.layers_at(velocity)) == names


def test_without_notes():
    kit = without_notes(tone_kit({36: hit(), 38: hit()}), {38, 42})
    assert set(kit.sounds) == {36}


def test_without_samples_drops_layers_and_empty_sounds():
    loud, soft, other = sample("loud"), sample("soft"), sample("other")
    kit = Kit(
        "test/Kit",
        {
            36: Sound(36, (Layer(soft, 1, 63, 1), Layer(loud, 64, 127, 1))),
            38: Sound(38, (Layer(loud, 1, 127, 1),)),
            42: Sound(42, (Layer(other, 1, 127, 1),)),
        },
    )
    rest = without_samples(kit, {"loud"})
    assert set(rest.sounds) == {36, 42}
    assert [layer.sample for layer in rest.sounds[36].layers] == [soft]
    assert [layer.sample for layer in rest.sounds[36].layers_at(120)] == [soft]
    assert set(kit.sounds) == {36, 38, 42}


def test_what_remains_of_a_stack_must_carry_it():
    body, snap = sample("body"), sample("snap", level=0.2)
    kit = Kit("test/Kit", {36: Sound(36, (Layer(body, 1, 127, 1), Layer(snap, 1, 127, 1)))})
    assert without_samples(kit, {"body"}).sounds == {}
    assert [layer.sample for layer in without_samples(kit, {"snap"}).sounds[36].layers] == [body]


def kit_with_percussion(*sha256s: str) -> Kit:
    """A kick and a hi-hat, and percussion that is numbered from 36 on, as if it were drums."""
    percussion = [Sound(36 + index, (Layer(sample(sha256), 1, 127, 1),)) for index, sha256 in enumerate(sha256s)]
    drums = {note: Sound(note, (Layer(sample(f"drum {note}"), 1, 127, 1),)) for note in (36, 42)}
    return Kit("test/Kit", drums, tuple(percussion))


def test_percussion_is_taken_out_by_its_samples_and_not_by_its_number():
    kit = kit_with_percussion("shaker", "conga")
    assert without_notes(kit, {36, 37}).percussion == kit.percussion
    rest = without_samples(kit, {"shaker", "drum 42"})
    assert [sound.layers[0].sample.sha256 for sound in rest.percussion] == ["conga"]
    assert set(rest.sounds) == {36}
    assert without_samples(kit, {"shaker", "conga"}).percussion == ()


def test_percussion_plays_no_note_of_a_lane():
    kit = Kit("test/Kit", {}, kit_with_percussion("shaker").percussion)
    assert substitute(kit, 36) is None


def test_percussion_comes_last_in_the_table_and_has_no_lane():
    rows = kit_table_rows(kit_with_percussion("shaker", "conga"))
    assert [(row["lane"], row["sha256"]) for row in rows] == [
        ("kick", "drum 36"),
        ("hihat", "drum 42"),
        ("", "shaker"),
        ("", "conga"),
    ]
    assert len({tuple(row) for row in rows}) == 1


def test_levelled_ranges_are_equally_loud():
    layers = level_velocities(
        [
            Layer(sample("soft", level=0.1), 1, 40, 1.0),
            Layer(sample("middle", level=0.3), 41, 90, 1.0),
            Layer(sample("hard", level=0.8), 91, 127, 0.5),
            Layer(sample("ring", level=0.0), 30, 60, 1.0),
        ]
    )
    sound = Sound(38, layers)
    for velocity in range(1, 128):
        stack = sound.layers_at(velocity)
        level = np.sqrt(sum((layer.gain * layer.sample.audio[0]) ** 2 for layer in stack))
        assert level == pytest.approx(0.4, rel=1e-4)
        assert ("ring" in {layer.sample.name for layer in stack}) == (30 <= velocity <= 60)


def test_a_sound_of_one_range_is_left_as_it_is():
    layers = (Layer(sample("a"), 1, 127, 0.3), Layer(sample("b"), 1, 127, 0.7))
    assert level_velocities(layers) == layers


def test_the_table_has_a_row_a_layer():
    kit = Kit("test/Kit", {46: Sound(46, (Layer(sample("a"), 1, 63, 1), Layer(sample("b"), 64, 127, 1)))})
    rows = kit_table_rows(kit)
    assert rows[1] == {
        "kit": "test/Kit",
        "note": 46,
        "lane": "hihat",
        "velocity_low": 64,
        "velocity_high": 127,
        "sample": "b",
        "sha256": "b",
        "source": "test",
        "licence": "CC0",
    }
    assert len(rows) == 2
