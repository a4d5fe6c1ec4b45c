"""HTTP requests: headers by name, the request ID, the form that `Accept` asks for, the body within limits."""

from __future__ import annotations

import asyncio
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from ppio_agent_models import (
    AGENTCORE_REQUEST_ID_HEADER,
    INSTANCE_HEADER,
    REQUEST_ID_HEADER,
    BadRequestError,
    NotAcceptableError,
    PayloadTooLargeError,
    RequestReadTimeoutError,
)

from ..errors import ClientGoneError

if TYPE_CHECKING:
    from ..asgi import Headers, Receive
    from ..config import AgentConfig

Form = Literal["json", "stream"]

KEY_ID = "ppio_agent.key_id"
"""Key of the scope where authentication stores the ID of the accepted key."""
INSTANCE = INSTANCE_HEADER.lower().encode()
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_AWS_REQUEST_ID = AGENTCORE_REQUEST_ID_HEADER.lower().encode()
_LISTS = frozenset({b"accept", b"accept-encoding", b"if-none-match", b"prefer"})
"""Headers whose value is a list, and may be split over several lines."""
_SAFE_ID = re.compile(rb"[!#-\[\]-~]{1,256}")
"""Visible ASCII without quote and backslash: safe in headers, JSON and logs (RFC 9110, section 5.5)."""


def given_request_id(found: dict[bytes, bytes]) -> str | None:
    """Return the caller's request ID if it is safe to repeat."""
    given = found.get(_REQUEST_ID) or found.get(b"x-request-id") or found.get(_AWS_REQUEST_ID)
    return given.decode() if given is not None and _SAFE_ID.fullmatch(given) else None


def request_id_of(found: dict[bytes, bytes]) -> str:
    """Return the caller's request ID if it is safe to repeat, else a new one of 32 hex digits."""
    return given_request_id(found) or os.urandom(16).hex()


def by_name(headers: Headers) -> dict[bytes, bytes]:
    """Return headers by name; of repeated ones the last, but lists are joined (RFC 9110, section 5.3)."""
    found = dict(headers)
    if len(found) < len(headers):
        for name in _LISTS.intersection(found):
            found[name] = b", ".join([value for each, value in headers if each == name])
    return found


async def read_body(receive: Receive, declared: bytes | None, max_bytes: int) -> bytes:
    """Return the whole body.

    Args:
        receive: ASGI's `receive` of the request.
        declared: The `Content-Length` header, used only to refuse early.
        max_bytes: How many bytes it may have.

    Raises:
        PayloadTooLargeError: More than `max_bytes` arrived or were announced.
        ClientGoneError: The caller disconnected meanwhile.
    """
    if declared is not None:
        if not declared.isdigit():
            raise BadRequestError("The Content-Length header is not a number.")
        if int(declared) > max_bytes:
            raise _body_too_large(max_bytes)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        assert isinstance(part, bytes)
        size += len(part)
        if size > max_bytes:
            raise _body_too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return part if len(parts) == 1 else b"".join(parts)


async def read_body_in_time(receive: Receive, declared: bytes | None, config: AgentConfig) -> bytes:
    """Return the whole body; see `read_body`.

    Raises:
        RequestReadTimeoutError: It took longer than `request_read_timeout_seconds`.
    """
    try:
        async with asyncio.timeout(config.request_read_timeout_seconds):
            return await read_body(receive, declared, config.max_request_size)
    except TimeoutError:
        raise body_too_slow(config) from None


def body_too_slow(config: AgentConfig) -> RequestReadTimeoutError:
    """Return the error for a body that did not arrive in time."""
    return RequestReadTimeoutError(
        f"The body did not arrive within {config.request_read_timeout_seconds:g} s, the limit "
        "'request_read_timeout_seconds'."
    )


def _body_too_large(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"The body is larger than {max_bytes} bytes, the limit 'max_request_size'.")


_RANGES: dict[str, tuple[str, int]] = {
    "application/json": ("json", 2),
    "text/event-stream": ("stream", 2),
    "application/*": ("json", 1),
    "text/*": ("stream", 1),
}
"""Media range to form and precision; `*/*` is handled apart, because it favours no form."""


@lru_cache(256)
def wanted_form(header: bytes) -> Form | None:
    """Return the preferred form, or None if the header doesn't prefer one.

    Raises:
        NotAcceptableError: It allows neither JSON nor an event stream.
    """
    text = header.decode("latin-1").lower().strip()
    if not text:
        return None
    weights: dict[str, tuple[int, float]] = {}
    anything = 0.0
    for part in text.split(","):
        media, _, parameters = part.partition(";")
        weight = _weight(parameters)
        if media.strip() == "*/*":
            anything = max(anything, weight)
        elif (known := _RANGES.get(media.strip())) is not None:
            form, precision = known
            # The most precise range that matches a form decides its weight.
            weights[form] = max(weights.get(form, (0, 0.0)), (precision, weight))
    json = weights.get("json", (0, anything))
    stream = weights.get("stream", (0, anything))
    if not (json[1] or stream[1]):
        raise NotAcceptableError("A response is application/json or text/event-stream; Accept allows neither.")
    # With equal weights, the more precise range wins: "application/json, */*" means JSON.
    json_rank, stream_rank = (json[1], json[0]), (stream[1], stream[0])
    return None if json_rank == stream_rank else "json" if json_rank > stream_rank else "stream"


def quality(header: bytes, name: str) -> float:
    """Return the weight (`q`) of a media type or coding in a header; wildcards are ignored."""
    for part in header.decode("latin-1").lower().split(","):
        named, _, parameters = part.partition(";")
        if named.strip() == name:
            return _weight(parameters)
    return 0.0


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
