"""The model repository: real protobuf, equal to the contract, and what is committed is what the exporter writes."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from mmms_client.contract import CONTRACT_VERSION, ModelContract
from mmms_client.triton_predictor import parse_contract
from mmms_export.repository import Target, repository_texts
from mmms_export.to_onnx import check_signature
from mmms_training.model.mmms import backbone_shapes, pyramid_shapes
from mmms_training.presets import PRESETS, preset
from served_repositories import graph_of

REPOSITORY = Path(__file__).parents[2] / "model_repository"
TARGETS = [
    Target("cpu", "bf16"),
    Target("onnxruntime", "fp32"),
    Target("tensorrt", "fp32"),
    Target("tensorrt-rtx", "fp32"),
]


def contract_of(name: str, modalities: list[str] | None = None) -> ModelContract:
    config = preset(name, modalities)
    return ModelContract(
        name, "test", "0" * 64, 448, config.modalities, backbone_shapes(config, 448), pyramid_shapes(config, 448)
    )


def parse(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(ports: object) -> dict[str, tuple[str, tuple[int, ...]]]:
    names = model_config_pb2.DataType
    return {p.name: (names.Name(p.data_type).removeprefix("TYPE_"), tuple(p.dims)) for p in ports}  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize(
    ("name", "modalities"), [("nano", None), ("mmms_dinov2_b14", []), ("mmms_sam_b16", ["aolp", "dolp"])]
)
def test_configurations_are_real_and_equal_the_contract(
    target: Target, name: str, modalities: list[str] | None
) -> None:
    contract = contract_of(name, modalities)
    configs = {
        path.split("/")[0]: parse(text)
        for path, text in repository_texts(contract, target).items()
        if path.endswith(".pbtxt")
    }
    for model, spec in contract.models().items():
        config = configs[model]
        assert config.name == model and config.max_batch_size == spec.max_batch_size
        assert tensors(config.input) == {t.name: (t.dtype, t.shape) for t in spec.inputs}
        assert tensors(config.output) == {t.name: (t.dtype, t.shape) for t in spec.outputs}
    cached = [model for model, config in configs.items() if config.response_cache.enable]
    assert cached == ["backbone_fuser"] and len(configs["backbone_fuser"].output) == 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@pytest.mark.parametrize("stages", [("backbone", "fuser", "csnet"), ("fuser", "csnet")], ids=len)
def test_every_file_and_step_is_of_one_checkpoint(target: Target, stages: tuple[str, ...]) -> None:
    contract = dataclasses.replace(contract_of("nano"), checkpoint_sha256="00123456789abcdef" + "0" * 47)
    number = 0x00123456789ABCD
    texts = repository_texts(contract, target, stages)
    for path, text in texts.items():
        if not path.endswith(".pbtxt"):
            assert path.split("/")[1] == str(number)
            continue
        config = parse(text)
        assert list(config.version_policy.specific.versions) == [number]
        assert {step.model_version for step in config.ensemble_scheduling.step} <= {number}
        if config.platform != "ensemble" and config.name != "features_to_host":
            policy = config.dynamic_batching.default_queue_policy
            assert 0 < policy.max_queue_size <= 256, "no queue without an end"


def test_random_weights_are_version_1() -> None:
    assert contract_of("nano").model_version == 1


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_every_tensor_of_an_ensemble_comes_from_somewhere(target: Target) -> None:
    texts = repository_texts(contract_of("nano"), target)
    for model in ("backbone_fuser", "mmms"):
        config = parse(texts[f"{model}/config.pbtxt"])
        known = {p.name for p in config.input}
        for step in config.ensemble_scheduling.step:
            inner = parse(texts[f"{step.model_name}/config.pbtxt"])
            assert set(step.input_map) == {p.name for p in inner.input}
            assert set(step.input_map.values()) <= known, f"{model}: {step.model_name} wants a tensor nobody gives"
            known |= set(step.output_map.values())
        assert {p.name for p in config.output} <= known


def test_gpu_features_reach_the_cache_in_cpu_memory() -> None:
    texts = repository_texts(contract_of("nano"), Target("tensorrt", "fp32"))
    last = parse(texts["backbone_fuser/config.pbtxt"]).ensemble_scheduling.step[-1]
    handoff = parse(texts[f"{last.model_name}/config.pbtxt"])
    assert handoff.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU


def test_client_reads_back_the_contract_it_was_written_from() -> None:
    for name in PRESETS:
        contract = contract_of(name)
        config = parse(repository_texts(contract, TARGETS[0])["mmms/config.pbtxt"])
        data = {
            "version_policy": {"specific": {"versions": [str(v) for v in config.version_policy.specific.versions]}},
            "parameters": {k: {"string_value": v.string_value} for k, v in config.parameters.items()},
            "input": [
                {"name": n, "data_type": f"TYPE_{d}", "dims": [str(x) for x in dims]}
                for n, (d, dims) in tensors(config.input).items()
            ],
        }
        assert parse_contract(data, "test") == contract


# What is committed
# ------------------------------------------------------------------------------------------------------
def committed_contract() -> ModelContract:
    return ModelContract.from_parameters(json.loads((REPOSITORY / "manifest.json").read_text())["contract"])


def test_committed_text_files_are_what_the_exporter_writes() -> None:
    contract = committed_contract()
    texts = repository_texts(contract, Target("cpu", contract.precision))
    for relative, text in texts.items():
        assert (REPOSITORY / relative).read_text() == text, f"{relative}: run `make export`"
    found = {
        str(p.relative_to(REPOSITORY)) for p in REPOSITORY.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    graphs = {f"{stage}/{contract.model_version}/model.onnx" for stage in ("backbone", "fuser", "csnet")}
    assert found == {*texts, *graphs, "manifest.json", "measurements.json"}


def test_committed_graphs_speak_the_contract_and_match_the_manifest() -> None:
    import hashlib

    manifest = json.loads((REPOSITORY / "manifest.json").read_text())
    for stage, spec in committed_contract().models().items():
        path = graph_of(stage)
        if not path.is_file():
            assert stage in ("backbone_fuser", "mmms")
            continue
        check_signature(onnx.load(path), spec)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest["sha256"][str(path.relative_to(REPOSITORY))]


def test_committed_repository_belongs_to_the_committed_checkpoint() -> None:
    import hashlib

    checkpoint = Path(__file__).parents[2] / "checkpoints" / "nano.safetensors"
    contract = committed_contract()
    assert contract.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert contract.version == CONTRACT_VERSION


def test_committed_graphs_hold_no_path_of_the_machine_that_made_them() -> None:
    for stage in ("backbone", "fuser", "csnet"):
        path = graph_of(stage)
        data = path.read_bytes()
        assert not re.search(rb"site-packages|/home/|/work/|/tmp/", data), path
