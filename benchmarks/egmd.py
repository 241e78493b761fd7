"""The data stages on a corpus in E-GMD's shape: `python -m benchmarks.egmd GROOVE_DIR [--full]`.

By default the corpus has a ninth of E-GMD's performances, each through all 43 kits: about fifty hours. `--full` makes
all 45,537 recordings, 444 hours. The pipeline runs in a copy of this working tree, with the preset `egmd`.

Figures
-------
scan_warm_s
    `drum-crnn corpus scan` where nothing changed. CPU seconds, as all but `noop_repro_s`; the table also has seconds on
    the clock. All are medians of the rounds.
catalog_s, catalog_noop_s
    Stage `catalog` in one process: from nothing, and where nothing changed.
label_s, label_noop_s
    The same of stage `label`.
one_changed_of_extraction
    What the scan and `dvc repro` of all data stages take after one recording changed, without what they take with
    nothing to do; as a share of the full extraction.
noop_repro_s
    `dvc repro` of the data stages with nothing to do. Seconds on the clock.
worker_peak_mb
    The largest memory of a process of the data stages, or of a training's loader, without what the loader shares with
    others.
prepare_peak_mb
    Resident memory of a training that has begun.
loader_realtime_per_core
    Seconds of audio in the batches that a process of the loader makes in one second of CPU, from the system's cache.
extract_of_limit
    As in `benchmarks.extraction`.
two_workers_speedup
    The time of an extraction with one worker over that with two.
"""

import contextlib
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import soundfile

from benchmarks.egmd_tree import build_tree
from benchmarks.extraction import extraction_speed
from benchmarks.measuring import Cost, cost_of
from benchmarks.report import print_figures, print_machine, print_rows
from benchmarks.training_material import inputs_in, prepare_run
from drum_crnn.data.catalog import Catalog
from drum_crnn.foundation.console import say
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.training.distributed import join_world, this_rank
from drum_crnn.training.loading import batches, end_loader, start_loader
from drum_crnn.training.run import TrainingParams, open_data
from drum_crnn.workbench.presets import apply_presets

SHARE = 1 / 9
ROUNDS = 3
SPEEDUP_HOURS = 4.0
LOADED_BATCHES = 400  # of 16 excerpts: nearly every shard is read
STAGES = ("extract", "label", "split")  # and what they need
COPIED_FOLDERS = ("drum_crnn", "stages", "presets")
COPIED_FILES = ("dvc.yaml", "params.yaml", "variations.yaml", ".dvcignore")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": "",
    "DVC_NO_ANALYTICS": "1",
}

Rows = list[tuple[str, str]]


class Project:
    """A copy of this working tree beside a corpus; `rows` collects what its commands cost."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.folder, self.tree, self.rows = folder, tree, Rows()
        self.watch = tree.with_name(f"{tree.name}.fingerprint.csv")
        self.peak_mb = 0.0
        for name in COPIED_FOLDERS:
            shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in COPIED_FILES:
            shutil.copy2(name, folder)
        settings = [f"corpus.root={tree}", f"corpus.watch={self.watch}"]
        apply_presets(folder / "params.yaml", [folder / "presets" / "egmd.yaml"], settings)
        self.run("dvc init", "dvc", "init", "--no-scm")

    def run(self, what: str, *command: str) -> Cost:
        """Run a command in the folder, and note its cost."""
        cost = cost_of(*command, folder=self.folder, environment=ENVIRONMENT)
        self.rows.append((what, str(cost)))
        say(f"{what}: {cost}", err=True)
        return cost

    def stage(self, what: str, name: str, *arguments: str) -> Cost:
        """Run the command of a stage."""
        cost = self.run(what, sys.executable, "-m", f"stages.{name}", *arguments)
        self.peak_mb = max(self.peak_mb, cost.peak_mb)
        return cost

    def scan(self, what: str) -> Cost:
        """Bring the fingerprint up to date."""
        return self.run(what, sys.executable, "-m", "drum_crnn.cli", "corpus", "scan", str(self.tree))

    def repro(self, what: str) -> Cost:
        """Bring the data stages up to date."""
        return self.run(what, "dvc", "repro", *STAGES)


def main() -> None:
    """Make the corpus, and measure the data stages on it."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--full"]
    if len(arguments) != 1:
        sys.exit("usage: python -m benchmarks.egmd GROOVE_DIR [--full]")
    print_machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "project").mkdir()
        (folder / "tree").mkdir()
        summary = build_tree(Path(arguments[0]), folder / "tree", share=1.0 if "--full" in sys.argv else SHARE)
        project = Project(folder / "project", folder / "tree")
        project.rows.insert(0, ("corpus", f"{summary.n_recordings} recordings, {summary.hours:.1f} h"))
        figures = measure_stages(project) | measure_training(project)
        limit_rows, limit = extraction_speed(folder / "limit", rounds=ROUNDS)
        figures["extract_of_limit"] = limit["extract_of_limit"]
        figures["two_workers_speedup"] = two_workers_speedup(project)
        print_rows([*project.rows, *limit_rows])
        print_figures(figures)


def measure_stages(project: Project) -> dict[str, float]:
    """Each data stage from nothing and with nothing to do, and all of them after one recording changed."""
    project.scan("scan, first")
    scans = [project.scan(f"scan, nothing changed, {number}") for number in range(1, ROUNDS + 1)]
    root, watch, catalog, workers = str(project.tree), str(project.watch), "data/catalog.csv", ("--workers", "1")
    cataloguing = (root, watch, catalog, "data/catalog_problems.csv", *workers)
    labelling = (root, catalog, "data/labels.h5", "data/label_accounting.csv", *workers)
    first_catalog = project.stage("catalog, from nothing", "catalog", *cataloguing)
    catalogs = [project.stage(f"catalog, nothing changed, {n}", "catalog", *cataloguing) for n in range(1, ROUNDS + 1)]
    first_labels = project.stage("label, from nothing", "label", *labelling)
    labels = [project.stage(f"label, nothing changed, {n}", "label", *labelling) for n in range(1, ROUNDS + 1)]
    extraction = project.stage("extract, from nothing", "extract", root, catalog, "data/features")
    project.repro("dvc repro, which finds everything made")
    idle = [
        (project.scan("scan, nothing changed"), project.repro(f"dvc repro, nothing changed, {number}"))
        for number in range(1, ROUNDS + 1)
    ]
    change_one(project)
    changed = project.scan("scan, one recording changed"), project.repro("dvc repro, one recording changed")
    noop_cpu_s = statistics.median(scan.cpu_s + repro.cpu_s for scan, repro in idle)
    return {
        "scan_warm_s": statistics.median(cost.cpu_s for cost in scans),
        "catalog_s": first_catalog.cpu_s,
        "catalog_noop_s": statistics.median(cost.cpu_s for cost in catalogs),
        "label_s": first_labels.cpu_s,
        "label_noop_s": statistics.median(cost.cpu_s for cost in labels),
        "one_changed_of_extraction": (sum(cost.cpu_s for cost in changed) - noop_cpu_s) / extraction.cpu_s,
        "noop_repro_s": statistics.median(repro.wall_s for _, repro in idle),
    }


def change_one(project: Project) -> None:
    """Replace audio and MIDI of one recording, which are links, by others: noise, and the MIDI of another kit."""
    entry = Catalog.read(project.folder / "data" / "catalog.csv").entries[0]
    audio, midi = project.tree / entry.audio_path, project.tree / entry.midi_path
    audio.unlink()
    noise = np.random.default_rng(0).normal(0.0, 0.1, entry.n_samples)
    soundfile.write(audio, noise, entry.sample_rate, subtype="PCM_16")
    content = midi.read_bytes()
    midi.unlink()
    midi.write_bytes(content.replace(bytes([0x99, 38]), bytes([0x99, 40])))


def measure_training(project: Project) -> dict[str, float]:
    """The memory of the data stages and of a training that has begun, in MB, and the speed of its loader."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        prepare_mb, loader_mb, realtime = pool.submit(measure_loader, project.folder).result()
    project.rows += [("training, begun", f"{prepare_mb:.0f} MB"), ("its loader's process", f"{loader_mb:.0f} MB")]
    return {
        "worker_peak_mb": max(project.peak_mb, loader_mb),
        "prepare_peak_mb": prepare_mb,
        "loader_realtime_per_core": realtime,
    }


def measure_loader(folder: Path) -> tuple[float, float, float]:
    """What `measure_training` wants to know of a training.

    Returns
    -------
    prepare_mb, loader_mb, realtime : float
        Memory before the first step; memory that a process of the loader has for itself after many batches; seconds of
        audio that one makes in a second of CPU.
    """
    data = folder / "data"
    inputs, me = inputs_in(data), this_rank()
    params = TrainingParams.load(folder / "params.yaml")
    with contextlib.ExitStack() as stack:
        opened = open_data(me, inputs, params)
        stack.callback(end_loader, opened.loader)
        start_loader(opened.loader)
        world = stack.enter_context(join_world(me, StopRequest()))
        run = prepare_run(world, inputs, params, folder, opened)
        process = psutil.Process()
        prepare_mb = process.memory_info().rss / 1e6
        for _, _ in zip(range(LOADED_BATCHES), batches(run.data.loader, StopRequest()), strict=False):
            pass
        loader_mb = max(child.memory_full_info().uss / 1e6 for child in process.children(recursive=True))
        speeds = []
        for _ in range(ROUNDS):
            started, keys = time.process_time(), itertools.islice(run.data.sampler, LOADED_BATCHES)
            n_excerpts = sum(len(run.data.dataset[of_batch]) for of_batch in keys)
            seconds = n_excerpts * params.train.excerpt_frames / run.data.store.params.frame_rate
            speeds.append(seconds / (time.process_time() - started))
    return prepare_mb, loader_mb, statistics.median(speeds)


def two_workers_speedup(project: Project) -> float:
    """How many times as fast an extraction of some hours is with two workers as with one."""
    entries = Catalog.read(project.folder / "data" / "catalog.csv").entries
    step = max(1, round(sum(entry.duration_s for entry in entries) / 3600 / SPEEDUP_HOURS))
    Catalog(entries[::step]).write(project.folder / "some.csv")
    ratios = []
    for number in range(1, ROUNDS + 1):
        one, two = (
            project.stage(
                f"extract {SPEEDUP_HOURS:g} h, {n_workers} workers, {number}",
                "extract",
                *(str(project.tree), "some.csv", f"some-{number}-{n_workers}", "--workers", str(n_workers)),
            )
            for n_workers in (1, 2)
        )
        ratios.append(one.wall_s / two.wall_s)
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
