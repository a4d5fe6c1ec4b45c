"""Requests signed by ours and by an independent implementation."""

import base64
import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import http_sf
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPSignatureKeyResolver,
    algorithms,
)

from ppio_agent_runtime.security.signatures import (
    COVERED_HEADERS,
    SignedMessage,
    check_digest,
    sign,
    signature_base,
    verify,
)

NOW = 1_700_000_000
SECRETS = {"ak-1": b"secret-1", "ak-2": "sécret-2".encode()}


@dataclass
class Request:
    """A request as the independent implementation wants it."""

    method: str = "POST"
    url: str = "http://agent.example/invocations"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def as_received(self) -> SignedMessage:
        path, _, query = self.url.removeprefix("http://agent.example").partition("?")
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        return SignedMessage(self.method, path.encode(), query.encode(), headers)


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id: str) -> bytes:
        return SECRETS[key_id]

    def resolve_public_key(self, key_id: str) -> bytes:
        return SECRETS[key_id]


def digest_of(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def signed_by_them(
    request: Request, *components: str, created: int = NOW, nonce: str | None = "n-1", key_id: str = "ak-1", **more: Any
) -> Request:
    """Sign with the independent implementation."""
    if request.body:
        request.headers["Content-Digest"] = digest_of(request.body)
    wanted = ["@method", "@path"]
    wanted += ["@query"] if "?" in request.url else []
    wanted += [name for name in COVERED_HEADERS if name in map(str.lower, request.headers)]
    HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys()).sign(
        request,
        key_id=key_id,
        created=dt.datetime.fromtimestamp(created, dt.UTC),
        nonce=nonce,
        label="sig1",
        covered_component_ids=components or wanted,
        use_existing_digest=bool(request.body),
        **more,
    )
    return request


def signed_by_us(request: Request, *names: str, key_id: str = "ak-1", secret: bytes, **more: int | str) -> Request:
    covered: Any = ([(name, {}) for name in names], {"created": NOW, "nonce": "n-1", "keyid": key_id, **more})
    signature = sign(signature_base(request.as_received(), covered), secret)
    request.headers["Signature-Input"] = http_sf.ser({"sig1": covered})
    request.headers["Signature"] = http_sf.ser({"sig1": signature})
    return request


def verified(request: Request, secrets: Mapping[str, bytes] = SECRETS, **settings: Any) -> str:
    """Verify with ours; return the key id."""
    message = request.as_received()
    signature = verify(message, secrets, **{"now": NOW, "max_age_seconds": 300} | settings)
    check_digest(message, request.body, signature)
    return signature.key_id
