"""The exceptions whose messages are for users."""

from pathlib import Path

__all__ = ["DrumCrnnError", "Interrupted", "damaged_error"]


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
    """The error for an output that is not as its stage wrote it.

    DVC compares sizes and times. So it may not notice the damage, nor that its own copy has the same damage.
    """
    place = file if line is None else f"{file}:{line}"
    return DrumCrnnError(
        f"{place}: is damaged ({why}); delete {file}, then run `dvc repro {stage}`; if the damage comes back, run "
        "`drum-crnn verify --remove` first"
    )
