"""Tables: rows come back as they were written, and what is wrong is said with its line and column."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, Field, FiniteFloat, NonNegativeInt, PositiveInt

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.tables import (
    PositiveNumber,
    TableError,
    columns_of,
    iter_rows,
    parse_row,
    read_rows,
    write_records,
    write_rows,
    write_table,
)


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    count: int


def read(path: Path) -> list[Item]:
    return read_rows(path, Item, key="name", stage="list")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [Item('with, "quotes"', 1), Item("ünïcode", 2), Item("two\nlines", 3), Item("", -4)]
    write_rows(path, Item, rows)
    assert read(path) == rows
    assert path.read_bytes().startswith(b'name,count\n"with, ""quotes""",1\n')
    assert b"\r" not in path.read_bytes()
    write_table(path, columns_of(Item), [("b", "07"), ("a", 2)])
    assert read(path) == [Item("b", 7), Item("a", 2)]


@dataclass(frozen=True, slots=True)
class Measurement:
    name: str
    count: int
    seconds: FiniteFloat
    split: Literal["train", ""]


@given(
    st.lists(
        st.builds(
            Measurement,
            # The csv module does not quote a lone carriage return, and then takes it for the end of a line.
            name=st.text(st.characters(codec="utf-8", exclude_characters="\r")),
            count=st.integers(),
            seconds=st.floats(allow_nan=False, allow_infinity=False),
            split=st.sampled_from(["train", ""]),
        ),
        max_size=5,
    )
)
def test_every_value_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list[Measurement]) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_rows(path, Measurement, rows)
    assert read_rows(path, Measurement, stage="list") == rows


def test_records(tmp_path: Path) -> None:
    write_records(tmp_path / "t.csv", [{"name": "a", "count": 1}, {"count": 2, "name": "b"}])
    assert read(tmp_path / "t.csv") == [Item("a", 1), Item("b", 2)]
    write_records(tmp_path / "empty.csv", [])
    assert (tmp_path / "empty.csv").read_text() == "\n"


def test_without_a_key_rows_may_repeat(tmp_path: Path) -> None:
    rows = [Item("b", 1), Item("a", 2), Item("b", 1)]
    write_rows(tmp_path / "t.csv", Item, rows)
    assert read_rows(tmp_path / "t.csv", Item, stage="list") == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"",
            r"t\.csv:1: is damaged \(its columns should be name, count\); delete .*t\.csv, then run `dvc repro list`",
        ),
        (b"name\na\n", r"t\.csv:1: is damaged \(its columns should be"),
        (b"name,count\na,1\nb\n", r"t\.csv:3: is damaged \(has 1 fields, expected 2"),
        (b"name,count\na,1\nb,2,c\n", r"t\.csv:3: is damaged \(has 3 fields, expected 2"),
        (b"name,count\na,many\n", r"t\.csv:2: is damaged \('count' is 'many', expected a whole number\)"),
        (b'name,count\n"two\nlines",1\n"b\nc",\n', r"t\.csv:5: is damaged \('count' is empty, expected a whole number"),
        (b"name,count\na,1\na,2\n", r"t\.csv:3: is damaged \(repeats the name 'a'"),
        (b"name,count\n\xff\xfe,1\n", r"t\.csv: is damaged \(it is not UTF-8 text"),
        (b"name,count\n" + b"x" * 200_000, r"t\.csv:2: is damaged \(field larger"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=message):
        read(path)


def test_a_table_that_no_stage_writes_is_refused_without_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,count\na,1\nb,\n")
    rows = iter_rows(tmp_path / "t.csv", Item)
    assert next(rows) == Item("a", 1)
    with pytest.raises(TableError, match=r"^line 3: 'count' is empty, expected a whole number$"):
        next(rows)
    (tmp_path / "t.csv").write_bytes(b"\xff")
    with pytest.raises(TableError, match=r"^it is not UTF-8 text$"):
        next(iter_rows(tmp_path / "t.csv", Item))
    with pytest.raises(FileNotFoundError):
        next(iter_rows(tmp_path / "nothing.csv", Item))


def shout(text: str) -> str:
    if text.islower():
        raise ValueError("whispers; write capitals")
    return text


@dataclass(frozen=True, slots=True)
class Everything:
    """A column of each kind; every one has a value, so that a test gives the one that it is about."""

    whole: int = 0
    positive: PositiveInt = 1
    not_negative: NonNegativeInt = 0
    velocity: Annotated[int, Field(ge=0, le=127)] = 0
    share: Annotated[float, Field(lt=1)] = 0.0
    number: float = 0.0
    finite: FiniteFloat = 0.0
    positive_number: PositiveNumber = 1.0
    split: Literal["train", "test"] = "train"
    perhaps: Literal["train", "test", ""] = ""
    some: Annotated[str, Field(min_length=1)] = "some"
    checksum: Annotated[str, Field(pattern="^[0-9a-f]{4}$")] = "0000"
    own: Annotated[str, AfterValidator(shout)] = "OWN"


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("whole", "x", "'whole' is 'x', expected a whole number"),
        ("whole", "36.5", "'whole' is '36.5', expected a whole number"),
        ("whole", "", "'whole' is empty, expected a whole number"),
        ("whole", "9" * 5000, f"'whole' is '{'9' * 80}', expected a whole number"),
        ("positive", "0", "'positive' is '0', expected more than 0"),
        ("not_negative", "-1", "'not_negative' is '-1', expected 0 or more"),
        ("velocity", "128", "'velocity' is '128', expected 127 or less"),
        ("share", "1.0", "'share' is '1.0', expected less than 1"),
        ("number", "much", "'number' is 'much', expected a number"),
        ("finite", "nan", "'finite' is 'nan', expected a finite number"),
        ("positive_number", "inf", "'positive_number' is 'inf', expected a finite number"),
        ("positive_number", "-0.5", "'positive_number' is '-0.5', expected more than 0"),
        ("split", "Test", "'split' is 'Test', expected train or test"),
        ("perhaps", "Test", "'perhaps' is 'Test', expected train, test or nothing"),
        ("some", "", "'some' is empty, expected some text"),
        ("checksum", "12g4", "'checksum' is '12g4', expected text of the form ^[0-9a-f]{4}$"),
        ("own", "psst", "'own' whispers; write capitals"),
    ],
)
def test_a_wrong_value_is_named_with_its_column(column: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as error:
        parse_row(Everything, {column: text})
    assert str(error.value) == message


def test_columns_that_the_row_does_not_have_are_left_out() -> None:
    assert parse_row(Item, {"count": "2", "other": "x", "name": "a"}) == Item("a", 2)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"t\.csv: there is no such file; run `dvc repro list`"):
        read(tmp_path / "t.csv")
