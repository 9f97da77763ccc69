"""Ways to do the same work: eager PyTorch, ONNX Runtime and the served engine in process; three through a server."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from mmms_client.contract import ModelContract
from mmms_client.predictor import Predictor
from mmms_client.triton_predictor import ENSEMBLE, PLAIN, SHARED_MEMORY, TritonPredictor
from mmms_export.engines import EnginePredictor
from mmms_export.exporter import load_source
from mmms_export.perf.rows import Row, make_row
from mmms_export.perf.workload import Times, time_image
from mmms_training.predictor import TorchPredictor
from mmms_training.presets import preset

IN_PROCESS = "in process"
EAGER = "eager PyTorch, in process"
REFERENCE = "ONNX Runtime, in process"
WARM_UP_CLICKS = 5


def read_contract(repository: Path) -> ModelContract:
    """The contract in a repository's manifest."""
    manifest = json.loads((repository / "manifest.json").read_text(encoding="utf-8"))
    return ModelContract.from_parameters(manifest["contract"])


def label(contract: ModelContract) -> str:
    """How tables call a model: preset and number of modalities."""
    return f"{contract.preset} +{len(contract.modality_names)}"


def engine_in_process(repository: Path) -> EnginePredictor:
    """The served engine without a server."""
    return EnginePredictor(repository, read_contract(repository))


def other_engines(repository: Path) -> dict[str, Predictor]:
    """The same network in ONNX Runtime (the same graphs, fp32) and in eager PyTorch.

    The eager one has random weights: its times do not depend on them, and a repository holds no PyTorch weights.
    """
    contract = read_contract(repository)
    reference = dataclasses.replace(contract, engine="onnxruntime", precision="fp32")
    config = preset(contract.preset, list(contract.modality_names))
    source = load_source(None, config, contract.resolution, None, random_weights=True)
    return {
        REFERENCE: EnginePredictor(repository, reference),
        EAGER: TorchPredictor(source.model, contract.resolution),
    }


def served(
    url: str, stack: ExitStack, paths: tuple[str, ...] = (ENSEMBLE, SHARED_MEMORY, PLAIN)
) -> dict[str, Predictor]:
    """One predictor for each path of the features, closed by ``stack``."""
    return {path: stack.enter_context(TritonPredictor.connect(url, features=path)) for path in paths}


def measure_ways(ways: Mapping[str, Predictor], images: int, clicks: int, first_image: int = 0) -> dict[str, Times]:
    """Time all ways on ``images`` images each, after one to warm up.

    The ways take turns, image by image, so that whatever else the machine does meets all of them; each has images of
    its own, because the server's response cache would answer for the way before.
    """
    times = {how: Times() for how in ways}
    for image in range(images + 1):
        for number, (how, predictor) in enumerate(ways.items()):
            is_warm_up = image == 0
            unique = first_image + image * len(ways) + number
            time_image(predictor, unique, WARM_UP_CLICKS if is_warm_up else clicks, None if is_warm_up else times[how])
    return times


def rows_of(model: str, times: Mapping[str, Times]) -> list[Row]:
    """An encode row and a click row for each way, with the ratio to the served engine in process."""
    base = times[IN_PROCESS]
    rows = []
    for how, t in times.items():
        hits = t.cache_hits if how == ENSEMBLE else "-"  # the other ways hold the features themselves
        rows.append(make_row(model, "encode", how, t.encode_ms, base.encode_ms))
        rows.append(make_row(model, "click", how, t.click_ms, base.click_ms, cache_hits=hits))
    return rows
