"""Small tables as CSV files: one header line, commas, Unix line ends, UTF-8."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.errors import DrumCrnnError, damaged_error

__all__ = ["read_table", "write_records", "write_table"]

T = TypeVar("T")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows below the names of their columns, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_records(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Write records that all have the same keys, which become the columns; no records make an empty table."""
    columns = list(records[0]) if records else []
    write_table(path, columns, ([record[column] for column in columns] for record in records))


def read_table(
    path: Path,
    columns: Sequence[str],
    parse: Callable[[list[str]], T],
    *,
    key: Callable[[T], str] | None,
    what: str,
    stage: str,
) -> list[T]:
    """Read a table that `write_table` wrote.

    Parameters
    ----------
    columns : sequence of str
        What its header must be.
    parse : callable
        Makes a row of its fields, of which there are as many as columns; raises ValueError if they are not right.
    key : callable or None
        What must differ from row to row; None for nothing.
    what, stage : str
        For messages: what the table is, and the stage that writes it.

    Raises
    ------
    DrumCrnnError
        If the file is missing or no such table, with the line that is wrong.
    """
    rows: list[T] = []
    known: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            if next(reader, None) != list(columns):
                raise ValueError(f"it is no {what}, whose columns are {', '.join(columns)}")
            for fields in reader:
                if len(fields) != len(columns):
                    raise ValueError(f"has {len(fields)} fields, expected {len(columns)}")
                row = parse(fields)
                if key is not None:
                    if key(row) in known:
                        raise ValueError(f"repeats the recording '{key(row)}'")
                    known.add(key(row))
                rows.append(row)
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file; run `dvc repro {stage}`") from None
    except OSError as error:
        raise DrumCrnnError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise damaged_error(path, "it is not UTF-8 text", stage) from None
    except (ValueError, csv.Error) as error:
        raise damaged_error(path, error, stage, line=max(reader.line_num, 1)) from None
    return rows
