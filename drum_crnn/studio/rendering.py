"""Rendering a corpus: performances × kits → recordings in E-GMD's layout.

Kits come in two groups. Those of `kits` play performances of every side. Those of `unheard_kits` play test performances
alone, and lose every sample that a kit of the first group has as well: what is called unheard was never heard in
training, not even as a part of another kit. `withheld_notes` takes notes from the first group, so that the second has
samples of its own where a SoundFont's presets share theirs.

Everything drawn follows from the seed and the performance, so that neither the number of workers nor the other
performances change a recording.
"""

import concurrent.futures
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import soundfile
from pydantic import Field, model_validator

from drum_crnn.atomic import replace_directory
from drum_crnn.console import track
from drum_crnn.corpus import EGMD_COLUMNS
from drum_crnn.errors import DrumCrnnError
from drum_crnn.midi import SAMPLE_EXACT_TICKS, write_midi
from drum_crnn.params import ParamsSection, StrictModel
from drum_crnn.studio import sampler
from drum_crnn.studio.grooves import GrooveParams, generate_performances
from drum_crnn.studio.kits import SAMPLE_RATE, Kit, kit_table_rows, without_notes, without_samples
from drum_crnn.studio.performances import Performance, read_performances, take_hours
from drum_crnn.studio.sources import open_kits
from drum_crnn.tables import write_records, write_table

__all__ = ["RenderParams", "RenderSummary", "open_all_kits", "render_corpus"]

GENERATED = "generated"


class Hours(StrictModel):
    """Hours of performances to take of each split; null takes all."""

    train: float | None = Field(gt=0)
    validation: float | None = Field(gt=0)
    test: float | None = Field(gt=0)


class RenderParams(ParamsSection):
    """Section `render`: what the studio plays, and on what."""

    section: ClassVar[str] = "render"

    seed: int = Field(ge=0)
    performances: str
    grooves: GrooveParams
    hours: Hours
    kits: tuple[str, ...] = Field(min_length=1)
    unheard_kits: tuple[str, ...]
    withheld_notes: tuple[Annotated[int, Field(ge=0, le=127)], ...]
    kits_per_performance: int = Field(ge=1)
    unheard_kits_per_performance: int = Field(ge=0)
    peak_dbfs: tuple[float, float]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.peak_dbfs[0] <= self.peak_dbfs[1] <= 0:
            raise ValueError("peak_dbfs must be [lowest, highest], not above 0")
        return self


@dataclass(frozen=True, slots=True)
class RenderSummary:
    """What was rendered."""

    n_recordings: int
    n_performances: int
    n_kits: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class _Job:
    """One recording to render; `stem` is its path without suffix, `kit` an index."""

    performance: Performance
    kit: int
    stem: Path
    peak_dbfs: float


def open_all_kits(params: RenderParams) -> tuple[list[Kit], list[Kit]]:
    """The kits that may be heard in training, and those that may not and share no sample with the former."""
    heard = [without_notes(kit, params.withheld_notes) for reference in params.kits for kit in open_kits(reference)]
    heard_samples = {row["sha256"] for kit in heard for row in kit_table_rows(kit)}
    unheard = [without_samples(kit, heard_samples) for reference in params.unheard_kits for kit in open_kits(reference)]
    names = [kit.name for kit in (*heard, *unheard)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DrumCrnnError(f"render.kits and render.unheard_kits name a kit twice: {', '.join(sorted(twice))}")
    if empty := [kit.name for kit in (*heard, *unheard) if not kit.sounds]:
        raise DrumCrnnError(f"render: nothing is left to play of the kits {', '.join(empty)}; take them out")
    return heard, unheard


def render_corpus(target: Path, kits_csv: Path, params: RenderParams, *, n_workers: int) -> RenderSummary:
    """Render a corpus into `target`, which is replaced, and list every sample used in `kits_csv`.

    Raises
    ------
    DrumCrnnError
        If there is nothing to play, or a kit or performance cannot be read.
    """
    if params.performances == GENERATED:
        performances = generate_performances(params.grooves, seed=params.seed)
    else:
        performances = read_performances(Path(params.performances))
    performances = [p for p in take_hours(performances, params.hours.model_dump(), seed=params.seed) if p.notes]
    if not performances:
        raise DrumCrnnError(f"{params.performances}: holds no performance with notes; see render.performances")
    if params.unheard_kits and not any(performance.split == "test" for performance in performances):
        raise DrumCrnnError(
            "render.unheard_kits play test performances alone, and there is none "
            f"(render.performances is {params.performances}); set render.unheard_kits to []"
        )
    heard, unheard = open_all_kits(params)
    kits = [*heard, *unheard]
    with replace_directory(target) as directory:
        jobs = [job for p in performances for job in _jobs_of(p, params, directory, len(heard), len(unheard))]
        durations_s = _run_jobs(jobs, kits, n_workers)
        rows = [
            _table_row(job, kits[job.kit].name, duration_s, directory)
            for job, duration_s in zip(jobs, durations_s, strict=True)
            if duration_s > 0
        ]
        write_table(directory / "corpus.csv", EGMD_COLUMNS, ([row[c] for c in EGMD_COLUMNS] for row in rows))
    side_of = dict.fromkeys((kit.name for kit in unheard), "unheard")
    table = [{"side": side_of.get(kit.name, "heard"), **row} for kit in kits for row in kit_table_rows(kit)]
    write_records(kits_csv, table)
    return RenderSummary(len(rows), len(performances), len(kits), sum(durations_s))


def _jobs_of(
    performance: Performance, params: RenderParams, directory: Path, n_heard: int, n_unheard: int
) -> list[_Job]:
    rng = np.random.default_rng([params.seed, zlib.crc32(performance.id.encode())])
    chosen = _draw(rng, n_heard, params.kits_per_performance)
    if performance.split == "test":
        chosen += [n_heard + index for index in _draw(rng, n_unheard, params.unheard_kits_per_performance)]
    style = re.sub(r"[^a-zA-Z0-9]+", "-", performance.style)
    name = f"{performance.id}_{style}_{performance.bpm:.0f}_{performance.beat_type}_{performance.time_signature}"
    return [_Job(performance, kit, directory / f"{name}_{kit + 1}", rng.uniform(*params.peak_dbfs)) for kit in chosen]


def _draw(rng: np.random.Generator, n: int, size: int) -> list[int]:
    return sorted(int(index) for index in rng.permutation(n)[:size])


def _run_jobs(jobs: Sequence[_Job], kits: Sequence[Kit], n_workers: int) -> list[float]:
    """Duration of each recording in seconds, 0 where the kit plays none of the notes."""
    if n_workers == 1:
        return [_render_job(job, kits[job.kit]) for job in track(jobs, description="render")]
    with concurrent.futures.ProcessPoolExecutor(n_workers, initializer=_keep_kits, initargs=(kits,)) as pool:
        done = pool.map(_render_job_in_worker, jobs, chunksize=4)
        return list(track(done, description="render", total=len(jobs)))


# The kits of a worker process: given once when it starts, since they are large.
_kits_of_worker: list[Kit] = []


def _keep_kits(kits: Sequence[Kit]) -> None:
    _kits_of_worker[:] = kits


def _render_job_in_worker(job: _Job) -> float:
    return _render_job(job, _kits_of_worker[job.kit])


def _render_job(job: _Job, kit: Kit) -> float:
    audio, played = sampler.render(job.performance.notes, kit, peak_dbfs=job.peak_dbfs)
    if not played:
        return 0.0
    job.stem.parent.mkdir(parents=True, exist_ok=True)
    samples = np.rint(audio * np.float32(32767.0)).astype(np.int16)
    soundfile.write(f"{job.stem}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
    write_midi(
        job.stem.with_name(job.stem.name + ".midi"), played, bpm=job.performance.bpm, ticks_per_beat=SAMPLE_EXACT_TICKS
    )
    return len(samples) / SAMPLE_RATE


def _table_row(job: _Job, kit_name: str, duration_s: float, directory: Path) -> dict[str, Any]:
    performance, stem = job.performance, job.stem.relative_to(directory).as_posix()
    return {
        "drummer": performance.drummer,
        "session": performance.session,
        "id": performance.id,
        "style": performance.style,
        "bpm": f"{performance.bpm:g}",
        "beat_type": performance.beat_type,
        "time_signature": performance.time_signature,
        "duration": f"{duration_s:.6f}",
        "split": performance.split,
        "midi_filename": f"{stem}.midi",
        "audio_filename": f"{stem}.wav",
        "kit_name": kit_name,
    }
