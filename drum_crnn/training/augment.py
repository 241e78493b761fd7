"""Augmentation of log-mel excerpts, in two steps.

`draw` samples the augmentation of all excerpts of a batch, on the CPU. `apply` augments the batch on the training
device, where the noise is drawn too, since it is most of the random numbers. All numbers of an excerpt follow from its
key, so they depend neither on the rank, nor on the worker, nor on the batch. The effects follow this order: time
stretch, pitch shift, reverb, EQ tilt, gain, noise, masks.
"""

from collections.abc import Callable
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
from drum_crnn.music.quantisation import decibels
from drum_crnn.training.random_numbers import uniform, uniform_triples

__all__ = ["AugmentParams", "Augmenter", "Draws"]

_REVERB_FRAMES = 60  # length of the tail; at 100 frames per second, longer than the RT60 of a small room
_TILT_PIVOT_HZ = 1000.0
_NOISE_TILT_DB = (-4.0, 0.0)  # an octave: from slightly beyond pink noise to white noise
# Each effect has random numbers of its own, so that its switch does not change the other effects. These are the places
# of its first ones; those of the noise, one for each point of the excerpt, come last.
_NUMBERS = {
    "time_stretch": 0,
    "pitch_shift": 2,
    "reverb": 4,
    "reverb_decay": 6,
    "eq_tilt": 8,
    "gain": 10,
    "noise": 12,
    "noise_tilt": 14,
    "frame_masks": 100,
    "band_masks": 300,
    "noise_points": 1000,
}
_MOST_MASKS = 90


class Masks(StrictModel):
    """SpecAugment masks: a switch, their probability, their largest number and their largest width."""

    enabled: bool
    probability: float = Field(ge=0, le=1)
    max_count: int = Field(ge=1, le=_MOST_MASKS)
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
class Draws:
    """The sampled augmentations of a batch of excerpts.

    Attributes
    ----------
    stretch : float tensor, shape (batch,)
        Source frames per frame: above 1 is faster. An onset at source time t moves to t / stretch.
    semitones, tilt_db, gain_db, reverb_db, reverb_s : float tensors, shape (batch,)
        Transposition; EQ slope in dB per octave; gain; level and decay time (to -60 dB) of the reverb. Without reverb,
        `reverb_db` is -inf.
    noise_db, noise_tilt_db : float tensors, shape (batch,)
        Level of the noise at 1 kHz, and its slope in dB per octave; without noise, the level is -inf.
    noise_key : int64 tensor, shape (batch,)
        From which the noise at each point follows.
    keep_frames, keep_bands : bool tensors, shapes (batch, frames) and (batch, n_mels)
        False where a mask lies.
    """

    stretch: Tensor
    semitones: Tensor
    tilt_db: Tensor
    gain_db: Tensor
    reverb_db: Tensor
    reverb_s: Tensor
    noise_db: Tensor
    noise_tilt_db: Tensor
    noise_key: Tensor
    keep_frames: Tensor
    keep_bands: Tensor

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

    def draw(self, keys: NDArray[np.uint64]) -> Draws:
        """Sample the augmentations of the excerpts that have these keys, shape (batch,)."""
        params = self.params
        drawn = {
            "stretch": _amounts(params.time_stretch, keys, "time_stretch", neutral=1.0),
            "semitones": _amounts(params.pitch_shift, keys, "pitch_shift", neutral=0.0),
            "tilt_db": _amounts(params.eq_tilt, keys, "eq_tilt", neutral=0.0),
            "gain_db": _amounts(params.gain, keys, "gain", neutral=0.0),
            "reverb_db": _amounts(params.reverb, keys, "reverb", neutral=-np.inf),
            "reverb_s": _between(params.reverb_decay_s, uniform(keys, _NUMBERS["reverb_decay"])),
            "noise_db": _amounts(params.noise, keys, "noise", neutral=-np.inf),
            "noise_tilt_db": _between(_NOISE_TILT_DB, uniform(keys, _NUMBERS["noise_tilt"])),
            "noise_key": keys.view(np.int64),
            "keep_frames": _keep(params.frame_masks, self.n_frames, keys, "frame_masks"),
            "keep_bands": _keep(params.band_masks, self.features.n_mels, keys, "band_masks"),
        }
        tensors = {name: torch.from_numpy(values) for name, values in drawn.items()}
        return Draws(**{name: x.float() if x.is_floating_point() else x for name, x in tensors.items()})

    def apply(self, frames: Tensor, draws: Draws, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Augment a batch.

        Parameters
        ----------
        frames : uint8 or float tensor, shape (batch, n_source_frames, n_mels)
            Steps above the floor, as the feature store has them, or decibels.
        dtype : torch.dtype
            Of the computation, and of the result.

        Returns
        -------
        float tensor, shape (batch, n_frames, n_mels)
            Decibels, never below the floor of the features.
        """
        floor = self.features.floor_db
        is_quantised = frames.dtype == torch.uint8
        frames = decibels(frames.to(dtype), floor_db=floor) if is_quantised else frames.to(dtype)
        draws = draws.map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        x = _resample(frames, self._stretched_positions(draws), dim=1)
        x = _resample(x, self._transposed_positions(draws), dim=2)
        x = _reverberate(x, draws, frame_rate=self.features.frame_rate)
        octaves = torch.log2(self._centres(x.device) / _TILT_PIVOT_HZ)
        x = x + draws.tilt_db[:, None, None] * octaves + draws.gain_db[:, None, None]
        x = self._add_noise(x, draws)
        keep = draws.keep_frames[:, :, None] & draws.keep_bands[:, None, :]
        return torch.where(keep, x, floor).clamp_min(floor)

    def noise_db(self, draws: Draws) -> Tensor:
        """The noise at each point: float tensor, shape (batch, n_frames, n_mels).

        The power of white noise in a narrow band is exponentially distributed. A wide mel band averages several bins,
        here three.
        """
        octaves = torch.log2(self._centres(draws.noise_db.device) / _TILT_PIVOT_HZ).to(draws.noise_db.dtype)
        shape = (len(draws.noise_db), self.n_frames, self.features.n_mels)
        first, second, third = uniform_triples(
            draws.noise_key, _NUMBERS["noise_points"], n=self.n_frames * self.features.n_mels
        )
        power = -torch.log(first * second * third).view(shape).to(octaves.dtype) / 3.0
        return 10.0 * torch.log10(power) + draws.noise_db[:, None, None] + draws.noise_tilt_db[:, None, None] * octaves

    def _add_noise(self, x: Tensor, draws: Draws) -> Tensor:
        if x.device.type != "cpu":
            return _add_power(x, self.noise_db(draws))
        # A CPU draws only what is needed. On a GPU, to know it would mean to wait for all earlier work.
        noisy = torch.isfinite(draws.noise_db).nonzero()[:, 0]
        if len(noisy):
            x[noisy] = _add_power(x[noisy], self.noise_db(draws.map(lambda tensor: tensor[noisy])))
        return x

    def _centres(self, device: torch.device) -> Tensor:
        """The centres of the bands in Hz. A copy makes the CPU wait for a GPU, so each device gets only one."""
        if device not in self._centres_on:
            self._centres_on[device] = self._centres_hz.to(device)
        return self._centres_on[device]

    def _stretched_positions(self, draws: Draws) -> Tensor:
        return torch.arange(self.n_frames, device=draws.stretch.device) * draws.stretch[:, None]

    def _transposed_positions(self, draws: Draws) -> Tensor:
        """Fractional index of the source of each band: the band whose frequency is lower by the transposition."""
        centres = self._centres(draws.semitones.device)
        wanted = (centres / torch.exp2(draws.semitones[:, None] / 12.0)).clamp(centres[0], centres[-1])
        right = torch.searchsorted(centres, wanted).clamp(1, len(centres) - 1)
        low, high = centres[right - 1], centres[right]
        return right - 1 + (wanted - low) / (high - low)


def _between(limits: tuple[float, float], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = limits
    return low + (high - low) * numbers


def _amounts(effect: Effect, keys: NDArray[np.uint64], name: str, *, neutral: float) -> NDArray[np.float64]:
    """The amount of an effect for each key, or `neutral` where it does not act."""
    acts = uniform(keys, _NUMBERS[name]) < effect.probability
    amounts = _between(effect.range, uniform(keys, _NUMBERS[name] + 1))
    return np.where(effect.enabled & acts, amounts, neutral)


def _keep(masks: Masks, size: int, keys: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    """Which of `size` frames or bands the masks of each key leave: shape (batch, size)."""
    first_number = _NUMBERS[name]
    acts = masks.enabled & (uniform(keys, first_number) < masks.probability)
    keep = np.ones((len(keys), size), np.bool_)
    for number in range(masks.max_count):
        place, width = (uniform(keys, first_number + 1 + 2 * number + i) for i in range(2))
        n = (width * (min(masks.max_width, size) + 1)).astype(np.int64)
        first = (place * (size - n + 1)).astype(np.int64)
        at = np.arange(size) - first[:, None]
        keep &= ~((at >= 0) & (at < n[:, None]) & acts[:, None])
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


def _reverberate(x: Tensor, draws: Draws, *, frame_rate: float) -> Tensor:
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
