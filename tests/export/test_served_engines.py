"""The engines as Triton's python backend uses them: several requests in one `execute`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmms_export.engines import served_engines


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A graph that doubles four numbers."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "double", ports[:1], ports[1:], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_answer_is_not_overwritten_by_the_next_one(doubling: Path, engine: str) -> None:
    """Triton takes the answers after all requests that waited together are done: each needs memory of its own."""
    engine_class, _ = served_engines().ENGINES[engine]
    loaded = engine_class(doubling, "fp32", 1)
    first = loaded.infer({"x": np.full((1, 4), 1, np.float32)})["y"]
    second = loaded.infer({"x": np.full((1, 4), 5, np.float32)})["y"]
    assert first.tolist() == [[2.0] * 4]
    assert second.tolist() == [[10.0] * 4]
