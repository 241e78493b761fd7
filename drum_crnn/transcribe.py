"""From a recording to its onsets: features → model → peak picking. Memory is bounded for any length."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from drum_crnn.engine.live import LiveActivations
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.activations import Activations, onsets_and_heights
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.audio import Listener, mono_blocks, mono_stream, read_blocks
from drum_crnn.music.condition import Condition
from drum_crnn.music.lanes import LANES
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.music.timing import time_to_frame
from drum_crnn.music.transcription import Transcription

if TYPE_CHECKING:
    from drum_crnn.engine.convolutions import Precision

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

Progress = Callable[[float], None]  # called now and then with the seconds of the recording that are done


class Engine(Protocol):
    """What computes the activations of a recording from blocks of its samples."""

    def activations(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Activations]:
        """Activations of consecutive parts of the recording."""
        ...


class Transcriber:
    """Transcribes drum recordings.

    Its parts are public, too: `drum_crnn.music.audio.read_blocks` decodes, `activations` computes features and network,
    and `onsets` picks peaks.

    Parameters
    ----------
    model : StoredModel
        An exported model; `Transcriber.load` reads one from a file.
    engine : Engine, optional
        What runs the network; ONNX Runtime on the CPU, in eight bits, by default.
    thresholds : mapping of lane to float, optional
        Override those of the model, each in (0, 1].
    favour : str, optional
        What those of the model are changed in favour of: "recall", "precision" or "game" (see `favoured`).

    Raises
    ------
    DrumCrnnError
        If the model holds no thresholds, or an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> transcriber = Transcriber.load()  # the released model
    >>> silence = transcriber.transcribe(np.zeros(44100, np.float32), 44100)
    >>> len(silence), silence.duration_s
    (0, 1.0)
    """

    def __init__(
        self,
        model: StoredModel,
        *,
        engine: Engine | None = None,
        thresholds: Mapping[str, float] | None = None,
        favour: str | None = None,
    ) -> None:
        if model.thresholds is None or model.peak_picking is None:
            raise DrumCrnnError("the model holds no thresholds; `drum-crnn export` merges a model with its thresholds")
        self._features, self._peak_picking = model.features, model.peak_picking
        self._window_frames, self._margin_frames = model.params.window_frames, model.params.margin_frames
        chosen = model.thresholds if favour is None else favoured(model.thresholds, favour)
        self._thresholds = _override(chosen, thresholds or {})
        self._engine = engine or _cpu_engine(model, "int8")

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        device: str = "auto",
        precision: "Precision | None" = None,
        engine: Engine | None = None,
        thresholds: Mapping[str, float] | None = None,
        favour: str | None = None,
    ) -> Self:
        """Read a model file.

        Parameters
        ----------
        path : Path, optional
            An exported model; by default the released one.
        device : str
            "cpu": ONNX Runtime, on all cores or as many threads as OMP_NUM_THREADS says. "cuda": PyTorch, on a GPU.
            "auto": the CPU, which is done with a song before PyTorch has started.
        precision : {"int8", "float32"}, optional
            Of the convolutions on the CPU. "int8", the default, is faster; in "float32" activations are those of
            PyTorch. A GPU computes in float32.
        engine, thresholds, favour
            As in the class; an engine of one's own takes the place of `device` and `precision`.

        Raises
        ------
        DrumCrnnError
            If the file is no exported model, the device cannot be used, or an option is out of range.
        """
        path = released_model() if path is None else path
        model = StoredModel.load(path)
        if model.thresholds is None:
            raise DrumCrnnError(f"{path}: holds no thresholds; `drum-crnn export` merges a model with its thresholds")
        if engine is None and device in ("auto", "cpu"):
            engine = _cpu_engine(model, precision or "int8")
        elif engine is None:
            if precision == "int8":
                raise DrumCrnnError(f"int8 is a precision of the CPU, and {device} computes in float32; leave one out")
            engine = _torch_engine(model, path, device)
        return cls(model, engine=engine, thresholds=thresholds, favour=favour)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The threshold of each lane, in the order of `LANES`."""
        return self._thresholds

    @property
    def features(self) -> FeatureParams:
        """What a frame is."""
        return self._features

    def transcribe(self, audio: NDArray[np.generic], sample_rate: int) -> Transcription:
        """Transcribe samples.

        Parameters
        ----------
        audio : float or int16 array, shape (n_samples,) or (n_samples, n_channels)
            In [-1, 1] if float.
        sample_rate : int
            Hz.

        Raises
        ------
        ValueError
            If the shape or the type is another, or a sample is not finite.
        """
        rate = self._features.sample_rate
        return self._doubting(
            lambda listen: mono_blocks(audio, from_rate=sample_rate, to_rate=rate, listen=listen),
            len(audio) / sample_rate,
        )

    def transcribe_file(
        self, recording: Path, *, progress: Progress | None = None, keep_activation: bool = False
    ) -> Transcription:
        """Transcribe a recording of any format, rate and channel count that `read_blocks` reads; raises its errors.

        Parameters
        ----------
        progress : callable, optional
            Called now and then with the seconds of the recording that are done.
        keep_activation : bool
            Whether the transcription gets the activations, too; an hour of them takes 12 MB.
        """
        rate = self._features.sample_rate
        return self._doubting(
            lambda listen: read_blocks(recording, sample_rate=rate, listen=listen), None, progress, keep_activation
        )

    def listen(
        self,
        blocks: Iterable[NDArray[np.generic]],
        sample_rate: int,
        *,
        lookahead_s: float | None = None,
        step_s: float = 0.2,
    ) -> Iterator[Transcription]:
        """Transcribe a stream while it goes on.

        An onset comes at most `lookahead_s + step_s` and a few frames after its stroke was heard, and the time that the
        network needs: a twentieth of a second on one core. Less lookahead costs accuracy.

        Parameters
        ----------
        blocks : iterable of float or int16 arrays, shape (n_samples,) or (n_samples, n_channels)
            The stream, in blocks of any length; short ones keep the delay short.
        sample_rate : int
            Hz.
        lookahead_s : float, optional
            Seconds that the network hears after a frame before it decides about it. By default the margin of the
            model's windows: 0.5 s in the released model.
        step_s : float
            Seconds between two computations.

        Yields
        ------
        Transcription
            The onsets of the next part of the stream, with times from its start; parts without onsets, too.
            `duration_s` is the time up to which all onsets are known.

        Raises
        ------
        ValueError
            If a block is of another kind, or the times do not fit into the model's window.
        """
        rate = self._features.frame_rate
        live = LiveActivations(
            self._engine.activations,
            self._features,
            window_frames=self._window_frames,
            lookahead_frames=self._margin_frames if lookahead_s is None else round(lookahead_s * rate),
            step_frames=round(step_s * rate),
        )
        at_rate = mono_stream(blocks, from_rate=sample_rate, to_rate=self._features.sample_rate)
        yield from self._onsets_of_parts(live.of(at_rate))

    def _onsets_of_parts(self, parts: Iterable[Activations]) -> Iterator[Transcription]:
        """The onsets of consecutive parts of a recording, each as soon as the frames after it cannot change it."""
        rate, context = self._features.frame_rate, 2 * self._peak_picking.max_radius
        known, first, decided = Activations.concatenate([]), 0, 0  # `known` begins at frame `first`
        for part in itertools.chain(parts, [None]):
            if part is not None:
                known = Activations.concatenate([known, part])
            # A frame and its peak depend on the frames within two radii, because of pooled toms.
            upto = first + len(known.onset) - (0 if part is None else context)
            if upto <= decided and part is not None:
                continue
            found = self.onsets(known, max(upto, 0) / rate)
            frames = time_to_frame(found.time_s, rate) + first
            yield found.where((frames >= decided) & (frames < upto)).later(first / rate)
            decided = upto
            keep_from = max(first, decided - context)
            known = Activations(known.onset[keep_from - first :], known.velocity[keep_from - first :])
            first = keep_from

    def activations(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Activations]:
        """The predictions of the model for each frame.

        Parameters
        ----------
        blocks : iterable of float32 arrays, shape (n_samples,)
            A recording in blocks of any length, mono, at the model's sample rate, as `read_blocks` gives them.

        Yields
        ------
        Activations
            Of consecutive parts of the recording, which together hold every frame once.
        """
        return self._engine.activations(blocks)

    def onsets(self, activations: Activations, duration_s: float) -> Transcription:
        """The onsets of a recording of that length, in seconds, from the activations of all its frames."""
        frame_rate = self._features.frame_rate
        onsets, heights = onsets_and_heights(
            activations, thresholds=self._thresholds, peak_picking=self._peak_picking, frame_rate=frame_rate
        )
        return Transcription(onsets.time_s, onsets.lane, onsets.velocity, heights, duration_s=duration_s)

    def _doubting(
        self,
        decode: Callable[[Listener | None], Iterable[NDArray[np.float32]]],
        duration_s: float | None,
        progress: Progress | None = None,
        keep_activation: bool = False,
    ) -> Transcription:
        """Transcribe what `decode` gives, once more at another level if it needs one, and say what is doubtful."""
        condition = Condition()
        # What is far too loud will be read again, and its squares may be infinite.
        heard = (np.zeros_like(block) if condition.is_loud else block for block in decode(condition.listen))
        made = self._transcription(heard, duration_s, progress, keep_activation)
        if condition.is_silent:  # a constant begins and ends with a click
            made = made.where(np.zeros(len(made), np.bool_))
        elif condition.gain != 1:
            gain = np.float32(condition.gain)
            at_level = (gain * block for block in decode(None))
            made = self._transcription(at_level, duration_s, progress, keep_activation)
        return replace(made, doubts=condition.doubts())

    def _transcription(
        self,
        blocks: Iterable[NDArray[np.float32]],
        duration_s: float | None,
        progress: Progress | None = None,
        keep_activation: bool = False,
    ) -> Transcription:
        n_samples = 0

        def counted() -> Iterator[NDArray[np.float32]]:
            nonlocal n_samples
            for block in blocks:
                yield block
                n_samples += len(block)
                if progress is not None:
                    progress(n_samples / self._features.sample_rate)

        kept = [np.zeros((0, len(LANES)), np.float32)]

        def parts() -> Iterator[Activations]:
            for part in self._engine.activations(counted()):
                if keep_activation:
                    kept.append(part.onset)
                yield part

        found = list(self._onsets_of_parts(parts()))
        return Transcription(
            np.concatenate([one.time_s for one in found]),
            np.concatenate([one.lane for one in found]),
            np.concatenate([one.velocity for one in found]),
            np.concatenate([one.confidence for one in found]),
            duration_s=n_samples / self._features.sample_rate if duration_s is None else duration_s,
            activation=np.concatenate(kept) if keep_activation else None,
        )


def _cpu_engine(model: StoredModel, precision: "Precision") -> Engine:
    from drum_crnn.engine.session import CpuEngine  # ONNX Runtime, which a GPU does without

    return CpuEngine(model, precision=precision)


def _torch_engine(model: StoredModel, path: Path, device: str) -> Engine:
    from drum_crnn.model.device import choose_device  # PyTorch: two seconds to import
    from drum_crnn.model.inference import TorchEngine
    from drum_crnn.model.model_file import ModelFile

    return TorchEngine(ModelFile.of(model, source=path, device=choose_device(device)))


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
