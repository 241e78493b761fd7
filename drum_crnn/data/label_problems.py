"""Recordings whose own MIDI is not where the canonical MIDI of their performance is; stage `label` finds them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import FiniteFloat

from drum_crnn.foundation.tables import read_rows

__all__ = ["LabelOutcome", "LabelProblem", "read_label_problems"]

LabelOutcome = Literal["corrected", "left_out", "ignored"]


@dataclass(frozen=True, slots=True)
class LabelProblem:
    """A recording whose own MIDI is not where the canonical one of its performance is.

    Attributes
    ----------
    outcome : str
        "corrected": it has labels; "left_out": it has none; "ignored": hardly a note agrees, and ignore windows cover
        them.
    offset_ms : float
        How much later its own MIDI is; 0 if no offset explains the difference.
    what : str
        The same in words.
    """

    recording: str
    kit: str
    outcome: LabelOutcome
    offset_ms: FiniteFloat
    what: str


def read_label_problems(path: Path) -> list[LabelProblem]:
    """Read `data/label_problems.csv`; `DrumCrnnError` if it is missing or damaged."""
    return read_rows(path, LabelProblem, key="recording", stage="label")
