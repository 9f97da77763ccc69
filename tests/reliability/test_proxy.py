"""What the shipped proxy lets through: by method, by size, by TLS version, and where a token goes."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from deploy.conftest import require
from deploy.proxy_process import TOKEN, ProxyProcess, nginx
from mmms_client import Click, TritonPredictor
from mmms_client.endpoint import Endpoint
from mmms_client.errors import ContractError, MMMSError
from mmms_client.triton import TritonTransport
from mmms_server.process import ServerProcess, free_ports
from reliability.services import FOR_CLIENTS, METHODS, call, call_stream, path_of, request_of

BEARER = (("authorization", f"Bearer {TOKEN}"),)
OTHER_PATHS = (
    "/inference.GRPCInferenceService/ModelInfer/../RepositoryModelUnload",
    "/inference.GRPCInferenceService/%4dodelInfer/../LogSettings",
    "/inference.GRPCInferenceService//RepositoryIndex",
    "/inference.GRPCInferenceService/ModelInfer/",
    "/inference.GRPCInferenceService/modelinfer",
    "/inference.GRPCInferenceService/ModelInfer;RepositoryIndex",
    "//inference.GRPCInferenceService/RepositoryIndex",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.health.v1.Health/Watch",
    "/v2/repository/index",
    "/",
)

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def tools() -> None:
    require("nginx", nginx())
    require("openssl", shutil.which("openssl"))


@pytest.fixture(scope="module")
def proxy(tools: None, nano_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with ProxyProcess(tmp_path_factory.mktemp("proxy"), [nano_server.url]) as started:
        yield started


@contextmanager
def channel_to(proxy: ProxyProcess) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(proxy.certificate.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{proxy.port}", credentials) as channel:
        yield channel


def endpoint_of(proxy: ProxyProcess) -> Endpoint:
    return Endpoint.parse(proxy.url, str(proxy.certificate), str(proxy.token_file))


def test_of_all_methods_only_those_for_clients_pass(proxy: ProxyProcess, figures) -> None:
    """The server behind has nothing closed: whoever gets past the proxy gets an answer."""
    with channel_to(proxy) as channel:
        for method in METHODS:
            said = call(channel, path_of(method), request_of(method), BEARER)
            is_refused = said == ("PERMISSION_DENIED", "this method is not for clients")
            assert is_refused == (method not in FOR_CLIENTS), f"{method}: {said}"
        stream = [request_of("ModelStreamInfer")]
        assert call_stream(channel, path_of("ModelStreamInfer"), stream, BEARER) == "PERMISSION_DENIED"
        for path in OTHER_PATHS:
            assert call(channel, path, b"", BEARER) == ("PERMISSION_DENIED", "this method is not for clients"), path
        assert call(channel, path_of("ServerReady"), b"", BEARER) == ("OK", "")
    refused = len(METHODS) - len(FOR_CLIENTS)
    figures("exposure-proxy", methods=len(METHODS), refused=refused, other_paths_tried=len(OTHER_PATHS), let_through=0)


def test_other_spellings_of_a_closed_method_change_nothing(proxy: ProxyProcess, nano_server: ServerProcess) -> None:
    """Behind each of the paths above the server would have shown something, or done it."""
    transport = TritonTransport(nano_server.url)
    before = transport._client.get_log_settings(as_json=True)
    with channel_to(proxy) as channel:
        changed = request_of("LogSettings", settings={"log_verbose_level": {"uint32_param": 5}})
        for path in (*OTHER_PATHS, path_of("LogSettings"), path_of("ModelInfer") + "/../LogSettings"):
            call(channel, path, changed, BEARER)
    assert transport._client.get_log_settings(as_json=True) == before and transport.is_model_ready("mmms")
    transport.close()


@pytest.mark.parametrize("metadata", [(), (("authorization", "Basic eDp5"),), (("Authorization".lower(), TOKEN),)])
def test_without_a_token_every_path_says_the_same(proxy: ProxyProcess, metadata: tuple[tuple[str, str], ...]) -> None:
    with channel_to(proxy) as channel:
        answers = {call(channel, path, b"", metadata) for path in (*map(path_of, METHODS), "/x", "/")}
    assert answers == {("UNAUTHENTICATED", "no valid bearer token")}


def test_the_token_ends_at_the_proxy(tools: None, tmp_path: Path) -> None:
    """Neither a server behind it nor a log gets it. The server here writes down what it is sent; Triton does not."""
    got: list[dict[str, str]] = []

    class Listener(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            got.append({item.key: str(item.value) for item in details.invocation_metadata})
            answer = service_pb2.ServerReadyResponse(ready=True).SerializeToString()
            return grpc.unary_unary_rpc_method_handler(lambda request, context: answer, bytes, bytes)

    server = grpc.server(futures.ThreadPoolExecutor(1), (Listener(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with ProxyProcess(tmp_path, [f"127.0.0.1:{port}"]) as proxy, channel_to(proxy) as channel:
            more = ("mmms-image-key", "0" * 32)
            assert call(channel, path_of("ServerReady"), b"", (*BEARER, more)) == ("OK", "")
            assert (
                call(channel, path_of("ServerReady"), b"", (("authorization", "Bearer wrong-token"), more))[0] != "OK"
            )
    finally:
        server.stop(None).wait()
    assert len(got) == 1 and got[0]["mmms-image-key"] == "0" * 32
    assert "authorization" not in {key for key, value in got[0].items() if value} and TOKEN not in str(got)
    written = "".join((tmp_path / name).read_text() for name in ("access.log", "nginx.log"))
    assert "ServerReady" in written and TOKEN not in written and "wrong-token" not in written


@pytest.mark.parametrize(("version", "passes"), [("1", False), ("1_1", False), ("1_2", True), ("1_3", True)])
def test_tls_before_1_2_is_refused(proxy: ProxyProcess, version: str, passes: bool) -> None:
    """By the proxy: openssl is told to offer the old ones, which it would not by itself."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", f"-tls{version}", "-brief"]
    command += ["-cipher", "DEFAULT:@SECLEVEL=0"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=30)
    assert (done.returncode == 0) == passes, done.stderr
    assert passes or b"protocol version" in done.stderr, done.stderr


def test_without_tls_there_is_nothing(proxy: ProxyProcess) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(f"http://127.0.0.1:{proxy.port}/healthz", timeout=10)
    with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        assert call(channel, path_of("ServerReady"), b"", BEARER)[0] == "UNAVAILABLE"
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    request = urllib.request.Request(f"https://127.0.0.1:{proxy.port}/status", headers=dict(BEARER))
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        assert answer.headers["grpc-status"] == "7" and answer.read() == b"", "no counters, no words for browsers"


def test_sizes_have_bounds_and_the_next_request_is_answered(proxy: ProxyProcess) -> None:
    transport = TritonTransport(endpoint_of(proxy))
    with pytest.raises(ContractError, match="larger than the proxy takes"):
        transport.infer("mmms", {"image": np.zeros((1, 3, 2400, 2400), np.uint8)}, ("mask",))
    for size in (9_000, 400_000):  # nginx closes a connection whose header is above 8 kB
        with pytest.raises(MMMSError) as caught:
            transport.infer("mmms", {"image": np.zeros((1, 3, 8, 8), np.uint8)}, ("mask",), image_key="k" * size)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    transport.close()
    with TritonPredictor.connect(endpoint_of(proxy)) as predictor:
        encoded = predictor.encode(np.zeros((48, 64, 3), np.uint8))
        assert predictor.predict(encoded, [Click(5, 5)]).shape == (448, 448)


def test_people_who_say_nothing_do_not_keep_others_out(proxy: ProxyProcess) -> None:
    """A hundred connections that never finish what they began, TLS or not."""
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    idle = [socket.create_connection(("127.0.0.1", proxy.port), 10) for _ in range(100)]
    try:
        for n in range(50):
            idle[n] = context.wrap_socket(idle[n], server_hostname="127.0.0.1")
        with TritonPredictor.connect(endpoint_of(proxy)) as predictor:
            predictor.encode(np.zeros((48, 64, 3), np.uint8))
    finally:
        for connection in idle:
            connection.close()


def test_a_port_that_nobody_listens_on_is_one_line(tools: None, tmp_path: Path) -> None:
    """The servers behind are gone: the proxy says so, and the client in one line."""
    with ProxyProcess(tmp_path, [f"127.0.0.1:{free_ports(1)[0]}"]) as proxy:
        with pytest.raises(MMMSError) as caught:
            TritonPredictor.connect(endpoint_of(proxy))
        assert "\n" not in str(caught.value), caught.value
