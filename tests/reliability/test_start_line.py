"""The start line of docs/operations.md, on the real server: what it refuses, and what still works."""

from __future__ import annotations

import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from mmms_client import Click, TritonPredictor
from mmms_client.errors import AccessError, UsageError
from mmms_client.predictor import click_inputs
from mmms_client.triton import TritonTransport, infer_input, translated
from mmms_server.process import ServerProcess
from reliability.services import CLOSED, FOR_CLIENTS, METHODS, STREAM, call, call_stream, path_of, request_of

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
KEY = "key-of-the-tests"
OPEN_PAGES = ("/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/mmms", "/v2/models/stats")
CLOSED_PAGES = (
    ("/v2/repository/index", b"{}"),
    ("/v2/repository/models/mmms/load", b"{}"),
    ("/v2/repository/models/mmms/unload", b"{}"),
    *((f"/v2/{kind}sharedmemory/status", None) for kind in ("system", "cuda")),
    ("/v2/systemsharedmemory/region/x/register", b'{"key": "/x", "offset": 0, "byte_size": 4}'),
    ("/v2/systemsharedmemory/unregister", b"{}"),
    ("/v2/trace/setting", None),
    ("/v2/trace/setting", b'{"trace_rate": "1"}'),
    ("/v2/logging", None),
    ("/v2/logging", b'{"log_verbose_level": 9}'),
    ("/v2/models/mmms/infer", b"{}"),
    ("/v2/models/mmms/generate", b"{}"),
)

pytestmark = pytest.mark.server


def documented() -> list[str]:
    """The arguments of the page, with the tests' key, and without what ServerProcess gives by itself."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    (line,) = re.findall(r"^tritonserver --model-repository=model_repository \\\n(?:.*\\\n)*.*$", page, re.MULTILINE)
    _, *words = shlex.split(line.replace("\\\n", " ").replace("$MMMS_ADMIN_KEY", KEY))
    return [word for word in words if not word.startswith(("--model-repository=", "--exit-timeout-secs="))]


@pytest.fixture(scope="module")
def closed(server_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(REPOSITORY, tmp_path_factory.mktemp("closed") / "triton.log", documented()) as server:
        yield server


@pytest.fixture(scope="module")
def channel(closed: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(closed.url) as opened:
        yield opened


def status_of(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_every_method_of_the_service_was_thought_of() -> None:
    assert set(METHODS) == FOR_CLIENTS | STREAM | CLOSED and not FOR_CLIENTS & CLOSED


@pytest.mark.parametrize("method", sorted(CLOSED))
def test_a_closed_method_needs_the_key(channel: grpc.Channel, method: str) -> None:
    for metadata in ((), (("triton-grpc-protocol-closed", "wrong"),), (("closed", KEY),)):
        code, said = call(channel, path_of(method), request_of(method), metadata)
        assert (code, said[:27]) == ("UNAVAILABLE", "This protocol is restricted"), method
    _, said = call(channel, path_of(method), request_of(method), (("triton-grpc-protocol-closed", KEY),))
    assert "restricted" not in said, "it is the key that is missing, and nothing else"


@pytest.mark.parametrize("method", sorted(FOR_CLIENTS))
def test_what_clients_need_is_open(channel: grpc.Channel, method: str) -> None:
    assert "restricted" not in call(channel, path_of(method), request_of(method))[1]


def test_models_cannot_be_loaded_even_with_the_key(closed: ServerProcess, channel: grpc.Channel) -> None:
    """A model that is loaded may bring its own files, and a python model is a program."""
    key = (("triton-grpc-protocol-closed", KEY),)
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        request = request_of(method, model_name="mmms")
        assert "load / unload is not allowed" in call(channel, path_of(method), request, key)[1]
    client = InferenceServerClient(closed.url)
    config = '{"backend": "python", "max_batch_size": 0}'
    with pytest.raises(InferenceServerException, match="load / unload is not allowed"):
        files = {"file:1/model.py": b"raise SystemExit"}
        client.load_model("evil", headers=dict(key), config=config, files=files)
    client.close()


def test_over_http_there_is_health_and_nothing_that_does_anything(closed: ServerProcess, figures) -> None:
    for page in OPEN_PAGES:
        assert status_of(closed.http_url + page) == 200, page
    for page, data in CLOSED_PAGES:
        assert status_of(closed.http_url + page, data) == 403, page
        assert status_of(closed.http_url + page, data, {"closed": KEY}) != 403, page
    figures("exposure-start-line", closed_methods=len(CLOSED), closed_requests_over_http=len(CLOSED_PAGES), answered=0)


def test_the_client_works_and_says_in_one_line_what_it_may_not(closed: ServerProcess) -> None:
    image = np.full((48, 64, 3), 90, np.uint8)
    with TritonPredictor.connect(closed.url) as predictor:
        encoded = predictor.encode(image)
        assert predictor.description == "features: ensemble (the server's response cache answers)"
        mask = predictor.predict(encoded, [Click(20, 20)])
    with TritonPredictor.connect(closed.url, features="plain") as predictor:
        assert np.array_equal(predictor.predict(predictor.encode(image), [Click(20, 20)]), mask)
    with (
        TritonPredictor.connect(closed.url, features="shared-memory") as predictor,
        pytest.raises(UsageError, match="to take shared memory but it does not"),
    ):
        predictor.encode(image)
    transport = TritonTransport(closed.url)
    with pytest.raises(AccessError, match=r"to allow a request but it refused: .*; ask who runs it"), translated("x"):
        transport._client.get_log_settings()
    transport.close()


@pytest.mark.parametrize("name", ["mmms-1-000000000000", "../../etc/passwd", "x" * 4096])
def test_a_request_may_not_name_memory_that_nobody_registered(closed: ServerProcess, name: str) -> None:
    """The way around a closed registration: a request that says its input or its output lies in a region."""
    with TritonPredictor.connect(closed.url) as predictor:
        features = predictor.contract.features
        frame = predictor.encode(np.zeros((48, 64, 3), np.uint8)).frame
        tensors = click_inputs(predictor.contract, frame, [Click(5, 5)], None)
    client = InferenceServerClient(closed.url)
    clicks = [infer_input(tensor, value) for tensor, value in tensors.items()]
    honest = infer_input("features", np.zeros((1, *features.shape), np.float16))
    assert client.infer("csnet", [*clicks, honest]).as_numpy("mask") is not None
    read = InferInput("features", [1, *features.shape], "FP16")
    read.set_shared_memory(name, features.size_bytes)
    with pytest.raises(InferenceServerException, match=r"[Ss]hared memory region"):
        client.infer("csnet", [*clicks, read])
    written = InferRequestedOutput("mask")
    written.set_shared_memory(name, 448 * 448)
    with pytest.raises(InferenceServerException, match=r"[Ss]hared memory region"):
        client.infer("csnet", [*clicks, honest], outputs=[written])
    assert client.infer("csnet", [*clicks, honest]).as_numpy("mask") is not None
    client.close()


def test_the_containers_close_the_same() -> None:
    """Compose and Kubernetes start Triton with the restrictions of the page; nothing else may differ either."""
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["cpu-0"]["command"]
    states = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "base" / "triton.yaml").read_text()))
    (pod,) = (s["spec"]["template"]["spec"]["containers"] for s in states if s["kind"] == "StatefulSet")
    for words in (compose, pod[0]["args"]):
        there, asked = (
            {re.sub(r"(closed|size)=.*", r"\1=", word) for word in some if word.startswith("--")}
            for some in (words, documented())
        )
        local = {word for word in asked if word.endswith("-address=127.0.0.1")}  # a container has its own network
        assert asked - local == there - {w for w in there if w.startswith(("--model-repository=", "--exit-timeout"))}


def test_streams_are_inference_and_nothing_more(channel: grpc.Channel) -> None:
    """Directly at the server they answer; the proxy lets none through (``test_proxy.py``)."""
    assert call_stream(channel, path_of("ModelStreamInfer"), [request_of("ModelStreamInfer")]) == "OK"


def test_no_command_of_the_documentation_publishes_an_open_server() -> None:
    """A `docker run -p 8001:8001` listens on every address of the machine, whatever its firewall says."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    published = [
        found for page in pages for found in re.findall(r" (?:-p|--publish)[ =](\S+)", page.read_text("utf-8"))
    ]
    assert published and all(port.startswith("127.0.0.1:") for port in published), published
