"""Small tables as CSV files: one header line, commas, Unix line ends, UTF-8.

A *row type* describes a table: a dataclass whose fields are the columns, in their order. Pydantic parses and checks the
rows of a file. So a column needs no more than a type, such as `PositiveInt` or a `Literal`.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.errors import DrumCrnnError, damaged_error, refused_error

__all__ = [
    "PositiveNumber",
    "TableError",
    "columns_of",
    "iter_rows",
    "parse_row",
    "read_rows",
    "write_records",
    "write_rows",
    "write_table",
]

Row = TypeVar("Row")
PositiveNumber = Annotated[FiniteFloat, Field(gt=0)]

# What should stand in a column, by the type of pydantic's error; braces are filled in from its context.
_EXPECTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "literal_error": "{expected}",
    "string_too_short": "some text",
    "string_pattern_mismatch": "text of the form {pattern}",
}


class TableError(ValueError):
    """A fault of a table, and its line; None if it concerns the whole file."""

    def __init__(self, why: str, line: int | None) -> None:
        super().__init__(why if line is None else f"line {line}: {why}")
        self.why, self.line = why, line


def columns_of(row: type) -> list[str]:
    """The columns of a row type: the names of its fields, in their order."""
    return [field.name for field in fields(row)]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table atomically: the names of the columns, then the rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_records(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Write records with equal keys, which become the columns. Without records, the table is empty."""
    columns = list(records[0]) if records else []
    write_table(path, columns, ([record[column] for column in columns] for record in records))


def write_rows(path: Path, row: type[Row], rows: Iterable[Row]) -> None:
    """Write the rows of a row type, for `read_rows`."""
    columns = columns_of(row)
    write_table(path, columns, ([getattr(each, column) for column in columns] for each in rows))


def read_rows(path: Path, row: type[Row], *, key: str | None = None, stage: str) -> list[Row]:
    """Read a table that a stage wrote.

    Parameters
    ----------
    row : type
        The row type; the header must be the names of its fields.
    key : str, optional
        A column whose values must be unique.
    stage : str
        The stage that writes the table, for messages.

    Raises
    ------
    DrumCrnnError
        If the file is missing or is not such a table. The message names the line and the column of the fault.
    """
    try:
        return list(iter_rows(path, row, key=key))
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file; run `dvc repro {stage}`") from None
    except OSError as error:
        raise refused_error(path, error) from None
    except TableError as error:
        raise damaged_error(path, error.why, stage, line=error.line) from None


def iter_rows(path: Path, row: type[Row], *, key: str | None = None) -> Iterator[Row]:
    """The rows of a table, one by one: `read_rows` for tables that no stage writes.

    Raises
    ------
    TableError
        If the file is not such a table.
    OSError
        If the file cannot be read.
    """
    columns, validate = columns_of(row), _validator(row)
    known: set[str] = set()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        try:
            if next(reader, None) != columns:
                raise ValueError(f"its columns should be {', '.join(columns)}")
            for values in reader:
                if len(values) != len(columns):
                    raise ValueError(f"has {len(values)} fields, expected {len(columns)}")
                parsed = validate(ArgsKwargs(tuple(values)))  # faster than a dict for each row
                if key is not None:
                    name = getattr(parsed, key)
                    if name in known:
                        raise ValueError(f"repeats the {key} '{name}'")
                    known.add(name)
                yield parsed
        except ValidationError as error:
            raise TableError(_describe(error, columns), reader.line_num) from None
        except UnicodeDecodeError:
            raise TableError("it is not UTF-8 text", None) from None
        except (ValueError, csv.Error) as error:
            raise TableError(str(error), max(reader.line_num, 1)) from None


def parse_row(row: type[Row], values: Mapping[str, str]) -> Row:
    """Parse one row, given as text by column; columns that `row` does not have are ignored.

    Raises
    ------
    ValueError
        If a value is wrong. The message names the column, the value and what should stand there.
    """
    try:
        return _validator(row)(values)
    except ValidationError as error:
        raise ValueError(_describe(error, columns_of(row))) from None


_validators: dict[type, Callable[[object], Any]] = {}  # building one takes longer than reading a small table


def _validator(row: type[Row]) -> Callable[[object], Row]:
    if row not in _validators:
        _validators[row] = TypeAdapter(row).validator.validate_python
    return _validators[row]


def _describe(error: ValidationError, columns: Sequence[str]) -> str:
    """The first fault of a row: its column, the value and what should stand there."""
    fault: Any = error.errors()[0]
    kind, column, value = fault["type"], fault["loc"][-1], fault["input"]
    if isinstance(column, int):
        column = columns[column]
    if kind == "value_error":  # from a validator of ours, whose message is complete
        return f"'{column}' {fault['ctx']['error']}"
    if kind not in _EXPECTED:
        return f"'{column}' is '{value}': {fault['msg']}"
    expected = _EXPECTED[kind].format_map(fault.get("ctx", {}))
    expected = expected.replace("''", "nothing").replace("'", "")  # the quotation marks of literals
    found = f"'{value[:80]}'" if value else "empty"
    return f"'{column}' is {found}, expected {expected}"
