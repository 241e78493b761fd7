"""Activations of whole recordings, on fixed overlapping windows.

A recording is cut into windows of `window_frames` that overlap by twice `margin_frames`. Only the inner part of each
window is used, so that the model sees every frame in its context. The positions of the windows depend on the recording
alone. So the result is the same for any block size and batch size, and memory is bounded for any length. Validation,
threshold tuning, evaluation and transcription all use this module.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.peak_picking import PeakPickingParams, pick_peaks, pooled_toms
from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.timing import frame_to_time

__all__ = ["Activations", "activations_of", "activations_of_all", "onsets_of", "stream_activations"]

_BATCH_WINDOWS, _BATCH_WINDOWS_GPU = 8, 128  # more bring nothing (docs/performance.md)

FloatArray = NDArray[np.float32]


class Activations(NamedTuple):
    """The predictions of the model: float32 arrays, shape (frames, lanes).

    `onset` holds probabilities in [0, 1]. `velocity` is the velocity, 0 to 127, that an onset at that frame would have.
    """

    onset: FloatArray
    velocity: FloatArray

    @classmethod
    def concatenate(cls, parts: Iterable["Activations"]) -> "Activations":
        """Join consecutive parts."""
        nothing = np.zeros((0, N_LANES), np.float32)
        onset, velocity = zip((nothing, nothing), *parts, strict=True)
        return cls(np.concatenate(onset), np.concatenate(velocity))


def activations_of(
    model: DrumCrnn, frames: NDArray[np.floating], *, floor_db: float, batch_windows: int = _BATCH_WINDOWS
) -> Activations:
    """Activations of a recording whose frames are all in memory; parameters as for `stream_activations`."""
    return Activations.concatenate(stream_activations(model, [frames], floor_db=floor_db, batch_windows=batch_windows))


def stream_activations(
    model: DrumCrnn, blocks: Iterable[NDArray[np.floating]], *, floor_db: float, batch_windows: int = _BATCH_WINDOWS
) -> Iterator[Activations]:
    """Activations of a recording that arrives in blocks of frames.

    Parameters
    ----------
    model : DrumCrnn
        Put into evaluation mode; runs on the device that holds it.
    blocks : iterable of float arrays, shape (n_frames, n_mels)
        Decibels, of any length each.
    floor_db : float
        Level of silence, which pads the last window.
    batch_windows : int
        Windows to compute at a time; this changes speed and memory, not results.

    Yields
    ------
    Activations
        Of consecutive parts of the recording, which together hold every frame once.
    """
    batch: list[FloatArray] = []
    keeps: list[slice] = []
    for window, keep in _windows(blocks, model, floor_db):
        batch.append(window)
        keeps.append(keep)
        if len(batch) == batch_windows:
            yield Activations.concatenate(_run(model, batch, keeps))
            batch, keeps = [], []
    if batch:
        yield Activations.concatenate(_run(model, batch, keeps))


def activations_of_all(
    model: DrumCrnn, recordings: Iterable[NDArray[np.floating]], *, floor_db: float, batch_windows: int | None = None
) -> Iterator[Activations]:
    """Activations of recordings, one after the other.

    With few windows at a time a GPU is mostly idle. So its batches hold windows of several recordings.

    Parameters
    ----------
    recordings : iterable of float arrays, shape (n_frames, n_mels)
        The frames of each recording, in decibels.
    floor_db : float
        Level of silence.
    batch_windows : int, optional
        Windows to compute at a time, over the borders of recordings. By default as many as suit a GPU; on a CPU, few
        and of one recording.
    """
    alone = batch_windows is None and next(model.parameters()).device.type == "cpu"
    size = batch_windows or (_BATCH_WINDOWS if alone else _BATCH_WINDOWS_GPU)
    batch: list[FloatArray] = []
    keeps: list[slice] = []
    owners: list[int] = []  # the recording of each window in the batch
    parts: dict[int, list[Activations]] = {}

    def compute() -> None:
        for owner, part in zip(owners, _run(model, batch, keeps), strict=True):
            parts[owner].append(part)
        for items in (batch, keeps, owners):
            items.clear()

    def finished() -> Iterator[Activations]:
        """Of the recordings before the first one that has a window in the batch; a recording may have no window."""
        for owner in [owner for owner in parts if not owners or owner < owners[0]]:
            yield Activations.concatenate(parts.pop(owner))

    for number, frames in enumerate(recordings):
        parts[number] = []
        for window, keep in _windows([frames], model, floor_db):
            batch.append(window)
            keeps.append(keep)
            owners.append(number)
            if len(batch) == size:
                compute()
        if alone and batch:
            compute()
        yield from finished()
    if batch:
        compute()
    yield from finished()


def _windows(
    blocks: Iterable[NDArray[np.floating]], model: DrumCrnn, floor_db: float
) -> Iterator[tuple[FloatArray, slice]]:
    """Each window, and the slice of it to keep. The kept slices together are all frames, once each, in order."""
    size, margin = model.params.window_frames, model.params.margin_frames
    hop = size - 2 * margin
    buffer = np.zeros((0, model.n_mels), np.float32)
    keep_from = 0  # the first window has nothing before it, so its first margin is kept too
    for block in blocks:
        buffer = np.concatenate([buffer, block.astype(np.float32)])
        # Strictly more: the last window keeps its last margin, and only the end shows which window is the last.
        while len(buffer) > size:
            yield buffer[:size], slice(keep_from, size - margin)
            buffer, keep_from = buffer[hop:], margin
    if len(buffer) > keep_from:
        last = np.full((size, model.n_mels), floor_db, np.float32)
        last[: len(buffer)] = buffer
        yield last, slice(keep_from, len(buffer))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one CPU thread.

    A GRU is a sequence of hundreds of small steps, in which several threads mostly wait for each other. On two busy
    cores, two threads were 4 to 80 times slower than one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def _run(model: DrumCrnn, windows: list[FloatArray], keeps: list[slice]) -> list[Activations]:
    """The kept part of each window."""
    model.eval()
    device = next(model.parameters()).device
    with _one_thread():
        onset, velocity = model(torch.from_numpy(np.stack(windows)).to(device))
    onsets, velocities = onset.sigmoid().cpu().numpy(), (127.0 * velocity.sigmoid()).cpu().numpy()
    return [Activations(o[keep], v[keep]) for o, v, keep in zip(onsets, velocities, keeps, strict=True)]


def onsets_of(
    activations: Activations, *, thresholds: Sequence[float], peak_picking: PeakPickingParams, frame_rate: float
) -> Onsets:
    """Onsets of a recording: the peaks of each lane's activation that reach its threshold.

    `peak_picking` says whether toms are pooled first.

    Parameters
    ----------
    thresholds : sequence of float
        One per lane, inclusive, in (0, 1].

    Returns
    -------
    Onsets
        In order of time, with velocities from 1 to 127.
    """
    frames, lanes = [], []
    onset = pooled_toms(activations.onset, params=peak_picking)
    for lane in range(N_LANES):
        peaks = pick_peaks(onset[:, lane], threshold=thresholds[lane], params=peak_picking)
        frames.append(peaks)
        lanes.append(np.full(len(peaks), lane))
    frame, lane_of = np.concatenate(frames), np.concatenate(lanes)
    velocity = np.clip(np.rint(activations.velocity[frame, lane_of]), 1, 127).astype(np.int64)
    return Onsets.in_order(frame_to_time(frame, frame_rate), lane_of, velocity)
