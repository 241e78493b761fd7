"""Problems: faults of single rows or files of a corpus."""

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a corpus.

    Attributes
    ----------
    file : str
        Relative to the corpus, with `/`.
    line : int
        The line of the corpus's table that names the file, counted from 1.
    what : str
        What is wrong, without paths of this machine, so that reports are equal everywhere.
    """

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file} (line {self.line} of the table): {self.what}"
