"""Recordings and kits whose own MIDI disagrees with the canonical MIDI: what becomes of them, in words."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drum_crnn.data.catalog import CatalogEntry
from drum_crnn.data.label_problems import LabelOutcome, LabelProblem
from drum_crnn.data.labels import Labels
from drum_crnn.foundation.console import warn
from drum_crnn.music.midi import Note
from drum_crnn.preparation.alignment import SMALL_OFFSET_S, follows_own_midi

__all__ = ["judge_account", "judge_offset", "warn_of_kits"]

_DISPUTED = ("remapped", "missing")
_WHOLLY = 0.9  # share of the notes of a kit or a recording that disagree, if all of it does
_FEW_NOTES = 8
_N_NAMED = 10  # kits
_TELL_OUTCOME: dict[LabelOutcome, str] = {
    "corrected": "MIDI that is earlier or later than the canonical MIDI was corrected",
    "left_out": "MIDI is off by more than labels.max_offset_s, so these are left out",
    "ignored": "MIDI differs wholly from the canonical MIDI, and its notes are ignored",
}


def judge_offset(
    root: Path, entry: CatalogEntry, canonical: Sequence[Note], offset_s: float, max_offset_s: float
) -> tuple[LabelProblem | None, bool]:
    """What is wrong with a recording whose own MIDI is later by `offset_s`, and whether its audio is so as well."""
    side = "later" if offset_s > 0 else "earlier"
    said = f"its MIDI is {abs(1000 * offset_s):.1f} ms {side} than the canonical MIDI"
    if abs(offset_s) > max_offset_s:
        what = f"{said}, more than labels.max_offset_s allows: left out"
        return _problem(entry, "left_out", offset_s, what), False
    if abs(offset_s) <= SMALL_OFFSET_S:
        return None, False
    is_late_too = follows_own_midi(root / entry.audio_path, canonical, offset_s)
    if is_late_too:
        what = f"{said}, and so is its audio: its labels are as well"
    elif is_late_too is None:
        what = f"{said}, and its audio does not tell which is right: its labels are as the canonical MIDI"
    else:
        what = f"{said}, but its audio is not: its labels are as the canonical MIDI"
    return _problem(entry, "corrected", offset_s, what), bool(is_late_too)


def judge_account(entry: CatalogEntry, account: Counter[tuple[str, int]]) -> LabelProblem | None:
    """What is wrong with a recording in which hardly a note agrees."""
    n_notes = sum(count for (reason, _), count in account.items() if reason != "extra")
    n_remapped, n_missing = (sum(count for (reason, _), count in account.items() if reason == one) for one in _DISPUTED)
    if n_notes < _FEW_NOTES or n_remapped + n_missing < _WHOLLY * n_notes:
        return None
    what = f"of {n_notes} notes, {n_remapped} have another lane in its MIDI and {n_missing} are not in it: ignored"
    if n_missing > n_remapped:
        what += "; does its MIDI belong to another performance?"
    return _problem(entry, "ignored", 0.0, what)


def _problem(entry: CatalogEntry, outcome: LabelOutcome, offset_s: float, what: str) -> LabelProblem:
    return LabelProblem(entry.recording, entry.kit, outcome, round(1000 * offset_s, 1), what)


def warn_of_kits(labels: Labels) -> None:
    """Name the kits whose notes disagree wholly, and those whose MIDI was corrected or left out."""
    n_notes: Counter[str] = Counter()
    n_disputed: Counter[str] = Counter()
    for row in labels.accounting:
        n_notes[row.kit] += row.count if row.reason != "extra" else 0
        n_disputed[row.kit] += row.count if row.reason in _DISPUTED else 0
    wholly = [kit for kit in sorted(n_notes) if n_disputed[kit] >= max(1, _WHOLLY * n_notes[kit])]
    if wholly:
        warn(
            f"nearly all notes of {_named(wholly)} differ from the canonical MIDI of their performances, and are "
            "ignored: training learns nothing from these recordings"
        )
    for outcome, told in _TELL_OUTCOME.items():
        offsets_of: dict[str, list[float]] = {}
        for problem in labels.problems:
            if problem.outcome == outcome:
                offsets_of.setdefault(problem.kit, []).append(problem.offset_ms)
        if offsets_of:
            kits = [
                f"{kit} ({len(found)}{f', by {np.median(found):+.1f} ms' if any(found) else ''})"
                for kit, found in sorted(offsets_of.items())
            ]
            warn(f"{told}: recordings of {_named(kits)}; data/label_problems.csv lists them")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + more
