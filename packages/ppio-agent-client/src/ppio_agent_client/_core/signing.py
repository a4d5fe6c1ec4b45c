"""Signs requests with a key ID and a secret: HTTP message signatures (RFC 9421) with HMAC-SHA256.

A signature covers method and path, the query if there is one, and those of `SIGNED_HEADERS` that are sent: the digest
of the body (RFC 9530), and headers with session, user, time limit or idempotency key. Time and nonce are arguments.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn
from urllib.parse import quote, urlsplit

from ppio_agent_models import SIGNED_HEADERS, ConfigurationError

LABEL: Final = "sig1"

_DIGEST: Final = "content-digest"
_COVERED: Final = tuple(map(str.lower, SIGNED_HEADERS))


@dataclass(frozen=True, slots=True)
class HmacSigner:
    """Signs with a shared secret.

    Args:
        key_id: ID of the secret; sent with each request.
        secret: Never sent.

    Raises:
        ConfigurationError: The key ID can't be sent in a header.
    """

    key_id: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not (self.key_id and self.key_id.isascii() and self.key_id.isprintable()):
            raise ConfigurationError("an api_key with an api_secret must be printable ASCII, and not empty")
        if not self.secret:
            raise ConfigurationError("an api_secret must not be empty")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signer holds a secret and can't be pickled; create one in each process")

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, created: int, nonce: str
    ) -> dict[str, str]:
        """Return the signature's headers, and the digest of the body if there is one."""
        fields = {name.lower(): value.strip(" \t") for name, value in headers.items()}
        added: dict[str, str] = {}
        if body and _DIGEST not in fields:
            added["Content-Digest"] = fields[_DIGEST] = content_digest(body)
        return added | self._signature(covered(method, url, fields), created, nonce)

    def sign_nothing(self, *, created: int, nonce: str) -> dict[str, str]:
        """Return a signature that covers only its own parameters, and no part of a request."""
        return self._signature({}, created, nonce)

    def _signature(self, components: Mapping[str, str], created: int, nonce: str) -> dict[str, str]:
        parameters = f";created={created};nonce={_string(nonce)};keyid={_string(self.key_id)}"
        names = f"({' '.join(_string(name) for name in components)}){parameters}"
        signature = hmac.digest(self.secret.encode(), signature_base(components, names), "sha256")
        return {"Signature-Input": f"{LABEL}={names}", "Signature": f"{LABEL}=:{b64encode(signature).decode()}:"}


def content_digest(body: bytes) -> str:
    """Return the digest of a body as a field value (RFC 9530, section 2)."""
    return f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


def covered(method: str, url: str, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the covered components with their values, in order (RFC 9421, section 2).

    Names in `fields` are in lower case.
    """
    path, mark, query = target_of(url).partition("?")
    components = {"@method": method, "@path": path}
    if query:
        components["@query"] = mark + query
    return components | {name: fields[name] for name in _COVERED if name in fields}


def target_of(url: str) -> str:
    """Return path and query of `url`, percent-encoded as httpx sends them."""
    parts = urlsplit(url)
    return quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), "!$&'()*+,-./:;=?@_~%[]")


def signature_base(components: Mapping[str, str], parameters: str) -> bytes:
    """Return the signature base (RFC 9421, section 2.5)."""
    lines = [f"{_string(name)}: {value}" for name, value in components.items()]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode("latin-1")


def _string(text: str) -> str:
    """Return a string in the syntax of structured fields (RFC 8941, section 4.1.6)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
