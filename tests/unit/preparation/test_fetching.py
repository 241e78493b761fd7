"""Fetching a corpus from a real server: whole or not at all, checked, in little room."""

import errno
import hashlib
import io
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from archives import egmd_like, files_below, unpacked_egmd, write_zip, zipped
from file_server import FileServer, file_server
from typer.testing import CliRunner

from drum_crnn.cli import Published, app
from drum_crnn.data.corpus import Corpus
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.preparation import download, fetching, unpacking
from drum_crnn.preparation.fetching import DATASETS, Dataset, fetch

ENTRIES = egmd_like(8, 30_000)
FILES = unpacked_egmd(ENTRIES)


class Disk(NamedTuple):
    """What `shutil.disk_usage` answers."""

    total: int
    used: int
    free: int


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return zipped(tmp_path_factory.mktemp("archive"), ENTRIES)


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "_FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(unpacking, "_BATCH_BYTES", 50_000)
    with file_server(content) as running:
        yield running


@pytest.fixture
def dataset(server: FileServer) -> Dataset:
    """A small archive as if it were published."""
    url = server.url.replace("archive.zip", "e-gmd-v1.0.0.zip")
    return Dataset(url, len(server.content), hashlib.sha256(server.content).hexdigest(), sum(map(len, FILES.values())))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_corpus_is_fetched_and_can_be_opened(dataset: Dataset, tmp_path: Path) -> None:
    folder = fetch(dataset, tmp_path / "new" / "disk")
    assert folder == tmp_path / "new" / "disk" / "e-gmd-v1.0.0"
    assert files_below(folder) == FILES
    assert names_in(folder.parent) == ["e-gmd-v1.0.0"]
    corpus = Corpus.open(folder)
    assert (len(corpus.recordings), corpus.problems) == (8, [])


def test_what_is_there_is_not_fetched_again(
    dataset: Dataset, server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(dataset, tmp_path)
    (tmp_path / "e-gmd-v1.0.0" / "mine").touch()
    n_requests = len(server.requests)
    fetch(dataset, tmp_path)
    assert len(server.requests) == n_requests
    assert (tmp_path / "e-gmd-v1.0.0" / "mine").exists()
    assert "exists already, so nothing is fetched" in capsys.readouterr().out


def test_an_archive_without_a_folder_of_its_own_gets_one(dataset: Dataset, server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "plain.zip"
    write_zip(path, FILES)
    server.content = path.read_bytes()
    plain = replace(dataset, n_bytes=len(server.content), sha256=hashlib.sha256(server.content).hexdigest())
    assert files_below(fetch(plain, tmp_path)) == FILES


def test_other_bytes_are_deleted_before_they_are_unpacked(
    dataset: Dataset, server: FileServer, content: bytes, tmp_path: Path
) -> None:
    server.content = content[:1000] + b"!" + content[1001:]
    with pytest.raises(DrumCrnnError, match=rf"has the sha256 [0-9a-f]{{64}} instead of {dataset.sha256}: it was dam"):
        fetch(dataset, tmp_path)
    assert names_in(tmp_path / ".fetch-e-gmd-v1.0.0") == ["lock"]
    server.content = content
    assert files_below(fetch(dataset, tmp_path)) == FILES
    assert [asked for _, asked in server.requests] == ["", ""]


def test_a_changed_file_without_a_mark_is_found_by_its_checksum(
    dataset: Dataset, server: FileServer, content: bytes, tmp_path: Path
) -> None:
    """As long as before, no ETag, no time: nothing but the checksum tells that two versions were glued."""
    server.etag = server.last_modified = ""
    server.drop_after = [100_000, *[0] * 100]
    with pytest.raises(DrumCrnnError, match="run the same command again"):
        fetch(dataset, tmp_path)
    server.content, server.drop_after = content[::-1], []
    with pytest.raises(DrumCrnnError, match="instead of"):
        fetch(dataset, tmp_path)
    assert names_in(tmp_path) == [".fetch-e-gmd-v1.0.0"]


def test_a_mirror_may_have_another_archive_with_a_checksum_of_its_own(
    dataset: Dataset, server: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "stored.zip"
    write_zip(path, ENTRIES, compression=0)
    with file_server(path.read_bytes()) as mirror:
        with pytest.raises(DrumCrnnError, match="bytes instead of"):
            fetch(dataset, tmp_path, url=mirror.url)
        sha256 = hashlib.sha256(mirror.content).hexdigest().upper()
        assert files_below(fetch(dataset, tmp_path, url=mirror.url, sha256=sha256)) == FILES
    assert server.requests == []


def test_an_archive_that_climbs_out_leaves_nothing_outside(
    dataset: Dataset, server: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "evil.zip"
    write_zip(path, {"../../../evil.txt": b"!", "e-gmd-v1.0.0/e-gmd-v1.0.0.csv": b""})
    server.content = path.read_bytes()
    with pytest.raises(DrumCrnnError, match="do not trust this archive"):
        fetch(dataset, tmp_path / "a" / "b", sha256=hashlib.sha256(server.content).hexdigest())
    assert names_in(tmp_path) == ["a", "evil.zip"]
    assert names_in(tmp_path / "a" / "b") == [".fetch-e-gmd-v1.0.0"]


def test_room_is_asked_for_before_the_download(
    dataset: Dataset, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = dataset.n_unpacked_bytes - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**9, 10**9 - free, free))
    with pytest.raises(DrumCrnnError, match=r"0.5 MB must be free to download and unpack it, and 0.4 MB are|make room"):
        fetch(dataset, tmp_path)
    assert server.requests == []


def test_room_is_asked_for_before_the_unpacking_and_the_archive_is_kept(
    dataset: Dataset, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of the content is not known before, if it was not published."""
    unknown = replace(dataset, n_unpacked_bytes=0)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Disk(10**9, 0, dataset.n_bytes))
        patch.setattr(fetching, "missing_bytes", lambda _: dataset.n_bytes + 1)
        with pytest.raises(DrumCrnnError, match="must be free to unpack it"):
            fetch(unknown, tmp_path)
    assert names_in(tmp_path) == [".fetch-e-gmd-v1.0.0"]
    assert files_below(fetch(unknown, tmp_path)) == FILES
    assert len(server.requests) == 1


def test_there_is_room_for_the_corpus_but_not_for_both(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that counts blocks: beyond the corpus, there is room for two batches."""

    def blocks(sizes: Iterable[int]) -> int:
        return sum(-(-size // 4096) * 4096 for size in sizes)

    size = blocks(map(len, FILES.values())) + 100_000
    assert size < dataset.n_bytes + dataset.n_unpacked_bytes

    def usage(_: object) -> Disk:
        used = blocks(path.lstat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert used <= size
        return Disk(size, used, size - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    real = unpacking._unpack

    def unpack(*args: Any) -> None:
        real(*args)
        usage(tmp_path)

    monkeypatch.setattr(unpacking, "_unpack", unpack)
    assert files_below(fetch(dataset, tmp_path)) == FILES


@pytest.mark.parametrize("n_writes", [0, 3])
def test_a_full_disk_is_told_in_a_sentence_and_the_work_goes_on_later(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_writes: int
) -> None:
    class FullDisk(io.FileIO):
        left = n_writes

        def write(self, data: Any) -> int:
            if FullDisk.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            FullDisk.left -= 1
            return super().write(data)

    real = Path.open

    def opened(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if self.name == "archive.zip" and mode in ("ab", "wb"):
            return FullDisk(str(self), mode.replace("b", ""))
        return real(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        patch.setattr(download, "_CHUNK_BYTES", 10_000)
        with pytest.raises(DrumCrnnError, match=r"No space left on device; make room, and run the same command again"):
            fetch(dataset, tmp_path)
    assert files_below(fetch(dataset, tmp_path)) == FILES


def test_a_folder_that_cannot_be_written_is_told(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DrumCrnnError, match="cannot be written: Not a directory; a part of its path is a file"):
        fetch(dataset, tmp_path / "file")


def test_a_second_process_is_told_of_the_first(dataset: Dataset, tmp_path: Path) -> None:
    """A lock of the system belongs to a process, so another one holds it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(tmp_path / ".fetch-e-gmd-v1.0.0", theirs))
    process.start()
    try:
        assert ours.recv()
        with pytest.raises(DrumCrnnError, match=f"process {process.pid} is doing the same work"):
            fetch(dataset, tmp_path)
    finally:
        ours.send(None)
        process.join()
    assert files_below(fetch(dataset, tmp_path)) == FILES


def _hold(folder: Path, connection: Any) -> None:
    with folder_lock(folder, StopRequest()):
        connection.send(True)
        connection.recv()


def test_the_command_names_every_corpus_and_what_to_do_next(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name.value for name in Published} == DATASETS.keys()
    for name in ("egmd", "groove-midi"):
        monkeypatch.setitem(DATASETS, name, dataset)
    run = CliRunner().invoke(app, ["fetch", "egmd", "--to", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert f"next, run `drum-crnn corpus scan {tmp_path}/e-gmd-v1.0.0`" in run.output
    for step in ("downloading", "checking", "unpacking"):
        assert re.search(rf"^{step}: 100 %, 0:00:00 left$", run.output, flags=re.MULTILINE)
    run = CliRunner().invoke(app, ["fetch", "groove-midi", "--to", str(tmp_path)])
    assert f"next, render it: set render.performances: {tmp_path}/e-gmd-v1.0.0" in run.output
    run = CliRunner().invoke(app, ["fetch", "egmd", "--to", str(tmp_path), "--sha256", "12ab"])
    assert run.exit_code == 1
    assert "has 64 hexadecimal digits" in run.output


def test_what_is_published_is_written_down_whole() -> None:
    for dataset in DATASETS.values():
        assert dataset.url.startswith("https://storage.googleapis.com/magentadata/datasets/")
        assert len(bytes.fromhex(dataset.sha256)) == 32
    assert DATASETS["egmd"].n_unpacked_bytes == pytest.approx(444.5 * 3600 * 44_100 * 2, rel=0.01)
    assert [dataset.folder for dataset in DATASETS.values()] == [
        "e-gmd-v1.0.0",
        "groove-v1.0.0",
        "groove-v1.0.0-midionly",
    ]
