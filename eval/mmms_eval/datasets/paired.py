"""What the published data sets share: find the root, choose the split, pair files, verify, map label ids.

A data set is a :class:`Card` (facts) and a subclass of :class:`PairedDataset` (how one image is read). Files are
paired by the parts of their paths, never by replacing text in a path: the train split of DeLiVER contains "rain".
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, UsageError
from mmms_client.json_place import shown
from mmms_client.readers import read_image, read_modality
from mmms_client.units import UNITS_FILE, ValueRule, apply_rule, read_rules
from mmms_eval.datasets.folder import list_files
from mmms_eval.datasets.labels import map_ids, read_labels
from mmms_eval.datasets.sample import IGNORE, DatasetOptions, Sample, shorten

_LONGEST_NAME, _LONGEST_PATH = 200, 2000  # that every file system takes
DATA_VARIABLE = "MMMS_DATA"
PUBLISHED_VAL = "published-val"  # the split that published code and tables call "val"


@dataclass(frozen=True)
class Card:
    """The facts of a data set.

    Attributes:
        name: as on the command line.
        folders: names of its folder below ``$MMMS_DATA``; the first is ours, others are those of its archive.
        tree: the expected files below the root, in one line.
        page: where it is published; ``None`` if we know no page that we could vouch for.
        splits: official names; ``default_split`` is one of them.
        aliases: other names of splits, which are said and stored with what they stand for.
        counts: images by split, as published; a split without a known number is missing here.
        stored_hw: height and width of all pictures, as published; ``None`` if they differ or nobody says.
        modalities: all that the data set has, by our names.
        ids: label id on disk -> surface id (1 .. K), :data:`NO_SURFACE` or :data:`IGNORE`.
        label_rule: ``ids`` in words, stored with the results.
        names: surface id -> name of the class.
        unlabelled_id: label id of "not annotated" that ``include_unlabelled`` makes a surface of; ``None`` if
            the data set has none that could be one.
        label_channel: channel of the label file that holds the ids, where it is a colour picture.
    """

    name: str
    folders: tuple[str, ...]
    tree: str
    page: str | None
    splits: tuple[str, ...]
    default_split: str
    counts: Mapping[str, int]
    ids: Mapping[int, int]
    label_rule: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    stored_hw: tuple[int, int] | None = None
    modalities: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    unlabelled_id: int | None = None
    label_channel: int | None = 0

    @property
    def where(self) -> str:
        """The tree and where to get it, for messages."""
        return f"the tree {self.tree}" + (f" (from {self.page})" if self.page else "")


@dataclass(frozen=True)
class Split:
    """The images that were asked for.

    Attributes:
        asked: as on the command line.
        names: the official splits that it stands for, in order.
        conditions: a further choice by the data set, such as a weather.
    """

    asked: str
    names: tuple[str, ...]
    conditions: tuple[str, ...] = ()

    @property
    def official(self) -> str:
        return "/".join(("+".join(self.names), *self.conditions))


@dataclass(frozen=True)
class Entry:
    """One image: its key, the file of each role (which may be missing), and whether to mirror all of them."""

    key: str
    files: Mapping[str, Path]
    is_mirrored: bool = False


Self = TypeVar("Self", bound="PairedDataset")


@dataclass(frozen=True)
class PairedDataset:
    """Samples of a published data set; subclasses say how the maps of one image are read.

    The roles of the files are ``image``, ``labels`` and what :meth:`_modality` of the subclass asks for.
    """

    card: Card
    root: Path
    split: Split
    entries: tuple[Entry, ...]
    specs: Mapping[str, ModalitySpec]  # the modalities to read
    rules: Mapping[str, ValueRule]  # from the command line or the root's modalities.json
    include_unlabelled: bool
    facts: Mapping[str, Any]  # what else is stored with the results

    @classmethod
    def open(
        cls: type[Self],
        card: Card,
        options: DatasetOptions,
        root: Path,
        split: Split,
        entries: Sequence[Entry],
        **facts: Any,
    ) -> Self:
        """Verify ``entries`` (all of the split) and make the data set of the first ``max_images``.

        Raises:
            UsageError: an image twice, or ``include_unlabelled`` where there is nothing to include.
            DataError: missing files, which it lists, unless ``keep_going``; another number of images than
                published unless ``partial``; no image at all.
        """
        if not entries:
            raise DataError(
                f"Expected images of {split.official!r} in {str(root)!r} but got none; arrange {card.where}."
            )
        if options.include_unlabelled and card.unlabelled_id is None:
            raise UsageError(
                f"Expected --include-unlabelled with a data set that leaves its unlabelled pixels open but got "
                f"{card.name!r}; drop the option."
            )
        twice = sorted(key for key, times in Counter(entry.key for entry in entries).items() if times > 1)
        if twice:
            raise UsageError(
                f"Expected --split {split.asked!r} to have each image once but got {shorten(twice)} twice; name one of "
                "the splits that share them."
            )
        _check_files(card, root, entries, options)
        expected = _check_count(card, root, split, entries, options)
        root_rules = read_rules(root / UNITS_FILE) if (root / UNITS_FILE).is_file() else {}
        readable = options.readable(card.modalities)
        return cls(
            card=card,
            root=root,
            split=split,
            entries=tuple(entries)[: options.max_images],
            specs={spec.name: spec for spec in options.specs if spec.name in readable},
            rules={**root_rules, **options.rules},
            include_unlabelled=options.include_unlabelled,
            facts={
                "images_in_split": len(entries),
                "images_published": expected,
                "partial": options.partial,
                **facts,
            },
        )

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def modality_names(self) -> tuple[str, ...]:
        return self.card.modalities

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        """Read one image. Raises :class:`DataError` naming the file that is missing, broken or of another size."""
        entry = self.entries[index]
        image, labels = self._image(entry), self._labels(entry)
        self._check_size(entry, "labels", labels.shape[:2], image.shape[:2])
        if self.card.stored_hw and not self.facts["partial"] and image.shape[:2] != self.card.stored_hw:
            height, width = self.card.stored_hw
            raise DataError(
                f"Expected {str(entry.files['image'])!r} of {width}x{height} px, as published, but got "
                f"{image.shape[1]}x{image.shape[0]} px; get the original files, or accept others with --partial."
            )
        modalities = {name: self._modality(name, spec, entry, image) for name, spec in self.specs.items()}
        image, labels = self._trim(image), self._trim(labels)
        modalities = {name: self._trim(values) for name, values in modalities.items()}
        if entry.is_mirrored:
            image, labels = _mirror(image), _mirror(labels)
            modalities = {name: _mirror(values) for name, values in modalities.items()}
        return Sample(entry.key, image, modalities, labels, self._names(entry, labels))

    def describe(self) -> dict[str, Any]:
        label_rule = self.card.label_rule
        if self.include_unlabelled:
            label_rule += f"; {self.card.unlabelled_id} is surface {self._unlabelled_surface} here"
        return {
            "name": self.name,
            "root": str(self.root),
            "split": self.split.official,
            **({"split_asked": self.split.asked} if self.split.asked != self.split.official else {}),
            "images": len(self),
            **self.facts,
            "label_rule": label_rule,
            "include_unlabelled": self.include_unlabelled,
            "modalities": list(self.modality_names),
        }

    # What subclasses change -----------------------------------------------------------------------------
    def _image(self, entry: Entry) -> NDArray[np.uint8]:
        """RGB uint8 [H, W, 3] as stored."""
        return read_image(entry.files["image"])

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        """Surface ids int32 [H, W] as stored in size."""
        file = entry.files["labels"]
        ids = dict(self.card.ids)
        if self.include_unlabelled and self.card.unlabelled_id is not None:
            ids[self.card.unlabelled_id] = self._unlabelled_surface
        return map_ids(read_labels(file, (), self.card.label_channel), ids, file)

    def _modality(self, name: str, spec: ModalitySpec, entry: Entry, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One modality as float32 [H, W] or [H, W, C], NaN without a value. ``image`` is there for its size."""
        return self._read(name, spec, entry, name, image.shape[:2])

    def _trim(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of a map that is used; all of it unless the data set has a border to discard."""
        return array

    def _names(self, entry: Entry, labels: NDArray[np.int32]) -> Mapping[int, str]:
        """Surface id -> name, for the ids of one image at least."""
        if not self.include_unlabelled:
            return self.card.names
        return {**self.card.names, self._unlabelled_surface: "unlabelled"}

    # Help for them --------------------------------------------------------------------------------------
    def _read(
        self,
        name: str,
        spec: ModalitySpec,
        entry: Entry,
        role: str,
        size_hw: tuple[int, ...],
        channels: int | None = None,
    ) -> NDArray[np.float32]:
        """The file of a role by the rule of its modality, of the image's size."""
        file = entry.files[role]
        values = self._by_rule(name, spec, read_modality(file, channels or spec.channels), file)
        self._check_size(entry, role, values.shape[:2], size_hw)
        return values

    def _by_rule(self, name: str, spec: ModalitySpec, raw: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
        return apply_rule(raw, self.rules.get(name), spec, file)

    def _check_size(self, entry: Entry, role: str, got_hw: tuple[int, ...], image_hw: tuple[int, ...]) -> None:
        if tuple(got_hw) != tuple(image_hw):
            raise DataError(
                f"Expected {str(entry.files[role])!r} of {image_hw[1]}x{image_hw[0]} px, the size of its image, but "
                f"got {got_hw[1]}x{got_hw[0]} px; get the original file."
            )

    @property
    def _unlabelled_surface(self) -> int:
        return max(self.card.ids.values()) + 1


def find_root(card: Card, options: DatasetOptions) -> Path:
    """``--root``, or the data set's folder below ``$MMMS_DATA``.

    Raises :class:`UsageError` if neither is given, :class:`DataError` if there is no such folder.
    """
    if options.root is not None:
        places = [Path(options.root)]
    else:
        above = os.environ.get(DATA_VARIABLE)
        if not above:
            raise UsageError(
                f"Expected --root or ${DATA_VARIABLE}/{card.folders[0]} for {card.name!r} but got neither; give the "
                f"folder with {card.where}."
            )
        places = [Path(above) / folder for folder in card.folders]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(
        f"Expected the folder {' or '.join(repr(str(p)) for p in places)} but got none; put there {card.where}."
    )


def need_folder(card: Card, folder: Path) -> Path:
    """The folder itself. Raises :class:`DataError` with the expected tree if there is none."""
    if not folder.is_dir():
        raise DataError(f"Expected the folder {str(folder)!r} but got none; arrange {card.where}.")
    return folder


def choose_split(card: Card, options: DatasetOptions, conditions: Sequence[str] = ()) -> Split:
    """``SPLIT``, ``SPLIT+SPLIT`` or, where the data set has conditions, ``SPLIT/CONDITION``.

    Raises :class:`UsageError` listing the splits.
    """
    asked = options.split or card.default_split
    splits, *chosen = asked.split("/")
    names = tuple(card.aliases.get(name, name) for name in splits.split("+"))
    wrong = [name for name in names if name not in card.splits] + [c for c in chosen if c not in conditions]
    if wrong or len(chosen) > 1 or len(set(names)) < len(names):
        aliases = "".join(f", {alias} (= {name})" for alias, name in card.aliases.items())
        more = f", each also as SPLIT/CONDITION with {', '.join(conditions)}" if conditions else ""
        raise UsageError(
            f"Expected --split of {card.name!r} as {', '.join(card.splits)}{aliases}{more}, or several joined by + "
            f"but got {asked!r}; choose one."
        )
    return Split(asked, names, tuple(chosen))


def read_list(card: Card, file: Path) -> list[str]:
    """Stems of a list file, one per line. Raises :class:`DataError` if it is missing or names one twice."""
    try:
        stems = file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise DataError(f"Expected the list {str(file)!r} but got {reason!r}; arrange {card.where}.") from error
    outside = [stem for stem in stems if not is_below(stem)]
    if outside:
        raise DataError(
            f"Expected names of files below the root in {str(file)!r} but got {shown(outside[0])}; remove it."
        )
    twice = sorted(stem for stem, times in Counter(stems).items() if times > 1)
    if twice:
        raise DataError(f"Expected each name once in {str(file)!r} but got {shorten(twice)} twice; remove the repeats.")
    return stems


def is_below(name: str) -> bool:
    """Whether a name from a file leads to a place below the folder that it is put after."""
    is_short = max(len(os.fsencode(part)) for part in name.split("/")) <= _LONGEST_NAME and len(name) <= _LONGEST_PATH
    return name.isprintable() and is_short and not name.startswith("/") and ".." not in name.split("/")


def pair_folders(folders: Mapping[str, Path], key_prefix: str = "") -> list[Entry]:
    """Entries of parallel folders, by role, whose files differ in nothing but the extension.

    A name that any folder has makes an entry, so that a file without its partners is noticed.
    """
    found = {role: list_files(folder) for role, folder in folders.items()}
    return [
        Entry(
            key_prefix + key,
            {role: found[role].get(key, folder / f"{key}.*") for role, folder in folders.items()},
        )
        for key in sorted(set().union(*found.values()))
    ]


def _check_files(card: Card, root: Path, entries: Sequence[Entry], options: DatasetOptions) -> None:
    files = dict.fromkeys(file for entry in entries for file in entry.files.values())  # an image may share one
    missing = [file for file in files if not file.is_file()]
    if missing and not options.keep_going:
        listed = shorten(file.relative_to(root).as_posix() for file in missing)
        raise DataError(
            f"Expected all files of each image of {card.name!r} in {str(root)!r} but got none at {listed}; unpack the "
            "archive again, leave a modality out with --modalities, or count such images as broken with --keep-going."
        )


def _check_count(card: Card, root: Path, split: Split, entries: Sequence[Entry], options: DatasetOptions) -> int | None:
    """The published number of images, ``None`` if unknown; mirrored copies do not count."""
    keys = ["/".join((name, *split.conditions)) for name in split.names]
    if any(key not in card.counts for key in keys):
        return None
    expected = sum(card.counts[key] for key in keys)
    got = sum(not entry.key.endswith("_flip") for entry in entries)
    if got != expected and not options.partial:
        raise DataError(
            f"Expected {expected} images of {card.name!r}, {split.official!r}, in {str(root)!r} but got {got}; unpack "
            "the archive again, or measure what there is with --partial."
        )
    return expected


def _mirror(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array[:, ::-1])


def offset_ids(classes: int, shift: int, others: Mapping[int, int] | None = None) -> dict[int, int]:
    """Ids on disk ``1 - shift .. classes - shift`` -> surfaces ``1 .. classes``; 255 and ``others`` as given."""
    return {**{k - shift: k for k in range(1, classes + 1)}, 255: IGNORE, **(others or {})}
