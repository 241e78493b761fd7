"""The exceptions whose messages are for users."""

import errno
import os
import shlex
from pathlib import Path

__all__ = [
    "NO_SPACE",
    "DrumCrnnError",
    "Interrupted",
    "damaged_error",
    "is_refusal",
    "memory_ran_out",
    "out_of_memory_error",
    "refused_error",
]

# Disk full, quota used up, limit of file size reached.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM}
_IS_DISK_IN_ORDER = "is the disk in order, and a folder of another machine still there?"
# What to do if the system refuses to read or write, by its reason; `refused_error` has more.
_ADVICE = {
    errno.EISDIR: "name a file, not a folder",
    errno.ELOOP: "its links lead in a circle, so name the file itself",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of its path is a file, so check the path",
    errno.EROFS: "choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
} | dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT), _IS_DISK_IN_ORDER)


class DrumCrnnError(Exception):
    """An error that the user can correct: the message says what is wrong, where, and what to do.

    Commands print only the message, without a traceback, and exit with `exit_code`. Bugs of this package raise ordinary
    Python exceptions. Several arguments are several faults, each on a line of its own.
    """

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class Interrupted(DrumCrnnError):  # noqa: N818  # nothing went wrong
    """Interrupted; the same command resumes the work."""

    # EX_TEMPFAIL of sysexits.h: "the user is invited to try again later".
    exit_code = 75


def damaged_error(file: Path, why: object, stage: str, *, line: int | None = None) -> DrumCrnnError:
    """The error for an output that is not as its stage wrote it; or that could not be read, if `why` says so.

    DVC compares sizes and times. So it may not notice the damage, nor that its own copy has the same damage.
    """
    if memory_ran_out(why):
        return out_of_memory_error(file)
    if isinstance(why, OSError) and is_refusal(why):
        return refused_error(file, why)
    place = file if line is None else f"{file}:{line}"
    return DrumCrnnError(
        f"{place}: is damaged ({why}); delete {file}, then run `dvc repro {stage}`; if the damage comes back, run "
        "`drum-crnn verify --remove` first"
    )


def memory_ran_out(error: object) -> bool:
    """Whether an error means that there is no memory left. HDF5 and PyTorch have words for it, but no type."""
    words = ("memory allocation failed", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def out_of_memory_error(file: Path | None = None) -> DrumCrnnError:
    """The error for memory that ran out, while `file` was read if it is given; nothing is wrong with the file."""
    place = "" if file is None else f"{file}: could not be read: "
    return DrumCrnnError(
        f"{place}memory ran out; close other programs or use fewer processes (--workers), then run the same command "
        "again"
    )


def is_refusal(error: OSError) -> bool:
    """Whether the system refuses for a reason that a user can do something about: no bug, and no damaged file."""
    return error.errno in {*NO_SPACE, *_DENIED, *_ADVICE}


def refused_error(path: Path, error: OSError, done: str = "read") -> DrumCrnnError:
    """The error for a file or folder that the system does not let us use: which, why, and what to do.

    Parameters
    ----------
    done : str
        What cannot be done with it: "read" or "written".
    """
    why = os.strerror(error.errno) if error.errno else error
    if error.errno in NO_SPACE:
        advice = "make room, and run the same command again"
    elif error.errno in _DENIED:
        advice = _how_to_be_allowed(path, done)
    else:
        advice = _ADVICE.get(error.errno or 0, "check the path" if done == "read" else "choose another place")
    return DrumCrnnError(f"{path}: cannot be {done}: {why}; {advice}")


def _how_to_be_allowed(path: Path, done: str) -> str:
    """Name the file or folder that is at fault, and the command that helps if it is the user's own."""
    place, right = path, "rx" if os.path.isdir(path) else "r"  # noqa: PTH112  # Path.is_dir may be denied
    for folder in reversed(path.absolute().parents):
        if os.path.isdir(folder) and not os.access(folder, os.X_OK):  # noqa: PTH112  # as above
            place, right = folder, "rx" if done == "read" else "rwx"
            break
        if done != "read" and os.access(folder, os.X_OK):  # files are replaced, so the last folder that exists counts
            place, right = folder, "wx"
    otherwise = "" if done == "read" else ", or choose another place"
    if _is_own(place):
        return f"give yourself the right: chmod u+{right} {shlex.quote(str(place))}{otherwise}"
    return f"ask the owner of {place} for the right{otherwise}"


def _is_own(place: Path) -> bool:
    try:
        return hasattr(os, "geteuid") and place.stat().st_uid == os.geteuid()
    except OSError:
        return False
