"""Decoding recordings: any format, any rate, any channel count, as mono float32 in blocks of bounded size."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.music import ffmpeg
from drum_crnn.music.downmix import Downmix
from drum_crnn.music.sound_file import open_sound_file
from drum_crnn.music.stated_length import has_all_pages, missing_bytes

__all__ = [
    "AudioInfo", "Block", "Listener", "load_audio", "mono_blocks", "mono_stream", "open_channels", "probe",
    "read_blocks",
]  # fmt: skip

FloatArray = NDArray[np.float32]

_BLOCK_S = 10.0

_LOWEST_RATE = 1_000  # Hz; telephones have 8,000
_MOST_SAMPLES = 1 << 60


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The header of a recording. `n_samples` counts samples of one channel; `is_pcm`: samples are plain integers.

    For an MP3 without a length and for what ffmpeg reads, `n_samples` is an estimate.
    """

    sample_rate: int
    n_channels: int
    n_samples: int
    is_pcm: bool

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


class Block(NamedTuple):
    """A piece of a recording at its own rate, before it is resampled.

    `channels` has the shape (n_samples, n_channels), int16 or float; `mono` has (n_samples,), and is what becomes of
    them; `cancels` says that it is not their mean, in which they would cancel each other.
    """

    channels: NDArray[Any]
    mono: FloatArray
    sample_rate: int
    cancels: bool


Listener = Callable[[Block], None]


def probe(path: Path) -> AudioInfo:
    """Read the header of a recording, without decoding it.

    Raises
    ------
    DrumCrnnError
        If the file is missing, empty, of no known format, or a WAV that holds less than its header says.
    """
    try:
        with _open(path) as file:
            return AudioInfo(file.samplerate, file.channels, file.frames, file.subtype.startswith("PCM_"))
    except _UnknownToLibsndfile as unknown:
        header = ffmpeg.read_header(path, reason=unknown.reason)
        n_samples = round(header.duration_s * header.sample_rate)
        return AudioInfo(header.sample_rate, header.n_channels, n_samples, is_pcm=False)


def load_audio(path: Path, *, sample_rate: int) -> FloatArray:
    """Decode a whole recording: mono float32, shape (n_samples,), at `sample_rate`. Errors as in `read_blocks`."""
    blocks = list(read_blocks(path, sample_rate=sample_rate))
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *blocks])


def read_blocks(path: Path, *, sample_rate: int, listen: Listener | None = None) -> Iterator[FloatArray]:
    """Decode a recording piece by piece.

    Channels are averaged, except where they cancel each other in the mean (see `Downmix`). Another sample rate is
    converted with soxr's high-quality filter, whose delay is compensated. What libsndfile cannot open, ffmpeg decodes
    if it is installed.

    Parameters
    ----------
    listen : callable, optional
        Called with each block before it is resampled.

    Yields
    ------
    float32 array, shape (n_samples,)
        About ten seconds each; concatenated, the whole recording.

    Raises
    ------
    DrumCrnnError
        If the file is missing, empty, of no known format, truncated, or holds samples that are not finite.
    """
    with open_channels(path) as (rate, blocks):
        if rate < _LOWEST_RATE:  # a second would become thousands
            raise DrumCrnnError(f"{path}: has a sample rate of {rate} Hz, too low for sound; export it again")

        def not_finite(second: float) -> DrumCrnnError:
            return DrumCrnnError(
                f"{path}: has samples that are not finite (NaN or infinite) before second {second:.1f}; export it again"
            )

        mono = _mono(_some(blocks, path), rate, listen, not_finite)
        yield from _resampled(mono, from_rate=rate, to_rate=sample_rate)


@contextmanager
def open_channels(path: Path) -> Iterator[tuple[int, Iterator[NDArray[Any]]]]:
    """A recording with all its channels: its sample rate, and its blocks, which raise what `read_blocks` raises.

    A block is an array of shape (n_samples, n_channels): int16 for PCM of 16 bits, else float32.
    """
    reason = ""
    try:
        file = _open(path)
    except _UnknownToLibsndfile as unknown:
        reason = unknown.reason
    if reason:
        with ffmpeg.decode(path, block_s=_BLOCK_S, reason=reason) as sound:
            yield sound.sample_rate, sound.blocks
    else:
        with file:
            yield file.samplerate, _decoded(file, path)


def mono_blocks(
    audio: NDArray[Any], *, from_rate: int, to_rate: int, listen: Listener | None = None
) -> Iterator[FloatArray]:
    """Samples in memory, as `read_blocks` gives those of a file.

    Parameters
    ----------
    audio : float or int16 array, shape (n_samples,) or (n_samples, n_channels)

    Raises
    ------
    ValueError
        If the shape or the type is another, or a sample is not finite.
    """
    channels = _channels(audio)
    length = round(_BLOCK_S * from_rate)
    blocks = (channels[start : start + length] for start in range(0, len(channels), length))
    return mono_stream(blocks, from_rate=from_rate, to_rate=to_rate, listen=listen)


def mono_stream(
    blocks: Iterable[NDArray[Any]], *, from_rate: int, to_rate: int, listen: Listener | None = None
) -> Iterator[FloatArray]:
    """A stream of samples, as `read_blocks` gives those of a file; blocks and errors as for `mono_blocks`."""

    def not_finite(second: float) -> ValueError:
        return ValueError(f"audio has samples that are not finite before second {second:g}")

    mono = _mono(map(_channels, blocks), from_rate, listen, not_finite)
    yield from _resampled(mono, from_rate=from_rate, to_rate=to_rate)


def _channels(audio: NDArray[Any]) -> NDArray[Any]:
    """Samples of a caller with shape (n_samples, n_channels)."""
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and not audio.shape[1]):
        raise ValueError(f"audio has shape (samples,) or (samples, channels), not {audio.shape}")
    if audio.dtype != np.int16 and audio.dtype.kind != "f":
        raise ValueError(f"audio is of floating-point numbers or int16, not {audio.dtype}")
    return audio[:, None] if audio.ndim == 1 else audio


def _resampled(blocks: Iterable[FloatArray], *, from_rate: int, to_rate: int) -> Iterator[FloatArray]:
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


def _mono(
    blocks: Iterable[NDArray[Any]], sample_rate: int, listen: Listener | None, not_finite: Callable[[float], Exception]
) -> Iterator[FloatArray]:
    """Blocks of all channels, mono, at their own rate; `not_finite` makes the error, from the second it happened in."""
    downmix = Downmix(sample_rate)
    position = 0
    for block in blocks:
        position += len(block)
        mono = downmix(block)
        if not np.isfinite(mono).all():
            raise not_finite(position / sample_rate)
        if listen is not None:
            listen(Block(block, mono, sample_rate, downmix.cancels))
        yield mono


def _some(blocks: Iterable[NDArray[Any]], path: Path) -> Iterator[NDArray[Any]]:
    """The blocks of a recording, which has at least one."""
    block = None
    for block in blocks:
        yield block
    if block is None:
        raise DrumCrnnError(f"{path}: holds no audio that can be decoded; export it again")


def _decoded(file: soundfile.SoundFile, path: Path) -> Iterator[NDArray[Any]]:
    """The blocks of a recording that libsndfile has opened."""
    block_length = round(_BLOCK_S * file.samplerate)
    position = 0
    is_last = False
    while not is_last:
        block = _read(file, path, block_length)
        is_last = len(block) < block_length
        position += len(block)
        if len(block):
            yield block
    if 0 < position < file.frames and _states_its_samples(file, path):
        raise DrumCrnnError(
            f"{path}: is truncated: the header promises {file.frames} samples, but only {position} can be read; "
            "copy or export it again"
        )


class _UnknownToLibsndfile(Exception):  # noqa: N818  # ffmpeg may know it
    """libsndfile does not know the format, for this `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _open(path: Path) -> soundfile.SoundFile:
    try:
        status = path.stat()
    except FileNotFoundError:
        is_link = path.is_symlink()
        raise DrumCrnnError(
            f"{path}: {'is a link to no file; mend it' if is_link else 'there is no such file'}"
        ) from None
    except OSError as error:
        raise refused_error(path, error) from None
    if stat.S_ISDIR(status.st_mode) and not os.access(path, os.R_OK | os.X_OK):
        raise refused_error(path, PermissionError(errno.EACCES, "")) from None
    if not stat.S_ISREG(status.st_mode):
        raise DrumCrnnError(f"{path}: is a device or a folder, not a recording")
    if status.st_size == 0:
        raise DrumCrnnError(f"{path}: is empty (0 bytes)")
    try:
        _check_length(path)
        file = open_sound_file(path)
    except OSError as error:  # such as for lack of permission, of which libsndfile says no more than "System error"
        raise refused_error(path, error) from None
    except TypeError:
        # soundfile treats ".raw" as samples without a header, and asks for their rate.
        raise DrumCrnnError(f"{path}: raw samples without a header cannot be read; convert it to WAV") from None
    except soundfile.LibsndfileError as error:
        raise _UnknownToLibsndfile(_reason(error) or "unknown format") from None
    try:
        if not file.frames:
            raise DrumCrnnError(f"{path}: holds no audio (length zero)")
        if file.frames > _MOST_SAMPLES:  # libsndfile fails at the end of a FLAC that came out of a pipe
            raise _UnknownToLibsndfile("its header states no length")
    except BaseException:
        file.close()
        raise
    return file


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().removeprefix("Error : ").rstrip(".")


def _check_length(path: Path) -> None:
    n_missing = missing_bytes(path)
    if n_missing > 0:
        raise DrumCrnnError(
            f"{path}: is cut short: {n_missing} bytes are missing from its end, if not more; copy, unpack or export it "
            "again, or convert what there is to WAV"
        )
    if n_missing < 0:
        raise DrumCrnnError(
            f"{path}: goes on for {-n_missing} bytes after the end that its header states, as a file of more than 4 GB "
            "or one that is still being recorded; finish it, or convert it to FLAC"
        )


def _states_its_samples(file: soundfile.SoundFile, path: Path) -> bool:
    """Whether the header states the number of samples that decoding gives.

    An MP3 does so in a Xing or Info header; otherwise decoders guess it from the file's size. A WAV with MPEG inside
    counts samples that decoders leave out. An OGG may count too many in its last page.
    """
    if file.format == "OGG":
        return not has_all_pages(path)
    if file.format != "MP3":
        return not file.subtype.startswith("MPEG")
    with path.open("rb") as stream:
        tag = stream.read(10)
        if tag[:3] == b"ID3":  # its length: four bytes of seven bits
            stream.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)))
        else:
            stream.seek(0)
        first_frame = stream.read(4096)
    return b"Xing" in first_frame or b"Info" in first_frame


def _read(file: soundfile.SoundFile, path: Path, n_samples: int) -> NDArray[Any]:
    """Up to `n_samples`, shape (n_samples, n_channels): int16 for 16-bit PCM, which is faster, or float32."""
    try:
        return file.read(n_samples, dtype="int16" if file.subtype == "PCM_16" else "float32", always_2d=True)  # type: ignore[no-any-return]  # soundfile has no types
    except soundfile.LibsndfileError as error:
        raise DrumCrnnError(
            f"{path}: cannot be decoded to its end ({_reason(error)}); copy or export it again"
        ) from None
