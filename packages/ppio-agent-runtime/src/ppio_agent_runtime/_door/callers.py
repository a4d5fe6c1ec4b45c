"""Who a request counts for: an address, a session, a credential."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._engine.context import RequestContext
    from .._settings.rate_limit import RateLimitKey

_CREDENTIALS = (b"authorization", b"x-api-key")


def counting_key(kind: RateLimitKey, context: RequestContext, address: str) -> str:
    """Return what a request counts for, in few characters and without a credential in it.

    A key counts as the one that opened the door. Where the service checks none because somebody in front of it does,
    the credential that came along counts.
    """
    if kind == "session" and context.session_id is not None:
        return "session:" + _digest(context.session_id.encode("utf-8", "surrogatepass"))
    if kind == "api_key":
        if context.key_id is not None:
            return "api_key:" + _digest(context.key_id.encode("utf-8", "surrogatepass"))
        for name in _CREDENTIALS:
            if given := context.header_values(name):
                return "api_key:" + _digest(given[0].encode())
    return "client:" + address


def _digest(value: bytes) -> str:
    return blake2b(value, digest_size=16).hexdigest()
