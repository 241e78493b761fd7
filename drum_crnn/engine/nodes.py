"""An ONNX graph under construction.

The numbers of fields are those of ONNX's own description, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drum_crnn.engine.protobuf import delimited, integer, real

__all__ = ["REST", "Nodes"]

REST = 2**31 - 1  # as the end of a slice: to the last element
_OPSET, _IR_VERSION = 18, 9  # the oldest that have all operators, so that older runtimes read the file
_RUNTIME = "com.microsoft"  # operators that ONNX Runtime adds to the standard
_FLOAT32 = 1
_TYPES = {np.dtype(np.float32): _FLOAT32, np.dtype(np.uint8): 2, np.dtype(np.int8): 3, np.dtype(np.int64): 7}

Axes = Sequence[str | int]
Attribute = float | int | str | Sequence[int]


class Nodes:
    """Nodes and constants of a graph; a method returns the name of what it adds."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []  # these and the constants are fields of the graph
        self._constants: list[bytes] = []
        self._domains = {""}
        self._numbers = itertools.count()

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{next(self._numbers)}"
        array = np.array(value, dtype)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        shape = (integer(1, size) for size in array.shape)
        of_type = integer(2, _TYPES[array.dtype])
        self._constants.append(delimited(5, *shape, of_type, delimited(8, name), delimited(9, little)))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def add(self, operator: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{next(self._numbers)}"
        fields = [delimited(1, name) for name in inputs]
        fields += [delimited(2, output), delimited(4, operator)]
        fields += [_attribute(name, value) for name, value in sorted(attributes.items())]
        if domain:
            fields.append(delimited(7, domain))
            self._domains.add(domain)
        self._nodes.append(delimited(1, *fields))
        return output

    def add_of_runtime(self, operator: str, *inputs: str) -> str:
        return self.add(operator, *inputs, domain=_RUNTIME)

    def part(self, x: str, first: int, end: int, *, axis: int) -> str:
        return self.add("Slice", x, self.integers(first), self.integers(end), self.integers(axis))

    def content(self, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes], *, metadata: Mapping[str, str]) -> bytes:
        """The graph as the bytes of an ONNX file: the same for the same graph. Inputs and outputs are float32."""
        graph = [*self._nodes, delimited(2, "drum_crnn"), *self._constants]
        graph += [_described(11, name, axes) for name, axes in inputs.items()]
        graph += [_described(12, name, axes) for name, axes in outputs.items()]
        versions = [(domain, 1 if domain else _OPSET) for domain in sorted(self._domains)]
        model = [integer(1, _IR_VERSION), delimited(2, "drum_crnn"), delimited(7, *graph)]
        model += [delimited(8, delimited(1, domain), integer(2, version)) for domain, version in versions]
        model += [delimited(14, delimited(1, key), delimited(2, value)) for key, value in metadata.items()]
        return b"".join(model)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        fields = [real(2, value), integer(20, 1)]
    elif isinstance(value, int):
        fields = [integer(3, value), integer(20, 2)]
    elif isinstance(value, str):
        fields = [delimited(4, value), integer(20, 3)]
    else:
        fields = [*(integer(8, one) for one in value), integer(20, 7)]
    return delimited(5, delimited(1, name), *fields)


def _described(field: int, name: str, axes: Axes) -> bytes:
    """A float32 input or output, whose axes have a size or a name."""
    dimensions = (delimited(1, integer(1, axis) if isinstance(axis, int) else delimited(2, axis)) for axis in axes)
    tensor = delimited(1, integer(1, _FLOAT32), delimited(2, *dimensions))
    return delimited(field, delimited(1, name), delimited(2, tensor))
