"""Audibility of hits: cases that can be computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit_builder import SAMPLE_RATE, hit, tone_kit

from drum_crnn.music.midi import Note
from drum_crnn.studio.masking import HEAD_SAMPLES, measure_audibility
from drum_crnn.studio.sampler import CHOKE_FADE_S, mix

LOW, HIGH = 100.0, 4000.0


def heads_of(*hits):
    heads = np.zeros((len(hits), HEAD_SAMPLES), np.float32)
    for head, one in zip(heads, hits, strict=True):
        head[: one.size] = one[:HEAD_SAMPLES]
    return heads


def audibility(*placed, rest=None, seconds=4.0):
    """Of hits given as (seconds, audio), in a mix of these and of `rest`."""
    audio = np.zeros(round(seconds * SAMPLE_RATE), np.float32) if rest is None else rest.copy()
    onsets = [round(time_s * SAMPLE_RATE) for time_s, _ in placed]
    for onset, (_, one) in zip(onsets, placed, strict=True):
        audio[onset : onset + one.size] += one[: audio.size - onset]
    return measure_audibility(audio, onsets, heads_of(*(one for _, one in placed)))


def white(level, *, seconds=4.0, seed=0):
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * SAMPLE_RATE)).astype(np.float32)


def decibels(db):
    return np.float32(10 ** (db / 20))


# ------------------------------------------------------------------------------------------------------- alone


def test_a_hit_alone_is_60_db_over_the_floor():
    assert audibility((1.0, hit())) == pytest.approx([60.0], abs=0.01)
    assert audibility((0.0, hit(LOW))) == pytest.approx([60.0], abs=0.01)


@pytest.mark.parametrize("softer_db", [10.0, 30.0, 80.0])
def test_the_floor_is_60_db_below_the_strongest_hit_of_the_recording(softer_db):
    """A soft hit that nothing masks is that much nearer to the floor; 80 dB below the loudest, it is lost."""
    loud = hit(level=0.9)
    found = audibility((0.5, loud), (3.0, loud * decibels(-softer_db)))
    assert found == pytest.approx([60.0, 60.0 - softer_db], abs=0.1)


def test_hits_far_from_each_other_hide_nothing():
    assert audibility(*((0.5 * index, hit(seconds=0.2)) for index in range(6))) == pytest.approx([60.0] * 6, abs=0.1)


@given(level=st.floats(1e-3, 10.0))
def test_the_level_of_the_recording_means_nothing(level):
    placed = [(0.5, hit()), (0.51, hit(HIGH, level=0.05)), (0.7, hit(LOW, level=0.01))]
    louder = [(time_s, one * np.float32(level)) for time_s, one in placed]
    assert audibility(*louder, seconds=1.0) == pytest.approx(audibility(*placed, seconds=1.0), abs=0.05)


# ------------------------------------------------------------------------------------------------------- masked


@pytest.mark.parametrize("softer_db", [0.0, 10.0, 30.0, 50.0])
@pytest.mark.parametrize("frequency", [LOW, 500.0, HIGH])
def test_under_a_louder_hit_of_the_same_spectrum_it_is_their_ratio(softer_db, frequency):
    loud = hit(frequency, level=0.9)
    found = audibility((1.0, loud), (1.0, loud * decibels(-softer_db)))
    assert found == pytest.approx([softer_db, -softer_db], abs=0.5)


def test_a_hit_in_another_band_than_the_louder_one_is_heard():
    """A tone 30 dB under a louder one, three octaves away, is 30 dB over the floor. Swelling tones have no click."""
    swell = np.hanning(1500) * np.sin(2 * np.pi * 500 * np.arange(1500) / SAMPLE_RATE)
    other = np.hanning(1500) * np.sin(2 * np.pi * 4000 * np.arange(1500) / SAMPLE_RATE)
    loud, same, soft = (tone.astype(np.float32) for tone in (swell, swell * decibels(-30), other * decibels(-30)))
    hidden, heard = (audibility((1.0, loud), (1.0, one))[1] for one in (same, soft))
    assert hidden == pytest.approx(-30, abs=0.5)
    assert heard == pytest.approx(30, abs=3.0)  # a tone fills one band more than the other


def test_what_rings_on_hides_what_follows():
    """A tone that falls by exp(-t / 0.05) is 17.4 dB softer after 100 ms."""
    ringing = hit(500.0, seconds=1.0)
    found = audibility((1.0, ringing), (1.1, ringing * decibels(-40)))
    assert found[1] == pytest.approx(-40 + 17.4, abs=1.0)


def test_what_comes_after_the_head_hides_nothing():
    soft = hit(500.0, level=0.01, seconds=0.2)
    before = audibility((1.0, soft), (1.0 + HEAD_SAMPLES / SAMPLE_RATE, hit(500.0, level=0.9)))
    assert before[0] == pytest.approx(60 - 20 * np.log10(90), abs=1.0)


def test_noise_hides_a_hit_as_its_energy_in_the_band_says():
    """A steady tone of amplitude a over 2048 samples and white noise of deviation s: within a band of b bins they are
    as a² N / 4 to s² b, without the window."""
    tone = (0.1 * np.cos(2 * np.pi * 1000 * np.arange(HEAD_SAMPLES) / SAMPLE_RATE)).astype(np.float32)
    n_bins = 1000 * (2 ** (1 / 6) - 2 ** (-1 / 6)) * HEAD_SAMPLES / SAMPLE_RATE
    expected = 10 * np.log10(0.1**2 * HEAD_SAMPLES / 4 / (0.05**2 * n_bins))
    found = np.mean([audibility((1.0, tone), rest=white(0.05, seed=seed))[0] for seed in range(10)])
    assert found == pytest.approx(expected, abs=2.5)


def test_more_noise_is_worse_decibel_by_decibel():
    found = [audibility((1.0, hit(level=0.05)), rest=white(0.2) * decibels(db))[0] for db in (-20, -10, 0)]
    assert np.diff(found) == pytest.approx([-10, -10], abs=0.3)
    assert audibility((1.0, hit(level=0.001)), rest=white(0.5))[0] < -15


def test_only_the_band_where_a_hit_stands_out_counts():
    """Loud rumble at low frequencies does not mask a hi-hat."""
    times = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    rumble = (0.9 * np.sin(2 * np.pi * 60 * times)).astype(np.float32)
    assert audibility((1.0, hit(8000.0, level=0.1)), rest=rumble)[0] > 20


# ------------------------------------------------------------------------------------------------------- edges


def test_a_hit_at_the_very_end():
    one = hit()
    assert audibility((3.99, one)).shape == (1,)
    audio = np.zeros(100, np.float32)
    audio[90:] = one[:10]
    heads = heads_of(one[:10])
    assert measure_audibility(audio, [90], heads) == pytest.approx([60.0], abs=0.1)


def test_no_hits_and_silent_hits():
    assert measure_audibility(white(0.1), [], heads_of()).size == 0
    silent = measure_audibility(white(0.1), [100], heads_of(np.zeros(10, np.float32)))
    assert np.isfinite(silent).all()
    assert silent[0] < -60


# ------------------------------------------------------------------------------------------------------- of a mix


def test_a_mix_knows_its_hits():
    """The heads, put where the onsets are, are the mix itself where nothing rings longer than a head."""
    kit = tone_kit({36: hit(LOW, seconds=0.04), 42: hit(HIGH, seconds=0.03), 49: hit(900.0, seconds=0.5)})
    notes = [Note(0.1, 36, 127), Note(0.11, 42, 90), Note(0.4, 42, 30), Note(0.4, 39, 90), Note(0.6, 49, 100)]
    mixed = mix(notes, kit)
    assert mixed.played == [note for note in notes if note.note != 39]
    assert mixed.onsets == [round(note.time_s * SAMPLE_RATE) for note in mixed.played]
    assert mixed.heads.shape == (4, HEAD_SAMPLES)
    placed = np.zeros_like(mixed.audio)
    for onset, head in zip(mixed.onsets, mixed.heads, strict=True):
        placed[onset : onset + HEAD_SAMPLES] += head[: placed.size - onset]
    until = mixed.onsets[-1] + HEAD_SAMPLES  # the cymbal rings on
    assert np.allclose(placed[:until], mixed.audio[:until], atol=1e-6)


def test_the_head_of_a_choked_hit_ends_with_it():
    kit = tone_kit({46: np.ones(SAMPLE_RATE, np.float32), 42: np.zeros(10, np.float32)})
    mixed = mix([Note(0.0, 46, 127), Note(0.002, 42, 1)], kit)
    n_fade = round(CHOKE_FADE_S * SAMPLE_RATE)
    n_sounding = round(0.002 * SAMPLE_RATE)
    assert mixed.heads[0][:n_sounding].min() == 1.0
    assert mixed.heads[0][n_sounding + n_fade :].max() == 0.0
    assert np.allclose(mixed.heads[0][: mixed.audio.size], mixed.audio, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.01, 0.03, 0.06, 0.2])
@pytest.mark.parametrize("shape", [hit, lambda seconds: np.ones(round(seconds * SAMPLE_RATE), np.float32)])
def test_the_last_hit_fades_with_the_recording_and_hides_nothing_of_itself(seconds, shape):
    kit = tone_kit({42: shape(seconds=seconds)})
    mixed = mix([Note(0.1, 42, 100)], kit)
    n_head = min(HEAD_SAMPLES, mixed.audio.size - mixed.onsets[0])
    assert np.allclose(mixed.heads[0][:n_head], mixed.audio[mixed.onsets[0] :][:n_head], atol=1e-6)
    assert measure_audibility(mixed.audio, mixed.onsets, mixed.heads) == pytest.approx([60.0], abs=0.01)


def test_a_cymbal_hides_a_hihat_of_its_frequencies_as_far_as_it_is_louder():
    kit = tone_kit({36: hit(LOW), 42: hit(HIGH), 51: hit(HIGH, seconds=2.0)})
    alone = mix([Note(0.5, 42, 30)], kit)
    under = mix([Note(0.5, 42, 30), Note(0.5, 51, 127)], kit)
    assert measure_audibility(alone.audio, alone.onsets, alone.heads) == pytest.approx([60.0], abs=0.1)
    found = measure_audibility(under.audio, under.onsets, under.heads)
    assert found == pytest.approx([40 * np.log10(30 / 127), 40 * np.log10(127 / 30)], abs=0.5)
