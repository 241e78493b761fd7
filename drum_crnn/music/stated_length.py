"""What a recording's headers say about its length: decoders take a file that was cut short for a short one."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from drum_crnn.music.mpeg import is_mpeg, missing_of_mpeg

__all__ = ["has_all_pages", "missing_bytes", "open_length"]

# What programs write as the length of a recording on a pipe, which they do not know: the largest (ffmpeg), 2 GB
# (arecord), or a little less, in whole samples (sox). A file that lacks less than half of it was cut short.
_UNKNOWN_LENGTHS = (range(0x7FFF_0000, 0x8000_0001), range(0xFFFF_0000, 0x1_0000_0000))
_LARGEST_UNKNOWN = 1 << 62  # longer ones of 64 bits, too
_OPEN = (b"caff", b"RF64", b"BW64")  # formats whose open length libsndfile does not understand
_LARGEST_PADDING = 65_536
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255
_REFLECTED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Layout(NamedTuple):
    """A container of chunks: how it begins, and how each chunk does."""

    magic: bytes
    kind: bytes  # four bytes at 8, or any
    first: int  # where the first chunk begins
    header: struct.Struct  # name and size of a chunk
    sound: bytes  # the name of the chunk with the samples
    alignment: int = 2  # chunks are padded to it
    counted: int = 0  # bytes of the header that the size counts


_RIFF = struct.Struct("<4sI")
_IFF = struct.Struct(">4sI")
_LAYOUTS = (
    _Layout(b"RIFF", b"WAVE", 12, _RIFF, b"data"),
    _Layout(b"RF64", b"WAVE", 12, _RIFF, b"data"),
    _Layout(b"BW64", b"WAVE", 12, _RIFF, b"data"),
    _Layout(b"RIFX", b"WAVE", 12, _IFF, b"data"),
    _Layout(b"RIFF", b"AVI ", 12, _RIFF, b"LIST"),
    _Layout(b"FORM", b"AIFF", 12, _IFF, b"SSND"),
    _Layout(b"FORM", b"AIFC", 12, _IFF, b"SSND"),
    _Layout(b"caff", b"", 8, struct.Struct(">4sq"), b"data", alignment=1),
    _Layout(b"riff", b"", 40, struct.Struct("<4s12xQ"), b"data", alignment=8, counted=24),  # W64
)


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of its content
    n_bytes: int


def missing_bytes(path: Path) -> int:
    """Bytes of sound that a file's headers announce but the file lacks; 0 for formats whose headers do not say.

    WAV in all its forms, AIFF, CAF, AU and AVI state a length, and most MP3 do. Of an OGG, the last page must be whole.
    Below zero, for WAV alone: bytes behind the samples that belong to no chunk, which a decoder passes over.
    """
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b"OggS":
            return _missing_of_last_page(file)
        n_bytes_of_file = path.stat().st_size
        if start[:4] == b".snd" and len(start) == 12:  # AU
            first, n_bytes = struct.unpack(">4xII", start)
            return _missing(_Chunk(b"", first, n_bytes), n_bytes_of_file)
        for layout in _LAYOUTS:
            if start.startswith(layout.magic) and start[8:].startswith(layout.kind):
                return _missing_of_chunks(file, layout, n_bytes_of_file)
        if is_mpeg(start):
            return missing_of_mpeg(file, n_bytes_of_file)
    return 0


def open_length(path: Path) -> tuple[int, bytes] | None:
    """What a CAF or RF64 that came out of a pipe should state as its length: where, and the bytes.

    Programs leave open what they do not know, and libsndfile does not read on to the end. None for all other files.
    """
    with path.open("rb") as file:
        start = file.read(12)
        layout = next((one for one in _LAYOUTS if start.startswith(one.magic) and one.magic in _OPEN), None)
        if layout is None:
            return None
        n_bytes_of_file = path.stat().st_size
        sound = next((one for one in _chunks(file, layout, n_bytes_of_file) if one.name == layout.sound), None)
    if sound is None or 0 < sound.n_bytes < _LARGEST_UNKNOWN:
        return None
    n_bytes = n_bytes_of_file - sound.start
    return (
        (sound.start - 8, struct.pack(">q", n_bytes)) if layout.magic == b"caff" else (28, struct.pack("<Q", n_bytes))
    )


def has_all_pages(path: Path) -> bool:
    """Whether a file is an OGG from its first page to its last: none is missing, and none is damaged.

    The last page of some whole files announces more samples than their packets hold.

    References
    ----------
    RFC 3533: header and checksum of a page.
    """
    numbers: dict[bytes, int] = {}  # of the last page of each stream
    is_last = False
    with path.open("rb") as file:
        while header := file.read(27):
            if len(header) < 27 or header[:5] != b"OggS\0":
                return False
            flags, serial = header[5], header[14:18]
            number, checksum = struct.unpack_from("<II", header, 18)
            sizes = file.read(header[26])
            page = header[:22] + bytes(4) + header[26:] + sizes + file.read(sum(sizes))
            if len(page) < 27 + header[26] + sum(sizes) or _checksum_of_page(page) != checksum:
                return False
            if number != numbers.get(serial, -1) + 1:
                return False
            numbers[serial] = number
            is_last = bool(flags & 4)
    return is_last


def _checksum_of_page(page: bytes) -> int:
    """The CRC-32 of zlib, but with bits in the other order and without its inversions."""
    reflected = zlib.crc32(page.translate(_REFLECTED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REFLECTED))


def _missing_of_chunks(file: IO[bytes], layout: _Layout, n_bytes_of_file: int) -> int:
    for chunk in _chunks(file, layout, n_bytes_of_file):
        if chunk.name != layout.sound:
            continue
        n_missing = _missing(chunk, n_bytes_of_file)
        if layout.kind == b"AVI " and not n_missing:
            continue  # headers are lists, too
        if layout.magic == b"RIFF" and n_missing == 0 and chunk.start + chunk.n_bytes <= n_bytes_of_file:
            end = chunk.start + chunk.n_bytes + chunk.n_bytes % 2
            file.seek(end)
            return 0 if _is_no_audio(file) else end - n_bytes_of_file
        return n_missing
    return 0


def _chunks(file: IO[bytes], layout: _Layout, n_bytes_of_file: int) -> Iterator[_Chunk]:
    position, long_size = layout.first, None
    file.seek(position)
    while len(header := file.read(layout.header.size)) == layout.header.size:
        name, n_bytes = layout.header.unpack(header)
        start = position + layout.header.size
        n_bytes -= layout.counted
        if name == b"ds64":  # the sizes that do not fit into 32 bits: of the file, then of the samples
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"data" and n_bytes == 0xFFFF_FFFF and long_size is not None:
            n_bytes = long_size
        yield _Chunk(name, start, n_bytes)
        position = start + n_bytes + -n_bytes % layout.alignment
        if n_bytes < 0 or position >= n_bytes_of_file or not any(name):  # the last one, or no chunk
            return
        file.seek(position)


def _missing(chunk: _Chunk, n_bytes_of_file: int) -> int:
    n_missing = chunk.n_bytes - (n_bytes_of_file - chunk.start)
    is_open = chunk.n_bytes >= _LARGEST_UNKNOWN or any(chunk.n_bytes in lengths for lengths in _UNKNOWN_LENGTHS)
    return 0 if n_missing <= 0 or (is_open and 2 * n_missing > chunk.n_bytes) else n_missing


def _is_no_audio(file: IO[bytes]) -> bool:
    """Whether what is left of a WAV is a chunk, whose name is in ASCII, or a few zeros to fill a block of a disk."""
    left = file.read(_LARGEST_PADDING)
    if len(left) < 8 or all(0x20 <= byte < 0x7F for byte in left[:4]):
        return True
    return len(left) < _LARGEST_PADDING and not left.strip(b"\0")


def _missing_of_last_page(file: IO[bytes]) -> int:
    """Bytes that the last page of an OGG lacks. A stream may end anywhere between two pages."""
    n_bytes_of_file = file.seek(0, 2)
    file.seek(max(0, n_bytes_of_file - _LARGEST_OGG_PAGE))
    end = file.read()
    at = end.rfind(b"OggS\0")  # version 0; there is no other
    if at < 0:
        return 0
    page = end[at:]
    n_sizes = page[26] if len(page) > 26 else 0
    return max(0, 27 + n_sizes + sum(page[27 : 27 + n_sizes]) - len(page))
