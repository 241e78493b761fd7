"""Learners of a small model, and batches for them, for tests of steps on one rank and on several."""

from typing import Any

import numpy as np
import torch
from builders import augmentation, small_features, small_model, train_params, untrained

from drum_crnn.training.augment import Augmenter
from drum_crnn.training.dataset import Batch, ExcerptDataset
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import Learner
from drum_crnn.training.targets import TargetArrays

CPU = torch.device("cpu")
N_FRAMES = 60


def make_learner(world: World, *, dropout: float = 0.0, **changes: Any) -> Learner:
    features = small_features()
    augmenter = Augmenter(augmentation(), features, n_frames=N_FRAMES)
    changes = {"learning_rate": 0.01, "excerpt_frames": N_FRAMES} | changes
    return Learner.build(world, train_params(**changes), augmenter, untrained(small_model(dropout=dropout)))


def make_share(learner: Learner, *, n: int = 6, seed: int = 0) -> Batch:
    """Excerpts whose loud frames are the onsets of every lane."""
    rng = np.random.default_rng(seed)
    n_mels = learner.augmenter.features.n_mels
    items = []
    for number in range(n):
        hit = rng.random(N_FRAMES) < 0.1
        frames = np.full((learner.augmenter.n_source_frames, n_mels), -80.0, np.float16)
        frames[:N_FRAMES][hit] = -10.0
        onset = np.repeat(hit[:, None], 8, axis=1).astype(np.float32)
        targets = TargetArrays(onset, np.ones_like(onset), 0.5 * onset, onset)
        items.append((frames, learner.augmenter.draw(np.random.default_rng(number)), targets))
    return ExcerptDataset.collate(items)


def poison_gradient(learner: Learner) -> Any:
    return learner.model.head.weight.register_hook(lambda gradient: gradient * np.inf)
