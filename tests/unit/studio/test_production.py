"""Production: added sounds and effects on the mix have the amounts of the params, and no onset moves."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit_builder import SAMPLE_RATE, effects_of, hit, tone_kit, varied
from pydantic import ValidationError

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.studio.production import ProductionVariation, add_surroundings, produce

VALUES = {name: value for name, value in effects_of("production").items() if isinstance(value, dict)}
SURROUNDINGS = ("percussion", "leakage", "noise")
DESK = ("eq", "room", "comb", "low_cut", "high_cut", "compressor", "saturation", "clip", "sample_rate", "mp3")
PEDALBOARD = ("eq", "compressor", "mp3")
CLICK_S = 0.25
PERCUSSION = list(tone_kit({39: hit(1500.0, seconds=0.1), 54: hit(4000.0, seconds=0.1)}).sounds.values())


def params(**changes):
    return varied(ProductionVariation, "production", **changes)


def burst(seconds: float = 0.05) -> np.ndarray:
    """A hit of noise: all frequencies, and a beginning that can be found."""
    times = np.arange(round(seconds * SAMPLE_RATE))
    return (np.random.default_rng(0).normal(0.0, 0.3, times.size) * np.exp(-times / 300)).astype(np.float32)


def hits(times_s=(CLICK_S,), *, seconds: float = 1.0) -> np.ndarray:
    audio, one = np.zeros(round(seconds * SAMPLE_RATE), np.float32), burst()
    for time_s in times_s:
        start = round(time_s * SAMPLE_RATE)
        audio[start : start + one.size] += one
    return audio


def tones() -> np.ndarray:
    """A loud hit and a soft one, which ring."""
    audio = np.zeros(SAMPLE_RATE, np.float32)
    for time_s, frequency, level in ((0.1, 400.0, 0.8), (0.4, 900.0, 0.2), (0.7, 600.0, 0.8)):
        one, start = hit(frequency, level=level), round(time_s * SAMPLE_RATE)
        audio[start : start + one.size] += one
    return audio


def impulse(seconds: float = 2.0) -> np.ndarray:
    audio = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    audio[0] = 1.0
    return audio


def desk(audio, seed=0, **changes):
    return produce(np.random.default_rng(seed), audio, params(**changes))


def surround(mix, seed=0, *, sounds=PERCUSSION, bpm=120.0, **changes):
    return add_surroundings(np.random.default_rng(seed), mix, sounds, params(**changes), bpm=bpm)


def rms(audio):
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def db(ratio):
    return 20 * np.log10(ratio)


def lag_of(before, after, *, reach: int = 500) -> int:
    """By how many samples `after` is later: where the cross-correlation is highest."""
    n = 2 * before.size
    correlation = np.fft.irfft(np.fft.rfft(after, n) * np.conj(np.fft.rfft(before, n)), n)
    around = np.concatenate([correlation[-reach:], correlation[:reach]])
    return int(np.argmax(around)) - reach


def response_db(audio, frequency):
    """Gain in dB at a frequency of what has become of an impulse."""
    times = np.arange(audio.size) / SAMPLE_RATE
    return db(np.abs(np.sum(audio * np.exp(-2j * np.pi * frequency * times))))


# ------------------------------------------------------------------------------------------------------- switches


@pytest.mark.parametrize("effect", DESK)
def test_an_effect_alone_changes_something_and_switched_off_nothing(effect):
    audio = tones()
    plain = desk(audio)
    assert np.array_equal(plain, audio / np.abs(audio).max())
    assert not np.allclose(desk(audio, 1, **{effect: VALUES[effect]["range"]}), plain, atol=1e-4)
    for switch in ({"enabled": False}, {"probability": 0.0}):
        assert np.array_equal(desk(audio, 1, **{effect: switch}), plain)


@pytest.mark.parametrize("effect", SURROUNDINGS)
def test_surroundings_alone_change_something_and_switched_off_nothing(effect):
    mix = hits()
    assert not np.allclose(surround(mix, 1, **{effect: VALUES[effect]["range"]}), mix, atol=1e-4)
    for switch in ({"enabled": False}, {"probability": 0.0}):
        assert np.array_equal(surround(mix, 1, **{effect: switch}), mix)


@pytest.mark.parametrize("effect", SURROUNDINGS)
def test_a_switch_leaves_the_other_surroundings(effect):
    mix, everything = hits(), {name: VALUES[name]["range"] for name in SURROUNDINGS}
    together = surround(mix, 2, **everything)
    without = surround(mix, 2, **everything | {effect: {"enabled": False}})
    assert np.array_equal(without, surround(mix, 2, **everything | {effect: {"probability": 0.0}}))
    # The effect adds what it adds alone, since the others draw the same numbers with it and without.
    alone = surround(mix, 2, **{effect: everything[effect]})
    assert np.allclose(together - without, alone - mix, atol=1e-6)


@pytest.mark.parametrize(
    ("effect", "nothing"), [("room", -200.0), ("eq", 0.0), ("compressor", 0.0), ("low_cut", 10.0), ("high_cut", 20e3)]
)
def test_a_switch_leaves_what_the_others_do(effect, nothing):
    """An effect of negligible amount gives the same as one that is switched off."""
    audio = tones()
    everything = {name: VALUES[name]["range"] for name in DESK if name != "mp3"}
    off = desk(audio, 4, **everything | {effect: {"enabled": False}})
    assert np.array_equal(off, desk(audio, 4, **everything | {effect: {"probability": 0.0}}))
    here = np.corrcoef(off, desk(audio, 4, **everything | {effect: nothing}))[0, 1]
    elsewhere = np.corrcoef(off, desk(audio, 5, **everything | {effect: nothing}))[0, 1]
    assert here > 0.98
    assert elsewhere < here - 0.01


@pytest.mark.parametrize("effect", ["saturation", "mp3"])
def test_the_last_effects_draw_nothing_that_others_miss(effect):
    audio = hits()
    with_room = {"room": [-10.0, -10.0], effect: {"range": [2.0, 2.0]}}
    on, off = desk(audio, 3, **with_room), desk(audio, 3, **with_room | {effect: {"enabled": False}})
    other_room = desk(audio, 4, **with_room | {effect: {"enabled": False}})
    tail = slice(round((CLICK_S + 0.06) * SAMPLE_RATE), None)
    assert np.corrcoef(on[tail], off[tail])[0, 1] > 0.95
    assert np.corrcoef(other_room[tail], off[tail])[0, 1] < 0.5


def test_the_seed_decides():
    everything = {name: value["range"] for name, value in VALUES.items()}
    mix = hits((0.1, 0.3, 0.5))

    def made(seed):
        rng, all_on = np.random.default_rng(seed), params(**everything)
        return produce(rng, add_surroundings(rng, mix, PERCUSSION, all_on, bpm=100.0), all_on)

    one, again, other = made(1), made(1), made(2)
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, atol=0.01)


# ------------------------------------------------------------------------------------------------------- onsets


@pytest.mark.parametrize("effect", DESK)
@pytest.mark.parametrize("end", [0, 1])
def test_no_effect_moves_an_onset(effect, end):
    audio = hits()
    for seed in range(3):
        made = desk(audio, seed, **{effect: VALUES[effect]["range"][end]})
        assert made.size == audio.size
        assert made.dtype == np.float32
        assert abs(lag_of(audio, made)) <= 0.001 * SAMPLE_RATE
        loud = np.abs(made) > 0.2 * np.abs(made).max()
        assert np.argmax(loud) / SAMPLE_RATE == pytest.approx(CLICK_S, abs=0.001)


def test_all_effects_together_move_no_onset():
    times_s = (0.1, 0.35, 0.6, 0.85)
    audio = hits(times_s)
    for seed in range(6):
        made = desk(audio, seed, **{name: VALUES[name]["range"] for name in DESK} | {"room": [-24.0, -12.0]})
        for time_s in times_s:
            start = round((time_s - 0.05) * SAMPLE_RATE)
            piece = slice(start, start + round(0.12 * SAMPLE_RATE))
            assert abs(lag_of(audio[piece], made[piece])) <= 0.001 * SAMPLE_RATE


def test_surroundings_leave_the_mix_where_it_is():
    mix = hits()
    made = surround(mix, 3, noise=-40.0)
    assert lag_of(mix, made) == 0
    assert made.size == mix.size


# ------------------------------------------------------------------------------------------------------- surroundings


@pytest.mark.parametrize("level_db", [-65.0, -30.0])
def test_noise_is_as_loud_as_it_says_with_hum_and_without(level_db):
    steady = np.random.default_rng(1).normal(0.0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)
    hums = []
    for seed in range(20):
        added = surround(steady, seed, noise=level_db).astype(np.float64) - steady
        assert db(rms(added) / rms(steady)) == pytest.approx(level_db, abs=0.2)
        spectrum = np.abs(np.fft.rfft(added))[: 4 * 400]  # a quarter of a Hertz apart
        hums.append(max(spectrum[4 * 50], spectrum[4 * 60]) > 20 * np.median(spectrum))
    assert 1 <= sum(hums) <= 14  # a third of them


def test_noise_is_steady():
    steady = np.random.default_rng(1).normal(0.0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)
    noise = surround(steady, 0, noise=-20.0) - steady
    levels = [rms(part) for part in np.split(noise, 8)]
    assert min(levels) > 0.3 * max(levels)


def test_leakage_is_as_loud_as_it_says():
    steady = np.random.default_rng(1).normal(0.0, 0.1, 8 * SAMPLE_RATE).astype(np.float32)
    for seed in range(4):
        added = surround(steady, seed, leakage=-25.0).astype(np.float64) - steady
        assert db(rms(added) / rms(steady)) == pytest.approx(-25, abs=0.3)


def test_levels_are_those_of_the_playing_and_not_of_its_pauses():
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    with_pause = np.concatenate([noise, np.zeros_like(noise)])
    added = surround(with_pause, 0, leakage=-20.0) - with_pause
    assert db(rms(added) / rms(noise)) == pytest.approx(-20, abs=0.3)


@pytest.mark.parametrize("level_db", [-24.0, -4.0])
def test_percussion_is_hit_against_hit(level_db):
    mix = hits((0.1, 1.1, 2.1, 3.1), seconds=4.0)
    one = list(tone_kit({39: hit(1500.0, seconds=0.08, level=0.01)}).sounds.values())
    peaks = []
    for seed in range(12):
        added = surround(mix, seed, sounds=one, percussion=level_db) - mix
        peaks.append(db(np.abs(added).max() / np.abs(mix).max()) - level_db)
    # An accent is 0 to 8 dB under full; two sounds may coincide.
    assert min(peaks) > -8.1
    assert max(peaks) < 6.1
    assert np.median(peaks) == pytest.approx(0, abs=2)


def test_percussion_keeps_the_tempo():
    """Hits are a whole, half or quarter beat apart: 0.8 s at 75 bpm, with a jitter of about 6 ms."""
    mix = hits((0.1,), seconds=12.0)
    click = list(tone_kit({39: np.ones(1, np.float32)}).sounds.values())
    n_hits = []
    for seed in range(20):
        added = surround(mix, seed, sounds=click, bpm=75.0, percussion=0.0) - mix
        times = np.flatnonzero(np.abs(added) > 0.1 * np.abs(mix).max()) / SAMPLE_RATE
        n_hits.append(times.size)
        beats = np.exp(2j * np.pi * times / 0.2)  # all alike if every hit is on one grid of sixteenths
        if times.size > 3:
            assert np.abs(beats.mean()) > 0.2
    assert max(n_hits) <= 2 * 12 / 0.2 + 2
    assert len(set(n_hits)) > 3


def test_without_percussion_none_plays():
    mix = hits()
    assert np.array_equal(surround(mix, 1, sounds=[], percussion=-4.0), mix)


@pytest.mark.parametrize("n_samples", [1, 100, 3000])
def test_short_and_silent_mixes(n_samples):
    everything = {name: value["range"] for name, value in VALUES.items()}
    for audio in (np.zeros(n_samples, np.float32), np.full(n_samples, 0.5, np.float32)):
        rng = np.random.default_rng(0)
        made = add_surroundings(rng, audio, PERCUSSION, params(**everything), bpm=100.0)
        assert made.size == n_samples
        made = produce(rng, made, params(**everything))
        assert made.size == n_samples
        assert np.isfinite(made).all()
        assert audio.any() or not made.any()


# ------------------------------------------------------------------------------------------------------- the desk


@pytest.mark.parametrize("level_db", [-24.0, -4.0])
@pytest.mark.parametrize("decay_s", [0.15, 1.2])
def test_the_room_is_as_loud_and_as_long_as_it_says(level_db, decay_s):
    levels, decays = [], []
    for seed in range(8):
        made = desk(impulse(), seed, room=level_db, room_decay_s=[decay_s, decay_s])
        made = made / made[0]
        levels.append(db(np.sqrt(np.sum(made[1:].astype(float) ** 2))))
        # The remaining energy falls as the room does; early reflections are left out, and so is the end.
        remaining = 10 * np.log10(np.cumsum(made[::-1].astype(float) ** 2)[::-1] + 1e-20)
        first, last = round(0.3 * decay_s * SAMPLE_RATE), round(0.7 * decay_s * SAMPLE_RATE)
        decays.append(60 * 0.4 * decay_s / (remaining[first] - remaining[last]))
    assert levels == pytest.approx([level_db] * 8, abs=0.1)
    assert np.mean(decays) == pytest.approx(decay_s, rel=0.12)


def test_a_rooms_sound_comes_after_the_direct_one():
    made = desk(impulse(), 1, room=-4.0, room_decay_s=[0.5, 0.5])
    assert np.argmax(np.abs(made)) == 0
    assert np.abs(made[1 : round(0.001 * SAMPLE_RATE) - 1]).max() < 1e-9


@pytest.mark.parametrize("width_db", [2.0, 9.0])
def test_the_equaliser_raises_and_lowers_by_up_to_its_width(width_db):
    gains = np.array([
        [response_db(made, frequency) for frequency in (12.0, 400.0, 3000.0, 21_500.0)]
        for made in (desk(impulse(1.0), seed, eq=width_db) for seed in range(24))
    ])  # fmt: skip
    gains -= db(1.0)
    # The desk brings the peak to full scale, so only differences between bands count: two shelves, each within ±width.
    tilt = gains[:, 3] - gains[:, 0]
    assert np.abs(tilt).max() <= 2 * width_db * 1.15
    assert tilt.max() > 0.6 * width_db
    assert tilt.min() < -0.6 * width_db
    middle = gains[:, 1] - gains[:, 2]
    assert middle.max() > 0.5 * width_db
    assert middle.min() < -0.5 * width_db


@pytest.mark.parametrize(("effect", "cutoff"), [("low_cut", 120.0), ("high_cut", 5000.0)])
def test_cuts_fall_by_12_db_an_octave_from_their_frequency(effect, cutoff):
    made = desk(impulse(), **{effect: cutoff})
    passed = 2000.0 if effect == "low_cut" else 200.0
    octave = 0.5 if effect == "low_cut" else 2.0
    at = {steps: response_db(made, cutoff * octave**steps) - response_db(made, passed) for steps in (-1, 0, 1)}
    assert at[0] == pytest.approx(-3.0, abs=0.1)
    assert at[-1] > -0.6
    assert at[1] == pytest.approx(-12.3, abs=2.5)  # the bilinear transform makes the upper edge steeper


def test_the_compressor_evens_out_what_exceeds_its_threshold():
    """A loud tone and one 20 dB softer come closer; with the threshold above both, they stay as they are."""
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 1000 * times)
    audio = np.concatenate([0.1 * tone, tone, 0.1 * tone]).astype(np.float32)

    def difference_db(made):
        soft, loud = made[SAMPLE_RATE // 2 : SAMPLE_RATE], made[3 * SAMPLE_RATE // 2 : 2 * SAMPLE_RATE]
        return db(rms(loud) / rms(soft))

    assert difference_db(desk(audio, compressor=0.0)) == pytest.approx(20, abs=0.1)
    for seed in range(6):
        # With a threshold of -18 dB and a ratio of 2 to 8, the loud tone falls by 9 to 16 dB and the soft one by none.
        assert 20 - 18 * 7 / 8 - 1 < difference_db(desk(audio, seed, compressor=18.0)) < 20 - 18 / 2 + 1.5


@pytest.mark.parametrize("drive_db", [0.0, 12.0])
def test_saturation_is_a_soft_limit(drive_db):
    audio = hits()
    made = desk(audio, saturation=drive_db)
    driven = audio / np.abs(audio).max() * 10 ** (drive_db / 20)
    assert np.allclose(made, np.tanh(driven), atol=1e-6)


@pytest.mark.parametrize("over_db", [3.0, 12.0])
def test_clipping_is_flat_at_full_scale(over_db):
    audio = tones()
    made = desk(audio, clip=over_db)
    expected = np.clip(audio / np.abs(audio).max() * 10 ** (over_db / 20), -1.0, 1.0)
    assert np.allclose(made, expected, atol=1e-6)
    assert (np.abs(made) == 1.0).sum() > 10


@pytest.mark.parametrize("milliseconds", [0.5, 12.0])
def test_a_comb_has_its_notches_where_the_delay_says(milliseconds):
    made = desk(impulse(), comb=milliseconds)
    lag_s = round(milliseconds / 1000 * SAMPLE_RATE) / SAMPLE_RATE
    for tooth in range(3):
        assert response_db(made, (tooth + 0.5) / lag_s) == pytest.approx(db(0.2), abs=0.1)
        assert response_db(made, tooth / lag_s) == pytest.approx(db(1.8), abs=0.1)


@pytest.mark.parametrize("rate", [12_000, 16_000, 32_000])
def test_a_low_sample_rate_has_nothing_above_its_half(rate):
    made = desk(burst(0.5), sample_rate=rate)
    power, hz = np.square(np.abs(np.fft.rfft(made))), np.fft.rfftfreq(made.size, 1 / SAMPLE_RATE)
    assert power[hz > 0.52 * rate].sum() < 1e-3 * power.sum()
    before = np.square(np.abs(np.fft.rfft(burst(0.5) / np.abs(burst(0.5)).max())))
    inside = hz < 0.4 * rate
    assert power[inside].sum() == pytest.approx(before[inside].sum(), rel=0.02)


@pytest.mark.parametrize("quality", [0.0, 4.5, 9.0])
def test_mp3_is_like_the_original_the_more_the_better(quality):
    audio = hits((0.1, 0.4, 0.7))
    likeness = np.corrcoef(audio, desk(audio, mp3=quality))[0, 1]
    assert {0.0: 0.97, 4.5: 0.8, 9.0: 0.5}[quality] < likeness < 1.0


def test_worse_mp3_is_less_like_the_original():
    audio = hits((0.1, 0.4, 0.7))
    likeness = [np.corrcoef(audio, desk(audio, mp3=quality))[0, 1] for quality in (0.0, 4.5, 9.0)]
    assert likeness == sorted(likeness, reverse=True)


@settings(max_examples=30)
@given(level=st.floats(1e-4, 100.0), seed=st.integers(0, 99))
def test_the_level_of_the_mix_means_nothing_to_the_desk(level, seed):
    everything = {name: VALUES[name]["range"] for name in DESK if name != "mp3"}
    audio = hits(seconds=0.5)
    one, other = desk(audio, seed, **everything), desk(audio * np.float32(level), seed, **everything)
    assert np.allclose(one, other, atol=1e-3)


# ------------------------------------------------------------------------------------------------------- params


@pytest.mark.parametrize("effect", DESK)
def test_pedalboard_is_needed_only_where_it_works(monkeypatch, effect):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    audio = hits(seconds=0.5)
    changes = {effect: VALUES[effect]["range"]}
    if effect not in PEDALBOARD:
        assert desk(audio, **changes).size == audio.size
        return
    with pytest.raises(DrumCrnnError, match="need the package pedalboard; pip install"):
        desk(audio, **changes)
    assert desk(audio, **{effect: {"enabled": False}}).size == audio.size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"room_decay_s": [0.0, 1.0]}, "room_decay_s must be"),
        ({"room_decay_s": [2.0, 1.0]}, "room_decay_s must be"),
        ({"low_cut": [5.0, 100.0]}, "low_cut.range is in Hz"),
        ({"high_cut": [5000.0, 30_000.0]}, "high_cut.range is in Hz"),
        ({"clip": [-3.0, 3.0]}, r"clip.range must lie within \[0, 60\]"),
        ({"comb": [0.0, 100.0]}, r"comb.range must lie within \[0, 50\]"),
        ({"sample_rate": [1000.0, 8000.0]}, r"sample_rate.range must lie within \[4000, 44100\]"),
        ({"mp3": [0.0, 10.0]}, r"mp3.range must lie within \[0, 9\]"),
    ],
)
def test_impossible_amounts(changes, message):
    with pytest.raises(ValidationError, match=message):
        params(**changes)
