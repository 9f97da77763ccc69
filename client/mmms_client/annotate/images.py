"""Which images there are, and which modality files belong to them. Paths that the page can ask for come from here only.

The page names an image by its number and a modality by its name. Files are found once, below the folders that were
given on the command line; a link that leads out of them is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmms_client.errors import DataError, UsageError
from mmms_client.folders import files_below, is_text

_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
_MAPS = _PICTURES | {".npy"}


@dataclass(frozen=True)
class ImageFile:
    """One image of the list.

    Attributes:
        name: path below the folder that was given, with forward slashes; the folder of its results is called so.
        path: the file.
        modalities: files by the model's name.
    """

    name: str
    path: Path
    modalities: Mapping[str, Path] = field(default_factory=dict)


def find_images(image: str, modalities: Mapping[str, str], out: str, notes: list[str]) -> list[ImageFile]:
    """The images of a file or folder, with their modality files.

    Args:
        image: a file, or a folder whose pictures, also in its folders, are annotated.
        modalities: a file (for one image), or a folder with the same names and stems, by the model's name.
        out: the folder of the results; pictures in it are not annotated.
        notes: gets one line for each thing that a person should be told.

    Raises:
        DataError: nothing there.
        UsageError: a file for many images, or two files for one.
    """
    source = Path(image)
    for path in (image, out, *modalities.values()):
        if not is_text(os.fspath(Path(path).absolute())):
            raise UsageError(f"Expected a path in UTF-8 but got {os.fsencode(path)!r}; rename it.")
    if not source.is_dir():
        if not source.is_file():
            raise DataError(f"Expected an image or a folder of images but got {image!r}; check the path.")
        files = {name: _one_map(name, Path(path), Path(source.name)) for name, path in modalities.items()}
        return [ImageFile(source.name, source, {name: file for name, file in files.items() if file is not None})]
    root = source.resolve()
    if out and Path(out).resolve() == root:
        raise UsageError(f"Expected --out to be another folder than the images' but got {out!r} for both; choose one.")
    other = [Path(path).resolve() for path in (*modalities.values(), *([out] if out else []))]
    aside = [folder for folder in other if folder != root and folder.is_relative_to(root)]
    found_names = [Path(name) for name in files_below(source, _PICTURES, notes)]
    names = [n for n in found_names if not any((root / n).is_relative_to(folder) for folder in aside)]
    if not names:
        raise DataError(
            f"Expected images in {image!r} but got none ({', '.join(sorted(_PICTURES))}); give their folder."
        )
    found = {name: _all_maps(name, Path(path), names, notes) for name, path in modalities.items()}
    return [
        ImageFile(n.as_posix(), source / n, {name: files[n] for name, files in found.items() if n in files})
        for n in names
    ]


def _one_map(name: str, path: Path, image: Path) -> Path | None:
    """The modality of a single image: the file itself, or that of the image's stem in a folder."""
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"Expected a file or folder for modality {name!r} but got {os.fspath(path)!r}; check it.")
        return path
    return _all_maps(name, path, [image], []).get(image)


def _all_maps(name: str, folder: Path, images: list[Path], notes: list[str]) -> dict[Path, Path]:
    """The modality's file of each image that has one: the same path below the folder, with any suffix."""
    if not folder.is_dir():
        raise UsageError(
            f"Expected a folder for modality {name!r} because there are many images but got {os.fspath(folder)!r}; "
            f"give the folder in which its files have the images' names."
        )
    by_stem: dict[str, list[str]] = {}
    for file in files_below(folder, _MAPS, notes):
        by_stem.setdefault(Path(file).with_suffix("").as_posix(), []).append(file)
    found: dict[Path, Path] = {}
    for image in images:
        stem = image.with_suffix("").as_posix()
        files = by_stem.get(stem) or by_stem.get(f"{stem}_{name}") or []
        if len(files) > 1:
            raise UsageError(
                f"Expected one file for modality {name!r} of {image.as_posix()!r} but got {', '.join(files)}; remove "
                f"all but one."
            )
        if files:
            found[image] = folder / files[0]
    if not found:
        raise DataError(
            f"Expected files in {os.fspath(folder)!r} for modality {name!r} with the images' names, such as "
            f"{images[0].with_suffix('.*').as_posix()!r}, but got none; check the folder."
        )
    return found
