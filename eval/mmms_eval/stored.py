"""Reading what ``bench --json`` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError, UsageError
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
    document = _read(path)
    try:
        found = {entry["name"]: entry for entry in reversed(document["evaluations"])}
        entry = found.get(name) if name is not None else document["evaluations"][0]
        if entry is None:
            listed = ", ".join(repr(known) for known in reversed(found))
            raise UsageError(f"Expected an evaluation of {str(path)!r} ({listed}) but got {name!r}; name one of them.")
        return StoredEvaluation(
            file=str(path),
            name=entry["name"],
            model=entry["model"],
            dataset=document["dataset"],
            protocol=EvaluationProtocol.from_json(document["protocol"]),
            images={image["key"]: ImageResult.from_json(image) for image in entry["images"]},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"Expected the results of a benchmark in {str(path)!r} but got {type(error).__name__}: {error}; write the "
            "file again with mmms-client bench --json."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    advice = "give a file that mmms-client bench --json wrote"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Expected to read {str(path)!r} but got {error.strerror!r}; {advice}.") from error
    except ValueError as error:
        raise DataError(f"Expected JSON in {str(path)!r} but got {str(error)!r}; {advice}.") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise DataError(f"Expected the schema {SCHEMA!r} in {str(path)!r} but got {schema!r}; {advice}.")
    version = document.get("schema_version")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise DataError(
            f"Expected a schema version from 1 to {SCHEMA_VERSION} in {str(path)!r} but got {version!r}; read it with "
            "the version of the program that wrote it, or measure again."
        )
    return document
