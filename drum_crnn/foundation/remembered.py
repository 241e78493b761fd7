"""Results of earlier runs, by a checksum of everything that they depend on: contents of files, params and code.

So a stage whose outputs DVC removes before it runs need not compute again what did not change. The file is a cache:
delete it, and the next run takes longer and gives the same result.
"""

import contextlib
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.stage import loaded_code

__all__ = ["Remembered", "remembered"]

# What zipfile and NumPy raise, depending on the byte.
_SIGNS_OF_DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    ValueError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_KEY_BYTES = hashlib.sha256().digest_size


class Remembered:
    """Results as bytes; `remembered` opens and saves them."""

    def __init__(self, results: dict[bytes, bytes]) -> None:
        self.known = results
        self.used: dict[bytes, bytes] = {}
        self._code = hashlib.sha256(b"".join(file.read_bytes() for file in loaded_code())).hexdigest()

    def key(self, *parts: str) -> bytes:
        """The checksum of what a result depends on, besides the code."""
        return hashlib.sha256("\0".join((self._code, *parts)).encode()).digest()

    def get(self, key: bytes) -> bytes | None:
        """The result of an earlier run, or of this one; None if there is none."""
        result = self.known.get(key)
        if result is not None:
            self.used[key] = result
        return result

    def put(self, key: bytes, result: bytes) -> None:
        """Remember a result."""
        self.known[key] = self.used[key] = result


@contextlib.contextmanager
def remembered(path: Path | None) -> Iterator[Remembered]:
    """Yield the results in a file, and save them when the block ends, also by an error.

    After a block without an error, results that it neither got nor put are forgotten, so that the file does not grow.
    A damaged file counts as empty, and one that cannot be written is left alone, both with a warning.

    Parameters
    ----------
    path : Path or None
        The file; None remembers nothing.
    """
    results = {} if path is None else _read(path)
    memory = Remembered(dict(results))
    kept = memory.known
    try:
        yield memory
        kept = memory.used
    finally:
        if path is not None and kept != results:
            try:
                _write(path, kept)
            except DrumCrnnError as error:
                warn(f"{error} (results could not be remembered, so the next run takes longer)")


def _read(path: Path) -> dict[bytes, bytes]:
    """Keys and results of a file that `_write` wrote. Every part of it has a checksum, as in all zip files."""
    try:
        with np.load(path) as file:  # without pickles
            if damaged := file.zip.testzip():  # before anything of it is understood
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
            keys, ends, content = file["keys"].tobytes(), file["ends"].tolist(), file["results"].tobytes()
    except FileNotFoundError:
        return {}
    except _SIGNS_OF_DAMAGE as error:
        warn(f"{path}: is damaged ({error}), so nothing of it is used; what it remembered is computed again")
        return {}
    starts = [0, *ends[:-1]]
    return {
        keys[i * _KEY_BYTES : (i + 1) * _KEY_BYTES]: content[start:end]
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    }


def _write(path: Path, results: dict[bytes, bytes]) -> None:
    with replace_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            keys=np.frombuffer(b"".join(results), np.uint8),
            ends=np.cumsum([len(result) for result in results.values()], dtype=np.int64),
            results=np.frombuffer(b"".join(results.values()), np.uint8),
        )
