"""MPEG audio that was cut short is told, and no whole file is called so."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import load_audio
from drum_crnn.music.mpeg import is_mpeg, missing_of_mpeg

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # MPEG 2.5, 2 and 1
MODES = ("CONSTANT", "AVERAGE", "VARIABLE")
ID3_V1 = b"TAG" + bytes(125)
LYRICS = b"LYRICSBEGIN" + bytes(50) + b"000061LYRICS200"


def mp3(rate: int, mode: str, n_channels: int = 2, level: float = 0.5) -> bytes:
    """Two seconds of noise that comes and goes."""
    fading = np.sin(np.arange(2 * rate) / rate * 20)[:, None]
    noise = fading * np.random.default_rng(rate).normal(0.0, 0.1, (2 * rate, n_channels))
    file = io.BytesIO()
    soundfile.write(
        file, noise, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=level
    )
    return file.getvalue()


def ape(n_bytes: int, *, with_header: bool) -> bytes:
    size = (n_bytes + 32).to_bytes(4, "little")
    ends = [
        b"APETAGEX" + bytes(4) + size + bytes(4) + bytes([0, 0, 0, flag]) + bytes(8)
        for flag in (0x80 * with_header + 0x20, 0x80 * with_header)
    ]
    return (ends[0] if with_header else b"") + bytes(n_bytes) + ends[1]


def missing(content: bytes) -> int:
    return missing_of_mpeg(io.BytesIO(content), len(content))


def without_header(content: bytes) -> bytes:
    """The stream without the frame with a header of Xing, which some encoders do not write."""
    has_header = b"Xing" in content[:200] or b"Info" in content[:200]
    return content[content.index(content[:2], 4) :] if has_header else content


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", RATES)
def test_whole_files_lack_nothing_and_cut_ones_do(rate: int, mode: str) -> None:
    for n_channels, level in ((1, 0.9), (2, 0.1)):
        whole = mp3(rate, mode, n_channels, level)
        assert is_mpeg(whole)
        bare = without_header(whole)
        assert missing(whole) == missing(bare) == 0
        n_lost = len(whole) // 2
        assert missing(bare[:-n_lost]) == 0
        if len(bare) < len(whole) and n_lost > 3_000:
            assert missing(whole[:-n_lost]) == n_lost


@given(st.integers(3_000, 40_000))
def test_any_cut_of_more_than_a_frame_is_told_if_there_is_a_header(n_bytes: int) -> None:
    n_lost = len(WITH_HEADER) - n_bytes
    assert missing(WITH_HEADER[:n_bytes]) == (n_lost if n_lost > 2_881 else 0)
    assert missing(CONSTANT[:n_bytes]) == 0


@pytest.mark.parametrize(
    "front", [b"", b"ID3\4\0\0\0\0\1\0" + bytes(128), 2 * (b"ID3\3\0\0\0\0\0\5" + bytes(5)), bytes(700)]
)
@pytest.mark.parametrize(
    "back",
    [
        b"",
        ID3_V1,
        ape(300, with_header=True) + ID3_V1,
        ape(5_000, with_header=False),
        LYRICS + ID3_V1,
        b"ID3\4\0\x10\0\0\1\0" + bytes(128) + b"3DI\4\0\x10\0\0\1\0",
    ],
)
def test_tags_are_no_sound(front: bytes, back: bytes) -> None:
    assert missing(front + WITH_HEADER + back) == 0
    assert missing(front + WITH_HEADER[:-7_000] + back) == 7_000


def test_what_nobody_knows_behind_the_sound_is_no_cut() -> None:
    for left in (bytes(1), bytes(5_000), np.random.default_rng(0).bytes(3_000)):
        assert missing(WITH_HEADER + left) == 0


def test_the_byte_count_of_a_header_is_believed() -> None:
    n_lost = 20 * FRAME
    assert missing(WITH_HEADER[:-n_lost]) == n_lost
    frame = bytearray(CONSTANT[:FRAME])
    frame[36:54] = b"VBRI" + bytes(6) + (len(CONSTANT) + FRAME).to_bytes(4, "big") + bytes(4)
    assert missing(bytes(frame) + CONSTANT) == 0
    assert missing(bytes(frame) + CONSTANT[:-n_lost]) == n_lost


def test_a_cut_file_is_refused_but_not_a_stream_that_ends_within_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(WITH_HEADER[:-9_000])
    with pytest.raises(DrumCrnnError, match=r"a\.mp3: is cut short: 9000 bytes are missing from its end, if not more"):
        load_audio(path, sample_rate=48_000)
    path.write_bytes(CONSTANT[:-100])
    assert load_audio(path, sample_rate=48_000).size == pytest.approx(2 * 48_000, abs=4_000)


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("options", ["-f mp2 -ar 44100", "-f mp2 -ar 16000 -b:a 64k", "-f mp3 -q:a 9", "-f mp3 -abr 1"])
def test_files_of_another_program(options: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anoisesrc=d=2", *options.split(), str(file)]
    subprocess.run(command, check=True)
    whole = file.read_bytes()
    assert is_mpeg(whole)
    assert missing(whole) == 0
    assert missing(whole[:-5_000]) == (5_000 if "mp3" in options else 0)


@given(st.binary(max_size=4_000), st.sampled_from([b"", b"ID3", b"\xff\xfb\x90\x00", b"\xff\xf3\x40\xc0"]))
def test_any_bytes_give_a_number(content: bytes, start: bytes) -> None:
    is_mpeg(start + content)
    assert missing(start + content) >= 0
    assert missing(CONSTANT[:2_000] + content) >= 0


WITH_HEADER = mp3(48_000, "CONSTANT")
CONSTANT = without_header(WITH_HEADER)
FRAME = CONSTANT.index(CONSTANT[:2], 4)
