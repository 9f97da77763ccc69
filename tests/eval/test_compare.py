"""Comparing two results files: known differences, what is refused, what is printed beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmms_client.clicks import Click
from mmms_client.errors import DataError, MMMSError, UsageError
from mmms_eval.compare import compare
from mmms_eval.compare_cli import compare as compare_command
from mmms_eval.datasets import deliver, fmb, mcubes, mfnet
from mmms_eval.metrics import iou_after, noc
from mmms_eval.nocms import JointSurface
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.published import published_table
from mmms_eval.report import SCHEMA, SCHEMA_VERSION
from mmms_eval.results import ImageResult, SurfaceResult
from mmms_eval.stored import read_evaluation

Traces = Sequence[Sequence[Sequence[float]]]  # of each image, of each surface
WriteRun = Callable[..., Path]


def image_result(index: int, traces: Sequence[Sequence[float]], protocol: EvaluationProtocol) -> dict[str, Any]:
    surfaces = []
    for surface_id, trace in enumerate(traces, 1):
        used = noc(trace, protocol.nocms_iou, protocol.n_max)
        is_failed = max(trace) < protocol.nocms_iou
        joint = JointSurface(surface_id, 1, used, used, trace[-1], 0.0, is_failed, False)
        clicks = tuple(Click(float(k), 0.0) for k in range(len(trace)))
        surfaces.append(SurfaceResult(surface_id, f"surface {surface_id}", 100, clicks, tuple(trace), joint))
    return ImageResult(f"image-{index}", (32, 32), ("thermal",), 0, tuple(surfaces), ()).to_json()


@pytest.fixture
def write(tmp_path: Path) -> WriteRun:
    """Writes a results file as ``bench --json`` does, of IoU traces."""

    def write_run(name: str, traces: Traces, dataset: str = "toy", **choices: Any) -> Path:
        protocol = EvaluationProtocol(**{"mean_iou_after": (1, 3), **choices})
        images = [image_result(index, image, protocol) for index, image in enumerate(traces)]
        document = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "protocol": protocol.to_json(),
            "dataset": {"name": dataset, "images": len(images), "images_published": 280},
            "evaluations": [
                {"name": "eye", "model": {"checkpoint": "eye.safetensors"}, "images": images},
                {"name": "other", "model": {}, "images": images[:0]},
            ],
        }
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write_run


def random_traces(seed: int, images: int = 12) -> Traces:
    generator = np.random.default_rng(seed)
    return [np.sort(generator.random((int(generator.integers(1, 4)), 5)), 1).tolist() for _ in range(images)]


def later(traces: Traces) -> Traces:
    """The same with one useless click before."""
    return [[[0.0, *trace] for trace in image] for image in traces]


def compared(a: Path, b: Path, **options: Any) -> dict[str, Any]:
    result = compare(read_evaluation(a), read_evaluation(b), **options)
    return {difference.name: difference for difference in result.differences}


def test_one_click_more_on_every_surface_is_a_difference_of_one(write: WriteRun) -> None:
    sure = [[[0.1, 0.2, 0.97]] * n for n in (1, 2, 3)]
    found = compared(write("a.json", sure), write("b.json", later(sure)))
    for name in ("NoC@60", "NoC@95", "NoCMS@(80,70)"):
        d = found[name]
        assert (d.a, d.b, d.difference, d.low, d.high, d.verdict) == (3.0, 4.0, 1.0, 1.0, 1.0, "A better")
    assert found["mIoU@1"].difference == pytest.approx(-10.0)
    assert found["mIoU@1"].verdict == "A better"
    assert found["failures@80"].verdict == "not shown"


def test_a_run_against_itself_shows_nothing(write: WriteRun) -> None:
    path = write("a.json", random_traces(0))
    for difference in compared(path, path).values():
        assert difference.low <= 0.0 <= difference.high
        assert (difference.difference, difference.verdict) == (0.0, "not shown")


def test_the_interval_is_that_of_a_plain_bootstrap(write: WriteRun) -> None:
    a, b = random_traces(1), random_traces(2, 12)
    a = [image[:1] for image in a]
    b = [[*image, *image][:1] for image in b]
    found = compared(write("a.json", a), write("b.json", b), resamples=4000)["mIoU@3"]
    change = np.array([100 * (iou_after(y[0], 3) - iou_after(x[0], 3)) for x, y in zip(a, b, strict=True)])
    generator = np.random.default_rng(7)
    plain = [change[generator.integers(0, len(change), len(change))].mean() for _ in range(4000)]
    assert found.difference == pytest.approx(change.mean())
    low, high = np.percentile(plain, (2.5, 97.5))
    assert found.low == pytest.approx(low, abs=0.08 * (high - low))
    assert found.high == pytest.approx(high, abs=0.08 * (high - low))


def test_the_seed_decides_the_interval(write: WriteRun) -> None:
    a, b = write("a.json", random_traces(3)), write("b.json", later(random_traces(3)))
    one, again, other = (compared(a, b, seed=seed, resamples=500)["mIoU@3"] for seed in (0, 0, 1))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)


def test_surfaces_are_pooled_and_not_averaged_by_image(write: WriteRun) -> None:
    a = [[[0.97]], [[0.1, 0.97]] * 3]
    found = compared(write("a.json", a), write("b.json", a))["NoC@80"]
    assert found.a == pytest.approx((1 + 2 * 3) / 4)


@pytest.mark.parametrize(
    ("traces", "choices", "text"),
    [
        ([[[0.9]], [[0.9]]], {"n_max": 10}, "but got n_max 20 in {a} and 10 in {b}; measure both alike, or add"),
        ([[[0.9]], [[0.9]]], {"iou_thresholds": (0.8,)}, "iou_thresholds [0.6, 0.7, 0.8, 0.85, 0.9, 0.95] in {a} and"),
        (
            [[[0.9]]],
            {},
            "but got 1 image only in {a} (image-1); measure both alike, or add --allow-different-protocol.",
        ),
        ([[[0.9]], [[0.9]] * 2], {}, "but got other surfaces in image-1; measure"),
    ],
)
def test_runs_that_were_not_measured_alike_are_refused(
    write: WriteRun, traces: Traces, choices: dict[str, Any], text: str
) -> None:
    a, b = write("a.json", [[[0.9]], [[0.9]]]), write("b.json", traces, **choices)
    with pytest.raises(UsageError) as caught:
        compared(a, b)
    assert text.format(a=a, b=b) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_protocols_can_be_compared_on_demand(write: WriteRun) -> None:
    a, b = write("a.json", [[[0.5]]] * 3), write("b.json", [[[0.5]]] * 2, n_max=10)
    result = compare(read_evaluation(a), read_evaluation(b), allow_different=True)
    assert result.images == 2
    assert result.differences[0].difference == -10.0
    assert result.remarks[0].startswith("n_max 20 in")
    assert "1 image only in" in result.remarks[1]


def test_other_modalities_are_what_one_compares(write: WriteRun) -> None:
    traces = [[[0.9]]] * 2
    a, b = write("a.json", traces, modalities=()), write("b.json", traces)
    document = json.loads(a.read_text())
    for image in document["evaluations"][0]["images"]:
        image["modalities"] = []
    a.write_text(json.dumps(document))
    result = compare(read_evaluation(a), read_evaluation(b))
    assert result.remarks[0] == "A was given RGB alone, B thermal"


def test_one_image_is_not_enough(write: WriteRun) -> None:
    path = write("a.json", [[[0.9]]])
    with pytest.raises(DataError, match="Expected at least 2 images with surfaces in both runs but got 1; measure on"):
        compared(path, path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "Expected to read"),
        ("{", "Expected JSON in"),
        ("[]", "Expected the schema 'mmms-bench' in"),
        ('{"schema": "mmms-bench", "schema_version": 99}', "but got 99; read it with the version"),
        (
            '{"schema": "mmms-bench", "schema_version": 2}',
            "expected evaluations to be given but got None; write",
        ),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, content: str | None, text: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_evaluation(path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_evaluation_is_chosen_by_name(write: WriteRun) -> None:
    path = write("a.json", [[[0.9]]])
    assert read_evaluation(path, "other").name == "other"
    with pytest.raises(UsageError, match=r"Expected an evaluation of .* \('eye', 'other'\) but got 'nose'"):
        read_evaluation(path, "nose")


def test_the_command_prints_the_table_and_the_papers_numbers(write: WriteRun, tmp_path: Path) -> None:
    traces = random_traces(5)
    a, b = write("a.json", traces, "fmb"), write("b.json", later(traces), "fmb")
    out = tmp_path / "difference.json"
    result = CliRunner().invoke(compare_command, [str(a), str(b), "--json", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    (noc80,) = (metric for metric in document["metrics"] if metric["name"] == "NoC@80")
    row = next(line for line in result.output.splitlines() if line.startswith("NoC@80"))
    assert row.split()[1:4] == [f"{noc80['a']:.2f}", f"{noc80['b']:.2f}", f"{noc80['difference']:+.2f}"]
    assert document["bootstrap"] == {"resamples": 10_000, "seed": 0, "confidence": 0.95, "unit": "image"}
    assert document["published"]["source"] == "arXiv 2509.12963, Table VIII"
    assert "arXiv 2509.12963, Table VIII" in result.output
    assert "DINOv2-B14, RGB + thermal" in result.output and "11.92" in result.output
    assert "A is not the paper's quantity: 12 images here, 280 in the published split" in result.output
    assert "intervals from 12 images are narrower than they should be" in result.output


def test_the_command_refuses_with_the_exit_code_of_usage(write: WriteRun) -> None:
    a, b = write("a.json", [[[0.9]]] * 2), write("b.json", [[[0.9]]] * 2, n_max=10)
    with pytest.raises(MMMSError) as caught:
        compare_command.main([str(a), str(b)], standalone_mode=False)
    assert caught.value.exit_code == 2
    compare_command.main([str(a), str(b), "--allow-different-protocol"], standalone_mode=False)


@pytest.mark.parametrize(
    ("dataset", "rows", "name", "column", "number"),
    [
        ("deliver", 12, "DINOv2-B14, RGB + depth + event", "FRMS %", 60.19),
        ("mfnet", 8, "DINOv2-B14, RGB + thermal", "NoC@90", 14.88),
        ("fmb", 8, "DINOv2-B14, RGB alone", "NoCMS@(80,70)", 8.28),
        ("mcubes", 9, "DINOv2-B14, RGB + aolp + dolp + nir", "NoC@60", 10.80),
    ],
)
def test_published_numbers(dataset: str, rows: int, name: str, column: str, number: float) -> None:
    table = published_table(dataset)
    assert table is not None and len(table.rows) == rows
    assert next(row for row in table.rows if row.name == name).numbers[column] == number
    assert published_table("synthetic") is None


def test_published_rows_use_our_names_of_the_modalities() -> None:
    for card in (deliver.CARD, fmb.CARD, mcubes.CARD, mfnet.CARD):
        table = published_table(card.name)
        assert table is not None
        assert {name for row in table.rows for name in row.modalities} <= set(card.modalities)
