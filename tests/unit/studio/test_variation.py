"""Varied kits: pieces of several kits, equally loud, and changed as the units of the params say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit_builder import SAMPLE_RATE, effects_of, frequency_of, hit, tone_kit, varied
from pydantic import ValidationError

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.music.midi import Note
from drum_crnn.studio.kits import Kit, Layer, Sound, energy_of
from drum_crnn.studio.sampler import mix
from drum_crnn.studio.variation import PIECES, KitVariation, PieceShape, has_piece, vary_kit

RANGES = {name: effect["range"] for name, effect in effects_of("kit").items() if isinstance(effect, dict)}
EFFECTS = list(RANGES)
QUICK = {name: amounts for name, amounts in RANGES.items() if name != "synthesized"}  # it takes a second a kit
# The amount at which each effect does nothing.
NEUTRAL = {
    "mix_kits": 0.0,
    "synthesized": 0.0,
    "one_tom": 0.0,
    "gain": 0.0,
    "blend": -300.0,
    "eq": 0.0,
    "pitch": 0.0,
    "tom_pitch": 0.0,
    "decay_s": 1e9,
    "ring": -300.0,
    "gated_reverb": -300.0,
    "dull": 0.0,
    "boom": -300.0,
    "brush": -300.0,
    "velocity_power": 2.0,
    "hit_gain": 0.0,
    "hit_layer": 0.0,
}
NOTE_OF_PIECE = {"kick": 36, "snare": 38, "hihat": 42, "toms": 47, "crash": 49, "ride": 51}
NOTES = (*NOTE_OF_PIECE.values(), 43, 45)
SONG = [Note(0.25 * index, note, velocity) for index, (note, velocity) in enumerate(
    (note, velocity) for velocity in (127, 60, 82) for note in NOTES
)]  # fmt: skip


def layered_kit(name: str = "test/Main", *, level: float = 0.5, base: float = 300.0) -> Kit:
    """A kit of all pieces whose hard hits are higher than its soft ones; the sha256s tell the samples apart."""
    plain = tone_kit({note: hit(base + 20 * note, level=level) for note in NOTES}, name=name)
    sounds = {}
    for note, sound in plain.sounds.items():
        (layer,) = sound.layers
        hard = replace(layer.sample, audio=hit(base + 20 * note + 200, level=level), sha256=f"{name} {note} hard")
        soft = replace(layer.sample, sha256=f"{name} {note} soft")
        sounds[note] = Sound(note, (Layer(soft, 1, 79, 1.0), Layer(hard, 80, 127, 1.0)))
    return Kit(name, sounds)


MAIN = layered_kit()
OTHERS = [layered_kit(f"test/Other {piece}", level=0.05 * (index + 1)) for index, piece in enumerate(PIECES)]
SECONDS = [
    layered_kit(f"test/Second {piece}", level=0.02 * (index + 1), base=900.0) for index, piece in enumerate(PIECES)
]


def vary(seed=0, *, main=MAIN, others=OTHERS, seconds=SECONDS, **changes):
    return vary_kit(np.random.default_rng(seed), main, others, seconds, varied(KitVariation, "kit", **changes))


def audio_of(kit_and_manner, notes=SONG):
    kit, manner = kit_and_manner
    return mix(notes, kit, manner=manner, duration_s=7.0).audio


def peak_db(audio):
    return 20 * np.log10(np.abs(audio).max())


def loudness_db(kit, manner, note):
    """Level of a piece at full velocity, as the manner plays it."""
    layers = kit.sounds[note].layers_at(127)
    shaped = [replace(one, sample=replace(one.sample, audio=manner.audio(note, one.sample))) for one in layers]
    return 10 * np.log10(sum(energy_of(layer) for layer in shaped))


# ------------------------------------------------------------------------------------------------------- switches


def test_with_everything_off_a_kit_is_as_it_is():
    kit, manner = vary()
    assert kit.name == MAIN.name
    assert kit.sounds == MAIN.sounds
    assert np.array_equal(audio_of((kit, manner)), mix(SONG, MAIN, duration_s=7.0).audio)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_alone_changes_something_and_switched_off_nothing(effect):
    plain = audio_of(vary())
    assert not np.array_equal(audio_of(vary(1, **{effect: RANGES[effect][1]})), plain)
    for switch in ({"enabled": False}, {"probability": 0.0}):
        assert np.array_equal(audio_of(vary(1, **{effect: switch})), plain)


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_switch_leaves_what_the_others_do(effect):
    everything = {name: amounts[1] for name, amounts in RANGES.items() if effect == "synthesized" or name in QUICK}
    others = audio_of(vary(3, **everything | {effect: {"enabled": False}}))
    assert np.array_equal(others, audio_of(vary(3, **everything | {effect: {"probability": 0.0}})))
    assert np.allclose(others, audio_of(vary(3, **everything | {effect: NEUTRAL[effect]})), atol=1e-4)
    assert not np.array_equal(others, audio_of(vary(3, **everything)))


def test_the_main_switch_and_its_probability():
    for off in ({"enabled": False}, {"probability": 0.0}):
        assert vary(**RANGES, **off) == (MAIN, None)
    n_varied = sum(vary(seed, **QUICK, probability=0.3)[1] is not None for seed in range(400))
    assert n_varied == pytest.approx(120, abs=4 * np.sqrt(400 * 0.3 * 0.7))


def test_as_many_numbers_are_drawn_whatever_is_switched():
    """The random numbers that a recording draws afterwards do not depend on its kit."""
    following = set()
    for changes in ({}, RANGES, {"enabled": False}, {"probability": 0.0}, {"ring": 0.0}):
        rng = np.random.default_rng(5)
        vary_kit(rng, MAIN, OTHERS, SECONDS, varied(KitVariation, "kit", **changes))
        following.add(rng.random())
    assert len(following) == 1


def test_the_seed_decides():
    one, again, other = (audio_of(vary(seed, **RANGES)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_kits_are_left_alone():
    samples = [layer.sample.audio for kit in (MAIN, *OTHERS) for sound in kit.sounds.values() for layer in sound.layers]
    before = [audio.copy() for audio in samples]
    audio_of(vary(3, **RANGES))
    assert all(np.array_equal(audio, old) for audio, old in zip(samples, before, strict=True))


# ------------------------------------------------------------------------------------------------------- pieces


def test_the_pieces_are_all_lanes():
    for note, lane in LANE_OF_NOTE.items():
        kit = tone_kit({note: hit()})
        expected = "toms" if LANES[lane].endswith("_tom") else LANES[lane]
        assert [piece for piece in PIECES if has_piece(kit, piece)] == [expected]


def test_every_piece_may_come_from_its_own_kit():
    kit, _ = vary(mix_kits=1.0)
    for piece, other in zip(PIECES, OTHERS, strict=True):
        assert kit.sounds[NOTE_OF_PIECE[piece]] is other.sounds[NOTE_OF_PIECE[piece]]
    assert kit.sounds[43] is OTHERS[PIECES.index("toms")].sounds[43]  # toms stay together


def test_the_share_of_foreign_pieces_is_the_amount():
    foreign = [
        kit.sounds[note] is not MAIN.sounds[note]
        for kit, _ in (vary(seed, mix_kits=0.3) for seed in range(300))
        for note in NOTE_OF_PIECE.values()
    ]
    assert np.mean(foreign) == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / len(foreign)))


def test_a_piece_replaces_all_of_its_notes():
    main = tone_kit({36: hit(), 42: hit(), 44: hit(), 46: hit(), 22: hit(), 38: hit()})
    others = [tone_kit({42: hit(900.0)})] * len(PIECES)
    kit, _ = vary(main=main, others=others, mix_kits=1.0)
    assert set(kit.sounds) == {36, 38, 42}
    assert kit.sounds[42] is others[0].sounds[42]


def test_what_the_main_kit_lacks_comes_from_the_other_and_what_that_lacks_stays():
    main, other = tone_kit({36: hit(), 38: hit()}), tone_kit({38: hit(900.0), 51: hit(900.0)})
    for probability in (0.0, 1.0):
        kit, manner = vary(main=main, others=[other] * len(PIECES), mix_kits=probability)
        assert list(kit.sounds) == [36, 38, 51]
        assert kit.sounds[36] is main.sounds[36]
        assert (kit.sounds[38] is other.sounds[38]) == bool(probability)
        assert kit.sounds[51] is other.sounds[51]
        assert np.array_equal(manner.audio(51, other.sounds[51].layers[0].sample), hit(900.0))


def test_foreign_pieces_are_as_loud_as_the_main_kits_own():
    kit, manner = vary(mix_kits=1.0)
    for note in NOTE_OF_PIECE.values():
        own = 10 * np.log10(sum(energy_of(layer) for layer in MAIN.sounds[note].layers_at(127)))
        assert loudness_db(kit, manner, note) == pytest.approx(own, abs=0.01)
        foreign = 10 * np.log10(sum(energy_of(layer) for layer in kit.sounds[note].layers_at(127)))
        assert abs(foreign - own) > 3  # before it was matched


def test_a_silent_piece_breaks_nothing():
    silent = tone_kit(dict.fromkeys(NOTE_OF_PIECE.values(), np.zeros(4410, np.float32)))
    for main, others in ((MAIN, [silent] * len(PIECES)), (silent, OTHERS)):
        assert np.isfinite(audio_of(vary(main=main, others=others, mix_kits=1.0))).all()


# ------------------------------------------------------------------------------------------------------- a piece


@pytest.mark.parametrize("gain_db", [-12.0, 0.0, 6.0])
def test_gain_is_in_decibels_of_a_piece(gain_db):
    kit, manner = vary(gain=gain_db)
    for note in NOTE_OF_PIECE.values():
        own = 10 * np.log10(sum(energy_of(layer) for layer in MAIN.sounds[note].layers_at(127)))
        assert loudness_db(kit, manner, note) == pytest.approx(own + gain_db, abs=0.01)


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 0.0, 2.0, 12.0])
def test_pitch_is_in_semitones_and_higher_is_shorter(semitones):
    tone, ratio = hit(800.0, seconds=1.0), 2 ** (semitones / 12)
    shifted = PieceShape(semitones=semitones)(tone)
    assert frequency_of(shifted) == pytest.approx(800 * ratio, rel=0.005)
    assert shifted.size == pytest.approx(tone.size / ratio, abs=2)
    # The envelope falls by exp(-t / 0.05): at the new speed, by 60 dB in 0.345 s over the ratio.
    assert fall_s(shifted) == pytest.approx(0.345 / ratio, rel=0.05)


def fall_s(audio, *, decibels=60.0):
    """Time by which the envelope falls by 60 dB, from the line through its logarithm."""
    block = 441
    peaks = np.abs(audio[: audio.size // block * block]).reshape(-1, block).max(axis=1)
    level = 20 * np.log10(peaks + 1e-12)
    level = level[: int(np.argmax(level < level[0] - 40)) or level.size]
    slope = np.polyfit(np.arange(level.size) * 0.01, level, 1)[0]
    return -decibels / slope


@pytest.mark.parametrize("decay_s", [0.15, 0.5, 1.5])
def test_muffling_takes_60_db_in_its_time(decay_s):
    steady = np.cos(2 * np.pi * 500 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    assert fall_s(PieceShape(decay_s=decay_s)(steady)) == pytest.approx(decay_s, rel=0.02)
    # In addition to its own decay: the rates add up.
    assert fall_s(PieceShape(decay_s=decay_s)(hit(seconds=1.0))) == pytest.approx(
        1 / (1 / decay_s + 1 / 0.345), rel=0.05
    )


@pytest.mark.parametrize("level_db", [-10.0, 2.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_gated_reverb_is_as_loud_as_it_says_and_ends_at_once(level_db, seed):
    # A snap of noise, whose reverberation is noise as well.
    snap = np.random.default_rng(0).normal(0.0, 0.1, 2205).astype(np.float32)
    wet = PieceShape(gated_reverb_db=level_db, seed=seed)(snap).astype(np.float64)
    added = wet.copy()
    added[: snap.size] -= snap
    assert 10 * np.log10(np.sum(added**2) / np.sum(snap.astype(float) ** 2)) == pytest.approx(level_db, abs=0.1)
    assert 0.12 <= wet.size / SAMPLE_RATE <= 0.3
    blocks = [np.sqrt(np.mean(block**2)) for block in np.array_split(added, 12)]
    assert min(blocks[2:-2]) > 0.3 * max(blocks)  # dense until the gate closes
    assert abs(wet[-1]) < 1e-6
    assert not np.array_equal(wet, PieceShape(gated_reverb_db=level_db, seed=3)(snap)[: wet.size])


@pytest.mark.parametrize("level_db", [-15.0, -3.0, 0.0])
def test_a_blended_piece_is_as_loud_as_before_and_holds_a_second_kits(level_db):
    kit, manner = vary(blend=level_db)
    for piece, second in zip(PIECES, SECONDS, strict=True):
        note = NOTE_OF_PIECE[piece]
        own = 10 * np.log10(sum(energy_of(layer) for layer in MAIN.sounds[note].layers_at(127)))
        assert loudness_db(kit, manner, note) == pytest.approx(own, abs=0.01)
        assert kit.sounds.keys() == MAIN.sounds.keys()
        of_main, of_second = kit.sounds[note].layers_at(127)
        assert of_main.sample is MAIN.sounds[note].layers[-1].sample
        assert of_second.sample is second.sounds[note].layers[-1].sample
        assert 10 * np.log10(energy_of(of_second) / energy_of(of_main)) == pytest.approx(level_db, abs=0.01)
        assert len(kit.sounds[note].layers_at(40)) == 2


def test_what_is_struck_with_a_note_is_the_most_similar_of_its_lane():
    second = tone_kit({42: hit(900.0), 50: hit(900.0)})
    main = tone_kit({46: hit(), 50: hit(), 43: hit(), 36: hit()})
    kit, _ = vary(main=main, seconds=[second] * len(PIECES), blend=-6.0)
    assert {note: len(sound.layers) for note, sound in kit.sounds.items() if note in main.sounds} == {
        46: 2,  # the open hi-hat with the closed one
        50: 2,
        43: 1,  # there is no low tom to strike
        36: 1,
    }


def test_a_blend_is_of_the_piece_that_is_played_in_the_end():
    kit, _ = vary(mix_kits=1.0, blend=-6.0)
    for piece, other, second in zip(PIECES, OTHERS, SECONDS, strict=True):
        layers = kit.sounds[NOTE_OF_PIECE[piece]].layers_at(127)
        assert [layer.sample for layer in layers] == [
            kit_of.sounds[NOTE_OF_PIECE[piece]].layers[-1].sample for kit_of in (other, second)
        ]


def test_the_equaliser_of_a_piece_stays_within_its_decibels_and_is_one_for_all_its_samples():
    click = np.zeros(8192, np.float32)
    click[0] = 1.0
    responses = []
    for seed in range(20):
        shape = PieceShape(eq_db=6.0, seed=seed)
        response_db = 20 * np.log10(np.abs(np.fft.rfft(shape(click))))
        assert np.abs(response_db).max() <= 4 * 6.0 + 0.1  # four bands, which may lie on one another
        assert np.array_equal(shape(click), shape(click))
        responses.append(response_db)
    assert np.abs(responses).max() > 6.0
    assert len({float(response[300]) for response in responses}) == 20
    assert np.allclose(20 * np.log10(np.abs(np.fft.rfft(PieceShape(eq_db=0.0)(click)))), 0.0, atol=0.01)


def test_one_tom_plays_a_lane():
    main = tone_kit({note: hit() for note in (50, 48, 47, 43, 41, 36)})
    drawn = set()
    for seed in range(30):
        kit, _ = vary(seed, main=main, others=[main] * len(PIECES), one_tom=1.0)
        assert kit.sounds.keys() == main.sounds.keys()
        assert all(sound.note == note for note, sound in kit.sounds.items())
        played = {note: sound.layers for note, sound in kit.sounds.items()}
        assert played[50] == played[48]
        assert played[43] == played[41]
        assert played[47] == main.sounds[47].layers
        assert played[36] == main.sounds[36].layers
        drawn |= {note for note in (50, 48, 43, 41) if played[note] == main.sounds[note].layers}
    assert drawn == {50, 48, 43, 41}


@pytest.mark.parametrize("level_db", [-20.0, 0.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_ring_is_a_falling_tone_as_loud_as_it_says(level_db, seed):
    snap = np.random.default_rng(0).normal(0.0, 0.1, SAMPLE_RATE // 5).astype(np.float32)
    wet = PieceShape(ring_db=level_db, seed=seed)(snap).astype(np.float64)
    tone = wet.copy()
    tone[: snap.size] -= snap
    first = slice(0, SAMPLE_RATE // 10)
    ratio = np.sum(tone[first] ** 2) / np.sum(snap[first].astype(float) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(level_db, abs=0.01)
    assert 0.15 <= tone.size / SAMPLE_RATE <= 0.9
    assert abs(tone[-100:]).max() < 0.003 * abs(tone).max()
    spectrum = np.abs(np.fft.rfft(tone, 1 << 17)) ** 2
    frequency = np.fft.rfftfreq(1 << 17, 1 / SAMPLE_RATE)
    assert spectrum[(frequency > 140) & (frequency < 1400)].sum() > 0.98 * spectrum.sum()
    assert spectrum.max() > 200 * np.median(spectrum[frequency < 1400])  # a tone and no noise


@pytest.mark.parametrize("amount_db", [6.0, 20.0])
def test_a_dull_drum_lacks_highs(amount_db):
    click = np.zeros(8192, np.float32)
    click[0] = 1.0
    response = 20 * np.log10(np.abs(np.fft.rfft(PieceShape(dull_db=amount_db)(click))))
    hz = np.fft.rfftfreq(click.size, 1 / SAMPLE_RATE)
    assert response[(hz > 20) & (hz < 150)] == pytest.approx(0.0, abs=0.5)
    assert response[hz > 15_000] == pytest.approx(-amount_db, abs=1.5)
    assert np.all(np.diff(response[hz < 15_000]) < 1e-3)


@pytest.mark.parametrize("level_db", [-10.0, 0.0, 6.0])
def test_a_boom_is_a_deep_tone_as_loud_as_it_says(level_db):
    snap = hit(3000.0, seconds=0.02)
    for seed in range(5):
        tone = PieceShape(boom_db=level_db, seed=seed)(snap).astype(np.float64)
        tone[: snap.size] -= snap
        assert 40 < frequency_of(tone.astype(np.float32)) < 115
        energy, of_hit = (np.square(sound[: SAMPLE_RATE // 10]).sum() for sound in (tone, snap.astype(np.float64)))
        # The amount compares whole tones with hits; here the tone goes on after a tenth of a second.
        assert 10 * np.log10(energy / of_hit) == pytest.approx(level_db, abs=0.1)


def test_a_brush_is_a_swish_that_begins_with_the_hit_and_soon_ends():
    snap = hit(200.0, seconds=0.02)
    for seed in range(5):
        swish = PieceShape(brush_db=12.0, seed=seed)(snap).astype(np.float64)
        swish[: snap.size] -= snap
        envelope = np.cumsum(np.square(swish)) / np.square(swish).sum()
        assert envelope[round(0.001 * SAMPLE_RATE)] < 0.1
        assert envelope[round(0.06 * SAMPLE_RATE)] > 0.9
        power, hz = np.square(np.abs(np.fft.rfft(swish))), np.fft.rfftfreq(swish.size, 1 / SAMPLE_RATE)
        assert power[(hz > 500) & (hz < 16_000)].sum() > 0.8 * power.sum()


@pytest.mark.parametrize(
    ("effect", "amount", "pieces"),
    [
        ("gated_reverb", 0.0, {"snare", "toms"}),
        ("ring", 0.0, {"snare"}),
        ("dull", 12.0, {"kick", "snare", "toms"}),
        ("boom", 0.0, {"kick"}),
        ("brush", 0.0, set(PIECES) - {"kick"}),
        ("tom_pitch", 2.0, {"toms"}),
        ("pitch", 2.0, set(PIECES) - {"toms"}),
    ],
)
def test_an_effect_is_for_its_pieces(effect, amount, pieces):
    _, manner = vary(**{effect: amount})
    dry = {piece: MAIN.sounds[note].layers[0].sample for piece, note in NOTE_OF_PIECE.items()}
    wet = {piece: manner.audio(note, dry[piece]) for piece, note in NOTE_OF_PIECE.items()}
    changed = {piece for piece in PIECES if not np.array_equal(wet[piece], dry[piece].audio)}
    assert changed == pieces


@given(
    eq_db=st.none() | st.floats(0, 12),
    semitones=st.none() | st.floats(-5, 5),
    decay_s=st.none() | st.floats(0.05, 3),
    ring_db=st.none() | st.floats(-20, 3),
    reverb_db=st.none() | st.floats(-20, 3),
)
def test_the_attack_stays_where_it_is(eq_db, semitones, decay_s, ring_db, reverb_db):
    click = np.zeros(8820, np.float32)
    click[1:4] = 1.0
    click[4:] = 0.05 * np.sin(np.arange(8816) / 3) * np.exp(-np.arange(8816) / 2000)
    shape = PieceShape(eq_db=eq_db, semitones=semitones, decay_s=decay_s, ring_db=ring_db, gated_reverb_db=reverb_db)
    assert np.argmax(np.abs(shape(click))) <= 0.001 * SAMPLE_RATE


def test_pieces_are_drawn_one_by_one():
    _, manner = vary(gain=[-20.0, 20.0], pitch=[-3.0, 3.0], tom_pitch=[-3.0, 3.0])
    assert len({shape.gain_db for shape in manner.shapes.values()}) == len(PIECES)
    assert len({shape.semitones for shape in manner.shapes.values()}) == len(PIECES)
    assert all(-20 <= shape.gain_db <= 20 for shape in manner.shapes.values())


def test_a_sample_that_two_pieces_share_sounds_like_each():
    kit = tone_kit({36: hit(), 38: hit()})
    kit = Kit(kit.name, {36: kit.sounds[36], 47: replace(kit.sounds[36], note=47)})
    kit, manner = vary(main=kit, others=[kit] * len(PIECES), gain=[-12.0, 12.0])
    for note, piece in ((36, "kick"), (47, "toms")):
        played = manner.audio(note, kit.sounds[36].layers[0].sample)
        assert peak_db(played) == pytest.approx(20 * np.log10(0.5) + manner.shapes[piece].gain_db, abs=0.01)


def test_a_stand_in_sounds_like_the_piece_that_plays():
    """An open hi-hat played on a closed one is changed as the hi-hat is."""
    kit = tone_kit({36: hit(), 38: hit(), 42: hit()})
    kit, manner = vary(main=kit, others=[kit] * len(PIECES), gain=-6.0)
    levels = [peak_db(mix([Note(0.0, note, 127)], kit, manner=manner).audio) for note in (42, 46, 22)]
    assert levels == pytest.approx([20 * np.log10(0.5) - 6] * 3, abs=0.01)


# ------------------------------------------------------------------------------------------------------- hits


@pytest.mark.parametrize("power", [1.0, 1.5, 2.2])
def test_loudness_is_velocity_to_the_power(power):
    kit = tone_kit({36: hit()})
    kit, manner = vary(main=kit, others=[kit] * len(PIECES), velocity_power=power)
    for velocity in (127, 100, 64, 1):
        _, loudness = manner.strike(kit.sounds[36], velocity)
        assert loudness == pytest.approx((velocity / 127) ** power)


def test_hits_differ_by_up_to_half_the_width():
    kit, manner = vary(hit_gain=2.0)
    gains_db = [20 * np.log10(manner.strike(kit.sounds[36], 127)[1]) for _ in range(2000)]
    assert -2.0 <= min(gains_db) < -1.9
    assert 1.9 < max(gains_db) <= 2.0
    assert np.mean(gains_db) == pytest.approx(0, abs=4 * 4 / np.sqrt(12 * 2000))


def test_samples_differ_by_up_to_half_the_width():
    """The layers meet at 80: a hit of 75 uses the hard one if 5 steps or more are added to it."""
    kit, manner = vary(hit_layer=10.0)

    def share_of_hard(velocity, n=2000):
        layers = [manner.strike(kit.sounds[36], velocity)[0] for _ in range(n)]
        return np.mean([layer.sample.sha256.endswith("hard") for (layer,) in layers])

    assert share_of_hard(69) == 0.0
    assert share_of_hard(75) == pytest.approx(5.5 / 20, abs=4 * np.sqrt(0.275 * 0.725 / 2000))
    assert share_of_hard(91) == 1.0
    for velocity in (1, 127):
        assert manner.strike(kit.sounds[36], velocity)[0]


def test_loudness_does_not_follow_the_choice_of_the_sample():
    kit, manner = vary(hit_layer=16.0)
    assert {manner.strike(kit.sounds[36], 75)[1] for _ in range(50)} == {(75 / 127) ** 2}


# ------------------------------------------------------------------------------------------------------- params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay_s": [0.0, 1.0]}, r"decay_s.range must lie within"),
        ({"eq": [-3.0, 3.0]}, r"eq.range must lie within \[0, 24\]"),
        ({"mix_kits": [20.0, 90.0]}, r"mix_kits.range must lie within \[0, 1\]"),
        ({"velocity_power": [-1.0, 1.0]}, r"velocity_power.range must lie within"),
        ({"dull": [-3.0, 3.0]}, r"dull.range must lie within \[0, 80\]"),
        ({"gain": [3.0, 1.0]}, r"range must be \[low, high\]"),
    ],
)
def test_impossible_amounts(changes, message):
    with pytest.raises(ValidationError, match=message):
        varied(KitVariation, "kit", **changes)
