"""``mmms-client encode FOLDER``: a whole data set into the server's cache, so that no first click waits.

The same inputs as the app's, alignments of its folder of results included: the cache knows an image by its bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mmms_client.alignment import Nudge
from mmms_client.annotate.images import ImageFile
from mmms_client.annotate.pictures import Reading, read_pictures
from mmms_client.annotate.project import PROJECT_FILE, Project
from mmms_client.endpoint import Endpoint
from mmms_client.errors import DataError, UsageError
from mmms_client.journal import JOURNAL_FILE, read_journal
from mmms_client.predictor import image_key, network_inputs
from mmms_client.triton_predictor import ENSEMBLE, TritonPredictor

_AT_ONCE = 2  # one is read while the server works on the other
_T = TypeVar("_T")
Progress = Callable[[Iterable[str], int], contextlib.AbstractContextManager[Iterator[str]]]


@dataclass(frozen=True)
class EncodeResult:
    """How many images the server has encoded, and which could not be read, one line each."""

    encoded: int
    failed: tuple[str, ...]
    is_kept: bool


def encode_images(
    images: Sequence[ImageFile],
    url: str | Endpoint,
    reading: Reading,
    out: str | None,
    deadline_s: float,
    progress: Progress,
    say: Callable[[str], None],
) -> EncodeResult:
    """Encode images ahead.

    Args:
        images: which.
        url: ``host:port`` of the server, or an endpoint.
        reading: how files are read.
        out: the app's folder of results, for its alignments.
        deadline_s: longest wait for one answer.
        progress: shows how far it is; gets what is done, one name each, and how many there will be.
        say: gets each line for the person at the terminal.

    Raises:
        ServerError: the server does not answer; what was encoded stays there.
    """
    folder = _nudges(out, images)
    failed: list[str] = []
    with TritonPredictor.connect(url, features=ENSEMBLE, deadline_s=deadline_s) as predictor:

        def encode(file: ImageFile) -> str:
            try:
                pictures = read_pictures(file, predictor.contract, reading, folder(file))
            except DataError as error:
                failed.append(f"{file.name}: {error}")
                return file.name
            failed.extend(f"{file.name}: {m.error}" for m in pictures.modalities if m.error)
            predictor.encode(pictures.image, pictures.model_inputs)
            return file.name

        with ThreadPoolExecutor(_AT_ONCE) as pool, progress(pool.map(encode, images), len(images)) as names:
            for _ in names:
                pass
        is_kept = _is_cached(predictor, images[0], reading, folder)
    done = len(images) - len(failed)
    for line in failed:
        say(f"note: {line}")
    say(f"encoded {done} of {len(images)} image(s) at {url}")
    if not is_kept:
        size_mb = predictor.contract.features.size_bytes / 1e6
        say(
            f"note: the server no longer has the first image: its cache is smaller than this data set. Start it with "
            f"--cache-config local,size=BYTES, {size_mb:.1f} MB for each image."
        )
    return EncodeResult(done, tuple(failed), is_kept)


def shard_of(images: Sequence[ImageFile], shard: str | None) -> Sequence[ImageFile]:
    """Every COUNT-th image from INDEX for ``INDEX/COUNT``, all for ``None``: the work of one of several.

    Raises:
        UsageError: not of that form, or no image is left.
    """
    if shard is None:
        return images
    index, _, count = shard.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(
            f"Expected --shard INDEX/COUNT with INDEX below COUNT but got {shard!r}; write for example --shard 0/8."
        )
    if int(index) >= len(images):
        raise UsageError(
            f"Expected an image for --shard {shard} but got only {len(images)} image(s); take a smaller COUNT."
        )
    return images[int(index) :: int(count)]


def _is_cached(
    predictor: TritonPredictor, file: ImageFile, reading: Reading, nudges: Callable[[ImageFile], Mapping[str, Nudge]]
) -> bool:
    """Whether the server still has an image: only a cache that answers counts a hit."""
    try:
        pictures = read_pictures(file, predictor.contract, reading, nudges(file))
    except DataError:
        return True
    *_, tensors = network_inputs(predictor.contract, pictures.image, pictures.model_inputs)
    key = image_key(tensors)
    before = predictor.transport.statistics("backbone_fuser", key).cache_hits
    predictor.encode(pictures.image, pictures.model_inputs)
    return predictor.transport.statistics("backbone_fuser", key).cache_hits > before


def _nudges(out: str | None, images: Sequence[ImageFile]) -> Callable[[ImageFile], Mapping[str, Nudge]]:
    """What the app's folder of results says of where modalities lie."""
    if out is None or not (Path(out) / PROJECT_FILE).is_file():
        return lambda file: {}
    project = Project.read(out, list(images))

    def of(file: ImageFile) -> Mapping[str, Nudge]:
        journal = project.folder(file) / JOURNAL_FILE
        own = read_journal(journal).state.nudges if journal.is_file() else {}
        return {**project.nudges, **own}

    return of
