"""Splits as a file: they come back as they were written, and neither damage nor a leak passes."""

from pathlib import Path

import pytest

from drum_crnn.data.splits import SplitRow, Splits, check_no_leak
from drum_crnn.foundation.errors import DrumCrnnError


def test_a_leak_is_found_and_named() -> None:
    rows = (SplitRow("a", "p1", "A", "train"), SplitRow("b", "p1", "B", "unused"), SplitRow("c", "p2", "A", "test"))
    check_no_leak(Splits(rows))
    with pytest.raises(DrumCrnnError, match="performance 'p1' is in two splits"):
        check_no_leak(Splits((*rows, SplitRow("d", "p1", "C", "validation"))))


def test_splits_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    splits = ["train"] * 6 + ["validation", "test", "unused"]
    splits = Splits(tuple(SplitRow(f"r{i}", f"p{i}", 'a,"b"', split) for i, split in enumerate(splits)))
    splits.write(path)
    assert Splits.read(path) == splits
    assert path.read_text().startswith("recording,performance,kit,split\n")
    text = path.read_text()
    for content, message in (
        ("", r":1: is damaged \(its columns should be recording, "),
        (text + "a,b\n", r":11: is damaged \(has 2 fields, expected 4"),
        (text + "x,p,kit,Test\n", r":11: is damaged \('split' is 'Test', expected train, validation, test or unused"),
        (text + text.splitlines()[1] + "\n", r":11: is damaged \(repeats the recording"),
    ):
        path.write_text(content)
        with pytest.raises(DrumCrnnError, match=r"splits\.csv" + message):
            Splits.read(path)
    path.write_text(text + "x,p0,kit,test\ny,p0,kit,train\n")
    with pytest.raises(DrumCrnnError, match="performance 'p0' is in two splits"):
        Splits.read(path)
    with pytest.raises(DrumCrnnError, match="there is no such file"):
        Splits.read(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="there is no split 'valid'"):
        splits.recordings("valid")
