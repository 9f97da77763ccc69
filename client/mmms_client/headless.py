"""``mmms-client annotate IMAGE --clicks SESSION.json``: the whole run, without a browser.

Everything is computed and coded before the first file is written, so that a failing click leaves no half of a
result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mmms_client.alignment import Alignment
from mmms_client.annotation import Answer
from mmms_client.contract import ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.errors import SessionFormatError, UsageError
from mmms_client.export_masks.palette_png import encode_palette_png
from mmms_client.export_masks.surface_png import encode_surface_png, surface_file_name
from mmms_client.files import make_folder, path_from, png_bytes, write_inside
from mmms_client.inputs import Inputs, open_inputs
from mmms_client.overlay import render_overlay
from mmms_client.predictor import Predictor
from mmms_client.recorded import read_recorded
from mmms_client.session import Session
from mmms_client.session_file import SessionDocument, document_of, format_session, replay
from mmms_client.units import ValueRule

Connect = Callable[[str | Endpoint, str, float], AbstractContextManager[Predictor]]


@dataclass(frozen=True)
class AnnotateRequest:
    """The command line of ``annotate``; names as in its help."""

    image: str
    clicks: str | None
    out: str
    url: str | Endpoint
    modalities: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, ValueRule] = field(default_factory=dict)
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    select: Sequence[str] | None = None
    threshold: float = 0.5
    features: str = "auto"
    deadline_s: float = 30.0


def connect_to_triton(url: str | Endpoint, features: str, deadline_s: float) -> AbstractContextManager[Predictor]:
    """A predictor on a Triton server. gRPC is loaded here and not before."""
    from mmms_client.triton_predictor import TritonPredictor

    predictor: AbstractContextManager[Predictor] = TritonPredictor.connect(
        url, features=features, deadline_s=deadline_s
    )
    return predictor


def annotate(request: AnnotateRequest, say: Callable[[str], None], connect: Connect = connect_to_triton) -> Path:
    """Answer the clicks of a session file and write joint.png, overlay.png, session.json and
    surfaces/ID_NAME.png.

    Args:
        request: what to do.
        say: gets each line for the person at the terminal.
        connect: makes the predictor.

    Returns:
        The folder with the results.

    Raises:
        MMMSError: one line; nothing was written then, but for :class:`OutputError`, which may leave whole
            files.
    """
    if request.clicks is None:
        raise UsageError(
            "Expected --clicks SESSION.json, the surfaces and clicks to answer, but got none; write the file by "
            "hand (see docs), with mmms_client.write_session, or with the app."
        )
    document = read_recorded(request.clicks).document
    if not document.click_count:
        raise SessionFormatError(
            f"{request.clicks}: expected at least one surface with a click but got none; add clicks to the file."
        )
    with connect(request.url, request.features, request.deadline_s) as predictor:
        inputs = open_session_inputs(predictor.contract, request, document)
        for note in inputs.notes:
            say(f"note: {note}")
        session = Session(predictor, inputs.image, inputs.modalities, document.region, request.threshold)
        durations_ms: dict[int, list[float]] = {}

        def record(answer: Answer) -> None:
            durations_ms.setdefault(answer.surface_id, []).append(answer.duration_ms)

        replay(document, session, record)
        units = {spec.name: spec.unit for spec in predictor.contract.modalities}
    out = Path(request.out)
    _write(out, _results(out, session, inputs, document, units))
    for line in _summary(session, durations_ms, out):
        say(line)
    return out


def open_session_inputs(contract: ModelContract, request: AnnotateRequest, document: SessionDocument) -> Inputs:
    """The files of the command line; what it does not name comes from the session file."""
    paths, alignments = dict(request.modalities), dict(request.alignments)
    if not paths:
        folder = Path(request.clicks or ".").parent
        paths = {name: os.fspath(folder / path) for name, path in document.modalities.items()}
        if request.select is not None:
            paths = {name: p for name, p in paths.items() if request.rename.get(name, name) in request.select}
    used = {*paths, *(request.rename.get(name, name) for name in paths)}
    for name, alignment in document.alignments.items():
        if name in used:
            alignments.setdefault(name, alignment)
    return open_inputs(
        contract,
        request.image,
        paths,
        rename=request.rename,
        select=request.select,
        scales=request.scales,
        alignments=alignments,
    )


def _results(
    out: Path, session: Session, inputs: Inputs, document: SessionDocument, units: Mapping[str, str | None]
) -> dict[str, bytes]:
    """The bytes of every result by its path in the folder."""
    clicks = {surface.surface_id: session.clicks(surface.surface_id) for surface in session.surfaces}
    title = Path(inputs.image_path).name
    overlay = render_overlay(inputs.image, session.joint, session.surfaces, clicks, inputs.modalities, units, title)
    saved = document_of(
        session,
        path_from(out, inputs.image_path),
        {name: path_from(out, path) for name, path in inputs.modality_paths.items()},
        inputs.alignments,
        document.classes,
    )
    results = {
        "joint.png": encode_palette_png(session.joint, session.surfaces),
        "overlay.png": png_bytes(overlay),
        "session.json": format_session(saved).encode("utf-8"),
    }
    for surface in session.surfaces:
        mask = session.mask(surface.surface_id)
        results[f"surfaces/{surface_file_name(surface)}"] = encode_surface_png(mask)
    return results


def _write(out: Path, results: Mapping[str, bytes]) -> None:
    make_folder(out / "surfaces")
    for name, data in results.items():
        write_inside(out, out / name, data)


def _summary(session: Session, durations_ms: Mapping[int, Sequence[float]], out: Path) -> list[str]:
    lines = [f"{'id':>4}  {'clicks':>6}  {'area':>7}  {'ms/click':>8}  surface"]
    for surface in session.surfaces:
        number = surface.surface_id
        spent = durations_ms.get(number, ())
        mean = f"{sum(spent) / len(spent):.1f}" if spent else "-"
        share = float(session.mask(number).mean())
        clicks = len(session.clicks(number))
        name = surface.name + (f" ({surface.class_name})" if surface.class_name else "")
        lines.append(f"{number:>4}  {clicks:>6}  {share:>7.1%}  {mean:>8}  {name}")
    return [*lines, f"written to {out}: joint.png, overlay.png, session.json, surfaces/"]
