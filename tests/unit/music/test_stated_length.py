"""A file that was cut short anywhere is refused in every format whose headers state a length."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import load_audio, probe
from drum_crnn.music.stated_length import has_all_pages, missing_bytes, open_length

RATE = 44_100
# Format of libsndfile, subtype, and where the field with the size of the samples lies: after a name, so many bytes.
FORMATS = {
    ("WAV", "PCM_16"): (b"data", "<I"),
    ("WAV", "ULAW"): (b"data", "<I"),
    ("RF64", "PCM_24"): (b"data", "<I"),
    ("W64", "PCM_16"): None,
    ("AIFF", "PCM_24"): (b"SSND", ">I"),
    ("AIFF", "FLOAT"): (b"SSND", ">I"),
    ("CAF", "PCM_16"): None,
    ("AU", "PCM_16"): (b".snd" + struct.pack(">I", 24), ">I"),
    ("OGG", "VORBIS"): None,
    ("OGG", "OPUS"): None,
}


def sound() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0.0, 0.1, RATE).astype(np.float32)


def write(path: Path, kind: str, subtype: str) -> Path:
    soundfile.write(path, sound(), 48_000 if subtype == "OPUS" else RATE, format=kind, subtype=subtype)
    return path


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_nothing_is_missing_from_a_whole_file_and_much_from_a_cut_one(tmp_path: Path, kind: str, subtype: str) -> None:
    path = write(tmp_path / "a.x", kind, subtype)
    content = path.read_bytes()
    assert missing_bytes(path) == 0
    whole = probe(path).n_samples
    assert whole >= RATE
    for n_lost in (1, 100, 3000, len(content) // 2):
        path.write_bytes(content[:-n_lost])
        assert missing_bytes(path) > 0
        with pytest.raises(DrumCrnnError, match=r"a\.x: is cut short: \d+ bytes are missing"):
            load_audio(path, sample_rate=RATE)


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000])
@pytest.mark.parametrize(("kind", "subtype"), [one for one, field in FORMATS.items() if field])
def test_a_stream_does_not_know_its_length(tmp_path: Path, kind: str, subtype: str, length: int) -> None:
    path = write(tmp_path / "a.x", kind, subtype)
    content = bytearray(path.read_bytes())
    name, field = FORMATS[kind, subtype] or (b"", "")
    struct.pack_into(field, content, content.index(name) + len(name), length)
    if kind == "RF64":  # the length is in ds64
        struct.pack_into("<Q", content, content.index(b"ds64") + 16, length << 32 | 0xFFFF_FFFF)
    path.write_bytes(content)
    assert missing_bytes(path) == 0


@pytest.mark.parametrize(
    ("kind", "subtype", "name", "skipped", "field"),
    [("CAF", "PCM_16", b"data", 0, ">q"), ("CAF", "ULAW", b"data", 0, ">q"), ("RF64", "PCM_24", b"ds64", 12, "<Q")],
)
@pytest.mark.parametrize("length", [-1, 0, (1 << 63) - 1])
def test_a_length_that_was_left_open_ends_with_the_file(
    tmp_path: Path, kind: str, subtype: str, name: bytes, skipped: int, field: str, length: int
) -> None:
    """Programs that write these formats to a pipe cannot go back; libsndfile refuses them, or finds nothing."""
    path = write(tmp_path / "a.x", kind, subtype)
    whole = load_audio(path, sample_rate=RATE)
    assert open_length(path) is None
    content = bytearray(path.read_bytes())
    n_before = {"<Q": "I", ">q": ""}[field]
    assert not n_before or content[content.index(b"data") + 4 :][:4] == b"\xff" * 4
    mask = (1 << 64) - 1 if field == "<Q" else -1
    struct.pack_into(field, content, content.index(name) + 4 + skipped, length & mask)
    path.write_bytes(content)
    assert np.array_equal(load_audio(path, sample_rate=RATE), whole)
    assert probe(path).n_samples == len(whole)
    path.write_bytes(content[:-6000])  # nobody can tell that it was longer
    assert (
        len(load_audio(path, sample_rate=RATE)) == len(whole) - 6000 // {"PCM_16": 2, "PCM_24": 3, "ULAW": 1}[subtype]
    )


def test_a_stream_of_ogg_may_end_between_two_pages(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", "OGG", "VORBIS")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS\0")])
    assert missing_bytes(path) == 0
    path.write_bytes(content + b"TAG" + bytes(125))  # some programs append tags
    assert missing_bytes(path) == 0


def with_checksum(page: bytes) -> bytes:
    """A page of OGG with the checksum of RFC 3533, bit by bit."""
    remainder = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x104C11DB7 if remainder & 1 << 31 else 0)) & 0xFFFF_FFFF
    return page[:22] + struct.pack("<I", remainder) + page[26:]


def test_an_ogg_whose_last_page_announces_too_much_is_read_if_no_page_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", "OGG", "VORBIS")
    whole, content = load_audio(path, sample_rate=RATE), path.read_bytes()
    assert has_all_pages(path)
    first, last = content.index(b"OggS\0", 5000), content.rindex(b"OggS\0")
    assert first < last
    announced = struct.pack("<Q", len(whole) + 5000)
    page = with_checksum(content[last : last + 6] + announced + content[last + 14 :])
    path.write_bytes(content[:last] + page)
    assert probe(path).n_samples == len(whole) + 5000
    read = load_audio(path, sample_rate=RATE)
    np.testing.assert_array_equal(read[: len(whole)], whole)
    assert len(read) < len(whole) + 5000
    changed = bytearray(content[:last] + page)
    changed[first + 600] ^= 1
    second = content.index(b"OggS\0", first + 1)
    for damaged in (bytes(changed), content[:first] + content[second:last] + page, content[:last]):
        path.write_bytes(damaged)
        assert not has_all_pages(path)
    for damaged in (bytes(changed), content[:first] + content[second:last] + page):
        path.write_bytes(damaged)
        with pytest.raises(DrumCrnnError, match="is truncated"):
            load_audio(path, sample_rate=RATE)


def test_a_video_in_avi_that_was_cut_is_noticed_behind_its_headers(tmp_path: Path) -> None:
    headers = b"LIST" + struct.pack("<I", 8) + b"hdrlabcd"
    movie = b"LIST" + struct.pack("<I", 1004) + b"movi" + bytes(1000)
    path = tmp_path / "a.avi"
    whole = b"RIFF" + struct.pack("<I", 4 + len(headers) + len(movie)) + b"AVI " + headers + movie
    path.write_bytes(whole)
    assert missing_bytes(path) == 0
    path.write_bytes(whole[:-300])
    assert missing_bytes(path) == 300


def test_other_files_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.x"
    for content in (b"", b"RIFF", b"FORM\0\0\0\4ILBM", b"OggS\0", b"caff\0\1\0\0data\xff", bytes(1000)):
        path.write_bytes(content)
        assert missing_bytes(path) >= 0
    for length in (-1, (1 << 63) - 1):  # the samples go on to the end
        for name in (b"data", b"free"):
            path.write_bytes(b"caff\0\1\0\0" + name + struct.pack(">q", length) + bytes(100))
            assert missing_bytes(path) == 0
    path.write_bytes(b"riff" + bytes(36) + b"data" + bytes(12) + b"\xff" * 8 + bytes(100))
    assert missing_bytes(path) == 0
