"""The exporter: what it writes computes what the network computes, and a broken graph does not pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from mmms_client.errors import UsageError
from mmms_export import exporter
from mmms_export.engines import StageEngine, cpu_precisions
from mmms_export.exporter import export, load_source
from mmms_export.parity import ParityError, check_parity, spread_random_head
from mmms_export.repository import Target
from mmms_export.stages import STAGE_NAMES, build_stages, example_inputs, unpack
from mmms_export.to_onnx import check_signature, stage_to_onnx
from mmms_export.to_tensorrt import build_plan, build_rtx_engine
from mmms_training.predictor import model_contract
from mmms_training.presets import preset

SIDE = 96
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source():  # type: ignore[no-untyped-def]
    return load_source(None, preset("nano"), SIDE, None, random_weights=True)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    out = tmp_path_factory.mktemp("repository")
    export(source, Target("onnxruntime", "fp32"), SIDE, out, lambda _: None)
    return out


def engines_of(repository: Path, engine: str = "onnxruntime", precision: str = "fp32") -> dict[str, StageEngine]:
    return {n: StageEngine(repository / n / "1" / "model.onnx", engine, precision) for n in STAGE_NAMES}


def contract_of(source, engine: str = "onnxruntime", precision: str = "fp32"):  # type: ignore[no-untyped-def]
    return model_contract(source.model, SIDE, source.name, source.sha256, engine, precision)


@pytest.mark.parametrize(("engine", "precision"), [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")])
def test_engines_agree_with_eager(source, exported: Path, engine: str, precision: str) -> None:  # type: ignore[no-untyped-def]
    if precision == "bf16" and "bf16" not in cpu_precisions():
        pytest.skip("this CPU has no bf16")
    contract = contract_of(source, engine, precision)
    report = check_parity(
        source.model, build_stages(source.model, contract), engines_of(exported, engine, precision), contract, False
    )
    assert report.inputs >= 2 and set(report.per_stage) == set(STAGE_NAMES)
    assert report.eager_span[0] < 0.05 and report.eager_span[1] > 0.95


def test_clicks_land_on_their_pixel_in_bf16(tmp_path: Path) -> None:
    """bf16 has 8 bits: it knows no odd coordinate above 256, unless the engine keeps coordinates out of it."""
    if "bf16" not in cpu_precisions():
        pytest.skip("this CPU has no bf16")
    side = 448
    large = load_source(None, preset("nano"), side, None, random_weights=True)
    contract = model_contract(large.model, side, large.name, large.sha256, "openvino", "bf16")
    spread_random_head(large.model, contract)
    spec = contract.models()["csnet"]
    traced = example_inputs(spec.inputs, contract, seed=0, batch=2)
    onnx.save(stage_to_onnx(build_stages(large.model, contract)["csnet"], spec, traced), tmp_path / "csnet.onnx")
    arrays = {k: v.numpy() for k, v in example_inputs(spec.inputs, contract, seed=3, batch=1).items()}
    arrays["point_labels"][:] = -1
    arrays["point_labels"][0, :8] = 1
    arrays["point_coords"][0, :8] = np.random.default_rng(0).uniform(257, 440, (8, 2))
    moved = {**arrays, "point_coords": arrays["point_coords"] + 3.0}
    exact, reduced = (StageEngine(tmp_path / "csnet.onnx", "openvino", p) for p in ("fp32", "bf16"))
    expected = exact(arrays)["mask"].astype(int)
    shift = np.abs(exact(moved)["mask"].astype(int) - expected).mean()  # what three pixels make
    assert np.abs(reduced(arrays)["mask"].astype(int) - expected).mean() < 0.5 * shift


def test_a_precision_that_this_cpu_lacks_is_not_exported_unchecked(  # type: ignore[no-untyped-def]
    source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO would run fp32 then, whose masks say nothing of those that another CPU will serve in bf16."""
    monkeypatch.setattr(exporter, "cpu_precisions", lambda: ("fp32",))
    with pytest.raises(ParityError, match=r"computes in bf16.*export with --precision fp32"):
        export(source, Target("cpu", "bf16"), SIDE, tmp_path / "x", lambda _: None)
    assert not (tmp_path / "x").exists()


def test_batch_of_csnet_equals_its_rows(source, exported: Path) -> None:  # type: ignore[no-untyped-def]
    contract = contract_of(source)
    inputs = example_inputs(contract.models()["csnet"].inputs, contract, seed=3, batch=3)
    arrays = {k: v.numpy() for k, v in inputs.items()}
    engine = engines_of(exported)["csnet"]
    together = engine(arrays)["mask"]
    rows = [engine({k: v[i : i + 1] for k, v in arrays.items()})["mask"] for i in range(3)]
    assert np.abs(together.astype(int) - np.concatenate(rows).astype(int)).max() <= 1


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_a_broken_stage_does_not_pass(source, exported: Path, tmp_path: Path, stage: str) -> None:  # type: ignore[no-untyped-def]
    """Shuffle the largest weight of one stage: names and shapes stay right, the numbers do not.

    Halving it would not do: a LayerNorm behind it takes a factor out again.
    """
    for name in STAGE_NAMES:
        model = onnx.load(exported / name / "1" / "model.onnx")
        if name == stage:
            largest = max(model.graph.initializer, key=lambda t: int(np.prod(t.dims)))
            values = numpy_helper.to_array(largest)
            largest.CopyFrom(numpy_helper.from_array(np.roll(values, 1, axis=0), largest.name))
        (tmp_path / name / "1").mkdir(parents=True)
        onnx.save(model, tmp_path / name / "1" / "model.onnx")
    contract = contract_of(source)
    with pytest.raises(ParityError, match=stage if stage != "csnet" else "masks within 2/255"):
        check_parity(source.model, build_stages(source.model, contract), engines_of(tmp_path), contract, False)


def test_a_flat_mask_proves_nothing(exported: Path) -> None:
    """A network whose answer is 0.5 everywhere would hide every dead branch."""
    flat = load_source(None, preset("nano"), SIDE, None, random_weights=True)
    with torch.no_grad():
        flat.model.csnet.head.classify.weight.zero_()
    contract = contract_of(flat)
    with pytest.raises(ParityError, match=r"span 0\.05 to 0\.95"):
        check_parity(flat.model, build_stages(flat.model, contract), engines_of(exported), contract, False)


def test_spread_head_makes_random_masks_span_the_range() -> None:
    fresh = load_source(None, preset("nano"), SIDE, None, random_weights=True, seed=5)
    spread_random_head(fresh.model, contract_of(fresh))
    contract = contract_of(fresh)
    case = example_inputs(contract.models()["mmms"].inputs, contract, 0)
    with torch.no_grad():
        mixed = fresh.model.encode(
            case["image"].float(), [case[n].float() for n in contract.modality_names], case["presence"]
        )
        answer = fresh.model.click(
            mixed, case["point_coords"], case["point_labels"], case["previous_mask"].float() / 255
        )
    assert torch.sigmoid(answer).min() < 0.05 and torch.sigmoid(answer).max() > 0.95


def test_wrong_signature_is_refused(source, exported: Path) -> None:  # type: ignore[no-untyped-def]
    model = onnx.load(exported / "csnet" / "1" / "model.onnx")
    spec = contract_of(source).models()["csnet"]
    check_signature(model, spec)
    model.graph.input[0].name = "feature"
    with pytest.raises(ValueError, match="csnet: expected tensors"):
        check_signature(model, spec)


@pytest.mark.slow
def test_same_weights_give_the_same_files(source, exported: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    export(source, Target("onnxruntime", "fp32"), SIDE, tmp_path, lambda _: None)
    for path in exported.rglob("*"):
        if path.is_file() and path.name != "measurements.json":
            assert (tmp_path / path.relative_to(exported)).read_bytes() == path.read_bytes(), path.name


def test_manifest_says_what_was_made_of_what(exported: Path) -> None:
    import hashlib

    manifest = json.loads((exported / "manifest.json").read_text())
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
    measured = json.loads((exported / "measurements.json").read_text())
    assert measured["versions"]["torch"] and measured["device"] and measured["parity"]["end_to_end_largest"] <= 2


def test_packing_is_undone_in_order() -> None:
    shapes = ((2, 4, 4), (3, 2, 2))
    maps = [torch.randn(2, *s) for s in shapes]
    packed = torch.cat([m.flatten(1) for m in maps], 1)
    assert all(torch.equal(a, b) for a, b in zip(unpack(packed, shapes), maps, strict=True))


def test_rgb_only_network_exports_without_modality_inputs(tmp_path: Path) -> None:
    rgb = load_source(None, preset("nano", []), SIDE, None, random_weights=True)
    export(rgb, Target("cpu", "fp32"), SIDE, tmp_path, lambda _: None)
    names = [i.name for i in onnx.load(tmp_path / "fuser" / "1" / "model.onnx").graph.input]
    assert names == ["F1", "F2", "F3", "F4"]


def test_random_weights_are_never_taken_silently() -> None:
    with pytest.raises(UsageError, match="--random-weights"):
        load_source(None, preset("nano"), SIDE, None, random_weights=False)


def test_precision_that_a_target_lacks(source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="target 'onnxruntime' \\(fp32\\) but got 'bf16'"):
        export(source, Target("onnxruntime", "bf16"), SIDE, tmp_path / "x", lambda _: None)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--out", "x"], 2, "Expected --checkpoint FILE, or --preset NAME with --random-weights"),
        (["--out", "x", "--checkpoint", "nothing.safetensors"], 1, "no such file; train one"),
        (
            ["--out", "x", "--preset", "nano", "--random-weights", "--resolution", "450"],
            2,
            "multiple of 32 px but got 450",
        ),
        (["--out", "x", "--preset", "nano", "--random-weights", "--target", "warp"], 2, "warp"),
    ],
)
def test_command_line_errors_are_one_line(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from mmms_export.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


# TensorRT
# ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "stage", [pytest.param(stage, marks=[] if stage == "csnet" else pytest.mark.slow) for stage in STAGE_NAMES]
)
def test_tensorrt_rtx_parses_and_builds_nano(stage: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    nano = load_source(None, preset("nano"), 448, None, random_weights=True)
    contract = model_contract(nano.model, 448, "nano", "", "tensorrt-rtx", "fp32")
    spec = contract.models()[stage]
    graph = stage_to_onnx(
        build_stages(nano.model, contract)[stage], spec, example_inputs(spec.inputs, contract, 0, batch=2)
    )
    assert len(build_rtx_engine(graph.SerializeToString(), spec, "8.9")) > 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGE_NAMES)
@pytest.mark.parametrize("name", ["mmms_dinov2_b14", "mmms_mae_b16", "mmms_ijepa_h16", "mmms_sam_b16"])
def test_tensorrt_rtx_parses_and_builds_paper_sizes(name: str, stage: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    if stage != "backbone" and name != "mmms_dinov2_b14":
        pytest.skip("the same graph as with DINOv2 but for the width of its inputs")
    source = load_source(None, preset(name), 448, None, random_weights=True)
    contract = model_contract(source.model, 448, name, "", "tensorrt-rtx", "fp32")
    spec = contract.models()[stage]
    graph = stage_to_onnx(
        build_stages(source.model, contract)[stage], spec, example_inputs(spec.inputs, contract, 0, batch=2)
    )
    assert len(build_rtx_engine(graph.SerializeToString(), spec, "8.9")) > 10_000_000


def test_unknown_compute_capability_lists_the_known_ones(source, exported: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("tensorrt_rtx")
    data = (exported / "backbone" / "1" / "model.onnx").read_bytes()
    with pytest.raises(UsageError, match=r"8\.9.*but got '9\.0'"):
        build_rtx_engine(data, contract_of(source).models()["backbone"], "9.0")


def test_missing_tensorrt_says_where_to_run(source, exported: Path) -> None:  # type: ignore[no-untyped-def]
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        data = (exported / "backbone" / "1" / "model.onnx").read_bytes()
        with pytest.raises(UsageError, match="official Triton container"):
            build_plan(data, contract_of(source).models()["backbone"])
