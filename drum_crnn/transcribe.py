"""From a recording to its onsets: features → model → peak picking. Memory is bounded for any length."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.device import choose_device, unusable_gpus
from drum_crnn.model.inference import Activations, onsets_of, stream_activations
from drum_crnn.model.model_file import ModelFile
from drum_crnn.model.peak_picking import pooled_toms
from drum_crnn.music.audio import read_blocks
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import LogMel
from drum_crnn.music.onsets import Onsets
from drum_crnn.music.timing import time_to_frame
from drum_crnn.music.transcription import Transcription

__all__ = ["RELEASED_MODEL", "Transcriber", "favoured", "released_model"]

RELEASED_MODEL = "drum_crnn.safetensors"

_PACKAGE = Path(__file__).parent
# In a wheel, the folder `models/released` is part of the package; in a checkout, it lies beside the package.
_PLACES = (_PACKAGE / "released", _PACKAGE.parent / "models" / "released")


# Factors on the odds of each lane's threshold. `game`: a kick or snare too many rather than one that is missing.
_ODDS: dict[str, dict[str, float]] = {
    "recall": dict.fromkeys(LANES, 0.5),
    "precision": dict.fromkeys(LANES, 2.0),
    "game": {"kick": 0.4, "snare": 0.6},
}


class Transcriber:
    """Transcribes drum recordings to onsets.

    Parameters
    ----------
    model : Path or None
        An exported model file; None for the released model.
    thresholds : mapping of lane to float, optional
        Override those in the file, each in (0, 1].
    favour : str, optional
        What those in the file are changed in favour of: "recall", "precision" or "game" (see `favoured`).
    device : str
        "auto" (a GPU if there is one), "cpu" or "cuda".

    Examples
    --------
    >>> onsets = Transcriber()(Path("song.wav"))  # doctest: +SKIP
    >>> onsets.time_s, onsets.lane, onsets.velocity  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        thresholds: Mapping[str, float] | None = None,
        favour: str | None = None,
        device: str = "auto",
    ) -> None:
        model = released_model() if model is None else model
        if device == "auto" and (problem := unusable_gpus()):
            warn(problem)  # a recording takes seconds on a CPU, too
            device = "cpu"
        self._file = ModelFile.load(model, device=choose_device(device))
        if self._file.thresholds is None or self._file.peak_picking is None:
            raise DrumCrnnError(f"{model}: holds no thresholds; `drum-crnn export` merges a model with its thresholds")
        self._peak_picking = self._file.peak_picking
        chosen = self._file.thresholds if favour is None else favoured(self._file.thresholds, favour)
        self._thresholds = _override(chosen, thresholds or {})

    def __call__(self, recording: Path) -> Onsets:
        """Transcribe a recording of any format, rate and channel count that `audio` reads; raises its errors."""
        return self.transcribe_file(recording).onsets

    def transcribe_file(self, recording: Path, *, progress: Callable[[float], None] | None = None) -> Transcription:
        """Transcribe a recording, with the confidence of each onset.

        Parameters
        ----------
        progress : callable, optional
            Called now and then with the seconds of the recording that are done.
        """
        length_s = 0.0

        def note(seconds: float) -> None:
            nonlocal length_s
            length_s = seconds
            if progress is not None:
                progress(seconds)

        activations = self.activations(recording, progress=note)
        frame_rate = self._file.features.frame_rate
        onsets = onsets_of(
            activations, thresholds=self._thresholds, peak_picking=self._peak_picking, frame_rate=frame_rate
        )
        heights = pooled_toms(activations.onset, params=self._peak_picking)
        confidence = heights[time_to_frame(onsets.time_s, frame_rate), onsets.lane]
        return Transcription(
            onsets.time_s, onsets.lane, onsets.velocity, confidence.astype(np.float64), duration_s=length_s
        )

    def activations(self, recording: Path, *, progress: Callable[[float], None] | None = None) -> Activations:
        """The predictions of the model for each frame; `progress` as in `transcribe_file`."""
        features = self._file.features
        blocks: Iterable[NDArray[np.float32]] = read_blocks(recording, sample_rate=features.sample_rate)
        if progress is not None:
            blocks = _reported(blocks, progress, features.sample_rate)
        # Rounded as in the feature store, so that the model gets the same frames as in training.
        frames = (group.astype(np.float16) for group in LogMel(features).stream(blocks))
        return Activations.concatenate(stream_activations(self._file.model, frames, floor_db=features.floor_db))


def _reported(
    blocks: Iterable[NDArray[np.float32]], progress: Callable[[float], None], sample_rate: int
) -> Iterator[NDArray[np.float32]]:
    n_samples = 0
    for block in blocks:
        yield block
        n_samples += len(block)
        progress(n_samples / sample_rate)


def favoured(thresholds: Sequence[float], favour: str) -> tuple[float, ...]:
    """Thresholds changed in favour of one kind of result.

    `recall` halves the odds t / (1 - t) of each threshold t: more onsets, more of them wrong. `precision` doubles them.
    `game` lowers those of kick and snare alone.

    Raises
    ------
    DrumCrnnError
        If there is no such choice.
    """
    if favour not in _ODDS:
        raise DrumCrnnError(f"--favour {favour}: there is no such choice; choose {', '.join(_ODDS)}")
    factors = [_ODDS[favour].get(lane, 1.0) for lane in LANES]
    # t f / (1 - t + t f) is the threshold whose odds are f times as high.
    return tuple(t * f / (1 - t + t * f) for t, f in zip(thresholds, factors, strict=True))


def _override(thresholds: Sequence[float], overrides: Mapping[str, float]) -> tuple[float, ...]:
    for lane, value in overrides.items():
        if lane not in LANES:
            raise DrumCrnnError(f"there is no lane '{lane}'; the lanes are {', '.join(LANES)}")
        if not 0 < value <= 1:
            raise DrumCrnnError(f"the threshold of {lane} is {value:g}; it should be above 0 and at most 1")
    return tuple(overrides.get(lane, threshold) for lane, threshold in zip(LANES, thresholds, strict=True))


def released_model() -> Path:
    """The model file that comes with this version.

    Raises
    ------
    DrumCrnnError
        If the installation lacks it.
    """
    for place in _PLACES:
        if (place / RELEASED_MODEL).is_file():
            return place / RELEASED_MODEL
    raise DrumCrnnError(
        f"the released model is missing from {_PACKAGE}; install drum_crnn again, or name another model with --model"
    )
