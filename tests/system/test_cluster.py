"""Extraction on a real scheduler and real workers, some of which are killed: the same bytes as alone."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import noise, write_corpus
from dask_cluster import Cluster, dask_cluster
from first_party import ROOT
from miniature import write_params
from waiting import AT_MOST_S, wait_until

from drum_crnn.foundation.atomic import PARTIAL
from drum_crnn.foundation.cluster import map_on_cluster
from drum_crnn.foundation.errors import DrumCrnnError, Interrupted

pytest.importorskip("distributed", reason="distributed is not installed (the extra cluster)")
pytestmark = pytest.mark.processes

N_SHARDS = 12


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with its catalog, params, and the features as one process extracts them."""
    folder = tmp_path_factory.mktemp("project")
    audio = {f"drummer1/{n}": noise(44_100 * 10, seed=n) for n in range(24)}
    write_corpus(folder / "corpus", audio).write(folder / "catalog.csv")
    write_params(folder / "params.yaml", features={"n_shards": N_SHARDS})
    assert extract(folder, "alone", "--workers", "1")[0] == 0
    assert len(bytes_of(folder / "alone")) > N_SHARDS / 2
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with dask_cluster(tmp_path_factory.mktemp("cluster") / "cluster", n_workers=2) as running:
        yield running


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster to kill processes of."""
    with dask_cluster(tmp_path / "cluster", n_workers=2) as running:
        yield running


def start(project: Path, target: Path | str, *options: str, **environment: str) -> "subprocess.Popen[str]":
    """Start the stage in the project's folder, so that its paths are relative to that."""
    return subprocess.Popen(
        [sys.executable, "-m", "stages.extract", "corpus", "catalog.csv", str(target), *options],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def extract(project: Path, target: Path | str, *options: str, **environment: str) -> tuple[int, str, str]:
    with start(project, target, *options, **environment) as process:
        output, errors = process.communicate(timeout=AT_MOST_S)
    return process.returncode, output, errors


def bytes_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def stop_amid_a_shard(worker: "subprocess.Popen[bytes]", target: Path, process: "subprocess.Popen[str]") -> None:
    """Make a worker stand still while it writes a shard."""

    def stands() -> bool:
        if not list(target.glob(f"{PARTIAL}*-{worker.pid}-*")):
            return False
        worker.send_signal(signal.SIGSTOP)
        if list(target.glob(f"{PARTIAL}*-{worker.pid}-*")):
            return True
        worker.send_signal(signal.SIGCONT)
        return False

    wait_until(stands, process)


def test_a_cluster_writes_the_same_bytes_as_one_process_and_computes_nothing_twice(
    project: Path, cluster: Cluster, tmp_path: Path
) -> None:
    n_clients = cluster.logs().count("Receive client connection")
    code, output, errors = extract(project, tmp_path / "features", "--scheduler", cluster.address)
    assert code == 0, errors
    assert errors == ""
    assert output.startswith("24 recordings computed")
    assert bytes_of(tmp_path / "features") == bytes_of(project / "alone")
    # dvc repro runs a command that cannot be changed.
    code, output, _ = extract(project, tmp_path / "features", DRUM_CRNN_SCHEDULER=cluster.address)
    assert (code, output.endswith("24 unchanged\n")) == (0, True)
    assert cluster.logs().count("Receive client connection") == n_clients + 1  # nobody was needed
    min((tmp_path / "features").iterdir()).unlink()
    code, output, _ = extract(project, tmp_path / "features", DRUM_CRNN_SCHEDULER=cluster.address)
    assert code == 0
    assert bytes_of(tmp_path / "features") == bytes_of(project / "alone")
    assert cluster.logs().count("Receive client connection") == n_clients + 2


def test_a_worker_that_is_killed_amid_a_shard_changes_nothing(project: Path, doomed: Cluster, tmp_path: Path) -> None:
    target = tmp_path / "features"
    with start(project, target, "--scheduler", doomed.address) as process:
        stop_amid_a_shard(doomed.workers[0], target, process)
        doomed.workers[0].kill()
        output, errors = process.communicate(timeout=AT_MOST_S)
    assert process.returncode == 0, errors
    assert output.startswith("24 recordings computed")
    assert bytes_of(target) == bytes_of(project / "alone")


def test_when_all_workers_are_killed_it_waits_for_another(project: Path, doomed: Cluster, tmp_path: Path) -> None:
    target = tmp_path / "features"
    with start(project, target, "--scheduler", doomed.address) as process:
        stop_amid_a_shard(doomed.workers[0], target, process)
        for worker in doomed.workers:
            worker.kill()
        assert process.stderr is not None
        assert "has no workers left; waiting for one" in process.stderr.readline()
        doomed.start_worker()
        _, errors = process.communicate(timeout=AT_MOST_S)
    assert process.returncode == 0, errors
    assert bytes_of(target) == bytes_of(project / "alone")


def test_a_lost_scheduler_is_told_and_what_is_finished_is_kept(project: Path, doomed: Cluster, tmp_path: Path) -> None:
    target = tmp_path / "features"
    with start(project, target, "--scheduler", doomed.address) as process:
        stop_amid_a_shard(doomed.workers[0], target, process)
        wait_until(lambda: list(target.glob("shard-*.h5")), process)
        doomed.scheduler.kill()
        doomed.workers[0].kill()
        _, errors = process.communicate(timeout=AT_MOST_S)
    assert process.returncode == 1
    assert f"error: --scheduler {doomed.address}: was lost; run the same command again" in errors
    assert "Traceback" not in errors
    finished = {path.name for path in target.glob("shard-*.h5")}
    assert finished
    code, output, _ = extract(project, target, "--workers", "1")
    assert code == 0
    assert not output.startswith("24 recordings computed")
    assert bytes_of(target) == bytes_of(project / "alone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_stopped(project: Path, cluster: Cluster, tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "features"
    with start(project, target, "--scheduler", cluster.address) as process:
        stop_amid_a_shard(cluster.workers[0], target, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=AT_MOST_S)
        cluster.workers[0].send_signal(signal.SIGCONT)
    assert process.returncode == Interrupted.exit_code
    assert f"stopped by {number.name}" in errors
    assert "Traceback" not in errors
    assert extract(project, target, "--scheduler", cluster.address)[0] == 0
    assert bytes_of(target) == bytes_of(project / "alone")


def test_a_broken_recording_is_one_sentence(project: Path, cluster: Cluster, tmp_path: Path) -> None:
    broken = project / "corpus" / "drummer1" / "7.wav"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    try:
        code, _, errors = extract(project, tmp_path / "features", "--scheduler", cluster.address)
    finally:
        broken.write_bytes(content)
    assert code == 1
    assert errors.startswith("error: ")
    assert "drummer1/7.wav" in errors
    assert errors.count("\n") == 1


def copy_package(target: Path) -> Path:
    """Another installation of the package."""
    shutil.copytree(ROOT / "drum_crnn", target / "drum_crnn", ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_a_task_that_ends_its_worker_is_told(tmp_path: Path) -> None:
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with (
        dask_cluster(tmp_path / "cluster", n_workers=1, **allowed) as cluster,
        pytest.raises(DrumCrnnError, match="several workers ended while they were at the same task"),
    ):
        list(map_on_cluster(cluster.address, os._exit, [1]))


def test_workers_with_another_version_are_refused(project: Path, tmp_path: Path) -> None:
    other = copy_package(tmp_path / "other")
    with (other / "drum_crnn" / "music" / "log_mel.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    with dask_cluster(tmp_path / "cluster", n_workers=0) as cluster:
        cluster.start_worker(python_path=other)
        code, _, errors = extract(project, tmp_path / "features", "--scheduler", cluster.address)
    assert code == 1
    assert "has another version of drum_crnn; install the same version on all machines" in errors
    assert list((tmp_path / "features").iterdir()) == []


def test_workers_that_cannot_load_the_project_are_refused(project: Path, tmp_path: Path) -> None:
    older = copy_package(tmp_path / "older")
    (older / "drum_crnn" / "preparation" / "extraction.py").write_text("", encoding="utf-8")
    with dask_cluster(tmp_path / "cluster", n_workers=0) as cluster:
        cluster.start_worker(python_path=older)
        code, _, errors = extract(project, tmp_path / "features", "--scheduler", cluster.address)
    assert code == 1
    assert "cannot load the project (" in errors
    assert "start it where the same version of drum_crnn is installed" in errors
    assert "Traceback" not in errors


def test_a_scheduler_that_is_not_there_is_told(project: Path, tmp_path: Path) -> None:
    code, _, errors = extract(project, tmp_path / "features", "--scheduler", "8786")
    assert code == 1
    assert errors == (
        "error: --scheduler 8786: cannot be reached: missing port number in address '8786'; start `dask scheduler` "
        "there\n"
    )


def test_without_the_extra_it_says_what_to_install(project: Path, tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")
    code, _, errors = extract(
        project, tmp_path / "features", "--scheduler", "tcp://host:8786", PYTHONPATH=f"{tmp_path}:{ROOT}"
    )
    assert code == 1
    assert "install it with `pip install distributed`, or the project with its extra `cluster`" in errors
