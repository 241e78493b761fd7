"""Excerpts for training: their selection, their order and their targets.

An epoch is a list of excerpts that depends on (seed, epoch) alone. A global step uses the next `batch_size` of them,
and each rank computes its share of the step. The augmentation of an excerpt depends on (seed, epoch, place in the
epoch). So neither the ranks, nor their shares, nor the workers change the training data.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from drum_crnn.data.feature_store import FeatureStore
from drum_crnn.data.labels import Labels
from drum_crnn.training.augment import Augmenter, Draws
from drum_crnn.training.loss import Targets
from drum_crnn.training.random_numbers import keys_of
from drum_crnn.training.targets import Place, frame_targets

__all__ = [
    "Batch",
    "Epoch",
    "Excerpt",
    "ExcerptDataset",
    "ExcerptKey",
    "ExcerptPlan",
    "ShareSampler",
    "share_bounds",
]

FloatArray = NDArray[np.float32]

# First words of the seeds, which make the random streams independent.
_ORDER_STREAM, _AUGMENT_STREAM = 1, 2


class Excerpt(NamedTuple):
    """An excerpt of a recording. It may start before the recording (`start` < 0) or end after it, in silence."""

    recording: str
    start: int


class ExcerptKey(NamedTuple):
    """The place of an excerpt in an epoch. `counts` is false for one that only keeps a rank without a share busy."""

    epoch: int
    place: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Epoch:
    """The excerpts of an epoch in their order, as arrays: E-GMD has half a million of them.

    Attributes
    ----------
    recordings : tuple of str
        Names of all recordings.
    index : int array, shape (n_excerpts,)
        Which of them each excerpt is from.
    start : int array, shape (n_excerpts,)
        Its first frame.
    """

    recordings: tuple[str, ...]
    index: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: int) -> Excerpt:
        return Excerpt(self.recordings[self.index[place]], int(self.start[place]))


@dataclass(frozen=True)
class ExcerptPlan:
    """Cuts the recordings into the excerpts of each epoch.

    Consecutive excerpts cover a recording, from a start that differs between epochs. All excerpts are then shuffled.
    `per_epoch` limits their number. With `weights`, an epoch has as many excerpts of each recording as its weight says,
    evenly spread over it; a recording that needs more than cover it is cut again, from another start.

    Attributes
    ----------
    weights : float array, shape (n_recordings,), optional
        Shares of all excerpts, which add up to 1; None: by length.
    """

    recordings: tuple[str, ...]
    n_frames: NDArray[np.int64]
    excerpt_frames: int
    seed: int
    per_epoch: int | None
    weights: NDArray[np.float64] | None = None

    def epoch(self, epoch: int) -> Epoch:
        """The excerpts of an epoch."""
        rng = np.random.default_rng([_ORDER_STREAM, self.seed, epoch])
        n_cuts = self._n_cuts
        counts = n_cuts if self.weights is None else _counts(self.weights, self.n_excerpts(), rng.random())
        recording = np.repeat(np.arange(len(counts)), counts)
        number = np.arange(len(recording)) - np.repeat(np.cumsum(counts) - counts, counts)
        cuts = n_cuts[recording]
        # Each time that a recording is cut, the excerpts are longer than it by `spare` frames, which its ends share.
        n_rounds = -(-counts // n_cuts)
        round_of = (np.cumsum(n_rounds) - n_rounds)[recording] + number // cuts
        spare = n_cuts * self.excerpt_frames - self.n_frames
        first = -np.floor(rng.random(int(n_rounds.sum()))[round_of] * (spare[recording] + 1)).astype(np.int64)
        # In the last round, fewer excerpts than cover the recording may be needed: they are spread over it.
        needed = np.minimum(cuts, counts[recording] - number // cuts * cuts)
        phase = rng.random(len(counts))[recording]
        cut = np.where(needed < cuts, ((number % cuts + phase) * cuts / needed).astype(np.int64), number % cuts)
        order = rng.permutation(len(recording))[: self.n_excerpts()]
        start = first + cut * self.excerpt_frames
        return Epoch(self.recordings, recording[order], start[order])

    @functools.cached_property
    def _n_cuts(self) -> NDArray[np.int64]:
        """Number of excerpts that cover each recording."""
        return np.maximum(1, -(-self.n_frames // self.excerpt_frames))

    def n_excerpts(self) -> int:
        """Number of excerpts in an epoch."""
        return self._n_excerpts

    @functools.cached_property
    def _n_excerpts(self) -> int:
        total = int(self._n_cuts.sum())
        return total if self.per_epoch is None else min(total, self.per_epoch)

    def n_steps(self, batch_size: int) -> int:
        """Number of steps in an epoch; the last batch may be smaller."""
        return -(-self.n_excerpts() // batch_size)


def _counts(weights: NDArray[np.float64], n: int, phase: float) -> NDArray[np.int64]:
    """Divide `n` by weights that add up to 1: each count is its part rounded up or down, and on average equal to it.

    References
    ----------
    Madow, "On the theory of systematic sampling, II", 1949.
    """
    bounds = np.cumsum(weights) * n
    bounds[-1] = n
    whole = np.floor(bounds + phase).astype(np.int64)
    return np.asarray(whole - np.concatenate([[0], whole[:-1]]), np.int64)


def share_bounds(weights: Sequence[int], n: int) -> NDArray[np.int64]:
    """Where each rank's share of a step of `n` excerpts begins, and where the last one ends: shape (ranks + 1,)."""
    cumulated = np.concatenate([[0], np.cumsum(weights)])
    bounds: NDArray[np.int64] = cumulated * n // cumulated[-1]
    return bounds


class ShareSampler(Sampler[list[ExcerptKey]]):
    """The keys of this rank's share of every step of one epoch.

    Parameters
    ----------
    shares : sequence of int
        How the ranks divide a batch, as weights: [1, 2] gives rank 1 two thirds.
    """

    def __init__(self, plan: ExcerptPlan, *, batch_size: int, rank: int, shares: Sequence[int]) -> None:
        self.plan = plan
        self.batch_size = batch_size
        self.rank = rank
        self.shares = shares
        self.epoch = 0
        self.first_step = 0

    def __iter__(self) -> Iterator[list[ExcerptKey]]:
        for step in range(self.first_step, len(self) + self.first_step):
            start, size = step * self.batch_size, self.n_excerpts_of(step)
            bounds = share_bounds(self.shares, size)
            mine = range(start + int(bounds[self.rank]), start + int(bounds[self.rank + 1]))
            # DistributedDataParallel needs a backward pass on every rank. So a rank without a share gets an excerpt
            # that does not count.
            yield [ExcerptKey(self.epoch, place) for place in mine] or [ExcerptKey(self.epoch, start, counts=False)]

    def __len__(self) -> int:
        return self.plan.n_steps(self.batch_size) - self.first_step

    def n_excerpts_of(self, step: int) -> int:
        """Number of excerpts in a step, over all ranks; the last step of an epoch may have fewer."""
        return min(self.batch_size, self.plan.n_excerpts() - step * self.batch_size)

    def recordings_of(self, step: int) -> list[str]:
        """Names of the recordings in a step of the current epoch, over all ranks, without repetition."""
        epoch, first = self.plan.epoch(self.epoch), step * self.batch_size
        return sorted({epoch[first + place].recording for place in range(self.n_excerpts_of(step))})


@dataclass(frozen=True, slots=True)
class Batch:
    """What a rank trains on in one step.

    Attributes
    ----------
    frames : Tensor
        Source frames in steps above the floor, uint8, shape (batch, source frames, n_mels); see `Augmenter.apply`.
    draws : Draws
    targets : Targets
    """

    frames: Tensor
    draws: Draws
    targets: Targets

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device) -> Self:
        """Copy the batch to another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Copy the batch to page-locked memory, which a GPU reads without the CPU; the loader calls this."""
        return self._map(Tensor.pin_memory)

    def select(self, indices: Sequence[int]) -> Self:
        """Select excerpts by index; an index may occur more than once."""
        index = torch.as_tensor(indices)
        return self._map(lambda tensor: tensor[index])

    def split(self, size: int) -> list[Self]:
        """Cut into parts of at most `size` excerpts, without copying: what is pinned stays pinned."""
        return [self._map(operator.itemgetter(slice(start, start + size))) for start in range(0, len(self), size)]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        targets = Targets(*(change(getattr(self.targets, field.name)) for field in fields(Targets)))
        return type(self)(change(self.frames), self.draws.map(change), targets)


class ExcerptDataset(Dataset[Batch]):
    """Makes batches of excerpts from their keys: frames, the draws of their augmentation, and the targets that result.

    All of a batch is made at once, since a fast GPU takes an excerpt in a tenth of a millisecond.
    """

    def __init__(
        self,
        store: FeatureStore,
        labels: Labels,
        plan: ExcerptPlan,
        augmenter: Augmenter,
        *,
        widening: Sequence[float],
        between_frames: bool,
    ) -> None:
        self.store = store
        self.labels = labels
        self.plan = plan
        self.augmenter = augmenter
        self.widening = tuple(widening)
        self.between_frames = between_frames
        self._epoch: tuple[int, Epoch] | None = None

    def batch(self, keys: Sequence[ExcerptKey]) -> Batch:
        """The batch of these excerpts.

        Raises
        ------
        DrumCrnnError
            If a recording has no features or no labels, or its shard is damaged.
        """
        n_frames, frame_rate = self.augmenter.n_frames, self.store.params.frame_rate
        excerpts = [self._excerpts(key.epoch)[key.place] for key in keys]
        epochs, places = (np.array(column, np.int64) for column in zip(*(key[:2] for key in keys), strict=True))
        draws = self.augmenter.draw(keys_of(_AUGMENT_STREAM, self.plan.seed, epochs, places))
        stretch = draws.stretch.numpy().astype(np.float64)
        targets = frame_targets(
            [
                Place(self.labels.onsets(excerpt.recording), self.labels.ignored(excerpt.recording), start_s, factor)
                for excerpt, start_s, factor in zip(
                    excerpts, (excerpt.start / frame_rate for excerpt in excerpts), stretch, strict=True
                )
            ],
            n_frames=n_frames,
            frame_rate=frame_rate,
            widening=self.widening,
            between_frames=self.between_frames,
        )
        # The loss ignores frames beyond the ends of the recording, and frames that a mask hides.
        start = np.array([excerpt.start for excerpt in excerpts])[:, None]
        end = np.array([self.store.n_frames(excerpt.recording) for excerpt in excerpts])[:, None]
        source = start + np.arange(n_frames) * stretch[:, None]
        counts = np.array([key.counts for key in keys])[:, None]
        is_counted = (source >= 0) & (source < end) & draws.keep_frames.numpy() & counts
        counted = {
            name: getattr(targets, name) * is_counted[:, :, None].astype(np.float32)
            for name in ("onset_mask", "velocity_mask")
        }
        arrays = replace(targets, **counted)
        tensors = Targets(*(torch.from_numpy(getattr(arrays, field.name)) for field in fields(Targets)))
        return Batch(torch.from_numpy(self._read(excerpts)), draws, tensors)

    def __getitem__(self, keys: Sequence[ExcerptKey]) -> Batch:
        return self.batch(keys)

    def _excerpts(self, epoch: int) -> Epoch:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.plan.epoch(epoch))
        return self._epoch[1]

    def _read(self, excerpts: Sequence[Excerpt]) -> NDArray[np.uint8]:
        """Source frames, with silence beyond the ends of a recording."""
        n_source = self.augmenter.n_source_frames
        frames = np.zeros((len(excerpts), n_source, self.store.params.n_mels), np.uint8)
        for into, excerpt in zip(frames, excerpts, strict=True):
            first = max(0, excerpt.start)
            read = self.store.read_steps(excerpt.recording, first, excerpt.start + n_source)
            into[first - excerpt.start : first - excerpt.start + len(read)] = read
        return frames
