"""Files of graphs against the package `onnx`: what it reads in them, and that it would write the same bytes."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import helper, numpy_helper

from drum_crnn.engine.nodes import Nodes

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)
VALUES = st.one_of(INT64, FLOAT32, st.text(), st.lists(INT64, min_size=1))
ARRAYS = st.sampled_from([np.float32, np.uint8, np.int8, np.int64]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)


@given(
    constants=st.lists(ARRAYS, max_size=3),
    attributes=st.dictionaries(st.text(), VALUES, max_size=4),
    metadata=st.dictionaries(st.text(), st.text(), max_size=2),
    axis=st.one_of(st.text(), st.integers(0, 2**40)),
)
def test_onnx_reads_what_was_added_and_writes_the_same_bytes(
    constants: list[np.ndarray], attributes: dict[str, object], metadata: dict[str, str], axis: str | int
) -> None:
    nodes = Nodes()
    names = [nodes.constant(array, array.dtype) for array in constants]
    nodes.add("Concat", "x", *names, output="y", **attributes)
    nodes.add_of_runtime("MatMulIntegerToFloat", "y", "")
    content = nodes.content({"x": (axis, 3)}, {"y": ()}, metadata=metadata)

    model = onnx.load_from_string(content)
    assert model.SerializeToString(deterministic=True) == content
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18), ("com.microsoft", 1)]
    assert {one.key: one.value for one in model.metadata_props} == metadata
    for constant, name, array in zip(model.graph.initializer, names, constants, strict=True):
        found = numpy_helper.to_array(constant)
        assert (constant.name, found.dtype, found.shape) == (name, array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
    first, second = model.graph.node
    expected = helper.make_node("Concat", ["x", *names], ["y"])
    expected.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
    assert first.SerializeToString() == expected.SerializeToString()
    assert (second.op_type, second.domain, list(second.input)) == ("MatMulIntegerToFloat", "com.microsoft", ["y", ""])
    assert [one.SerializeToString() for one in (*model.graph.input, *model.graph.output)] == [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes).SerializeToString()
        for name, axes in (("x", (axis, 3)), ("y", ()))
    ]


def test_a_type_that_files_do_not_hold_is_refused() -> None:
    with pytest.raises(KeyError, match="float64"):
        Nodes().constant(1.0, np.float64)
