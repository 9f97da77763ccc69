"""Runs one ONNX graph of MMMS inside Triton's python backend.

Written by `mmms-export`; the three copies in a repository are identical. Which engine runs the graph, and in which
precision, is said by the parameters in `config.pbtxt`. A CPU answers requests one by one: on a few cores a batch takes
as long as its parts, its copies cost extra, and one by one the answer to a click does not depend on who clicked at the
same time.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

try:
    import triton_python_backend_utils as pb_utils
except ImportError:  # outside Triton the engines below are used in process: parity checks, benchmarks
    pb_utils = None


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry, which would tell a service of analytics of every import.

    Where that package is not there, OpenVINO takes a stub that sends nothing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # as if it were not installed
    import openvino

    return openvino


def keep_private(maps: Path = Path("/proc/self/maps")) -> None:
    """Images and masks come here through files in /dev/shm, which Triton lets every account of the machine read."""
    lines = maps.read_text(encoding="utf-8", errors="replace").splitlines() if maps.exists() else []
    for shared in {line.split(maxsplit=5)[5] for line in lines if " /dev/shm/triton" in line}:
        if not shared.endswith(" (deleted)"):
            Path(shared).chmod(0o600)


class OpenVINOEngine:
    """OpenVINO on the CPU. ``precision`` is `fp32` or `bf16`; a CPU without bf16 runs fp32 and says so."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        core = import_openvino().Core()
        self.precision = precision
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            self.precision = "fp32"
        model = core.read_model(path)
        model.reshape({port: [1, *list(port.partial_shape)[1:]] for port in model.inputs})
        self.outputs = [port.any_name for port in model.outputs]
        if self.precision == "bf16":
            # A click's coordinates must not be rounded to 8 bits: the disks would land elsewhere. OpenVINO keeps what
            # leads to an output, up to the first matrix product, in fp32; so the cells that the disks fill are one.
            scatters = [op for op in model.get_ops() if op.get_type_name() == "ScatterElementsUpdate"]
            if scatters:
                model.add_outputs([op.input_value(1) for op in scatters])
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = core.compile_model(model, "CPU", options)
        self.request = compiled.create_infer_request()

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name, batch 1, to outputs by name.

        Outputs are copies: Triton takes them after all requests of one `execute` are answered, and by then the next
        request would have written into shared ones.
        """
        answer = self.request.infer(inputs, share_inputs=True, share_outputs=False)
        return {name: answer[name] for name in self.outputs}


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU in fp32: the reference engine."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        import onnxruntime

        if precision != "fp32":
            raise ValueError(f"expected precision fp32 for ONNX Runtime on a CPU but got {precision}")
        self.precision = precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [port.name for port in self.session.get_outputs()]

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name to outputs by name."""
        return dict(zip(self.outputs, self.session.run(self.outputs, inputs), strict=True))


class TensorRTRTXEngine:
    """TensorRT-RTX on an NVIDIA GPU, from an engine file built for its compute capability."""

    def __init__(self, path: Path, precision: str, threads: int | None = None) -> None:
        import tensorrt_rtx as trt
        from cuda.bindings import runtime as cudart

        self.trt, self.cudart, self.precision = trt, cudart, precision
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self.engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise RuntimeError(f"{path} does not load: it was built by another TensorRT-RTX release or for another GPU")
        self.context = self.engine.create_execution_context()
        self.stream = self._call(cudart.cudaStreamCreate())
        self.buffers: dict[str, tuple[int, int]] = {}
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        is_input = {n: self.engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT for n in names}
        self.inputs = [n for n in names if is_input[n]]
        self.outputs = [n for n in names if not is_input[n]]

    def _call(self, answer: tuple) -> object:
        error, *values = answer
        if int(error):
            raise RuntimeError(f"CUDA error {int(error)}")
        return values[0] if values else None

    def _buffer(self, name: str, size_bytes: int) -> int:
        pointer, size = self.buffers.get(name, (0, 0))
        if size < size_bytes:
            if pointer:
                self._call(self.cudart.cudaFree(pointer))
            pointer = self._call(self.cudart.cudaMalloc(size_bytes))
            self.buffers[name] = (pointer, size_bytes)
        return pointer

    def infer(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name to outputs by name; copies to the GPU and back."""
        kind = self.cudart.cudaMemcpyKind
        for name in self.inputs:
            array = np.ascontiguousarray(inputs[name])
            pointer = self._buffer(name, array.nbytes)
            copy = (pointer, array.ctypes.data, array.nbytes, kind.cudaMemcpyHostToDevice, self.stream)
            self._call(self.cudart.cudaMemcpyAsync(*copy))
            self.context.set_input_shape(name, array.shape)
            self.context.set_tensor_address(name, pointer)
        results = {}
        for name in self.outputs:
            shape = tuple(self.context.get_tensor_shape(name))
            array = np.empty(shape, self.trt.nptype(self.engine.get_tensor_dtype(name)))
            results[name] = array
            self.context.set_tensor_address(name, self._buffer(name, array.nbytes))
        if not self.context.execute_async_v3(self.stream):
            raise RuntimeError("TensorRT-RTX could not run the engine")
        for name, array in results.items():
            copy = (
                array.ctypes.data,
                self.buffers[name][0],
                array.nbytes,
                kind.cudaMemcpyDeviceToHost,
                self.stream,
            )
            self._call(self.cudart.cudaMemcpyAsync(*copy))
        self._call(self.cudart.cudaStreamSynchronize(self.stream))
        return results


ENGINES = {
    "openvino": (OpenVINOEngine, "model.onnx"),
    "onnxruntime": (OnnxRuntimeEngine, "model.onnx"),
    "tensorrt-rtx": (TensorRTRTXEngine, "model.engine"),
}


class TritonPythonModel:
    """What the python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        from guard import Guard  # the file beside this one

        self.guard = Guard(args["model_name"])
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        engine_class, file_name = ENGINES[parameters["engine"]]
        version_folder = Path(args["model_repository"]) / args["model_version"]
        threads = int(os.environ.get("MMMS_THREADS", "0")) or None
        self.engine = engine_class(version_folder / file_name, parameters["precision"], threads)
        if self.engine.precision != parameters["precision"]:
            pb_utils.Logger.log_warn(
                f"{args['model_name']}: this CPU has no {parameters['precision']}; running in {self.engine.precision}"
            )
        self.inputs = {
            port["name"]: ([int(d) for d in port["dims"]], pb_utils.triton_string_to_numpy(port["data_type"]))
            for port in config["input"]
        }
        keep_private()
        self._warm_up()
        self._be_nice(int(parameters.get("nice", "0")))
        self.guard.ready()

    def finalize(self) -> None:
        self.guard.done()

    @staticmethod
    def _be_nice(increment: int) -> None:
        """Let other processes go first, with all threads: the engine's exist by now, and a new one inherits."""
        threads = Path("/proc/self/task")
        if increment and threads.exists():
            for thread in threads.iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), increment)

    def _warm_up(self) -> None:
        """Two runs on zeros: the first request of a user should not pay for lazy initialisation."""
        zeros = {name: np.zeros([1, *dims], dtype) for name, (dims, dtype) in self.inputs.items()}
        for _ in range(2):
            self.engine.infer(zeros)

    def execute(self, requests: list) -> list:
        return [self._answer(request) for request in requests]

    def _answer(self, request: object) -> object:
        if request.is_cancelled():
            error = pb_utils.TritonError("cancelled by the client", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse(error=error)
        try:
            inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            batch = next(iter(inputs.values())).shape[0]
            answers = [
                self.engine.infer({name: array[row : row + 1] for name, array in inputs.items()})
                for row in range(batch)
            ]
        except Exception as error:  # noqa: BLE001 - a raised exception would end the process that serves this model
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        tensors = []
        for name in self.engine.outputs:
            parts = [answer[name] for answer in answers]
            tensors.append(pb_utils.Tensor(name, parts[0] if batch == 1 else np.concatenate(parts)))
        return pb_utils.InferenceResponse(tensors)
