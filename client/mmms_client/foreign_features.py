"""Features that come from elsewhere than the server that answers clicks.

- ``provider=HOST:PORT``: another Triton server runs ``backbone`` (a foundation model as a black box) and gives F1..F4
  once per image; ``fuser`` and ``csnet`` run on ours, which never holds the backbone.
- ``bundle=FOLDER``: fused features that ``mmms-client encode --bundle`` wrote; ours holds ``csnet`` alone, and sees
  neither the backbone nor any modality.

Either way the client keeps the features and sends them with every click.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmms_client.bounded import read_npy
from mmms_client.contract import ModelContract, TensorSpec
from mmms_client.endpoint import Endpoint
from mmms_client.errors import ContractError, DataError, ModalityError, ModelNotReadyError, UsageError
from mmms_client.json_place import Place, shown
from mmms_client.json_text import read_json
from mmms_client.server_answers import checked, parameters_of, ports_of
from mmms_client.transport import Transport, served_version

PROVIDER, BUNDLE = "provider", "bundle"
BUNDLE_FILE = "bundle.json"
BUNDLE_FORMAT = "mmms-bundle-1"
_FEATURES_FILE = re.compile(r"[0-9a-f]+\.npy")
Tensors = Mapping[str, NDArray[Any]]


class FeatureSource(Protocol):
    """Where the features of an image come from. Thread-safe."""

    @property
    def description(self) -> str:
        """For people."""
        ...

    def features(self, present: tuple[str, ...], tensors: Tensors) -> tuple[tuple[str, ...], NDArray[np.float16]]:
        """The modalities that are in the features, and the features float16 [1, F].

        ``present`` and ``tensors`` are what :func:`mmms_client.predictor.network_inputs` made.
        """
        ...

    def close(self) -> None: ...


def is_foreign(features: str) -> bool:
    """Whether a ``--features`` value names a source of this module."""
    return features.partition("=")[0] in (PROVIDER, BUNDLE) and "=" in features


def open_feature_source(
    features: str, transport: Transport, contract: ModelContract, deadline_s: float
) -> FeatureSource:
    """The source that ``provider=HOST:PORT`` or ``bundle=FOLDER`` names, for clicks on ``transport``."""
    kind, _, value = features.partition("=")
    if kind == BUNDLE:
        return BundleFeatures.open(Path(value), contract)
    from mmms_client.triton import TritonTransport

    provider = TritonTransport(Endpoint.of_provider(value))
    try:
        return ProviderFeatures(provider, transport, contract, deadline_s)
    except BaseException:
        provider.close()
        raise


class ProviderFeatures:
    """F1..F4 from a provider, fused by our own server. Counts bytes and seconds per image."""

    def __init__(self, provider: Transport, transport: Transport, contract: ModelContract, deadline_s: float) -> None:
        check_provider(provider, contract.backbone_features, contract.resolution, contract.backbone_sha256)
        self._backbone_version = served_version(provider.configuration("backbone"))
        if not transport.is_model_ready("fuser"):
            raise ModelNotReadyError(
                f"Expected model 'fuser' at {transport.url}, which fuses the provider's features, but it is not ready; "
                "serve an export without the backbone alone."
            )
        self._provider, self._transport, self._contract = provider, transport, contract
        self._deadline_s = deadline_s
        self._images, self._seconds, self._bytes = 0, 0.0, 0

    @property
    def description(self) -> str:
        text = f"features: F1..F4 from the provider at {self._provider.url}"
        if not self._images:
            return text
        return (
            f"{text} ({self._bytes / self._images / 1e6:.2f} MB and {self._seconds / self._images:.3f} s per image, "
            f"{self._images} images)"
        )

    def features(self, present: tuple[str, ...], tensors: Tensors) -> tuple[tuple[str, ...], NDArray[np.float16]]:
        began = time.perf_counter()
        maps = ask_provider(self._provider, tensors["image"], self._deadline_s, self._backbone_version)
        for spec in self._contract.backbone_features:
            checked(maps[spec.name], spec, "backbone", self._provider.url)
        self._seconds += time.perf_counter() - began
        self._bytes += tensors["image"].nbytes + sum(values.nbytes for values in maps.values())
        self._images += 1
        rest = {name: value for name, value in tensors.items() if name != "image"}
        answer = self._transport.infer(
            "fuser",
            {**maps, **rest},
            ("features",),
            timeout_s=self._deadline_s,
            version=str(self._contract.model_version),
        )
        return present, checked(answer["features"], self._contract.features, "fuser", self._transport.url)

    def close(self) -> None:
        self._provider.close()


def ask_provider(
    provider: Transport, image: NDArray[np.uint8], deadline_s: float, version: str = ""
) -> dict[str, NDArray[np.float16]]:
    """F1..F4 by name, float16 [1, D, h, w], of an image uint8 [1, 3, S, S]; of this version of ``backbone`` only."""
    names = ("F1", "F2", "F3", "F4")
    return provider.infer("backbone", {"image": image}, names, timeout_s=deadline_s, version=version)


def check_provider(
    provider: Transport, expected: tuple[TensorSpec, ...], resolution: int, backbone_sha256: str = ""
) -> str:
    """Raise unless a server's ``backbone`` gives the features that are needed; returns its backbone's hash, or "".

    Raises:
        ModelNotReadyError: no such model there.
        ContractError: another resolution, other shapes, or another backbone.
    """
    if not provider.is_model_ready("backbone"):
        raise ModelNotReadyError(
            f"Expected model 'backbone' to be ready at the provider {provider.url} but it is not; look at its log."
        )
    configuration = provider.configuration("backbone")
    sides = [shape for _, shape in ports_of(configuration, "input").values()]
    if sides != [(3, resolution, resolution)]:
        raise ContractError(
            f"Expected a backbone for {resolution} px at {provider.url} but got one for {shown(sides)}; export it with "
            f"--resolution {resolution}."
        )
    given = {name: shape for name, (_, shape) in ports_of(configuration, "output").items()}
    for spec in expected:
        if given.get(spec.name) != spec.shape:
            raise ContractError(
                f"Expected {spec.name} of shape {list(spec.shape)} from the provider {provider.url} but got "
                f"{shown(list(given.get(spec.name, ())))}; it serves another backbone."
            )
    theirs = parameters_of(configuration).get("backbone_sha256", "")
    if theirs and backbone_sha256 and theirs != backbone_sha256:
        raise ContractError(
            f"Expected the backbone {backbone_sha256[:12]} at the provider {provider.url} but got "
            f"{shown(theirs[:12])}; ask for the weights that the network was trained with."
        )
    return theirs


@dataclass(frozen=True)
class BundleEntry:
    """One image of a bundle: its features' file, the modalities that are in them, and what they cost."""

    name: str
    file: str
    modalities: tuple[str, ...]
    size_bytes: int
    seconds: float


class BundleFeatures:
    """Features from a folder, found by what the network sees of an image."""

    def __init__(self, folder: Path, entries: Mapping[str, BundleEntry], length: int) -> None:
        self._folder, self._entries, self._length = folder, entries, length

    @classmethod
    def open(cls, folder: Path, contract: ModelContract) -> BundleFeatures:
        """Read the list of a bundle. Raises :class:`DataError`; :class:`ContractError` if it is of another network."""
        made_for, entries = read_bundle(folder)
        ours = contract_key(contract)
        odd = next((name for name, value in ours.items() if made_for.get(name) != value), None)
        if odd is not None:
            raise ContractError(
                f"Expected a bundle of {odd} {ours[odd]} in {str(folder)!r} but got {shown(made_for.get(odd))}; "
                "encode the images again with this network."
            )
        return cls(folder, entries, contract.features_length)

    @property
    def description(self) -> str:
        sizes = [entry.size_bytes for entry in self._entries.values()]
        seconds = [entry.seconds for entry in self._entries.values()]
        count = max(1, len(sizes))
        return (
            f"features: bundle {self._folder} ({len(sizes)} images, {sum(sizes) / count / 1e6:.2f} MB each, encoded in "
            f"{sum(seconds) / count:.3f} s each)"
        )

    def features(self, present: tuple[str, ...], tensors: Tensors) -> tuple[tuple[str, ...], NDArray[np.float16]]:
        entry = self._entries.get(bundle_key(tensors["image"]))
        if entry is None:
            raise DataError(
                f"Expected the features of this image (and region) in {str(self._folder)!r} but got none; encode it "
                "with `mmms-client encode --bundle`."
            )
        if present and present != entry.modalities:
            raise ModalityError(
                f"Expected the modalities that {entry.name!r} was encoded with ("
                f"{', '.join(entry.modalities) or 'none'}) but got {', '.join(present)}; give the same, or none."
            )
        file = self._folder / entry.file
        if file.is_symlink():
            raise DataError(f"Expected features in {str(file)!r} but got a link; encode again, or copy the file there.")
        try:
            with file.open("rb") as stream:
                values = read_npy(stream, file.stat().st_size)
        except (OSError, ValueError) as error:
            raise DataError(
                f"Expected features in {str(file)!r} but got {' '.join(str(error).split())!r}; encode again."
            ) from error
        if values.shape != (self._length,) or values.dtype != np.float16:
            raise DataError(f"Expected {self._length} features in {str(file)!r} but got {values.shape}; encode again.")
        return entry.modalities, values[None]

    def close(self) -> None:
        """Nothing is open."""


def bundle_key(image: NDArray[np.uint8]) -> str:
    """Name of an image in a bundle: the hash of what the network sees of it."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def contract_key(contract: ModelContract) -> dict[str, Any]:
    """By what features of two networks differ."""
    return {"checkpoint_sha256": contract.checkpoint_sha256, "resolution": contract.resolution}


def read_bundle(folder: Path) -> tuple[dict[str, Any], dict[str, BundleEntry]]:
    """What a bundle was made for, and its images by key.

    Raises :class:`DataError`, also for a list that names files outside of its folder.
    """
    file = folder / BUNDLE_FILE
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"Expected a bundle in {str(folder)!r} but got {reason!r}; write one with `mmms-client encode --bundle`."
        ) from error
    top = Place(str(file), "", content, "write it again with `mmms-client encode --bundle`")
    fields = top.fields(("format", "made_for", "images"))
    if fields["format"].value != BUNDLE_FORMAT:
        fields["format"].fail(repr(BUNDLE_FORMAT))
    made_for = fields["made_for"].fields(("checkpoint_sha256", "resolution"))
    entries = {key: _entry(place) for key, place in fields["images"].entries().items()}
    return {
        "checkpoint_sha256": made_for["checkpoint_sha256"].text(),
        "resolution": made_for["resolution"].integer(1),
    }, entries


def _entry(place: Place) -> BundleEntry:
    fields = place.fields(("name", "file", "modalities", "size_bytes", "seconds"))
    name = fields["file"].text()
    if not _FEATURES_FILE.fullmatch(name):
        fields["file"].fail("a file of the bundle's own folder, such as '0123abcd.npy',")
    return BundleEntry(
        fields["name"].text(),
        name,
        tuple(item.text() for item in fields["modalities"].items()),
        fields["size_bytes"].integer(0),
        fields["seconds"].number(),
    )


def check_features_option(features: str, paths: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` for a ``--features`` value that nobody knows."""
    if features not in paths and not (is_foreign(features) and features.partition("=")[2]):
        raise UsageError(
            f"Expected --features to be one of {', '.join(paths)}, {PROVIDER}=HOST:PORT, {BUNDLE}=FOLDER but got "
            f"{features!r}; take one of these."
        )
