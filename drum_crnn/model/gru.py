"""A bidirectional GRU that is fast to train on a CPU.

PyTorch has fused kernels for `torch.nn.GRU` on GPUs only. On a CPU, it runs a few dozen small operations per frame and
direction, and spends much of its time on launching them. Here, both directions compute each step together. What does
not depend on the previous step is computed for all frames at once. The backward pass is written out. A step costs six
operations forward and four backward. Weights, their names and results are those of `torch.nn.GRU`, up to rounding.

References
----------
Cho et al., "Learning Phrase Representations using RNN Encoder–Decoder for Statistical Machine Translation", EMNLP 2014;
in the variant of cuDNN and PyTorch, which applies the reset gate after the matrix product.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.backends.cudnn.rnn import get_cudnn_mode

__all__ = ["BidirectionalGru"]


class BidirectionalGru(nn.GRU):
    """A bidirectional GRU over (batch, frames, features).

    On a CPU, this runs the fast version. On a GPU it calls cuDNN for one layer at a time, with dropout between them:
    cuDNN's own dropout makes the CPU wait for the GPU after each new seed, so in every step of a training.

    Its states are float32 even under autocast. In bfloat16 they drift, a training learns less, and cuDNN is slower
    (docs/performance.md).
    """

    def __init__(self, n_inputs: int, n_units: int, *, n_layers: int, dropout: float) -> None:
        super().__init__(
            n_inputs,
            n_units,
            num_layers=n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if n_layers > 1 else 0.0,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # states begin at zero
        """Return what `torch.nn.GRU` returns: outputs, shape (batch, frames, 2 · units), and the last states."""
        last = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            x, states = self._layer_on_cpu(x, layer) if x.device.type == "cpu" else self._layer(x, layer)
            last.append(states)
        return x, torch.cat(last)

    def _layer_on_cpu(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        stacked = (torch.stack(pair) for pair in zip(*self._weights_of(layer), strict=True))
        return _both_directions(x, *stacked)

    def _layer(self, x: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """One layer by PyTorch's operator, which calls cuDNN on a GPU."""
        forwards, backwards = self._weights_of(layer)
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            before = x.new_zeros(2, len(x), self.hidden_size)
            outputs, states = torch.gru(x, before, [*forwards, *backwards], True, 1, 0.0, self.training, True, True)
        return outputs, states

    def _weights_of(self, layer: int) -> tuple[list[Tensor], list[Tensor]]:
        """The weights of both directions of a layer, in PyTorch's order."""
        forwards, backwards = (
            [getattr(self, f"{name}_l{layer}{direction}") for name in _NAMES] for direction in ("", "_reverse")
        )
        return forwards, backwards

    def flatten_parameters(self) -> None:
        """Move the weights of each layer into one piece of memory, as cuDNN wants them in each call."""
        first = self.weight_ih_l0
        if not first.is_cuda or not torch.backends.cudnn.is_acceptable(first):
            return
        with torch.no_grad(), torch.cuda.device_of(first):
            for layer in range(self.num_layers):
                forwards, backwards = self._weights_of(layer)
                torch._cudnn_rnn_flatten_weight(
                    [*forwards, *backwards],
                    len(_NAMES),
                    forwards[0].shape[1],
                    get_cudnn_mode(self.mode),
                    self.hidden_size,
                    0,  # no projection
                    1,  # layer
                    True,  # batch first
                    True,  # bidirectional
                )


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _both_directions(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute one layer. `x` has shape (batch, frames, inputs); the first axis of the parameters is the direction.

    Returns outputs, shape (batch, frames, 2 · units), and last states, shape (2, batch, units).
    """
    x = x.transpose(0, 1)
    both = torch.stack([x, x.flip(0)])  # (2, frames, batch, inputs): the second direction begins at the end
    of_inputs = torch.baddbmm(bias_ih[:, None], both.flatten(1, 2), weight_ih.transpose(1, 2))
    states: Tensor = _Recurrence.apply(
        of_inputs.unflatten(1, both.shape[1:3]), weight_hh.transpose(1, 2), bias_hh[:, None]
    )
    return torch.cat([states[0], states[1].flip(0)], dim=-1).transpose(0, 1), states[:, -1]


class _Recurrence(torch.autograd.Function):
    """Computes the states of all steps, shape (2, steps, batch, units), starting from zero.

    The inputs have shape (2, steps, batch, 3 · units), the recurrent weights (2, units, 3 · units) and the biases
    (2, 1, 3 · units). The gates have PyTorch's order: reset r, update z, new n.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]  # torch has no types for it
    def forward(ctx: Any, of_inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        n_directions, n_steps, n_batch, n_gates = of_inputs.shape
        n_units = n_gates // 3
        weight, bias = weight.contiguous(), bias.expand(-1, n_batch, -1).contiguous()
        of_states = torch.empty_like(of_inputs)
        gates = of_inputs.new_empty(n_directions, n_steps, n_batch, 2 * n_units)
        new = of_inputs.new_empty(n_directions, n_steps, n_batch, n_units)
        states = of_inputs.new_zeros(n_directions, n_steps + 1, n_batch, n_units)  # the first: before any step
        each_step = zip(
            of_inputs[..., : 2 * n_units].unbind(1),
            of_inputs[..., 2 * n_units :].unbind(1),
            of_states.unbind(1),
            of_states[..., : 2 * n_units].unbind(1),
            of_states[..., 2 * n_units :].unbind(1),
            gates.unbind(1),
            gates[..., :n_units].unbind(1),
            gates[..., n_units:].unbind(1),
            new.unbind(1),
            states[:, :-1].unbind(1),
            states[:, 1:].unbind(1),
            strict=True,
        )
        for gates_in, new_in, of_state, of_state_gates, of_state_new, rz, r, z, n, state, next_state in each_step:
            torch.baddbmm(bias, state, weight, out=of_state)
            torch.add(gates_in, of_state_gates, out=rz).sigmoid_()
            torch.addcmul(new_in, r, of_state_new, out=n).tanh_()
            torch.lerp(n, state, z, out=next_state)
        ctx.save_for_backward(weight, of_states[..., 2 * n_units :], gates, new, states)
        return states[:, 1:]

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]  # torch has no types for it
    def backward(  # type: ignore[override]  # the decorators hide its signature
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        weight, of_state_new, gates, new, states = ctx.saved_tensors
        n_units = new.shape[-1]
        r, z = gates.split(n_units, dim=-1)
        before = states[:, :-1]
        # h' = z h + (1 - z) n and n = tanh(i + r s), where s is the state's part. These factors turn the gradient of h'
        # into the gradients of r and z before their sigmoids, and of s.
        factors = new.new_empty(*new.shape[:3], 3, n_units)
        by_new = (1.0 - new.square()).mul_(1.0 - z)
        torch.mul(by_new, r, out=factors[..., 2, :])
        torch.mul(factors[..., 2, :], of_state_new, out=factors[..., 0, :]).mul_(1.0 - r)
        torch.sub(before, new, out=factors[..., 1, :]).mul_(z).mul_(1.0 - z)
        of_states_grad = torch.empty_like(factors)
        states_grad = torch.empty_like(new)
        to_state = weight.transpose(1, 2).contiguous()
        carried = torch.zeros_like(new[:, 0])
        each_step = zip(
            grad.unbind(1),
            z.unbind(1),
            factors.unbind(1),
            of_states_grad.unbind(1),
            of_states_grad.flatten(-2).unbind(1),
            states_grad.unbind(1),
            states_grad.unsqueeze(-2).unbind(1),
            strict=True,
        )
        for grad_in, z_step, factor, gates_grad, of_state_grad, state_grad, wide_state_grad in reversed([*each_step]):
            torch.add(grad_in, carried, out=state_grad)
            torch.mul(wide_state_grad, factor, out=gates_grad)
            carried = torch.baddbmm(state_grad * z_step, of_state_grad, to_state)
        flat = of_states_grad.flatten(-2).flatten(1, 2)  # (2, steps · batch, 3 · units)
        weight_grad = torch.bmm(before.flatten(1, 2).transpose(1, 2), flat)
        bias_grad = flat.sum(dim=1, keepdim=True)
        of_inputs_grad = of_states_grad  # the same except for n, whose input is not multiplied by r
        torch.mul(states_grad, by_new, out=of_inputs_grad[..., 2, :])
        return of_inputs_grad.flatten(-2), weight_grad, bias_grad
