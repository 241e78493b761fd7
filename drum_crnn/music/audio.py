"""Decoding recordings: any format, any rate, any channel count, as mono float32 in blocks of bounded size."""

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["AudioInfo", "load_audio", "mono_blocks", "probe", "read_blocks", "resampled"]

FloatArray = NDArray[np.float32]

_BLOCK_S = 10.0

# The lengths that ffmpeg and sox write into a WAV on a pipe, whose true length they do not know.
_UNKNOWN_LENGTHS = (0xFFFF_FFFF, 0x7FFF_F000)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The header of a recording. `n_samples` counts samples of one channel; `is_pcm`: samples are plain integers."""

    sample_rate: int
    n_channels: int
    n_samples: int
    is_pcm: bool

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def probe(path: Path) -> AudioInfo:
    """Read the header of a recording, without decoding it.

    Raises
    ------
    DrumCrnnError
        If the file is missing, empty, of no known format, or a WAV that holds less than its header says.
    """
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames, file.subtype.startswith("PCM_"))


def load_audio(path: Path, *, sample_rate: int) -> FloatArray:
    """Decode a whole recording: mono float32, shape (n_samples,), at `sample_rate`. Errors as in `read_blocks`."""
    blocks = list(read_blocks(path, sample_rate=sample_rate))
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *blocks])


def read_blocks(path: Path, *, sample_rate: int) -> Iterator[FloatArray]:
    """Decode a recording piece by piece.

    Channels are averaged. Another sample rate is converted with soxr's high-quality filter, whose delay is compensated.

    Yields
    ------
    float32 array, shape (n_samples,)
        About ten seconds each; concatenated, the whole recording.

    Raises
    ------
    DrumCrnnError
        If the file is missing, empty, of no known format, truncated, or holds samples that are not finite.
    """
    with _open(path) as file:
        yield from resampled(_decoded(file, path), from_rate=file.samplerate, to_rate=sample_rate)


def mono_blocks(audio: NDArray[Any], *, from_rate: int, to_rate: int) -> Iterator[FloatArray]:
    """Samples in memory, as `read_blocks` gives those of a file.

    Parameters
    ----------
    audio : float or int16 array, shape (n_samples,) or (n_samples, n_channels)

    Raises
    ------
    ValueError
        If the shape or the type is another, or a sample is not finite.
    """
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and not audio.shape[1]):
        raise ValueError(f"audio has shape (samples,) or (samples, channels), not {audio.shape}")
    if audio.dtype != np.int16 and audio.dtype.kind != "f":
        raise ValueError(f"audio is of floating-point numbers or int16, not {audio.dtype}")
    if audio.ndim == 1:
        audio = audio[:, None]
    length = round(_BLOCK_S * from_rate)

    def blocks() -> Iterator[FloatArray]:
        for start in range(0, len(audio), length):
            mono = _to_mono(audio[start : start + length])
            if not np.isfinite(mono).all():
                raise ValueError(
                    f"audio has samples that are not finite before second {(start + length) / from_rate:g}"
                )
            yield mono

    yield from resampled(blocks(), from_rate=from_rate, to_rate=to_rate)


def resampled(blocks: Iterable[FloatArray], *, from_rate: int, to_rate: int) -> Iterator[FloatArray]:
    """Convert the sample rate of mono blocks with soxr's high-quality filter, whose delay is compensated."""
    if from_rate == to_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_rate, to_rate, num_channels=1, dtype="float32", quality="HQ")
    for block in blocks:
        converted = resampler.resample_chunk(block)
        if len(converted):
            yield converted
    rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
    if len(rest):
        yield rest


def _decoded(file: soundfile.SoundFile, path: Path) -> Iterator[FloatArray]:
    """The blocks of an open recording, mono, at its own rate."""
    block_length = round(_BLOCK_S * file.samplerate)
    position = 0
    is_last = False
    while not is_last:
        block = _read(file, path, block_length)
        is_last = len(block) < block_length
        position += len(block)
        mono = _to_mono(block)
        if not np.isfinite(mono).all():
            raise DrumCrnnError(
                f"{path}: has samples that are not finite (NaN or infinite) before second "
                f"{position / file.samplerate:.1f}; export it again"
            )
        if len(mono):
            yield mono
    if position == 0:
        raise DrumCrnnError(f"{path}: holds no audio that can be decoded; export it again")
    if position < file.frames and (file.format != "MP3" or _states_its_length(path)):
        raise DrumCrnnError(
            f"{path}: is truncated: the header promises {file.frames} samples, but only {position} can be read; "
            "copy or export it again"
        )


def _open(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise DrumCrnnError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DrumCrnnError(f"{path}: is empty (0 bytes)")
    try:
        # As bytes, since a file name need not be UTF-8; Windows has names of characters.
        file = soundfile.SoundFile(path if sys.platform == "win32" else os.fsencode(path))
    except TypeError:
        # soundfile treats ".raw" as samples without a header, and asks for their rate.
        raise DrumCrnnError(f"{path}: raw samples without a header cannot be read; convert it to WAV") from None
    except soundfile.LibsndfileError as error:
        raise DrumCrnnError(
            f"{path}: not a readable recording ({error.error_string.strip().rstrip('.')}); "
            "convert it to WAV, FLAC, OGG or MP3"
        ) from None
    n_missing = _missing_bytes(path) if file.format in ("WAV", "WAVEX") else 0
    if file.frames and not n_missing:
        return file
    file.close()
    if n_missing:
        raise DrumCrnnError(
            f"{path}: is cut short: {n_missing} bytes are missing from its end; copy, unpack or export it again"
        )
    raise DrumCrnnError(f"{path}: holds no audio (length zero)")


def _missing_bytes(path: Path) -> int:
    """Bytes of sample data that the header of a RIFF WAV announces but the file lacks; 0 for other formats.

    Decoders accept such files, so a half-copied file would pass for a short one.
    """
    with path.open("rb") as file:
        riff = file.read(12)
        if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return 0
        position = 12
        while len(header := file.read(8)) == 8:
            name, n_bytes = struct.unpack("<4sI", header)
            position += 8
            if name == b"data":
                if n_bytes in _UNKNOWN_LENGTHS:
                    return 0
                return max(0, int(n_bytes) - (path.stat().st_size - position))
            position += n_bytes + n_bytes % 2  # chunks are padded to even lengths
            file.seek(position)
    return 0


def _states_its_length(path: Path) -> bool:
    """Whether an MP3 states its length in a Xing or Info header; if not, decoders guess it from the file's size."""
    with path.open("rb") as file:
        tag = file.read(10)
        if tag[:3] == b"ID3":  # its length: four bytes of seven bits
            file.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        first_frame = file.read(4096)
    return b"Xing" in first_frame or b"Info" in first_frame


def _read(file: soundfile.SoundFile, path: Path, n_samples: int) -> NDArray[Any]:
    """Up to `n_samples`, shape (n_samples, n_channels): int16 for 16-bit PCM, which is faster, or float32."""
    try:
        return file.read(n_samples, dtype="int16" if file.subtype == "PCM_16" else "float32", always_2d=True)  # type: ignore[no-any-return]  # soundfile has no types
    except soundfile.LibsndfileError as error:
        raise DrumCrnnError(f"{path}: cannot be decoded to its end ({error.error_string.strip()})") from None


def _to_mono(block: NDArray[Any]) -> FloatArray:
    mono: FloatArray = block[:, 0].astype(np.float32)
    if block.shape[1] == 2:  # the same bits as `mean`, which is four times as slow along so short an axis
        mono += block[:, 1]
        mono *= np.float32(0.5)
    elif block.shape[1] > 2:
        mono = block.mean(axis=1, dtype=np.float32)
    if block.dtype == np.int16:
        mono /= np.float32(32768.0)
    return mono
