"""Which files the command line means, for the app and for encoding ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmms_client.alignment import Alignment
from mmms_client.annotate.images import ImageFile, find_images
from mmms_client.annotate.pictures import Reading
from mmms_client.errors import UsageError
from mmms_client.units import ValueRule, check_rule_names


@dataclass(frozen=True)
class InputRequest:
    """The options about files; names as in the help of ``annotate``."""

    image: str
    out: str
    modalities: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, ValueRule] = field(default_factory=dict)
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    select: Sequence[str] | None = None


def project_images(request: InputRequest, say: Callable[[str], None]) -> list[ImageFile]:
    """The images of the command line, their modalities under the model's names."""
    check_rule_names(request.rename, set(request.modalities), "--map")
    paths = {request.rename.get(name, name): path for name, path in request.modalities.items()}
    if len(paths) != len(request.modalities):
        raise UsageError("Expected one --modality for each of the model's names but got two; drop one of them.")
    if request.select is not None:
        paths = {name: path for name, path in paths.items() if name in request.select}
    notes: list[str] = []
    images = find_images(request.image, paths, request.out, notes)
    for note in notes:
        say(f"note: {note}")
    return images


def reading(request: InputRequest) -> Reading:
    """How files are read; options may use a name before or after ``--map``."""
    known = {*request.modalities, *request.rename.values()}
    check_rule_names(request.scales, known, "--scale")
    check_rule_names(request.alignments, known, "--align")
    return Reading(
        {request.rename.get(name, name): rule for name, rule in request.scales.items()},
        {request.rename.get(name, name): alignment for name, alignment in request.alignments.items()},
        tuple(Path(path) for path in (request.image, *request.modalities.values())),
    )
