"""What a person did, as it lies on disk: a session file with its joint map, brought up to its journal if it is behind.

``export``, ``replay``, ``annotate --clicks`` and the data sets of sessions read through :func:`read_recorded`. An app
that was killed leaves a journal with more than the files beside it; what it acknowledged is then taken from there,
without a model, and nothing is written. Sessions without a journal are what they are.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmms_client.annotate.project import PROJECT_FILE, Project
from mmms_client.annotation import Annotation
from mmms_client.contract import MAX_CLICKS
from mmms_client.errors import ImageReadError, SessionFormatError
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.geometry import Frame
from mmms_client.joint_mask import JointMap, empty_joint_map, paste
from mmms_client.journal import JOURNAL_FILE, History, read_journal, read_journal_header
from mmms_client.results import JOINT_FILE, SESSION_FILE, are_current, recorded_bytes
from mmms_client.session_file import SessionDocument, read_session

_OPEN = "open the image in the app once"


@dataclass(frozen=True, eq=False)
class Recorded:
    """A session as it is now.

    Attributes:
        file: the session file.
        document: what it says, or should say by now.
        restored: the joint map, uint16 [H, W], if it comes from the journal; ``None`` if the file beside has it.
    """

    file: Path
    document: SessionDocument
    restored: JointMap | None = field(default=None, repr=False)

    @property
    def joint_file(self) -> Path:
        return self.file.parent / JOINT_FILE

    def joint(self) -> JointMap:
        """The joint map, uint16 [H, W]: of the journal, the file beside, or the start masks where nothing was clicked.

        Raises :class:`mmms_client.errors.DataError` if there is none, or one that is not of this session.
        """
        if self.restored is not None:
            return self.restored
        if not self.joint_file.is_file() and not self.document.click_count:
            return _fold(self.document)
        return _read_joint(self.file, self.joint_file, self.document)


def session_files(root: Path) -> list[Path]:
    """The session files below a folder, with those that an app had no time to write: reading one says so."""
    found = {*root.rglob(SESSION_FILE)}
    found |= {file.with_name(SESSION_FILE) for file in root.rglob(JOURNAL_FILE) if is_unwritten(file.parent)}
    return sorted(found)


def is_unwritten(folder: Path) -> bool:
    """Whether a folder has a journal with work in it, or a broken one, and no session file."""
    journal = folder / JOURNAL_FILE
    if (folder / SESSION_FILE).is_file() or not journal.is_file():
        return False
    try:
        return read_journal_header(journal) is not None and bool(read_journal(journal).done)
    except SessionFormatError:
        return True


def read_recorded(file: str | os.PathLike[str]) -> Recorded:
    """A session as it is now, from its file and, where that is behind, from the journal beside it.

    Raises :class:`SessionFormatError`, one line naming the file, for one that is broken or that only the app can
    bring up to its journal.
    """
    path = Path(file)
    journal = path.with_name(JOURNAL_FILE)
    if path.name != SESSION_FILE or not journal.is_file():
        return Recorded(path, read_session(path))
    if is_unwritten(path.parent):
        raise SessionFormatError(
            f"Expected {os.fspath(path)!r} but got its journal alone (the app was killed before it wrote the "
            f"session, or is at work); {_OPEN}."
        )
    project = _project_of(journal)
    return Recorded(path, read_session(path)) if _is_current(path, project) else _brought_up(path, project)


def _is_current(path: Path, project: Project | None) -> bool:
    """Whether a session is of all that its journal holds, or nothing says that it is not."""
    if project is not None:
        return are_current(path.parent, project.renamed)
    return recorded_bytes(path.parent) in (None, path.with_name(JOURNAL_FILE).stat().st_size)


def _brought_up(path: Path, project: Project | None) -> Recorded:
    """The session as the journal has it; the paths of its files, and where modalities lie, it has from before."""
    document, history = read_session(path), read_journal(path.with_name(JOURNAL_FILE))
    if history.length == 1:  # an app looked at what somebody else recorded
        return Recorded(path, document)
    if project is None or document.image_hw != history.image_hw or _has_moved(path, history):
        raise SessionFormatError(
            f"Expected {os.fspath(path)!r} to hold all of {JOURNAL_FILE} beside it but got an earlier state (the app "
            f"was killed, or is at work); {_OPEN}."
        )
    annotation = Annotation(Frame.of(history.image_hw, 1), MAX_CLICKS)
    history.restore(annotation)
    now = project.session(annotation, document.image_path, document.modalities, document.alignments)
    return Recorded(path, now, annotation.joint)


def _has_moved(path: Path, history: History) -> bool:
    """Whether a modality was moved since the session was written; the journal has no more than by how much."""
    length_bytes = recorded_bytes(path.parent)
    if length_bytes is None:
        return False
    try:
        before = read_journal(path.with_name(JOURNAL_FILE), length_bytes)
    except SessionFormatError:  # no length of this journal
        return True
    return before.state.nudges != history.state.nudges


def _project_of(journal: Path) -> Project | None:
    """The project to which an image's folder belongs; ``None`` for a folder that was taken elsewhere."""
    header = read_journal_header(journal)
    folder = journal.parent.absolute()
    name = Path("" if header is None else header.image_name)
    if name.is_absolute() or not name.parts or folder.parts[-len(name.parts) :] != name.parts:
        return None
    out = Path(*folder.parts[: -len(name.parts)])
    try:
        stat = (out / PROJECT_FILE).stat()
    except OSError:
        return None
    return _read_project(out, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1)
def _read_project(out: Path, mtime_ns: int, size_bytes: int) -> Project:
    """A project as it lies on disk: a large one has thousands of images that ask for it one after the other."""
    return Project.read(out, [])


# Joint maps -------------------------------------------------------------------------------------------
def _read_joint(file: Path, path: Path, document: SessionDocument) -> JointMap:
    if not path.is_file():
        raise ImageReadError(
            f"Expected the masks of {os.fspath(file)!r} in {os.fspath(path)!r} but got 'No such file': a session file "
            f"holds clicks; run 'mmms-client annotate' with --clicks and --out, and export that folder."
        )
    joint = read_samples(path, ("P", "I;16", "I"), "a joint map").astype(np.uint16)
    if joint.shape != document.image_hw:
        height, width = document.image_hw
        raise SessionFormatError(
            f"Expected {os.fspath(path)!r} to be of {width}x{height} px, as its session says, but got "
            f"{joint.shape[1]}x{joint.shape[0]}; run 'mmms-client annotate' again."
        )
    unknown = sorted({int(i) for i in np.unique(joint)} - {0, *(s.surface_id for s in document.surfaces)})
    if unknown:
        raise SessionFormatError(
            f"Expected {os.fspath(path)!r} to hold surfaces of {os.fspath(file)!r} only but got id {unknown[0]}; run "
            f"'mmms-client annotate' again."
        )
    return joint


def _fold(document: SessionDocument) -> JointMap:
    joint = empty_joint_map(document.image_hw)
    for visit in document.visits:
        if visit.start_mask is not None:
            joint = paste(joint, visit.surface_id, visit.start_mask, visit.locked)
    return joint
