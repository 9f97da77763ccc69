"""What a server says, held against what it may say: it may be somebody else's, broken, or out to harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import TensorSpec
from mmms_client.errors import ContractError, printable

_MOST_BATCH = 8
_LONGEST_TEXT = 600
Port = tuple[str, tuple[int, ...]]  # Triton's name of a dtype, and the shape without the batch axis


def said(text: str) -> str:
    """What a server says, as one line of our messages: short, and nothing in it that a terminal would obey."""
    return printable(" ".join(text.split())[:_LONGEST_TEXT])


def parameters_of(configuration: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a model configuration, by name; what is left out there is empty."""
    given = configuration.get("parameters", {})
    return {key: str(value.get("string_value", "")) for key, value in given.items()}


def ports_of(configuration: Mapping[str, Any], side: str) -> dict[str, Port]:
    """Dtype and shape of the tensors of a side (``input`` or ``output``), by name. Fields may be left out."""
    return {
        str(port.get("name", "")): (
            str(port.get("data_type", "")).removeprefix("TYPE_"),
            tuple(int(d) for d in port.get("dims", ())),
        )
        for port in configuration.get(side, ())
    }


def checked(array: NDArray[Any], spec: TensorSpec, model: str, url: str) -> NDArray[Any]:
    """An answer [B, ...], if it is of the tensor's shape and dtype. Raises :class:`ContractError`."""
    is_batch = 1 <= array.shape[0] <= _MOST_BATCH if array.ndim else False
    if not is_batch or array.shape[1:] != spec.shape or array.dtype != spec.numpy_dtype:
        raise ContractError(
            f"Expected {spec.name!r} {spec.numpy_dtype} {[1, *spec.shape]} of model {model!r} from {url} but got "
            f"{array.dtype} {list(array.shape)}; it is not the model that it says it is."
        )
    if array.dtype == np.float16 and not np.isfinite(array).all():
        raise ContractError(
            f"Expected finite numbers in {spec.name!r} of model {model!r} from {url} but got NaN or inf among them; "
            "export the checkpoint again."
        )
    return array
