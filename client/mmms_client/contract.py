"""The tensor contract between every room: which tensors each served model takes and gives.

This module is the single place where names, dtypes and shapes are decided. The ONNX graphs, ``config.pbtxt``,
the client's checks and the table in the documentation are generated from it or tested against it.

====================  =====================  ==============================================================
tensor                dtype, shape           meaning (B is the batch axis; the wire always carries it)
====================  =====================  ==============================================================
``image``             UINT8 [B,3,S,S]        RGB, stretched to S x S; normalisation is inside the graph
one per modality      FP16 [B,C,S,S]         scaled to [0, 1] by the client, -1 where the sensor has no value
``presence``          FP32 [B,M]             1 = modality given, 0 = left out (its tensor is then ignored)
``F1`` .. ``F4``      FP16 [B,D_k,h_k,w_k]   raw backbone features
``features``          FP16 [B,F]             f_mix of the four scales, flattened and packed into one tensor
``point_coords``      FP32 [B,P,2]           (x, y) in network pixels, pixel centres at integers
``point_labels``      INT32 [B,P]            1 positive, 0 negative, -1 padding
``previous_mask``     UINT8 [B,1,S,S]        probability x 255 of the answer before; zeros at first
``mask``              UINT8 [B,1,S,S]        probability x 255
====================  =====================  ==============================================================

``features`` is one tensor on purpose: the response cache stores whatever subset of outputs a request asked
for, so a model with one output is the only one whose cache entry cannot be partial.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mmms_client.json_place import Place
from mmms_client.json_text import parse_json
from mmms_client.typed_json import read_value

CONTRACT_VERSION = 2  # 2: models are numbered by their checkpoint
MAX_CLICKS = 64  # P: clicks per surface that fit one request; the rest of the list is padding
CLICK_BATCH = 8  # clicks that the server may run together in one forward pass of `csnet`
_LARGEST_SIDE, _MOST_MODALITIES, _LONGEST_TEXT = 8192, 64, 1000  # of what a server may say of its network
_NAME, _DIGEST = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"), re.compile(r"[0-9A-Za-z]{0,128}")

Scaling = Literal["linear", "log", "percentile"]
Resampling = Literal["bilinear", "nearest"]

_VERSION_DIGITS = 15  # 60 bits
_NUMPY_DTYPES: dict[str, type[np.generic]] = {
    "UINT8": np.uint8,
    "INT32": np.int32,
    "FP16": np.float16,
    "FP32": np.float32,
}


def model_version(checkpoint_sha256: str) -> int:
    """The first 15 hexadecimal digits of a checkpoint's hash as a number, at least 1: Triton takes positive int64.

    Triton keeps cached answers by version and lets a request name the one that it wants. Numbered by their weights,
    models cannot answer for one another, nor get features from a cache that others filled.

    Raises ``ValueError`` for what is no hash.
    """
    return max(1, int(checkpoint_sha256[:_VERSION_DIGITS], 16))


@dataclass(frozen=True)
class TensorSpec:
    """Name, Triton dtype and shape of one tensor. The shape leaves out the batch axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return np.dtype(_NUMPY_DTYPES[self.dtype])

    @property
    def size_bytes(self) -> int:
        """Bytes of one batch item."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize


@dataclass(frozen=True)
class ModelSpec:
    """One served model: its tensors and the largest batch that one request may carry."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int


@dataclass(frozen=True)
class ModalitySpec:
    """What the model expects of one modality.

    ``scaling`` maps a value ``v`` in ``unit`` to [0, 1], clipped:

    - ``linear``: ``(v - minimum) / (maximum - minimum)``
    - ``log``: ``log(v / minimum) / log(maximum / minimum)``, for quantities that span decades (distance)
    - ``percentile``: ``minimum`` and ``maximum`` are percentiles of the map itself, for uncalibrated sensors;
      ``unit`` is then ``None``, because any affine unit gives the same result
    """

    name: str
    channels: int
    scaling: Scaling
    minimum: float
    maximum: float
    unit: str | None
    resampling: Resampling = "bilinear"


@dataclass(frozen=True)
class ModelContract:
    """Everything a client must know of a served model. Read from the server, never typed twice."""

    preset: str
    checkpoint: str
    checkpoint_sha256: str
    resolution: int
    modalities: tuple[ModalitySpec, ...]
    backbone_shapes: tuple[tuple[int, int, int], ...]  # F1..F4 as (channels, height, width)
    pyramid_shapes: tuple[tuple[int, int, int], ...]  # f_mix at H/4, H/8, H/16, H/32
    engine: str = "unknown"
    precision: str = "unknown"
    max_clicks: int = MAX_CLICKS
    version: int = CONTRACT_VERSION
    backbone_sha256: str = ""  # of the weights; said only where the backbone is served elsewhere

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)

    def modality(self, name: str) -> ModalitySpec:
        """The specification of one modality. Raises ``KeyError`` for a name that the model lacks."""
        for spec in self.modalities:
            if spec.name == name:
                return spec
        raise KeyError(name)

    @property
    def model_version(self) -> int:
        """The number of the served models' version directories: who asks for it cannot be answered by another
        checkpoint. See :func:`model_version`.
        """
        return model_version(self.checkpoint_sha256)

    def is_same_model(self, other: ModelContract) -> bool:
        """Whether answers of the two may be mixed: the same weights behind the same tensors, on any engine."""
        return replace(other, engine=self.engine, precision=self.precision, checkpoint=self.checkpoint) == self

    @property
    def features_length(self) -> int:
        return sum(math.prod(shape) for shape in self.pyramid_shapes)

    # Tensors ------------------------------------------------------------------------------------------
    @property
    def image(self) -> TensorSpec:
        return TensorSpec("image", "UINT8", (3, self.resolution, self.resolution))

    @property
    def modality_tensors(self) -> tuple[TensorSpec, ...]:
        side = self.resolution
        return tuple(TensorSpec(m.name, "FP16", (m.channels, side, side)) for m in self.modalities)

    @property
    def presence(self) -> tuple[TensorSpec, ...]:
        """Empty for a model without modalities: a zero-length tensor is not a thing servers agree on."""
        return (TensorSpec("presence", "FP32", (len(self.modalities),)),) if self.modalities else ()

    @property
    def backbone_features(self) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(f"F{k}", "FP16", shape) for k, shape in enumerate(self.backbone_shapes, 1))

    @property
    def features(self) -> TensorSpec:
        return TensorSpec("features", "FP16", (self.features_length,))

    @property
    def point_coords(self) -> TensorSpec:
        return TensorSpec("point_coords", "FP32", (self.max_clicks, 2))

    @property
    def point_labels(self) -> TensorSpec:
        return TensorSpec("point_labels", "INT32", (self.max_clicks,))

    @property
    def previous_mask(self) -> TensorSpec:
        return TensorSpec("previous_mask", "UINT8", (1, self.resolution, self.resolution))

    @property
    def mask(self) -> TensorSpec:
        return TensorSpec("mask", "UINT8", (1, self.resolution, self.resolution))

    def models(self) -> dict[str, ModelSpec]:
        """The five served models by name, in the order in which data flows through them."""
        encoder_inputs = (self.image, *self.modality_tensors, *self.presence)
        click_inputs = (self.point_coords, self.point_labels, self.previous_mask)
        fuser_inputs = (*self.backbone_features, *self.modality_tensors, *self.presence)
        specs = (
            ModelSpec("backbone", (self.image,), self.backbone_features, 1),
            ModelSpec("fuser", fuser_inputs, (self.features,), 1),
            ModelSpec("backbone_fuser", encoder_inputs, (self.features,), 1),
            ModelSpec("csnet", (self.features, *click_inputs), (self.mask,), CLICK_BATCH),
            ModelSpec("mmms", (*encoder_inputs, *click_inputs), (self.mask,), 1),
        )
        return {spec.name: spec for spec in specs}

    # Text form ----------------------------------------------------------------------------------------
    def to_parameters(self) -> dict[str, str]:
        """The contract as the string parameters of the `mmms` model configuration."""
        split = {"backbone_sha256": self.backbone_sha256} if self.backbone_sha256 else {}
        return {
            **split,
            "contract_version": str(self.version),
            "preset": self.preset,
            "checkpoint": self.checkpoint,
            "checkpoint_sha256": self.checkpoint_sha256,
            "resolution": str(self.resolution),
            "max_clicks": str(self.max_clicks),
            "engine": self.engine,
            "precision": self.precision,
            "modalities": json.dumps([asdict(m) for m in self.modalities]),
            "backbone_shapes": json.dumps([list(s) for s in self.backbone_shapes]),
            "pyramid_shapes": json.dumps([list(s) for s in self.pyramid_shapes]),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> ModelContract:
        """Inverse of :meth:`to_parameters`.

        ``KeyError``, ``ValueError`` or :class:`mmms_client.errors.SessionFormatError` on nonsense: a server may say
        anything, and memory is taken for what it says.
        """

        def listed(key: str, kind: Any) -> Any:
            return read_value(Place("the model configuration", key, parse_json(parameters[key])), kind)

        contract = cls(
            preset=parameters["preset"],
            checkpoint=parameters["checkpoint"],
            checkpoint_sha256=parameters["checkpoint_sha256"],
            resolution=int(parameters["resolution"]),
            max_clicks=int(parameters["max_clicks"]),
            engine=parameters["engine"],
            precision=parameters["precision"],
            modalities=listed("modalities", tuple[ModalitySpec, ...]),
            backbone_shapes=listed("backbone_shapes", tuple[tuple[int, int, int], ...]),
            pyramid_shapes=listed("pyramid_shapes", tuple[tuple[int, int, int], ...]),
            version=int(parameters["contract_version"]),
            backbone_sha256=parameters.get("backbone_sha256", ""),
        )
        _check(contract)
        return contract


def _check(contract: ModelContract) -> None:
    """Raise ``ValueError`` for a contract that no network of ours can have."""
    texts = (contract.preset, contract.checkpoint, contract.engine, contract.precision)
    digests = (contract.checkpoint_sha256, contract.backbone_sha256)
    shapes = (*contract.backbone_shapes, *contract.pyramid_shapes)
    names = contract.modality_names
    for holds, what in (
        (all(text.isprintable() and len(text) <= _LONGEST_TEXT for text in texts), "names"),
        (all(_DIGEST.fullmatch(text) for text in digests), "hashes"),
        (8 <= contract.resolution <= _LARGEST_SIDE and 1 <= contract.max_clicks <= _LARGEST_SIDE, "sizes"),
        (len(contract.backbone_shapes) == len(contract.pyramid_shapes) == 4, "shapes"),
        (all(1 <= side <= _LARGEST_SIDE for shape in shapes for side in shape), "shapes"),
        (len(set(names)) == len(names) <= _MOST_MODALITIES and all(map(_NAME.fullmatch, names)), "modalities"),
        (all(map(_is_usable, contract.modalities)), "modalities"),
    ):
        if not holds:
            raise ValueError(f"{what} that no network has")


def _is_usable(spec: ModalitySpec) -> bool:
    low, high = spec.minimum, spec.maximum
    is_ordered = low < high and max(abs(low), abs(high)) <= 1e12
    fits = {"linear": True, "log": low > 0.0, "percentile": low >= 0.0 and high <= 100.0}[spec.scaling]
    is_named = spec.unit is None or (spec.unit.isprintable() and len(spec.unit) <= _LONGEST_TEXT)
    return is_ordered and fits and is_named and 1 <= spec.channels <= _MOST_MODALITIES


@dataclass(frozen=True)
class KnownModality:
    """Defaults of a modality that the field knows by name; a checkpoint may override any of them."""

    spec: ModalitySpec
    meaning: str = field(default="")


KNOWN_MODALITIES: dict[str, KnownModality] = {
    known.spec.name: known
    for known in (
        KnownModality(
            ModalitySpec("thermal", 1, "percentile", 1.0, 99.0, None),
            "thermal infrared, uncalibrated counts or degrees",
        ),
        KnownModality(ModalitySpec("depth", 1, "log", 0.3, 120.0, "m"), "distance along the optical axis"),
        KnownModality(ModalitySpec("nir", 1, "percentile", 1.0, 99.0, None), "near infrared"),
        KnownModality(
            ModalitySpec("hha", 3, "linear", 0.0, 255.0, None),
            "depth as disparity, height above ground and angle to gravity",
        ),
        KnownModality(
            ModalitySpec("event", 3, "linear", 0.0, 255.0, None, "nearest"), "event camera, polarity picture"
        ),
        KnownModality(
            ModalitySpec("lidar", 3, "linear", 0.0, 255.0, None, "nearest"),
            "projected lidar points as a picture",
        ),
        KnownModality(ModalitySpec("aolp", 2, "linear", -1.0, 1.0, None), "angle of linear polarisation as (sin, cos)"),
        KnownModality(ModalitySpec("dolp", 1, "linear", 0.0, 1.0, None), "degree of linear polarisation"),
    )
}
