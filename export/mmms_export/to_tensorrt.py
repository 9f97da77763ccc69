"""ONNX to TensorRT: plans for Triton's own backend (`tensorrt`), engines for named GPUs without one (`tensorrt-rtx`).

Networks are strongly typed: the arithmetic is what the graph says. A plan fits one GPU type and one TensorRT version;
an RTX engine fits the compute capability it was built for and one TensorRT-RTX release.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from mmms_client.contract import ModelSpec
from mmms_client.errors import MMMSError, UsageError

DEFAULT_COMPUTE_CAPABILITY = "8.9"


class EngineBuildError(MMMSError):
    """TensorRT refused a graph, or could not build it."""


def build_plan(onnx_bytes: bytes, spec: ModelSpec) -> bytes:
    """A plan for the GPU of this machine, by the full TensorRT."""
    return _build(_module("tensorrt"), onnx_bytes, spec, None)


def build_rtx_engine(onnx_bytes: bytes, spec: ModelSpec, compute_capability: str) -> bytes:
    """An engine for a compute capability such as ``8.9``; needs no GPU."""
    return _build(_module("tensorrt_rtx"), onnx_bytes, spec, compute_capability)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if name == "tensorrt":
            hint = (
                "run this inside the official Triton container's TensorRT environment (see the README), or take "
                "--target onnxruntime."
            )
        else:
            hint = "install it with: pip install 'mmms[tensorrt-rtx]'"
        raise UsageError(f"Expected the Python package {name!r} but it is not installed; {hint}") from error


def _build(trt: Any, onnx_bytes: bytes, spec: ModelSpec, compute_capability: str | None) -> bytes:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineBuildError(f"Expected TensorRT to parse stage {spec.name!r} but it refused: {reasons}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for tensor in spec.inputs:
        one, most = (1, *tensor.shape), (spec.max_batch_size, *tensor.shape)
        profile.set_shape(tensor.name, one, one, most)
    config.add_optimization_profile(profile)
    if compute_capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_capability(trt, compute_capability), 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineBuildError(
            f"Expected TensorRT to build stage {spec.name!r} but it gave nothing; see its log above."
        )
    return bytes(engine)


def _capability(trt: Any, text: str) -> Any:
    name = "SM" + text.replace(".", "")
    if not hasattr(trt.ComputeCapability, name):
        known = ", ".join(sorted(n[2:-1] + "." + n[-1] for n in dir(trt.ComputeCapability) if n.startswith("SM")))
        raise UsageError(
            f"Expected a compute capability that TensorRT-RTX builds for ({known}) but got {text!r}; take one."
        )
    return getattr(trt.ComputeCapability, name)
