"""Opening recordings with libsndfile."""

import io
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import soundfile

from drum_crnn.music.stated_length import open_length

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["open_sound_file"]


def open_sound_file(path: Path) -> soundfile.SoundFile:
    """Open a recording. A CAF or RF64 that came out of a pipe, whose header leaves the length open, ends with the file.

    Raises
    ------
    OSError, soundfile.LibsndfileError
        If the file cannot be read, or libsndfile does not know its format.
    TypeError
        If it holds raw samples by its name.
    """
    try:
        # As bytes, since a file name need not be UTF-8; Windows has names of characters.
        file = soundfile.SoundFile(path if sys.platform == "win32" else os.fsencode(path))
    except soundfile.LibsndfileError:
        stated = open_length(path)
        if stated is None:
            raise
    else:
        stated = None if file.frames else open_length(path)
        if stated is None:
            return file
        file.close()
    return _OwnedFile(_Completed(path, *stated))


class _Completed(io.FileIO):
    """A file that reads as if some of its bytes were others."""

    def __init__(self, path: Path, start: int, content: bytes) -> None:
        super().__init__(path)
        self._start, self._content = start, content

    def readinto(self, buffer: "WriteableBuffer") -> int:
        begin, view = self.tell(), memoryview(buffer)
        n = super().readinto(view) or 0
        for place, byte in enumerate(self._content, start=self._start - begin):
            if 0 <= place < n:
                view[place] = byte
        return n


class _OwnedFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """One that closes the stream that it reads from."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        super().__init__(stream)

    def close(self) -> None:
        super().close()
        self._stream.close()
