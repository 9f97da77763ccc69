"""The protocol between a click model and everything that uses one.

A predictor is stateless and thread-safe: ``encode`` once per image, ``predict`` once per click. The session,
the benchmark and the performance tables talk to this protocol only, so that a number from a torch checkpoint,
from an engine in process and from the server comes out of the same code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click, encode_clicks
from mmms_client.contract import ModelContract
from mmms_client.errors import AlignmentError, ModalityError
from mmms_client.geometry import Frame, Region, modality_to_network, scale_modality

Modalities = Mapping[str, NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Encoded:
    """An image as one predictor holds it. Opaque but for the geometry; valid for that predictor only."""

    frame: Frame
    present: tuple[str, ...]
    payload: Any = field(repr=False)
    image_key: str = ""  # see :func:`image_key`; empty where no server is involved


class Predictor(Protocol):
    """A click model."""

    @property
    def contract(self) -> ModelContract:
        """What the model takes; see :mod:`mmms_client.contract`."""
        ...

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        """Do everything that does not depend on clicks.

        Args:
            image: RGB uint8 [H, W, 3].
            modalities: by name, float [h, w] or [h, w, C] in the unit of the model's contract, NaN where the
                sensor has no value, with the aspect ratio of the image. A modality of the model that is not
                given is absent, which is not the same as zeros.
            region: the part of the image that the network sees; the whole image by default.

        Raises:
            ModalityError: a modality that the model lacks.
            AlignmentError: a modality of another aspect ratio or channel count.
        """
        ...

    def predict(
        self,
        encoded: Encoded,
        clicks: Sequence[Click],
        previous_mask: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Answer the clicks of one surface.

        Args:
            encoded: from :meth:`encode` of the same predictor.
            clicks: all clicks of the surface so far, in image pixels.
            previous_mask: float32 [S, S] probabilities of the answer before, as returned here; ``None`` at
                first.

        Returns:
            Probabilities in [0, 1], float32 [S, S], in network pixels.
            ``encoded.frame.probabilities_to_image`` brings them to image pixels.

        Raises:
            ClickError: a click outside the frame, or more clicks than the model takes.
        """
        ...


def network_inputs(
    contract: ModelContract,
    image: NDArray[np.uint8],
    modalities: Modalities | None,
    region: Region | None = None,
) -> tuple[Frame, tuple[str, ...], dict[str, NDArray[Any]]]:
    """The tensors of ``backbone_fuser`` for one image: each with its batch axis of 1, by tensor name.

    Returns the frame, the names of the modalities that are present, and the tensors. See
    :meth:`Predictor.encode` for arguments and errors.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise AlignmentError(
            f"Expected an RGB image uint8 [height, width, 3] but got {image.dtype} {list(image.shape)}; "
            f"convert it first."
        )
    given = dict(modalities or {})
    unknown = sorted(set(given) - set(contract.modality_names))
    if unknown:
        raise ModalityError(unknown_modality_message(unknown[0], contract))
    frame = Frame.of((image.shape[0], image.shape[1]), contract.resolution, region)
    tensors: dict[str, NDArray[Any]] = {"image": frame.image_to_network(image)[None]}
    presence = np.zeros((1, len(contract.modalities)), np.float32)
    for index, spec in enumerate(contract.modalities):
        if spec.name in given:
            scaled = scale_modality(given[spec.name], spec)
            tensors[spec.name] = modality_to_network(scaled, spec, frame)[None]
            presence[0, index] = 1.0
        else:
            tensors[spec.name] = np.zeros((1, spec.channels, frame.resolution, frame.resolution), np.float16)
    if contract.modalities:
        tensors["presence"] = presence
    present = tuple(name for name in contract.modality_names if name in given)
    return frame, present, tensors


def image_key(tensors: Mapping[str, NDArray[Any]]) -> str:
    """What an image is called on its way to one of several servers: 32 hexadecimal digits.

    Args:
        tensors: from :func:`network_inputs`.

    The bytes that the servers' caches know the image by, so that equal keys mean equal cache entries: a proxy that
    sends equal keys to one server makes each click find the features of its image there.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def click_inputs(
    contract: ModelContract,
    frame: Frame,
    clicks: Sequence[Click],
    previous_mask: NDArray[np.float32] | None,
) -> dict[str, NDArray[Any]]:
    """The tensors that ``csnet`` needs beside ``features``, each with its batch axis of 1, by tensor name."""
    coords, labels = encode_clicks(frame.clicks_to_network(clicks), contract.max_clicks)
    side = contract.resolution
    if previous_mask is None:
        previous = np.zeros((1, 1, side, side), np.uint8)
    else:
        previous = np.rint(np.clip(previous_mask, 0.0, 1.0) * 255.0).astype(np.uint8).reshape(1, 1, side, side)
    return {"point_coords": coords[None], "point_labels": labels[None], "previous_mask": previous}


def to_probabilities(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``mask`` uint8 [1, 1, S, S] of a model to probabilities float32 [S, S] in [0, 1]."""
    return mask[0, 0].astype(np.float32) * np.float32(1.0 / 255.0)


def unknown_modality_message(name: str, contract: ModelContract) -> str:
    known = ", ".join(contract.modality_names) or "none (it is an RGB-only model)"
    return (
        f"Expected a modality of the model ({known}) but got {name!r}; rename it with --map "
        f"{name}=MODEL_NAME or leave it out with --modalities."
    )
