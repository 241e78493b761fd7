"""FluidSynth plays what a part says, when it says it."""

import ctypes.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fluidsynth import needs_fluidsynth

from drum_crnn.band import synthesizer
from drum_crnn.band.players import Part, Tone
from drum_crnn.band.synthesizer import Synthesizer, has_fluidsynth
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.studio.sources import font_path

RATE = 44_100
FONT = font_path("pretty_midi:TimGM6mb")


def played(*tones: Tone, program: int = 73, n_samples: int = 2 * RATE) -> np.ndarray:
    with Synthesizer(FONT, sample_rate=RATE) as fluidsynth:
        return fluidsynth.play(Part("lead", program, tones), n_samples=n_samples)


@needs_fluidsynth
def test_a_tone_has_its_time_and_its_pitch() -> None:
    audio = played(Tone(0.5, 1.0, 69, 100))
    assert audio.shape == (2, 2 * RATE)
    assert audio.dtype == np.float32
    assert not audio[:, : round(0.498 * RATE)].any()
    assert np.abs(audio[:, round(0.5 * RATE) : round(0.55 * RATE)]).max() > 1e-4
    spectrum = np.abs(np.fft.rfft(audio.sum(axis=0)[RATE : RATE + RATE // 4] * np.hanning(RATE // 4)))
    assert spectrum.argmax() * 4 == pytest.approx(440.0, rel=0.02)
    ended = np.square(audio[:, round(1.9 * RATE) :]).mean()
    assert ended < 0.01 * np.square(audio[:, RATE : round(1.4 * RATE)]).mean()


@needs_fluidsynth
def test_the_same_part_has_the_same_samples_whatever_was_played_before() -> None:
    one, other = Part("keys", 0, (Tone(0.1, 0.5, 60, 90),)), Part("bass", 33, (Tone(0.0, 1.0, 40, 127),))
    with Synthesizer(FONT, sample_rate=RATE) as fluidsynth:
        first = fluidsynth.play(one, n_samples=RATE)
        fluidsynth.play(other, n_samples=RATE // 2)
        again = fluidsynth.play(one, n_samples=RATE)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, played(*one.tones, program=0, n_samples=RATE))


@needs_fluidsynth
def test_a_tone_that_is_repeated_sounds_again() -> None:
    audio = played(Tone(0.0, 0.5, 60, 100), Tone(0.5, 0.5, 60, 100), program=0)
    before, after = (np.square(audio[:, round(at * RATE) : round((at + 0.05) * RATE)]).mean() for at in (0.44, 0.51))
    assert after > 3 * before


@needs_fluidsynth
def test_no_tones_are_silence_of_any_length() -> None:
    for n_samples in (0, 1, 1000):
        assert played(n_samples=n_samples).shape == (2, n_samples)
        assert not played(n_samples=n_samples).any()


@needs_fluidsynth
@pytest.mark.parametrize("content", [None, b"", b"RIFFxxxxsfbk no font"])
def test_what_is_no_soundfont_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "font.sf2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=r"font\.sf2: FluidSynth cannot read this SoundFont"):
        Synthesizer(path, sample_rate=RATE)


def test_without_fluidsynth_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda _: None)
    synthesizer._library.cache_clear()
    assert not has_fluidsynth()
    with pytest.raises(DrumCrnnError, match="the band needs FluidSynth; install it"):
        Synthesizer(FONT, sample_rate=RATE)
    synthesizer._library.cache_clear()


@needs_fluidsynth
@pytest.mark.processes
def test_a_process_that_is_forked_after_a_font_was_opened_can_open_it_too() -> None:
    """As the workers of `render` do, whose parent has looked at the fonts."""
    script = (
        "import multiprocessing, pathlib\n"
        "from drum_crnn.band.synthesizer import Synthesizer\n"
        "def look(font):\n"
        "    with Synthesizer(font, sample_rate=44100) as synthesizer:\n"
        "        return synthesizer.missing([0])\n"
        f"font = pathlib.Path({str(FONT)!r})\n"
        "look(font)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    print(pool.map(look, [font]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[[]]\n"
