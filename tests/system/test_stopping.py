import functools
import multiprocessing
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from miniature import ROOT
from waiting import AT_MOST_S, wait_for_end, wait_until

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest, stop_on_signals, stop_when_orphaned
from drum_crnn.foundation.workers import worker_pool


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_noted_and_the_handler_before_comes_back(number: signal.Signals) -> None:
    inherited = signal.signal(number, signal.default_int_handler)  # under nohup, it would be ignored
    try:
        with stop_on_signals() as stop:
            assert not stop
            os.kill(os.getpid(), number)
            assert stop
            assert stop.cause == f"by {number.name}"
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.cause == f"by {number.name}"  # it was the first
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, inherited)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_noted_and_nothing_breaks() -> None:
    seen = []

    def target() -> None:
        with stop_on_signals() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert seen == [False]


HOLDER = """
import sys, time
from pathlib import Path
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest
with folder_lock(Path(sys.argv[1]), StopRequest()):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_folder_ends_with_the_process_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(DrumCrnnError, match=rf"process {process.pid} is doing the same work"),
            folder_lock(tmp_path, StopRequest(), wait_s=0.3),
        ):
            pass
        asked = StopRequest()
        asked.cause = "by SIGTERM"
        with pytest.raises(Interrupted, match="while waiting for process"), folder_lock(tmp_path, asked):
            pass
        process.kill()
    with folder_lock(tmp_path, StopRequest(), wait_s=0.0):
        pass


# A process that watches its parents, and says when and why it is to stop.
WATCHER = """
import os, sys, time
from pathlib import Path
from drum_crnn.foundation.stopping import stop_on_signals, stop_when_orphaned
def report(text):
    path = Path(sys.argv[1])
    path.with_suffix(".unfinished").write_text(text)
    path.with_suffix(".unfinished").replace(path)
with stop_on_signals() as stop:
    stop_when_orphaned(always=sys.argv[2] == "always", poll_s=0.05)
    report("watching")
    while not stop:
        time.sleep(0.02)
    report(f"stopped {stop.cause}")
"""


@pytest.mark.parametrize(
    ("always", "shell", "under_dvc"), [(False, False, True), (False, True, True), (True, False, False)]
)
def test_an_orphan_of_dvc_and_an_orphaned_rank_stop(tmp_path: Path, always: bool, shell: bool, under_dvc: bool) -> None:
    script, report = tmp_path / "watcher.py", tmp_path / "report"
    script.write_text(WATCHER)
    command = [sys.executable, str(script), str(report), "always" if always else "dvc"]
    if shell:
        # Two commands, so that the shell does not replace itself by the first one.
        command = ["sh", "-c", '"$@"; true', "sh", *command]
    parent = f"import subprocess; subprocess.run({command!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"DVC_STAGE": "train"} if under_dvc else {})
    with subprocess.Popen([sys.executable, "-c", parent], env=environment) as process:
        wait_until(report.exists, process)
        assert report.read_text() == "watching"
        process.kill()
    wait_until(lambda: report.read_text() != "watching")
    assert report.read_text() == "stopped by the end of its parent process"


def test_an_orphan_of_a_shell_goes_on_unless_it_is_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody watches the parent of a stage that was started by hand."""
    threads: list[str] = []
    monkeypatch.setattr("threading.Thread.start", lambda self: threads.append(self.name))
    monkeypatch.delenv("DVC_STAGE", raising=False)
    stop_when_orphaned(always=False)
    assert threads == []
    stop_when_orphaned(always=True)
    monkeypatch.setenv("DVC_STAGE", "train")
    stop_when_orphaned(always=False)
    assert threads == ["orphan watch"] * 2


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    if number == 0:
        raise DrumCrnnError("no")
    time.sleep(AT_MOST_S)
    return number


def fail_in_turn(folder: Path, number: int) -> int:
    """The second item fails when the fourth one has failed already."""
    if number == 1:
        wait_until((folder / "failed").exists)
        raise ValueError("the second item")
    if number == 3:
        (folder / "failed").touch()
        raise ValueError("the fourth item")
    return number


def own_process(_: object) -> int:
    return os.getpid()


def bytes_of(size: int) -> bytes:
    return bytes(size)


@pytest.fixture
def no_worker_left() -> Iterator[None]:
    others = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.usefixtures("no_worker_left")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_results_come_in_order_however_large_they_are(method: str) -> None:
    with worker_pool(2, method=method) as pool:
        assert list(pool.map(abs, range(-20, 0), chunksize=3)) == list(range(20, 0, -1))
        assert list(pool.map(abs, [])) == []
        results = pool.map(bytes_of, [300_000, *[1_000_000] * 20])
        assert len(next(results)) == 300_000  # and nobody wants the others


@pytest.mark.usefixtures("no_worker_left")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_worker_is_a_sentence(method: str) -> None:
    with pytest.raises(DrumCrnnError, match="a worker process was killed"), worker_pool(2, method=method) as pool:
        list(pool.map(die, range(10)))


def test_a_worker_that_is_killed_while_it_has_nothing_to_do_is_the_same_sentence() -> None:
    with worker_pool(1) as pool:
        [worker] = pool.map(own_process, [None])
        os.kill(worker, signal.SIGKILL)
        wait_for_end([psutil.Process(worker)])
        with pytest.raises(DrumCrnnError, match="a worker process was killed"):
            list(pool.map(abs, [1]))


@pytest.mark.usefixtures("no_worker_left")
def test_an_error_ends_the_workers_at_once() -> None:
    with pytest.raises(DrumCrnnError, match="no"), worker_pool(2) as pool:
        list(pool.map(fail, range(10)))


def test_the_error_of_the_first_item_is_told_whichever_comes_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the second item") as caught, worker_pool(2) as pool:
        list(pool.map(functools.partial(fail_in_turn, tmp_path), range(10)))
    assert "fail_in_turn" in caught.value.__notes__[0]  # where it was in the worker


def test_what_cannot_be_sent_is_an_error_of_its_own() -> None:
    with pytest.raises(AttributeError, match="pickle"), worker_pool(1) as pool:
        list(pool.map(operator.methodcaller("sort"), [Unsendable()]))


class Unsendable:
    def sort(self) -> object:
        return lambda: None
