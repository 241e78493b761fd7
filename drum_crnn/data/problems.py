"""What is wrong with one row or one file of a corpus."""

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault of a corpus.

    Attributes
    ----------
    file : str
        The file concerned, relative to the corpus, with `/`.
    line : int
        The line of the corpus's table that names the file, counted from 1.
    what : str
        What is wrong; without machine-dependent paths, so that reports are equal everywhere.
    """

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file} (line {self.line} of the table): {self.what}"
