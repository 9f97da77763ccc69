"""The whole export: checkpoint -> stages -> ONNX -> engine files -> parity -> repository.

Everything is built and checked in a temporary folder first: a repository that fails its parity check is never written.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmms_client.contract import ModelContract
from mmms_client.errors import UsageError
from mmms_export.engines import StageEngine, cpu_precisions
from mmms_export.manifest import write_manifest, write_measurements
from mmms_export.parity import ParityError, ParityReport, check_parity, check_stages, spread_random_head
from mmms_export.repository import Target, other_versions, repository_texts, write_repository
from mmms_export.stages import STAGE_NAMES, build_stages, example_inputs
from mmms_export.to_onnx import stage_to_onnx
from mmms_export.to_tensorrt import build_plan, build_rtx_engine
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.model.backbone import AbsentBackbone, fingerprint
from mmms_training.model.mmms import MMMS, build_mmms
from mmms_training.predictor import model_contract
from mmms_training.presets import MMMSConfig

Report = Callable[[str], None]
PRECISIONS = {
    "cpu": ("bf16", "fp32"),
    "onnxruntime": ("fp32",),
    "tensorrt": ("fp32",),
    "tensorrt-rtx": ("fp32",),
}


@dataclass(frozen=True)
class Source:
    """A network and where it came from."""

    model: MMMS
    name: str
    sha256: str
    is_trained: bool
    backbone_sha256: str = ""  # of a frozen backbone, as its training met it


def load_source(
    checkpoint: Path | None,
    config: MMMSConfig | None,
    resolution: int,
    backbone_weights: str | None,
    random_weights: bool,
    seed: int = 0,
    without: Sequence[str] = (),
) -> Source:
    """The network to export: a checkpoint, or a preset with random weights when that was asked for, whose last layer
    is then scaled until its masks span the range (see :func:`mmms_export.parity.spread_random_head`).

    Raises:
        UsageError: neither a checkpoint nor random weights.
        DataError: a checkpoint or public backbone that cannot be read.
    """
    if checkpoint is not None:
        read = read_checkpoint(checkpoint)
        model = load_model(read, resolution, backbone_weights, random_weights, "backbone" not in without)
        if random_weights and not without:
            _spread(model, resolution)
        known = read.training.get("backbone_sha256") or ""
        if without and not known and not read.config.backbone.is_frozen:
            known = fingerprint(load_model(read, resolution).backbone)
        return Source(model, checkpoint.stem, read.sha256, not random_weights, known)
    if config is None or not random_weights:
        raise UsageError(
            "Expected --checkpoint FILE, or --preset NAME with --random-weights, but got neither; random weights are "
            "never taken silently."
        )
    torch.manual_seed(seed)
    model = build_mmms(config, resolution, backbone_weights, random_backbone=True).eval()
    _spread(model, resolution)
    return Source(model, f"{config.preset}-random", "0" * 64, is_trained=False)


def _backbone_hash(source: Source) -> str:
    backbone = source.model.backbone
    return source.backbone_sha256 or ("" if isinstance(backbone, AbsentBackbone) else fingerprint(backbone))


def _spread(model: MMMS, resolution: int) -> None:
    spread_random_head(model, model_contract(model, resolution, "random", "0" * 64, "onnxruntime", "fp32"))


def export(
    source: Source,
    target: Target,
    resolution: int,
    out: Path,
    report: Report,
    compute_capability: str | None = None,
    cases: list[dict[str, Tensor]] | None = None,
    without: Sequence[str] = (),
) -> ParityReport | None:
    """Build, check and write a repository. Returns the parity report; ``None`` where the engine cannot run here.

    Stages in ``without`` are somebody else's: they are not written, and the others are checked each on its own.

    Raises:
        UsageError: a precision that the target does not have.
        ParityError: the engine does not compute what the network computes, or cannot show it here, as this CPU lacks
            the precision; nothing is written.
    """
    if target.precision not in PRECISIONS[target.name]:
        raise UsageError(
            f"Expected a precision of target {target.name!r} ({', '.join(PRECISIONS[target.name])}) but got "
            f"{target.precision!r}; take one of these."
        )
    if target.name == "cpu" and target.precision not in cpu_precisions():
        raise ParityError(
            f"Expected a CPU that computes in {target.precision}, as what will be served has to be checked, but this "
            "one does not; export with --precision fp32, or there."
        )
    contract = model_contract(source.model, resolution, source.name, source.sha256, target.engine, target.precision)
    names = tuple(name for name in STAGE_NAMES if name not in without)
    if without:
        contract = dataclasses.replace(contract, backbone_sha256=_backbone_hash(source))
    stages = build_stages(source.model, contract, names)
    specs = contract.models()
    onnx_files: dict[str, bytes] = {}
    for name in names:
        report(f"tracing {name}")
        inputs = example_inputs(specs[name].inputs, contract, seed=0, batch=2)
        onnx_files[name] = stage_to_onnx(stages[name], specs[name], inputs).SerializeToString(deterministic=True)
    parity = _check(source, stages, onnx_files, contract, target, report, cases)
    graphs = {
        name: _engine_file(onnx_files[name], contract, name, target, compute_capability, report) for name in names
    }
    texts = repository_texts(contract, target, names)
    write_repository(out, contract, target, graphs)
    files = {f"{name}/{contract.model_version}/{target.graph_file}": data for name, data in graphs.items()}
    files |= {name: text.encode() for name, text in texts.items()}
    write_manifest(out, contract, target, files)
    for folder in other_versions(out, contract):
        report(f"note: {folder} is of another checkpoint; remove it when no server that runs began with it")
    write_measurements(out / "measurements.json", parity, {"target": target.name, "precision": target.precision})
    return parity


def _check(
    source: Source,
    stages: dict[str, torch.nn.Module],
    onnx_files: dict[str, bytes],
    contract: ModelContract,
    target: Target,
    report: Report,
    cases: list[dict[str, Tensor]] | None,
) -> ParityReport | None:
    """Parity of what this machine can run: the engine itself on a CPU target, the graphs in ONNX Runtime otherwise."""
    runs_here = target.name in ("cpu", "onnxruntime")
    engine, precision = (target.engine, target.precision) if runs_here else ("onnxruntime", "fp32")
    report(f"checking parity with eager fp32 ({engine}, {precision})")
    with tempfile.TemporaryDirectory() as folder:
        engines = {}
        for name, data in onnx_files.items():
            path = Path(folder) / f"{name}.onnx"
            path.write_bytes(data)
            engines[name] = StageEngine(path, engine, precision)
        if len(stages) < len(STAGE_NAMES):
            check_stages(stages, engines, contract)
            report(f"parity: {', '.join(stages)} agree with eager fp32, each on its own")
            return None
        checked = dataclasses.replace(contract, engine=engine, precision=precision)
        parity = check_parity(source.model, stages, engines, checked, source.is_trained, cases)
    report(
        f"parity: masks differ by at most {parity.end_to_end_largest}/255 (mean {parity.end_to_end_mean:.3f}), "
        f"IoU {parity.iou:.5f}, eager masks span {parity.eager_span[0]:.2f} to {parity.eager_span[1]:.2f}"
    )
    return parity


def _engine_file(
    data: bytes, contract: ModelContract, stage: str, target: Target, capability: str | None, report: Report
) -> bytes:
    spec = contract.models()[stage]
    if target.name == "tensorrt":
        report(f"building the TensorRT plan of {stage}")
        return build_plan(data, spec)
    if target.name == "tensorrt-rtx":
        assert capability is not None
        report(f"building the TensorRT-RTX engine of {stage} for compute capability {capability}")
        return build_rtx_engine(data, spec, capability)
    return data
