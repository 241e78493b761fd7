from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit_builder import SAMPLE_RATE, hit, tone_kit

from drum_crnn.music.lanes import LANE_OF_NOTE
from drum_crnn.music.midi import Note
from drum_crnn.studio.kits import FloatArray, Kit, Sound
from drum_crnn.studio.sampler import CHOKE_FADE_S, TAIL_S, mix, normalised
from drum_crnn.studio.sources import open_kits

IMPULSE = np.ones(1, dtype=np.float32)
FULL = 10 ** (-1 / 20)
DEBIAN_KITS = (
    "hydrogen:/usr/share/hydrogen/data/drumkits/GMRockKit",
    "hydrogen:/usr/share/hydrogen/data/drumkits/rumpf_kit_z01_h2",
    "hydrogen:/usr/share/hydrogen/data/drumkits/ForzeeStereo",
    "soundfont:/usr/share/sounds/sf2/Red_Zeppelin_4_LV2.sf2",
    "soundfont:/usr/share/sounds/sf2/FluidR3_GM.sf2#Standard",
)


def render(notes, kit, *, duration_s=None, peak_dbfs=-1.0):
    mixed = mix(notes, kit, duration_s=duration_s)
    return normalised(mixed.audio, peak_dbfs=peak_dbfs), mixed.played


def steady(seconds: float) -> FloatArray:
    return np.ones(round(seconds * SAMPLE_RATE), dtype=np.float32)


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


# ------------------------------------------------------------------------------------------------------- onsets


@given(st.lists(st.floats(0, 5), min_size=1, max_size=20))
def test_onsets_are_exact_to_the_sample(times):
    notes = [Note(time, 36, 127) for time in times]
    audio, played = render(notes, tone_kit({36: IMPULSE}), duration_s=6)
    expected = np.zeros(6 * SAMPLE_RATE)
    np.add.at(expected, [round(time * 44100) for time in times], 1)
    assert np.allclose(audio, expected / expected.max() * FULL, atol=1e-6)
    assert played == sorted(notes)


def test_hits_overlap():
    audio, _ = render([Note(0.0, 38, 127), Note(0.1, 38, 127)], tone_kit({38: steady(0.3)}), duration_s=1)
    levels = [audio[at(time)] / FULL for time in (0.05, 0.2, 0.35, 0.45)]
    assert levels == pytest.approx([0.5, 1, 0.5, 0])


def test_layers_of_a_stack_sound_together():
    kit = tone_kit({36: steady(0.1), 38: steady(0.2)})
    both = kit.sounds[36].layers + kit.sounds[38].layers
    stack = Kit("test/Stack", {36: Sound(36, both)})
    audio, _ = render([Note(0.0, 36, 127)], stack, duration_s=1)
    assert audio[at(0.05)] == pytest.approx(2 * audio[at(0.15)])


# ------------------------------------------------------------------------------------------------------- notes


def test_what_is_missing_is_replaced_or_not_played():
    kit = tone_kit({42: IMPULSE, 43: IMPULSE})
    notes = [Note(float(time), note, 100) for time, note in enumerate((22, 46, 58, 36, 39, 99, 41))]
    audio, played = render(notes, kit, duration_s=8)
    assert [note.note for note in played] == [22, 46, 58, 41]
    assert np.flatnonzero(audio).tolist() == [time * SAMPLE_RATE for time in (0, 1, 2, 6)]


def test_notes_after_the_end_are_not_played():
    audio, played = render([Note(0.5, 36, 90), Note(1.0, 36, 90)], tone_kit({36: steady(1)}), duration_s=1.0)
    assert played == [Note(0.5, 36, 90)]
    assert audio.size == SAMPLE_RATE


@pytest.mark.parametrize("note", [Note(-0.1, 36, 90), Note(0.0, 36, 0), Note(0.0, 36, 128)])
def test_impossible_notes_are_an_error(note):
    with pytest.raises(ValueError, match="at least 0 s and a velocity of 1–127"):
        render([note], tone_kit({36: IMPULSE}))


@pytest.mark.parametrize(("duration_s", "n_samples"), [(None, 0), (0.5, 22_050)])
def test_nothing_to_play(duration_s, n_samples):
    audio, played = render([Note(0.0, 39, 90)], tone_kit({36: IMPULSE}), duration_s=duration_s)
    assert audio.dtype == np.float32
    assert audio.tolist() == [0.0] * n_samples
    assert played == []


# ------------------------------------------------------------------------------------------------------- loudness


def test_velocity_is_40_db_a_decade():
    kit = tone_kit({36: IMPULSE})
    notes = [Note(velocity / 10, 36, velocity) for velocity in range(1, 128)]
    audio, _ = render(notes, kit)
    levels = audio[[at(note.time_s) for note in notes]]
    assert levels == pytest.approx([FULL * (velocity / 127) ** 2 for velocity in range(1, 128)], rel=1e-4)


@pytest.mark.parametrize("preset", ["Standard", "TR 808"])
def test_loudness_grows_with_velocity(preset):
    (kit,) = open_kits(f"pretty_midi:TimGM6mb#{preset}")
    for note in kit.sounds:
        # A loud hit elsewhere sets the level of the recording.
        others = [render([Note(0.0, note, velocity), Note(5.0, 36, 127)], kit)[0] for velocity in range(7, 128, 20)]
        levels = [np.abs(audio[:SAMPLE_RATE]).max() for audio in others]
        assert all(np.diff(levels) > 0)


@given(peak_dbfs=st.floats(-30, 0), velocity=st.integers(1, 127))
def test_the_peak_is_as_asked(peak_dbfs, velocity):
    audio, _ = render([Note(0.0, 36, velocity), Note(0.01, 36, 1)], tone_kit({36: hit()}), peak_dbfs=peak_dbfs)
    assert np.abs(audio).max() == pytest.approx(10 ** (peak_dbfs / 20), rel=1e-5)


# ------------------------------------------------------------------------------------------------------- choke


@pytest.mark.parametrize("opened", [46, 26])
@pytest.mark.parametrize("next_note", [42, 22, 44, 46, 26])
def test_an_open_hihat_is_choked_by_the_next_hihat(opened, next_note):
    kit = tone_kit({opened: steady(2.0), **({next_note: IMPULSE} if next_note != opened else {})})
    audio, played = render([Note(0.0, opened, 127), Note(0.5, next_note, 1)], kit, duration_s=3)
    level = audio[at(0.3)]
    assert len(played) == 2
    assert audio[at(0.5) - 1] == pytest.approx(level)
    middle = audio[at(0.5 + CHOKE_FADE_S / 2)]
    assert middle == pytest.approx(level / 2, rel=0.01)
    assert np.abs(audio[at(0.5 + CHOKE_FADE_S) + 1 : at(1)]).max() < level * 1e-3


@pytest.mark.parametrize("next_note", [36, 38, 49, 51])
def test_other_drums_choke_nothing(next_note):
    kit = tone_kit({46: steady(2.0), next_note: IMPULSE})
    audio, _ = render([Note(0.0, 46, 127), Note(0.5, next_note, 1)], kit, duration_s=3)
    assert audio[at(1.5)] == pytest.approx(audio[at(0.3)])


@pytest.mark.parametrize("ringing", [42, 44, 49, 51, 38])
def test_only_open_hihats_are_choked(ringing):
    kit = tone_kit({ringing: steady(2.0), 22: IMPULSE})
    audio, _ = render([Note(0.0, ringing, 127), Note(0.5, 22, 1)], kit, duration_s=3)
    assert audio[at(1.5)] == pytest.approx(audio[at(0.3)])


def test_hits_at_one_time_do_not_choke_each_other():
    kit = tone_kit({46: steady(2.0), 42: IMPULSE})
    audio, _ = render([Note(0.1, 46, 127), Note(0.1, 42, 1), Note(1.0, 42, 1)], kit, duration_s=3)
    assert audio[at(0.9)] == pytest.approx(audio[at(0.5)])
    assert abs(audio[at(1.2)]) < 1e-6


# ------------------------------------------------------------------------------------------------------- length


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, 0.5), (10.0, TAIL_S)])
def test_the_recording_ends_with_its_last_sound(seconds, expected):
    audio, _ = render([Note(0.0, 36, 90), Note(1.0, 36, 90)], tone_kit({36: steady(seconds)}))
    assert audio.size == at(1.0 + expected)
    assert audio[-1] == 0
    assert audio[-2205:].max() <= audio[at(1.2)]


def test_a_choked_sound_ends_early():
    kit = tone_kit({46: steady(2.0), 42: steady(0.1)})
    audio, _ = render([Note(0.0, 46, 90), Note(0.5, 42, 90)], kit)
    assert audio.size == at(0.6)


def test_rendering_is_deterministic_and_leaves_the_kit_alone():
    (kit,) = open_kits("pretty_midi:TimGM6mb#Power")
    before = {note: sound.layers[0].sample.audio.copy() for note, sound in kit.sounds.items()}
    notes = [Note(index * 0.11, note, 30 + index) for index, note in enumerate(LANE_OF_NOTE)]
    one, _ = render(notes, kit)
    (again,) = open_kits("pretty_midi:TimGM6mb#Power")
    other, _ = render(list(reversed(notes)), again)
    assert one.dtype == np.float32
    assert np.array_equal(one, other)
    assert all(np.array_equal(before[note], sound.layers[0].sample.audio) for note, sound in kit.sounds.items())


# ------------------------------------------------------------------------------------------------------- labels


def onset_of(audio: FloatArray) -> float:
    """When the energy rises most, in seconds: over 3 ms, above the loudest moment of the 17 ms before them."""
    hop, window = 22, 132
    power = np.convolve(np.square(audio, dtype=np.float64), np.hanning(window), mode="valid")[::hop]
    decibels = 10 * np.log10(power + 1e-20)
    decibels = np.maximum(decibels, decibels.max() - 30)
    lag, reach = 6, 40
    rises = [decibels[now] - decibels[max(0, now - reach) : now - lag + 1].max() for now in range(lag, decibels.size)]
    now = lag + int(np.argmax(rises))
    return ((now - lag / 2) * hop + window / 2) / SAMPLE_RATE


def label_errors(kit: Kit) -> dict[tuple[int, int], float]:
    """Detected minus labelled time of single hits, for all notes and velocities that sound differently."""
    errors = {}
    for note, sound in kit.sounds.items():
        for velocity in sorted({(one.velocity_low + one.velocity_high) // 2 for one in sound.layers} | {20, 127}):
            audio, _ = render([Note(0.1, note, velocity)], kit, duration_s=0.25)
            errors[note, velocity] = onset_of(audio) - 0.1
    return errors


def test_the_detector_is_right_about_clicks():
    for time_s in (0.05, 0.1, 0.123):
        audio = np.concatenate([np.zeros(at(time_s)), hit(200.0)]).astype(np.float32)
        assert onset_of(audio[: at(0.25)]) == pytest.approx(time_s, abs=0.002)


def test_labels_are_within_5_ms_of_the_sound():
    kits = open_kits("pretty_midi:TimGM6mb")
    assert len(kits) == 8
    for kit in kits:
        late = {hit: error for hit, error in label_errors(kit).items() if abs(error) > 0.005}
        assert not late, kit.name


@pytest.mark.parametrize("reference", DEBIAN_KITS)
def test_labels_are_within_5_ms_of_the_sound_of_debians_kits(reference):
    where = Path(reference.partition(":")[2].partition("#")[0])
    if not where.exists():
        pytest.skip(f"{where} is not installed")
    for kit in open_kits(reference):
        late = {hit: error for hit, error in label_errors(kit).items() if abs(error) > 0.005}
        assert not late, kit.name


def test_a_performance_sounds_where_it_is_labelled():
    # A pattern of isolated hits in one recording.
    (kit,) = open_kits("pretty_midi:TimGM6mb#Standard")
    notes = [Note(0.2 + 6 * index, note, 100) for index, note in enumerate(sorted(kit.sounds))]
    audio, played = render(notes, kit)
    assert played == notes
    for note in notes:
        start = at(note.time_s - 0.1)
        assert onset_of(audio[start : start + at(0.25)]) - 0.1 == pytest.approx(0, abs=0.005), note
