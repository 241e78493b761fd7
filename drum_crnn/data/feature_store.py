"""Shards of log-mel frames: HDF5 files, each holding the recordings whose id hashes to it.

A shard holds `frames` (n_frames, n_mels) uint8, steps above the floor (`drum_crnn.music.quantisation`), the recordings
one after another in the order of their ids; `checksum` (n_blocks), the CRC-32 of every `BLOCK_FRAMES` of these frames;
`recording`, their ids; `offset` (n + 1), where each begins; `source`, the checksums of their audio; and as attributes
`params`, the parameters of the frames, and `signature`, a checksum of params and code.

Training reads three seconds at a time, at random. So frames are neither compressed nor cut into chunks: one call to the
operating system reads them, and HDF5 only says where they lie. There is no cache that grows, and no handle that a fork
would break. The other datasets and the headers have checksums of HDF5. Texts have a fixed length, since HDF5 stores
texts of variable length outside of these checksums. So a damaged file gives an error, not noise.
"""

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.music.quantisation import decibels

__all__ = ["BLOCK_FRAMES", "SHARD_FORMAT", "FeatureStore", "Shard"]

SHARD_FORMAT = 4
BLOCK_FRAMES = 128  # a read checks whole blocks, so it reads up to two seconds more than was asked for

StepArray = NDArray[np.uint8]


class Shard:
    """One shard, open for reading; several processes may share it.

    Attributes
    ----------
    signature : str
    params : FeatureParams
    sources : dict of str to str
        Checksum of each recording's audio.
    spans : dict of str to (int, int)
        First frame of each recording, and the one after its last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        try:
            with h5py.File(path, "r") as file:
                if file.attrs["format"] != SHARD_FORMAT:
                    raise ValueError("another version of drum_crnn wrote it")
                self.signature = file.attrs["signature"].decode()
                self.params = FeatureParams.check(json.loads(file.attrs["params"]), source=str(path))
                names = [name.decode() for name in file["recording"][:]]
                self.sources = dict(zip(names, (text.decode() for text in file["source"][:]), strict=True))
                offsets = file["offset"][:]
                self.spans = {name: (int(offsets[i]), int(offsets[i + 1])) for i, name in enumerate(names)}
                self._checksums = file["checksum"][:]
                frames = file["frames"]
                self._n_frames, n_mels = map(int, frames.shape)
                self._first_byte = frames.id.get_offset()
                if frames.dtype != np.uint8 or n_mels != self.params.n_mels or len(self._checksums) != self._n_blocks:
                    raise ValueError("its frames do not fit their description")
                if self._n_frames and self._first_byte is None:
                    raise ValueError("its frames are not in one piece")
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise damaged_error(path, error, "extract") from None

    @property
    def _n_blocks(self) -> int:
        return -(-self._n_frames // BLOCK_FRAMES)

    def read(self, recording: str, start: int = 0, stop: int | None = None) -> StepArray:
        """As `FeatureStore.read_steps`."""
        if start < 0:
            raise ValueError(f"start is {start}; frames before it belong to another recording")
        first, last = self.spans[recording]
        stop = last - first if stop is None else min(stop, last - first)
        return self._read(first + start, first + max(start, stop))

    def _read(self, first: int, last: int) -> StepArray:
        n_mels = self.params.n_mels
        if last <= first:
            return np.zeros((0, n_mels), np.uint8)
        first_block, last_block = first // BLOCK_FRAMES, -(-last // BLOCK_FRAMES)
        begin, end = first_block * BLOCK_FRAMES, min(last_block * BLOCK_FRAMES, self._n_frames)
        content = memoryview(self._bytes(begin * n_mels, (end - begin) * n_mels))
        size = BLOCK_FRAMES * n_mels
        for number in range(last_block - first_block):
            if zlib.crc32(content[number * size : (number + 1) * size]) != self._checksums[first_block + number]:
                raise damaged_error(self.path, f"the checksum of its block {first_block + number} is wrong", "extract")
        return np.frombuffer(content, np.uint8).reshape(-1, n_mels)[first - begin : last - begin]

    def _bytes(self, start: int, n: int) -> bytes:
        """`n` bytes of the frames, from byte `start` of them on."""
        assert self._first_byte is not None
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            content = os.pread(self._descriptor, n, self._first_byte + start)
        except OSError as error:
            raise damaged_error(self.path, error, "extract") from None
        if len(content) < n:
            raise damaged_error(self.path, "it is cut off", "extract")
        return content

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_descriptor": None}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()


class FeatureStore:
    """Reads frames of recordings from the shards of a directory.

    Attributes
    ----------
    params : FeatureParams
        The parameters of the frames.
    """

    def __init__(self, directory: Path, params: FeatureParams, shards: list[Shard]) -> None:
        self.directory = directory
        self.params = params
        self._shard_of = {recording: shard for shard in shards for recording in shard.spans}
        digest = hashlib.sha256()
        for shard in shards:
            digest.update(json.dumps([shard.signature, *shard.sources.items()]).encode())
        self._fingerprint = digest.hexdigest()

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the index of every shard.

        Raises
        ------
        DrumCrnnError
            If there is no shard, one is damaged, or they were made with different parameters.
        """
        shards = [Shard(path) for path in sorted(directory.glob("shard-*.h5"))]
        if not shards:
            raise DrumCrnnError(f"{directory}: holds no feature shards; run `dvc repro extract`")
        params = shards[0].params
        for shard in shards:
            if shard.params != params:
                raise DrumCrnnError(
                    f"{shard.path}: was made with other parameters than {shards[0].path.name}; run `dvc repro extract`"
                )
        return cls(directory, params, shards)

    def __contains__(self, recording: str) -> bool:
        return recording in self._shard_of

    def fingerprint(self) -> str:
        """Checksum of audio, params and code: it tells two states of a store apart without reading the frames."""
        return self._fingerprint

    def n_frames(self, recording: str) -> int:
        """Length of a recording in frames; `DrumCrnnError` if it is not in the store."""
        first, last = self._shard(recording).spans[recording]
        return last - first

    def read(self, recording: str, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Frames `start` to `stop` (or to the end) of a recording: float32, shape (n_frames, n_mels), in decibels.

        Raises
        ------
        DrumCrnnError
            If the recording is not in the store, or its shard is damaged.
        ValueError
            If `start` is negative.
        """
        of_steps = self.read_steps(recording, start, stop).astype(np.float32)
        return np.asarray(decibels(of_steps, floor_db=self.params.floor_db))

    def read_steps(self, recording: str, start: int = 0, stop: int | None = None) -> StepArray:
        """As `read`, in steps above the floor: uint8 (see `drum_crnn.music.quantisation`)."""
        return self._shard(recording).read(recording, start, stop)

    def _shard(self, recording: str) -> Shard:
        try:
            return self._shard_of[recording]
        except KeyError:
            raise DrumCrnnError(
                f"{self.directory}: there are no features of the recording '{recording}'; run `dvc repro extract`"
            ) from None
