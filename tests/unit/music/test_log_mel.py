"""Log-mel frames against librosa, against sines and clicks, and in blocks of any size."""

import importlib.util

import librosa
import numpy as np
import pytest
import scipy.fft
from builders import HOP, RATE, clicks, noise, section, small_features
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music import log_mel
from drum_crnn.music.log_mel import FeatureParams, LogMel, load_rfft
from drum_crnn.music.timing import n_frames_of

PARAMS = section(FeatureParams)
LOG_MEL = LogMel(PARAMS)


def sine(frequency_hz: float, *, seconds: float = 0.5, amplitude: float = 1.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("n_samples", [17, 1000, 1024, 2048])
def test_transforms_are_those_of_scipy_to_the_bit(n_samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = noise(64 * n_samples).reshape(64, n_samples)
    rfft = load_rfft()
    assert rfft is not scipy.fft.rfft  # or this takes a fifth of a second more to import
    np.testing.assert_array_equal(rfft(rows), scipy.fft.rfft(rows), strict=True)
    # An installation that has its files elsewhere.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert load_rfft() is scipy.fft.rfft


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("n_samples", [1, 440, 441, 442, 882, 30_000, 64 * HOP + 1])
def test_frames_are_those_of_librosa(n_samples: int) -> None:
    audio = noise(n_samples)
    window_sum = librosa.filters.get_window("hann", PARAMS.n_fft).sum()
    power = librosa.feature.melspectrogram(
        y=audio * 2.0 / window_sum,
        sr=RATE,
        n_fft=PARAMS.n_fft,
        hop_length=HOP,
        n_mels=PARAMS.n_mels,
        fmin=PARAMS.fmin,
        fmax=PARAMS.fmax,
        center=True,
        pad_mode="constant",
        norm=None,
    )
    expected = 10.0 * np.log10(np.maximum(power, 10.0 ** (PARAMS.floor_db / 10.0))).T
    frames = LOG_MEL(audio)
    assert frames.dtype == np.float32
    # librosa makes one frame more where the signal ends exactly on a hop: that frame is centred beyond the last sample.
    np.testing.assert_allclose(frames, expected[: n_frames_of(n_samples, HOP)], atol=2e-3)


@pytest.mark.parametrize("n_fft", [1024, 2048, 4096])
def test_full_scale_sine_reads_0_db_in_its_band_whatever_the_window(n_fft: int) -> None:
    log_mel = LogMel(section(FeatureParams, n_fft=n_fft, n_mels=40))
    centres = librosa.mel_frequencies(n_mels=42, fmin=PARAMS.fmin, fmax=PARAMS.fmax)[1:-1]
    for band in (5, 20, 39):
        frame = log_mel(sine(centres[band]))[25]
        assert frame.argmax() == band
        assert (
            abs(frame[band]) < 1.8
        )  # a band sums the three bins of the window's main lobe as its triangle weighs them
        quiet = log_mel(sine(centres[band], amplitude=0.1))[25]
        assert quiet[band] == pytest.approx(frame[band] - 20.0, abs=0.01)


@pytest.mark.parametrize("n_fft", [512, 2048])
def test_full_scale_sine_on_a_bin_has_power_one_there(n_fft: int) -> None:
    # As many bands as can be resolved at the top: a band that is one bin wide has no neighbours to add.
    params = section(FeatureParams, n_fft=n_fft, n_mels=10, fmin=1000.0)
    bank = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=10, fmin=1000.0, fmax=params.fmax, norm=None)
    bin_ = n_fft // 8
    expected = bank[:, bin_] + 0.25 * (bank[:, bin_ - 1] + bank[:, bin_ + 1])  # Hann: half the amplitude on either side
    frame = LogMel(params)(sine(bin_ * RATE / n_fft))[25]
    band = int(expected.argmax())
    assert frame[band] == pytest.approx(10 * np.log10(expected[band]), abs=0.01)


@pytest.mark.parametrize("frame", [0, 1, 7, 63, 64, 65, 99])
def test_frame_is_centred_on_its_time(frame: int) -> None:
    loudness = LOG_MEL(clicks([frame / 100], 1.0)).mean(axis=1)
    assert loudness.argmax() == frame
    if 0 < frame < 99:
        assert loudness[frame - 1] == pytest.approx(loudness[frame + 1], abs=0.05)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_blocks_of_any_size_give_the_same_bits(data: st.DataObject) -> None:
    n_samples = data.draw(st.integers(1, 70_000))
    audio = noise(n_samples)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=6)))
    blocks = np.split(audio, cuts)
    streamed = np.concatenate(list(LOG_MEL.stream(blocks)))
    assert len(streamed) == n_frames_of(n_samples, HOP)
    np.testing.assert_array_equal(streamed, LOG_MEL(audio))


@settings(max_examples=25, deadline=None)
@given(n_samples=st.integers(1, 3000), extra=st.integers(1, 3000))
def test_a_frame_depends_on_its_window_alone(n_samples: int, extra: int) -> None:
    """Samples more than half a window later change no bit of a frame."""
    params = small_features(n_fft=512)
    log_mel, audio = LogMel(params), noise(n_samples + extra)
    short, long = log_mel(audio[:n_samples]), log_mel(audio)
    n_same = max(0, 1 + (n_samples - params.n_fft // 2) // HOP) if n_samples >= params.n_fft // 2 else 0
    np.testing.assert_array_equal(short[:n_same], long[:n_same])


def test_no_audio_has_no_frames() -> None:
    assert LOG_MEL(np.zeros(0, np.float32)).shape == (0, PARAMS.n_mels)
    assert list(LOG_MEL.stream([])) == []


def test_silence_lies_on_the_floor_and_nothing_below() -> None:
    np.testing.assert_array_equal(LOG_MEL(np.zeros(1000, np.float32)), np.float32(PARAMS.floor_db))
    assert LOG_MEL(1e-7 * noise(5000)).min() == np.float32(PARAMS.floor_db)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fmax": 22_051.0}, "sample_rate / 2 = 22050 Hz"),
        ({"fmin": 17_500.0}, "fmin < fmax"),
        ({"hop_length": 2049}, "hop_length must not exceed n_fft"),
        ({"n_mels": 0}, r"features\.n_mels"),
        ({"floor_db": 0.0}, r"features\.floor_db"),
    ],
)
def test_impossible_parameters_are_named(changes: dict[str, float], words: str) -> None:
    with pytest.raises(DrumCrnnError, match=words):
        section(FeatureParams, **changes)


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_more_bands_than_the_window_can_resolve_is_an_error_for_users() -> None:
    with pytest.raises(DrumCrnnError, match=r"features\.n_mels.*400.*n_fft.*2048"):
        LogMel(section(FeatureParams, n_mels=400))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fmin": 0.0, "fmax": 22050.0},
        {"sample_rate": 16_000, "n_fft": 512, "n_mels": 30, "fmin": 20.0, "fmax": 8000.0, "hop_length": 160},
        {"sample_rate": 48_000, "n_fft": 4096, "n_mels": 128, "fmin": 27.5, "fmax": 20_000.0},
    ],
)
def test_window_and_filters_have_the_bits_of_librosa(changes: dict[str, float]) -> None:
    """Features of an older version were computed with librosa's; not a bit of them may change."""
    params = section(FeatureParams, **changes)
    filters = librosa.filters.mel(
        sr=params.sample_rate, n_fft=params.n_fft, n_mels=params.n_mels, fmin=params.fmin, fmax=params.fmax, norm=None
    )
    np.testing.assert_array_equal(log_mel._mel_filters(params), filters)
    np.testing.assert_array_equal(log_mel._hann(params.n_fft), librosa.filters.get_window("hann", params.n_fft))


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(0, 60_000),
    n_groups=st.integers(1, 3),
    overlap=st.integers(0, 90),
    cuts=st.lists(st.integers(0, 60_000), max_size=4),
)
def test_spans_hold_the_frames_of_the_whole(n_samples: int, n_groups: int, overlap: int, cuts: list[int]) -> None:
    """Spans, computed alone and joined without what they share, are the recording's frames, bit by bit."""
    mel = LogMel(small_features())
    audio = noise(n_samples)
    blocks = np.split(audio, sorted(min(cut, n_samples) for cut in cuts))
    n_frames = n_groups * LogMel.GROUP + overlap
    spans = list(mel.spans(blocks, n_frames=n_frames, overlap=overlap))
    assert [span.is_first for span in spans] == [number == 0 for number in range(len(spans))]
    assert [span.is_last for span in spans] == [number == len(spans) - 1 for number in range(len(spans))]
    assert all(span.n_frames == n_frames for span in spans[:-1])
    parts = [mel.frames(span)[0 if span.is_first else overlap :] for span in reversed(spans)][::-1]
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, 20), np.float32), *parts]), mel(audio))


def test_spans_begin_at_whole_groups() -> None:
    with pytest.raises(ValueError, match="multiple of 64, not 90"):
        list(LOG_MEL.spans([noise(10)], n_frames=100, overlap=10))
