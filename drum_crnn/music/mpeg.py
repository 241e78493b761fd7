"""MPEG audio (MP3, MP2, MP1) that was cut short: decoders take it for a shorter recording.

A stream of frames states no length. But most encoders write a header of Xing, Info or VBRI into the first frame, which
counts the bytes of all. A last frame that is not whole is no proof: whoever records a radio's stream ends anywhere.
"""

import itertools
from collections.abc import Iterator
from typing import IO, NamedTuple

__all__ = ["is_mpeg", "missing_of_mpeg"]

# kbit/s by (is MPEG 1, layer) and the header's index; 0 leaves the rate open, 15 is none.
_RATES_1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_LOW_RATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_2 = {1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256), 2: _LOW_RATES, 3: _LOW_RATES}
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version

_N_BYTES_OF_HEADER = 4
_LARGEST_FRAME = 2_881  # of layer 2 with 160 kbit/s at 8 kHz
_MOST_JUNK = 65_536  # before the first frame
_CHAIN = 4  # frames one after the other are no chance


class _Frame(NamedTuple):
    """What does not change from frame to frame, and the bytes of one."""

    version: int
    layer: int
    sample_rate: int
    n_bytes: int

    def is_like(self, other: "_Frame") -> bool:
        return self[:3] == other[:3]


def is_mpeg(start: bytes) -> bool:
    """Whether the first bytes of a file are those of MPEG audio, or of a tag, which other formats have, too."""
    return start[:3] == b"ID3" or _frame(start, 0) is not None


def missing_of_mpeg(file: IO[bytes], n_bytes_of_file: int) -> int:
    """Bytes that are missing from the end of a stream; 0 if it has no header, or they are less than a frame."""
    begin = _end_of_tag(file)
    end = _start_of_tags(file, n_bytes_of_file)
    file.seek(begin)
    head = file.read(min(_MOST_JUNK, max(end - begin, 0)))
    first = _first_frame(head, end - begin)
    if first is None:
        return 0
    at, kind = first
    n_missing = _stated_bytes(head[at : at + kind.n_bytes]) - (end - begin - at)
    return n_missing if n_missing > _LARGEST_FRAME else 0  # some do not count the frame of the header itself


def _frame(content: bytes, at: int) -> _Frame | None:
    """The header of a frame, if there is one."""
    header = content[at : at + _N_BYTES_OF_HEADER]
    if len(header) < _N_BYTES_OF_HEADER or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, sample_rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate in (0, 15) or sample_rate == 3:  # reserved; or a rate that is left open
        return None
    n_hz = _SAMPLE_RATES[version][sample_rate]
    n_bits = 1000 * (_RATES_1 if version == 3 else _RATES_2)[layer][rate]
    if layer == 1:
        n_bytes = (12 * n_bits // n_hz + padding) * 4
    else:
        n_bytes = (72 if layer == 3 and version != 3 else 144) * n_bits // n_hz + padding
    return _Frame(version, layer, n_hz, n_bytes)


def _walk(content: bytes, at: int, first: _Frame) -> Iterator[int]:
    """Where frames that follow each other end, the last of which may be beyond the content."""
    frame: _Frame | None = first
    while frame is not None and frame.is_like(first):
        at += frame.n_bytes
        yield at
        frame = _frame(content, at)


def _first_frame(content: bytes, n_bytes: int) -> tuple[int, _Frame] | None:
    """Where several frames begin, or as many as there are, if `n_bytes` is all there is; and the first of them."""
    at = content.find(b"\xff")
    while at >= 0:
        frame = _frame(content, at)
        if frame is not None:
            ends = list(itertools.islice(_walk(content, at, frame), _CHAIN))
            if len(ends) == _CHAIN or (at == 0 and ends[-1] >= n_bytes):
                return at, frame
        at = content.find(b"\xff", at + 1)
    return None


def _stated_bytes(frame: bytes) -> int:
    """The bytes of the stream by the header in its first frame, or 0."""
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if at >= 0 and len(frame) >= at + 16:
            has_frames, has_bytes = frame[at + 7] & 1, frame[at + 7] & 2
            start = at + (12 if has_frames else 8)
            return int.from_bytes(frame[start : start + 4], "big") if has_bytes else 0
    at = frame.find(b"VBRI")
    return int.from_bytes(frame[at + 10 : at + 14], "big") if 0 <= at <= len(frame) - 14 else 0


def _end_of_tag(file: IO[bytes]) -> int:
    """Where the ID3 tags at the beginning of a file end."""
    at = 0
    while True:
        file.seek(at)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            return at
        at += 10 + _seven_bits(tag[6:]) + (10 if tag[5] & 0x10 else 0)  # with a footer


def _seven_bits(four_bytes: bytes) -> int:
    return sum(byte << shift for byte, shift in zip(four_bytes, (21, 14, 7, 0), strict=True))


def _start_of_tags(file: IO[bytes], end: int) -> int:
    """Where the tags at the end of a file begin: ID3 of both versions, APE and Lyrics3, in any order."""
    while True:
        before = end
        file.seek(max(0, end - 128))
        last = file.read(min(end, 128))
        if len(last) == 128 and last.startswith(b"TAG"):
            end -= 128
        elif last[-32:-24] == b"APETAGEX":
            has_header = last[-9] & 0x80
            end -= int.from_bytes(last[-20:-16], "little") + (32 if has_header else 0)
        elif last.endswith(b"LYRICS200") and last[-15:-9].isdigit():
            end -= int(last[-15:-9]) + 15
        elif last[-10:-7] == b"3DI":
            end -= _seven_bits(last[-4:]) + 20
        if end == before or end <= 0:
            return max(end, 0)
