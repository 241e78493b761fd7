"""Extraction: bringing the feature shards of a corpus up to date, in parallel.

The bytes of a shard depend only on its recordings, the parameters and the code. They do not depend on the number of
workers, or on the recordings that were computed before.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import math
import platform
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import drum_crnn.music.audio
import drum_crnn.music.downmix
import drum_crnn.music.ffmpeg
import drum_crnn.music.log_mel
import drum_crnn.music.quantisation
from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.feature_store import BLOCK_FRAMES, SHARD_FORMAT, Shard
from drum_crnn.foundation.atomic import PARTIAL, remove_leftovers, temporary_file
from drum_crnn.foundation.cluster import map_on_cluster
from drum_crnn.foundation.console import progress_bar
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.foundation.hdf5 import replace_hdf5
from drum_crnn.foundation.workers import worker_pool
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.music.quantisation import steps
from drum_crnn.music.timing import n_frames_of

__all__ = ["ExtractionReport", "extract_corpus"]

StepArray = NDArray[np.uint8]

_SPAN_FRAMES = 4 * LogMel.GROUP  # computed at a time: few enough to stay in the processor's cache


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What an extraction did: recordings computed and kept, seconds of audio computed, seconds it took."""

    n_computed: int
    n_kept: int
    audio_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class _ShardJob:
    root: Path
    path: Path
    entries: tuple[CatalogEntry, ...]
    params: FeatureParams


@dataclass(frozen=True, slots=True)
class _Shared:
    """What a worker on another machine must have in common with this process, so that it writes the same bytes."""

    probe: Path
    signature: str
    versions: dict[str, str]


def extract_corpus(
    root: Path, catalog: Catalog, target: Path, params: FeatureParams, *, n_workers: int, scheduler: str | None = None
) -> ExtractionReport:
    """Bring the shards under `target` up to date with the catalog.

    A recording is computed only if its audio, the parameters or the code changed since its shard was written; shards
    without recordings are removed. Each shard is replaced by rename.

    Parameters
    ----------
    root : Path
        Folder of the corpus; the catalog's paths are relative to it.
    n_workers : int
        Processes; the result is the same for any number.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers do the work instead. They need `root` and `target` at the same paths.

    Raises
    ------
    DrumCrnnError
        If a recording cannot be decoded, or is not the file that the catalog describes.
    """
    if scheduler is not None:
        root, target = root.absolute(), target.absolute()
    target.mkdir(parents=True, exist_ok=True)
    members: dict[int, list[CatalogEntry]] = {}
    for entry in catalog:
        members.setdefault(_shard_of(entry.recording, params.n_shards), []).append(entry)
    jobs = [
        _ShardJob(root, target / f"shard-{index:04d}.h5", tuple(sorted(entries, key=lambda e: e.recording)), params)
        for index, entries in members.items()
    ]
    wanted = {job.path for job in jobs}
    for path in target.iterdir():
        if path.match("shard-*.h5"):
            if path not in wanted:
                path.unlink()
        elif not path.name.startswith(PARTIAL):
            raise DrumCrnnError(f"{path}: is not a feature shard; move it away, or choose another folder for features")
    signature = _signature(params)
    stale = [job for job in jobs if not _is_up_to_date(job, signature)]
    # Longest first, so that no worker is left alone with a long shard at the end.
    stale.sort(key=lambda job: (-sum(entry.n_samples for entry in job.entries), job.path))
    n_up_to_date = len(catalog) - sum(len(job.entries) for job in stale)
    remove_leftovers(target)
    try:
        return _run_jobs(stale, n_workers, scheduler, n_kept=n_up_to_date)
    finally:
        remove_leftovers(target)  # of workers, which have ended


def _run_jobs(jobs: Sequence[_ShardJob], n_workers: int, scheduler: str | None, *, n_kept: int) -> ExtractionReport:
    started = time.monotonic()
    n_computed = 0
    audio_s = 0.0
    total = sum(len(job.entries) for job in jobs)
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("extracting", total=total, note="")
        reports: Iterator[ExtractionReport] = map(_write_shard, jobs)
        if scheduler is not None and jobs:
            probe = stack.enter_context(temporary_file(jobs[0].path.parent))
            shared = _Shared(probe, _signature(jobs[0].params), _versions())
            write = functools.partial(_write_shard_elsewhere, shared)
            reports = stack.enter_context(contextlib.closing(map_on_cluster(scheduler, write, jobs)))
        elif n_workers > 1 and len(jobs) > 1:
            # Forked workers would inherit locks of threads that numpy and HDF5 may have started.
            reports = stack.enter_context(worker_pool(n_workers, method="spawn")).map(_write_shard, jobs)
        for done in reports:
            n_computed += done.n_computed
            n_kept += done.n_kept
            audio_s += done.audio_s
            speed = audio_s / (time.monotonic() - started)
            progress.update(task, advance=done.n_computed + done.n_kept, note=f"{speed:.0f}× real time")
    return ExtractionReport(n_computed, n_kept, audio_s, time.monotonic() - started)


def _shard_of(recording: str, n_shards: int) -> int:
    return zlib.crc32(recording.encode()) % n_shards


def _signature(params: FeatureParams) -> str:
    """Checksum of what the frames of a recording depend on besides the audio: parameters and code."""
    digest = hashlib.sha256(f"{SHARD_FORMAT} {params.model_dump_json()}".encode())
    music = drum_crnn.music
    for module in (music.audio, music.downmix, music.ffmpeg, music.log_mel, music.quantisation):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    """Versions of the packages on which the last bits of a frame and the bytes of a shard depend."""
    return {name: importlib.metadata.version(name) for name in ("h5py", "librosa", "numpy", "soundfile", "soxr")}


def _write_shard_elsewhere(shared: _Shared, job: _ShardJob) -> ExtractionReport:
    """`_write_shard` for a process on another machine, which may lack the files or have other versions."""
    remove_leftovers(job.path.parent)  # of workers that were killed on this machine
    here = f"the worker on {platform.node()}"
    for folder, is_seen in ((shared.probe.parent, shared.probe.is_file()), (job.root, job.root.is_dir())):
        if not is_seen:
            raise DrumCrnnError(
                f"{folder}: {here} does not see this folder; keep it at the same path on all machines, on storage that "
                "they share"
            )
    if _signature(job.params) != shared.signature:
        raise DrumCrnnError(f"{here} has another version of drum_crnn; install the same version on all machines")
    versions = _versions()
    if others := [f"{name} {versions[name]}" for name in versions if versions[name] != shared.versions[name]]:
        wanted = ", ".join(f"{name} {version}" for name, version in shared.versions.items())
        raise DrumCrnnError(f"{here} has {', '.join(others)}; install the same versions on all machines: {wanted}")
    return _write_shard(job)


def _is_up_to_date(job: _ShardJob, signature: str) -> bool:
    """Whether the shard holds the recordings of the job and no others, from the same audio, params and code."""
    shard = _open_if_valid(job.path, signature)
    if shard is None:
        return False
    shard.close()
    return shard.sources == {entry.recording: entry.audio_sha256 for entry in job.entries}


def _write_shard(job: _ShardJob) -> ExtractionReport:
    started = time.monotonic()
    signature = _signature(job.params)
    with contextlib.ExitStack() as stack:
        # One thread a worker: the matrices are small, and threads that wait for one another by spinning would take the
        # cores from the other workers.
        stack.enter_context(threadpool_limits(limits=1))
        old = _open_if_valid(job.path, signature)
        if old is not None:
            stack.callback(old.close)
        log_mel = LogMel(job.params)
        offsets = np.zeros(len(job.entries) + 1, np.int64)
        np.cumsum([_n_frames(entry, job.params) for entry in job.entries], out=offsets[1:])
        n_kept, computed_s = 0, 0.0
        with replace_hdf5(job.path) as file:
            file.attrs["format"] = SHARD_FORMAT
            file.attrs["signature"] = np.bytes_(signature)
            file.attrs["params"] = np.bytes_(job.params.model_dump_json())
            for name, column in {
                "recording": np.array([entry.recording.encode() for entry in job.entries]),
                "source": np.array([entry.audio_sha256.encode() for entry in job.entries]),
                "offset": offsets,
            }.items():
                file.create_dataset(name, data=column, chunks=column.shape, fletcher32=True)
                # HDF5 gives a dataset its place when it is flushed or closed, and Python closes it when nobody holds it
                # any more: a profiler, such as that of a Dask worker, may hold it a little longer.
                file.flush()
            dataset = file.create_dataset(
                "frames", shape=(int(offsets[-1]), job.params.n_mels), dtype=np.uint8, track_times=False
            )
            writer = _BlockWriter(dataset)
            for entry, n_frames in zip(job.entries, np.diff(offsets), strict=True):
                frames = _kept_frames(old, entry)
                if frames is not None:
                    n_kept += 1
                else:
                    frames = _compute(job.root / entry.audio_path, entry.audio_sha256, log_mel, int(n_frames))
                    computed_s += entry.duration_s
                writer.append(frames)
            checksums = writer.finish()
            file.flush()
            file.create_dataset("checksum", data=checksums, chunks=(max(1, len(checksums)),), fletcher32=True)
    return ExtractionReport(len(job.entries) - n_kept, n_kept, computed_s, time.monotonic() - started)


def _n_frames(entry: CatalogEntry, params: FeatureParams) -> int:
    n_samples = entry.n_samples
    if entry.sample_rate != params.sample_rate:
        n_samples = math.floor(n_samples * params.sample_rate / entry.sample_rate + 0.5)  # as soxr rounds
    return n_frames_of(n_samples, params.hop_length)


def _kept_frames(old: Shard | None, entry: CatalogEntry) -> StepArray | None:
    """The frames of an earlier run; None if there are none, or they are damaged."""
    if old is None or old.sources.get(entry.recording) != entry.audio_sha256:
        return None
    try:
        return old.read(entry.recording)
    except DrumCrnnError:
        return None


def _compute(path: Path, sha256: str, log_mel: LogMel, n_frames: int) -> StepArray:
    """The frames of a recording, which must be the file with this checksum: a shard keeps frames under their checksum.

    Hashing takes less than a tenth of the time.
    """
    before = _state_of(path)
    blocks = read_blocks(path, sample_rate=log_mel.params.sample_rate)
    nothing = np.zeros((0, log_mel.params.n_mels), np.uint8)
    floor_db = log_mel.params.floor_db
    spans = log_mel.spans(blocks, n_frames=_SPAN_FRAMES)
    frames = np.concatenate([nothing, *(steps(log_mel.frames(span), floor_db=floor_db) for span in spans)])
    if len(frames) != n_frames:
        raise _changed_error(
            path, f"has {len(frames)} frames, but the catalog says {n_frames}, so the file has changed"
        )
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refused_error(path, error) from None
    if found != sha256 or _state_of(path) != before:
        raise _changed_error(path, "has changed since the catalog was made")
    return frames


def _state_of(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None if there is no such file, which decoding then tells."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _changed_error(path: Path, what: str) -> DrumCrnnError:
    return DrumCrnnError(
        f"{path}: {what}; if corpus.watch is a fingerprint, run `drum-crnn corpus scan`; then run `dvc repro catalog`"
    )


class _BlockWriter:
    """Writes frames in order, and computes the checksums of their blocks."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._n_written = 0
        self._checksums: list[int] = []
        self._n_missing = BLOCK_FRAMES  # frames until the current block is complete
        self._checksum = 0

    def append(self, rows: StepArray) -> None:
        self._dataset[self._n_written : self._n_written + len(rows)] = rows
        self._n_written += len(rows)
        while len(rows):
            part, rows = rows[: self._n_missing], rows[self._n_missing :]
            self._checksum = zlib.crc32(part.tobytes(), self._checksum)
            self._n_missing -= len(part)
            if self._n_missing == 0:
                self._end_block()

    def finish(self) -> NDArray[np.uint32]:
        """The checksums, of all that was written."""
        if self._n_missing < BLOCK_FRAMES:
            self._end_block()
        return np.array(self._checksums, np.uint32)

    def _end_block(self) -> None:
        self._checksums.append(self._checksum)
        self._n_missing, self._checksum = BLOCK_FRAMES, 0


def _open_if_valid(path: Path, signature: str) -> Shard | None:
    """The shard, or None if it is missing, damaged, or was made with other parameters or code."""
    try:
        shard = Shard(path)
    except DrumCrnnError:
        return None
    if shard.signature == signature:
        return shard
    shard.close()
    return None
