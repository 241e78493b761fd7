"""An ONNX graph under construction."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

__all__ = ["REST", "Nodes"]

REST = 2**31 - 1  # as the end of a slice: to the last element
_OPSET, _IR_VERSION = 18, 9  # the oldest that have all operators, so that older runtimes read the file
_RUNTIME = "com.microsoft"  # operators that ONNX Runtime adds to the standard

Axes = Sequence[str | int | None]


class Nodes:
    """Nodes and constants of a graph; a method returns the name of what it adds."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._numbers = itertools.count()

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{next(self._numbers)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{next(self._numbers)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def add_of_runtime(self, operator: str, *inputs: str) -> str:
        return self.add(operator, *inputs, domain=_RUNTIME)

    def part(self, x: str, first: int, end: int, *, axis: int) -> str:
        return self.add("Slice", x, self.integers(first), self.integers(end), self.integers(axis))

    def content(self, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes], *, metadata: Mapping[str, str]) -> bytes:
        """The graph as the bytes of an ONNX file: the same for the same graph. Inputs and outputs are float32."""

        def described(arrays: Mapping[str, Axes]) -> list[Any]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in arrays.items()]

        graph = helper.make_graph(self._nodes, "drum_crnn", described(inputs), described(outputs), self._constants)
        domains = sorted({"", *(node.domain for node in self._nodes)})
        versions = [helper.make_opsetid(domain, 1 if domain else _OPSET) for domain in domains]
        model = helper.make_model(graph, opset_imports=versions, producer_name="drum_crnn")
        model.ir_version = _IR_VERSION
        helper.set_model_props(model, dict(metadata))
        content: bytes = model.SerializeToString(deterministic=True)
        return content
