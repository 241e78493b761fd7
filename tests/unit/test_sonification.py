"""A transcription to listen to, read back from the WAV file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from builders import RATE, noise
from transcriptions import rock_beat, transcription

from drum_crnn import sonification
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANES, OUTPUT_NOTES
from drum_crnn.music.midi import Note
from drum_crnn.music.transcription import Transcription
from drum_crnn.sonification import default_kit, write_sonification
from drum_crnn.studio.kits import Kit
from drum_crnn.studio.sampler import mix

STEP = 1 / 32_767  # of 16 bits


@pytest.fixture(scope="module")
def kit() -> Kit:
    return default_kit()


def sonified(
    folder: Path, kit: Kit, made: Transcription, audio: np.ndarray, *, rate: int = RATE
) -> tuple[np.ndarray, np.ndarray]:
    """Left and right of what is written for a recording of float samples."""
    soundfile.write(folder / "in.wav", audio, rate, subtype="FLOAT")
    write_sonification(folder / "out.wav", made, recording=folder / "in.wav", kit=kit)
    info = soundfile.info(folder / "out.wav")
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", RATE, 2)
    both, _ = soundfile.read(folder / "out.wav")
    return both[:, 0] * 32_768 * STEP, both[:, 1] * 32_768 * STEP


def test_the_right_channel_sounds_at_the_onsets_and_not_before(tmp_path: Path, kit: Kit) -> None:
    times = [0.0, 0.7, 1.33, 9.999, 10.5, 12.0]  # the recording is read in blocks of ten seconds
    made = transcription([(time_s, "kick", 100) for time_s in times], duration_s=13.0)
    _, right = sonified(tmp_path, kit, made, 0.5 * noise(13 * RATE))
    sounds = np.abs(right) > 2 * STEP
    starts = np.flatnonzero(sounds & ~np.array([sounds[max(0, n - 2000) : n].any() for n in range(len(sounds))]))
    assert len(starts) == len(times)
    np.testing.assert_allclose(starts / RATE, times, atol=0.003)
    # All kicks are the same sample at the same velocity.
    hits = [right[start : start + 1500] for start in np.rint(np.array(times) * RATE).astype(int)]
    for hit in hits[1:]:
        np.testing.assert_allclose(hit, hits[0], atol=1.5 * STEP)


def test_blocks_make_no_difference(tmp_path: Path, kit: Kit) -> None:
    """All at once is the same, cymbals that ring from one block into the next ones included."""
    beat = rock_beat(12, start_s=0.3)
    made = transcription(
        [*((time_s, lane, velocity) for time_s, lane, velocity, _ in beat.rows()), (9.9, "ride", 120)], duration_s=25.0
    )
    _, right = sonified(tmp_path, kit, made, 0.5 * noise(25 * RATE))
    notes = [Note(time_s, OUTPUT_NOTES[LANES.index(lane)], velocity) for time_s, lane, velocity, _ in made.rows()]
    whole = mix(notes, kit, duration_s=25.0).audio
    whole = whole * (np.abs(right).max() / np.abs(whole).max())
    np.testing.assert_allclose(right, whole, atol=2 * STEP)


def test_softer_strokes_are_softer_as_the_studio_plays_them(tmp_path: Path, kit: Kit) -> None:
    made = transcription([(0.5, "snare", 127), (1.5, "snare", 64)], duration_s=3.0)
    _, right = sonified(tmp_path, kit, made, 0.5 * noise(3 * RATE))
    loud, soft = (np.abs(right[start : start + RATE // 2]).max() for start in (RATE // 2, 3 * RATE // 2))
    assert soft / loud == pytest.approx((64 / 127) ** 2, rel=0.01)


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_the_left_channel_is_the_recording(tmp_path: Path, kit: Kit, rate: int) -> None:
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    audio = np.stack([tone, 0.5 * tone], axis=1)
    left, right = sonified(tmp_path, kit, transcription([(1.0, "crash", 90)], duration_s=2.0), audio, rate=rate)
    assert len(left) == 2 * RATE
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    inner = slice(1000, -1000)  # a resampler rings at the ends
    np.testing.assert_allclose(left[inner], expected[inner], atol=STEP if rate == RATE else 1e-3)
    assert np.abs(right).max() == pytest.approx(np.abs(left).max(), rel=0.01)
    assert abs(right[-1]) < 3 * STEP  # the crash fades out
    assert np.abs(right[-RATE // 10 : -RATE // 20]).max() > 100 * STEP


@pytest.mark.parametrize(
    ("peak", "left_peak", "right_peak"), [(3.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.001, 0.001, 0.1)]
)
def test_nothing_clips_and_drums_are_heard_beside_soft_recordings(
    tmp_path: Path, kit: Kit, peak: float, left_peak: float, right_peak: float
) -> None:
    audio = noise(3 * RATE)
    made = transcription([(0.1 * n, lane, 127) for n in range(3, 20) for lane in LANES], duration_s=3.0)
    left, right = sonified(tmp_path, kit, made, audio * peak / np.abs(audio).max())
    assert np.abs(left).max() == pytest.approx(left_peak, abs=STEP)
    assert np.abs(right).max() == pytest.approx(right_peak, abs=STEP)
    assert (np.abs(right) > 0.9999 * right_peak).sum() < 5  # flat tops would be clipping


def test_silence_and_no_onsets(tmp_path: Path, kit: Kit) -> None:
    left, right = sonified(tmp_path, kit, transcription([], duration_s=0.01), np.zeros(441))
    assert len(left) == 441
    assert not left.any()
    assert not right.any()


def test_a_recording_too_long_for_wav_is_a_sentence(tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sonification, "_MOST_BYTES", 4 * RATE - 1)
    with pytest.raises(DrumCrnnError, match=r"out\.wav: cannot be written: a WAV file holds 6\.7 hours"):
        sonified(tmp_path, kit, transcription([], duration_s=1.0), noise(RATE))
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_file_that_cannot_be_written_is_a_sentence_and_one_that_fails_leaves_nothing(
    tmp_path: Path, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "in.wav", noise(RATE), RATE)
    made = transcription([(0.5, "kick", 100)], duration_s=1.0)
    (tmp_path / "file").touch()
    with pytest.raises(DrumCrnnError, match=r"out\.wav: cannot be written"):
        write_sonification(tmp_path / "file" / "out.wav", made, recording=tmp_path / "in.wav", kit=kit)
    (tmp_path / "out.wav").write_bytes(b"precious")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wave.Wave_write.writeframesraw", full)
    with pytest.raises(DrumCrnnError, match=r"out\.wav: cannot be written: No space left on device"):
        write_sonification(tmp_path / "out.wav", made, recording=tmp_path / "in.wav", kit=kit)
    assert (tmp_path / "out.wav").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in.wav", "out.wav"]
