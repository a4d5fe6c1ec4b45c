"""Where a URL leads, taken apart once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_KEPT: Final = "!$&'()*+,-./:;=?@_~%[]"


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL.

    Attributes:
        origin: Equal for two URLs whose requests may share a connection.
        scheme: `http` or `https`.
        host: A name in ASCII, or an address without brackets.
        port: The port.
        authority: What stands in `Host`.
        path: Path and query, percent-encoded.
    """

    origin: str
    scheme: str
    host: str
    port: int
    authority: str
    path: str


@functools.lru_cache(maxsize=4096)
def address_of(url: str) -> Address:
    """Return where `url` leads.

    Raises:
        ValueError: Nowhere that HTTP goes.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme not in _PORTS or not host or port == 0 or any(char <= " " or char == "\x7f" for char in host):
        raise ValueError("the address is not http://host or https://host")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    named = f"[{host}]" if ":" in host else host
    authority = named if port in {None, _PORTS[parts.scheme]} else f"{named}:{port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(
        f"{parts.scheme}://{authority}", parts.scheme, host, port or _PORTS[parts.scheme], authority, quote(path, _KEPT)
    )
