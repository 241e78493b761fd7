"""The file of audibilities: values come back note by note, and a file of other notes is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.data.audibility import audibility_path, read_audibility, write_audibility
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.midi_writing import SAMPLE_EXACT_TICKS, write_midi

BEAT = [Note(0.0, 36, 100), Note(0.0, 42, 80), Note(0.25, 42, 70), Note(0.5, 38, 110)]


def written(midi: Path, notes: list[Note], audibility_db: list[float]) -> list[Note]:
    """Write both files; returns the notes as they are read."""
    write_midi(midi, notes, ticks_per_beat=SAMPLE_EXACT_TICKS)
    write_audibility(midi, notes, audibility_db)
    return read_midi(midi)


def test_it_lies_beside_the_midi() -> None:
    assert audibility_path(Path("drummer1/a.b_1.midi")) == Path("drummer1/a.b_1.audibility.csv")


def test_it_is_a_table_of_the_notes(tmp_path: Path) -> None:
    write_audibility(tmp_path / "a.midi", BEAT[:2], [12.34, -60.0])
    assert (tmp_path / "a.audibility.csv").read_text() == (
        "time_s,note,velocity,audibility_db\n0.000000,36,100,12.3\n0.000000,42,80,-60.0\n"
    )


def test_it_comes_back(tmp_path: Path) -> None:
    notes = written(tmp_path / "a.midi", BEAT, [1.5, -2.5, 3.5, 60.0])
    assert read_audibility(tmp_path / "a.midi", notes) == [1.5, -2.5, 3.5, 60.0]


def test_without_a_measurement_there_is_none(tmp_path: Path) -> None:
    write_midi(tmp_path / "a.midi", BEAT)
    assert read_audibility(tmp_path / "a.midi", BEAT) is None


@given(
    st.lists(
        st.tuples(
            st.floats(0, 0.001), st.sampled_from([36, 38, 42]), st.sampled_from([1, 60, 127]), st.integers(-600, 600)
        ),
        max_size=25,
    )
)
def test_every_note_has_its_own_though_times_are_rounded_to_ticks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int, int, int]]
) -> None:
    """In a coarse file, the notes of a thousandth second are at one tick, in the order of their numbers."""
    midi = tmp_path_factory.mktemp("beside") / "a.midi"
    notes = sorted(Note(time_s, note, velocity) for time_s, note, velocity, _ in rows)
    values = [row[3] / 10 for row in rows]
    write_midi(midi, notes, ticks_per_beat=24)
    write_audibility(midi, notes, values)
    read = read_midi(midi)
    found = read_audibility(midi, read)
    assert found is not None
    for number in (36, 38, 42):
        for velocity in (1, 60, 127):
            wanted = [
                db for note, db in zip(notes, values, strict=True) if note.note == number and note.velocity == velocity
            ]
            assert wanted == [
                db for note, db in zip(read, found, strict=True) if (note.note, note.velocity) == (number, velocity)
            ]


@pytest.mark.parametrize(
    "others",
    [
        BEAT[:-1],
        [*BEAT, Note(0.75, 36, 100)],
        [*BEAT, Note(0.75, 51, 100)],
        [*BEAT[:-1], Note(0.5, 40, 110)],
        [*BEAT[:-1], Note(0.5, 38, 111)],
        [],
    ],
)
def test_a_file_of_other_notes_is_refused(tmp_path: Path, others: list[Note]) -> None:
    written(tmp_path / "a.midi", BEAT, [0.0] * len(BEAT))
    with pytest.raises(
        DrumCrnnError, match=r"a\.audibility\.csv: does not list the notes of a\.midi; render the corpus"
    ):
        read_audibility(tmp_path / "a.midi", others)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.audibility\.csv:1: is damaged \(its columns should be time_s, note, .*`dvc repro render`"),
        ("time_s,note,velocity,audibility_db\n0.0,36,100\n", r":2: is damaged \(has 3 fields"),
        (
            "time_s,note,velocity,audibility_db\n0.0,36,100,loud\n",
            r":2: is damaged \('audibility_db' is 'loud', expected a number",
        ),
        (
            "time_s,note,velocity,audibility_db\n0.0,36,100,nan\n",
            r":2: is damaged \('audibility_db' is 'nan', expected a finite number",
        ),
        (
            "time_s,note,velocity,audibility_db\n0.0,36.5,100,1.0\n",
            r":2: is damaged \('note' is '36\.5', expected a whole number",
        ),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    audibility_path(tmp_path / "a.midi").write_text(text)
    with pytest.raises(DrumCrnnError, match=message):
        read_audibility(tmp_path / "a.midi", BEAT)


def test_each_note_needs_a_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_audibility(tmp_path / "a.midi", BEAT, [1.0])
    assert not audibility_path(tmp_path / "a.midi").exists()
