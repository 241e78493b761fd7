"""Activations of whole recordings by PyTorch, on the windows of `drum_crnn.model.windows`.

Validation, threshold tuning, evaluation, and transcription on a GPU use this module.
"""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from drum_crnn.model.activations import Activations
from drum_crnn.model.crnn import DrumCrnn
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.windows import cut_windows
from drum_crnn.music.log_mel import LogMel
from drum_crnn.music.quantisation import rounded

__all__ = ["TorchEngine", "activations_of", "activations_of_all", "stream_activations"]

_BATCH_WINDOWS, _BATCH_WINDOWS_GPU = 8, 128  # more bring nothing (docs/performance.md)

FloatArray = NDArray[np.float32]


class TorchEngine:
    """Computes the activations of a recording from its samples, on the device that holds the model."""

    def __init__(self, file: ModelFile) -> None:
        self._model, self._log_mel = file.model, LogMel(file.features)
        is_on_cpu = next(file.model.parameters()).device.type == "cpu"
        self._batch_windows = _BATCH_WINDOWS if is_on_cpu else _BATCH_WINDOWS_GPU

    def activations(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Activations]:
        """Activations of a recording that arrives in blocks of mono samples, at the model's sample rate."""
        # Rounded as in the feature store, so that the model gets the same frames as in training.
        floor_db = self._log_mel.params.floor_db
        frames = (rounded(part, floor_db=floor_db) for part in self._log_mel.stream(blocks))
        return stream_activations(self._model, frames, floor_db=floor_db, batch_windows=self._batch_windows)


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
    for window, keep in _windows(model, blocks, floor_db):
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
        for window, keep in _windows(model, [frames], floor_db):
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
    model: DrumCrnn, blocks: Iterable[NDArray[np.floating]], floor_db: float
) -> Iterator[tuple[FloatArray, slice]]:
    return cut_windows(blocks, model.params, n_mels=model.n_mels, floor_db=floor_db)


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
