"""The exceptions that are meant for people."""

from pathlib import Path

__all__ = ["DrumCrnnError", "Interrupted", "damaged_error"]


class DrumCrnnError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Commands print the message alone, without a traceback, and exit with `exit_code`. Anything that is our own mistake
    stays an ordinary Python exception.
    """

    exit_code = 1


class Interrupted(DrumCrnnError):  # noqa: N818  # nothing went wrong
    """The work was stopped from outside and can go on: the same command again continues it."""

    # EX_TEMPFAIL of sysexits.h: "the user is invited to try again later".
    exit_code = 75


def damaged_error(file: Path, why: object, stage: str, *, line: int | None = None) -> DrumCrnnError:
    """What to say of an output of a stage that is not as the stage wrote it.

    DVC goes by sizes and times, so it may neither see the damage nor that its own copy has it too.
    """
    place = file if line is None else f"{file}:{line}"
    return DrumCrnnError(
        f"{place}: is damaged ({why}); delete {file}, then run `dvc repro {stage}`; where that brings back the same "
        "damage, run `drum-crnn verify --remove` first"
    )
