"""Where the time of a stage goes: what it multiplies, how fast that is, and which kinds of operations take the rest.

The products are counted in the exported graph, for one image; the times are OpenVINO's own, per executed operation.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from mmms_export.perf.rows import Fact

_WARM_UP, _RUNS = 3, 10
_OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": "YES"}
_KINDS = {
    "MatMul": "matrix products",
    "FullyConnected": "matrix products",
    "Convolution": "convolutions",
    "GroupConvolution": "depthwise convolutions",
    "Subgraph": "fused chains (attention, normalisation, activations)",
}
_OTHERS = "everything else"


def profile_facts(model: str, repository: Path, stage: str) -> list[Fact]:
    """Billions of multiply-adds of one answer, how many the engine does per second, and the shares of its time."""
    path = next((repository / stage).glob("*/model.onnx"))
    products = multiply_adds(path) / 1e9
    times_ms = operation_times_ms(path)
    total_ms = sum(times_ms.values())
    facts = [
        Fact(model, f"{stage}: multiply-adds of one answer", products, "G"),
        Fact(model, f"{stage}: multiply-adds per second", 1e3 * products / total_ms, "G/s"),
    ]
    for kind, spent_ms in sorted(times_ms.items(), key=lambda item: -item[1]):
        facts.append(Fact(model, f"{stage}: share of {kind}", 100 * spent_ms / total_ms, "%"))
    return facts


def multiply_adds(path: Path) -> int:
    """Multiply-adds of all matrix products and convolutions of a graph, for one image."""
    model = onnx.load(path)
    for port in model.graph.input:
        port.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm"):
            total += math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        elif node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    return total


def operation_times_ms(path: Path) -> dict[str, float]:
    """Milliseconds of one answer by kind of operation, in fp32 on all cores, mean of a few after warming up."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
    compiled = core.compile_model(model, "CPU", _OPTIONS)
    request = compiled.create_infer_request()
    inputs = {port.any_name: _values(port) for port in compiled.inputs}
    spent: Counter[str] = Counter()
    for run in range(_WARM_UP + _RUNS):
        request.infer(inputs)
        if run >= _WARM_UP:
            for operation in request.profiling_info:
                kind = _KINDS.get(operation.node_type, _OTHERS)
                spent[kind] += 1e3 * operation.real_time.total_seconds() / _RUNS
    return dict(spent)


def _values(port: Any) -> np.ndarray[Any, Any]:
    """Something to compute with: the engine's time does not depend on it."""
    kind = port.get_element_type().to_dtype()
    if np.issubdtype(kind, np.floating):
        return np.random.default_rng(0).random(list(port.shape)).astype(kind)
    return np.zeros(list(port.shape), kind)
