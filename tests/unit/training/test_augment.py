"""Each effect alone against physics; and draws that depend on their own random numbers alone."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from builders import HOP, RATE, augmentation, clicks, noise, section
from librosa import mel_frequencies
from scipy.special import polygamma

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.music.quantisation import steps
from drum_crnn.training.augment import Augmenter, AugmentParams, Draws
from drum_crnn.training.random_numbers import keys_of

FEATURES = section(FeatureParams)
N_FRAMES = 100
CENTRES_HZ = mel_frequencies(n_mels=FEATURES.n_mels + 2, fmin=FEATURES.fmin, fmax=FEATURES.fmax)[1:-1]
EVERYTHING: dict[str, Any] = {
    "time_stretch": {},
    "pitch_shift": {},
    "reverb": {},
    "eq_tilt": {},
    "gain": {},
    "noise": {},
    "band_masks": {},
    "frame_masks": {},
}


def augmenter(params: AugmentParams, *, n_frames: int = N_FRAMES) -> Augmenter:
    return Augmenter(params, FEATURES, n_frames=n_frames)


def only(effect: str, **values: Any) -> Augmenter:
    return augmenter(augmentation(**{effect: values}))


def draw(effects: Augmenter, *seeds: int) -> Draws:
    return effects.draw(keys_of(np.array(seeds or [0])))


def apply(effects: Augmenter, frames: np.ndarray, draws: Draws) -> np.ndarray:
    """Apply to one excerpt, or to as many as there are draws, all of the same frames."""
    n = len(draws.stretch)
    batch = torch.from_numpy(np.repeat(frames[None].astype(np.float32), n, axis=0))
    out = effects.apply(batch, draws)
    assert out.dtype == torch.float32
    assert out.shape == (n, effects.n_frames, FEATURES.n_mels)
    return out.numpy()[0] if n == 1 else out.numpy()


def silence(n_frames: int, level_db: float = FEATURES.floor_db) -> np.ndarray:
    return np.full((n_frames, FEATURES.n_mels), level_db, np.float32)


def sound(n_frames: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-80.0, 0.0, (n_frames, FEATURES.n_mels)).astype(np.float32)


def amounts(drawn: Draws) -> dict[str, Any]:
    return {field.name: getattr(drawn, field.name).numpy() for field in fields(Draws)}


def test_everything_switched_off_changes_no_bit() -> None:
    off = augmenter(augmentation())
    frames = sound(off.n_source_frames)
    frames[3] = FEATURES.floor_db
    np.testing.assert_array_equal(apply(off, frames, draw(off)), frames[:N_FRAMES])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stored_steps_come_out_as_decibels(dtype: torch.dtype) -> None:
    off = augmenter(augmentation())
    frames = sound(off.n_source_frames)
    stored = torch.from_numpy(steps(frames, floor_db=FEATURES.floor_db))[None]
    out = off.apply(stored, draw(off), dtype=dtype)
    assert out.dtype == dtype
    np.testing.assert_allclose(out[0].numpy(), frames[:N_FRAMES], atol=0.2501)


def test_probability_0_is_off_and_in_between_is_a_share() -> None:
    never = augmenter(augmentation(**{name: {"probability": 0.0} for name in EVERYTHING}))
    frames = sound(never.n_source_frames)
    np.testing.assert_array_equal(apply(never, frames, draw(never)), frames[:N_FRAMES])
    sometimes = only("gain", probability=0.25)
    share = (draw(sometimes, *range(1000)).gain_db != 0.0).numpy().mean()
    assert abs(share - 0.25) < 0.05  # 3.6 standard deviations


def test_an_excerpt_is_the_same_alone_and_in_a_batch() -> None:
    """This holds beside excerpts that an effect leaves alone, too."""
    effects = augmenter(augmentation(**{name: {"probability": 0.5} for name in EVERYTHING}))
    frames = sound(effects.n_source_frames)
    together = apply(effects, frames, draw(effects, *range(12)))
    for place in range(12):
        np.testing.assert_allclose(together[place], apply(effects, frames, draw(effects, place)), atol=1e-3)
    assert together.min() >= FEATURES.floor_db


def test_an_excerpt_without_reverb_or_noise_keeps_its_bits_beside_others_that_have_them() -> None:
    effects = augmenter(augmentation(reverb={"probability": 0.5}, noise={"probability": 0.5}))
    frames = sound(effects.n_source_frames)
    draws = draw(effects, *range(12))
    plain = torch.nonzero(torch.isinf(draws.reverb_db) & torch.isinf(draws.noise_db))[:, 0].tolist()
    assert 0 < len(plain) < 12
    together = apply(effects, frames, draws)
    for place in plain:
        np.testing.assert_array_equal(together[place], frames[:N_FRAMES])


def test_draw_follows_from_its_key() -> None:
    effects = augmenter(augmentation(**EVERYTHING))
    for name, value in amounts(draw(effects, 5)).items():
        np.testing.assert_array_equal(value, amounts(draw(effects, 5))[name])
    assert draw(effects, 5).stretch != draw(effects, 6).stretch


@pytest.mark.parametrize("effect", EVERYTHING)
def test_a_switch_leaves_the_other_effects_as_they_are(effect: str) -> None:
    field = {
        "time_stretch": "stretch",
        "pitch_shift": "semitones",
        "reverb": "reverb_db",
        "eq_tilt": "tilt_db",
        "gain": "gain_db",
        "noise": "noise_db",
        "band_masks": "keep_bands",
        "frame_masks": "keep_frames",
    }[effect]
    others = {name: value for name, value in EVERYTHING.items() if name != effect}
    on, off = augmenter(augmentation(**EVERYTHING)), augmenter(augmentation(**others))
    differs = False
    for seed in range(5):
        with_it, without = amounts(draw(on, seed)), amounts(draw(off, seed))
        differs |= not np.array_equal(with_it.pop(field), without.pop(field))
        for name, value in with_it.items():
            np.testing.assert_array_equal(value, without[name], err_msg=name)
    assert differs


@pytest.mark.parametrize("stretch", [0.8, 1.25, 1.0])
def test_time_stretch_moves_a_click_to_its_time_over_the_stretch(stretch: float) -> None:
    effects = only("time_stretch", range=[stretch, stretch])
    audio = clicks([0.6], 2.0)
    frames = LogMel(FEATURES)(audio)
    assert effects.n_source_frames <= len(frames)
    stretched = apply(effects, frames[: effects.n_source_frames], draw(effects))
    assert abs(stretched.mean(axis=1).argmax() - 60 / stretch) <= 0.5


@pytest.mark.parametrize("stretch", [0.5, 0.93, 1.0, 1.07, 2.0])
def test_time_stretch_interpolates_within_the_source_frames(stretch: float) -> None:
    effects = only("time_stretch", range=[stretch, stretch])
    ramp = np.repeat(np.linspace(-80.0, 0.0, effects.n_source_frames, dtype=np.float32)[:, None], FEATURES.n_mels, 1)
    expected = np.interp(np.arange(N_FRAMES) * stretch, np.arange(len(ramp)), ramp[:, 0])
    assert (N_FRAMES - 1) * stretch <= len(ramp) - 1
    np.testing.assert_allclose(apply(effects, ramp, draw(effects))[:, 0], expected, atol=1e-3)


def test_no_stretch_needs_no_more_frames_than_it_makes() -> None:
    assert only("time_stretch", range=[0.5, 0.9]).n_source_frames == augmenter(augmentation()).n_source_frames


@pytest.mark.parametrize("semitones", [-4.0, -0.5, 0.0, 3.0, 12.0])
def test_pitch_shift_reads_each_band_from_the_frequency_below_by_the_interval(semitones: float) -> None:
    effects = only("pitch_shift", range=[semitones, semitones])
    frames = sound(effects.n_source_frames)
    wanted_hz = CENTRES_HZ / 2.0 ** (semitones / 12.0)
    expected = np.stack([np.interp(wanted_hz, CENTRES_HZ, frame) for frame in frames[:N_FRAMES]])
    np.testing.assert_allclose(apply(effects, frames, draw(effects)), expected, atol=0.02)


@pytest.mark.parametrize("semitones", [-4.0, 4.0])
def test_pitch_shift_makes_a_sine_look_like_the_transposed_sine(semitones: float) -> None:
    effects = only("pitch_shift", range=[semitones, semitones])

    def band(frequency_hz: float) -> np.ndarray:
        return LogMel(FEATURES)(np.sin(2 * np.pi * frequency_hz * np.arange(2 * RATE) / RATE).astype(np.float32))

    for frequency_hz in (1500.0, 4000.0):
        shifted = apply(effects, band(frequency_hz)[50 : 50 + effects.n_source_frames], draw(effects))[50]
        assert abs(shifted.argmax() - band(frequency_hz * 2 ** (semitones / 12))[50].argmax()) <= 1


def test_gain_adds_decibels() -> None:
    effects = only("gain", range=[-7.0, -7.0])
    frames = sound(effects.n_source_frames)
    expected = np.maximum(frames[:N_FRAMES] - 7.0, FEATURES.floor_db)
    np.testing.assert_allclose(apply(effects, frames, draw(effects)), expected, atol=1e-4)


def test_eq_tilt_is_a_straight_line_over_octaves_through_1_khz() -> None:
    effects = only("eq_tilt", range=[1.5, 1.5])
    frames = silence(effects.n_source_frames, -50.0)
    change = apply(effects, frames, draw(effects))[0] + 50.0
    np.testing.assert_allclose(change, 1.5 * np.log2(CENTRES_HZ / 1000.0), atol=1e-3)


@pytest.mark.parametrize("decay_s", [0.1, 0.5])
def test_reverb_tail_begins_at_its_level_and_falls_by_60_db_in_its_time(decay_s: float) -> None:
    features = section(FeatureParams, floor_db=-120.0)
    params = augmentation(reverb={"range": [-10.0, -10.0]}, reverb_decay_s=[decay_s, decay_s])
    effects = Augmenter(params, features, n_frames=N_FRAMES)
    frames = np.full((effects.n_source_frames, features.n_mels), -120.0, np.float32)
    frames[20, 30] = 0.0
    wet = effects.apply(torch.from_numpy(frames)[None], draw(effects))[0].numpy()
    n_decay = round(decay_s * features.frame_rate)
    lag = np.arange(1, n_decay + 1)
    np.testing.assert_allclose(wet[20 + lag, 30], -10.0 - 60.0 * lag / n_decay, atol=0.05)
    np.testing.assert_allclose(wet[:20], -120.0, atol=3.0)  # nothing sounds before its cause
    assert wet[20, 30] == pytest.approx(0.0, abs=1e-3)
    np.testing.assert_allclose(wet[20:, 31], -120.0, atol=15.0)  # every band has a tail of its own


def test_reverb_tails_add_up_as_powers() -> None:
    effects = augmenter(augmentation(reverb={"range": [-6.0, -6.0]}, reverb_decay_s=[0.4, 0.4]))
    drawn = draw(effects)
    one, other = silence(effects.n_source_frames, -89.0), silence(effects.n_source_frames, -89.0)
    one[10], other[15] = -20.0, -17.0
    wet, wet_one, wet_other = (apply(effects, f, drawn)[30, 0] for f in (np.maximum(one, other), one, other))
    assert wet == pytest.approx(10 * np.log10(10 ** (wet_one / 10) + 10 ** (wet_other / 10)), abs=0.05)


def test_noise_has_its_level_at_1_khz_and_a_slope_from_white_to_pink_and_beyond() -> None:
    effects = augmenter(augmentation(noise={"range": [-40.0, -40.0]}), n_frames=500)
    at_1_khz = int(np.abs(CENTRES_HZ - 1000.0).argmin())
    octaves = np.log2(CENTRES_HZ / 1000.0)
    for seed in range(4):
        noisy = apply(effects, silence(effects.n_source_frames), draw(effects, seed))
        level_db = 10 * np.log10((10 ** (noisy / 10)).mean(axis=0))
        assert level_db[at_1_khz] == pytest.approx(-40.0, abs=0.6)
        slope, _ = np.polyfit(octaves, level_db, 1)
        assert -4.2 < slope < 0.2
        # The mean of three exponential draws, in decibels: the standard deviation is known.
        assert noisy[:, at_1_khz].std() == pytest.approx(10 / np.log(10) * np.sqrt(polygamma(1, 3)), rel=0.15)


def test_noise_and_sound_add_up_as_powers() -> None:
    effects = only("noise", range=[-50.0, -30.0])
    frames, drawn = sound(effects.n_source_frames), draw(effects)
    expected = 10 * np.log10(10 ** (frames[:N_FRAMES] / 10) + 10 ** (effects.noise_db(drawn)[0].numpy() / 10.0))
    np.testing.assert_allclose(apply(effects, frames, drawn), expected, atol=1e-3)


@pytest.mark.parametrize(("effect", "axis"), [("frame_masks", 0), ("band_masks", 1)])
def test_masks_hide_whole_stretches_and_no_more_than_allowed(effect: str, axis: int) -> None:
    effects = only(effect, max_count=2, max_width=6)
    frames = silence(effects.n_source_frames, -10.0)
    n_hidden, widths = [], set()
    for seed in range(60):
        drawn = draw(effects, seed)
        keep = (drawn.keep_frames, drawn.keep_bands)[axis][0].numpy()
        masked = apply(effects, frames, drawn) == FEATURES.floor_db
        np.testing.assert_array_equal(masked, np.broadcast_to(~keep if axis else ~keep[:, None], masked.shape))
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ~keep, [0]])))
        assert len(edges) // 2 <= 2
        widths.update((edges[1::2] - edges[::2]).tolist())
        n_hidden.append(int((~keep).sum()))
    assert max(n_hidden) <= 12
    assert {1, 6} <= widths
    assert min(n_hidden) < 4  # the width is drawn from 0


def test_masks_wider_than_the_excerpt_fit_into_it() -> None:
    effects = augmenter(augmentation(frame_masks={"max_width": 1000}), n_frames=5)
    hidden = (~draw(effects, *range(50)).keep_frames).sum(dim=1)
    assert (hidden.min(), hidden.max()) == (0, 5)


def test_nothing_is_below_the_floor() -> None:
    effects = only("gain", range=[-60.0, -60.0])
    assert apply(effects, sound(effects.n_source_frames), draw(effects)).min() == np.float32(FEATURES.floor_db)


def test_gain_of_the_sound_is_gain_of_its_frames() -> None:
    """The frames of a softer recording are the augmented frames of the loud one."""
    effects = only("gain", range=[-20.0, -20.0])
    audio = noise((effects.n_source_frames + 1) * HOP)
    soft = LogMel(FEATURES)(0.1 * audio)[:N_FRAMES]
    augmented = apply(effects, LogMel(FEATURES)(audio)[: effects.n_source_frames], draw(effects))
    np.testing.assert_allclose(augmented, soft, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time_stretch": {"range": [0.4, 1.0]}}, r"time_stretch\.range must lie within \[0\.5, 2\]"),
        ({"gain": {"range": [3.0, -3.0]}}, r"range must be \[low, high\]"),
        ({"gain": {"probability": 1.5}}, r"augment\.gain\.probability"),
        ({"reverb_decay_s": [0.0, 1.0]}, "both positive"),
        ({"frame_masks": {"max_width": 0}}, r"augment\.frame_masks\.max_width"),
    ],
)
def test_impossible_parameters_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DrumCrnnError, match=words):
        section(AugmentParams, **changes)
