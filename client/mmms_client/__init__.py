"""Click-based interactive segmentation of several surfaces in images from several registered sensors: the
client.

::

    from mmms_client import Session, TritonPredictor, open_inputs

    with TritonPredictor.connect("localhost:8001") as predictor:
        inputs = open_inputs(predictor.contract, "street.png", {"thermal": "street_thermal.png"})
        session = Session(predictor, inputs.image, inputs.modalities)
        road = session.add_surface("road")
        session.click(road, 320, 400)
        session.joint  # uint16 [H, W]

Names are loaded when they are first used: importing this package loads neither NumPy nor gRPC.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmms_client.annotation import Annotation, Answer
    from mmms_client.async_triton_predictor import AsyncTritonPredictor
    from mmms_client.clicks import Click
    from mmms_client.contract import ModalitySpec, ModelContract
    from mmms_client.errors import (
        AlignmentError,
        ClickError,
        ContractError,
        DataError,
        DeadlineError,
        ImageReadError,
        MMMSError,
        ModalityError,
        ModelNotReadyError,
        ModelReplacedError,
        OutputError,
        ServerBusyError,
        ServerError,
        ServerUnreachableError,
        SessionFormatError,
        UsageError,
    )
    from mmms_client.events import Surface, Visit
    from mmms_client.geometry import Region
    from mmms_client.inputs import Inputs, open_inputs
    from mmms_client.predictor import Encoded, Predictor
    from mmms_client.readers import read_image, read_modality
    from mmms_client.session import AsyncPredictor, AsyncSession, Session
    from mmms_client.session_file import SessionDocument, read_session, replay, write_session
    from mmms_client.triton_predictor import TritonPredictor

_HOMES = {
    "annotation": ("Annotation", "Answer"),
    "clicks": ("Click",),
    "contract": ("ModalitySpec", "ModelContract"),
    "errors": (
        "AlignmentError",
        "ClickError",
        "ContractError",
        "DataError",
        "DeadlineError",
        "ImageReadError",
        "MMMSError",
        "ModalityError",
        "ModelNotReadyError",
        "ModelReplacedError",
        "OutputError",
        "ServerBusyError",
        "ServerError",
        "ServerUnreachableError",
        "SessionFormatError",
        "UsageError",
    ),
    "events": ("Surface", "Visit"),
    "geometry": ("Region",),
    "inputs": ("Inputs", "open_inputs"),
    "predictor": ("Encoded", "Predictor"),
    "readers": ("read_image", "read_modality"),
    "session": ("AsyncPredictor", "AsyncSession", "Session"),
    "session_file": ("SessionDocument", "read_session", "replay", "write_session"),
    "async_triton_predictor": ("AsyncTritonPredictor",),
    "triton_predictor": ("TritonPredictor",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AlignmentError",
    "Annotation",
    "Answer",
    "AsyncPredictor",
    "AsyncSession",
    "AsyncTritonPredictor",
    "Click",
    "ClickError",
    "ContractError",
    "DataError",
    "DeadlineError",
    "Encoded",
    "ImageReadError",
    "Inputs",
    "MMMSError",
    "ModalityError",
    "ModalitySpec",
    "ModelContract",
    "ModelNotReadyError",
    "ModelReplacedError",
    "OutputError",
    "Predictor",
    "Region",
    "ServerBusyError",
    "ServerError",
    "ServerUnreachableError",
    "Session",
    "SessionDocument",
    "SessionFormatError",
    "Surface",
    "TritonPredictor",
    "UsageError",
    "Visit",
    "open_inputs",
    "read_image",
    "read_modality",
    "read_session",
    "replay",
    "write_session",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
