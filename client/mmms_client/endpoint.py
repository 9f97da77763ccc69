"""Where a server is, and how a client proves who both are: address, TLS, bearer token. Loads nothing but this."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from mmms_client.errors import UsageError

DEFAULT_URL = "localhost:8001"
TOKEN_VARIABLE = "MMMS_TOKEN"
PROVIDER_TOKEN_VARIABLE = "MMMS_PROVIDER_TOKEN"  # for whoever runs the backbone: our token is not theirs
IMAGE_KEY_HEADER = "mmms-image-key"  # gRPC metadata of every request about one image; a proxy balances by it
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_ADDRESS = r"(\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):\d{1,5}"
_TOKEN = r"[\x21-\x7e]+"  # what a header can carry


@dataclass(frozen=True)
class Endpoint:
    """The gRPC port of a server, or of a proxy in front of several."""

    address: str  # host:port
    is_tls: bool = False
    authorities: bytes | None = field(default=None, repr=False)  # PEM; None: gRPC's list of public ones
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str | Endpoint) -> Endpoint:
        """An endpoint from its address, or the same one. Raises :class:`UsageError`."""
        return url if isinstance(url, Endpoint) else cls.parse(url)

    @classmethod
    def of_provider(cls, url: str) -> Endpoint:
        """Somebody else's server, which gives features: our token does not go there, that of ``MMMS_PROVIDER_TOKEN``
        does. Raises :class:`UsageError`.
        """
        return cls.parse(url, token_variable=PROVIDER_TOKEN_VARIABLE)

    @classmethod
    def parse(
        cls, url: str, ca: str | None = None, token_file: str | None = None, token_variable: str = TOKEN_VARIABLE
    ) -> Endpoint:
        """From what a person types.

        Args:
            url: ``host:port``, ``grpc://host:port``, or ``grpcs://host:port`` for TLS.
            ca: PEM file with the authorities that may have signed the server's certificate.
            token_file: file that holds the bearer token; the variable ``MMMS_TOKEN`` holds the token itself.
            token_variable: the name of another variable.

        Raises:
            UsageError: another scheme, no port, a file that cannot be read, or a token that would travel in plain text.
        """
        scheme, separator, rest = url.partition("://")
        address = (rest if separator else url).rstrip("/")
        if separator and scheme.lower() not in ("grpc", "grpcs"):
            raise UsageError(
                f"Expected --url host:port of the server's gRPC port (usually 8001) but got {url!r}; write for "
                f"example --url {_host(address)}:8001."
            )
        if not re.fullmatch(_ADDRESS, address):
            raise UsageError(
                f"Expected --url host:port of the server's gRPC port but got {url!r}; write for example --url "
                f"{DEFAULT_URL}."
            )
        is_tls = bool(separator) and scheme.lower() == "grpcs"
        if ca is not None and not is_tls:
            raise UsageError(f"Expected --ca with a TLS address but got {url!r}; write --url grpcs://{address}.")
        token = _read_token(token_file, token_variable)
        if token is not None and not is_tls and address.rsplit(":", 1)[0] not in _LOCAL_HOSTS:
            raise UsageError(
                f"Expected a TLS address to send the token to but got {url!r}, where everybody on the way could read "
                f"it; write --url grpcs://{address}, or unset {token_variable}."
            )
        return cls(address, is_tls, None if ca is None else _read_authorities(ca), token)

    def __str__(self) -> str:
        return f"grpcs://{self.address}" if self.is_tls else self.address

    @property
    def is_local(self) -> bool:
        """Whether the server is on this host, with nothing in between that would hide its memory."""
        return not self.is_tls and self.address.rsplit(":", 1)[0] in _LOCAL_HOSTS

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}


def _host(address: str) -> str:
    host = address.split("/")[0]
    return re.sub(r":\d*$", "", host) or "localhost"


def _read_authorities(path: str) -> bytes:
    pem = _read(path, "--ca")
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise UsageError(
            f"Expected --ca a PEM file with certificates but got {path!r} without one; give the certificate of the "
            "authority that signed the server's."
        )
    return pem


def _read_token(path: str | None, variable: str) -> str | None:
    if path is None:
        source, token = variable, os.environ.get(variable, "").strip()
        if not token:
            return None
    else:
        source, token = path, _read(path, "--token-file").decode("utf-8", "replace").strip()
    if not re.fullmatch(_TOKEN, token):
        raise UsageError(
            f"Expected one token, printable and without spaces, in {source} but got {len(token)} other characters; "
            "put the token alone there."
        )
    return token


def _read(path: str, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"Expected {option} a file that can be read but got {path!r}: {error.strerror or error}; check its name."
        ) from error
