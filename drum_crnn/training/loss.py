"""Masked losses as sums and counts, which add up over micro-batches and ranks. Means are computed last."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from torch import Tensor

__all__ = ["Targets", "loss_sums"]


@dataclass(frozen=True, slots=True)
class Targets:
    """What the model should predict for a batch; all shapes (batch, frames, lanes).

    Attributes
    ----------
    onset : Tensor
        In [0, 1]: 1 at the frame of an onset, less in the frames beside it.
    onset_mask : Tensor
        1 where the onset loss counts, 0 in ignore windows and padding.
    velocity : Tensor
        Fraction of 127; meaningful where `velocity_mask` is not 0.
    velocity_mask : Tensor
        1 at the frames of an onset that is not ignored.
    """

    onset: Tensor
    onset_mask: Tensor
    velocity: Tensor
    velocity_mask: Tensor

    def counts(self) -> Tensor:
        """Points that count for the onset and the velocity loss: float64, shape (2,)."""
        return torch.stack([self.onset_mask.sum(dtype=torch.float64), self.velocity_mask.sum(dtype=torch.float64)])


def loss_sums(onset_logits: Tensor, velocity_logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Sum of the masked binary cross-entropy of onsets, and of the masked absolute error of velocities.

    Parameters
    ----------
    onset_logits, velocity_logits : float tensors, shape (batch, frames, lanes)

    Returns
    -------
    onset_sum, velocity_sum : scalar tensors
        Divide by the global `Targets.counts` for means.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(onset_logits, targets.onset, reduction="none")
    # Absolute, like the reported error. The median minimises it, and hits of other kits move it less than the mean.
    absolute_error = (velocity_logits.sigmoid() - targets.velocity).abs()
    return (cross_entropy * targets.onset_mask).sum(), (absolute_error * targets.velocity_mask).sum()
