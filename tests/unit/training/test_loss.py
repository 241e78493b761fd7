"""Loss sums against sums written out by hand, and that they add up."""

import math

import pytest
import torch
from torch import Tensor

from drum_crnn.music.lanes import N_LANES
from drum_crnn.training.loss import Targets, loss_sums


def drawn(n_items: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Targets]:
    generator = torch.Generator().manual_seed(seed)

    def rand() -> Tensor:
        return torch.rand((n_items, 11, N_LANES), generator=generator)

    onset_mask, velocity_mask = (rand() > 0.2).float(), (rand() > 0.7).float()
    return 6 * rand() - 3, 6 * rand() - 3, Targets(rand(), onset_mask, rand(), velocity_mask)


def test_sums_are_those_written_out() -> None:
    onset_logits, velocity_logits, targets = drawn(2)
    onset_sum = velocity_sum = 0.0
    for index in [(b, f, lane) for b in range(2) for f in range(11) for lane in range(N_LANES)]:
        p = 1 / (1 + math.exp(-onset_logits[index].item()))
        y = targets.onset[index].item()
        if targets.onset_mask[index] == 1:
            onset_sum -= y * math.log(p) + (1 - y) * math.log(1 - p)
        if targets.velocity_mask[index] == 1:
            v = 1 / (1 + math.exp(-velocity_logits[index].item()))
            velocity_sum += abs(v - targets.velocity[index].item())
    sums = loss_sums(onset_logits, velocity_logits, targets)
    assert sums[0].item() == pytest.approx(onset_sum, rel=1e-5)
    assert sums[1].item() == pytest.approx(velocity_sum, rel=1e-5)
    assert targets.counts().tolist() == [targets.onset_mask.sum().item(), targets.velocity_mask.sum().item()]
    assert targets.counts().dtype == torch.float64


@pytest.mark.parametrize("sizes", [[1, 5], [2, 2, 2], [6], [0, 6]])
def test_sums_and_counts_add_up_over_any_division_of_a_batch(sizes: list[int]) -> None:
    onset_logits, velocity_logits, targets = drawn(6)
    parts = []
    for onset, velocity, *columns in zip(
        *(
            tensor.split(sizes)
            for tensor in (
                onset_logits,
                velocity_logits,
                targets.onset,
                targets.onset_mask,
                targets.velocity,
                targets.velocity_mask,
            )
        ),
        strict=True,
    ):
        of_part = Targets(*columns)
        parts.append(torch.stack([*loss_sums(onset, velocity, of_part), *of_part.counts().float()]))
    whole = torch.stack([*loss_sums(onset_logits, velocity_logits, targets), *targets.counts().float()])
    torch.testing.assert_close(sum(parts), whole)


def test_what_is_masked_gives_neither_loss_nor_gradient() -> None:
    onset_logits, velocity_logits, targets = drawn(2)
    onset_logits.requires_grad_()
    velocity_logits.requires_grad_()
    sum(loss_sums(onset_logits, velocity_logits, targets), start=torch.zeros(())).backward()
    assert onset_logits.grad is not None
    assert velocity_logits.grad is not None
    assert torch.equal(onset_logits.grad != 0, targets.onset_mask == 1)
    assert torch.equal(velocity_logits.grad != 0, targets.velocity_mask == 1)
    torch.testing.assert_close(
        onset_logits.grad, (onset_logits.detach().sigmoid() - targets.onset) * targets.onset_mask
    )


def test_sure_and_wrong_is_dear_but_finite() -> None:
    ones = torch.ones((1, 1, N_LANES))
    onset_sum, _ = loss_sums(-1000 * ones, ones, Targets(ones, ones, ones, ones))
    assert onset_sum.item() == pytest.approx(1000.0 * N_LANES)
