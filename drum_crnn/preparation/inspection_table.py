"""What an inspection found, as a table with a row for each kit, and as lines."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from rich import box
from rich.table import Table

from drum_crnn.preparation.inspection import Inspection

__all__ = ["problem_lines", "table_of_kits"]


def table_of_kits(inspections: Iterable[Inspection]) -> Table:
    """A row for each kit: what its recordings are, and how many are wrong."""
    of_kit: dict[str, list[Inspection]] = defaultdict(list)
    for one in inspections:
        if one.recording:
            of_kit[one.kit].append(one)
    table = Table(
        caption="dBFS: median peak. offset: median of how many ms the audio is later than its notes; ±: half the range "
        "of nine in ten. agree: median share, in %, of what sounds that the notes explain. untold: files whose "
        "alignment nobody can tell.",
        box=box.SIMPLE,
        padding=0,  # so that it fits into 80 columns
    )
    table.add_column("kit", overflow="fold", min_width=16)
    for column in ("files", "wrong", "untold", "ch", "Hz", "bits", "dBFS", "offset", "±", "agree"):
        table.add_column(column, justify="right")
    for kit, found in sorted(of_kit.items()):
        n_wrong = sum(one.verdict == "wrong" for one in found)
        table.add_row(
            kit,
            f"{len(found)}",
            f"{n_wrong}" if n_wrong else "",
            _count(found, "cannot tell"),
            _values(one.n_channels for one in found),
            _values(one.sample_rate for one in found),
            _values(one.bits for one in found),
            _median([one.peak_dbfs for one in found if one.peak_dbfs is not None], "{:.0f}"),
            *_offsets([one.offset_ms for one in found if one.offset_ms is not None]),
            _median([100 * one.agreement for one in found if one.agreement is not None], "{:.0f}"),
            style="bold red" if n_wrong else None,
        )
    return table


def problem_lines(inspections: Iterable[Inspection], table_name: str) -> list[str]:
    """A line for each recording that is wrong."""
    return [
        f"{one.recording or table_name} (line {one.line} of the table): {one.problems}"
        for one in inspections
        if one.verdict == "wrong"
    ]


def _count(found: Sequence[Inspection], alignment: str) -> str:
    count = sum(one.alignment == alignment for one in found)
    return f"{count}" if count else ""


def _values(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in sorted(set(values)) if value)


def _median(values: Sequence[float], form: str) -> str:
    return form.format(float(np.median(values))) if values else ""


def _offsets(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "", ""
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{middle:.1f}", f"{(high - low) / 2:.1f}"
