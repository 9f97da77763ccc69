"""Recorded sessions: what a person annotated, as ``mmms-client annotate --out FOLDER`` writes it, is the ground truth.

::

    ROOT/ANY/FOLDER/session.json    names the image and the modalities, relative to itself
    ROOT/ANY/FOLDER/joint.png       the joint map: ids of the surfaces, 0 no surface, 255 ignore

Each session is one image, whatever its folders are called; two sessions of one image are two. Surfaces keep the ids
and names that the person gave them. One without a pixel in the joint map is left out. If only a region of the image
was annotated, the rest is ignored. Modalities are read as ``annotate`` reads them, alignments included; units are not
in the session file, so they come from ``--scale`` or a ``modalities.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.alignment import align
from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, SessionFormatError, UsageError
from mmms_client.geometry import Region, check_aspect
from mmms_client.readers import read_image, read_modality
from mmms_client.recorded import Recorded, is_unwritten, read_recorded, session_files
from mmms_client.results import JOINT_FILE as JOINT
from mmms_client.results import SESSION_FILE as SESSION
from mmms_client.session_file import SessionDocument
from mmms_client.units import ValueRule, apply_rule, find_rule
from mmms_eval.datasets.labels import as_labels, read_labels
from mmms_eval.datasets.sample import IGNORE, NO_SURFACE, DatasetOptions, Sample, shorten

TREE = f"ROOT/ANY/FOLDER/{SESSION} and {JOINT} beside it"
_HOW = "write sessions with 'mmms-client annotate --out FOLDER'"


@dataclass(frozen=True)
class RecordedSession:
    """One session: its key (the folder below the root) and its files. Those of a broken session file are unknown."""

    key: str
    folder: Path
    image: Path | None = None
    modalities: tuple[tuple[str, Path], ...] = ()
    has_map_in_journal: bool = False  # of an app that was killed: what lies in the joint map is behind it, or missing

    @property
    def files(self) -> tuple[Path, ...]:
        images = () if self.image is None else (self.image,)
        maps = () if self.has_map_in_journal else (self.folder / JOINT,)
        return (self.folder / SESSION, *maps, *images, *(file for _, file in self.modalities))


@dataclass(frozen=True)
class SessionsDataset:
    """Recorded sessions, sorted by key."""

    root: Path
    sessions: tuple[RecordedSession, ...]
    specs: Mapping[str, ModalitySpec]  # the modalities to read
    rules: Mapping[str, ValueRule]  # from the command line: win over files
    facts: Mapping[str, Any]  # what else is stored with the results

    @property
    def name(self) -> str:
        return "sessions"

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(sorted({name for session in self.sessions for name, _ in session.modalities}))

    def __len__(self) -> int:
        return len(self.sessions)

    def __getitem__(self, index: int) -> Sample:
        """Read one session. Raises :class:`DataError` naming the file that is missing, broken or does not fit."""
        session = self.sessions[index]
        recorded = read_recorded(session.folder / SESSION)
        document = recorded.document
        file = session.folder / document.image_path
        image = read_image(file)
        image_hw = (image.shape[0], image.shape[1])
        check_size(file, image_hw, document)
        labels = read_joint(recorded)
        modalities = {
            name: self._read(spec, session.folder / document.modalities[name], document)
            for name, spec in self.specs.items()
            if name in document.modalities
        }
        names = {surface.surface_id: surface.name or str(surface.surface_id) for surface in document.surfaces}
        return Sample(session.key, image, modalities, labels, names)

    def _read(self, spec: ModalitySpec, file: Path, document: SessionDocument) -> NDArray[np.float32]:
        rule = self.rules.get(spec.name) or find_rule(spec.name, spec.name, file)
        values = apply_rule(read_modality(file, spec.channels), rule, spec, file)
        alignment = document.alignments.get(spec.name)
        if alignment is not None:
            return align(values, alignment, document.image_hw, spec.resampling, spec.name)
        check_aspect(spec.name, (values.shape[0], values.shape[1]), document.image_hw)
        return values

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "root": str(self.root),
            "images": len(self),
            **self.facts,
            "label_rule": "ids of the joint map are the surfaces, 0 is background; 255, and what is outside of an "
            "annotated region, is ignored",
            "modalities": list(self.modality_names),
        }


def read_joint(recorded: Recorded) -> NDArray[np.int32]:
    """The joint map of a session as surface ids int32 [H, W], :data:`IGNORE` outside of its region.

    Raises :class:`DataError` if it is of another size than the image, or has ids that the session lacks.
    """
    file, document = recorded.joint_file, recorded.document
    labels = read_labels(file) if recorded.restored is None else as_labels(recorded.restored)
    check_size(file, (labels.shape[0], labels.shape[1]), document)
    known = {surface.surface_id for surface in document.surfaces}
    strange = [str(i) for i in np.unique(labels) if i > NO_SURFACE and int(i) not in known]
    if strange:
        raise DataError(
            f"Expected the surface ids {', '.join(map(str, sorted(known))) or 'none'} of {SESSION} in {str(file)!r} "
            f"but got {shorten(strange)}; annotate the session again."
        )
    return labels if document.region is None else _ignore_outside(labels, document.region)


def check_size(file: Path, got_hw: tuple[int, int], document: SessionDocument) -> None:
    """Raise :class:`DataError` unless a file has the size, (H, W) px, of the session's image."""
    if got_hw != document.image_hw:
        (height, width), (got_height, got_width) = document.image_hw, got_hw
        raise DataError(
            f"Expected {str(file)!r} of {width}x{height} px, as in {SESSION}, but got {got_width}x{got_height} px; "
            "give the image that was annotated, or annotate the session again."
        )


def _ignore_outside(labels: NDArray[np.int32], region: Region) -> NDArray[np.int32]:
    rows, columns = slice(region.y0, region.y0 + region.height), slice(region.x0, region.x0 + region.width)
    kept = np.full_like(labels, IGNORE)
    kept[rows, columns] = labels[rows, columns]
    return kept


def open_sessions(options: DatasetOptions) -> SessionsDataset:
    """Find the sessions below ``root``, in the root itself too, and all their files.

    Raises:
        UsageError: no root, or an option of published data sets.
        DataError: no session; missing files, which it lists, or a broken session file, unless ``keep_going``.
    """
    options.refuse_splits("sessions")
    if options.root is None:
        raise UsageError(f"Expected --root with {TREE} but got no --root; give a folder with sessions, or {_HOW}.")
    root = Path(options.root)
    folders = sorted({file.parent for file in (*session_files(root), *root.rglob(JOINT))})
    if not folders:
        raise DataError(f"Expected {TREE} in {str(root)!r} but got no session; {_HOW}.")
    documents: dict[Path, SessionDocument | None] = {}
    sessions = []
    for folder in folders:
        recorded = _read(folder, options.keep_going)
        documents[folder] = None if recorded is None else recorded.document
        sessions.append(_recorded(root, folder, recorded))
    _check_files(root, sessions, options)
    used = sessions[: options.max_images]
    read = options.readable({name for session in used for name, _ in session.modalities})
    return SessionsDataset(
        root=root,
        sessions=tuple(used),
        specs={spec.name: spec for spec in options.specs if spec.name in read},
        rules=options.rules,
        facts=_facts(used, documents),
    )


def _read(folder: Path, keep_going: bool) -> Recorded | None:
    """The session of a folder; ``None`` if there is none, or a broken one that is counted when it is its turn."""
    try:
        is_there = (folder / SESSION).is_file() or is_unwritten(folder)
        return read_recorded(folder / SESSION) if is_there else None
    except SessionFormatError:
        if keep_going:
            return None
        raise


def _recorded(root: Path, folder: Path, recorded: Recorded | None) -> RecordedSession:
    key = folder.relative_to(root).as_posix() if folder != root else "session"
    if recorded is None:
        return RecordedSession(key, folder)
    document = recorded.document
    modalities = tuple((name, folder / path) for name, path in sorted(document.modalities.items()))
    return RecordedSession(key, folder, folder / document.image_path, modalities, recorded.restored is not None)


def _check_files(root: Path, sessions: Iterable[RecordedSession], options: DatasetOptions) -> None:
    """Raise :class:`DataError` listing the files that are not there; those of modalities that nobody wants may lack."""
    unread = {name for session in sessions for name, _ in session.modalities}
    unread -= set(options.readable(unread))
    not_needed = {file for session in sessions for name, file in session.modalities if name in unread}
    files = dict.fromkeys(file for session in sessions for file in session.files if file not in not_needed)
    missing = [str(file) for file in files if not file.is_file()]
    if missing and not options.keep_going:
        raise DataError(
            f"Expected all files of each session in {str(root)!r} but got none at {shorten(missing)}; keep images and "
            "sessions where they were, leave a modality out with --modalities, or count such sessions as broken with "
            "--keep-going."
        )


def _facts(sessions: Iterable[RecordedSession], documents: Mapping[Path, SessionDocument | None]) -> dict[str, Any]:
    """What people did, to compare with: clicks and surfaces of all sessions, and how many have which modality."""
    recorded = [document for session in sessions if (document := documents[session.folder]) is not None]
    by_modality = Counter(name for session in sessions for name, _ in session.modalities)
    return {
        "clicks_recorded": sum(document.click_count for document in recorded),
        "surfaces_recorded": sum(len(document.surfaces) for document in recorded),
        "sessions_by_modality": dict(sorted(by_modality.items())),
    }
