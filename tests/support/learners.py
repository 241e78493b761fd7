"""Learners of a small model, and batches for them, for tests of steps on one rank and on several."""

from typing import Any

import numpy as np
import torch
from builders import augmentation, small_features, small_model, train_params, untrained

from drum_crnn.music.quantisation import steps
from drum_crnn.training.augment import Augmenter
from drum_crnn.training.dataset import Batch
from drum_crnn.training.distributed import World
from drum_crnn.training.learner import Learner
from drum_crnn.training.loss import Targets
from drum_crnn.training.random_numbers import keys_of

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
    augmenter = learner.augmenter
    hit = rng.random((n, N_FRAMES)) < 0.1
    frames = np.full((n, augmenter.n_source_frames, augmenter.features.n_mels), -80.0, np.float32)
    frames[:, :N_FRAMES][hit] = -10.0
    onset = torch.from_numpy(np.repeat(hit[:, :, None], 8, axis=2).astype(np.float32))
    return Batch(
        torch.from_numpy(steps(frames, floor_db=augmenter.features.floor_db)),
        augmenter.draw(keys_of(np.arange(n))),
        Targets(onset, torch.ones_like(onset), 0.5 * onset, onset),
    )


def poison_gradient(learner: Learner) -> Any:
    return learner.model.head.weight.register_hook(lambda gradient: gradient * np.inf)
