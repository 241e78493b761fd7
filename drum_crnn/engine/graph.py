"""The network of `drum_crnn.model.crnn` as ONNX graphs, with the weights of a model file.

In float32, every operator computes what the module of the same name does, so activations differ by rounding alone
(about 1e-6).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drum_crnn.engine.convolutions import Precision, add_convolutions
from drum_crnn.engine.nodes import Nodes
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.stored_model import StoredModel
from drum_crnn.music.lanes import N_LANES

__all__ = ["INPUT", "convolution_graph", "misfit_error", "network_graph", "recurrent_graph"]

INPUT = "frames"
_PROJECTION = "projection"
_OUTPUTS = ("onset", "velocity")
_ABOUT_KEY = "drum_crnn"  # the model's settings as JSON: features, windows, peak picking, thresholds

Weights = Mapping[str, NDArray[Any]]


def network_graph(stored: StoredModel, *, precision: Precision = "float32") -> bytes:
    """The whole network, as the bytes of an ONNX file. In eight bits, it has operators that only ONNX Runtime knows.

    Its metadata hold the model's settings under the key `drum_crnn`, as JSON.

    Input `frames`: float32, shape (windows, frames, n_mels), decibels. Outputs `onset`, probabilities in [0, 1], and
    `velocity`, 0 to 127: float32, shape (windows, frames, lanes), as in `drum_crnn.model.activations.Activations`.

    Raises
    ------
    DrumCrnnError
        If the weights do not fit the model's description.
    """

    def add(nodes: Nodes) -> None:
        _add_recurrence(nodes, add_convolutions(nodes, INPUT, stored, precision=precision), stored)

    return _content(
        add,
        inputs={INPUT: stored.features.n_mels},
        outputs=dict.fromkeys(_OUTPUTS, N_LANES),
        metadata={_ABOUT_KEY: json.dumps(stored.about(), sort_keys=True)},
    )


def convolution_graph(stored: StoredModel, *, precision: Precision) -> bytes:
    """The layers before the GRU: from input `frames` to output `projection`, (windows, frames, projection)."""

    def add(nodes: Nodes) -> None:
        nodes.add("Identity", add_convolutions(nodes, INPUT, stored, precision=precision), output=_PROJECTION)

    return _content(
        add, inputs={INPUT: stored.features.n_mels}, outputs={_PROJECTION: stored.params.projection}, metadata={}
    )


def recurrent_graph(stored: StoredModel) -> bytes:
    """The GRU and what follows: from input `frames`, (windows, frames, projection), to `onset` and `velocity`."""
    return _content(
        lambda nodes: _add_recurrence(nodes, INPUT, stored),
        inputs={INPUT: stored.params.projection},
        outputs=dict.fromkeys(_OUTPUTS, N_LANES),
        metadata={},
    )


def misfit_error(why: object) -> DrumCrnnError:
    """The error of a model whose weights have other shapes than its description says."""
    first_line, _, _ = str(why).partition("\n")
    return DrumCrnnError(f"the model's weights do not fit its description ({first_line}); export it again")


def _content(
    add: Callable[[Nodes], None], *, inputs: Mapping[str, int], outputs: Mapping[str, int], metadata: Mapping[str, str]
) -> bytes:
    """What `add` adds, with the last axis of its inputs and outputs; the others are windows and frames."""
    nodes = Nodes()
    try:
        add(nodes)
    except KeyError as error:
        raise DrumCrnnError(f"the model's weights do not fit its description: {error} is missing") from None
    except (ValueError, IndexError) as error:
        raise misfit_error(error) from None
    axes = [{name: ("windows", "frames", size) for name, size in arrays.items()} for arrays in (inputs, outputs)]
    return nodes.content(*axes, metadata=metadata)


def _add_recurrence(nodes: Nodes, x: str, stored: StoredModel) -> None:
    params, weights = stored.params, stored.weights
    x = nodes.add("Transpose", x, perm=[1, 0, 2])  # (frames, windows, projection)
    for layer in range(params.gru_layers):
        x = _gru(nodes, x, weights, layer, n_units=params.gru_units)
    x = nodes.add("Transpose", x, perm=[1, 0, 2])
    product = nodes.add("MatMul", x, nodes.constant(weights["head.weight"].T))
    x = nodes.add("Sigmoid", nodes.add("Add", product, nodes.constant(weights["head.bias"])))
    onset, velocity = (nodes.part(x, first, first + N_LANES, axis=2) for first in (0, N_LANES))
    nodes.add("Identity", onset, output=_OUTPUTS[0])
    nodes.add("Mul", velocity, nodes.constant(127.0), output=_OUTPUTS[1])


def _gru(nodes: Nodes, x: str, weights: Weights, layer: int, *, n_units: int) -> str:
    """(frames, windows, inputs) → (frames, windows, 2 · units)."""

    def both(name: str) -> list[NDArray[Any]]:
        """Of both directions, the gates in ONNX's order: update, reset, new. PyTorch has reset first."""
        found = (weights[f"gru.{name}_l{layer}{direction}"] for direction in ("", "_reverse"))
        return [np.concatenate([part[1], part[0], part[2]]) for part in (np.split(one, 3) for one in found)]

    biases = [np.concatenate(pair) for pair in zip(both("bias_ih"), both("bias_hh"), strict=True)]
    states = nodes.add(
        "GRU",
        x,
        nodes.constant(both("weight_ih")),
        nodes.constant(both("weight_hh")),
        nodes.constant(biases),
        direction="bidirectional",
        hidden_size=n_units,
        linear_before_reset=1,  # as PyTorch and cuDNN apply the reset gate
    )
    states = nodes.add("Transpose", states, perm=[0, 2, 1, 3])  # (frames, windows, directions, units)
    return nodes.add("Reshape", states, nodes.integers(0, 0, -1))
