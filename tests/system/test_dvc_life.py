"""What people do with DVC day by day: experiments, going back, other folders; on the miniature project."""

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo
from miniature import ROOT, copy_project
from pipeline import ALL_STAGES, run, stages_run
from waiting import wait_until
from yaml_files import parse_yaml, read_yaml, write_yaml


def committed(project: Path) -> Path:
    """Experiments start from a commit that has its results, and a clone has what was committed."""
    run(project, "git", "add", "--all")
    if run(project, "git", "status", "--porcelain"):
        run(project, "git", "commit", "--quiet", "--message", "results")
    return project


# ------------------------------------------------------------------------------------------- what makes a stage rerun

# The stages that read a section, and so run again when it changes; what follows them runs if its inputs then differ.
READERS_OF_SECTION = {
    "corpus": {"catalog"},
    "render": {"render"},
    "features": {"extract"},
    "labels": {"label"},
    "split": {"split"},
    "model": {"train"},
    "train": {"train"},
    "augment": {"train"},
    "peak_picking": {"train", "tune-thresholds"},
    "thresholds": {"tune-thresholds"},
    "evaluate": {"evaluate"},
}
# By room, in the order of the pipeline: the stages that run again when a module is edited.
USERS_OF_FILE: dict[str, set[str]] = {
    # What cannot change a result: rewording a message, a line of the log or a picture reruns nothing.
    "drum_crnn/foundation/atomic.py": set(),
    "drum_crnn/foundation/console.py": set(),
    "drum_crnn/foundation/errors.py": set(),
    "drum_crnn/foundation/stage.py": set(),
    "drum_crnn/foundation/stopping.py": set(),
    "drum_crnn/foundation/workers.py": set(),
    "drum_crnn/training/log.py": set(),
    "drum_crnn/training/memory.py": set(),
    "drum_crnn/training/picture.py": set(),
    "drum_crnn/scoring/rolls.py": set(),
    "drum_crnn/__init__.py": set(),
    "drum_crnn/training/__init__.py": set(),
    "stages/__init__.py": set(),
    "drum_crnn/foundation/params.py": ALL_STAGES,
    "drum_crnn/music/audio.py": {"render", "catalog", "extract", "label"},
    "drum_crnn/music/downmix.py": {"render", "catalog", "extract", "label"},
    "drum_crnn/music/ffmpeg.py": {"render", "catalog", "extract", "label"},
    "drum_crnn/music/condition.py": set(),  # another warning decodes nothing again
    "drum_crnn/music/midi.py": {"render", "catalog", "label"},
    "drum_crnn/music/midi_writing.py": {"render"},
    "drum_crnn/music/midi_tempo.py": set(),
    "drum_crnn/music/onsets.py": {"label", "train", "tune-thresholds", "evaluate"},
    "drum_crnn/data/corpus.py": {"render", "catalog"},
    "drum_crnn/data/labels.py": {"label", "train", "tune-thresholds", "evaluate"},
    "drum_crnn/model/crnn.py": {"train", "tune-thresholds", "evaluate"},
    "drum_crnn/engine/exporting.py": {"models"},
    "drum_crnn/model/inference.py": {"train", "tune-thresholds", "evaluate"},
    "drum_crnn/band/players.py": {"render"},
    "drum_crnn/studio/production.py": {"render"},
    "drum_crnn/preparation/cataloguing.py": {"catalog"},
    "drum_crnn/preparation/checking.py": {"catalog"},
    "drum_crnn/preparation/extraction.py": {"extract"},
    "drum_crnn/preparation/labelling.py": {"label"},
    "drum_crnn/preparation/splitting.py": {"split"},
    "drum_crnn/training/augment.py": {"train"},
    "drum_crnn/training/loop.py": {"train"},
    "drum_crnn/scoring/counting.py": {"train", "tune-thresholds", "evaluate"},
    "drum_crnn/scoring/sweep.py": {"train", "tune-thresholds", "evaluate"},
    "drum_crnn/scoring/metrics.py": {"evaluate"},  # a new metric does not train
    "drum_crnn/scoring/thresholds.py": {"tune-thresholds"},  # nor does another rule for thresholds
    "drum_crnn/scoring/tuning.py": {"tune-thresholds"},
    "drum_crnn/scoring/evaluation.py": {"evaluate"},
    "stages/models.py": {"models"},
    "drum_crnn/engine/session.py": set(),
    "drum_crnn/formats/midi_file.py": set(),
    "drum_crnn/tempo/estimation.py": set(),
    "drum_crnn/workbench/presets.py": set(),
    "drum_crnn/transcribe.py": set(),
    "drum_crnn/cli.py": set(),
}


def changed_stages(project: Path) -> set[str]:
    with Repo(str(project)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()}  # seen from another folder, with the file before it


def test_every_section_of_params_is_in_the_table() -> None:
    assert READERS_OF_SECTION.keys() == read_yaml(ROOT / "params.yaml").keys()


def test_editing_a_section_concerns_the_stages_that_read_it(project: Path) -> None:
    path = project / "params.yaml"
    before = path.read_text()
    try:
        for section, readers in READERS_OF_SECTION.items():
            params = parse_yaml(before)
            params[section]["an_edit"] = 1
            write_yaml(path, params)
            assert changed_stages(project) == readers, section
    finally:
        path.write_text(before)
    assert changed_stages(project) == set()


def test_editing_variations_concerns_the_studio(project: Path) -> None:
    path = project / "variations.yaml"
    before = path.read_text()
    path.write_text(before.replace("probability: 0.75", "probability: 0.5"))
    try:
        assert path.read_text() != before
        assert changed_stages(project) == {"render"}
        path.write_text(f"{before}# a comment\n")
        assert changed_stages(project) == set()
    finally:
        path.write_text(before)


def test_every_room_is_in_the_table() -> None:
    rooms = {path.parent.name for path in (ROOT / "drum_crnn").glob("*/__init__.py")}
    assert {Path(name).parent.name for name in USERS_OF_FILE} == rooms | {"drum_crnn", "stages"}


def test_editing_a_module_concerns_the_stages_that_use_it(project: Path) -> None:
    for name, users in USERS_OF_FILE.items():
        path = project / name
        before = path.read_text()
        path.write_text(f"{before}# an edit\n")
        try:
            assert changed_stages(project) == users, name
        finally:
            path.write_text(before)
    assert changed_stages(project) == set()


# ------------------------------------------------------------------------------------------------ there and back again


def test_there_and_back_again_trains_once(project: Path) -> None:
    """Outs of both values of a parameter are in the run cache, so that going back computes nothing."""
    params, lock = project / "params.yaml", project / "dvc.lock"
    here, locked = params.read_text(), lock.read_text()
    there = here.replace("weight_decay: 0.01", "weight_decay: 0.02")
    assert there != here
    params.write_text(there)
    assert stages_run(run(project, "dvc", "repro", "train")) == ["train"]
    assert lock.read_text() != locked
    params.write_text(here)
    back = run(project, "dvc", "repro", "train")
    assert stages_run(back) == []
    assert "Stage 'train' is cached - skipping run, checking out outputs" in back
    assert lock.read_text() == locked
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")


# --------------------------------------------------------------------------------------------------------- experiments


def test_a_queue_leaves_experiments_and_this_folder_as_it_was(project: Path) -> None:
    committed(project)
    run(project, "dvc", "exp", "run", "--queue", "--name", "sweep", "-S", "evaluate.seed=11,12")
    run(project, "dvc", "queue", "start")

    def is_done() -> bool:
        status = run(project, "dvc", "queue", "status")
        assert "Failed" not in status, run(project, "dvc", "queue", "logs", "sweep-1")
        return status.count("Success") == 2

    wait_until(is_done)
    shown = list(csv.DictReader(io.StringIO(run(project, "dvc", "exp", "show", "--csv"))))
    rows = {row["Experiment"]: row for row in shown}
    assert {rows[f"sweep-{number}"]["evaluate.seed"] for number in (1, 2)} == {"11", "12"}
    assert rows["sweep-1"]["f1"] == rows["sweep-2"]["f1"] != ""
    assert run(project, "git", "status", "--porcelain") == ""


def test_what_two_experiments_differ_in_is_told(project: Path) -> None:
    committed(project)
    run(project, "dvc", "exp", "run", "--temp", "--name", "frozen", "-S", "train.learning_rate=0.000000001")
    diff = run(project, "dvc", "params", "diff", "HEAD", "frozen")
    assert "train.learning_rate" in diff
    assert diff.count("params.yaml") == 1
    assert "f1_kick" in run(project, "dvc", "metrics", "diff", "HEAD", "frozen", "--all")
    assert run(project, "git", "status", "--porcelain") == ""
    run(project, "dvc", "exp", "apply", "frozen")
    assert "learning_rate: 1e-09\n" in (project / "params.yaml").read_text()
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")
    run(project, "git", "checkout", "--quiet", ".")
    run(project, "dvc", "checkout")


def test_an_experiment_may_change_a_variation(project: Path) -> None:
    committed(project)
    setting = "variations.yaml:studio.kit.ring.enabled=true"
    done = run(project, "dvc", "exp", "run", "--temp", "--name", "ringing", "-S", setting, "render")
    assert stages_run(done) == ["render"]
    diff = run(project, "dvc", "params", "diff", "HEAD", "ringing").splitlines()
    assert ["variations.yaml", "studio.kit.ring.enabled", "False", "True"] in [line.split() for line in diff]
    before = (project / "variations.yaml").read_text()
    run(project, "dvc", "exp", "apply", "ringing")
    after = (project / "variations.yaml").read_text()
    assert parse_yaml(after) == parse_yaml(before.replace("ring: {enabled: false", "ring: {enabled: true", 1))
    assert re.findall("#.*", after) == re.findall("#.*", before)
    run(project, "git", "checkout", "--quiet", ".")
    run(project, "dvc", "checkout")


def test_an_experiment_in_another_folder_finds_a_corpus_outside_the_repository(project: Path, tmp_path: Path) -> None:
    """DVC makes such folders of what git and DVC know; a fingerprint inside the repository they would not know."""
    corpus = tmp_path / "corpus"
    shutil.copytree(project / "data" / "rendered", corpus)
    other = copy_project(tmp_path / "project", train={"epochs": 1})
    said = run(other, "drum-crnn", "corpus", "scan", str(corpus))
    watch = tmp_path / "corpus.fingerprint.csv"
    assert f"set corpus.root: {corpus} and corpus.watch: {watch}" in said.replace("\n", " ")
    params = read_yaml(other / "params.yaml")
    params["corpus"] |= {"root": str(corpus), "watch": str(watch)}
    write_yaml(other / "params.yaml", params)
    run(other, "git", "init", "--quiet")
    committed(other)
    assert set(stages_run(run(other, "dvc", "repro", "split"))) == {"catalog", "label", "split"}
    committed(other)
    done = run(other, "dvc", "exp", "run", "--temp", "--name", "elsewhere", "-S", "split.seed=3", "split")
    assert stages_run(done) == ["split"]
    corpus.rename(tmp_path / "away")
    watch.unlink()
    with pytest.raises(AssertionError, match=r"corpus\.fingerprint\.csv"):
        run(other, "dvc", "exp", "run", "--temp", "--name", "gone", "-S", "split.seed=4", "split")


# ------------------------------------------------------------------------------------------------------- reproducible

# On one core, and with the network of the machine with itself, over which ranks meet, where there is none.
ALONE = """
import fcntl, os, socket, struct, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
if sys.argv[1] == "up":
    SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
    fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def without_network() -> list[str]:
    """What to put before a command so that it reaches no other machine, where this machine allows that."""
    command = ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if allowed and allowed.returncode == 0 else []


def test_another_clone_makes_the_same_bytes(project: Path, tmp_path: Path) -> None:
    """Every out, the model too; on one core and without a network, so with one worker where there were several."""
    committed(project)
    run(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    clone = tmp_path / "clone"
    isolated = without_network()
    network = "up" if isolated else "as it is"
    done = run(clone, *isolated, sys.executable, "-c", ALONE, network, "dvc", "repro", "--force")
    assert set(stages_run(done)) == ALL_STAGES
    assert (clone / "dvc.lock").read_text() == run(project, "git", "show", "HEAD:dvc.lock")
    assert run(clone, "git", "status", "--porcelain") == ""
