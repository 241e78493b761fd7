"""The exceptions whose messages are for users."""

from pathlib import Path

__all__ = ["DrumCrnnError", "Interrupted", "damaged_error", "memory_ran_out", "out_of_memory_error"]


class DrumCrnnError(Exception):
    """An error that the user can correct: the message says what is wrong, where, and what to do.

    Commands print only the message, without a traceback, and exit with `exit_code`. Bugs of this package raise ordinary
    Python exceptions.
    """

    exit_code = 1


class Interrupted(DrumCrnnError):  # noqa: N818  # nothing went wrong
    """Interrupted; the same command resumes the work."""

    # EX_TEMPFAIL of sysexits.h: "the user is invited to try again later".
    exit_code = 75


def damaged_error(file: Path, why: object, stage: str, *, line: int | None = None) -> DrumCrnnError:
    """The error for an output that is not as its stage wrote it; or that could not be read, if `why` is about memory.

    DVC compares sizes and times. So it may not notice the damage, nor that its own copy has the same damage.
    """
    if memory_ran_out(why):
        return out_of_memory_error(file)
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
