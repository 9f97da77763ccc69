"""Model repositories for tests: the committed one, and one with another checkpoint in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from mmms_client.contract import ModelContract
from mmms_export.repository import Target, repository_texts

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"


def contract_of(repository: Path = REPOSITORY) -> ModelContract:
    return ModelContract.from_parameters(json.loads((repository / "manifest.json").read_text())["contract"])


def graph_of(stage: str, repository: Path = REPOSITORY) -> Path:
    return repository / stage / str(contract_of(repository).model_version) / "model.onnx"


def write_another_checkpoint(out: Path) -> ModelContract:
    """A repository whose click stage has other weights: its masks are far from those of the committed one."""
    ours = contract_of()
    model = onnx.load(graph_of("csnet"))
    *_, last = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == last.input[1])
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(-numpy_helper.to_array(weights)), weights.name))
    graph = model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(graph).hexdigest()
    theirs = ModelContract.from_parameters({**ours.to_parameters(), "checkpoint": "other", "checkpoint_sha256": sha256})
    for name, text in repository_texts(theirs, Target("cpu", ours.precision)).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, "utf-8")
    for stage in ("backbone", "fuser"):
        shutil.copy(graph_of(stage), out / stage / str(theirs.model_version) / "model.onnx")
    (out / "csnet" / str(theirs.model_version) / "model.onnx").write_bytes(graph)
    (out / "manifest.json").write_text(json.dumps({"contract": theirs.to_parameters()}))
    return theirs
