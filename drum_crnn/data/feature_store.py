"""Shards of log-mel frames: compressed HDF5 files, each holding the recordings whose id hashes to it.

A shard holds `frames` (n_frames, n_mels) float16 in decibels, the recordings one after another in the order of their
ids; `recording`, their ids; `offset` (n + 1), where each begins; `source`, the checksums of their audio; and as
attributes `params`, the parameters of the frames, and `signature`, a checksum of params and code.
Every chunk has a checksum (HDF5's fletcher32), and so do the headers, which hold the attributes. Texts have a fixed
length, since HDF5 stores texts of variable length outside of both. So a damaged file gives an error, not noise.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["SHARD_FORMAT", "FeatureStore", "Shard"]

SHARD_FORMAT = 3

HalfArray = NDArray[np.float16]


class Shard:
    """One shard, open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without a cache of chunks: excerpts are drawn at random, and the cache of a shard would grow to 8 MiB.
            self._file = h5py.File(path, "r", rdcc_nbytes=0)
            if self._file.attrs["format"] != SHARD_FORMAT:
                raise ValueError("another version of drum_crnn wrote it")
            self.signature = self._file.attrs["signature"].decode()
            self.params = FeatureParams.check(json.loads(self._file.attrs["params"]), source=str(path))
            names = [name.decode() for name in self._file["recording"][:]]
            self.sources = dict(zip(names, (text.decode() for text in self._file["source"][:]), strict=True))
            offsets = self._file["offset"][:]
            self.spans = {name: (int(offsets[i]), int(offsets[i + 1])) for i, name in enumerate(names)}
            self._frames = self._file["frames"]
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise damaged_error(path, error, "extract") from None

    def read(self, recording: str, start: int = 0, stop: int | None = None) -> HalfArray:
        """As `FeatureStore.read`."""
        if start < 0:
            raise ValueError(f"start is {start}; frames before it belong to another recording")
        first, last = self.spans[recording]
        stop = last - first if stop is None else min(stop, last - first)
        try:
            return self._frames[first + start : first + max(start, stop)]  # type: ignore[no-any-return]
        except OSError as error:
            raise damaged_error(self.path, error, "extract") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FeatureStore:
    """Reads frames of recordings from the shards of a directory.

    Files are opened when first read, in each process anew: HDF5 handles do not survive a fork.

    Attributes
    ----------
    params : FeatureParams
        The parameters of the frames.
    """

    def __init__(
        self, directory: Path, params: FeatureParams, spans: dict[str, tuple[Path, int]], fingerprint: str
    ) -> None:
        self.directory = directory
        self.params = params
        self._fingerprint = fingerprint
        self._spans = spans
        self._open: dict[Path, Shard] = {}
        self._pid = os.getpid()

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the index of every shard.

        Raises
        ------
        DrumCrnnError
            If there is no shard, one is damaged, or they were made with different parameters.
        """
        paths = sorted(directory.glob("shard-*.h5"))
        if not paths:
            raise DrumCrnnError(f"{directory}: holds no feature shards; run `dvc repro extract`")
        spans: dict[str, tuple[Path, int]] = {}
        params: FeatureParams | None = None
        digest = hashlib.sha256()
        for path in paths:
            shard = Shard(path)
            if params is not None and shard.params != params:
                raise DrumCrnnError(
                    f"{path}: was made with other parameters than {paths[0].name}; run `dvc repro extract`"
                )
            params = shard.params
            spans.update({name: (path, last - first) for name, (first, last) in shard.spans.items()})
            digest.update(json.dumps([shard.signature, *shard.sources.items()]).encode())
            shard.close()
        assert params is not None
        return cls(directory, params, spans, digest.hexdigest())

    def __contains__(self, recording: str) -> bool:
        return recording in self._spans

    def fingerprint(self) -> str:
        """Checksum of audio, params and code: it tells two states of a store apart without reading the frames."""
        return self._fingerprint

    def n_frames(self, recording: str) -> int:
        """Length of a recording in frames; `DrumCrnnError` if it is not in the store."""
        return self._span(recording)[1]

    def read(self, recording: str, start: int = 0, stop: int | None = None) -> HalfArray:
        """Frames `start` to `stop` (or to the end) of a recording: float16, shape (n_frames, n_mels), in decibels.

        Raises
        ------
        DrumCrnnError
            If the recording is not in the store, or its shard is damaged.
        ValueError
            If `start` is negative.
        """
        if self._pid != os.getpid():
            self._open, self._pid = {}, os.getpid()
        path, _ = self._span(recording)
        if path not in self._open:
            self._open[path] = Shard(path)
        return self._open[path].read(recording, start, stop)

    def _span(self, recording: str) -> tuple[Path, int]:
        try:
            return self._spans[recording]
        except KeyError:
            raise DrumCrnnError(
                f"{self.directory}: there are no features of the recording '{recording}'; run `dvc repro extract`"
            ) from None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}
