"""What a click and an encode cost, counted and not timed: products, activations, weights, bytes that travel.

Each number is what the committed nano has. More is slower for everybody: raise a bound only with the measurement
(`make perf`) that shows what it buys.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from mmms_client.contract import ModelContract
from mmms_client.triton import infer_input
from served_repositories import graph_of

REPOSITORY = Path(__file__).parents[2] / "model_repository"
PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum")
ITEM_BYTES = {
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.BOOL: 1,
    onnx.TensorProto.UINT8: 1,
}
MIB = 2**20


def inferred(stage: str) -> onnx.ModelProto:
    """The graph of a stage for one image, with the shape of every tensor."""
    model = onnx.load(graph_of(stage))
    for port in model.graph.input:
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def sizes(model: onnx.ModelProto) -> list[int]:
    """Bytes of every tensor between the nodes."""
    found = []
    for value in model.graph.value_info:
        tensor = value.type.tensor_type
        dims = [dim.dim_value for dim in tensor.shape.dim]
        assert all(dims), f"{value.name} has no fixed shape: engines plan such tensors at run time"
        found.append(int(np.prod(dims)) * ITEM_BYTES.get(tensor.elem_type, 4))
    return found


@pytest.mark.parametrize(
    ("stage", "products", "activations_mib", "weights_mib"),
    [("backbone", 48, 326, 4.3), ("fuser", 164, 1198, 6.2), ("csnet", 59, 414, 3.5)],
)
def test_no_stage_does_more_than_it_did(stage: str, products: int, activations_mib: float, weights_mib: float) -> None:
    model = inferred(stage)
    assert sum(node.op_type in PRODUCTS for node in model.graph.node) <= products
    assert sum(sizes(model)) <= activations_mib * MIB
    assert sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= weights_mib * MIB


def test_a_click_computes_a_fraction_of_an_encode() -> None:
    """What encode-once is about: if work moves from the image to the click, this is where it shows."""
    click, encode = (
        sum(sum(sizes(inferred(stage))) for stage in stages) for stages in (["csnet"], ["backbone", "fuser"])
    )
    assert click < 0.3 * encode


def test_the_head_never_holds_all_scales_at_full_width() -> None:
    """Unfolded, it would concatenate the scales at the finest resolution: 4 x 96 channels instead of a sum of 96."""
    model = inferred("csnet")
    contract = ModelContract.from_parameters(json.loads((REPOSITORY / "manifest.json").read_text())["contract"])
    height, width = contract.pyramid_shapes[0][-2:]
    widest = max(
        value.type.tensor_type.shape.dim[1].dim_value
        for value in model.graph.value_info
        if [dim.dim_value for dim in value.type.tensor_type.shape.dim][2:] == [height, width]
    )
    assert widest <= 128


def test_bytes_of_a_click() -> None:
    """Through the ensemble the image in 8 bits, maps in 16, no features; with features elsewhere a mask each way."""
    contract = ModelContract.from_parameters(json.loads((REPOSITORY / "manifest.json").read_text())["contract"])
    models = contract.models()
    side, taken = contract.resolution, {"FP16": np.float16, "FP32": np.float32, "UINT8": np.uint8, "INT32": np.int32}

    def carried(model: str, without: str = "") -> int:
        tensors = [
            infer_input(t.name, np.zeros((1, *t.shape), taken[t.dtype]))
            for t in models[model].inputs
            if t.name != without
        ]
        return sum(len(tensor._get_content() or b"") for tensor in tensors)

    click = side * side + contract.max_clicks * (8 + 4)  # previous mask, coordinates, labels
    assert carried("csnet", without="features") == click
    assert carried("mmms") == click + 3 * side * side + 2 * 2 * side * side + 4 * 2
    assert models["csnet"].outputs[0].size_bytes == side * side
