"""A stage to an ONNX file: fixed size, dynamic batch, weights that fit fp16 exactly stored in fp16, no trace of the
machine.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mmms_client.contract import ModelSpec

OPSET = 20
_LARGEST_TRACED_BATCH = 64
_LARGEST_FILE = 1_900_000_000  # bytes; protobuf ends at 2 GiB
_SMALL = 256  # values; smaller constants (shapes, axes) stay as they are

ONNX_TYPES = {
    "UINT8": TensorProto.UINT8,
    "INT32": TensorProto.INT32,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
}


def stage_to_onnx(stage: nn.Module, spec: ModelSpec, inputs: dict[str, Tensor]) -> ModelProto:
    """Trace a stage. ``inputs`` by tensor name with a batch of at least 2, in the order of ``spec.inputs``."""
    batch = torch.export.Dim("batch", min=1, max=_LARGEST_TRACED_BATCH)
    shapes = tuple({0: batch} for _ in inputs)
    names = [t.name for t in spec.inputs]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            stage,
            tuple(inputs.values()),
            input_names=names,
            output_names=[t.name for t in spec.outputs],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(*shapes[:4], shapes[4:]) if _is_variadic(stage) and shapes[4:] else shapes,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _anonymize(model)
    _store_fp16(model)
    check_signature(model, spec)
    return model


def check_signature(model: ModelProto, spec: ModelSpec) -> None:
    """Raise ``ValueError`` unless names, dtypes and shapes of the graph are those of the contract, batch axis
    dynamic.
    """
    for ports, tensors in ((model.graph.input, spec.inputs), (model.graph.output, spec.outputs)):
        found = [p.name for p in ports]
        expected = [t.name for t in tensors]
        if found != expected:
            raise ValueError(f"{spec.name}: expected tensors {expected} but the graph has {found}")
        for port, tensor in zip(ports, tensors, strict=True):
            kind = port.type.tensor_type
            dims = tuple(d.dim_value for d in kind.shape.dim[1:])
            if kind.elem_type != ONNX_TYPES[tensor.dtype] or dims != tensor.shape or kind.shape.dim[0].dim_value:
                raise ValueError(
                    f"{spec.name}: expected {tensor.name} {tensor.dtype} [batch, {tensor.shape}] but the graph has "
                    f"type {kind.elem_type} and shape {[d.dim_param or d.dim_value for d in kind.shape.dim]}"
                )


def file_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_variadic(stage: nn.Module) -> bool:
    import inspect

    kinds = [p.kind for p in inspect.signature(stage.forward).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _anonymize(model: ModelProto) -> None:
    """Drop stack traces and paths, so that the same checkpoint gives the same file on every machine."""
    model.producer_name, model.producer_version, model.doc_string = "mmms-export", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "mmms", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    items: Sequence[object] = [*graph.node, *graph.initializer, *graph.input, *graph.output]
    for item in items:
        item.doc_string = ""  # type: ignore[attr-defined]
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""


def _store_fp16(model: ModelProto) -> None:
    """Store fp32 weights as fp16 and a Cast wherever that loses nothing: half the file for an fp16 checkpoint.

    A graph that one file could not hold otherwise (ViT-H has 630 M weights) has all of them rounded to fp16, which
    the parity check then measures.
    """
    graph = model.graph
    must_round = sum(4 * math.prod(t.dims) for t in graph.initializer) > _LARGEST_FILE
    casts, kept = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else None
        if values is None or values.size < _SMALL or not (must_round or _fits_fp16(values)):
            kept.append(tensor)
            continue
        name = f"{tensor.name}.fp16"
        kept.append(numpy_helper.from_array(values.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)


def _fits_fp16(values: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16).astype(np.float32) == values).all())
