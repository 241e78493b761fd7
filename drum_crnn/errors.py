"""The one exception that is meant for people."""

__all__ = ["DrumCrnnError"]


class DrumCrnnError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Commands print the message alone, without a traceback, and exit with code 1. Anything that is our own mistake
    stays an ordinary Python exception.
    """
