"""The layers before the GRU as an ONNX graph, in float32 or in eight bits.

Memory is channels-last, as normalisation likes it. The first convolution has two channels, too few for a runtime's
convolutions. So it is one product: each row holds what a few neighbouring bands need, and the matrix has zeros where a
band does not need something. In eight bits, the others are such products, too.

Eight bits need no calibration. What follows a normalisation is a few of its scales at most, so the weights say how
large each channel becomes. Each channel has steps of its own, whose size the next layer's weights take over. Weights
are rounded to seven bits: on processors without VNNI instructions, the sum of two products must fit into 16 bits.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drum_crnn.engine.nodes import REST, Nodes
from drum_crnn.model.stored_model import StoredModel

__all__ = ["FRAMES_AFTER", "FRAMES_BEFORE", "Precision", "add_convolutions"]

Precision = Literal["float32", "int8"]

# On which the result of a frame depends: each of three convolutions sees one on either side, the difference one before.
FRAMES_BEFORE, FRAMES_AFTER = 4, 3

_BANDS = 3  # that the first convolution computes at a time: more zeros or more rows are slower
_STEPS = 255  # of an activation
_WEIGHT_STEPS = 63  # to either side
# Deviations from the mean. In release 6, 0.06 % of the first layer's values are larger and are cut; no other layer's.
_LARGEST = 5.0

FloatArray = NDArray[np.float32]
Weights = Mapping[str, FloatArray]


def add_convolutions(nodes: Nodes, frames: str, stored: StoredModel, *, precision: Precision) -> str:
    """Add the layers from frames in decibels (windows, frames, n_mels) to (windows, frames, projection)."""
    params, is_int8 = stored.params, precision == "int8"
    x = nodes.add("Sub", frames, nodes.constant(params.input_mean_db))
    scales = np.full(2, 1.0 / params.input_scale_db, np.float32)  # of the channels that come in
    n_bands = stored.features.n_mels
    for index in range(len(params.conv_channels)):
        prefix = f"blocks.{index}."
        block = {name.removeprefix(prefix): weight for name, weight in stored.weights.items()}
        kernel = block["conv.weight"] * scales[:, None, None]
        if index == 0:
            x = _first_convolved(nodes, x, kernel, n_bands=n_bands)
        elif is_int8:
            x = nodes.add("Reshape", x, nodes.integers(0, 0, -1))
            x = _with_neighbours(nodes, x, n_bands=n_bands, n_channels=kernel.shape[1])
            x = _int8_product(nodes, _three_frames(nodes, x), _matrix(kernel))
        else:
            x = _convolved(nodes, x, kernel)
        n_bands = (n_bands + 1) // 2
        # (windows, frames, bands, channels)
        scales = _ranges(block) if is_int8 else np.ones(len(kernel), np.float32)
        x = nodes.add("Relu", _normalised(nodes, x, block, scales))
        if is_int8:
            x = nodes.add("QuantizeLinear", x, nodes.constant(1 / _STEPS), nodes.constant(0, np.uint8))
    x = nodes.add("Reshape", x, nodes.integers(0, 0, -1))
    weight, bias = stored.weights["project.weight"], stored.weights["project.bias"]
    by_band = weight.reshape(len(weight), len(scales), n_bands).transpose(2, 1, 0) * scales[:, None]
    matrix = by_band.reshape(-1, len(weight))
    if is_int8:
        return nodes.add("Relu", _int8_product(nodes, x, matrix, bias))
    return nodes.add("Relu", nodes.add("Add", nodes.add("MatMul", x, nodes.constant(matrix)), nodes.constant(bias)))


def _first_convolved(nodes: Nodes, x: str, kernel: FloatArray, *, n_bands: int) -> str:
    """Convolve the level and its difference from the frame before."""
    x = _with_neighbours(nodes, x, n_bands=n_bands, n_channels=1, at_once=_BANDS)
    before = nodes.add("Concat", nodes.part(x, 0, 1, axis=1), nodes.part(x, 0, -1, axis=1), axis=1)
    x = nodes.add("Concat", x, nodes.add("Sub", x, before), axis=3)
    parts = [_matrix(kernel[:, [channel]], at_once=_BANDS) for channel in range(2)]
    n_columns = parts[0].shape[1]
    matrix = np.concatenate([part.reshape(3, -1, n_columns) for part in parts], axis=1).reshape(-1, n_columns)
    x = nodes.add("MatMul", _three_frames(nodes, x), nodes.constant(matrix))
    x = nodes.add("Reshape", x, nodes.integers(0, 0, -1, len(kernel)))
    n_out = (n_bands + 1) // 2
    return x if n_out % _BANDS == 0 else nodes.part(x, 0, n_out, axis=2)


def _with_neighbours(nodes: Nodes, x: str, *, n_bands: int, n_channels: int, at_once: int = 1) -> str:
    """(windows, frames, bands · channels) → (windows, frames, groups, (2 · at_once + 1) · channels).

    A group is what `at_once` bands of the result need: twice as many bands, and one more. Beyond the borders are zeros.
    """
    n_groups = math.ceil((n_bands + 1) // 2 / at_once)
    beyond = 2 * at_once * (n_groups + 1) - n_bands - 1
    x = nodes.add("Pad", x, nodes.integers(0, 0, n_channels, 0, 0, beyond * n_channels))
    x = nodes.add("Reshape", x, nodes.integers(0, 0, n_groups + 1, 2 * at_once * n_channels))
    following = nodes.part(nodes.part(x, 1, REST, axis=2), 0, n_channels, axis=3)
    return nodes.add("Concat", nodes.part(x, 0, n_groups, axis=2), following, axis=3)


def _three_frames(nodes: Nodes, x: str) -> str:
    """Put the frame before, the frame and the frame after side by side, along the last axis."""
    x = nodes.add("Pad", x, nodes.integers(0, 1, 0, 0, 0, 1, 0, 0))
    ends = (-2, -1, REST)
    return nodes.add("Concat", *(nodes.part(x, first, end, axis=1) for first, end in enumerate(ends)), axis=3)


def _matrix(kernel: FloatArray, *, at_once: int = 1) -> FloatArray:
    """A kernel (out, in, 3 frames, 3 bands) as (3 frames · (2 · at_once + 1) bands · in, at_once · out)."""
    n_out, n_in = kernel.shape[:2]
    matrix = np.zeros((3, 2 * at_once + 1, n_in, at_once, n_out), np.float32)
    for number in range(at_once):
        matrix[:, 2 * number : 2 * number + 3, :, number] = kernel.transpose(2, 3, 1, 0)
    return matrix.reshape(-1, at_once * n_out)


def _convolved(nodes: Nodes, x: str, kernel: FloatArray) -> str:
    x = nodes.add("Transpose", x, perm=[0, 3, 1, 2])
    x = nodes.add("Conv", x, nodes.constant(kernel), kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1])
    return nodes.add("Transpose", x, perm=[0, 2, 3, 1])


def _int8_product(nodes: Nodes, x: str, matrix: FloatArray, bias: FloatArray | None = None) -> str:
    """Multiply steps by a matrix whose columns are rounded, each to steps of its own; the result is float32."""
    size = np.maximum(np.abs(matrix).max(axis=0), 1e-30) / _WEIGHT_STEPS
    steps = nodes.constant(np.rint(matrix / size), np.int8)
    sizes = (nodes.constant(1 / _STEPS), nodes.constant(size))
    no_offset = (nodes.constant(0, np.uint8), "")
    return nodes.add_of_runtime(
        "MatMulIntegerToFloat", x, steps, *sizes, *no_offset, *([] if bias is None else [nodes.constant(bias)])
    )


def _ranges(block: Weights) -> FloatArray:
    """How large each channel becomes after normalisation: what 255 steps should reach."""
    scale, bias = (block["norm.weight"], block["norm.bias"]) if "norm.weight" in block else (block["norm.scale"], 0.0)
    # Of n values, none deviates from their mean by more than √n of their root mean squares.
    largest = min(_LARGEST, math.sqrt(len(scale)))
    return np.maximum(bias + largest * np.abs(scale), 1e-6).astype(np.float32)


def _normalised(nodes: Nodes, x: str, block: Weights, ranges: FloatArray) -> str:
    """Normalise over channels, the last axis, and divide each by its range."""
    if "norm.weight" in block:
        scale, bias = (nodes.constant(block[f"norm.{name}"] / ranges) for name in ("weight", "bias"))
        return nodes.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
    mean_square = nodes.add("ReduceMean", nodes.add("Mul", x, x), nodes.integers(-1))
    root = nodes.add("Sqrt", nodes.add("Add", mean_square, nodes.constant(1e-5)))
    return nodes.add("Mul", nodes.add("Div", x, root), nodes.constant(block["norm.scale"] / ranges))
