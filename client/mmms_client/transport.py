"""The seam between this project and a server: small, so that what is behind it can be replaced in one file.

:mod:`mmms_client.triton` is the only implementation and the only file that knows gRPC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ModelStatistics:
    """Counters of one served model since the server started."""

    requests: int
    cache_hits: int
    cache_misses: int
    queue_ns: int  # summed over the requests
    compute_ns: int  # summed over the requests, input and output copies included


def served_version(configuration: Mapping[str, Any]) -> str:
    """The one version that a model's configuration (JSON-like data) lets the server load; empty if it names none."""
    versions = configuration.get("version_policy", {}).get("specific", {}).get("versions", [])
    return str(versions[0]) if len(versions) == 1 else ""


class SharedRegion(Protocol):
    """A piece of memory that the server can read and write. Owned by the transport that made it."""

    @property
    def size_bytes(self) -> int: ...

    def register(self) -> None:
        """Tell the server of it, again if it was started anew; what is in the memory stays."""
        ...

    def close(self) -> None:
        """Unregister and free. Only after the last request that uses it has ended."""
        ...


@dataclass(frozen=True)
class InRegion:
    """A tensor that lies in shared memory instead of the request."""

    region: SharedRegion
    dtype: str  # Triton's name
    shape: tuple[int, ...]  # with the batch axis

    @property
    def size_bytes(self) -> int:
        itemsize = {"FP16": 2, "FP32": 4, "UINT8": 1, "INT32": 4}[self.dtype]
        return int(np.prod(self.shape)) * itemsize


class Transport(Protocol):
    """Calls on one server. Thread-safe. All failures are :class:`mmms_client.errors.ServerError`."""

    url: str

    def is_ready(self) -> bool: ...

    def is_model_ready(self, model: str) -> bool: ...

    def server_version(self) -> str: ...

    def configuration(self, model: str) -> dict[str, Any]:
        """The model's configuration as JSON-like data. Raises :class:`ModelNotReadyError` if there is no such model."""
        ...

    def statistics(self, model: str, image_key: str = "") -> ModelStatistics:
        """The model's counters, on the server that requests with this ``image_key`` reach."""
        ...

    def prepare(self, inputs: Arrays) -> Any:
        """Serialise inputs once; what comes back can be passed to :meth:`infer` many times."""
        ...

    def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: Sequence[str],
        prepared: Any = None,
        in_regions: Mapping[str, InRegion] | None = None,
        out_regions: Mapping[str, InRegion] | None = None,
        timeout_s: float | None = None,
        image_key: str = "",
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        """One request: ``inputs`` and what :meth:`prepare` made; outputs in ``out_regions`` are not returned.

        Requests with one ``image_key`` reach one server, where a proxy balances between several. ``version`` is the
        model's: no other one answers. Raises :class:`mmms_client.errors.RegionLostError` if the server does not know
        a region any more; see :meth:`SharedRegion.register`.
        """
        ...

    def shared_region(self, size_bytes: int) -> SharedRegion | None:
        """A new registered region; ``None`` where the server or the network does not allow it."""
        ...

    def close(self) -> None: ...
