"""Every method that Triton's gRPC service has, as the service describes itself, and how one is called from outside.

A test that goes through this list meets a method that a later version adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from google.protobuf import message_factory
from tritonclient.grpc import service_pb2

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS: dict[str, Any] = {method.name: method for method in SERVICE.methods}
# What clients need, and what a network must never reach. Every method is in one of the two.
FOR_CLIENTS = {"ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig"}
FOR_CLIENTS |= {"ModelStatistics", "ModelInfer"}
STREAM = {"ModelStreamInfer"}  # inference too, but nothing of ours uses it
CLOSED = {f"{kind}SharedMemory{what}" for kind in ("System", "Cuda") for what in ("Status", "Register", "Unregister")}
CLOSED |= {"RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"}
Metadata = Sequence[tuple[str, str]]


def path_of(method: str) -> str:
    return f"/{SERVICE.full_name}/{method}"


def call(
    channel: grpc.Channel, path: str, request: bytes = b"", metadata: Metadata = (), timeout_s: float = 10.0
) -> tuple[str, str]:
    """Call a method by its path with a serialised request; the status code's name and its text."""
    try:
        channel.unary_unary(path, bytes, bytes)(request, metadata=metadata, timeout=timeout_s)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def call_stream(channel: grpc.Channel, path: str, requests: Iterable[bytes], metadata: Metadata = ()) -> str:
    """The same for a stream."""
    try:
        list(channel.stream_stream(path, bytes, bytes)(iter(requests), metadata=metadata, timeout=10.0))
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def request_of(method: str, **fields: Any) -> bytes:
    """A request of a method, serialised; empty by default."""
    return bytes(message_factory.GetMessageClass(METHODS[method].input_type)(**fields).SerializeToString())
