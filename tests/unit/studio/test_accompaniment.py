"""The band under the drums: its level, and what it does to the performance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from first_party import ROOT
from fluidsynth import needs_fluidsynth

from drum_crnn.band.grid import Grid
from drum_crnn.band.players import PLAYERS
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import Note
from drum_crnn.studio.accompaniment import BandVariation, add_band, check_band, check_unheard, draw_accompaniment
from drum_crnn.studio.kits import SAMPLE_RATE
from drum_crnn.studio.production import active_level
from drum_crnn.studio.rendering import load_variations
from drum_crnn.studio.sources import font_path

NOTES = [Note(0.2 + 0.25 * n, 36 if n % 8 == 0 else 38 if n % 8 == 4 else 42, 90) for n in range(128)]
FONTS = ["pretty_midi:TimGM6mb"]
OFF, ON = {"enabled": False, "probability": 0.0, "range": [0.0, 0.0]}, {"enabled": True, "probability": 1.0}


def band(**changes: Any) -> BandVariation:
    """The project's own, with a bass and nothing else but `changes`."""
    known = load_variations(ROOT / "variations.yaml")["songs"].band
    assert known is not None
    values = known.model_dump() | dict.fromkeys(
        (*PLAYERS, "alone", "intro", "rest", "eq", "drive", "duck", "recorded", "written", "synthesized_bass"), OFF
    )
    values |= {"level": {**ON, "range": [0.0, 0.0]}, "bass": {**ON, "range": [0.0, 0.0]}} | changes
    return BandVariation.check(values, source="test")


def drawn(params: BandVariation, seed: int = 0, notes: list[Note] = NOTES) -> Any:
    return draw_accompaniment(np.random.default_rng(seed), notes, params, bpm=120.0, n_beats=4)


def test_without_a_band_the_notes_are_as_they_were() -> None:
    for params in (band(enabled=False), band(probability=0.0), band(bass=OFF)):
        notes, accompaniment = drawn(params)
        assert (notes, accompaniment) == (NOTES, None)
    assert drawn(band(), notes=[]) == ([], None)


def test_a_band_or_none_draws_the_same_numbers() -> None:
    left = []
    for params in (band(), band(enabled=False), band(intro={**ON, "range": [2.0, 2.0]})):
        rng = np.random.default_rng(5)
        draw_accompaniment(rng, NOTES, params, bpm=120.0, n_beats=4)
        left.append(rng.random())
    assert len(set(left)) == 1


def test_an_intro_lasts_whole_bars() -> None:
    notes, accompaniment = drawn(band(intro={**ON, "range": [3.0, 3.0]}))
    assert [note.time_s for note in notes] == pytest.approx([note.time_s + 6.0 for note in NOTES])
    before = Grid.of(NOTES, bpm=120.0, n_beats=4, end_s=1.0)
    bars = (accompaniment.grid.origin_s - before.origin_s) / 2.0
    assert bars == pytest.approx(round(bars))


def test_drums_rest_in_whole_sections_and_not_in_most() -> None:
    n_left = []
    for seed in range(20):
        notes, accompaniment = drawn(band(rest={**ON, "range": [1.0, 1.0]}), seed)
        n_left.append(len(notes))
        assert set(notes) <= set(NOTES)
        for section in accompaniment.sections:
            start_s, end_s = (accompaniment.grid.time_s(section.first_bar + n, 0) for n in (0, section.n_bars))
            inside = [note for note in NOTES if start_s <= note.time_s < end_s]
            assert not inside or set(inside) <= set(notes) or not set(inside) & set(notes)
    assert min(n_left) > len(NOTES) / 2
    assert max(n_left) < len(NOTES)


@needs_fluidsynth
@pytest.mark.parametrize("level_db", [-9.0, 0.0, 12.0])
@pytest.mark.parametrize("effects", [{}, {"eq": {**ON, "range": [6.0, 6.0]}, "duck": {**ON, "range": [6.0, 6.0]}}])
def test_the_band_has_its_level(level_db: float, effects: dict[str, Any]) -> None:
    everyone: dict[str, Any] = {player: {**ON, "range": [-3.0, 3.0]} for player in PLAYERS}
    params = band(level={**ON, "range": [level_db, level_db]}, **everyone, **effects)
    notes, accompaniment = drawn(params)
    drums = np.random.default_rng(0).normal(0.0, 0.1, 30 * SAMPLE_RATE).astype(np.float32)
    mixed = add_band(drums, notes, params, accompaniment, fonts=FONTS)
    assert mixed.shape == drums.shape
    assert mixed.dtype == np.float32
    level = 20 * np.log10(active_level(mixed - drums) / active_level(drums))
    assert level == pytest.approx(level_db, abs=1.5)
    np.testing.assert_array_equal(mixed, add_band(drums, notes, params, accompaniment, fonts=FONTS))


@needs_fluidsynth
def test_a_kick_ducks_the_band() -> None:
    params = band(duck={**ON, "range": [20.0, 20.0]}, bass=OFF, pad={**ON, "range": [0.0, 0.0]})
    notes, accompaniment = drawn(params)
    steady = np.full(round(NOTES[-1].time_s * SAMPLE_RATE), 0.1, np.float32)
    only_band = add_band(steady, notes, params, accompaniment, fonts=FONTS) - steady
    ratios = []
    for kick in (note for note in notes if note.note == 36 and 4.0 < note.time_s < 28.0):
        start = round(kick.time_s * SAMPLE_RATE)
        just_after, later = (only_band[start + round(at * SAMPLE_RATE) :][:2000] for at in (0.01, 0.8))
        ratios.append(np.square(just_after).mean() / max(np.square(later).mean(), 1e-12))
    assert np.median(ratios) < 0.3


def test_a_synthesized_bass_needs_no_font_and_has_the_level_of_one() -> None:
    params = band(synthesized_bass={**ON, "range": [-10.0, -10.0]})
    notes, accompaniment = drawn(params)
    assert accompaniment.bass_attack_db == -10.0
    drums = np.random.default_rng(0).standard_normal(40 * SAMPLE_RATE).astype(np.float32)
    mixed = add_band(drums, notes, params, accompaniment, fonts=["soundfont:/nowhere.sf2"])
    bass = mixed - drums
    assert active_level(bass[np.abs(bass) > 1e-5]) == pytest.approx(active_level(drums), rel=0.05)
    assert drawn(band())[1].bass_attack_db is None


@needs_fluidsynth
def test_a_font_that_is_missing_is_told() -> None:
    with pytest.raises(DrumCrnnError, match="the package holds no such SoundFont"):
        check_band(band(), ["pretty_midi:Nothing"])
    with pytest.raises(DrumCrnnError, match=r"font 'hydrogen:kit': write pretty_midi:NAME or soundfont:FILE\.sf2"):
        check_band(band(), ["hydrogen:kit"])
    check_band(band(), FONTS)


def test_a_font_that_is_heard_under_another_name_is_not_unheard(tmp_path: Path) -> None:
    copied = tmp_path / "other.sf2"
    copied.write_bytes(font_path(FONTS[0]).read_bytes())
    with pytest.raises(
        DrumCrnnError, match=r"(\d+) of \1 samples of soundfont:.*other\.sf2 are in pretty_midi:TimGM6mb"
    ):
        check_unheard([f"soundfont:{copied}"], FONTS)
    check_unheard([], FONTS)
    check_unheard(FONTS, [])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("alone", "alone.range is a share"),
        ("intro", "intro.range must lie within"),
        ("duck", "duck.range must lie"),
        ("recorded", "recorded is enabled, but recordings names no folder"),
    ],
)
def test_amounts_out_of_range_are_told(part: str, words: str) -> None:
    with pytest.raises(DrumCrnnError, match=words):
        band(**{part: {**ON, "range": [-1.0, 0.5]}})


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A folder with two seconds of 441 Hz, in a subfolder and in stereo, and with what is no recording."""
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.5 * np.sin(2 * np.pi * 441.0 * times)
    (tmp_path / "music" / "one").mkdir(parents=True)
    soundfile.write(tmp_path / "music" / "one" / "tone.flac", np.stack([tone, tone], axis=1), SAMPLE_RATE)
    (tmp_path / "music" / "notes.txt").write_text("no recording")
    return tmp_path / "music"


@pytest.mark.parametrize(("semitones", "expected_hz"), [(0.0, 441.0), (12.0, 882.0), (-12.0, 220.5)])
def test_a_recording_takes_the_place_of_the_players(music: Path, semitones: float, expected_hz: float) -> None:
    params = band(recordings=str(music), recorded={**ON, "range": [semitones, semitones]})
    notes, accompaniment = drawn(params)
    drums = np.full(10 * SAMPLE_RATE, 0.1, np.float32)  # longer than the recording, which begins again
    added = add_band(drums, notes, params, accompaniment, fonts=FONTS) - drums
    assert added.shape == drums.shape
    for second in range(10):
        part = added[second * SAMPLE_RATE :][:SAMPLE_RATE]
        assert np.abs(np.fft.rfft(part * np.hanning(part.size))).argmax() == pytest.approx(expected_hz, abs=1.0)


def test_a_folder_without_recordings_is_told(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"holds no recording; see `recordings` in variations\.yaml"):
        check_band(band(recordings=str(tmp_path)), FONTS)
