"""``mmms-client export SOURCE --format NAME``: what ``annotate --out`` wrote, in other programs' formats.

A session file holds clicks; their masks are in ``joint.png`` beside it. So nothing here asks a server. A session
whose visits are start masks only needs no ``joint.png``, and what an app that was killed had no time to write there is
taken from its journal.

Everything is coded before the first file is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmms_client.errors import DataError, OutputError, UsageError
from mmms_client.export_masks.annotated import AnnotatedImage, Loss, Options
from mmms_client.export_masks.formats import Format, load_format
from mmms_client.files import write_inside
from mmms_client.recorded import Recorded, read_recorded, session_files
from mmms_client.results import SESSION_FILE


@dataclass(frozen=True)
class ExportRequest:
    """The command line of ``export``; names as in its help."""

    sources: Sequence[str]
    formats: Sequence[str]
    out: str
    tolerance_px: float | None = None
    is_strict: bool = False


def export(request: ExportRequest, say: Callable[[str], None]) -> Path:
    """Write annotated images in some formats, each to a folder of its name below ``request.out``.

    Args:
        request: what to do.
        say: gets each line for the person at the terminal; losses come before anything is written.

    Returns:
        The folder with the results.

    Raises:
        MMMSError: one line; nothing was written then, but for :class:`OutputError` while writing, which may leave
            whole files.
    """
    images = open_annotations(request.sources)
    out = Path(request.out)
    files: dict[Path, bytes] = {}
    count = 0
    for name in dict.fromkeys(request.formats):
        chosen = load_format(name)
        options = Options(request.tolerance_px, out / name)
        for loss in all_losses(chosen, images, options):
            say(f"loss: {name}: {loss}")
            count += 1
        files |= {out / name / path: data for path, data in chosen.encode(images, options).items()}
    if count and request.is_strict:
        raise OutputError(
            f"Expected an export without loss (--strict) but got {count} loss{'es' if count > 1 else ''}, named above; "
            f"choose another format, or leave --strict out."
        )
    for path, data in files.items():
        write_inside(out, path, data)
    surfaces = sum(len(image.surfaces) for image in images)
    say(f"written to {out}: {len(images)} image(s), {surfaces} surface(s), {len(files)} file(s)")
    return out


def all_losses(chosen: Format, images: Sequence[AnnotatedImage], options: Options) -> list[Loss]:
    """What a format would not hold, of all images."""
    return [loss for image in images for loss in chosen.losses(image, options)]


# Sources ----------------------------------------------------------------------------------------------
def open_annotations(sources: Sequence[str]) -> list[AnnotatedImage]:
    """The annotated images of session files, of folders with a ``session.json``, and of folders of such folders.

    Images are called by their path from the folder that holds them all.

    Raises:
        DataError: nothing there, or a file that is missing, broken, or does not fit.
        UsageError: two sessions of one image.
    """
    files = list(dict.fromkeys(file for source in sources for file in _session_files(source)))
    sessions = [read_recorded(file) for file in files]
    paths = [Path(os.path.normpath((s.file.parent / s.document.image_path).absolute())) for s in sessions]
    for path in paths:
        if paths.count(path) > 1:
            both = " and ".join(repr(os.fspath(f)) for f, p in zip(files, paths, strict=True) if p == path)
            raise UsageError(
                f"Expected one session for each image but got {both} for {os.fspath(path)!r}; export them one by one."
            )
    return [_annotated(*entry) for entry in zip(sessions, paths, _names(paths), strict=True)]


def _session_files(source: str) -> list[Path]:
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = [path / SESSION_FILE] if (path / SESSION_FILE).is_file() else session_files(path)
    if not found:
        raise DataError(
            f"Expected {SESSION_FILE} in {source!r} or in its folders but got none; give what 'mmms-client annotate "
            f"--out' wrote."
        )
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    try:
        common = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # several drives
        return [path.relative_to(path.anchor).as_posix() for path in paths]
    return [path.relative_to(common).as_posix() for path in paths]


def _annotated(recorded: Recorded, image_path: Path, name: str) -> AnnotatedImage:
    classes = tuple(c.name for c in recorded.document.classes)
    surfaces = recorded.document.surfaces
    return AnnotatedImage.from_joint(name, recorded.joint(), surfaces, classes=classes, image_path=image_path)
