"""Making the catalog: complete, equal in every clone, and never silent about what it leaves out."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus_builder import GROOVE_HEADER, Take, build_egmd, build_groove, grid, write_table

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.corpus import Corpus, CorpusParams
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.preparation import checking
from drum_crnn.preparation.cataloguing import build_catalog
from drum_crnn.preparation.fingerprint import scan


def params_for(root: Path, watch: Path, *, max_broken_fraction: float = 0.0) -> CorpusParams:
    return CorpusParams(root=root, watch=watch, max_broken_fraction=max_broken_fraction)


def catalog_of(root: Path, *, watch: Path | None = None, max_broken_fraction: float = 0.0) -> Catalog:
    watch = root if watch is None else watch
    return build_catalog(Corpus.open(root), watch, params_for(root, watch, max_broken_fraction=max_broken_fraction))


def test_sizes_lengths_and_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    build_egmd(tmp_path, grid(n_performances=2, kits=["B", "A"], splits=["train", "test"]))
    catalog = catalog_of(tmp_path)
    assert len(catalog) == 4
    assert [entry.recording for entry in catalog] == sorted(entry.recording for entry in catalog)
    for entry in catalog:
        audio, midi = tmp_path / entry.audio_path, tmp_path / entry.midi_path
        assert audio.with_suffix("") == midi.with_suffix("") == tmp_path / entry.recording
        assert (entry.audio_bytes, entry.midi_bytes) == (audio.stat().st_size, midi.stat().st_size)
        assert entry.audio_sha256 == hashlib.sha256(audio.read_bytes()).hexdigest()
        assert entry.midi_sha256 == hashlib.sha256(midi.read_bytes()).hexdigest()
        assert (entry.n_samples, entry.sample_rate, entry.duration_s) == (44_100, 44_100, 1.0)
    assert {(entry.kit, entry.split) for entry in catalog} == {
        ("A", "train"), ("B", "train"), ("A", "test"), ("B", "test")
    }  # fmt: skip
    assert {name: len(group) for name, group in catalog.performances().items()} == {
        "drummer1/session1/1": 2,
        "drummer2/session1/2": 2,
    }


def test_every_clone_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two" / "deeper"
    rows = build_egmd(one, grid(n_performances=3, kits=["A", "B"]))
    (one / rows[2]["audio_filename"]).write_text("not audio")
    shutil.copytree(one, two)
    for path in two.rglob("*.wav"):
        os.utime(path, ns=(1, 1))
    scan(two, tmp_path / "fingerprint.csv", tmp_path / "memory.csv")
    written = []
    for root, watch in ((one, one), (two, two), (two, tmp_path / "fingerprint.csv")):
        catalog = catalog_of(root, watch=watch, max_broken_fraction=0.5)
        catalog.write(tmp_path / "catalog.csv")
        catalog.write_problems(tmp_path / "problems.csv")
        written.append(((tmp_path / "catalog.csv").read_bytes(), (tmp_path / "problems.csv").read_bytes()))
    assert written[0] == written[1] == written[2]
    assert str(tmp_path).encode() not in written[0][0] + written[0][1]


def test_the_broken_are_left_out_and_listed(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path / "corpus", grid(n_performances=4, kits=["A"]))
    (tmp_path / "corpus" / rows[1]["audio_filename"]).unlink()
    (tmp_path / "corpus" / rows[1]["midi_filename"]).unlink()
    catalog = catalog_of(tmp_path / "corpus", max_broken_fraction=0.25)
    assert len(catalog) == 3
    assert [problem.line for problem in catalog.problems] == [3, 3]
    catalog.write_problems(tmp_path / "problems.csv")
    assert (tmp_path / "problems.csv").read_text() == (
        "file,line,what\n"
        f"{rows[1]['midi_filename']},3,there is no such file\n"
        f"{rows[1]['audio_filename']},3,there is no such file\n"
    )


def test_too_many_broken_stop_the_run_and_are_named(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=8, kits=["A"]))
    for row in rows[:6]:
        (tmp_path / row["audio_filename"]).unlink()
    rows[7]["bpm"] = "slow"
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    with pytest.raises(
        DrumCrnnError, match=r"7 of 8 recordings are broken, more than corpus\.max_broken_fraction"
    ) as e:
        catalog_of(tmp_path, max_broken_fraction=0.874)
    message = str(e.value)
    assert f"{rows[4]['audio_filename']} (line 6 of the table): there is no such file" in message
    assert "and 2 more" in message
    assert len(catalog_of(tmp_path, max_broken_fraction=0.875)) == 1


def test_a_performance_without_audio_is_listed_and_not_broken(tmp_path: Path) -> None:
    rows = build_groove(tmp_path, [Take(), Take(performance="drummer1/session1/2")])
    rows[1]["audio_filename"] = ""
    write_table(tmp_path / "info.csv", rows, header=GROOVE_HEADER)
    catalog = catalog_of(tmp_path, max_broken_fraction=0.0)
    assert [entry.performance for entry in catalog] == ["drummer1/session1/1"]
    (problem,) = catalog.problems
    assert (problem.line, problem.what) == (3, "the table names no audio for this performance")
    write_table(tmp_path / "info.csv", rows[1:], header=GROOVE_HEADER)
    with pytest.raises(DrumCrnnError, match="no recording with audio is left"):
        catalog_of(tmp_path)


def test_watch_is_the_corpus_or_a_fingerprint(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    build_egmd(root, [Take()])
    (tmp_path / "link").symlink_to(root)
    assert len(catalog_of(root, watch=tmp_path / "link")) == 1
    with pytest.raises(DrumCrnnError, match="a directory other than the corpus"):
        catalog_of(root, watch=tmp_path)
    with pytest.raises(DrumCrnnError, match="drum-crnn corpus scan"):
        catalog_of(root, watch=tmp_path / "nothing.csv")


def add_a_row(root: Path, rows: list[dict[str, str]]) -> None:
    write_table(root / "e-gmd-v1.0.0.csv", [rows[0] | {"kit_name": "B", "audio_filename": "b.wav"}, *rows])


def drop_from_the_fingerprint(root: Path, rows: list[dict[str, str]]) -> None:
    path = root.parent / "fingerprint.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(rows[0]["audio_filename"])))


def lengthen_a_file(root: Path, rows: list[dict[str, str]]) -> None:
    with (root / rows[0]["audio_filename"]).open("ab") as file:
        file.write(b"\x00" * 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_a_row, r"belongs to another corpus, or to an earlier state of .*e-gmd-v1\.0\.0\.csv"),
        (drop_from_the_fingerprint, r"lacks drummer1/.*\.wav"),
        (lengthen_a_file, r"has drummer1/.*\.wav with \d+ bytes, but the file has \d+ now"),
    ],
)
def test_a_stale_fingerprint_is_refused(
    tmp_path: Path, change: Callable[[Path, list[dict[str, str]]], None], message: str
) -> None:
    root, fingerprint = tmp_path / "corpus", tmp_path / "fingerprint.csv"
    rows = build_egmd(root, [Take()])
    scan(root, fingerprint, tmp_path / "memory.csv")
    assert len(catalog_of(root, watch=fingerprint)) == 1
    change(root, rows)
    with pytest.raises(
        DrumCrnnError, match=rf"fingerprint\.csv: this fingerprint {message}; run `drum-crnn corpus scan"
    ):
        catalog_of(root, watch=fingerprint, max_broken_fraction=1.0)


def test_the_fingerprint_of_another_corpus_is_refused(tmp_path: Path) -> None:
    build_egmd(tmp_path / "one", [Take()])
    build_egmd(tmp_path / "two", [Take(kit="B")])
    scan(tmp_path / "two", tmp_path / "fingerprint.csv", tmp_path / "memory.csv")
    with pytest.raises(DrumCrnnError, match="belongs to another corpus, or to an earlier state of"):
        catalog_of(tmp_path / "one", watch=tmp_path / "fingerprint.csv")


# ----------------------------------------------------------------------------------------------------- memory


class Scanned:
    """A corpus with a fingerprint, whose catalog is made with a memory."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.root = folder, folder / "corpus"
        self.rows = build_egmd(self.root, grid(n_performances=3, kits=["A", "B"]))
        self.fingerprint, self.memory = folder / "fingerprint.csv", folder / "memory.npz"
        self.opened: list[str] = []
        for name in ("probe", "read_midi"):
            monkeypatch.setattr(checking, name, self._noting(getattr(checking, name)))

    def _noting(self, function: Callable[[Path], object]) -> Callable[[Path], object]:
        def note(path: Path) -> object:
            self.opened.append(path.name)
            return function(path)

        return note

    def scan(self) -> None:
        scan(self.root, self.fingerprint, self.folder / "scans.csv")

    def catalog(self, *, memory: bool = True, workers: int = 1) -> bytes:
        """The bytes of both tables; afterwards, `opened` names the files that were read for them."""
        self.opened.clear()
        params = params_for(self.root, self.fingerprint, max_broken_fraction=0.5)
        catalog = build_catalog(
            Corpus.open(self.root), self.fingerprint, params, workers=workers, memory=self.memory if memory else None
        )
        catalog.write(self.folder / "catalog.csv")
        catalog.write_problems(self.folder / "problems.csv")
        return (self.folder / "catalog.csv").read_bytes() + (self.folder / "problems.csv").read_bytes()


@pytest.fixture
def scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scanned:
    return Scanned(tmp_path, monkeypatch)


def test_only_new_content_is_opened_and_the_catalog_does_not_depend_on_the_past(scanned: Scanned) -> None:
    scanned.scan()
    first = scanned.catalog()
    assert len(scanned.opened) == 6 + 3  # the kits of a performance share their MIDI
    assert scanned.catalog() == first
    assert scanned.opened == []

    audio, midi = (scanned.root / scanned.rows[2][column] for column in ("audio_filename", "midi_filename"))
    before = audio.read_bytes(), midi.read_bytes()
    audio.write_bytes((scanned.root / scanned.rows[0]["audio_filename"]).read_bytes()[:-400])  # is cut short
    midi.write_bytes(midi.read_bytes().replace(bytes([0x99, 38]), bytes([0x99, 40])))
    scanned.scan()
    changed = scanned.catalog()
    assert sorted(scanned.opened) == sorted([audio.name, midi.name])
    assert changed == scanned.catalog(memory=False) != first
    assert scanned.catalog(workers=2) == changed

    audio.write_bytes(before[0])
    midi.write_bytes(before[1])
    scanned.scan()
    assert scanned.catalog() == first
    scanned.memory.write_bytes(b"damaged")
    assert scanned.catalog() == first
    assert len(scanned.opened) == 9


def test_the_table_is_looked_at_anew(scanned: Scanned) -> None:
    """Whether a recording is as long as the table says, the content of its audio does not tell."""
    scanned.scan()
    scanned.catalog()
    scanned.rows[1]["duration"] = "9.5"
    write_table(scanned.root / "e-gmd-v1.0.0.csv", scanned.rows)
    scanned.scan()
    assert b"the audio lasts 1.00 s, but the table says 9.50 s" in scanned.catalog()
    assert scanned.opened == []


def test_a_missing_file_is_missed_whatever_is_remembered(scanned: Scanned) -> None:
    scanned.scan()
    scanned.catalog()
    (scanned.root / scanned.rows[4]["audio_filename"]).unlink()
    assert scanned.catalog() == scanned.catalog(memory=False)
    assert b"there is no such file" in scanned.catalog()


def test_what_changed_since_the_scan_is_not_remembered_under_the_old_checksum(scanned: Scanned) -> None:
    """Of the same size, so that nobody notices at once: another rate in the header of the WAV."""
    scanned.scan()
    expected = scanned.catalog(memory=False)
    audio = scanned.root / scanned.rows[3]["audio_filename"]
    before = audio.read_bytes()
    audio.write_bytes(before.replace((44_100).to_bytes(4, "little"), (44_101).to_bytes(4, "little")))
    later = scanned.fingerprint.stat().st_mtime_ns + 1
    os.utime(audio, ns=(later, later))
    assert b"the sample rate is 44101 Hz" in scanned.catalog()
    audio.write_bytes(before)
    scanned.scan()
    assert scanned.catalog() == expected
