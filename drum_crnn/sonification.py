"""A transcription to listen to: the recording on the left, the same strokes on a sampled kit on the right.

Both channels have the length of the recording. The left one keeps its level, unless it would clip. The right one gets
the peak of the left one, but no less than -20 dBFS. Memory does not grow with the length.
"""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drum_crnn.foundation.atomic import replace_file
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.lanes import OUTPUT_NOTES
from drum_crnn.music.midi import Note
from drum_crnn.music.transcription import Transcription
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, Kit
from drum_crnn.studio.sampler import mix
from drum_crnn.studio.sources import open_kits

__all__ = ["default_kit", "write_sonification"]

_KIT = "pretty_midi:TimGM6mb#Standard"  # comes with a package that is always there
_RING_S = 10.1  # longer than the longest sample of a kit
_FADE_S = 0.05  # at the end of the recording, where a cymbal may still ring
_LOWEST_PEAK = 10 ** (-20 / 20)
_FULL_SCALE = 32_767
_MOST_BYTES = 2**32 - 100  # of a WAV file's samples


def default_kit() -> Kit:
    """The kit that plays transcriptions: a quarter of a second to open."""
    [kit] = open_kits(_KIT)
    return kit


def write_sonification(path: Path, transcription: Transcription, *, recording: Path, kit: Kit) -> None:
    """Write a stereo WAV file of 16 bits and 44.1 kHz, whole or not at all.

    The recording is decoded twice, first for its peak.

    Raises
    ------
    DrumCrnnError
        If the recording cannot be read, is longer than the 6.7 hours that a WAV file holds, or the file cannot be
        written.
    """
    n_samples, peaks = 0, np.zeros(2, np.float32)
    for block in _stereo_blocks(recording, transcription, kit):
        n_samples += len(block)
        peaks = np.maximum(peaks, np.abs(block).max(axis=0))
    if 4 * n_samples > _MOST_BYTES:
        hours = n_samples / SAMPLE_RATE / 3600
        raise DrumCrnnError(
            f"{path}: cannot be written: a WAV file holds 6.7 hours, and {recording} has {hours:.1f}; cut it first"
        )
    gains = _gains(*peaks.tolist())
    fade = np.linspace(1.0, 0.0, round(_FADE_S * SAMPLE_RATE), dtype=np.float32)
    start = 0
    with replace_file(path) as temporary, temporary.open("wb") as file, wave.open(file, "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLE_RATE)
        wav.setnframes(n_samples)
        for block in _stereo_blocks(recording, transcription, kit):
            samples = block * gains
            places = np.arange(start, start + len(block)) - (n_samples - len(fade))
            is_end = places >= 0
            samples[is_end, 1] *= fade[places[is_end]]
            wav.writeframesraw(np.rint(samples * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE).astype("<i2").tobytes())
            start += len(block)


def _gains(left: float, right: float) -> FloatArray:
    """The factors of both channels, from their peaks."""
    wanted = min(max(left, _LOWEST_PEAK), 1.0)
    return np.array([min(1.0, 1.0 / left) if left else 1.0, wanted / right if right else 1.0], np.float32)


def _stereo_blocks(recording: Path, transcription: Transcription, kit: Kit) -> Iterator[FloatArray]:
    """Recording and drums, shape (n_samples, 2), of any level; what rings on goes over into the next block."""
    onsets = np.rint(transcription.time_s * SAMPLE_RATE).astype(np.int64)
    start, ringing = 0, np.zeros(0, np.float32)
    for left in read_blocks(recording, sample_rate=SAMPLE_RATE):
        first, last = np.searchsorted(onsets, [start, start + len(left)]).tolist()
        notes = [
            Note((onset - start) / SAMPLE_RATE, OUTPUT_NOTES[lane], velocity)
            for onset, lane, velocity in zip(
                onsets[first:last].tolist(),
                transcription.lane[first:last].tolist(),
                transcription.velocity[first:last].tolist(),
                strict=True,
            )
        ]
        drums = mix(notes, kit, duration_s=len(left) / SAMPLE_RATE + _RING_S).audio
        drums[: len(ringing)] += ringing
        yield np.stack([left, drums[: len(left)]], axis=1)
        start, ringing = start + len(left), drums[len(left) :]
