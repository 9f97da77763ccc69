"""The served engines in process: for parity checks and for the performance tables.

The engine classes are the ones that Triton runs: they live in the template of `model.py` and are loaded from there, so
what is checked is what is served.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.geometry import Region
from mmms_client.predictor import Encoded, Modalities, click_inputs, network_inputs, to_probabilities

TEMPLATES = Path(__file__).parent / "templates"
Arrays = dict[str, NDArray[Any]]


def served_engines() -> ModuleType:
    """The template `model.py` as a module."""
    spec = importlib.util.spec_from_file_location("mmms_served_model", TEMPLATES / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cpu_precisions() -> tuple[str, ...]:
    """What OpenVINO computes in on this CPU, of the precisions that are served."""
    capabilities = served_engines().import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "fp32") if "BF16" in capabilities else ("fp32",)


class StageEngine:
    """One stage in one engine: arrays by tensor name in, arrays by tensor name out (copied)."""

    def __init__(self, path: Path, engine: str, precision: str, threads: int | None = None) -> None:
        engine_class, _ = served_engines().ENGINES[engine]
        self._engine = engine_class(path, precision, threads)
        self.precision: str = self._engine.precision

    def __call__(self, inputs: Arrays) -> Arrays:
        return {name: np.array(value) for name, value in self._engine.infer(inputs).items()}


class EnginePredictor:
    """See :class:`mmms_client.predictor.Predictor`. Runs the three stages of a repository in process, one call at a
    time.
    """

    def __init__(self, repository: Path, contract: ModelContract, threads: int | None = None) -> None:
        self._contract = contract
        version = str(contract.model_version)
        self.stages = {
            name: StageEngine(repository / name / version / "model.onnx", contract.engine, contract.precision, threads)
            for name in ("backbone", "fuser", "csnet")
        }

    @property
    def contract(self) -> ModelContract:
        return self._contract

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        frame, present, tensors = network_inputs(self._contract, image, modalities, region)
        return Encoded(frame, present, self.encode_tensors(tensors)["features"])

    def encode_tensors(self, tensors: Arrays) -> Arrays:
        """The tensors of ``backbone_fuser`` to ``features``."""
        rest = {name: value for name, value in tensors.items() if name != "image"}
        return self.stages["fuser"](self.stages["backbone"]({"image": tensors["image"]}) | rest)

    def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        tensors = click_inputs(self._contract, encoded.frame, clicks, previous_mask)
        answer = self.stages["csnet"]({"features": encoded.payload} | tensors)
        return to_probabilities(answer["mask"])
