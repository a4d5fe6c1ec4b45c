"""The options of a call: read from its headers in one pass, then from hints in its body."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from ppio_agent_models import (
    AGENTCORE_SESSION_ID_HEADER,
    AGENTCORE_USER_ID_HEADER,
    EVENTS_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    MAX_IDEMPOTENCY_KEY_CHARS,
    MAX_SESSION_ID_CHARS,
    ON_DISCONNECT_HEADER,
    PROTOCOL_HEADER,
    SESSION_ID_HEADER,
    TIMEOUT_HEADER,
    USER_ID_HEADER,
    BadRequestError,
    UnsupportedMediaTypeError,
)

from ..context import RequestContext
from ..event_loop import run_in_thread
from ..large_json import decode_large
from ..serialization import decode
from .request import KEY_ID, Form, by_name, request_id_of, wanted_form

if TYPE_CHECKING:
    from ..asgi import Scope
    from ..config import AgentConfig
    from ..handler import Handler

OnDisconnect = Literal["cancel", "continue"]

_KEY: Final = IDEMPOTENCY_KEY_HEADER.lower().encode()
_ON_DISCONNECT: Final = ON_DISCONNECT_HEADER.lower().encode()
DURABILITY_HEADERS: Final = frozenset({_KEY, _ON_DISCONNECT, b"prefer"})
_KEY_RULE = re.compile(rb"[ -~]{1,%d}" % MAX_IDEMPOTENCY_KEY_CHARS)
_RESPOND_ASYNC = re.compile(rb"(?:^|[,;])\s*respond-async\s*(?:[,;=]|$)", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Durability:
    """How a call requested to be durable.

    Attributes:
        key: Its `Idempotency-Key`, or None.
        fingerprint: Digest of its body, when it has a key.
        background: It prefers an immediate 202 (RFC 7240, `respond-async`).
        on_disconnect: What to do when its caller disconnects, or None for the default.
    """

    key: str | None
    fingerprint: bytes
    background: bool
    on_disconnect: OnDisconnect | None


@dataclass(slots=True)
class InvocationCall:
    """A parsed `POST /invocations`.

    Attributes:
        context: The caller, IDs and limits.
        payload: The handler's payload.
        wants: The form of the response; None to let the handler's result decide.
        numbered: The caller uses protocol 1: events have IDs, and a stream ends with `done` or `error`.
        durability: How it requested to be durable, or None.
        timeout: Requested limit in seconds, or None; the context has the effective limit for a value.
        typed: A stream should have typed events.
    """

    context: RequestContext
    payload: Any
    wants: Form | None
    numbered: bool
    timeout: float | None
    durability: Durability | None = None
    typed: bool = False


def durability_of(found: dict[bytes, bytes], body: bytes, *, numbered: bool) -> Durability | None:
    """Return how the call requests to be durable, or None if it does not.

    It does with an idempotency key, with `Prefer: respond-async` (RFC 7240, section 4.1), with protocol 1, whose
    callers resume cut streams, and if it should continue after its caller disconnects.

    Raises:
        BadRequestError: One of these headers is malformed.
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


def _wire(name: str) -> bytes:
    return name.lower().encode()


_PROTOCOL = _wire(PROTOCOL_HEADER)
_EVENTS = _wire(EVENTS_HEADER)
_SESSION = _wire(SESSION_ID_HEADER)
_USER = _wire(USER_ID_HEADER)
_TIMEOUT = _wire(TIMEOUT_HEADER)
_AWS_SESSION = _wire(AGENTCORE_SESSION_ID_HEADER)
_AWS_USER = _wire(AGENTCORE_USER_ID_HEADER)
_HINTS = frozenset({"session_id", "sandbox_id", "timeout", "stream", "metadata"})
"""Fields of a body that the runtime reads too."""
_NUMBERS = (int, float)  # not bool; and creating `int | float` takes 0.3 us each time
_NUMBER = re.compile(rb"([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})([eE][-+]?[0-9]{1,3})?")
"""A decimal number, without what else `float` accepts (`1_0`, `nan`, `infinity`)."""


class Head(NamedTuple):
    """What the headers request.

    Attributes:
        wants: The form of the response; None to let body and handler decide.
        timeout: Requested limit in seconds, or None.
    """

    session_id: str | None
    user_id: str | None
    wants: Form | None
    timeout: float | None


def parse_head(found: dict[bytes, bytes]) -> Head:
    """Return what the headers request.

    Raises:
        RequestError: One of them is malformed, or requests something that is not supported.
    """
    if (media_type := found.get(b"content-type")) is not None:
        _check_media_type(media_type)
    if b"content-encoding" in found and found[b"content-encoding"].strip().lower() not in (b"", b"identity"):
        raise UnsupportedMediaTypeError("The body has a Content-Encoding; send it uncompressed.")
    accept = found.get(b"accept")
    wants = None if accept is None else wanted_form(accept)
    timeout = _timeout(found[_TIMEOUT]) if _TIMEOUT in found else None
    return Head(_session_id(found), _user_id(found), wants, timeout)


def parse(
    scope: Scope,
    found: dict[bytes, bytes],
    head: Head,
    body: bytes,
    request_id: str | None,
    config: AgentConfig,
    handler: Handler,
    read: Callable[[bytes], Any] = decode,
) -> InvocationCall:
    """Return the parsed call, with its payload validated.

    Args:
        found: Its headers by name.
        head: What these headers request.
        body: The whole body.
        request_id: The caller's request ID, if it is safe to repeat.
        read: Decodes the body.

    Raises:
        RequestError: It is refused: see the subclasses for the reasons and their statuses.
    """
    session_id, user_id, wants, timeout = head
    value = read(body)
    metadata = None
    if type(value) is dict and not value.keys().isdisjoint(_HINTS):
        named, seconds, metadata = body_hints(value)
        session_id = session_id or named
        timeout = timeout or seconds
        if wants is None and type(stream := value.get("stream")) is bool:
            wants = "stream" if stream else "json"
    typed = wants_events(found)
    if wants is None and (typed or handler.generates):
        wants = "stream"
    context = RequestContext(
        request_id=request_id,
        session_id=session_id,
        user_id=user_id,
        metadata=metadata,
        raw_headers=scope["headers"],
        timeout=config.timeout if timeout is None or timeout > config.timeout else timeout,
        client=scope.get("client"),
        key_id=scope.get(KEY_ID),
    )
    numbered = found.get(_PROTOCOL) == b"1"
    durable = numbered or not DURABILITY_HEADERS.isdisjoint(found)
    durability = durability_of(found, body, numbered=numbered) if durable else None
    return InvocationCall(context, handler.load(body, value), wants, numbered, timeout, durability, typed)


def wants_events(found: dict[bytes, bytes]) -> bool:
    """Return whether a request asks for typed events instead of text."""
    return found.get(_EVENTS) == b"1"


async def parse_large(*asked: Any) -> InvocationCall:
    """Return the same as `parse`, but decode in a thread, so that a large body doesn't block the event loop."""
    return await run_in_thread(copy_context().run, parse, *asked, decode_large, name="agent-json")


def context_of(scope: Mapping[str, Any]) -> RequestContext:
    """Return the context of a request that is not for `/invocations`, from its headers alone.

    Raises:
        BadRequestError: One of the headers is malformed.
    """
    found = by_name(scope["headers"])
    return RequestContext(
        request_id=request_id_of(found),
        session_id=_session_id(found),
        user_id=_user_id(found),
        raw_headers=scope["headers"],
        timeout=_timeout(found[_TIMEOUT]) if _TIMEOUT in found else math.inf,
        client=scope.get("client"),
        key_id=scope.get(KEY_ID),
    )


def scope_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return an ASGI scope with only headers."""
    return {"headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]}


def body_hints(value: Any) -> tuple[str | None, float | None, dict[str, Any] | None]:
    """Return session ID, timeout in seconds and metadata from a payload, each None if it is missing or invalid."""
    if type(value) is not dict:
        return None, None, None
    session_id = _text_hint(value, "session_id") or _text_hint(value, "sandbox_id")
    metadata = hint if type(hint := value.get("metadata")) is dict else None
    return session_id, _number_hint(value, "timeout"), metadata


@lru_cache(256)
def _check_media_type(header: bytes) -> None:
    kind, _, parameters = header.decode("latin-1").lower().partition(";")
    kind = kind.strip()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaTypeError(f"The body is {kind[:80]!r}; send JSON as 'Content-Type: application/json'.")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaTypeError("The body's charset must be utf-8 (RFC 8259, section 8.1).")


def _session_id(found: dict[bytes, bytes]) -> str | None:
    given = found.get(_SESSION)
    if given is None:
        given = found.get(_AWS_SESSION)
        return _checked_session(given.decode("latin-1")) if given else None
    try:
        text = (unquote_to_bytes(given) if b"%" in given else given).decode()
    except UnicodeDecodeError:
        raise BadRequestError(f"The header {SESSION_ID_HEADER} is not percent-encoded UTF-8.") from None
    return _checked_session(text) if text else None


def _user_id(found: dict[bytes, bytes]) -> str | None:
    user = found.get(_USER) or found.get(_AWS_USER)
    return None if user is None else user.decode("latin-1")


def checked_session_id(text: str | None) -> str | None:
    """Return a session ID that a protocol found in a body, or None if there is none.

    Raises:
        BadRequestError: It is too long.
    """
    return _checked_session(text) if text else None


def _checked_session(text: str) -> str:
    if len(text) > MAX_SESSION_ID_CHARS:
        raise BadRequestError(f"The session id has {len(text)} characters; at most {MAX_SESSION_ID_CHARS} are allowed.")
    return text


def _timeout(header: bytes) -> float:
    seconds = float(header) if _NUMBER.fullmatch(header) else 0.0
    if not (0 < seconds < math.inf):
        raise BadRequestError(f"The header {TIMEOUT_HEADER} must be a number of seconds above 0.")
    return seconds


def _text_hint(hints: dict[str, Any], name: str) -> str | None:
    hint = hints.get(name)
    return hint if isinstance(hint, str) and 0 < len(hint) <= MAX_SESSION_ID_CHARS else None


def _number_hint(hints: dict[str, Any], name: str) -> float | None:
    hint: Any = hints.get(name)
    return hint if type(hint) in _NUMBERS and 0 < hint < math.inf else None
