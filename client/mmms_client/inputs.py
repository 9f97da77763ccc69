"""An image with its modalities, from files to what :meth:`mmms_client.predictor.Predictor.encode` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmms_client.alignment import Alignment, align
from mmms_client.contract import ModelContract
from mmms_client.errors import ModalityError, UsageError
from mmms_client.geometry import check_aspect
from mmms_client.predictor import unknown_modality_message
from mmms_client.readers import is_rotated_by_exif, read_image, read_modality
from mmms_client.units import ValueRule, apply_rule, check_rule_names, find_rule

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Inputs:
    """What one session works on.

    Attributes:
        image: RGB uint8 [H, W, 3].
        modalities: by the model's name, float32 [h, w] or [h, w, C] in the model's unit, NaN without
            measurement, of the aspect ratio of the image.
        image_path: where the image came from.
        modality_paths: where the modalities came from, by the model's name.
        alignments: the alignments that were applied, by the model's name.
        notes: what a person should be told, one line each.
    """

    image: NDArray[np.uint8]
    modalities: dict[str, NDArray[np.float32]]
    image_path: str
    modality_paths: dict[str, str]
    alignments: dict[str, Alignment] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_inputs(
    contract: ModelContract,
    image: Path,
    modalities: Mapping[str, Path] | None = None,
    *,
    rename: Mapping[str, str] | None = None,
    select: Sequence[str] | None = None,
    scales: Mapping[str, ValueRule] | None = None,
    alignments: Mapping[str, Alignment] | None = None,
) -> Inputs:
    """Read an image and its modalities for a model.

    Args:
        contract: of the model; says which modalities it takes, in which unit and with how many channels.
        image: the file.
        modalities: files by name.
        rename: from a name in ``modalities`` to the model's (``--map``).
        select: the model's names to use; the others are left out (``--modalities``). All by default.
        scales: rules by name (``--scale``); otherwise ``modalities.json`` beside the file.
        alignments: by name (``--align``); otherwise the aspect ratio must be the image's.

    ``scales`` and ``alignments`` may use a name before or after renaming.

    Raises:
        ModalityError: a modality that the model lacks, that ``select`` misses, or without the unit the model
            needs.
        UsageError: two modalities of one name, or an option for a modality that is not given.
        ImageReadError: a file that is missing, broken, or of another channel count.
        AlignmentError: a modality of another aspect ratio without an alignment.
    """
    paths, names = dict(modalities or {}), dict(rename or {})
    scales, alignments = dict(scales or {}), dict(alignments or {})
    check_rule_names(names, set(paths), "--map")
    known = set(paths) | {names.get(n, n) for n in paths}
    check_rule_names(scales, known, "--scale")
    check_rule_names(alignments, known, "--align")
    chosen = _choose(contract, paths, names, select)
    notes: list[str] = []
    picture = read_image(image, notes)
    image_hw = (picture.shape[0], picture.shape[1])
    maps: dict[str, NDArray[np.float32]] = {}
    applied: dict[str, Alignment] = {}
    for target, source in chosen.items():
        spec, file = contract.modality(target), paths[source]
        rule = scales.get(source, scales.get(target)) or find_rule(source, target, file)
        values = apply_rule(read_modality(file, spec.channels, notes), rule, spec, file)
        alignment = alignments.get(source, alignments.get(target))
        if alignment is None:
            check_aspect(target, (values.shape[0], values.shape[1]), image_hw)
        else:
            values = align(values, alignment, image_hw, spec.resampling, target)
            applied[target] = alignment
        if is_rotated_by_exif(image) and not is_rotated_by_exif(file):
            notes.append(
                f"The image was turned by its EXIF data but {os.fspath(file)!r} was not: check that they agree."
            )
        maps[target] = values
    used = {target: os.fspath(paths[source]) for target, source in chosen.items()}
    return Inputs(picture, maps, os.fspath(image), used, applied, tuple(notes))


def _choose(
    contract: ModelContract, paths: Mapping[str, Path], names: Mapping[str, str], select: Sequence[str] | None
) -> dict[str, str]:
    """The model's name -> the name in ``paths``, for the modalities to use."""
    chosen: dict[str, str] = {}
    for source in paths:
        target = names.get(source, source)
        if select is not None and target not in select:
            continue
        if target not in contract.modality_names:
            raise ModalityError(unknown_modality_message(target, contract))
        if target in chosen:
            raise UsageError(
                f"Expected one file for modality {target!r} but got {chosen[target]!r} and {source!r}; drop "
                f"one of them."
            )
        chosen[target] = source
    for target in select or ():
        if target not in chosen:
            if target not in contract.modality_names:
                raise ModalityError(unknown_modality_message(target, contract))
            given = ", ".join(sorted(paths)) or "none"
            raise ModalityError(
                f"Expected a file for modality {target!r} because --modalities selects it but got only "
                f"{given}; add --modality {target}=PATH or take it out of --modalities."
            )
    return chosen
