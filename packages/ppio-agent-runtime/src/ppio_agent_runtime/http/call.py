"""What a call of the agent asks for, and how its headers ask for an invocation that outlives the request."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from ppio_agent_models import (
    IDEMPOTENCY_KEY_HEADER,
    MAX_IDEMPOTENCY_KEY_CHARS,
    ON_DISCONNECT_HEADER,
    BadRequestError,
)

from ..context import RequestContext

Form = Literal["json", "stream"]
OnDisconnect = Literal["cancel", "continue"]

_KEY: Final = IDEMPOTENCY_KEY_HEADER.lower().encode()
_ON_DISCONNECT: Final = ON_DISCONNECT_HEADER.lower().encode()
DURABILITY_HEADERS: Final = frozenset({_KEY, _ON_DISCONNECT, b"prefer"})
_KEY_RULE = re.compile(rb"[ -~]{1,%d}" % MAX_IDEMPOTENCY_KEY_CHARS)
_RESPOND_ASYNC = re.compile(rb"(?:^|[,;])\s*respond-async\s*(?:[,;=]|$)", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Durability:
    """How a call asked to be durable.

    Attributes:
        key: Its `Idempotency-Key`, or None.
        fingerprint: Digest of its body, when it has a key.
        background: It prefers an answer at once (RFC 7240, `respond-async`).
        on_disconnect: What it says about hanging up, or None for the default.
    """

    key: str | None
    fingerprint: bytes
    background: bool
    on_disconnect: OnDisconnect | None


@dataclass(slots=True)
class InvocationCall:
    """What `POST /invocations` asked for.

    Attributes:
        context: Who asks, under which ids and limits.
        payload: What the handler gets.
        wants: The form of the answer; None to let the handler's result decide.
        numbered: The caller speaks protocol 1: events have ids, and a stream ends with `done` or `error`.
        durability: How it asked to be durable, or None.
        timeout: Requested limit in seconds, or None; the context has the limit for a value.
    """

    context: RequestContext
    payload: Any
    wants: Form | None
    numbered: bool
    timeout: float | None
    durability: Durability | None = None


def durability_of(found: dict[bytes, bytes], body: bytes, *, numbered: bool) -> Durability | None:
    """Return how the call asks to be durable, None when it does not.

    It does with an idempotency key, with `Prefer: respond-async` (RFC 7240, section 4.1), with protocol 1, whose
    callers come back after a cut, and when it wants to go on without its caller.

    Raises:
        BadRequestError: A header of these is malformed.
    """
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
