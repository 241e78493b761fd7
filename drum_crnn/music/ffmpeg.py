"""Decoding with ffmpeg, a program that reads what libsndfile does not: M4A, AAC, WMA, the sound of videos.

Samples come through a pipe as an AU stream of floats, whose header holds the rate and the number of channels. ffmpeg
stops at the first error (`-xerror`), since a recording with holes would be transcribed as if it were whole.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["FfmpegHeader", "FfmpegSound", "decode", "read_header"]

_HOW_TO_CONVERT = "convert it to WAV, FLAC, OGG or MP3"
_HOW_TO_INSTALL = "or install ffmpeg (apt, brew or winget install ffmpeg), which reads other formats"

# ffmpeg tells of these, and succeeds.
_CUT_SHORT = re.compile("partial file|ended prematurely|truncat", re.IGNORECASE)
_AU_HEADER = struct.Struct(">4s5I")  # magic, start of the samples, their length, encoding, rate, channels
_LAST_WORDS = 4096  # bytes of ffmpeg's messages that are looked at


@dataclass(frozen=True, slots=True)
class FfmpegHeader:
    """What a file says of its first audio stream. `duration_s` is an estimate, and 0 if it is unknown."""

    sample_rate: int
    n_channels: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class FfmpegSound:
    """An audio stream that is being decoded; `blocks` are float32 arrays of shape (n_samples, n_channels)."""

    sample_rate: int
    n_channels: int
    blocks: Iterator[NDArray[np.float32]]


def read_header(path: Path, *, reason: str) -> FfmpegHeader:
    """Ask ffprobe, which comes with ffmpeg, about the first audio stream of a file.

    Parameters
    ----------
    reason : str
        Why libsndfile cannot open the file, for the message.

    Raises
    ------
    DrumCrnnError
        If ffprobe is not installed, cannot read the file, or finds no sound in it.
    """
    entries = "stream=sample_rate,channels,duration:format=duration"
    command: list[str | bytes] = [_program("ffprobe", path, reason), *_input_options(), "-select_streams", "a:0"]
    command += ["-show_entries", entries, "-of", "json", "-i", _url(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except ValueError:
        found = None
    if found is None:
        raise _unreadable_error(path, reason, _sentence(done.stderr, path) or "ffprobe fails")
    streams = found.get("streams")
    if not streams:
        raise _without_sound_error(path)
    [stream] = streams
    rate, n_channels = (int(stream.get(name) or 0) for name in ("sample_rate", "channels"))
    if rate <= 0 or n_channels <= 0:
        raise _unreadable_error(path, reason, "the rate or the number of channels is unknown")
    duration_s = float(stream.get("duration") or found.get("format", {}).get("duration") or 0.0)
    return FfmpegHeader(rate, n_channels, max(0.0, duration_s))


@contextmanager
def decode(path: Path, *, block_s: float, reason: str) -> Iterator[FfmpegSound]:
    """Decode the first audio stream of a file. ffmpeg ends with the block, whether all was read or not.

    Parameters
    ----------
    block_s : float
        Seconds of a block; memory holds one at a time.
    reason : str
        Why libsndfile cannot open the file, for the message.

    Raises
    ------
    DrumCrnnError
        If ffmpeg is not installed or cannot read the file, if there is no sound in it, and, from the blocks, if ffmpeg
        fails or is ended before the end of the sound.
    """
    command: list[str | bytes] = [
        _program("ffmpeg", path, reason),
        "-nostdin",
        *_input_options(),
        "-xerror",
        "-i",
        _url(path),
    ]
    command += ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    # A file takes any number of messages; a second pipe would have to be read at the same time.
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages)
        try:
            stream = process.stdout
            assert stream is not None
            header = stream.read(_AU_HEADER.size)
            if len(header) < _AU_HEADER.size:
                code = process.wait()
                said = _last_words(messages)
                if b"matches no streams" in said:
                    raise _without_sound_error(path)
                raise _unreadable_error(path, reason, _sentence(said, path) or f"ffmpeg ends with code {code}")
            _, start, _, _, rate, n_channels = _AU_HEADER.unpack(header)
            stream.read(start - _AU_HEADER.size)  # a comment
            n_samples = max(1, round(block_s * rate))
            yield FfmpegSound(rate, n_channels, _blocks(path, process, stream, messages, n_samples, n_channels))
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()


def _blocks(
    path: Path,
    process: subprocess.Popen[bytes],
    stream: IO[bytes],
    messages: IO[bytes],
    n_samples: int,
    n_channels: int,
) -> Iterator[NDArray[np.float32]]:
    width = 4 * n_channels
    while content := stream.read(n_samples * width):
        whole = len(content) // width * width  # less than a sample is left over where ffmpeg was ended
        if whole:
            yield np.frombuffer(content[:whole], ">f4").astype(np.float32).reshape(-1, n_channels)
    code = process.wait()
    said = _last_words(messages)
    if code < 0:
        raise _broken_error(path, f"ffmpeg was ended by signal {-code}")
    if code:
        raise _broken_error(path, f"ffmpeg: {_sentence(said, path) or f'exit code {code}'}")
    if _CUT_SHORT.search(said.decode("utf-8", "replace")):
        raise _broken_error(path, f"ffmpeg: {_sentence(said, path)}")


def _program(name: str, path: Path, reason: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise DrumCrnnError(f"{path}: not a readable recording ({reason}); {_HOW_TO_CONVERT}, {_HOW_TO_INSTALL}")
    return found


def _input_options() -> list[str]:
    """Errors alone; and no address in a playlist is followed: only files are read."""
    return ["-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,pipe"]


def _url(path: Path) -> bytes | str:
    """The name with its protocol: else `-x.m4a` would be an option, and `take: 1.m4a` the protocol `take`."""
    name = f"file:{path}"
    return name if sys.platform == "win32" else os.fsencode(name)  # a file name need not be UTF-8


def _last_words(messages: IO[bytes]) -> bytes:
    messages.seek(0, os.SEEK_END)
    messages.seek(max(0, messages.tell() - _LAST_WORDS))
    return messages.read()


def _sentence(said: bytes, path: Path) -> str:
    """The last of ffmpeg's messages, without the part of the program and the file's name in front of it."""
    lines = [line.strip() for line in os.fsdecode(said).splitlines() if line.strip()]
    last = re.sub(r"^(\[[^]]* @ 0x[0-9a-f]+\] )+", "", lines[-1]) if lines else ""
    return last.removeprefix(f"file:{path}: ").rstrip(".")


def _unreadable_error(path: Path, reason: str, why: str) -> DrumCrnnError:
    return DrumCrnnError(f"{path}: not a readable recording ({reason}; ffmpeg: {why}); {_HOW_TO_CONVERT}")


def _without_sound_error(path: Path) -> DrumCrnnError:
    return DrumCrnnError(f"{path}: holds no sound, only pictures or text; name a file with an audio track")


def _broken_error(path: Path, why: str) -> DrumCrnnError:
    return DrumCrnnError(f"{path}: cannot be decoded to its end ({why}); copy or export it again")
