from pathlib import Path

import pytest

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.tables import read_table, write_records, write_table

COLUMNS = ["name", "count"]


def read(path: Path) -> list[tuple[str, int]]:
    return read_table(
        path,
        COLUMNS,
        lambda fields: (fields[0], int(fields[1])),
        key=lambda row: row[0],
        what="list",
        stage="list",
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [('with, "quotes"', 1), ("ünïcode", 2), ("two\nlines", 3)]
    write_table(path, COLUMNS, rows)
    assert read(path) == rows
    assert b"\r" not in path.read_bytes()


def test_records(tmp_path: Path) -> None:
    write_records(tmp_path / "t.csv", [{"name": "a", "count": 1}, {"count": 2, "name": "b"}])
    assert read(tmp_path / "t.csv") == [("a", 1), ("b", 2)]
    write_records(tmp_path / "empty.csv", [])
    assert (tmp_path / "empty.csv").read_text() == "\n"


def test_without_a_key_rows_may_repeat(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", COLUMNS, [("b", 1), ("a", 2), ("b", 1)])
    rows = read_table(tmp_path / "t.csv", COLUMNS, tuple, key=None, what="list", stage="list")
    assert rows == [("b", "1"), ("a", "2"), ("b", "1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv:1: is damaged \(it is no list, .* name, count\); delete .*t\.csv, then run `dvc repro list`"),
        (b"name\na\n", r"t\.csv:1: is damaged \(it is no list"),
        (b"name,count\na,1\nb\n", r"t\.csv:3: is damaged \(has 1 fields, expected 2"),
        (b"name,count\na,many\n", r"t\.csv:2: .*many"),
        (b"name,count\na,1\na,2\n", r"t\.csv:3: is damaged \(repeats the recording 'a'"),
        (b"name,count\n\xff\xfe,1\n", r"t\.csv: is damaged \(it is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=message):
        read(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"t\.csv: there is no such file; run `dvc repro list`"):
        read(tmp_path / "t.csv")
