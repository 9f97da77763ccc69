"""``mmms-client replay SESSION``: the recorded clicks on any model, and how its masks differ from the recorded ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmms_client.annotation import Answer
from mmms_client.errors import DataError
from mmms_client.files import write_text_atomically
from mmms_client.headless import AnnotateRequest, Connect, connect_to_triton, open_session_inputs
from mmms_client.joint_mask import JointMap
from mmms_client.recorded import is_unwritten, read_recorded
from mmms_client.results import SESSION_FILE
from mmms_client.session import Session
from mmms_client.session_file import SessionDocument, replay


@dataclass(frozen=True)
class SurfaceDifference:
    """One surface in the recorded and in the replayed joint map.

    ``iou`` is in [0, 1], 1 if both are empty; ``ms`` is the mean of its clicks, ``None`` without clicks.
    """

    surface_id: int
    name: str
    clicks: int
    iou: float
    recorded_px: int
    replayed_px: int
    changed_px: int
    ms: float | None


def replay_session(
    request: AnnotateRequest,
    say: Callable[[str], None],
    report: str | None = None,
    connect: Connect = connect_to_triton,
) -> list[SurfaceDifference]:
    """Run a session's clicks again and compare.

    Args:
        request: ``clicks`` is the session file, or the folder that holds it; ``image`` may be empty to take the
            session's. The other fields as for the headless run; ``out`` is not used.
        say: gets each line for the person at the terminal.
        report: a JSON file to write as well.
        connect: makes the predictor.

    Raises:
        MMMSError: one line.
    """
    file = _session_file(Path(request.clicks or "."))
    session_now = read_recorded(file)
    document, recorded = session_now.document, session_now.joint()
    image = request.image or os.fspath(file.parent / document.image_path)
    request = replace(request, clicks=os.fspath(file), image=image)
    durations_ms: dict[int, list[float]] = {}

    def record(answer: Answer) -> None:
        durations_ms.setdefault(answer.surface_id, []).append(answer.duration_ms)

    with connect(request.url, request.features, request.deadline_s) as predictor:
        contract = predictor.contract
        inputs = open_session_inputs(contract, request, document)
        for note in inputs.notes:
            say(f"note: {note}")
        session = Session(predictor, inputs.image, inputs.modalities, document.region, request.threshold)
        replay(document, session, record)
    rows = _differences(document, recorded, session, durations_ms)
    model = f"{contract.preset} ({contract.checkpoint}, sha256 {contract.checkpoint_sha256[:12]})"
    say(
        f"replayed {document.click_count} click(s) on {model} with "
        f"{', '.join(sorted(inputs.modalities)) or 'RGB alone'}"
    )
    for line in _table(rows, recorded, session.joint):
        say(line)
    if report is not None:
        write_text_atomically(
            report, json.dumps(_report(rows, recorded, session.joint, contract.checkpoint_sha256), indent=1)
        )
    return rows


def _session_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    if not (path / SESSION_FILE).is_file() and not is_unwritten(path):
        raise DataError(
            f"Expected {SESSION_FILE} in {os.fspath(path)!r} but got none; give the session file, or the folder of one "
            f"image below the app's --out."
        )
    return path / SESSION_FILE


def _differences(
    document: SessionDocument, recorded: JointMap, session: Session, durations_ms: dict[int, list[float]]
) -> list[SurfaceDifference]:
    rows = []
    for surface in document.surfaces:
        number = surface.surface_id
        old, new = recorded == number, session.joint == number
        union, spent = int((old | new).sum()), durations_ms.get(number, [])
        rows.append(
            SurfaceDifference(
                number,
                surface.name,
                len(session.clicks(number)),
                int((old & new).sum()) / union if union else 1.0,
                int(old.sum()),
                int(new.sum()),
                int((old ^ new).sum()),
                sum(spent) / len(spent) if spent else None,
            )
        )
    return rows


def _table(rows: list[SurfaceDifference], recorded: JointMap, replayed: JointMap) -> list[str]:
    lines = [f"{'id':>5}  {'clicks':>6}  {'IoU':>7}  {'changed':>9}  {'ms/click':>8}  surface"]
    for row in rows:
        ms = "-" if row.ms is None else f"{row.ms:.1f}"
        lines.append(
            f"{row.surface_id:>5}  {row.clicks:>6}  {row.iou:>7.4f}  {row.changed_px:>6} px  {ms:>8}  {row.name}"
        )
    mean = float(np.mean([row.iou for row in rows])) if rows else 1.0
    different = float((recorded != replayed).mean())
    return [*lines, f"mean IoU {mean:.4f} over {len(rows)} surface(s); {different:.2%} of the joint map differs"]


def _report(rows: list[SurfaceDifference], recorded: JointMap, replayed: JointMap, sha256: str) -> dict[str, Any]:
    return {
        "checkpoint_sha256": sha256,
        "mean_iou": float(np.mean([row.iou for row in rows])) if rows else 1.0,
        "different": float((recorded != replayed).mean()),
        "surfaces": [vars(row) for row in rows],
    }
