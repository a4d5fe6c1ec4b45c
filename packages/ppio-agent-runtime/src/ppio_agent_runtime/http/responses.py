"""HTTP responses: ID headers, envelopes, and Starlette responses that a handler returned.

A plain Starlette response is status, headers and body, and is stored like a value. One that streams or sends a file
can't be stored without reading all of it into memory: it is sent live, to the one caller that waits for it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import (
    EVENTS_HEADER,
    INVOCATION_ID_HEADER,
    PROTOCOL_HEADER,
    REQUEST_ID_HEADER,
    SESSION_ID_HEADER,
    InvocationTimeoutError,
    SerializationError,
    UnavailableError,
)

from ..errors import error_response, handler_failure, send_error_response
from ..observability.logging import ids_of, logger
from ..text import cut
from .request import by_name, request_id_of

if TYPE_CHECKING:
    from ..asgi import Headers, Message, Scope, Send
    from ..context import RequestContext
    from ..errors import ErrorResponse

_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_SESSION_ID = SESSION_ID_HEADER.lower().encode()
_INVOCATION_ID = INVOCATION_ID_HEADER.lower().encode()
PROTOCOL = (PROTOCOL_HEADER.lower().encode(), b"1")
TYPED_EVENTS = (EVENTS_HEADER.lower().encode(), b"1")
JSON_TYPE = (b"content-type", b"application/json")
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class AnswerCutError(Exception):
    """The response began and can't be completed; the server closes the connection. Never leaves the runtime."""


def identity_headers(request_id: str, session_id: str | None, invocation_id: str | None = None) -> Headers:
    """Return the response headers with the call's IDs."""
    headers: Headers = [(_REQUEST_ID, request_id.encode()), PROTOCOL]
    if invocation_id is not None:
        headers.append((_INVOCATION_ID, invocation_id.encode()))
    if session_id is not None:
        headers.append((_SESSION_ID, _percent_encoded(session_id)))
    return headers


def headers_of(context: RequestContext) -> Headers:
    """Return the headers of a response to the request of `context`."""
    headers = identity_headers(context.request_id, context.session_id, context.invocation_id)
    return headers + context.response_headers if context.response_headers else headers


def _percent_encoded(text: str) -> bytes:
    if text.isascii() and text.isalnum():
        return text.encode()
    from urllib.parse import quote  # not needed for a plain ID

    return quote(text, safe="-._~").encode()


def envelope(
    result: bytes, request_id: str, session_id: str | None, duration: float, interrupts: bytes | None = None
) -> bytes:
    """Return the success envelope; `result` and `interrupts` are encoded JSON, `duration` is in seconds."""
    session = b"null" if session_id is None else to_json(session_id)
    if interrupts is not None:
        session += b',"interrupts":' + interrupts
    rest = (
        b',"status":"success","duration":%.6f,"metadata":{"request_id":"%b","session_id":%b},'
        b'"error":null,"error_type":null}' % (duration, request_id.encode(), session)
    )
    return b"".join((b'{"result":', result, rest))  # `%b` takes ten times as long for 1 MB


def with_result(result: bytes, without: bytes) -> bytes:
    """Put a result, encoded as JSON, into an envelope whose result is null."""
    return b"".join((b'{"result":', result, without[len(b'{"result":null') :]))


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a JSON response."""
    own: Headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send,
    error: Exception,
    request_id: str,
    context: RequestContext | None,
    *,
    tells_errors: bool,
    more_headers: Headers | None = None,
) -> None:
    """Respond with the error envelope, and log failures.

    Args:
        request_id: For the envelope and the log.
        context: The context of the invocation, if there is one already.
        tells_errors: Include class and message of the agent's own exceptions.
    """
    problem = error_response(error, request_id=request_id, tells_errors=tells_errors)
    if is_failure(error, problem.status):
        log_failure(error, request_id, context)
    headers = identity_headers(request_id, None) if context is None else headers_of(context)
    await send_error_response(
        send,
        problem,
        request_id=request_id,
        session_id=None if context is None else context.session_id,
        headers=headers + (more_headers or []),
        duration=0.0 if context is None else context.elapsed(),
    )


async def refuse(
    scope: Scope,
    send: Send,
    error: Exception,
    *,
    tells_errors: bool = False,
    request_id: str | None = None,
    more_headers: Headers | None = None,
) -> None:
    """Refuse a request or a WebSocket handshake; see `send_error`."""
    if request_id is None:
        request_id = request_id_of(by_name(scope["headers"]))
    if scope["type"] != "websocket":
        return await send_error(send, error, request_id, None, tells_errors=tells_errors, more_headers=more_headers)
    problem = error_response(error, request_id=request_id, tells_errors=tells_errors)
    headers = identity_headers(request_id, None) + (more_headers or [])
    await refuse_handshake(scope, send, problem, request_id=request_id, session_id=None, headers=headers)


def is_failure(error: BaseException, status: int) -> bool:
    """Return whether an error should be logged: a refusal of new work is not a failure."""
    return status >= 500 and not isinstance(error, UnavailableError)


def log_failure(error: BaseException, request_id: str, context: RequestContext | None = None) -> None:
    """Log a failed request with its IDs and the traceback of the agent's exception; a timeout has no traceback."""
    is_late = isinstance(error, InvocationTimeoutError) and error.__cause__ is None
    is_safe = is_late or isinstance(error, SerializationError)  # its message has a path, but no value
    logger.error(
        "%s failed (request %s): %s",
        "A request" if context is None else f"Invocation {context.invocation_id}",
        request_id,
        cut(f"{type(error).__name__}: {error}") if is_safe else type(error.__cause__ or error).__name__,
        exc_info=None if is_late else error.__cause__ or error,
        extra=None if context is None else ids_of(context),
    )


def is_event_stream(response: Any) -> bool:
    """Return whether a Starlette response is a successful event stream, so that it can continue a begun one."""
    media_type: str = response.headers.get("content-type", "")
    return response.status_code == 200 and media_type.startswith("text/event-stream")


def held_response(response: Any) -> tuple[int, Headers, bytes] | None:
    """Return status, headers and body of a plain response, or None for one that can only be sent once."""
    plain: Any = sys.modules["starlette.responses"].Response
    body = vars(response).get("body")
    if type(response).__call__ is not plain.__call__ or not isinstance(body, bytes | memoryview):
        return None
    return response.status_code, list(response.raw_headers), bytes(body)


async def after_sending(response: Any, context: RequestContext) -> None:
    """Run the response's background task, once, however often the response is sent."""
    if response.background is None:
        return
    try:
        await response.background()
    except Exception as error:  # noqa: BLE001  # the response is sent already
        log_failure(handler_failure(error), context.request_id, context)


def came_too_late() -> SerializationError:
    """Return the error for a stream that had begun when the agent returned a response object."""
    return SerializationError(
        "The agent returned a response object, too late to be sent: the requested stream had begun with a heartbeat. "
        "Return a value from the agent, or request JSON."
    )


POLICY_VIOLATION = 1008


async def refuse_handshake(
    scope: Scope, send: Send, problem: ErrorResponse, *, request_id: str, session_id: str | None, headers: Headers
) -> None:
    """Respond to the handshake with the error envelope (ASGI extension `websocket.http.response`)."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": close_reason(problem.message)})
        return

    async def send_denial(message: Message) -> None:
        await send({**message, "type": message["type"].replace("http.", "websocket.http.", 1)})

    await send_error_response(send_denial, problem, request_id=request_id, session_id=session_id, headers=headers)


def close_reason(text: str) -> str:
    """Return as much of `text` as fits into a close frame: 123 bytes (RFC 6455, section 5.5.1)."""
    return text.encode()[:123].decode(errors="ignore")
