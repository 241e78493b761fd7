"""What formats say about a recording besides its onsets."""

import re
from dataclasses import dataclass
from pathlib import Path

from drum_crnn.foundation.console import printable

__all__ = ["Song"]


@dataclass(frozen=True, slots=True)
class Song:
    """Names, as text without line breaks.

    Parameters
    ----------
    recording : str
        The name of the recording's file, without its folder.
    title, artist : str
        As the file's name gives them; the artist may be unknown, and then is empty.
    model : str
        The model that transcribed it, or empty.
    """

    recording: str
    title: str
    artist: str = ""
    model: str = ""

    @classmethod
    def of(cls, recording: Path, *, model: str = "") -> "Song":
        """From a path. A name such as `Artist - Title.wav` gives both."""
        artist, dash, title = _one_line(recording.stem).partition(" - ")
        if not dash:
            artist, title = "", artist
        return cls(_one_line(recording.name), title.strip() or "Untitled", artist.strip(), _one_line(model))


def _one_line(text: str) -> str:
    """A file name may hold line breaks and bytes that are no UTF-8."""
    return printable(re.sub(r"\s+", " ", text)).strip()
