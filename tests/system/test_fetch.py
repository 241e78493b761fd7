"""`drum-crnn fetch` as real processes, stopped and killed at every stage of the work."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import egmd_like, files_below, unpacked_egmd, zipped
from file_server import FileServer, file_server
from first_party import ROOT
from waiting import AT_MOST_S, wait_until

from drum_crnn.foundation.errors import Interrupted

pytestmark = pytest.mark.processes

ENTRIES = egmd_like(40, 60_000)
FILES = unpacked_egmd(ENTRIES)
# The command with batches of this small archive's size. It unpacks an entry for each byte that it is sent.
SLOWLY = """
import os, sys
from drum_crnn import cli
from drum_crnn.preparation import unpacking
unpacking._BATCH_BYTES = 200_000
unpack = unpacking._unpack
def step(*args):
    unpack(*args)
    print("unpacked", flush=True)
    os.read(0, 1)
if "--slowly" in sys.argv:
    sys.argv.remove("--slowly")
    unpacking._unpack = step
cli.main()
"""


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return zipped(tmp_path_factory.mktemp("archive"), ENTRIES)


@pytest.fixture
def server(content: bytes) -> Iterator[FileServer]:
    with file_server(content) as running:
        yield running


def start(server: FileServer, to: Path, *options: str) -> "subprocess.Popen[str]":
    sha256 = hashlib.sha256(server.content).hexdigest()
    command = [sys.executable, "-c", SLOWLY, "fetch", "egmd", "--to", str(to), "--url", server.url, "--sha256", sha256]
    return subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, "no_proxy": "*"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(server: FileServer, to: Path) -> None:
    """Run the same command again, and look at what it made."""
    process = start(server, to)
    output, errors = process.communicate(timeout=AT_MOST_S)
    assert process.returncode == 0, errors
    assert "next, run `drum-crnn corpus scan" in output
    assert files_below(to / "e-gmd-v1.0.0") == FILES
    assert [path.name for path in to.iterdir()] == ["e-gmd-v1.0.0"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_download_that_was_stopped_continues(
    server: FileServer, content: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    server.hold, server.hold_after = threading.Event(), len(content) // 2
    archive = tmp_path / ".fetch-e-gmd-v1.0.0" / "archive.zip"
    with start(server, tmp_path) as process:
        wait_until(lambda: archive.exists() and archive.stat().st_size == server.hold_after, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=AT_MOST_S)
    if number != signal.SIGKILL:
        assert process.returncode == Interrupted.exit_code
        assert f"stopped by {number.name}; what is done is kept, run the same command again to continue" in errors
        assert "Traceback" not in errors
    assert archive.stat().st_size == server.hold_after
    assert not (tmp_path / "e-gmd-v1.0.0").exists()

    server.hold.set()
    server.requests.clear()
    finish(server, tmp_path)
    assert server.requests == [("/archive.zip", f"bytes={server.hold_after}-")]


@pytest.mark.parametrize("n_unpacked", [1, 13, 40, 79])
def test_unpacking_that_was_killed_continues(server: FileServer, tmp_path: Path, n_unpacked: int) -> None:
    with start(server, tmp_path, "--slowly") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if line == "unpacked\n":
                n_unpacked -= 1
                if n_unpacked == 0:
                    break
                process.stdin.write("\n")
                process.stdin.flush()
        process.kill()
        process.communicate()
    assert not (tmp_path / "e-gmd-v1.0.0").exists()
    server.requests.clear()
    finish(server, tmp_path)
    assert server.requests == []


def test_the_corpus_is_in_place_although_cleaning_up_was_not_done(server: FileServer, tmp_path: Path) -> None:
    """Killed between the rename and the end."""
    finish(server, tmp_path)
    work = tmp_path / ".fetch-e-gmd-v1.0.0"
    (work / "tree").mkdir(parents=True)
    (work / "archive.zip").touch()
    process = start(server, tmp_path)
    output, errors = process.communicate(timeout=AT_MOST_S)
    assert process.returncode == 0, errors
    assert "exists already, so nothing is fetched" in output
    assert [path.name for path in tmp_path.iterdir()] == ["e-gmd-v1.0.0"]
    assert files_below(tmp_path / "e-gmd-v1.0.0") == FILES
