"""Finding recordings: files, folders and patterns, as people name them on a command line."""

import glob
import os
import stat
from collections.abc import Callable
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError, refused_error

__all__ = [
    "AUDIO_SUFFIXES",
    "find_recordings",
    "has_audio_suffix",
    "is_hidden",
    "is_kind",
    "is_special",
    "visible_files",
]

# Of a folder, files with these suffixes are taken. A file that is named itself may have any.
AUDIO_SUFFIXES = frozenset(
    {
        ".wav",
        ".wave",
        ".w64",
        ".rf64",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".aif",
        ".aiff",
        ".aifc",
        ".caf",
        ".au",
    }
    # Those that ffmpeg reads: sound, and videos.
    | {".m4a", ".m4b", ".aac", ".wma", ".mka", ".ac3", ".eac3", ".dts", ".amr", ".ape", ".tta", ".wv", ".mp2", ".spx"}
    | {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".3gp", ".mpg", ".mpeg", ".mts", ".flv", ".ogv"}
)


def has_audio_suffix(path: Path) -> bool:
    """Whether a file's name is that of a recording."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def find_recordings(argument: Path) -> list[tuple[Path, Path]]:
    """The recordings that an argument means, in order of their names.

    A folder means all recordings in it and in its folders, hidden ones aside. A pattern such as `songs/*.wav` means
    what it matches, for shells that do not resolve it. Anything else means itself, whether it exists or not.

    Returns
    -------
    list of (path, relative path)
        The relative path is below the folder that was named, or the file's name alone.

    Raises
    ------
    DrumCrnnError
        If a folder holds no recording, or a pattern matches none.
    """
    if is_kind(argument, stat.S_ISDIR):
        closed: list[Path] = []
        files = visible_files(argument, on_error=lambda error: closed.append(Path(error.filename)))
        found = sorted([*closed, *(path for path in files if has_audio_suffix(path) and not is_special(path))])
        if not found:
            raise DrumCrnnError(
                f"{argument}: is a folder without recordings; a recording's name ends in .wav, .flac, .mp3, .ogg …"
            )
        return [(path, path.relative_to(argument)) for path in found]
    if glob.has_magic(str(argument)) and not os.path.lexists(argument):
        matches = [Path(match) for match in sorted(glob.glob(str(argument), recursive=True))]  # noqa: PTH207  # may be absolute
        if not matches:
            raise DrumCrnnError(f"{argument}: no file matches this pattern")
        return [one for match in matches for one in find_recordings(match)]
    return [(argument, Path(argument.name))]


def visible_files(folder: Path, *, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """The files in a folder and in its folders, but for what is hidden, in order of the paths. Links lead no further.

    Parameters
    ----------
    on_error : callable, optional
        Called for each folder that cannot be read, in place of an error.

    Raises
    ------
    DrumCrnnError
        If a folder cannot be read.
    """
    found = []
    for place, folders, files in os.walk(folder, onerror=on_error or _refuse):
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        found += [Path(place, name) for name in files if not is_hidden(Path(name))]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise refused_error(Path(error.filename), error) from None


def is_kind(path: Path, of_mode: Callable[[int], bool]) -> bool:
    """Whether there is something of a kind, such as `stat.S_ISDIR`; not if it cannot be looked at."""
    try:
        return of_mode(path.stat().st_mode)
    except OSError:
        return False


def is_special(path: Path) -> bool:
    """Whether there is a device or a pipe, in whose place no file should be read or written."""
    return is_kind(path, lambda mode: not stat.S_ISREG(mode) and not stat.S_ISDIR(mode))


def is_hidden(relative: Path) -> bool:
    """Whether a path below a folder is hidden, or what a Mac leaves in archives beside the real files."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)
