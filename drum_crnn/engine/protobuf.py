"""The encoding of protocol buffers, as far as ONNX files need it: fields of messages, one after the other.

The package `onnx` does this too, but takes longer to import than a song of ten seconds takes to transcribe.

References
----------
https://protobuf.dev/programming-guides/encoding/
"""

import struct

__all__ = ["delimited", "integer", "real"]

_VARINT, _DELIMITED, _FOUR_BYTES = 0, 2, 5  # how the value of a field is written


def integer(field: int, value: int) -> bytes:
    """A field with a whole number of at most 64 bits."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def real(field: int, value: float) -> bytes:
    """A field with a float32."""
    return _varint(field << 3 | _FOUR_BYTES) + struct.pack("<f", value)


def delimited(field: int, *parts: bytes | str) -> bytes:
    """A field with bytes, a text, or another message, whose fields are the parts."""
    content = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join([_varint(field << 3 | _DELIMITED), _varint(sum(map(len, content))), *content])


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; negative numbers are 64-bit two's complements."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
