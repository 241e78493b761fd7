"""Unpacking an archive that shrinks: the same files as by zipfile, wherever it is interrupted; nothing climbs out."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from archives import egmd_like, files_below, write_zip, write_zip_with_link
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.preparation import unpacking as module
from drum_crnn.preparation.unpacking import begin_unpacking, has_begun_unpacking, missing_bytes, unpack_shrinking


class KilledError(Exception):
    """Stands for the end of the process."""


@contextmanager
def batches_of(n_bytes: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH_BYTES", n_bytes)
        yield


def unpack(archive: Path, target: Path) -> list[tuple[int, int]]:
    reports: list[tuple[int, int]] = []
    unpack_shrinking(archive, target, report=lambda *counts: reports.append(counts))
    return reports


def unpack_until(archive: Path, target: Path, n_reports: int) -> bool:
    """Whether all is unpacked before as many reports have come."""

    def report(*_: int) -> None:
        nonlocal n_reports
        n_reports -= 1
        if n_reports < 0:
            raise KilledError

    try:
        unpack_shrinking(archive, target, report=report)
    except KilledError:
        return False
    return True


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_the_files_are_those_of_the_archive(archive: Path, tmp_path: Path, compression: int) -> None:
    entries = egmd_like(5, 20_000)
    write_zip(
        archive, {**entries, "e-gmd-v1.0.0/ü/empty/": b"", "e-gmd-v1.0.0/ü/empty.wav": b""}, compression=compression
    )
    begin_unpacking(archive)
    assert has_begun_unpacking(archive)
    reports = unpack(archive, tmp_path / "tree")
    files = {name: content for name, content in entries.items() if not name.endswith("/")}
    assert files_below(tmp_path / "tree") == {**files, "e-gmd-v1.0.0/ü/empty.wav": b""}
    assert (tmp_path / "tree" / "e-gmd-v1.0.0" / "ü" / "empty").is_dir()
    total = sum(map(len, files.values()))
    assert (reports[0], reports[-1]) == ((0, total), (total, total))
    assert archive.stat().st_size == 0


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=12),
    batch=st.integers(1, 10_000),
    stops=st.lists(st.integers(0, 8), max_size=6),
)
def test_it_can_be_interrupted_anywhere_and_never_holds_both(sizes: list[int], batch: int, stops: list[int]) -> None:
    content = bytes(range(256)) * 12
    entries = {f"drums/{n}.wav": content[:size] for n, size in enumerate(sizes)}
    with tempfile.TemporaryDirectory() as folder, batches_of(batch):
        archive, tree = Path(folder) / "archive.zip", Path(folder) / "tree"
        write_zip(archive, entries, compression=zipfile.ZIP_STORED)
        n_bytes, n_entries = archive.stat().st_size, len(entries)
        begin_unpacking(archive)
        for stop in stops:
            unpack_until(archive, tree, stop)
            unpacked = sum(map(len, files_below(tree).values())) if tree.exists() else 0
            # What is in both is at most a batch, whose last entry may exceed it.
            assert archive.stat().st_size + unpacked <= n_bytes + batch + max(sizes)
        unpack(archive, tree)
        assert files_below(tree) == entries
        assert archive.stat().st_size == 0
        assert n_entries == len(files_below(tree))


def test_what_was_unpacked_is_not_unpacked_again(archive: Path, tmp_path: Path) -> None:
    write_zip(archive, egmd_like(10, 10_000))
    begin_unpacking(archive)
    with batches_of(1):
        assert not unpack_until(archive, tmp_path / "tree", 12)
        left = archive.stat().st_size
        (first, total), *_ = unpack(archive, tmp_path / "tree")
    assert 0 < left < total
    assert 0 < first < total


def test_an_archive_with_more_entries_than_the_first_zips_could_hold(archive: Path, tmp_path: Path) -> None:
    """E-GMD's has 91,108; more than 65,535 need the fields of Zip64."""
    with zipfile.ZipFile(archive, "w") as opened:
        for n in range(66_000):
            opened.writestr(f"drums/{n}/" if n % 100 else f"drums/{n}.midi", b"")
    begin_unpacking(archive)
    archive.unlink()
    archive.write_bytes(b"")
    with archive.open("rb") as file, module._open(file, module._directory_file(archive)) as opened:
        assert len(opened.infolist()) == 66_000


def test_an_archive_behind_other_bytes(archive: Path, tmp_path: Path) -> None:
    entries = {"drums/a.wav": b"a" * 5000, "drums/b.wav": b"b" * 5000}
    write_zip(archive, entries)
    archive.write_bytes(b"#!/bin/sh\n" + archive.read_bytes())
    begin_unpacking(archive)
    unpack(archive, tmp_path / "tree")
    assert files_below(tmp_path / "tree") == entries
    assert archive.stat().st_size == 0


@pytest.mark.parametrize("batch", [1, 20_000, 1 << 30])
def test_the_room_that_is_needed(archive: Path, tmp_path: Path, batch: int) -> None:
    """As measured: what the tree occupies beyond what the archive gives up, at its largest."""
    write_zip(archive, {f"drums/{n}.wav": bytes(8192) for n in range(10)})
    begin_unpacking(archive)
    with batches_of(batch):
        needed, before = missing_bytes(archive), archive.stat().st_size
        largest = 0

        def report(*_: int) -> None:
            nonlocal largest
            files = files_below(tmp_path / "tree").values()
            largest = max(largest, sum(map(len, files)) + archive.stat().st_size - before)

        unpack_shrinking(archive, tmp_path / "tree", report=report)
        assert needed == largest
        assert missing_bytes(archive) == 0


@pytest.mark.parametrize(
    "name",
    [
        "../a.wav",
        "drums/../../a.wav",
        "/etc/passwd",
        "C:/a.wav",
        "C:a.wav",
        "..\\a.wav",
        "drums\\a.wav",
        "a\nb.wav",
        ".",
    ],
)
def test_entries_that_climb_out_are_refused_before_anything_is_unpacked(archive: Path, name: str) -> None:
    write_zip(archive, {"drums/info.csv": b"", name: b""})
    with pytest.raises(DrumCrnnError, match=r"its entry .* nothing was unpacked, do not trust this archive"):
        begin_unpacking(archive)
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize("target", ["/etc", "..", "info.csv"])
def test_links_are_refused(archive: Path, target: str) -> None:
    write_zip_with_link(archive, "drums/link", target)
    with pytest.raises(DrumCrnnError, match=r"'drums/link' is a link or a device"):
        begin_unpacking(archive)
    assert not has_begun_unpacking(archive)


def test_encrypted_entries_are_refused(archive: Path) -> None:
    write_zip(archive, {"drums/a.wav": b"a"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # of the flags in the directory
    archive.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=r"'drums/a.wav' is encrypted"):
        begin_unpacking(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_that_fight_for_a_place_are_refused(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("drums/a.wav", b"one")
        opened.writestr("drums/./a.wav", b"two")
    with pytest.raises(DrumCrnnError, match=r"'drums/./a.wav' occurs twice"):
        begin_unpacking(archive)
    write_zip(archive, {"drums/a": b"a file", "drums/a/b.wav": b"inside of it"})
    with pytest.raises(DrumCrnnError, match="'drums/a' is a file and a folder"):
        begin_unpacking(archive)


def test_entries_that_share_bytes_are_refused(archive: Path) -> None:
    """As in zip bombs; and cutting off one of them would damage the other."""
    write_zip(archive, {"drums/a.wav": b"a" * 100, "drums/b.wav": b"b" * 100}, compression=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    content[second + 42 : second + 46] = (50).to_bytes(4, "little")  # its offset
    archive.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=r"'drums/a.wav' overlaps what follows it"):
        begin_unpacking(archive)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nothing else", b"<html>" * 100])
def test_what_is_no_archive_is_told(archive: Path, content: bytes) -> None:
    archive.write_bytes(content)
    with pytest.raises(DrumCrnnError, match="is not a whole zip archive"):
        begin_unpacking(archive)


def test_an_empty_archive_is_told(archive: Path) -> None:
    write_zip(archive, {})
    with pytest.raises(DrumCrnnError, match="the archive is empty"):
        begin_unpacking(archive)


def test_damage_is_told_and_nothing_after_it_is_cut_off(archive: Path, tmp_path: Path) -> None:
    write_zip(archive, {f"drums/{n}.wav": bytes([n]) * 1000 for n in range(3)}, compression=zipfile.ZIP_STORED)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(bytes([1]) * 1000, bytes([1]) * 500 + bytes([7]) * 500))
    begin_unpacking(archive)
    with batches_of(1), pytest.raises(DrumCrnnError, match=r"drums/1.wav is damaged \(Bad CRC-32.*delete the folder"):
        unpack(archive, tmp_path / "tree")
    assert archive.stat().st_size > content.index(bytes([1]) * 500)
