"""Addresses, tokens and authorities: what is accepted, what is refused before anything travels."""

from __future__ import annotations

import numpy as np
import pytest

from mmms_client.endpoint import Endpoint
from mmms_client.errors import UsageError
from mmms_client.predictor import image_key

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def no_token(monkeypatch) -> None:
    monkeypatch.delenv("MMMS_TOKEN", raising=False)
    monkeypatch.delenv("MMMS_PROVIDER_TOKEN", raising=False)


def test_tls_with_authorities_and_a_token(tmp_path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    (tmp_path / "token").write_text("s3cret-Token_1\n")
    endpoint = Endpoint.parse("grpcs://example.org:443/", str(tmp_path / "ca.pem"), str(tmp_path / "token"))
    assert (endpoint.address, endpoint.is_tls, endpoint.authorities) == ("example.org:443", True, PEM.encode())
    assert endpoint.headers == {"authorization": "Bearer s3cret-Token_1"}
    assert str(endpoint) == "grpcs://example.org:443" and not endpoint.is_local
    assert "s3cret" not in repr(endpoint)


def test_the_token_of_the_environment_and_of_a_file_that_goes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MMMS_TOKEN", "fromoutside")
    assert Endpoint.parse("grpcs://example.org:443").token == "fromoutside"
    (tmp_path / "token").write_text("fromfile")
    assert Endpoint.parse("grpcs://example.org:443", token_file=str(tmp_path / "token")).token == "fromfile"
    assert Endpoint.parse("localhost:8001").token == "fromoutside"  # never leaves this host


def test_a_provider_gets_a_token_of_its_own(monkeypatch) -> None:
    monkeypatch.setenv("MMMS_TOKEN", "ours")
    assert Endpoint.of_provider("example.org:8001").headers == {}  # nothing that plain text could tell
    monkeypatch.setenv("MMMS_PROVIDER_TOKEN", "theirs")
    assert Endpoint.of_provider("grpcs://example.org:443").token == "theirs"
    with pytest.raises(UsageError, match="or unset MMMS_PROVIDER_TOKEN"):
        Endpoint.of_provider("example.org:8001")


@pytest.mark.parametrize("url", ["example.org:8001", "grpc://10.0.0.1:8001", "127.0.0.1.example.org:8001"])
def test_a_token_does_not_travel_in_plain_text(url, monkeypatch) -> None:
    monkeypatch.setenv("MMMS_TOKEN", "secret")
    with pytest.raises(
        UsageError, match=r"^Expected a TLS address to send the token to but got .*write --url grpcs://"
    ):
        Endpoint.parse(url)


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "Bearer x", "ä"])
def test_what_is_no_token(text, tmp_path) -> None:
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"^Expected one token, printable and without spaces, in .*token but got \d+"):
        Endpoint.parse("grpcs://x:1", token_file=str(tmp_path / "token"))


def test_authorities_that_are_none(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"^Expected --ca a file that can be read but got 'no\.pem': No such file"):
        Endpoint.parse("grpcs://x:1", "no.pem")
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match=r"^Expected --ca a PEM file with certificates but got"):
        Endpoint.parse("grpcs://x:1", str(tmp_path / "key.pem"))
    with pytest.raises(UsageError, match=r"^Expected --ca with a TLS address but got 'x:1'; write --url grpcs://x:1"):
        Endpoint.parse("x:1", str(tmp_path / "key.pem"))


def test_the_image_key_is_of_all_bytes_and_of_nothing_else() -> None:
    tensors = {"image": np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2), "presence": np.ones((1, 2), np.float32)}
    key = image_key(tensors)
    assert len(key) == 32 and set(key) <= set("0123456789abcdef")
    assert image_key(dict(reversed(tensors.items()))) == key
    assert image_key({**tensors, "image": np.asfortranarray(tensors["image"])}) == key
    for name, index in (("image", (0, 2, 1, 1)), ("presence", (0, 1))):
        changed = tensors[name].copy()
        changed[index] += 1
        assert image_key({**tensors, name: changed}) != key
    assert image_key({**tensors, "image": tensors["image"].reshape(1, 3, 4, 1)}) != key
