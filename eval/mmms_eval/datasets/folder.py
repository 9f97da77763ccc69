"""A user's own images: ``rgb/``, ``labels/``, and one folder per modality, paired by the path below each
folder.

::

    ROOT/rgb/street/0001.png       any image file
    ROOT/labels/street/0001.png    8- or 16-bit ids: 0 no surface, 255 ignore, any other id one surface
    ROOT/depth/street/0001.png     folder named as the model's modality; other extensions are fine
    ROOT/modalities.json           units of the modalities, see mmms_client.units
    ROOT/names.json                optional: {"1": "road", ...}

Nothing is skipped silently: an image without its label or modality file, and the reverse, is an error that
lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, UsageError
from mmms_client.json_place import Place, shown
from mmms_client.json_text import read_json
from mmms_client.readers import read_image, read_modality
from mmms_client.units import UNITS_FILE, ValueRule, apply_rule, find_rule, read_rules
from mmms_eval.datasets.labels import read_labels
from mmms_eval.datasets.sample import DatasetOptions, Sample, shorten

IMAGES, LABELS, NAMES_FILE = "rgb", "labels", "names.json"
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy"})
TREE = f"ROOT/{IMAGES}/NAME.png, ROOT/{LABELS}/NAME.png and ROOT/MODALITY/NAME.png"


@dataclass(frozen=True)
class FolderDataset:
    """Images of a folder, sorted by key (the path below ``rgb/`` without its extension)."""

    root: Path
    keys: tuple[str, ...]
    files: Mapping[str, Mapping[str, Path]]  # folder name -> key -> file
    specs: Mapping[str, ModalitySpec]  # the modalities to read
    rules: Mapping[str, ValueRule]  # from the command line: win over files
    root_rules: Mapping[str, ValueRule]  # from the root: for files that lie deeper than find_rule looks
    modality_names: tuple[str, ...]
    names: Mapping[int, str]
    ignore_ids: tuple[int, ...]

    @property
    def name(self) -> str:
        return "folder"

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        key = self.keys[index]
        image = read_image(self.files[IMAGES][key])
        labels = read_labels(self.files[LABELS][key], self.ignore_ids)
        if labels.shape != image.shape[:2]:
            raise DataError(
                f"Expected {str(self.files[LABELS][key])!r} of {image.shape[1]}x{image.shape[0]} px, the size of its "
                f"image, but got {labels.shape[1]}x{labels.shape[0]} px; give one label per image pixel."
            )
        modalities = {name: self._read(name, spec, key) for name, spec in self.specs.items()}
        return Sample(key, image, modalities, labels, self.names)

    def _read(self, name: str, spec: ModalitySpec, key: str) -> NDArray[np.float32]:
        file = self.files[name][key]
        rule = self.rules.get(name) or find_rule(name, name, file) or self.root_rules.get(name)
        return apply_rule(read_modality(file, spec.channels), rule, spec, file)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "root": str(self.root),
            "images": len(self),
            "modalities": list(self.modality_names),
            "ignore_ids": list(self.ignore_ids),
        }


def open_folder(options: DatasetOptions) -> FolderDataset:
    """List and pair the files under ``root``. Raises :class:`UsageError` without a root."""
    options.refuse_splits("folder")
    if options.root is None:
        raise UsageError(f"Expected --root with {TREE} but got no --root; give the folder of the data.")
    root = Path(options.root)
    for folder in (IMAGES, LABELS):
        if not (root / folder).is_dir():
            raise DataError(f"Expected the folder {str(root / folder)!r} but got none; arrange the data as {TREE}.")
    others = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name not in (IMAGES, LABELS))
    found = tuple(name for name in others if not name.startswith("."))
    read = options.readable(found)
    files = {folder: list_files(root / folder) for folder in (IMAGES, LABELS, *read)}
    keys = _pair(root, files)
    return FolderDataset(
        root=root,
        keys=keys[: options.max_images],
        files=files,
        specs={spec.name: spec for spec in options.specs if spec.name in read},
        rules=options.rules,
        root_rules=read_rules(root / UNITS_FILE) if (root / UNITS_FILE).is_file() else {},
        modality_names=found,
        names=_read_names(root / NAMES_FILE),
        ignore_ids=options.ignore_ids,
    )


def list_files(folder: Path) -> dict[str, Path]:
    """Data files below ``folder`` by path without extension. Raises :class:`DataError` on two of one name."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in EXTENSIONS or not file.is_file():
            continue
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key in found:
            raise DataError(
                f"Expected one file per name but got {str(found[key])!r} and {str(file)!r}; remove or "
                "rename one of them."
            )
        found[key] = file
    return found


def _pair(root: Path, files: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    """The keys that every folder has. Raises :class:`DataError` listing what is missing."""
    every = sorted(set().union(*files.values()))
    missing = [f"{folder}/{key}" for folder in files for key in every if key not in files[folder]]
    if missing:
        raise DataError(
            f"Expected a file of each name in {', '.join(files)} of {str(root)!r} but got none for {shorten(missing)}; "
            "add them, remove their partners, or leave a modality out with --modalities."
        )
    if not every:
        raise DataError(f"Expected images in {str(root / IMAGES)!r} but got none; arrange the data as {TREE}.")
    return tuple(every)


def _read_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    try:
        return {int(key): name.text() for key, name in Place(str(path), "", read_json(path)).entries().items()}
    except (OSError, ValueError) as error:
        raise DataError(
            f'Expected {str(path)!r} to be JSON such as {{"1": "road"}} but got {shown(str(error))}; correct or remove '
            "the file."
        ) from error
