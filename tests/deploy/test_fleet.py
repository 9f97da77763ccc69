"""Several real servers behind the real nginx: clicks find their image's features, and a server may die."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mmms_client import AsyncTritonPredictor, Click, TritonPredictor, cli
from mmms_client.errors import AccessError, ContractError, MMMSError
from mmms_client.predictor import Encoded, click_inputs, image_key, network_inputs
from mmms_client.triton import TritonTransport, translated
from mmms_server.process import ServerProcess

from .conftest import Fleet
from .proxy_process import TOKEN, make_certificate

pytestmark = pytest.mark.server
_numbers = itertools.count()


def new_image() -> np.ndarray:
    """One that no cache has seen."""
    return np.random.default_rng([8, next(_numbers)]).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def new_images(fleet: Fleet, per_server: int) -> list[np.ndarray]:
    """So many of each server: first one of each, then the next."""
    found: dict[str, list[np.ndarray]] = {server.url: [] for server in fleet.servers}
    while min(len(images) for images in found.values()) < per_server:
        image = new_image()
        _, _, tensors = network_inputs(fleet.contract, image, None)
        found[fleet.proxy.owner_of(image_key(tensors))].append(image)
    return [
        image for images in zip(*(images[:per_server] for images in found.values()), strict=True) for image in images
    ]


async def annotate(predictor: AsyncTritonPredictor, images: Sequence[np.ndarray], clicks: int) -> list[Encoded]:
    """One person: image after image, click after click."""
    done = []
    for image in images:
        encoded = await predictor.encode(image)
        previous = None
        for n in range(1, clicks + 1):
            previous = await predictor.predict(encoded, [Click(float(x), 9.0) for x in range(n)], previous)
        done.append(encoded)
    return done


async def annotate_together(fleet: Fleet, folders: Sequence[Sequence[np.ndarray]], clicks: int) -> list[Encoded]:
    """A person for each folder."""
    predictors = [await AsyncTritonPredictor.connect(fleet.endpoint, deadline_s=120.0) for _ in folders]
    work = (annotate(predictor, images, clicks) for predictor, images in zip(predictors, folders, strict=True))
    done = await asyncio.gather(*work)
    for predictor in predictors:
        await predictor.close()
    return list(itertools.chain.from_iterable(done))


def check_affinity(fleet: Fleet, folders: Sequence[Sequence[np.ndarray]]) -> None:
    """Each image is encoded once in the whole fleet, every click finds it, and the servers share the images."""
    since = fleet.lookups()
    asyncio.run(annotate_together(fleet, folders, clicks=20))
    counted = since()
    hits, misses = (sum(column) for column in zip(*counted, strict=True))
    images = sum(len(folder) for folder in folders)
    assert misses == images and hits == 20 * images, counted
    assert hits / (hits + misses) >= 0.95, counted
    assert all(misses > 0 for _, misses in counted), counted


def test_clicks_of_one_image_stay_on_one_server(fleet: Fleet) -> None:
    first, second = new_images(fleet, 1)
    check_affinity(fleet, [[first], [second]])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_64_images_of_16_sessions(fleet: Fleet) -> None:
    check_affinity(fleet, [[new_image() for _ in range(4)] for _ in range(16)])


def test_the_ring_gives_each_server_its_share_and_a_new_one_takes_only_its_own(fleet: Fleet) -> None:
    """Where requests go, for 300 images, without their pixels: a third server moves about a third of them."""
    keys = [image_key({"image": np.array([n])}) for n in range(300)]
    two = [server.url for server in fleet.servers]
    third = two[0].replace("127.0.0.1", "localhost")  # another name on the ring, and a server that answers
    before = fleet.proxy.points(keys)
    assert set(before) == set(two) and 0.25 < before.count(two[0]) / 300 < 0.75
    fleet.proxy.reload([*two, third])
    # the log has addresses, which the two names share: what leaves the second server must be what the third takes
    after = fleet.proxy.points(keys)
    fleet.proxy.reload(two)
    came_to_second = sum(old != two[1] and new == two[1] for old, new in zip(before, after, strict=True))
    left_second = sum(old == two[1] and new != two[1] for old, new in zip(before, after, strict=True))
    assert came_to_second == 0 and 0.1 < left_second / before.count(two[1]) < 0.6
    assert fleet.proxy.points(keys) == before


def test_without_the_key_an_image_is_encoded_on_every_server(fleet: Fleet) -> None:
    """What the test before would see of a proxy that knows nothing of images."""
    since = fleet.lookups()
    with TritonPredictor.connect(fleet.endpoint, features="ensemble") as predictor:
        encoded = replace(predictor.encode(new_image()), image_key="")
        for x in range(4):
            predictor.predict(encoded, [Click(float(x), 9.0)])
    assert [misses for _, misses in since()] == [1, 1]


def test_the_doctor_and_the_choice_of_the_path_ask_the_server_that_has_the_image(fleet: Fleet, capfd) -> None:
    files = ["--ca", str(fleet.proxy.certificate), "--token-file", str(fleet.proxy.token_file)]
    for _ in range(3):
        assert cli.run(["doctor", "--url", fleet.proxy.url, *files]) == 0
        with TritonPredictor.connect(fleet.endpoint) as predictor:
            predictor.encode(new_image())
            assert predictor.description == "features: ensemble (the server's response cache answers)"
    assert capfd.readouterr().out.count("ok    cache: the second click hit it") == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_server_that_ends_costs_one_encode_and_no_click(fleet: Fleet, number: signal.Signals) -> None:
    (image, _), clicks = new_images(fleet, 1), [Click(9.0, 9.0), Click(30.0, 20.0)]

    async def session(dies: ServerProcess) -> tuple[list[bytes], Encoded]:
        async with await AsyncTritonPredictor.connect(fleet.endpoint, deadline_s=60.0) as predictor:
            encoded = await predictor.encode(image)
            masks = [await predictor.predict(encoded, clicks)]
            under_way = asyncio.create_task(predictor.predict(encoded, clicks))
            await asyncio.sleep(0.01)
            assert dies.process is not None
            dies.process.send_signal(number)
            masks += [await under_way, *[await predictor.predict(encoded, clicks) for _ in range(3)]]
            assert fleet.proxy.owner_of(encoded.image_key) == stays.url
            return [mask.tobytes() for mask in masks], encoded

    dies, stays = fleet.servers
    before = fleet.count_of(stays)
    masks, encoded = asyncio.run(session(dies))
    assert len(masks) == 5 and len(set(masks)) == 1
    assert fleet.count_of(stays).cache_misses - before.cache_misses == 1
    dies.stop()
    dies.start()
    fleet.proxy.until_owner(encoded.image_key, dies.url)  # nobody has to tell the proxy that it is back


def test_a_server_that_is_added_costs_an_encode_of_what_moves(fleet: Fleet) -> None:
    folder = new_images(fleet, 1)

    async def click(images: Sequence[Encoded]) -> None:
        async with await AsyncTritonPredictor.connect(fleet.endpoint) as predictor:
            for encoded in images:
                await predictor.predict(encoded, [Click(9.0, 9.0)])

    first, second = (server.url for server in fleet.servers)
    fleet.proxy.reload([first])
    since = fleet.lookups()
    images = asyncio.run(annotate_together(fleet, [folder], clicks=1))
    assert since() == [(2, 2), (0, 0)]
    fleet.proxy.reload([first, second])
    since = fleet.lookups()
    asyncio.run(click(images))
    assert since() == [(1, 0), (0, 1)]


def test_a_cancelled_request_is_cancelled_on_the_server(fleet: Fleet) -> None:
    """Six encodes at one server, five of them cancelled on their way: it does not go on with all of them."""
    frame, *_ = network_inputs(fleet.contract, new_image(), None)
    padding = click_inputs(fleet.contract, frame, [], None)
    encodes = [{**network_inputs(fleet.contract, new_image(), None)[2], **padding} for _ in range(7)]

    async def run() -> None:
        async with await AsyncTritonPredictor.connect(fleet.endpoint) as predictor:
            first, *rest, last = (
                predictor.transport.infer("mmms", tensors, ("mask",), timeout_s=120.0, image_key="0" * 32)
                for tensors in encodes
            )
            requests = [asyncio.create_task(request) for request in (first, *rest)]
            await asyncio.sleep(0.15)
            for request in requests[1:]:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
            await last  # behind all that are still in the queue

    before = sum(row.requests for row in fleet.count("csnet"))
    asyncio.run(run())
    assert 2 <= sum(row.requests for row in fleet.count("csnet")) - before < 7
    assert sum(line["status"] == 499 for line in fleet.proxy.lines()) >= 1


def refusal(fleet: Fleet, **changes: object) -> MMMSError:
    with pytest.raises(MMMSError) as caught:
        TritonPredictor.connect(replace(fleet.endpoint, **changes))
    return caught.value


@pytest.mark.parametrize("token", [None, "wrong", TOKEN.upper(), TOKEN[:-1], TOKEN + "x", f"{TOKEN} {TOKEN}"])
def test_a_wrong_token_is_refused(fleet: Fleet, token: str | None) -> None:
    error = refusal(fleet, token=token)
    assert isinstance(error, AccessError)
    assert str(error) == (
        f"Expected {fleet.proxy.url} to accept our bearer token but it refused: no valid bearer token; put the right "
        "one in the file of --token-file, or in MMMS_TOKEN (MMMS_PROVIDER_TOKEN for a provider of features)."
    )


def test_plain_text_and_other_certificates_are_refused(fleet: Fleet, tmp_path) -> None:
    other, _ = make_certificate(tmp_path)
    for authorities in (None, other.read_bytes()):
        error = refusal(fleet, authorities=authorities)
        assert isinstance(error, AccessError)
        assert str(error).startswith("Expected a certificate of a known authority for the name in grpcs://127.0.0.1:")
    assert "or grpcs://HOST:PORT where TLS is spoken" in str(refusal(fleet, is_tls=False))
    error = refusal(fleet, address=fleet.servers[0].url)
    assert str(error).startswith(f"Expected TLS at grpcs://{fleet.servers[0].url} but plain text answers there")


def test_only_what_clients_need_is_let_through(fleet: Fleet) -> None:
    transport = TritonTransport(fleet.endpoint)
    client, headers = transport._client, transport.endpoint.headers
    for request in (
        lambda: client.unload_model("mmms", headers=headers),
        lambda: client.get_model_repository_index(headers=headers),
        lambda: client.update_log_settings({}, headers=headers),
        lambda: client.get_system_shared_memory_status(headers=headers),
    ):
        with pytest.raises(AccessError, match="this method is not for clients"), translated(transport.url):
            request()
    large = {"image": np.zeros((1, 3, 2400, 2400), np.uint8)}
    with pytest.raises(ContractError, match="larger than the proxy takes"):
        transport.infer("mmms", large, ("mask",))
    assert transport.server_version() and transport.is_model_ready("mmms") and transport.shared_region(64) is None
    transport.close()
