"""What belongs to the whole folder of images: classes, states, settings, alignments; kept in ``project.json``.

One app at a time works on a folder of results. It holds a lock that the system takes back when the process ends,
however it ends.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmms_client.alignment import Alignment, Nudge
from mmms_client.annotate.images import ImageFile
from mmms_client.annotation import Annotation, check_colour
from mmms_client.errors import DataError, OutputError, SessionFormatError, UsageError
from mmms_client.files import NO_LINK, check_result, make_folder, write_inside, write_problem
from mmms_client.folders import check_inside, is_inside
from mmms_client.json_place import Place
from mmms_client.json_text import parse_json, read_json
from mmms_client.palette import palette
from mmms_client.results import JOINT_FILE, RESULTS_FILE, SESSION_FILE, are_current, made_of
from mmms_client.session_file import SessionDocument, SurfaceClass, document_of

PROJECT_FILE, LOCK_FILE = "project.json", ".lock"
STATES = ("todo", "done", "skipped")
_MOST_CLASSES = 1000
_OPAQUE_CHARACTERS = 64 * 1024  # of the page's settings as JSON
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class ProjectClass:
    """A class of the project. ``class_id`` stays when it is renamed; ``key`` is one character or ``None``."""

    class_id: int
    name: str
    colour: str
    key: str | None = None


@dataclass
class Project:
    """The images and what is said about all of them. Changes are on disk when :meth:`save` returns."""

    out: Path
    images: list[ImageFile]
    classes: list[ProjectClass] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)  # by image name; "todo" is not written
    nudges: dict[str, Nudge] = field(default_factory=dict)  # by modality, for images without their own
    renamed: dict[str, str] = field(default_factory=dict)  # old name of a class -> its name now
    models: dict[str, str] = field(default_factory=dict)  # sha256 of every checkpoint that may answer -> its name
    settings: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(
        cls, out: str | os.PathLike[str], images: list[ImageFile], classes: Iterable[ProjectClass] = ()
    ) -> Project:
        """The project of a folder of results, which is created if it is missing.

        ``classes`` are those of the command line; those of the folder stay, new names are added.

        Raises :class:`OutputError` and :class:`SessionFormatError`.
        """
        make_folder(out)
        project = cls.read(out, images)
        known = {c.name for c in project.classes}
        number = max((c.class_id for c in project.classes), default=0)
        for given in classes:
            if given.name not in known:
                number += 1
                project.classes.append(ProjectClass(number, given.name, given.colour, given.key))
        project.save()
        return project

    @classmethod
    def read(cls, out: str | os.PathLike[str], images: list[ImageFile]) -> Project:
        """The project of a folder as it lies there; writes nothing.

        Raises :class:`SessionFormatError`, and :class:`DataError` for a link out of the folder.
        """
        project = cls(Path(out), images)
        file = project.out / PROJECT_FILE
        check_inside(file, project.out)
        if file.is_file():
            project._read(file)
        return project

    def save(self) -> None:
        """Write ``project.json``, all or nothing. Raises :class:`OutputError`."""
        content = {
            "project": 1,
            "classes": [asdict(c) for c in self.classes],
            "states": self.states,
            "nudges": {name: [n.dx_px, n.dy_px, n.scale] for name, n in self.nudges.items()},
            "renamed": self.renamed,
            "models": self.models,
            "settings": self.settings,
            "keys": self.keys,
        }
        text = json.dumps(content, indent=1) + "\n"
        write_inside(self.out, self.out / PROJECT_FILE, text.encode("utf-8"))

    def _read(self, file: Path) -> None:
        try:
            content = read_json(file)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise SessionFormatError(
                f"{file}: expected JSON but got {reason!r}; restore the file from a copy."
            ) from error
        names = ("classes", "states", "nudges", "renamed", "models", "settings", "keys")
        fields = Place(os.fspath(file), "", content).fields(("project", *names), ("renamed_at_s",))  # of older apps
        self.classes = [_class(item) for item in fields["classes"].items()]
        self.states = {name: _state(item) for name, item in fields["states"].entries().items()}
        for name, item in fields["nudges"].entries().items():
            self.nudges[name] = _nudge(item)
        self.renamed = {name: item.text() for name, item in fields["renamed"].entries().items()}
        self.models = {name: item.text(may_be_empty=True) for name, item in fields["models"].entries().items()}
        self.settings, self.keys = dict(fields["settings"].entries()), dict(fields["keys"].entries())
        self.settings = {name: item.value for name, item in self.settings.items()}
        self.keys = {name: item.value for name, item in self.keys.items()}

    # What changes -------------------------------------------------------------------------------------
    def folder(self, image: ImageFile) -> Path:
        """Where the results of an image lie."""
        return self.out / image.name

    def has_results(self, image: ImageFile) -> bool:
        """Whether session.json and joint.png of an image are there, and of all that its journal holds."""
        folder = self.folder(image)
        names = (SESSION_FILE, JOINT_FILE, RESULTS_FILE)
        return all(is_inside(folder / name, self.out) for name in names) and are_current(folder, self.renamed)

    def made_of(self, journal_bytes: int) -> dict[str, Any]:
        """What is kept beside results that are of so much of a journal."""
        return made_of(journal_bytes, self.renamed)

    def session(
        self,
        annotation: Annotation,
        image_path: str,
        modalities: Mapping[str, str],
        alignments: Mapping[str, Alignment],
    ) -> SessionDocument:
        """An annotation as a session file has it, with the classes as the project calls them now."""
        surfaces = tuple(replace(s, class_name=self.class_name(s.class_name)) for s in annotation.surfaces)
        classes = self.session_classes(s.class_name for s in surfaces)
        return replace(document_of(annotation, image_path, modalities, alignments, classes), surfaces=surfaces)

    def state(self, image: ImageFile) -> str:
        return self.states.get(image.name, "todo")

    def mark(self, image: ImageFile, state: str) -> None:
        """Set an image's state. Raises :class:`UsageError` for one that does not exist."""
        if state not in STATES:
            raise UsageError(f"Expected a state ({', '.join(STATES)}) but got {state!r}; take one of these.")
        self.states = {**self.states, image.name: state}
        self.save()

    def set_classes(self, rows: Iterable[ProjectClass]) -> None:
        """Replace the classes. One whose id stays and whose name changes is renamed in all images.

        Raises :class:`UsageError` for a name or id that occurs twice.
        """
        classes = list(rows)
        names, ids = [c.name for c in classes], [c.class_id for c in classes]
        if len(classes) > _MOST_CLASSES:
            raise UsageError(f"Expected up to {_MOST_CLASSES} classes but got {len(classes)}; send fewer.")
        columns: tuple[tuple[list[Any], str], ...] = ((names, "name"), (ids, "id"))
        for values, what in columns:
            twice = [value for value, times in Counter(values).items() if times > 1]
            if twice:
                raise UsageError(
                    f"Expected up to {_MOST_CLASSES} classes, each {what} once, but got {twice[:1]}; change one."
                )
        before = {c.class_id: c.name for c in self.classes}
        for new in classes:
            old = before.get(new.class_id)
            if old is not None and old != new.name:
                self.renamed = {key: new.name if value == old else value for key, value in self.renamed.items()}
                self.renamed[old] = new.name
        self.renamed = {old: new for old, new in self.renamed.items() if old not in names}
        self.classes = classes
        self.save()

    def class_name(self, name: str | None) -> str | None:
        """The name that a class of this name has now."""
        return None if name is None else self.renamed.get(name, name)

    def session_classes(self, used: Iterable[str | None] = ()) -> tuple[SurfaceClass, ...]:
        """The classes as a session file has them, with those in use that the project does not know."""
        colours: dict[str, str | None] = {c.name: c.colour for c in self.classes}
        for name in used:
            if name is not None:
                colours.setdefault(name, None)
        return tuple(SurfaceClass(name, colour) for name, colour in colours.items())

    def set_opaque(self, name: str, value: dict[str, Any]) -> None:
        """Keep the page's own ``settings`` or ``keys``. Raises :class:`UsageError` if they are too large."""
        try:
            size = len(json.dumps(value, allow_nan=False))
        except ValueError as error:
            raise UsageError(f"Expected {name} as JSON but got {str(error)!r}; send plain values.") from error
        if size > _OPAQUE_CHARACTERS:
            raise UsageError(f"Expected {name} of up to {_OPAQUE_CHARACTERS} characters but got more; send fewer.")
        setattr(self, name, value)
        self.save()


def _state(place: Place) -> str:
    if place.text() not in STATES:
        place.fail(f"a state ({', '.join(STATES)})")
    return place.text()


def _nudge(place: Place) -> Nudge:
    numbers = [number.number() for number in place.items()]
    if len(numbers) != 3:
        place.fail("[dx, dy, scale]")
    return Nudge(*numbers)


def _class(place: Place) -> ProjectClass:
    fields = place.fields(("class_id", "name", "colour", "key"))
    key = None if fields["key"].value is None else fields["key"].text()
    return ProjectClass(fields["class_id"].integer(1), fields["name"].text(), fields["colour"].text(), key)


def read_classes(path: str) -> list[ProjectClass]:
    """Read a file of classes: JSON (a list of names, or of objects with name, colour and key), or a line each.

    A line is a name, with ``#rrggbb`` after it if it has a colour. Raises :class:`DataError`, one line.
    """
    file = Path(path)
    try:
        text = file.read_text("utf-8-sig")
        rows: list[Any] = _rows(parse_json(text)) if file.suffix.lower() == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"Expected {path!r} to hold classes, one per line or as JSON, but got {reason!r}; see the docs."
        ) from error
    classes: list[ProjectClass] = []
    taken: set[str] = set()
    for number, row in enumerate(rows, 1):
        if isinstance(row, str) and not row.strip():
            continue
        place = Place(path, f"class {number}", row)
        name, colour, key = _given(place)
        if name in taken:
            place.fail("a name of its own")
        taken.add(name)
        classes.append(ProjectClass(len(classes) + 1, name, colour or class_colour(len(classes) + 1), key))
    if not classes:
        raise DataError(f"Expected at least one class in {path!r} but got none; write a name per line.")
    return classes


def _rows(content: Any) -> list[Any]:
    content = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(content, list):
        raise ValueError("JSON that is no list")
    return content


def _given(place: Place) -> tuple[str, str | None, str | None]:
    if isinstance(place.value, str):
        name, _, last = place.value.strip().replace("\t", " ").rpartition(" ")
        has_colour = bool(name) and _COLOUR.fullmatch(last) is not None
        text = replace(place, value=name.strip() if has_colour else place.value.strip()).text()
        return text, last if has_colour else None, None
    fields = place.fields(("name",), ("colour", "key", "id"))
    colour = fields["colour"].text() if "colour" in fields else None
    try:
        check_colour(colour)
    except UsageError:
        fields["colour"].fail("a colour as #rrggbb")
    return fields["name"].text(), colour, fields["key"].text() if "key" in fields else None


def class_colour(class_id: int) -> str:
    """The colour of a class that nobody gave one."""
    return "#{:02x}{:02x}{:02x}".format(*palette()[(class_id - 1) % 254 + 1])


# One app at a time ------------------------------------------------------------------------------------
class FolderLock:
    """Keeps other apps out of a folder of results until :meth:`release`, or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Raises :class:`UsageError` naming who holds it, or :class:`OutputError`."""
        self.path = make_folder(folder) / LOCK_FILE
        check_result(self.path, folder)
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o600)
        except OSError as error:
            raise OutputError(write_problem(self.path, "file", error)) from error
        if not _try_lock(self._descriptor):
            holder = os.read(self._descriptor, 200).decode("utf-8", "replace").strip()
            os.close(self._descriptor)
            raise UsageError(
                f"Expected {os.fspath(folder)!r} for this app alone but got another one at work there"
                f"{f' ({holder})' if holder else ''}; close that one, or give another --out."
            )
        self.holder = f"process {os.getpid()}"
        try:
            self.say(self.holder)
        except OutputError:
            self.release()
            raise

    def say(self, text: str) -> None:
        """What others are told about the holder. Raises :class:`OutputError`."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode("utf-8"), 0)
        except OSError as error:
            raise OutputError(write_problem(self.path, "file", error)) from error

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: a byte far behind the text, which stays readable
        import msvcrt

        try:
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            os.lseek(descriptor, 0, os.SEEK_SET)
            return True
        except OSError:
            os.lseek(descriptor, 0, os.SEEK_SET)
            return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
