"""Labels as a file: they come back as they were written, and no other file is read as labels."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from builders import ignore, make_labels, onsets
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.data.label_problems import LabelProblem, read_label_problems
from drum_crnn.data.labels import AccountRow, Labels
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import LANES, N_LANES

ARRAYS = (
    "onset_offset", "onset_time_s", "onset_lane", "onset_velocity",
    "ignore_offset", "ignore_start_s", "ignore_end_s", "ignore_lane",
)  # fmt: skip


def labels_of(counts: list[tuple[int, int]], *, seed: int = 0) -> Labels:
    """Labels of one recording a pair (number of onsets, number of windows), with arbitrary content."""
    rng = np.random.default_rng(seed)
    n_onsets, n_windows = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    start_s = np.sort(rng.uniform(0.0, 60.0, n_windows))
    return Labels(
        recordings=tuple(f"drummer1/séance {i}" for i in range(len(counts))),
        onset_offset=np.cumsum([0, *(n for n, _ in counts)]),
        onset_time_s=np.sort(rng.uniform(0.0, 60.0, n_onsets)),
        onset_lane=rng.integers(0, N_LANES, n_onsets).astype(np.int8),
        onset_velocity=rng.integers(1, 128, n_onsets).astype(np.uint8),
        ignore_offset=np.cumsum([0, *(n for _, n in counts)]),
        ignore_start_s=start_s,
        ignore_end_s=start_s + 0.04,
        ignore_lane=rng.integers(0, N_LANES, n_windows).astype(np.int8),
    )


def test_a_recording_has_its_own_slice() -> None:
    labels = labels_of([(3, 0), (0, 2), (4, 1)])
    first, second, third = labels.recordings
    assert labels.onsets(first).time_s.tolist() == labels.onset_time_s[:3].tolist()
    assert len(labels.onsets(second)) == 0
    assert labels.onsets(third).lane.tolist() == labels.onset_lane[3:].tolist()
    assert labels.onsets(third).velocity.tolist() == labels.onset_velocity[3:].tolist()
    assert labels.ignored(second).end_s.tolist() == labels.ignore_end_s[:2].tolist()
    assert labels.ignored(third).lane.tolist() == labels.ignore_lane[2:].tolist()
    assert first in labels
    assert "drummer1/unknown" not in labels
    for ask in (labels.onsets, labels.ignored):
        with pytest.raises(DrumCrnnError, match="no labels for the recording 'drummer1/unknown'"):
            ask("drummer1/unknown")


@given(counts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=6))
def test_labels_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, counts: list[tuple[int, int]]
) -> None:
    labels, path = labels_of(counts), tmp_path_factory.mktemp("labels") / "labels.h5"
    labels.write(path)
    read = Labels.read(path)
    assert read.recordings == labels.recordings
    for name in ARRAYS:
        assert getattr(read, name).dtype == getattr(labels, name).dtype
        np.testing.assert_array_equal(getattr(read, name), getattr(labels, name))


def test_equal_labels_give_equal_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        labels_of([(200, 5), (0, 0), (100, 2)], seed=seed).write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_the_accounting_is_written_as_it_stands(tmp_path: Path) -> None:
    labels = Labels(**{name: getattr(labels_of([]), name) for name in ("recordings", *ARRAYS)}, accounting=(
        AccountRow("A", "no_lane", 54, "", 3), AccountRow("A", "onset", 38, "snare", 1)
    ))  # fmt: skip
    labels.write_accounting(tmp_path / "account.csv")
    assert (tmp_path / "account.csv").read_text() == "kit,reason,note,lane,count\nA,no_lane,54,,3\nA,onset,38,snare,1\n"


def test_problems_are_read_as_they_were_written(tmp_path: Path) -> None:
    problems = (
        LabelProblem("a/1", "A", "corrected", -12.5, "its MIDI is earlier"),
        LabelProblem("b/2", "B, the second", "left_out", 3000.0, "too late"),
    )
    labels = Labels(**{name: getattr(labels_of([]), name) for name in ("recordings", *ARRAYS)}, problems=problems)
    labels.write_problems(tmp_path / "problems.csv")
    assert tuple(read_label_problems(tmp_path / "problems.csv")) == problems
    with pytest.raises(DrumCrnnError, match="run `dvc repro label`"):
        read_label_problems(tmp_path / "nothing.csv")


def test_the_share_of_inaudible_notes() -> None:
    """The share of soft and masked notes among all possible onsets; merged notes and the like do not count."""
    rows = [
        AccountRow("A", "after_end", 38, "snare", 50),
        AccountRow("A", "no_lane", 54, "", 50),
        AccountRow("A", "merged", 38, "snare", 50),
        AccountRow("A", "inaudible", 38, "snare", 1),
        AccountRow("A", "soft", 38, "snare", 2),
        AccountRow("A", "soft", 40, "snare", 3),
        AccountRow("A", "soft", 36, "kick", 4),
        AccountRow("A", "onset", 38, "snare", 10),
        AccountRow("A", "onset", 40, "snare", 8),
        AccountRow("A", "onset", 51, "ride", 5),
    ]
    labels = Labels(**{name: getattr(labels_of([]), name) for name in ("recordings", *ARRAYS)}, accounting=tuple(rows))
    assert labels.ignored_shares() == pytest.approx(
        dict.fromkeys(LANES, 0.0) | {"kick": 1.0, "snare": 6 / 24, "ride": 0.0}
    )
    assert list(labels.ignored_shares()) == list(LANES)
    assert labels_of([(3, 0)]).ignored_shares() == dict.fromkeys(LANES, 0.0)


def test_what_is_no_file_of_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.h5"
    with pytest.raises(DrumCrnnError, match="there is no such file"):
        Labels.read(path)
    path.write_text("text")
    with pytest.raises(DrumCrnnError, match=r"labels\.h5: is damaged"):
        Labels.read(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = 1
        file.attrs["lanes"] = "kick,snare"
    with pytest.raises(DrumCrnnError, match="another version"):
        Labels.read(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = 2
        file.attrs["lanes"] = np.bytes_(",".join(LANES))
    with pytest.raises(DrumCrnnError, match="is damaged"):
        Labels.read(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("onset_lane", [0, 99]),
        ("onset_velocity", [1, 200]),
        ("onset_time_s", [0.5, 0.1]),
        ("onset_time_s", [-1.0, 0.1]),
        ("onset_time_s", [0.1, np.nan]),
        ("onset_offset", [0, 1]),
        ("onset_offset", [0, 1, 2]),
        ("ignore_end_s", [0.0]),
    ],
)
def test_labels_that_no_recording_could_have_are_refused(tmp_path: Path, name: str, values: list[float]) -> None:
    """Once for all when they are read, since afterwards nobody looks at the onsets of a recording."""
    labels = make_labels({"a": (onsets((0.1, 0), (0.5, 1)), ignore((0.2, 0.3, 1)))})
    labels.write(tmp_path / "labels.h5")
    with h5py.File(tmp_path / "labels.h5", "r+") as file:
        del file[name]
        file[name] = np.array(values)
    for of in (None, {"a"}):
        with pytest.raises(DrumCrnnError, match=r"labels\.h5: is damaged"):
            Labels.read(tmp_path / "labels.h5", of=of)


@given(recordings=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.booleans()), max_size=6))
def test_some_recordings_are_read_as_from_all(
    tmp_path_factory: pytest.TempPathFactory, recordings: list[tuple[int, int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.h5"
    labels_of([(n, m) for n, m, _ in recordings]).write(path)
    everything = Labels.read(path)
    wanted = [name for name, (*_, is_wanted) in zip(everything.recordings, recordings, strict=True) if is_wanted]
    some = Labels.read(path, of={*wanted, "not labelled"})
    assert some.recordings == tuple(wanted)
    for name in wanted:
        assert values_of(some, name) == values_of(everything, name)
    with pytest.raises(DrumCrnnError, match="no labels for the recording 'not labelled'"):
        some.onsets("not labelled")


def values_of(labels: Labels, recording: str) -> list[list[float]]:
    return [
        values.tolist()
        for part in (labels.onsets(recording), labels.ignored(recording))
        for values in vars(part).values()
    ]
