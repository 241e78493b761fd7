import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from miniature import ROOT

from drum_crnn.foundation.errors import DrumCrnnError, Interrupted
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest, stop_on_signals
from drum_crnn.foundation.workers import worker_pool


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_noted_and_the_handler_before_comes_back(number: signal.Signals) -> None:
    inherited = signal.signal(number, signal.default_int_handler)  # under nohup, it would be ignored
    try:
        with stop_on_signals() as stop:
            assert not stop
            os.kill(os.getpid(), number)
            assert stop
            assert stop.signal is number
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
from drum_crnn.foundation.stopping import StopRequest, folder_lock
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
        asked.signal = signal.SIGTERM
        with pytest.raises(Interrupted, match="while it waited"), folder_lock(tmp_path, asked):
            pass
        process.kill()
    with folder_lock(tmp_path, StopRequest(), wait_s=5):
        pass


# A process that watches its parents, and says when it is told to stop.
WATCHER = """
import os, sys, time
from pathlib import Path
from drum_crnn.foundation.stopping import stop_on_signals, stop_when_orphaned
stop_when_orphaned(always=sys.argv[2] == "always", poll_s=0.05)
with stop_on_signals() as stop:
    Path(sys.argv[1]).write_text(str(os.getpid()))
    while not stop:
        time.sleep(0.02)
Path(sys.argv[1]).write_text("stopped")
"""


def run_orphan(tmp_path: Path, *, always: bool, shell: bool, under_dvc: bool) -> Path:
    """Start a watcher under a parent, kill the parent, and return the watcher's file."""
    script, report = tmp_path / "watcher.py", tmp_path / "report"
    script.write_text(WATCHER)
    command = [sys.executable, str(script), str(report), "always" if always else "dvc"]
    if shell:
        # Two commands, so that the shell does not replace itself by the first one.
        command = ["sh", "-c", '"$@"; true', "sh", *command]
    parent = f"import subprocess; subprocess.run({command!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"DVC_STAGE": "train"} if under_dvc else {})
    with subprocess.Popen([sys.executable, "-c", parent], env=environment, stderr=subprocess.DEVNULL) as process:
        while not (report.exists() and report.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    return report


@pytest.mark.parametrize("shell", [False, True])
def test_an_orphan_of_dvc_stops(tmp_path: Path, shell: bool) -> None:
    report = run_orphan(tmp_path, always=False, shell=shell, under_dvc=True)
    until = time.monotonic() + 30
    while report.read_text() != "stopped":
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_orphan_of_a_shell_goes_on_unless_it_is_a_rank(tmp_path: Path) -> None:
    report = run_orphan(tmp_path, always=False, shell=False, under_dvc=False)
    pid = int(report.read_text())
    time.sleep(0.5)
    assert report.read_text() == str(pid)
    os.kill(pid, signal.SIGKILL)
    report.unlink()
    report = run_orphan(tmp_path, always=True, shell=False, under_dvc=False)
    until = time.monotonic() + 30
    while report.read_text() != "stopped":
        assert time.monotonic() < until
        time.sleep(0.02)


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    if number == 0:
        raise DrumCrnnError("no")
    time.sleep(600)
    return number


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_worker_is_a_sentence(method: str) -> None:
    with pytest.raises(DrumCrnnError, match="a worker process was killed"), worker_pool(2, method=method) as pool:
        list(pool.map(die, range(10)))
    assert not multiprocessing.active_children()


def test_an_error_ends_the_workers_at_once() -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(DrumCrnnError, match="no"), worker_pool(2) as pool:
        list(pool.map(fail, range(10)))
    assert set(multiprocessing.active_children()) <= others
    with worker_pool(2) as pool:
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
