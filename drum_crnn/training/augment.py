"""Augmentation of log-mel excerpts, in two steps.

`draw` samples the augmentation of one excerpt on the CPU. Each excerpt has its own random generator, so the result
depends neither on the rank nor on the worker. `apply` augments a batch on the training device. Frames are decibels. The
effects follow this order: time stretch, pitch shift, reverb, EQ tilt, gain, noise, masks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torchaudio.functional import convolve

from drum_crnn.foundation.params import Effect, ParamsSection, StrictModel
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["AugmentParams", "Augmenter", "Draw", "DrawBatch"]

_REVERB_FRAMES = 60  # length of the tail; at 100 frames per second, longer than the RT60 of a small room
_TILT_PIVOT_HZ = 1000.0


class Masks(StrictModel):
    """SpecAugment masks: a switch, their probability, their largest number and their largest width."""

    enabled: bool
    probability: float = Field(ge=0, le=1)
    max_count: int = Field(ge=1)
    max_width: int = Field(ge=1)


class AugmentParams(ParamsSection):
    """Section `augment`; each effect has its own switch."""

    section: ClassVar[str] = "augment"

    time_stretch: Effect
    pitch_shift: Effect
    reverb: Effect
    reverb_decay_s: tuple[float, float]
    eq_tilt: Effect
    gain: Effect
    noise: Effect
    band_masks: Masks
    frame_masks: Masks

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.time_stretch.range
        if not 0.5 <= low <= high <= 2.0:
            raise ValueError("time_stretch.range must lie within [0.5, 2]")
        if not 0 < self.reverb_decay_s[0] <= self.reverb_decay_s[1]:
            raise ValueError("reverb_decay_s must be [low, high], both positive")
        return self

    @property
    def max_stretch(self) -> float:
        """Most source frames that one frame of an excerpt can span."""
        return max(1.0, self.time_stretch.range[1]) if self.time_stretch.enabled else 1.0


@dataclass(frozen=True, slots=True)
class Draw:
    """The sampled augmentation of one excerpt.

    Attributes
    ----------
    stretch : float
        Source frames per frame: above 1 is faster. An onset at source time t moves to t / stretch.
    semitones, tilt_db, gain_db, reverb_db, reverb_s : float
        Transposition; EQ slope in dB per octave; gain; level and decay time (to -60 dB) of the reverb. Without reverb,
        `reverb_db` is -inf.
    noise_db : float array, shape (frames, n_mels)
        Level of the noise at each point; -inf for none.
    keep_frames, keep_bands : bool arrays, shapes (frames,) and (n_mels,)
        False where a mask lies.
    """

    stretch: float
    semitones: float
    tilt_db: float
    gain_db: float
    reverb_db: float
    reverb_s: float
    noise_db: NDArray[np.float32]
    keep_frames: NDArray[np.bool_]
    keep_bands: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DrawBatch:
    """The draws of a batch as tensors: the fields of `Draw`, with a batch axis in front."""

    stretch: Tensor
    semitones: Tensor
    tilt_db: Tensor
    gain_db: Tensor
    reverb_db: Tensor
    reverb_s: Tensor
    noise_db: Tensor
    keep_frames: Tensor
    keep_bands: Tensor

    @classmethod
    def collate(cls, draws: Sequence[Draw]) -> Self:
        """Stack the draws of a batch."""
        return cls(
            **{
                field.name: torch.from_numpy(
                    np.stack([np.asarray(getattr(draw, field.name)) for draw in draws]).astype(
                        np.bool_ if field.name.startswith("keep") else np.float32
                    )
                )
                for field in fields(cls)
            }
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to every tensor, such as a move to another device."""
        return type(self)(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


class Augmenter:
    """Draws and applies augmentations for excerpts of `n_frames` frames."""

    def __init__(self, params: AugmentParams, features: FeatureParams, *, n_frames: int) -> None:
        from librosa import mel_frequencies  # half a second to import

        self.params = params
        self.features = features
        self.n_frames = n_frames
        # Source frames that an excerpt may need: the position of its last frame, and its right neighbour.
        self.n_source_frames = int(np.ceil((n_frames - 1) * params.max_stretch)) + 2
        centres = mel_frequencies(n_mels=features.n_mels + 2, fmin=features.fmin, fmax=features.fmax)[1:-1]
        self._centres_hz = torch.from_numpy(centres.astype(np.float32))
        self._centres_on: dict[torch.device, Tensor] = {}

    def draw(self, rng: np.random.Generator) -> Draw:
        """Sample the augmentation of one excerpt.

        Every effect consumes its random numbers in a fixed order, whether it acts or not. So its switch does not change
        the other effects. Noise comes last, because it consumes many more numbers when it acts.
        """
        params = self.params
        reverb = self._amount(params.reverb, rng)
        reverb_s = rng.uniform(*params.reverb_decay_s)
        return Draw(  # fields in the order in which the numbers are drawn
            stretch=self._amount(params.time_stretch, rng, neutral=1.0),
            semitones=self._amount(params.pitch_shift, rng, neutral=0.0),
            tilt_db=self._amount(params.eq_tilt, rng, neutral=0.0),
            gain_db=self._amount(params.gain, rng, neutral=0.0),
            reverb_db=reverb,
            reverb_s=reverb_s,
            keep_frames=_keep(params.frame_masks, self.n_frames, rng),
            keep_bands=_keep(params.band_masks, self.features.n_mels, rng),
            noise_db=self._noise(rng),
        )

    @staticmethod
    def _amount(effect: Effect, rng: np.random.Generator, *, neutral: float = -np.inf) -> float:
        amount = effect.draw(rng)
        return neutral if amount is None else amount

    def _noise(self, rng: np.random.Generator) -> NDArray[np.float32]:
        level_db = self._amount(self.params.noise, rng)
        shape = (self.n_frames, self.features.n_mels)
        if not np.isfinite(level_db):
            return np.full(shape, -np.inf, np.float32)
        # The power of white noise in a narrow band is exponentially distributed. A wide mel band averages several bins,
        # here three. The tilt ranges from white noise to slightly beyond pink.
        power = rng.standard_gamma(3.0, size=shape, dtype=np.float32) / np.float32(3.0)
        tilt = rng.uniform(-4.0, 0.0) * np.log2(self._centres_hz.numpy() / _TILT_PIVOT_HZ)
        return (10.0 * np.log10(power + 1e-6) + level_db + tilt).astype(np.float32)  # type: ignore[no-any-return]

    def apply(self, frames: Tensor, draws: DrawBatch) -> Tensor:
        """Augment a batch.

        Parameters
        ----------
        frames : float tensor, shape (batch, n_source_frames, n_mels)
            Decibels. float64 stays float64; other dtypes become float32.

        Returns
        -------
        float tensor, shape (batch, n_frames, n_mels)
            Decibels, never below the floor of the features.
        """
        floor = self.features.floor_db
        frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
        draws = draws.map(lambda tensor: tensor.to(frames.dtype) if tensor.is_floating_point() else tensor)
        x = _resample(frames, self._stretched_positions(draws), dim=1)
        x = _resample(x, self._transposed_positions(draws), dim=2)
        x = _reverberate(x, draws, frame_rate=self.features.frame_rate)
        octaves = torch.log2(self._centres(x.device) / _TILT_PIVOT_HZ)
        x = x + draws.tilt_db[:, None, None] * octaves + draws.gain_db[:, None, None]
        x = _add_power(x, draws.noise_db)
        keep = draws.keep_frames[:, :, None] & draws.keep_bands[:, None, :]
        return torch.where(keep, x, floor).clamp_min(floor)

    def _centres(self, device: torch.device) -> Tensor:
        """The centres of the bands in Hz. A copy makes the CPU wait for a GPU, so each device gets only one."""
        if device not in self._centres_on:
            self._centres_on[device] = self._centres_hz.to(device)
        return self._centres_on[device]

    def _stretched_positions(self, draws: DrawBatch) -> Tensor:
        return torch.arange(self.n_frames, device=draws.stretch.device) * draws.stretch[:, None]

    def _transposed_positions(self, draws: DrawBatch) -> Tensor:
        """Fractional index of the source of each band: the band whose frequency is lower by the transposition."""
        centres = self._centres(draws.semitones.device)
        wanted = (centres / torch.exp2(draws.semitones[:, None] / 12.0)).clamp(centres[0], centres[-1])
        right = torch.searchsorted(centres, wanted).clamp(1, len(centres) - 1)
        low, high = centres[right - 1], centres[right]
        return right - 1 + (wanted - low) / (high - low)


def _keep(masks: Masks, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    keep = np.ones(size, np.bool_)
    acts = rng.random() < masks.probability
    for start, width in zip(rng.random(masks.max_count), rng.random(masks.max_count), strict=True):
        n = int(width * (min(masks.max_width, size) + 1))
        first = int(start * (size - n + 1))
        if masks.enabled and acts:
            keep[first : first + n] = False
    return keep


def _resample(x: Tensor, positions: Tensor, *, dim: int) -> Tensor:
    """Interpolate `x` (batch, frames, bands) linearly at fractional `positions` (batch, n) of axis `dim`."""
    left = positions.floor().long().clamp(0, x.shape[dim] - 2)
    weight = (positions - left).to(x.dtype)
    shape = (-1, left.shape[1], 1) if dim == 1 else (-1, 1, left.shape[1])
    index = left.view(shape).expand(-1, *((-1, x.shape[2]) if dim == 1 else (x.shape[1], -1)))
    return torch.lerp(x.gather(dim, index), x.gather(dim, index + 1), weight.view(shape))


def _power(db: Tensor) -> Tensor:
    return torch.exp2(db * (np.log2(10.0) / 10.0))


def _add_power(x: Tensor, y: Tensor) -> Tensor:
    """Decibels of the sum of two powers; a `y` of -inf leaves every bit of `x` as it is."""
    return torch.where(torch.isneginf(y), x, 10.0 * torch.log10(_power(x) + _power(y)))


def _reverberate(x: Tensor, draws: DrawBatch, *, frame_rate: float) -> Tensor:
    """Add an exponentially decaying tail of each band's power, as diffuse reverberation does on average.

    References
    ----------
    Polack, "La transmission de l'énergie sonore dans les salles", 1988 (exponential decay of the energy envelope).
    """
    # Only on a CPU: to read the numbers, a GPU would have to finish all its work first.
    if x.device.type == "cpu" and not torch.isfinite(draws.reverb_db).any():
        return x
    lag = torch.arange(_REVERB_FRAMES + 1, device=x.device)
    decay_db = 60.0 / (draws.reverb_s[:, None] * frame_rate) * lag
    kernel = _power(draws.reverb_db[:, None] - decay_db)  # (batch, lags)
    kernel[:, 0] = 1.0  # the direct sound
    power = _power(x).transpose(1, 2)  # (batch, bands, frames)
    # Direct convolution: the rounding errors of an FFT follow the loudest frame, and would drown the quiet ones.
    reverberated = convolve(power, kernel[:, None, :])[..., : x.shape[1]]
    # An excerpt without reverb keeps its bits, even if others in its batch have reverb.
    is_dry = torch.isneginf(draws.reverb_db)[:, None, None]
    return torch.where(is_dry, x, 10.0 * torch.log10(reverberated).transpose(1, 2))
