"""Triton over gRPC: the only file that imports ``tritonclient``."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from mmms_client import regions
from mmms_client.endpoint import IMAGE_KEY_HEADER, PROVIDER_TOKEN_VARIABLE, TOKEN_VARIABLE, Endpoint
from mmms_client.errors import (
    AccessError,
    ContractError,
    DeadlineError,
    ModelNotReadyError,
    RegionLostError,
    ServerBusyError,
    ServerError,
    ServerUnreachableError,
)
from mmms_client.server_answers import said
from mmms_client.transport import Arrays, InRegion, ModelStatistics

# A request leaves nothing behind on a server, so one that a dying server or a proxy without servers dropped is sent
# again: twice, while a proxy finds another server. gRPC keeps the request for that, up to the buffer's size.
_RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "inference.GRPCInferenceService", "method": "ModelInfer"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
# Of an answer. Known before any contract is: four backbone features of 1280 channels at 2048 px are 168 MB, features
# of the largest preset 65 MB, a mask 4 MB.
_MOST_BYTES = 256 << 20
_CHANNEL_ARGS = [
    ("grpc.service_config", _RETRIES),
    ("grpc.per_rpc_retry_buffer_size", 64 << 20),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _MOST_BYTES),
    ("grpc.lb_policy_name", "pick_first"),
    ("grpc.enable_http_proxy", 0),
    # left alone, a channel looks for a server that is gone every two minutes in the end
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
_PROBE_TIMEOUT_S = 5.0


class Region:
    """System shared memory registered with one server; see :class:`mmms_client.transport.SharedRegion`."""

    def __init__(
        self, client: grpcclient.InferenceServerClient, size_bytes: int, url: str, left_behind: set[str]
    ) -> None:
        import tritonclient.utils.shared_memory as shm

        self.size_bytes = size_bytes
        self.name = f"{regions.REGION_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._client, self._url = client, url
        self._left_behind = left_behind  # names that the server may still know, for the transport to ask again
        self._shm = shm
        self._handle = shm.create_shared_memory_region(self.name, f"/{self.name}", size_bytes)
        self._held: int | None = None
        self._lock = threading.Lock()
        self._is_open = True
        try:
            self._held = regions.hold(self.name)
            self._register()
        except BaseException:
            self._left_behind.add(self.name)  # an answer that came too late is no refusal
            self._destroy()
            raise

    def register(self) -> None:
        with translated(self._url), self._lock:
            try:
                if self._is_open:
                    self._register()
            except InferenceServerException as error:
                if "already" not in str(error.message()):  # another request was faster
                    raise

    def _register(self) -> None:
        self._client.register_system_shared_memory(
            self.name, f"/{self.name}", self.size_bytes, client_timeout=_PROBE_TIMEOUT_S
        )

    def close(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        try:
            self._client.unregister_system_shared_memory(self.name, client_timeout=_PROBE_TIMEOUT_S)
        except InferenceServerException:  # gone, and then nothing is left there; or too busy to answer in time
            self._left_behind.add(self.name)
        self._destroy()

    def _destroy(self) -> None:
        self._shm.destroy_shared_memory_region(self._handle)
        if self._held is not None:
            os.close(self._held)
            self._held = None


class TritonTransport:
    """Blocking calls; see :class:`mmms_client.transport.Transport`."""

    def __init__(self, url: str | Endpoint) -> None:
        self.endpoint = Endpoint.of(url)
        self.url = str(self.endpoint)
        self._has_looked_for_orphans = False
        self._left_behind: set[str] = set()  # shared memory that was ours, and that the server may still hold
        self._client = grpcclient.InferenceServerClient(
            self.endpoint.address, creds=_credentials(self.endpoint), channel_args=_CHANNEL_ARGS
        )

    def is_ready(self) -> bool:
        with translated(self.url):
            return bool(self._client.is_server_ready(headers=self._headers(), client_timeout=_PROBE_TIMEOUT_S))

    def is_model_ready(self, model: str) -> bool:
        with translated(self.url, model):
            return bool(self._client.is_model_ready(model, headers=self._headers(), client_timeout=_PROBE_TIMEOUT_S))

    def server_version(self) -> str:
        with translated(self.url):
            answer = self._client.get_server_metadata(headers=self._headers(), client_timeout=_PROBE_TIMEOUT_S)
            return str(answer.version)

    def configuration(self, model: str) -> dict[str, Any]:
        with translated(self.url, model):
            answer = self._client.get_model_config(
                model, headers=self._headers(), as_json=True, client_timeout=_PROBE_TIMEOUT_S
            )
            return dict(answer["config"])

    def statistics(self, model: str, image_key: str = "") -> ModelStatistics:
        with translated(self.url, model):
            answer = self._client.get_inference_statistics(
                model, headers=self._headers(image_key), client_timeout=_PROBE_TIMEOUT_S
            )
        return _statistics(answer.model_stats)

    def prepare(self, inputs: Arrays) -> list[grpcclient.InferInput]:
        return [infer_input(name, value) for name, value in inputs.items()]

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
        request = [*(prepared or []), *self.prepare(inputs)]
        for name, place in (in_regions or {}).items():
            shared = grpcclient.InferInput(name, list(place.shape), place.dtype)
            shared.set_shared_memory(_region_name(place), place.size_bytes)
            request.append(shared)
        wanted = []
        for name in outputs:
            requested = grpcclient.InferRequestedOutput(name)
            if out_regions and name in out_regions:
                requested.set_shared_memory(_region_name(out_regions[name]), out_regions[name].size_bytes)
            wanted.append(requested)
        with translated(self.url, model, timeout_s):
            headers = self._headers(image_key)
            answer = self._client.infer(
                model, request, version, outputs=wanted, client_timeout=timeout_s, headers=headers
            )
        returned = [name for name in outputs if not (out_regions and name in out_regions)]
        return read_outputs(answer, returned, model)

    def shared_region(self, size_bytes: int) -> Region | None:
        if not self.endpoint.is_local:
            return None
        try:
            self._forget_orphans()
            self._forget_left_behind()
            return Region(self._client, size_bytes, self.url, self._left_behind)
        except InferenceServerException as error:
            if _is_late(error):
                raise ServerBusyError(
                    f"Expected the server at {self.url} to take shared memory within {_PROBE_TIMEOUT_S:g} s but it is "
                    "too busy; try again in a moment."
                ) from error
            return None
        except (OSError, ImportError):
            return None
        except Exception as error:
            if type(error).__name__ != "SharedMemoryException":
                raise
            return None

    def _forget_orphans(self) -> None:
        """Once: give back the memory of clients that were killed, and let the server do so with what they had
        registered.
        """
        if self._has_looked_for_orphans or not regions.SHM_FOLDER.is_dir():
            return
        self._has_looked_for_orphans = True
        regions.remove_orphans()
        status = self._client.get_system_shared_memory_status(client_timeout=_PROBE_TIMEOUT_S)
        for name, region in status.regions.items():
            is_ours = name.startswith(regions.REGION_PREFIX)
            if is_ours and not (regions.SHM_FOLDER / region.key.lstrip("/")).exists():
                with suppress(InferenceServerException):  # another client was faster
                    self._client.unregister_system_shared_memory(name, client_timeout=_PROBE_TIMEOUT_S)

    def _forget_left_behind(self) -> None:
        """Ask again for what a busy server did not give back in time."""
        for name in list(self._left_behind):
            try:
                self._client.unregister_system_shared_memory(name, client_timeout=_PROBE_TIMEOUT_S)
            except InferenceServerException:
                return  # still so, or the server is gone
            self._left_behind.discard(name)

    def close(self) -> None:
        self._forget_left_behind()
        self._client.close()

    def _headers(self, image_key: str = "") -> dict[str, str]:
        return _headers(self.endpoint, image_key)


class AsyncTritonTransport:
    """The calls that an event loop needs. Cancelling the awaiting task cancels the request on the server."""

    def __init__(self, url: str | Endpoint) -> None:
        self.endpoint = Endpoint.of(url)
        self.url = str(self.endpoint)
        self._client = aioclient.InferenceServerClient(
            self.endpoint.address, creds=_credentials(self.endpoint), channel_args=_CHANNEL_ARGS
        )

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        outputs: Sequence[str],
        prepared: Any = None,
        timeout_s: float | None = None,
        image_key: str = "",
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        request = [*(prepared or []), *self.prepare(inputs)]
        wanted = [grpcclient.InferRequestedOutput(name) for name in outputs]
        with translated(self.url, model, timeout_s):
            headers = _headers(self.endpoint, image_key)
            answer = await self._client.infer(
                model, request, version, outputs=wanted, client_timeout=timeout_s, headers=headers
            )
        return read_outputs(answer, outputs, model)

    def prepare(self, inputs: Arrays) -> list[grpcclient.InferInput]:
        return [infer_input(name, value) for name, value in inputs.items()]

    async def configuration(self, model: str, timeout_s: float = _PROBE_TIMEOUT_S) -> dict[str, Any]:
        """The model's configuration as JSON-like data."""
        with translated(self.url, model, timeout_s):
            answer = await self._client.get_model_config(
                model, headers=_headers(self.endpoint), as_json=True, client_timeout=timeout_s
            )
            return dict(answer["config"])

    async def is_model_ready(self, model: str, timeout_s: float = _PROBE_TIMEOUT_S) -> bool:
        with translated(self.url, model, timeout_s):
            answer = await self._client.is_model_ready(model, headers=_headers(self.endpoint), client_timeout=timeout_s)
            return bool(answer)

    async def all_statistics(
        self, timeout_s: float = _PROBE_TIMEOUT_S, image_key: str = ""
    ) -> dict[str, ModelStatistics]:
        """The counters of every model, by name, in one request; see :meth:`Transport.statistics`."""
        with translated(self.url, None, timeout_s):
            answer = await self._client.get_inference_statistics(
                headers=_headers(self.endpoint, image_key), client_timeout=timeout_s
            )
        names = dict.fromkeys(row.name for row in answer.model_stats)
        return {name: _statistics([row for row in answer.model_stats if row.name == name]) for name in names}

    async def close(self) -> None:
        await self._client.close()


def _credentials(endpoint: Endpoint) -> Any:
    """What gRPC needs for TLS; ``None`` for plain text."""
    return grpc.ssl_channel_credentials(endpoint.authorities) if endpoint.is_tls else None


def _headers(endpoint: Endpoint, image_key: str = "") -> dict[str, str]:
    return {**endpoint.headers, IMAGE_KEY_HEADER: image_key} if image_key else endpoint.headers


def _statistics(model_stats: Iterable[Any]) -> ModelStatistics:
    """The counters of one model, over its versions."""
    rows = [row.inference_stats for row in model_stats]
    return ModelStatistics(
        requests=sum(r.success.count for r in rows),
        cache_hits=sum(r.cache_hit.count for r in rows),
        cache_misses=sum(r.cache_miss.count for r in rows),
        queue_ns=sum(r.queue.ns for r in rows),
        compute_ns=sum(r.compute_input.ns + r.compute_infer.ns + r.compute_output.ns for r in rows),
    )


def infer_input(name: str, value: NDArray[Any]) -> grpcclient.InferInput:
    """An input with its bytes. ``value`` carries its batch axis."""
    tensor = grpcclient.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    tensor.set_data_from_numpy(value)
    return tensor


def read_outputs(answer: grpcclient.InferResult, names: Sequence[str], model: str) -> dict[str, NDArray[Any]]:
    """The named outputs. An output without bytes is what a stub built for another NumPy returns: say so."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in names:
        try:
            value = answer.as_numpy(name)
        except Exception as error:  # what comes of bytes that are not what they say they are
            if "of size 0" in str(error):
                raise empty_output(model, name) from error
            raise ContractError(
                f"Expected output {name!r} of model {model!r} but got bytes of another shape or type; it is not the "
                "model that it says it is."
            ) from error
        if value is None or value.size == 0:
            raise empty_output(model, name)
        arrays[name] = np.asarray(value)
    return arrays


def empty_output(model: str, name: str) -> ServerError:
    return ServerError(
        f"Expected bytes in output {name!r} of model {model!r} but got none; the python backend's stub was built for "
        "NumPy 1: install numpy<2 in the environment that the server runs in."
    )


@contextmanager
def translated(url: str, model: str | None = None, timeout_s: float | None = None) -> Iterator[None]:
    """Turn gRPC's and Triton's exceptions into ours, once; the cause is kept."""
    try:
        yield
    except InferenceServerException as error:
        raise translate(error, url, model, timeout_s) from error
    except asyncio.TimeoutError as error:
        raise _deadline(url, timeout_s) from error
    except grpc.aio.UsageError as error:  # what a channel says that was closed meanwhile
        raise ServerUnreachableError(
            f"Expected an answer from {url} but the connection was closed meanwhile; try again."
        ) from error


_NO_MODEL = (
    "unknown model",
    "is not found",
    "no version is available",
    "not ready",
    "not at ready",
    "is not available",
)
_DEAD_STAGE = ("stub process", "is not healthy")  # what the python backend says of a model whose process was killed


def translate(error: InferenceServerException, url: str, model: str | None, timeout_s: float | None) -> ServerError:
    """The error of ours that says what to do."""
    status, text = said(str(error.status() or "")), said(str(error.message() or ""))
    if _is_late(error):
        return _deadline(url, timeout_s)
    if "larger than max" in text:
        return ContractError(
            f"Expected an answer of at most {_MOST_BYTES >> 20} MiB from {url} but got a message that is too large "
            f"({text}); it is not the model that it says it is."
        )
    if "maximum queue size" in text or "RESOURCE_EXHAUSTED" in status:
        return ServerBusyError(
            f"Expected the server at {url} to take a request but its queue is full; try again in a moment."
        )
    if "shared memory region" in text and "nable to find" in text:
        return RegionLostError(f"Expected {url} to know a piece of shared memory but it does not: {text}; try again.")
    if any(said in text.lower() for said in _DEAD_STAGE):
        return ModelNotReadyError(
            f"Expected model {model!r} to run at {url} but its process has died ({text}); the server ends for that: "
            "start it again if nobody else does, and look at its log for the reason."
        )
    if any(said in text for said in _NO_MODEL):
        what = "the server" if model is None else f"model {model!r}"
        return ModelNotReadyError(
            f"Expected {what} to be ready at {url} but the server says: {text}; look at the server's log, then run "
            "`mmms-client doctor`."
        )
    refusal = _refusal(status, text, url)
    if refusal is not None:
        return refusal
    if "UNAVAILABLE" in status or "CANCELLED" in status:  # by a server that ends; what we cancel ourselves is no answer
        return ServerUnreachableError(
            f"Expected a Triton server at {url} but nothing answers there; start one with: tritonserver "
            "--model-repository model_repository, or give its gRPC address with --url."
        )
    if "UNIMPLEMENTED" in status:
        return ContractError(
            f"Expected a Triton server at {url} but something else answers there; give the gRPC port (usually 8001) "
            "with --url."
        )
    if "INVALID_ARGUMENT" in status:
        return ContractError(
            f"Expected {url} to accept a request for model {model!r} but it refused: {text}; run `mmms-client doctor`."
        )
    if "UNKNOWN" in status and ("http" in text.lower() or "preface" in text.lower()):
        return ContractError(
            f"Expected a gRPC port at {url} but it does not speak gRPC; give the gRPC port (usually 8001) with --url."
        )
    return ServerError(f"Expected an answer of model {model!r} from {url} but got {status or 'an error'}: {text}.")


def _is_late(error: InferenceServerException) -> bool:
    return "DEADLINE_EXCEEDED" in str(error.status() or "") or "Deadline Exceeded" in str(error.message() or "")


def _refusal(status: str, text: str, url: str) -> AccessError | None:
    """What is said when one side does not trust the other, or one speaks TLS and the other does not."""
    if "UNAUTHENTICATED" in status:
        return AccessError(
            f"Expected {url} to accept our bearer token but it refused: {text}; put the right one in the file of "
            f"--token-file, or in {TOKEN_VARIABLE} ({PROVIDER_TOKEN_VARIABLE} for a provider of features)."
        )
    if "PERMISSION_DENIED" in status or "protocol is restricted" in text:
        return AccessError(f"Expected {url} to allow a request but it refused: {text}; ask who runs it.")
    if "CERTIFICATE_VERIFY_FAILED" in text or "Peer name" in text:
        return AccessError(
            f"Expected a certificate of a known authority for the name in {url} but got another one; give the "
            "authority's certificate with --ca, or the name that is in the server's."
        )
    if "http1.x server" in text:
        return AccessError(
            f"Expected gRPC at {url} but something else answers there; give the gRPC port (usually 8001) with --url, "
            "or grpcs://HOST:PORT where TLS is spoken."
        )
    if "WRONG_VERSION_NUMBER" in text:
        return AccessError(f"Expected TLS at {url} but plain text answers there; write the address without grpcs://.")
    return None


def _deadline(url: str, timeout_s: float | None) -> DeadlineError:
    limit = f"{timeout_s:g} s" if timeout_s is not None else f"{_PROBE_TIMEOUT_S:g} s"
    return DeadlineError(
        f"Expected an answer from {url} within {limit} but none came; the server is overloaded or hangs: try again, "
        "or raise --deadline."
    )


def _region_name(place: InRegion) -> str:
    assert isinstance(place.region, Region)
    return place.region.name
