"""Reading what ``bench --json`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError, UsageError
from mmms_client.json_place import Place, shown
from mmms_client.json_text import read_json
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.report import SCHEMA, SCHEMA_VERSION
from mmms_eval.results import ImageResult


@dataclass(frozen=True)
class StoredEvaluation:
    """One model of a results file."""

    file: str
    name: str
    model: Mapping[str, Any]
    dataset: Mapping[str, Any]
    protocol: EvaluationProtocol
    images: Mapping[str, ImageResult]  # by key, in the order of the data set


def read_evaluation(path: Path, name: str | None = None) -> StoredEvaluation:
    """One evaluation of a results file: the one called ``name``, or the first, which is the served model.

    Raises:
        DataError: the file cannot be read, or is not a results file of a version that this program knows.
        UsageError: no evaluation of that name in the file.
    """
    document = Place(str(path), "", _read(path), "write it again with mmms-client bench --json")
    top = document.having("evaluations", "dataset", "protocol")
    evaluations = [item.having("name", "model", "images") for item in top["evaluations"].items()]
    found = {entry["name"].text(may_be_empty=True): entry for entry in reversed(evaluations)}
    if not evaluations:
        top["evaluations"].fail("a list with a model")
    chosen = found.get(name) if name is not None else evaluations[0]
    if chosen is None:
        listed = ", ".join(shown(known) for known in reversed(found))
        raise UsageError(f"Expected an evaluation of {str(path)!r} ({listed}) but got {name!r}; name one of them.")
    images = [ImageResult.read(image) for image in chosen["images"].items()]
    return StoredEvaluation(
        file=str(path),
        name=chosen["name"].text(may_be_empty=True),
        model=_facts(chosen["model"]),
        dataset=_facts(top["dataset"]),
        protocol=EvaluationProtocol.read(top["protocol"]),
        images={image.key: image for image in images},
    )


def _facts(place: Place) -> dict[str, Any]:
    """What a file says of its model or data set, of which programs need some; ``name`` is a text if there is one."""
    entries = place.entries()
    if "name" in entries:
        entries["name"].text()
    return {key: entry.value for key, entry in entries.items()}


def _read(path: Path) -> dict[str, Any]:
    advice = "give a file that mmms-client bench --json wrote"
    try:
        document = read_json(path)
    except OSError as error:
        raise DataError(f"Expected to read {str(path)!r} but got {error.strerror!r}; {advice}.") from error
    except ValueError as error:
        raise DataError(f"Expected JSON in {str(path)!r} but got {shown(str(error))}; {advice}.") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise DataError(f"Expected the schema {SCHEMA!r} in {str(path)!r} but got {shown(schema)}; {advice}.")
    version = document.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise DataError(
            f"Expected a schema version from 1 to {SCHEMA_VERSION} in {str(path)!r} but got {shown(version)}; read it "
            "with the version of the program that wrote it, or measure again."
        )
    return document
