"""The catalog as a file: it comes back as it was written, and damage is found by line."""

from pathlib import Path

import pytest
from corpus_builder import catalog_entry

from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.problems import Problem
from drum_crnn.foundation.errors import DrumCrnnError


def entry(number: int, *, performance: str = "drummer1/session1/1", kit: str = "A") -> CatalogEntry:
    return catalog_entry(
        f"{performance}_{number}", performance=performance, kit=kit, style="a,b", bpm=119.9, split="train"
    )


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    catalog = Catalog((entry(1, kit='Kit, "the" loud'), entry(2, kit="Tromme\nå")))
    catalog.write(tmp_path / "catalog.csv")
    read = Catalog.read(tmp_path / "catalog.csv")
    assert read == catalog
    assert [each.duration_s for each in read] == [1.0, 1.0]


def test_problems_are_written_with_file_and_line(tmp_path: Path) -> None:
    problems = Problem("a.wav", 3, "there is no such file"), Problem("b.wav", 4, "is, as it were, empty")
    Catalog((), problems).write_problems(tmp_path / "problems.csv")
    assert (tmp_path / "problems.csv").read_text() == (
        'file,line,what\na.wav,3,there is no such file\nb.wav,4,"is, as it were, empty"\n'
    )


def test_performances_are_sorted_and_keep_the_order_of_their_recordings() -> None:
    entries = (entry(3, performance="b"), entry(1, performance="a"), entry(2, performance="b"))
    performances = Catalog(entries).performances()
    assert performances == {"a": [entries[1]], "b": [entries[0], entries[2]]}
    assert list(performances) == ["a", "b"]


def test_a_damaged_catalog_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    Catalog((entry(1), entry(2))).write(path)
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    for content, message in (
        ("", r":1: is damaged \(its columns should be recording, "),
        (text.replace("kit,", "Kit,", 1), r":1: is damaged \(its columns should be recording, "),
        (text + "a,b\n", r":4: is damaged \(has 2 fields, expected 19"),
        (text + lines[1], r":4: is damaged \(repeats the recording"),
        (
            text.replace(",44100,44100,", ",many,44100,", 1),
            r":2: .*'n_samples' is 'many', expected a whole number",
        ),
        (text.replace(",44100,44100,", ",0,44100,", 1), r":2: .*'n_samples' is '0', expected more than 0"),
    ):
        path.write_text(content)
        with pytest.raises(DrumCrnnError, match=r"catalog\.csv" + message):
            Catalog.read(path)
    with pytest.raises(DrumCrnnError, match="there is no such file"):
        Catalog.read(tmp_path / "nothing.csv")
