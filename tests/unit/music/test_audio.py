"""Decoding: every format, rate and channel count gives the same audio, and broken files give a message."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music import audio
from drum_crnn.music.audio import load_audio, mono_blocks, mono_stream, probe, read_blocks
from drum_crnn.music.condition import Condition

RATE = 44_100

# Format, and the error allowed in a sample: two steps of integers, or the error of a lossy codec.
FORMATS = {
    ("wav", "PCM_16"): 2 / 2**15,
    ("wav", "PCM_24"): 2 / 2**23,
    ("wav", "PCM_U8"): 2 / 2**7,
    ("wav", "FLOAT"): 0.0,
    ("flac", "PCM_16"): 2 / 2**15,
    ("flac", "PCM_24"): 2 / 2**23,
    ("ogg", "VORBIS"): 0.03,
    ("mp3", "MPEG_LAYER_III"): 0.03,
}


def tone(*, seconds: float = 1.0, sample_rate: int = RATE, frequency: float = 441.0) -> NDArray[np.float32]:
    """A tone that fades in and out, so that no codec and no filter rings at its ends."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * frequency * time_s) * np.sin(np.pi * time_s / seconds) ** 2).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], *, sample_rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, sample_rate, subtype=subtype)
    return path


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_every_format_gives_the_audio(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = write(tmp_path / f"a.{suffix}", tone(), subtype=subtype)
    info = probe(path)
    assert (info.sample_rate, info.n_channels, info.n_samples, info.duration_s) == (RATE, 1, RATE, 1.0)
    decoded = load_audio(path, sample_rate=RATE)
    assert decoded.dtype == np.float32
    assert decoded.shape == (RATE,)
    assert np.abs(decoded - tone()).max() <= FORMATS[suffix, subtype]


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("n_channels", [2, 3, 6])
def test_channels_are_averaged(tmp_path: Path, n_channels: int, subtype: str) -> None:
    gains = np.linspace(-0.4, 1.0, n_channels, dtype=np.float32)
    path = write(tmp_path / "a.wav", tone()[:, None] * gains, subtype=subtype)
    assert probe(path).n_channels == n_channels
    assert np.abs(load_audio(path, sample_rate=RATE) - tone() * gains.mean()).max() < 1e-4


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 48_000, 96_000])
def test_another_rate_is_converted_without_delay(tmp_path: Path, sample_rate: int) -> None:
    path = write(tmp_path / "a.wav", tone(sample_rate=sample_rate), sample_rate=sample_rate, subtype="FLOAT")
    decoded = load_audio(path, sample_rate=RATE)
    assert abs(len(decoded) - RATE) <= 1
    n = min(len(decoded), RATE)
    assert np.abs(decoded[:n] - tone()[:n]).max() < 1e-3


def test_a_full_scale_16_bit_file_keeps_its_sign_and_scale(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([-32768, -1, 0, 1, 32767], dtype=np.int16), RATE)
    assert (load_audio(tmp_path / "a.wav", sample_rate=RATE) * 32768).tolist() == [-32768, -1, 0, 1, 32767]


@given(
    n_samples=st.integers(1, 5000),
    block_length=st.integers(1, 1500),
    n_channels=st.integers(1, 2),
    sample_rate=st.sampled_from([RATE, 48_000, 22_050]),
)
def test_the_size_of_blocks_does_not_show(
    tmp_path_factory: pytest.TempPathFactory, n_samples: int, block_length: int, n_channels: int, sample_rate: int
) -> None:
    samples = np.random.default_rng(n_samples).uniform(-0.5, 0.5, (n_samples, n_channels)).astype(np.float32)
    path = write(tmp_path_factory.mktemp("audio") / "a.wav", samples, sample_rate=sample_rate, subtype="FLOAT")
    whole = load_audio(path, sample_rate=RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "_BLOCK_S", block_length / sample_rate)
        blocks = list(read_blocks(path, sample_rate=RATE))
    joined = np.concatenate([np.zeros(0, np.float32), *blocks])
    assert all(block.dtype == np.float32 and block.ndim == 1 and len(block) for block in blocks)
    mono = samples.mean(axis=1)
    if sample_rate == RATE:
        assert {len(block) for block in blocks[:-1]} <= {block_length}
        np.testing.assert_array_equal(joined, whole)
        np.testing.assert_allclose(whole, mono, atol=1e-7)
    else:
        np.testing.assert_allclose(joined, whole, atol=1e-6)
        np.testing.assert_allclose(whole, soxr.resample(mono, sample_rate, RATE, quality="HQ"), atol=1e-6)


def test_a_recording_of_one_sample_is_read_at_any_rate(tmp_path: Path) -> None:
    for sample_rate in (RATE, 8_000, 192_000):
        path = write(tmp_path / "a.wav", np.full(1, 0.5, dtype=np.float32), sample_rate=sample_rate)
        assert len(load_audio(path, sample_rate=RATE)) <= 6


# ----------------------------------------------------------------------------------------------------- broken files


def refused(path: Path, message: str, *, by_probe: bool = True) -> None:
    """The message says what is wrong with which file, and is the same for all three ways of reading."""
    said = rf"^{path}: .*{message}"
    for read in (load_audio, lambda path, sample_rate: list(read_blocks(path, sample_rate=sample_rate))):
        with pytest.raises(DrumCrnnError, match=said):
            read(path, sample_rate=RATE)
    if by_probe:
        with pytest.raises(DrumCrnnError, match=said):
            probe(path)


def test_a_file_that_is_missing_empty_or_no_audio(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.wav", "there is no such file")
    refused(tmp_path, "is a device or a folder, not a recording")
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"")
        refused(path, r"is empty \(0 bytes\)")
        path.write_text("This is a text, whatever its name says.\n" * 100)
        refused(path, "not a readable recording .*; convert it to WAV, FLAC, OGG or MP3")


def test_a_recording_of_length_zero(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.wav", tone()[:0]), r"holds no audio \(length zero\)")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("n_lost", [1, 1000, 88_200])
def test_a_wav_whose_end_is_missing(tmp_path: Path, subtype: str, n_lost: int) -> None:
    """Decoders accept such files; half of a half-copied song would be transcribed, without a warning."""
    path = write(tmp_path / "a.wav", np.tile(tone()[:, None], 2), subtype=subtype)
    path.write_bytes(path.read_bytes()[:-n_lost])
    refused(path, f"is cut short: {n_lost} bytes are missing from its end")


def test_a_wav_cut_within_its_header(tmp_path: Path) -> None:
    content = write(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes()
    for n_bytes in (3, 11, 20, 40):
        (tmp_path / "a.wav").write_bytes(content[:n_bytes])
        refused(tmp_path / "a.wav", "not a readable recording|holds no audio")


def test_chunks_around_the_samples_of_a_wav_are_passed_over(tmp_path: Path) -> None:
    """An odd chunk before them is padded to an even length; what follows them is not missing."""
    content = write(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes()
    at = content.index(b"data")
    before, after = b"LIST" + struct.pack("<I", 3) + b"abc\0", b"LIST" + struct.pack("<I", 4) + b"abcd"
    longer = content[:at] + before + content[at:] + after
    longer = longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]
    (tmp_path / "b.wav").write_bytes(longer)
    assert len(load_audio(tmp_path / "b.wav", sample_rate=RATE)) == RATE
    (tmp_path / "b.wav").write_bytes(longer[: -len(after) - 10])
    refused(tmp_path / "b.wav", "10 bytes are missing")


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_F000])
def test_a_wav_that_came_out_of_a_pipe_does_not_know_its_length(tmp_path: Path, length: int) -> None:
    content = write(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes()
    at = content.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(content[:at] + struct.pack("<I", length) + content[at + 4 :])
    assert len(load_audio(tmp_path / "a.wav", sample_rate=RATE)) == RATE


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("length", [0x8000_0000, 0x7FFF_F000 // 6 * 6, 0x7FFF_FFFF, 0xFFFF_FFFF - 36])
def test_lengths_that_other_programs_write_into_a_pipe(tmp_path: Path, length: int, n_channels: int) -> None:
    """arecord, sox with 24 bits, others: none is exactly the largest number."""
    content = write(tmp_path / "a.wav", np.tile(tone()[:, None], n_channels), subtype="PCM_24").read_bytes()
    at = content.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(content[:at] + struct.pack("<I", length) + content[at + 4 :])
    assert len(load_audio(tmp_path / "a.wav", sample_rate=RATE)) == RATE


def test_a_large_file_that_lacks_a_little_is_cut_short(tmp_path: Path) -> None:
    """Such a length may be true."""
    content = write(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes()
    at = content.index(b"data") + 4
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(content[:at] + struct.pack("<I", 0x7FFF_F000) + content[at + 4 :])
        file.truncate(0x7FFF_F000 + at + 4 - 5000)  # with a hole, which takes no room
    with pytest.raises(DrumCrnnError, match="is cut short: 5000 bytes are missing"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize("length", [0, 1000, 44_100])
@pytest.mark.parametrize("silence", [False, True])
def test_a_file_that_goes_on_after_the_end_that_its_header_states(tmp_path: Path, length: int, silence: bool) -> None:
    """It is larger than 4 GB, or is being recorded. A decoder reads what the header states, without a word."""
    samples = np.where(np.arange(RATE) < 20_000, tone(), 0 if silence else tone()).astype(np.float32)
    content = write(tmp_path / "a.wav", np.tile(samples, 3), subtype="PCM_16").read_bytes()
    at = content.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(content[:at] + struct.pack("<I", length) + content[at + 4 :])
    refused(tmp_path / "a.wav", rf"goes on for {3 * 2 * RATE - length} bytes after the end that its header states")


def test_zeros_that_fill_a_block_of_a_disk_are_no_audio(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(), subtype="PCM_16")
    path.write_bytes(path.read_bytes() + bytes(32_768))
    assert len(load_audio(path, sample_rate=RATE)) == RATE


def test_a_file_that_grows_while_it_is_read_has_the_length_that_it_had(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.tile(tone(), 25), subtype="PCM_16")
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    blocks = read_blocks(path, sample_rate=RATE)
    n_samples = len(next(blocks))
    with path.open("ab") as file:
        file.write(content[-1_000_000:])
    assert n_samples + sum(map(len, blocks)) == 25 * RATE


def test_two_hours_of_zeros_take_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 120):
        with soundfile.SoundFile(tmp_path / "a.flac", "w", 8000, 2) as file:
            for _ in range(minutes):
                file.write(np.zeros((60 * 8000, 2), np.int16))
        condition = Condition()
        tracemalloc.start()
        n_samples = sum(
            len(block) for block in read_blocks(tmp_path / "a.flac", sample_rate=RATE, listen=condition.listen)
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert n_samples == minutes * 60 * RATE
        assert condition.is_silent
    assert peaks[1] < 1.5 * peaks[0]


def test_channels_that_cancel_are_heard(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path, sample_rate=RATE), tone(), atol=1e-6)
    blocks = mono_blocks(np.stack([tone(), -tone()], axis=1), from_rate=RATE, to_rate=RATE)
    np.testing.assert_array_equal(np.concatenate(list(blocks)), load_audio(path, sample_rate=RATE))


def test_channels_that_cancel_are_heard_in_a_stream_of_short_blocks() -> None:
    """A block of 20 ms alone decides nothing: all that came before it counts, too."""
    channels = np.stack([tone(), -tone()], axis=1)
    blocks = [channels[start : start + RATE // 50] for start in range(0, len(channels), RATE // 50)]
    mono = np.concatenate(list(mono_stream(blocks, from_rate=RATE, to_rate=RATE)))
    np.testing.assert_allclose(mono[RATE // 4 :], tone()[RATE // 4 :], atol=1e-6)


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_compressed_audio_whose_end_is_missing(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", tone(seconds=5.0))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "cannot be decoded to its end|is cut short", by_probe=suffix == "mp3")


def test_an_mp3_that_does_not_state_its_length_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Many have no Xing or Info header; a decoder then guesses the length from the size of the file."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(seconds=5.0), RATE, bitrate_mode="CONSTANT", compression_level=0.5)
    content = path.read_bytes()
    assert 0 < content.find(b"Info") < 200
    second_frame = content.index(content[:2], 200)
    (tmp_path / "b.mp3").write_bytes(content[second_frame:])
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 2, 0]) + bytes(256)
    (tmp_path / "c.mp3").write_bytes(tag + content[second_frame:])
    for name in ("b.mp3", "c.mp3"):
        decoded = load_audio(tmp_path / name, sample_rate=RATE)
        assert abs(len(decoded) - 5 * RATE) < 2 * 1152 + 1105  # padding, which the header would tell to cut off
    path.write_bytes(tag + content[: len(content) // 2])  # this one states its length, behind a tag
    refused(path, "is cut short")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sample_rate", [RATE, 48_000])
def test_samples_that_are_no_numbers(tmp_path: Path, value: float, sample_rate: int) -> None:
    samples = np.tile(tone(seconds=0.5)[:, None], 2)
    samples[12_345, 1] = value
    refused(write(tmp_path / "a.wav", samples, sample_rate=sample_rate, subtype="FLOAT"), "not finite", by_probe=False)


def test_the_message_says_where_the_fault_is(tmp_path: Path) -> None:
    samples = np.tile(tone(), 25)
    samples[round(14.5 * RATE)] = np.nan
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    blocks = read_blocks(path, sample_rate=RATE)
    assert len(next(blocks)) == 10 * RATE
    with pytest.raises(DrumCrnnError, match=r"before second 20\.0"):
        next(blocks)


def test_files_are_closed_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write(tmp_path / "good.wav", tone())
    silent = write(tmp_path / "silent.wav", tone()[:0])
    cut = tmp_path / "cut.wav"
    cut.write_bytes(good.read_bytes()[:-10])
    opened: list[soundfile.SoundFile] = []

    class Remembered(soundfile.SoundFile):
        def __init__(self, path: Path) -> None:
            opened.append(self)
            super().__init__(path)

    monkeypatch.setattr(soundfile, "SoundFile", Remembered)
    assert len(load_audio(good, sample_rate=RATE)) == probe(good).n_samples
    refused(silent, "length zero")
    refused(cut, "cut short")
    assert len(opened) == 5
    assert all(file.closed for file in opened)
