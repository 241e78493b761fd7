"""Hearing whether the notes of a MIDI file are those of a recording, and how much earlier or later they sound.

The onset strength of a recording is how much louder each part of its spectrum becomes from frame to frame. Notes that
belong to it explain most of it, at the right offset and at no other. No model of drums is needed: how each lane sounds
in each part of the spectrum is fitted anew for each recording and offset, by ridge regression. So the kit does not
matter, and hi-hats are not mistaken for kicks.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from drum_crnn.music.lanes import LANE_OF_NOTE, N_LANES
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.music.midi import Note

__all__ = ["FEATURES", "MIN_NOTES", "Ear", "Match", "match_notes"]

FloatArray = NDArray[np.float64]

# Short frames, since times matter more than tones.
FEATURES = FeatureParams(
    sample_rate=44_100, hop_length=441, n_fft=1024, n_mels=30, fmin=40.0, fmax=16_000.0, floor_db=-100.0, n_shards=1
)
MIN_NOTES = 8  # fewer fit to anything

_N_BANDS = 6  # of five mel bands each
_RANGE_DB = 50.0  # below the loudest frame; what is softer counts as silence
_MAX_OFFSET_S = 10.0
_MIN_SHARE_INSIDE = 0.6  # of the notes, which an offset may not move out of the recording
_RIDGE = 3.0  # notes; a lane with as many explains half of what it could, so that single notes explain little
_PEAK_S = 0.05  # half the width of the peak of the agreement
_UNMOVED_FRAMES = 1
_AGREES, _SURE = 0.12, 0.3  # chosen as the lines in `inspection` were
_LONGEST_S = 1800.0  # what comes later is not listened to, so that memory is bounded


@dataclass(frozen=True, slots=True)
class Match:
    """How well notes fit to a recording.

    Attributes
    ----------
    offset_s : float
        Where they fit best, in seconds: positive if the recording is later than the notes. To about a millisecond.
    agreement : float
        Share of the recording's onset strength that the notes explain at this offset, from 0 to 1. Clean drums have
        about 0.6, drums below a loud band 0.1.
    unmoved : float
        The same without an offset.
    next_best : float
        The largest agreement at any offset that is farther than 50 ms from the best one.
    """

    offset_s: float
    agreement: float
    unmoved: float
    next_best: float

    @property
    def sureness(self) -> float:
        """1 if notes explain nothing at another offset, 0 if they explain as much there."""
        return 1.0 - self.next_best / self.agreement if self.agreement > 0 else 0.0

    @property
    def is_unique(self) -> bool:
        """Whether the offset can be believed: the notes explain something there, and clearly less elsewhere."""
        return self.agreement >= _AGREES and self.sureness >= _SURE


class Ear:
    """Collects the log-mel frames of one recording, at most half an hour of them: 20 MB."""

    def __init__(self) -> None:
        self._frames: list[NDArray[np.float32]] = []
        self._n_frames = 0

    def listen(self, frames: NDArray[np.float32]) -> None:
        """Hear the next frames of `LogMel(FEATURES).stream`."""
        frames = frames[: max(0, round(_LONGEST_S * FEATURES.frame_rate) - self._n_frames)]
        self._n_frames += len(frames)
        self._frames.append(frames)

    @classmethod
    def hear(cls, blocks: Iterable[NDArray[np.float32]]) -> "Ear":
        """Hear a whole recording: mono blocks at the rate of `FEATURES`."""
        ear = cls()
        for frames in _log_mel().stream(blocks):
            ear.listen(frames)
        return ear

    def levels_db(self) -> NDArray[np.float32]:
        """Level of the loudest band of each frame, shape (n_frames,)."""
        return np.concatenate([np.zeros(0, np.float32), *(frames.max(axis=1) for frames in self._frames)])

    def strength(self) -> FloatArray:
        """Onset strength, shape (n_frames, n_bands): by how many dB the level of each band rises, on average."""
        frames = np.concatenate([np.zeros((0, FEATURES.n_mels), np.float32), *self._frames])
        if not len(frames):
            return np.zeros((0, _N_BANDS))
        frames = np.maximum(frames, frames.max() - _RANGE_DB)
        rise = np.maximum(np.diff(frames, axis=0, prepend=frames[:1]), 0.0)
        strength: FloatArray = rise.reshape(len(rise), _N_BANDS, -1).mean(axis=2, dtype=np.float64)
        return strength


def match_notes(strength: FloatArray, notes: Sequence[Note]) -> Match | None:
    """Find the constant offset at which notes explain an onset strength best.

    Offsets up to 10 s are tried that leave most notes inside the recording.

    Parameters
    ----------
    strength : float array, shape (n_frames, n_bands)
        What `Ear.strength` returns.
    notes : sequence of Note
        Sorted by time.

    Returns
    -------
    Match or None
        None if there are fewer than `MIN_NOTES` notes, or nothing sounds.
    """
    notes = [note for note in notes if note.time_s < _LONGEST_S]
    n_frames = len(strength)
    strength = strength - strength.mean(axis=0) if n_frames else strength
    total = float((strength**2).sum())
    trains = _trains(notes)
    n_longest = round(_MAX_OFFSET_S * FEATURES.frame_rate)
    lags = np.arange(-n_longest, n_longest + 1)
    weight = np.concatenate([[0.0], np.cumsum(trains.sum(axis=1))])
    first, end = np.clip(-lags, 0, len(trains)), np.clip(n_frames - lags, 0, len(trains))
    lags = lags[weight[end] - weight[first] >= _MIN_SHARE_INSIDE * weight[-1]]
    if len(notes) < MIN_NOTES or total <= 0 or not len(lags):
        return None

    energy = float((trains**2).sum())
    trains = trains - trains.mean(axis=0)
    size = scipy.fft.next_fast_len(n_frames + len(trains) + n_longest, real=True)
    spectrum = scipy.fft.rfft(strength, size, axis=0)
    correlation = np.empty((len(lags), trains.shape[1], strength.shape[1]))
    for lane, train in enumerate(trains.T):
        product = scipy.fft.rfft(train, size).conj()[:, None] * spectrum
        correlation[:, lane] = scipy.fft.irfft(product, size, axis=0)[lags]
    gram = trains.T @ trains + _RIDGE * energy / len(notes) * np.eye(trains.shape[1])
    explained = np.einsum("tlb,lm,tmb->t", correlation, np.linalg.inv(gram), correlation, optimize=True) / total

    best = int(explained.argmax())
    is_elsewhere = np.abs(lags - lags[best]) > _PEAK_S * FEATURES.frame_rate
    is_unmoved = np.abs(lags) <= _UNMOVED_FRAMES
    return Match(
        offset_s=float(lags[best] + _summit(explained, best)) / FEATURES.frame_rate,
        agreement=float(explained[best]),
        unmoved=float(explained[is_unmoved].max(initial=0.0)),
        next_best=float(explained[is_elsewhere].max(initial=0.0)),
    )


@functools.cache
def _log_mel() -> LogMel:
    return LogMel(FEATURES)


def _trains(notes: Sequence[Note]) -> FloatArray:
    """An impulse for each note, shape (n_frames, n_lanes): only lanes with notes, and one for those of no lane."""
    if not notes:
        return np.zeros((0, 1))
    frame = np.array([note.time_s for note in notes]) * FEATURES.frame_rate
    lane = np.array([LANE_OF_NOTE.get(note.note, N_LANES) for note in notes])
    height = np.sqrt(np.array([note.velocity for note in notes]) / 127)
    nearest = np.rint(frame).astype(np.int64)
    trains = np.zeros((int(nearest.max()) + 2, N_LANES + 1))
    # A triangle of three frames, wherever the note lies between two.
    for step in (-1, 0, 1):
        place = np.maximum(nearest + step, 0)
        np.maximum.at(trains, (place, lane), height * np.maximum(0.0, 1.5 - np.abs(nearest + step - frame)) / 1.5)
    return trains[:, trains.any(axis=0)]


def _summit(values: FloatArray, index: int) -> float:
    """Where a parabola through a maximum and its neighbours is highest, relative to the maximum."""
    if not 0 < index < len(values) - 1:
        return 0.0
    left, middle, right = values[index - 1 : index + 2]
    curvature = left - 2 * middle + right
    return 0.0 if curvature >= 0 else float(0.5 * (left - right) / curvature)
