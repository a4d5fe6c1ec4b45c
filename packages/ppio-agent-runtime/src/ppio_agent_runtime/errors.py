"""The only place where an exception becomes a response: status, message, error type, headers."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ppio_agent_models import (
    AgentError,
    AuthenticationError,
    EventsEvictedError,
    HandlerError,
    PPIOAgentRuntimeError,
    SerializationError,
)

from .serialization import encode
from .text import cut

if TYPE_CHECKING:
    from .asgi import Headers, Send


RefusalReason = Literal["missing", "wrong", "malformed", "incomplete", "expired", "replayed", "digest"]


class ClientGoneError(Exception):
    """The caller disconnected, so no response can be sent. Never leaves the runtime."""


class RefusedError(AuthenticationError):
    """A request whose credentials are not accepted.

    Attributes:
        reason: Why, without revealing what would have been accepted.
    """

    def __init__(self, message: str, reason: RefusalReason) -> None:
        super().__init__(message, error_type=AuthenticationError.__name__)
        self.reason: RefusalReason = reason


_OUR_HEADERS: Final = frozenset({"content-length", "content-type", "transfer-encoding"})
"""Headers that an agent's exception cannot set, because they describe our body."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_CONTROL_CHARACTERS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """The response to an error; its texts are shortened, its `facts` are added to the envelope's metadata."""

    status: int
    message: str
    error_type: str
    headers: Headers = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("message", "error_type"):
            object.__setattr__(self, name, cut(f"{getattr(self, name)}"))

    def envelope(self, request_id: str, session_id: str | None, duration: float = 0.0) -> bytes:
        """Return the error envelope as JSON."""
        metadata = {"request_id": request_id, "session_id": session_id, **self.facts}
        return encode(
            {
                "result": None,
                "status": "error",
                "duration": round(duration, 6),
                "metadata": metadata,
                "error": self.message,
                "error_type": self.error_type,
            }
        )


class HandlerFailureError(HandlerError):
    """An exception of the agent's own code on its way to the caller; `__cause__` is that exception."""


MEANT_FOR_CALLERS: Final = (AgentError, SerializationError)
"""Exceptions of the agent's code whose message is sent to the caller unchanged."""


def handler_failure(error: BaseException) -> PPIOAgentRuntimeError:
    """Return the error to respond with for an exception of the agent's code: itself, if it is meant for callers.

    The only exception in a task group's exception group is handled like that exception itself.
    """
    leaf = error
    while isinstance(leaf, BaseExceptionGroup) and len(leaf.exceptions) == 1:
        leaf = leaf.exceptions[0]
    if isinstance(leaf, MEANT_FOR_CALLERS):
        return leaf
    failure = HandlerFailureError("The agent failed.")
    failure.__cause__ = leaf if _is_http_exception(leaf) else error
    return failure


def error_response(error: BaseException, *, request_id: str, tells_errors: bool) -> ErrorResponse:
    """Return the response to an error.

    Args:
        tells_errors: Include class and message of the agent's own exceptions.
    """
    if isinstance(error, HandlerFailureError):
        return _problem_of_agent(error.__cause__, request_id, tells_errors)
    if isinstance(error, PPIOAgentRuntimeError):
        status = error.status_code
        if not (isinstance(status, int) and 400 <= status <= 599):  # an agent may have chosen it
            status = 500
        facts = _facts(error, status)
        return ErrorResponse(status, f"{error.message}", error.error_type, _retry_after(error.retry_after), facts)
    if tells_errors:
        return ErrorResponse(500, _described(error), "InternalError")
    return ErrorResponse(
        500, f"The runtime failed. Its log has the reason under request id {request_id}.", "InternalError"
    )


def _facts(error: PPIOAgentRuntimeError, status: int) -> dict[str, Any]:
    """Return details of an error that a program needs and cannot derive from its type.

    They include the status that an agent chose: inside a stream or a stored response there is no status line.
    """
    if isinstance(error, EventsEvictedError):
        return {"first_event_id": error.first_event_id}
    return {"status_code": status} if isinstance(error, AgentError) else {}


def _problem_of_agent(cause: BaseException | None, request_id: str, tells_errors: bool) -> ErrorResponse:
    if _is_http_exception(cause):
        return http_exception_response(cause)
    if isinstance(cause, PPIOAgentRuntimeError):
        # From a client that the agent used: its message is safe to show, but its status is that of another call.
        return ErrorResponse(500, f"{cause.message}", "HandlerError")
    if tells_errors and cause is not None:
        return ErrorResponse(500, _described(cause), "HandlerError")
    return ErrorResponse(
        500, f"The agent failed. Its log has the reason under request id {request_id}.", "HandlerError"
    )


def _is_http_exception(error: BaseException | None) -> bool:
    module = sys.modules.get("starlette.exceptions")  # not loaded: it can't have been raised
    return module is not None and isinstance(error, module.HTTPException)


def http_exception_response(error: Any, error_type: str = "HTTPException") -> ErrorResponse:
    """Return the response to a Starlette or FastAPI `HTTPException`; if its status is not an error, that is a 500."""
    status = error.status_code if 300 <= error.status_code <= 599 and error.status_code != 304 else 500
    detail = error.detail if isinstance(error.detail, str) else json.dumps(error.detail, default=_type_name)
    return ErrorResponse(status, detail, error_type, _header_pairs(error.headers or {}), {"status_code": status})


def _type_name(value: Any) -> str:
    return type(value).__name__


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # a broken __str__ must not prevent the response
        return type(error).__name__


def _header_pairs(headers: Mapping[str, Any]) -> Headers:
    """Return those of an agent's headers that can be sent: an invalid one would make the server drop the response."""
    pairs: Headers = []
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _OUR_HEADERS and _HEADER_NAME.fullmatch(lower):
            pairs.append((lower.encode(), _CONTROL_CHARACTERS.sub(b" ", str(value).encode("latin-1", "replace"))))
    return pairs


def _retry_after(seconds: float | None) -> Headers:
    if seconds is None or not math.isfinite(seconds):
        return []
    return [(b"retry-after", str(max(0, math.ceil(seconds))).encode())]


async def send_error_response(
    send: Send,
    problem: ErrorResponse,
    *,
    request_id: str,
    session_id: str | None,
    headers: Headers,
    duration: float = 0.0,
) -> None:
    """Send the error envelope.

    Args:
        headers: Further response headers, such as the IDs.
    """
    body = problem.envelope(request_id, session_id, duration)
    own: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": own + problem.headers + headers})
    await send({"type": "http.response.body", "body": body})
