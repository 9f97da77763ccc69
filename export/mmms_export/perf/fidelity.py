"""Whether what is fast is still the same: masks and NoC of a served repository against the trained network in eager
PyTorch and fp32.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import DataError
from mmms_client.predictor import Predictor
from mmms_eval.metrics import iou
from mmms_eval.runner import evaluate
from mmms_export.perf.bench_rate import PROTOCOL, WORKERS, Drawn
from mmms_export.perf.rows import Fact
from mmms_export.perf.workload import random_clicks, scene
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.predictor import TorchPredictor

CLICKS = 10  # on each image
MEAN_IOU = "masks: mean IoU with eager PyTorch"
NOC_DIFFERENCE = "bench: NoC@90 served, away from eager PyTorch's"
_NOC = replace(PROTOCOL, n_max=20, stop_iou=0.95)


def eager_network(checkpoint: Path, served: Predictor) -> TorchPredictor:
    """The network of a checkpoint in fp32. Raises :class:`DataError` if it is not the one that is served."""
    found, contract = read_checkpoint(checkpoint), served.contract
    if found.sha256 != contract.checkpoint_sha256:
        raise DataError(
            f"Expected the checkpoint that is served, sha256 {contract.checkpoint_sha256[:12]}, in {str(checkpoint)!r} "
            f"but got {found.sha256[:12]}; give that one with --trained."
        )
    return TorchPredictor(load_model(found, contract.resolution), contract.resolution, sha256=found.sha256)


def fidelity_facts(model: str, served: Predictor, checkpoint: Path, clicks: int, images: int, first: int) -> list[Fact]:
    """``clicks`` masks of both networks from the same clicks and the same mask before; NoC of both on ``images``."""
    eager = eager_network(checkpoint, served)
    ious = [value for n in range(-(-clicks // CLICKS)) for value in mask_ious(eager, served, first + n)][:clicks]
    facts = [
        Fact(model, f"{MEAN_IOU}, {len(ious)} clicks", float(np.mean(ious)), ""),
        Fact(model, f"masks: lowest IoU with eager PyTorch, {len(ious)} clicks", float(np.min(ious)), ""),
    ]
    if images:
        dataset = Drawn(first, images, served.contract.modality_names)
        ours = evaluate(served, dataset, _NOC, name="served", workers=WORKERS).summary
        theirs = evaluate(eager, dataset, _NOC, name="eager").summary
        facts += [
            Fact(model, "bench: NoC@90, eager PyTorch", theirs.noc["90"], "clicks"),
            Fact(model, NOC_DIFFERENCE, abs(ours.noc["90"] - theirs.noc["90"]), "clicks"),
        ]
    return facts


def mask_ious(eager: Predictor, served: Predictor, number: int) -> list[float]:
    """IoU of the two masks after each click on image ``number``; both go on from the eager network's answer."""
    shown, clicks = scene(number, served.contract.modality_names), random_clicks(number, CLICKS)
    first, second = (predictor.encode(shown.image, shown.modalities) for predictor in (eager, served))
    previous: NDArray[np.float32] | None = None
    found = []
    for count in range(1, CLICKS + 1):
        answer = eager.predict(first, clicks[:count], previous)
        found.append(iou(served.predict(second, clicks[:count], previous) > 0.5, answer > 0.5))
        previous = answer
    return found
