"""Finding recordings: files, folders and patterns, as people name them on a command line."""

import glob
from pathlib import Path

from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["AUDIO_SUFFIXES", "find_recordings", "has_audio_suffix", "is_hidden", "visible_paths"]

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
    if argument.is_dir():
        found = [path for path in visible_paths(argument) if has_audio_suffix(path) and path.is_file()]
        if not found:
            raise DrumCrnnError(
                f"{argument}: is a folder without recordings; a recording's name ends in .wav, .flac, .mp3, .ogg …"
            )
        return [(path, path.relative_to(argument)) for path in found]
    if glob.has_magic(str(argument)) and not argument.exists():
        matches = [Path(match) for match in sorted(glob.glob(str(argument), recursive=True))]  # noqa: PTH207  # may be absolute
        if not matches:
            raise DrumCrnnError(f"{argument}: no file matches this pattern")
        return [one for match in matches for one in find_recordings(match)]
    return [(argument, Path(argument.name))]


def visible_paths(folder: Path) -> list[Path]:
    """What lies in a folder and in its folders, but for what is hidden, in order of the paths."""
    return sorted(path for path in folder.rglob("*") if not is_hidden(path.relative_to(folder)))


def is_hidden(relative: Path) -> bool:
    """Whether a path below a folder is hidden, or what a Mac leaves in archives beside the real files."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)
