"""The check that ends every export: engine against eager fp32, per stage and from image to mask. It raises.

Two things could hide a broken graph: a network whose answer is flat (a dead branch changes nothing), and errors that
cancel between stages. So the last layer of random weights is scaled until the eager mask spans the range, and each
stage is also compared on the eager network's own inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmms_client.contract import ModelContract
from mmms_client.errors import MMMSError
from mmms_export.engines import StageEngine
from mmms_export.stages import STAGE_NAMES, example_inputs
from mmms_training.model.csnet import FoldedHead, MLPHead
from mmms_training.model.mmms import MMMS

MASK_TOLERANCE = 2  # of 255, for an fp32 engine
# of the thresholded masks of a trained checkpoint, pooled over the inputs: one mask of a few pixels decides nothing
MIN_IOU = {"fp32": 0.999, "bf16": 0.998, "fp16": 0.998}
FEATURE_TOLERANCE = {"fp32": 2e-3, "bf16": 5e-2, "fp16": 2e-2}  # rms error over rms value (floor 1e-3)
SPAN = (0.05, 0.95)  # what the eager probabilities of the check must cover, for random weights
TRAINED_SPAN = (0.25, 0.75)  # the same for a trained checkpoint, whose confidence is its own
_RMS_FLOOR = 1e-3

Arrays = Mapping[str, NDArray[Any]]


class ParityError(MMMSError):
    """An exported stage does not compute what the network computes."""


@dataclass(frozen=True)
class StageDifference:
    """Largest difference of one output over all inputs."""

    output: str
    largest: float  # in the output's own unit (for masks: steps of 1/255)
    relative_rms: float


@dataclass(frozen=True)
class ParityReport:
    """What was measured; written to ``measurements.json``."""

    inputs: int
    per_stage: dict[str, list[StageDifference]]
    end_to_end_largest: int  # of 255
    end_to_end_mean: float  # of 255
    iou: float  # of the masks thresholded at 0.5, all inputs pooled
    eager_span: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def spread_random_head(model: MMMS, contract: ModelContract) -> None:
    """Scale the last layer of a random-weights network so that its masks span the range instead of a flat 0.5."""
    inputs = _case(contract, 0)
    logits = _eager_logits(model, contract, inputs)
    low, high = logits.quantile(0.02), logits.quantile(0.98)
    scale = 8.0 / (high - low)
    head = model.csnet.head
    assert isinstance(head, MLPHead | FoldedHead) and head.classify.bias is not None
    head.classify.weight.mul_(scale)
    head.classify.bias.copy_((head.classify.bias - (low + high) / 2) * scale)


def check_parity(
    model: MMMS,
    stages: Mapping[str, nn.Module],
    engines: Mapping[str, StageEngine],
    contract: ModelContract,
    is_trained: bool,
    cases: list[dict[str, Tensor]] | None = None,
) -> ParityReport:
    """Compare engines with the eager network on at least two inputs.

    Args:
        model: the eager fp32 network (unfolded head).
        stages: its stages, as they were traced.
        engines: the built stages by name.
        contract: what they must speak.
        is_trained: also require the thresholded masks to agree.
        cases: inputs of ``mmms`` by tensor name; synthetic noise by default.

    Raises:
        ParityError: naming the stage or output and the difference.
    """
    cases = cases or [_case(contract, seed) for seed in range(3)]
    precision = _weakest(engines)
    per_stage: dict[str, list[StageDifference]] = {}
    largest, means, spans, common, either = 0, [], [], 0, 0
    for case in cases:
        for name, differences in _compare_stages(stages, engines, contract, case).items():
            per_stage[name] = _merge(per_stage.get(name), differences)
        eager = torch.sigmoid(_eager_logits(model, contract, case))[:, 0].numpy()
        served = _run_chain(engines, contract, case)[:, 0]
        expected = np.rint(eager * 255.0).astype(np.int16)
        difference = np.abs(served.astype(np.int16) - expected)
        largest = max(largest, int(difference.max()))
        means.append(float(difference.mean()))
        a, b = eager > 0.5, served > 127.5
        common, either = common + int((a & b).sum()), either + int((a | b).sum())
        spans.append((float(eager.min()), float(eager.max())))
    span = (min(s[0] for s in spans), max(s[1] for s in spans))
    report = ParityReport(len(cases), per_stage, largest, float(np.mean(means)), common / max(1, either), span)
    _judge(report, precision, is_trained)
    return report


def check_stages(stages: Mapping[str, nn.Module], engines: Mapping[str, StageEngine], contract: ModelContract) -> None:
    """Compare some of the stages with eager fp32, each on its own inputs: for an export without the others.

    What comes from a stage that is not here (F1..F4, the features) is noise, so masks are compared but not thresholded.
    Raises :class:`ParityError`.
    """
    specs, names = contract.models(), tuple(stages)
    precision = _weakest(engines)
    for seed in range(3):
        inputs = [t for name in names for t in specs[name].inputs]
        case = example_inputs(list(dict.fromkeys(inputs)), contract, seed)
        for name, differences in _compare_stages(stages, engines, contract, case, names).items():
            for d in differences:
                is_mask = name == "csnet"
                too_far = precision == "fp32" and d.largest > MASK_TOLERANCE
                if too_far if is_mask else d.relative_rms > FEATURE_TOLERANCE[precision]:
                    raise ParityError(
                        f"Expected stage {name!r} to agree with eager fp32 ({precision}) but {d.output!r} differs by "
                        f"{d.largest:.4g} (relative {d.relative_rms:.2e}); do not serve it."
                    )


def _judge(report: ParityReport, precision: str, is_trained: bool) -> None:
    low, high = TRAINED_SPAN if is_trained else SPAN
    if report.eager_span[0] > low or report.eager_span[1] < high:
        raise ParityError(
            f"Expected eager masks that span {low} to {high} but got {report.eager_span[0]:.3f} to "
            f"{report.eager_span[1]:.3f}: a check on a flat mask proves nothing; use a trained checkpoint."
        )
    for name, differences in report.per_stage.items():
        for d in differences:
            if name != "csnet" and d.relative_rms > FEATURE_TOLERANCE[precision]:
                raise ParityError(
                    f"Expected stage {name!r} within {FEATURE_TOLERANCE[precision]:g} of eager fp32 ({precision}) but "
                    f"output {d.output!r} differs by {d.relative_rms:.2e} (largest {d.largest:.4g}); do not serve it."
                )
    if precision == "fp32" and report.end_to_end_largest > MASK_TOLERANCE:
        raise ParityError(
            f"Expected masks within {MASK_TOLERANCE}/255 of eager fp32 but got {report.end_to_end_largest}/255; do "
            "not serve it."
        )
    if is_trained and report.iou < MIN_IOU[precision]:
        raise ParityError(
            f"Expected masks with IoU >= {MIN_IOU[precision]} against eager fp32 ({precision}) but got "
            f"{report.iou:.5f}; export with --precision fp32."
        )


def _compare_stages(
    stages: Mapping[str, nn.Module],
    engines: Mapping[str, StageEngine],
    contract: ModelContract,
    case: dict[str, Tensor],
    names: Sequence[str] = STAGE_NAMES,
) -> dict[str, list[StageDifference]]:
    """Each stage on the eager stage's inputs."""
    specs = contract.models()
    tensors = dict(case)
    result = {}
    for name in names:
        spec = specs[name]
        inputs = {t.name: tensors[t.name] for t in spec.inputs}
        with torch.inference_mode():
            answer = stages[name](*inputs.values())
        outputs = dict(
            zip(
                (t.name for t in spec.outputs),
                answer if isinstance(answer, tuple) else (answer,),
                strict=True,
            )
        )
        served = engines[name]({key: value.numpy() for key, value in inputs.items()})
        _check_arrays(name, served, {key: value.numpy() for key, value in outputs.items()})
        result[name] = [_difference(key, served[key], value.numpy()) for key, value in outputs.items()]
        tensors |= outputs
    return result


def _run_chain(
    engines: Mapping[str, StageEngine], contract: ModelContract, case: dict[str, Tensor]
) -> NDArray[np.uint8]:
    tensors: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in case.items()}
    for name in ("backbone", "fuser", "csnet"):
        tensors |= engines[name]({t.name: tensors[t.name] for t in contract.models()[name].inputs})
    return tensors["mask"]


def _check_arrays(stage: str, served: Arrays, eager: Arrays) -> None:
    for name, expected in eager.items():
        got = served.get(name)
        if got is None or got.shape != expected.shape or got.dtype != expected.dtype:
            found = "nothing" if got is None else f"{got.dtype} {list(got.shape)}"
            raise ParityError(
                f"Expected {stage!r} to give {name} {expected.dtype} {list(expected.shape)} but got {found}; the "
                "graph is wrong."
            )


def _difference(name: str, served: NDArray[Any], eager: NDArray[Any]) -> StageDifference:
    a, b = served.astype(np.float64), eager.astype(np.float64)
    rms = float(np.sqrt(np.mean((a - b) ** 2)))
    return StageDifference(name, float(np.abs(a - b).max()), rms / max(_RMS_FLOOR, float(np.sqrt(np.mean(b**2)))))


def _merge(before: list[StageDifference] | None, now: list[StageDifference]) -> list[StageDifference]:
    if before is None:
        return now
    return [
        StageDifference(a.output, max(a.largest, b.largest), max(a.relative_rms, b.relative_rms))
        for a, b in zip(before, now, strict=True)
    ]


@torch.inference_mode()
def _eager_logits(model: MMMS, contract: ModelContract, case: dict[str, Tensor]) -> Tensor:
    mixed = model.encode(
        case["image"].float(), [case[name].float() for name in contract.modality_names], case.get("presence")
    )
    return model.click(mixed, case["point_coords"], case["point_labels"], case["previous_mask"].float() / 255.0)


def _case(contract: ModelContract, seed: int) -> dict[str, Tensor]:
    return example_inputs(contract.models()["mmms"].inputs, contract, seed)


def _weakest(engines: Mapping[str, StageEngine]) -> str:
    order = ("bf16", "fp16", "fp32")
    return min((e.precision for e in engines.values()), key=order.index)
