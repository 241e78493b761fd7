"""What befalls stages: their `dvc` or they themselves are killed, the disk is full, a bit of an output flips."""

import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pipeline
import psutil
import pytest
from damage import flip_bit
from miniature import ROOT, copy_project, write_params
from training_runs import HELD
from waiting import wait_for_end, wait_until
from yaml_files import read_yaml

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.data.splits import Splits
from drum_crnn.engine.exporting import export_model
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.model_params import ModelParams
from drum_crnn.model.peak_picking import PeakPickingParams
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import FeatureParams

ENVIRONMENT = {**pipeline.ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
DAG: dict[str, Any] = read_yaml(ROOT / "dvc.yaml")["stages"]
WITH_WORKERS = {"render", "catalog", "extract", "label"}

# A function of each stage that is held while it works, in a worker where the stage has any.
HELD_PLACES = {
    "render": "drum_crnn.studio.rendering:_render_job",
    "catalog": "drum_crnn.preparation.checking:_check_performance",
    "label": "drum_crnn.preparation.labelling:_label_performance",
    "split": "stages.split:make_splits",
    "evaluate": "drum_crnn.scoring.prediction:activations_of_all",
}


def command_of(stage: str) -> list[str]:
    """Module and arguments of a stage, as dvc.yaml has them, with two workers where there are any."""
    words = shlex.split(DAG[stage]["cmd"])[2:]
    words = ["data/rendered" if word.startswith("${corpus.") else word for word in words]
    return [*words, "--workers", "2"] if stage in WITH_WORKERS else words


def outputs_of(stage: str) -> list[str]:
    entries = [entry for kind in ("outs", "metrics") for entry in DAG[stage].get(kind, [])]
    return [path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])]


def remove_outputs(project: Path, stage: str) -> None:
    for name in outputs_of(stage):
        path = project / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def leftovers(project: Path) -> list[Path]:
    return list(project.rglob(".partial-*"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Path:
    """What all stages have written, but for the training, whose model is an untrained one; not to be written to."""
    project = tmp_path_factory.mktemp("finished")
    params = write_params(project / "params.yaml")
    shutil.copy(ROOT / "variations.yaml", project)
    shutil.copytree(prepared_data, project / "data")
    features, peak_picking = FeatureParams.load(params), PeakPickingParams.load(params)
    weights = project / "models" / "crnn.safetensors"
    ModelFile(DrumCrnn(ModelParams.load(params), n_mels=features.n_mels), features).save(weights)
    thresholds = {"thresholds": dict.fromkeys(LANES, 0.5), "peak_picking": peak_picking.model_dump()}
    weights.with_name("thresholds.json").write_text(json.dumps(thresholds, indent=2))
    export_model(weights, weights.with_name("thresholds.json"), weights.with_name("drum_crnn.safetensors"))
    return project


@pytest.fixture
def project(tmp_path: Path, finished: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "project")


def run_stage(project: Path, stage: str, *, max_file_bytes: int | None = None) -> "subprocess.CompletedProcess[str]":
    def limit() -> None:
        if max_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    return subprocess.run(
        [sys.executable, "-m", *command_of(stage)],
        cwd=project,
        env=ENVIRONMENT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=max_file_bytes is None,
    )


# ------------------------------------------------------------------------------------------------------------ killed


def held(project: Path, stage: str) -> tuple[list[str], dict[str, str], Path]:
    """The command and the variables that start a stage which is held at its place, and the file that says it is."""
    place = {"HELD_AT": HELD_PLACES[stage], "HELD_RANKS": "0", "HELD_IN": str(project)}
    return [sys.executable, str(HELD), "-m", *command_of(stage)], ENVIRONMENT | place, project / "held-0"


class Stage:
    """A stage as `dvc` runs it: below a process that can be killed, and with the variable by which it knows."""

    def __init__(
        self, project: Path, command: Sequence[str], environment: dict[str, str], has_begun: Callable[[], object]
    ) -> None:
        self.said = project / "said"
        with self.said.open("w") as file:
            self.parent = subprocess.Popen(
                [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *command],
                cwd=project,
                env=environment | {"DVC_STAGE": "stage"},
                stdout=file,
                stderr=file,
            )
        wait_until(has_begun, self.parent, what=self.said.read_text)
        [self.process] = psutil.Process(self.parent.pid).children()
        self.helpers = self.process.children(recursive=True)

    def kill(self, *, parent_alone: bool) -> None:
        if parent_alone:
            self.parent.kill()
        else:
            self.process.kill()
        self.parent.wait()
        wait_for_end([self.process, *self.helpers])


@pytest.mark.parametrize("stage", HELD_PLACES)
def test_an_orphan_stops_and_leaves_nothing(project: Path, stage: str) -> None:
    remove_outputs(project, stage)
    command, environment, started = held(project, stage)
    run = Stage(project, command, environment, started.exists)
    assert (len(run.helpers) >= 2) == (stage in WITH_WORKERS)
    run.kill(parent_alone=True)
    assert "error: stopped by the end of its parent process" in run.said.read_text()
    assert "Traceback" not in run.said.read_text()
    assert not leftovers(project)
    assert not [name for name in outputs_of(stage) if (project / name).is_file()]


def make_long(project: Path, stage: str) -> None:
    """Give a stage work for many minutes."""
    if stage == "render":
        sessions = read_yaml(project / "params.yaml")["render"]["sessions"]
        sessions[0]["takes"] = 500
        write_params(project / "params.yaml", render={"sessions": sessions})
        return
    catalog = project / "data" / "catalog.csv"
    header, *rows = catalog.read_text().splitlines(keepends=True)
    catalog.write_text("".join([header, *(f"copy{n}/{row}" for n in range(500) for row in rows)]))


@pytest.mark.parametrize(("stage", "parent_alone"), [("render", False), ("extract", False), ("extract", True)])
def test_killed_at_work_it_leaves_no_process_and_the_next_run_is_whole(
    project: Path, stage: str, parent_alone: bool
) -> None:
    before = {path: path.read_bytes() for name in outputs_of(stage) for path in sorted((project / name).rglob("*.*"))}
    kept = {name: (project / name).read_bytes() for name in ("params.yaml", "data/catalog.csv")}
    remove_outputs(project, stage)
    make_long(project, stage)
    command = [sys.executable, "-m", *command_of(stage)]
    wanted = {"render": ".partial-*/**/*.wav", "extract": "features/.partial-*.h5"}[stage]
    run = Stage(project, command, ENVIRONMENT, lambda: [*(project / "data").glob(wanted)])
    assert len(run.helpers) >= 2
    run.kill(parent_alone=parent_alone)
    assert bool(leftovers(project)) != parent_alone
    for name, content in kept.items():
        (project / name).write_bytes(content)
    run_stage(project, stage)
    assert not leftovers(project)
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_says_so_with_code_75(project: Path, number: signal.Signals) -> None:
    remove_outputs(project, "render")
    command, environment, started = held(project, "render")
    with subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as process:
        wait_until(started.exists, process)
        helpers = psutil.Process(process.pid).children()
        process.send_signal(number)
        _, said = process.communicate()
    assert (process.returncode, said.count("\n")) == (75, 1)
    assert f"error: stopped by {number.name}" in said
    wait_for_end(helpers)
    assert not leftovers(project)


def test_a_second_dvc_is_refused_and_after_a_killed_one_the_next_goes_on(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}

    def dvc(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["dvc", *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
        )

    dvc("config", "--local", "core.no_scm", "true")
    kept = (project / "params.yaml").read_bytes()
    make_long(project, "render")
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(
            ["dvc", "repro", "render"], cwd=project, env=environment, stdout=said, stderr=said, text=True
        ) as process,
    ):
        wait_until(lambda: [*project.glob("data/.partial-*/**/*.wav")], process, what=(tmp_path / "said").read_text)
        others = psutil.Process(process.pid).children(recursive=True)
        second = dvc("repro", "render")
        assert second.returncode != 0
        assert f"{process.pid}" in second.stderr
        process.kill()
    wait_for_end(others)
    assert not leftovers(project)
    (project / "params.yaml").write_bytes(kept)
    third = dvc("repro", "render")
    assert third.returncode == 0, third.stderr
    assert "had been killed. Auto removed it from the lock file" in third.stdout + third.stderr
    assert (project / "data" / "kits.csv").is_file()


# ------------------------------------------------------------------------------------------------------- a full disk


@pytest.mark.parametrize(
    ("stage", "max_file_bytes", "file"),
    [
        ("render", 50_000, "data/rendered"),
        ("extract", 20_000, "data/features/shard-"),
        ("label", 2000, "data/labels.h5"),
        ("split", 500, "data/splits.csv"),
        ("models", 10_000, "models/drum_crnn.safetensors"),
    ],
)
def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    project: Path, stage: str, max_file_bytes: int, file: str
) -> None:
    """A limit of the size of a file stands for a full disk: the same calls fail, with another number."""
    remove_outputs(project, stage)
    done = run_stage(project, stage, max_file_bytes=max_file_bytes)
    assert done.returncode == 1
    *warnings, last = done.stderr.splitlines()
    assert last.startswith(f"error: {file}")
    assert "cannot be written: File too large; make room" in last
    assert all(line.startswith("warning: .cache/") for line in warnings)  # what is remembered does not fit either
    assert not leftovers(project)
    assert not [name for name in outputs_of(stage) if (project / name).is_file()]


# -------------------------------------------------------------------------------------------------------- flipped bits


def content_of_features(path: Path) -> object:
    store, catalog = FeatureStore.open(path.parent), Catalog.read(path.parent.parent / "catalog.csv")
    return [store.read(entry.recording).tobytes() for entry in catalog]


def content_of_labels(path: Path) -> object:
    labels = Labels.read(path)
    arrays = (labels.onset_time_s, labels.onset_lane, labels.onset_velocity, labels.onset_offset)
    windows = (labels.ignore_start_s, labels.ignore_end_s, labels.ignore_lane, labels.ignore_offset)
    return labels.recordings, [array.tobytes() for array in arrays + windows]


def content_of_model(path: Path) -> object:
    model = ModelFile.load(path)
    weights = {name: tensor.numpy().tobytes() for name, tensor in model.model.state_dict().items()}
    return model.features, model.thresholds, model.peak_picking, weights


def exported_again(path: Path) -> object:
    target = path.with_name("exported.safetensors")
    export_model(path.with_name("crnn.safetensors"), path, target)
    return content_of_model(target)


@pytest.mark.parametrize(
    ("name", "load", "is_under_a_checksum"),
    [
        ("data/features/shard-0001.h5", content_of_features, True),
        ("data/labels.h5", content_of_labels, True),
        ("models/crnn.safetensors", content_of_model, True),
        ("models/drum_crnn.safetensors", content_of_model, True),
        # Text for people and other tools: another digit is another number, which `drum-crnn verify` finds.
        ("data/catalog.csv", Catalog.read, False),
        ("data/splits.csv", Splits.read, False),
        ("models/thresholds.json", exported_again, False),
    ],
)
def test_a_flipped_bit_is_said_with_what_to_delete(
    project: Path, name: str, load: Callable[[Path], object], is_under_a_checksum: bool
) -> None:
    path = project / name
    whole, content = load(path), path.read_bytes()
    places = [*range(0, len(content), max(1, len(content) // 60)), *range(min(12, len(content)))]
    n_noticed = 0
    for place in places:
        path.unlink()  # a new file: HDF5 would answer for an old one from memory
        path.write_bytes(content)
        flip_bit(path, place, bit=place % 7)
        try:
            loaded = load(path)
        except DrumCrnnError as error:
            n_noticed += 1
            assert str(path) in str(error)  # noqa: PT017  # not every bit is noticed
            assert "delete" in str(error)  # noqa: PT017  # as above
        else:
            assert not is_under_a_checksum or loaded == whole, f"bit {place % 7} of byte {place}"
    assert n_noticed > len(places) / (2 if is_under_a_checksum else 20)
