"""``mmms-client encode FOLDER --bundle OUT``: the fused features of a folder, for a service that holds ``csnet`` alone.

::

    FOLDER/rgb/NAME.png, FOLDER/MODALITY/NAME.png     as for `bench --dataset folder`; labels are not read
    FOLDER/NAME.png                                   or images only

A run that was interrupted goes on: images whose features are there are not encoded again.
"""

from __future__ import annotations

import dataclasses
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmms_client.contract import ModelContract
from mmms_client.errors import DataError
from mmms_client.files import make_folder, write_inside
from mmms_client.folders import files_below
from mmms_client.foreign_features import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    BundleEntry,
    bundle_key,
    contract_key,
    read_bundle,
)
from mmms_client.inputs import open_inputs
from mmms_client.predictor import network_inputs
from mmms_client.triton_predictor import TritonPredictor
from mmms_client.units import ValueRule

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_MAPS = (*_EXTENSIONS, ".npy")
_WRITE_EVERY_S = 5.0


def write_bundle(
    predictor: TritonPredictor,
    source: Path,
    out: Path,
    say: Callable[[str], None],
    scales: Mapping[str, ValueRule] | None = None,
) -> dict[str, BundleEntry]:
    """Encode all images of ``source`` and keep their features in ``out``; returns the entries by image key.

    Raises :class:`DataError` without images, or if ``out`` holds the bundle of another network.
    """
    contract = predictor.contract
    entries = _earlier(out, contract)
    notes: list[str] = []
    try:
        files = list(find_images(source, contract, notes))
    finally:
        for note in notes:
            say(f"note: {note}")
    if not files:
        raise DataError(f"Expected images in {str(source)!r} but got none; give a folder of images.")
    make_folder(out)
    done, began, last = 0, time.monotonic(), time.monotonic()
    for place, (name, image, modalities) in enumerate(files, 1):
        inputs = open_inputs(contract, image, modalities, scales=scales)
        _, present, tensors = network_inputs(contract, inputs.image, inputs.modalities)
        key = bundle_key(tensors["image"])
        known = entries.get(key)
        if known is None or known.modalities != present or not (out / known.file).is_file():
            start = time.perf_counter()
            features = predictor.fused_features(present, tensors)[0]
            seconds = time.perf_counter() - start
            stream = io.BytesIO()
            np.save(stream, features)
            file = f"{key[:32]}.npy"
            write_inside(out, out / file, stream.getvalue())
            entries[key] = BundleEntry(name, file, present, features.nbytes, seconds)
            done += 1
            if time.monotonic() - last > _WRITE_EVERY_S:
                last = time.monotonic()
                _write_list(out, contract, entries)
                left_s = (len(files) - place) * (last - began) / done
                say(f"{place} of {len(files)} images, {left_s:.0f} s left")
    _write_list(out, contract, entries)
    count = max(1, len(entries))
    say(
        f"bundle {out}: {len(entries)} images ({done} new), "
        f"{sum(e.size_bytes for e in entries.values()) / count / 1e6:.2f} MB and "
        f"{sum(e.seconds for e in entries.values()) / count:.3f} s per image"
    )
    return entries


def find_images(source: Path, contract: ModelContract, notes: list[str]) -> Iterator[tuple[str, Path, dict[str, Path]]]:
    """Name, image and modalities by the model's name of each image of a folder, or of one image alone.

    A bundle is given away, so a link out of ``source`` is left out, as in the app; ``notes`` gets a line about it.
    """
    if source.is_file():
        yield source.stem, source, {}
        return
    root = source / "rgb" if (source / "rgb").is_dir() else source
    folders = [spec.name for spec in contract.modalities if root != source and (source / spec.name).is_dir()]
    maps = {name: dict(_keyed(source / name, _MAPS, notes, source)) for name in folders}
    for key, file in _keyed(root, _EXTENSIONS, notes, source):
        missing = [name for name, found in maps.items() if key not in found]
        if missing:
            raise DataError(f"Expected {missing[0]} of {str(file)!r} but got no {missing[0]}/{key}.*; add it.")
        yield key, file, {name: found[key] for name, found in maps.items()}


def _keyed(folder: Path, suffixes: tuple[str, ...], notes: list[str], source: Path) -> list[tuple[str, Path]]:
    """The files of a folder by their path without suffix."""
    names = files_below(folder, suffixes, notes, within=source)
    return [(Path(name).with_suffix("").as_posix(), folder / name) for name in names]


def _earlier(out: Path, contract: ModelContract) -> dict[str, BundleEntry]:
    if not (out / BUNDLE_FILE).is_file():
        return {}
    made_for, entries = read_bundle(out)
    if made_for != contract_key(contract):
        raise DataError(
            f"Expected no bundle, or one of this network, in {str(out)!r} but it was made with another; give another "
            "folder."
        )
    return entries


def _write_list(out: Path, contract: ModelContract, entries: Mapping[str, BundleEntry]) -> None:
    images: dict[str, Any] = {key: dataclasses.asdict(entry) for key, entry in entries.items()}
    document = {"format": BUNDLE_FORMAT, "made_for": contract_key(contract), "images": images}
    text = json.dumps(document, indent=1) + "\n"
    write_inside(out, out / BUNDLE_FILE, text.encode("utf-8"))
