"""The exceptions that are meant for people."""

__all__ = ["DrumCrnnError", "Interrupted"]


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
