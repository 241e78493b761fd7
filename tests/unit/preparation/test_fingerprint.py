"""Fingerprints: equal trees give equal bytes, and unchanged files are not read again."""

import os
import time
from pathlib import Path

import pytest
from corpus_builder import build_egmd, grid

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.preparation import fingerprint
from drum_crnn.preparation.fingerprint import Fingerprint, ScanSummary, hash_files, scan

# sha256 of "abc", from FIPS 180-4's examples.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

LONG_AGO_NS = 1_000_000_000 * 1_500_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two performances through two kits: nine files with the table, all of them old."""
    root = tmp_path / "corpus"
    build_egmd(root, grid(n_performances=2, kits=["A", "B"]))
    make_old(root)
    return root


def make_old(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def test_checksums_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    assert list(hash_files(tmp_path, ["b", "a"], description="", workers=2)) == [("b", ABC), ("a", ABC)]
    assert list(hash_files(tmp_path, [], description="")) == []
    with pytest.raises(DrumCrnnError, match="nothing: cannot be read"):
        list(hash_files(tmp_path, ["a", "nothing"], description=""))


def test_the_second_scan_reads_nothing_and_a_third_only_what_changed(root: Path, tmp_path: Path) -> None:
    out, memory = tmp_path / "fingerprint.csv", tmp_path / "cache" / "memory.csv"
    first = scan(root, out, memory)
    n_bytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert first == ScanSummary(n_files=9, n_hashed=9, n_bytes_hashed=n_bytes, n_missing=0)
    content = out.read_bytes()
    assert scan(root, out, memory) == ScanSummary(n_files=9, n_hashed=0, n_bytes_hashed=0, n_missing=0)
    assert out.read_bytes() == content

    changed = next(root.rglob("*.wav"))
    changed.write_bytes(changed.read_bytes()[::-1])  # as long as before: only the time differs
    summary = scan(root, out, memory)
    assert (summary.n_hashed, summary.n_bytes_hashed) == (1, changed.stat().st_size)
    name = changed.relative_to(root).as_posix()
    before, after = content.decode().splitlines(), out.read_text().splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == [
        line for line in after if line.startswith(name)
    ]
    memory.unlink()
    scan(root, out, memory)
    assert out.read_text().splitlines() == after  # what is remembered is what a fresh scan finds


def test_a_fingerprint_knows_content_alone(root: Path, tmp_path: Path) -> None:
    scan(root, tmp_path / "one.csv", tmp_path / "memory.csv")
    moved = root.rename(tmp_path / "another disk")
    os.utime(next(moved.rglob("*.wav")), ns=(LONG_AGO_NS * 2, LONG_AGO_NS * 2))
    summary = scan(moved, tmp_path / "two.csv", tmp_path / "memory.csv")
    assert summary.n_hashed == 9  # the memory knows files by their full path
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert str(tmp_path) not in (tmp_path / "one.csv").read_text()


def test_one_memory_serves_several_corpora(root: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory.csv"
    other = tmp_path / "corpus2"  # its name begins as the other's
    build_egmd(other, grid(n_performances=1, kits=["A"]))
    make_old(other)
    scan(root, tmp_path / "one.csv", memory)
    scan(other, tmp_path / "two.csv", memory)
    assert scan(root, tmp_path / "one.csv", memory).n_hashed == 0
    assert scan(other, tmp_path / "two.csv", memory).n_hashed == 0


def test_a_file_changed_just_now_is_not_trusted(root: Path, tmp_path: Path) -> None:
    """Two changes within one tick of the file system's clock leave the time and, perhaps, the size as they were."""
    changed = next(root.rglob("*.wav"))
    now = time.time_ns()
    os.utime(changed, ns=(now, now))
    scan(root, tmp_path / "out.csv", tmp_path / "memory.csv")
    changed.write_bytes(changed.read_bytes()[::-1])
    os.utime(changed, ns=(now, now))
    stale = (tmp_path / "out.csv").read_bytes()
    assert scan(root, tmp_path / "out.csv", tmp_path / "memory.csv").n_hashed == 1
    assert (tmp_path / "out.csv").read_bytes() != stale


def test_missing_files_are_counted_and_forgotten(root: Path, tmp_path: Path) -> None:
    out, memory = tmp_path / "out.csv", tmp_path / "memory.csv"
    scan(root, out, memory)
    gone = next(root.rglob("*.wav"))
    gone.unlink()
    assert scan(root, out, memory) == ScanSummary(n_files=8, n_hashed=0, n_bytes_hashed=0, n_missing=1)
    name = gone.relative_to(root).as_posix()
    assert name not in Fingerprint.read(out).files
    assert name not in memory.read_text()


def test_an_interrupted_scan_keeps_what_it_has_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fingerprint._digest
    files = sorted(path for path in root.rglob("*") if path.is_file())

    def interrupted(path: Path, algorithm: str) -> str:
        if path == files[5]:
            raise KeyboardInterrupt
        return real(path, algorithm)

    out, memory = tmp_path / "out.csv", tmp_path / "memory.csv"
    monkeypatch.setattr(fingerprint, "_digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan(root, out, memory, workers=1)
    assert not out.exists()
    monkeypatch.setattr(fingerprint, "_digest", real)
    assert scan(root, out, memory).n_hashed == len(files) - 5


def test_a_damaged_memory_costs_time_and_nothing_else(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, memory = tmp_path / "out.csv", tmp_path / "memory.csv"
    scan(root, out, memory)
    expected = out.read_bytes()
    memory.write_text(memory.read_text()[:-30])
    assert scan(root, out, memory).n_hashed == 9
    assert "every file is read again" in capsys.readouterr().err
    assert out.read_bytes() == expected


@pytest.mark.parametrize(
    "content",
    [b"", b"recording,performance\n", b"path,bytes,sha256\na.wav,12\n", b"path,bytes,sha256\na,b," + b"0" * 64],
)
def test_what_is_no_fingerprint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=r"out\.csv: is not a fingerprint .*drum-crnn corpus scan"):
        Fingerprint.read(path)


def test_a_missing_fingerprint_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"run `drum-crnn corpus scan ROOT`"):
        Fingerprint.read(tmp_path / "out.csv")
