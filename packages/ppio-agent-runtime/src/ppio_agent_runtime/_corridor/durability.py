"""How a request asks to be durable: by its headers."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from ppio_agent_models import (
    IDEMPOTENCY_KEY_HEADER,
    MAX_IDEMPOTENCY_KEY_CHARS,
    ON_DISCONNECT_HEADER,
    BadRequestError,
)

from .request import Durability

if TYPE_CHECKING:
    from .request import OnDisconnect

_KEY: Final = IDEMPOTENCY_KEY_HEADER.lower().encode()
_ON_DISCONNECT: Final = ON_DISCONNECT_HEADER.lower().encode()
DURABILITY_HEADERS: Final = frozenset({_KEY, _ON_DISCONNECT, b"prefer"})
_KEY_RULE = re.compile(rb"[ -~]{1,%d}" % MAX_IDEMPOTENCY_KEY_CHARS)
_BY_PROTOCOL = Durability(None, b"", background=False, on_disconnect=None)
_RESPOND_ASYNC = re.compile(rb"(?:^|[,;])\s*respond-async\s*(?:[,;=]|$)", re.IGNORECASE)


def durability_of(found: dict[bytes, bytes], body: bytes, *, numbered: bool) -> Durability | None:
    """Return how the call asks to be durable, None when it does not.

    It does with an idempotency key, with `Prefer: respond-async` (RFC 7240, section 4.1), with protocol 1, whose
    callers come back after a cut, and when it wants to go on without its caller.

    Raises:
        BadRequestError: A header of these is malformed.
    """
    if numbered and DURABILITY_HEADERS.isdisjoint(found):
        return _BY_PROTOCOL
    key = _key(found[_KEY]) if _KEY in found else None
    on_disconnect = _on_disconnect(found[_ON_DISCONNECT]) if _ON_DISCONNECT in found else None
    background = _RESPOND_ASYNC.search(found.get(b"prefer", b"")) is not None
    if key is None and not (background or numbered or on_disconnect == "continue"):
        return None
    fingerprint = b"" if key is None else hashlib.sha256(body).digest()
    return Durability(key, fingerprint, background, on_disconnect)


def _key(header: bytes) -> str:
    if not _KEY_RULE.fullmatch(header):
        raise BadRequestError(
            f"The header {IDEMPOTENCY_KEY_HEADER} must be 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable ASCII characters."
        )
    return header.decode()


def _on_disconnect(header: bytes) -> OnDisconnect:
    word = header.decode("latin-1").strip().lower()
    if word == "cancel":
        return "cancel"
    if word == "continue":
        return "continue"
    raise BadRequestError(f"The header {ON_DISCONNECT_HEADER} must be 'cancel' or 'continue'.")
