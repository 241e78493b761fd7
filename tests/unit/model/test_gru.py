"""The fast GRU against PyTorch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drum_crnn.model.gru import BidirectionalGru


def both(n_inputs, n_units, n_layers=1, dtype=torch.float64):
    """Ours and PyTorch's, with the same weights."""
    torch.manual_seed(n_inputs + n_units)
    ours = BidirectionalGru(n_inputs, n_units, n_layers=n_layers, dropout=0.0).to(dtype)
    theirs = nn.GRU(n_inputs, n_units, n_layers, batch_first=True, bidirectional=True).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@given(
    n_batch=st.integers(1, 4),
    n_steps=st.integers(1, 9),
    n_inputs=st.integers(1, 6),
    n_units=st.integers(1, 6),
    n_layers=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_results_and_gradients_are_those_of_torch(n_batch, n_steps, n_inputs, n_units, n_layers, seed):
    ours, theirs = both(n_inputs, n_units, n_layers)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_batch, n_steps, n_inputs, dtype=torch.float64, generator=generator)
    weights = torch.randn(n_batch, n_steps, 2 * n_units, dtype=torch.float64, generator=generator)
    found = []
    for gru in (ours, theirs):
        of_input = x.clone().requires_grad_()
        output, last = gru(of_input)
        ((output * weights).sum() + last.square().sum()).backward()
        found.append([output, last, of_input.grad, *(parameter.grad for parameter in gru.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    ours, _ = both(3, 2)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ours(x)[0], (x,))


def test_in_float32_and_without_gradients():
    ours, theirs = both(5, 8, 2, torch.float32)
    x = torch.randn(3, 50, 5)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)


def test_under_autocast_states_stay_wide():
    """bfloat16 has 8 bits: over hundreds of steps, a state kept in it would drift."""
    ours, theirs = both(5, 8, 1, torch.float32)
    x = torch.randn(3, 200, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = ours(x)
        output.sum().backward()
    expected, _ = theirs(x)
    expected.sum().backward()
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, rtol=0, atol=0.02)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one.grad - other.grad).norm() < 0.02 * other.grad.norm()


def test_second_derivatives_are_refused():
    ours, _ = both(3, 2)
    x = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ours(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("n_layers", [1, 3])
def test_the_layers_of_a_gpu_compute_the_same(monkeypatch, n_layers):
    ours, theirs = both(5, 4, n_layers)
    monkeypatch.setattr(BidirectionalGru, "_layer_on_cpu", BidirectionalGru._layer)
    x = torch.randn(3, 20, 5, dtype=torch.float64)
    for one, other in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_on_a_gpu_each_layer_computes_in_float32_without_dropout_of_its_own(monkeypatch):
    """cuDNN's dropout makes the CPU wait for the GPU after a new seed."""
    asked = []

    def gru(x, before, weights, has_biases, n_layers, dropout, training, is_bidirectional, is_batch_first):
        asked.append((x.dtype, n_layers, dropout, training))
        return x.new_empty(*x.shape[:2], 2 * before.shape[-1]), before

    monkeypatch.setattr(torch, "gru", gru)
    monkeypatch.setattr(BidirectionalGru, "_layer_on_cpu", BidirectionalGru._layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, last = BidirectionalGru(3, 2, n_layers=3, dropout=0.5)(torch.zeros(1, 4, 3, dtype=torch.bfloat16))
    assert asked == 3 * [(torch.float32, 1, 0.0, True)]
    assert (output.shape, output.dtype, last.shape) == ((1, 4, 4), torch.float32, (6, 1, 2))


def test_dropout_is_between_layers_and_in_training_alone():
    torch.manual_seed(0)
    gru = BidirectionalGru(4, 4, n_layers=2, dropout=0.5)
    x = torch.randn(1, 6, 4)
    one, other = gru(x)[0], gru(x)[0]
    assert not torch.equal(one, other)
    gru.eval()
    assert torch.equal(gru(x)[0], gru(x)[0])
    single = BidirectionalGru(4, 4, n_layers=1, dropout=0.5)
    assert torch.equal(single(x)[0], single(x)[0])
