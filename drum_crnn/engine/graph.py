"""The network of `drum_crnn.model.crnn` as an ONNX graph, with the weights of a model file.

Every operator computes what the module of the same name does, so activations differ by rounding alone (about 1e-6).
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.stored_model import StoredModel

__all__ = ["INPUT", "network_graph"]

INPUT = "frames"
_OUTPUTS = ("onset", "velocity")
_ABOUT_KEY = "drum_crnn"  # the model's settings as JSON: features, windows, peak picking, thresholds
_OPSET, _IR_VERSION = 18, 9  # the oldest that have all operators, so that older runtimes read the file

Weights = Mapping[str, NDArray[Any]]


def network_graph(stored: StoredModel) -> bytes:
    """The graph as the bytes of an ONNX file.

    Its metadata hold the model's settings under the key `drum_crnn`, as JSON.

    Input `frames`: float32, shape (windows, frames, n_mels), decibels. Outputs `onset`, probabilities in [0, 1], and
    `velocity`, 0 to 127: float32, shape (windows, frames, lanes), as in `drum_crnn.model.activations.Activations`.

    Raises
    ------
    DrumCrnnError
        If the weights do not fit the model's description.
    """
    nodes = _Nodes()
    try:
        _add_network(nodes, stored)
    except KeyError as error:
        raise DrumCrnnError(f"the model's weights do not fit its description: {error} is missing") from None
    shape: list[str | int | None] = ["windows", "frames", stored.features.n_mels]
    graph = helper.make_graph(
        nodes.nodes,
        "drum_crnn",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["windows", "frames", None]) for name in _OUTPUTS],
        nodes.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="drum_crnn")
    model.ir_version = _IR_VERSION
    helper.set_model_props(model, {_ABOUT_KEY: json.dumps(stored.about(), sort_keys=True)})
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Nodes:
    """Nodes and constants of a graph under construction; a method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._numbers = itertools.count()

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{next(self._numbers)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output


def _add_network(nodes: _Nodes, stored: StoredModel) -> None:
    params, weights = stored.params, stored.weights
    x = nodes.add("Sub", INPUT, nodes.constant(params.input_mean_db))
    x = nodes.add("Mul", x, nodes.constant(1.0 / params.input_scale_db))
    x = _with_difference(nodes, x)
    for index in range(len(params.conv_channels)):
        block = {name.removeprefix(f"blocks.{index}."): weight for name, weight in weights.items()}
        x = nodes.add(
            "Conv", x, nodes.constant(block["conv.weight"]), kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1]
        )
        x = _rms_normalised(nodes, x, block) if params.normalisation == "rms" else _layer_normalised(nodes, x, block)
        x = nodes.add("Relu", x)
    x = nodes.add("Transpose", x, perm=[0, 2, 1, 3])  # (windows, frames, channels, bands)
    x = nodes.add("Reshape", x, nodes.integers(0, 0, -1))
    x = nodes.add("Relu", _linear(nodes, x, weights, "project"))
    x = nodes.add("Transpose", x, perm=[1, 0, 2])  # (frames, windows, projection)
    for layer in range(params.gru_layers):
        x = _gru(nodes, x, weights, layer, n_units=params.gru_units)
    x = nodes.add("Transpose", x, perm=[1, 0, 2])
    x = nodes.add("Sigmoid", _linear(nodes, x, weights, "head"))
    n_lanes = len(weights["head.bias"]) // 2
    nodes.add("Slice", x, nodes.integers(0), nodes.integers(n_lanes), nodes.integers(2), output=_OUTPUTS[0])
    velocity = nodes.add("Slice", x, nodes.integers(n_lanes), nodes.integers(2 * n_lanes), nodes.integers(2))
    nodes.add("Mul", velocity, nodes.constant(127.0), output=_OUTPUTS[1])


def _with_difference(nodes: _Nodes, x: str) -> str:
    """(windows, frames, bands) → (windows, 2, frames, bands): the level, and its difference from the frame before."""
    first = nodes.add("Slice", x, nodes.integers(0), nodes.integers(1), nodes.integers(1))
    others = nodes.add("Slice", x, nodes.integers(0), nodes.integers(-1), nodes.integers(1))
    before = nodes.add("Concat", first, others, axis=1)
    difference = nodes.add("Sub", x, before)
    channels = [nodes.add("Unsqueeze", part, nodes.integers(1)) for part in (x, difference)]
    return nodes.add("Concat", *channels, axis=1)


def _rms_normalised(nodes: _Nodes, x: str, block: Weights) -> str:
    mean_square = nodes.add("ReduceMean", nodes.add("Mul", x, x), nodes.integers(1))
    root = nodes.add("Sqrt", nodes.add("Add", mean_square, nodes.constant(1e-5)))
    return nodes.add("Mul", nodes.add("Div", x, root), nodes.constant(block["norm.scale"][:, None, None]))


def _layer_normalised(nodes: _Nodes, x: str, block: Weights) -> str:
    x = nodes.add("Transpose", x, perm=[0, 2, 3, 1])  # channels last
    scale, bias = nodes.constant(block["norm.weight"]), nodes.constant(block["norm.bias"])
    x = nodes.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
    return nodes.add("Transpose", x, perm=[0, 3, 1, 2])


def _linear(nodes: _Nodes, x: str, weights: Weights, name: str) -> str:
    product = nodes.add("MatMul", x, nodes.constant(weights[f"{name}.weight"].T))
    return nodes.add("Add", product, nodes.constant(weights[f"{name}.bias"]))


def _gru(nodes: _Nodes, x: str, weights: Weights, layer: int, *, n_units: int) -> str:
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
