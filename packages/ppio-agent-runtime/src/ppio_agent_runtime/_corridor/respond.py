"""From a handler's result to bytes on the wire: JSON or a stream, its first item known before the headers go out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import (
    INVOCATION_ID_HEADER,
    PROTOCOL_HEADER,
    REQUEST_ID_HEADER,
    SESSION_ID_HEADER,
    InvocationTimeoutError,
    SerializationError,
)

from .._http.sse import HEARTBEAT, PLAIN_END, plain_events
from .._problems import ClientGoneError, handler_failure, problem_of
from ..observability.logging import ids_of, logger

if TYPE_CHECKING:
    from .._asgi import Headers, Message, Receive, Scope, Send
    from .._engine.chunks import ChunkBuffer
    from .._engine.context import RequestContext
    from .._engine.run import Run


_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_SESSION_ID = SESSION_ID_HEADER.lower().encode()
_INVOCATION_ID = INVOCATION_ID_HEADER.lower().encode()
PROTOCOL = (PROTOCOL_HEADER.lower().encode(), b"1")
JSON_TYPE = (b"content-type", b"application/json")
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def identity_headers(request_id: str, session_id: str | None, invocation_id: str | None = None) -> Headers:
    """Return the response headers that say which call this was."""
    headers: Headers = [(_REQUEST_ID, request_id.encode()), PROTOCOL]
    if invocation_id is not None:
        headers.append((_INVOCATION_ID, invocation_id.encode()))
    if session_id is not None:
        headers.append((_SESSION_ID, _percent_encoded(session_id)))
    return headers


def _percent_encoded(text: str) -> bytes:
    if text.isascii() and text.isalnum():
        return text.encode()
    from urllib.parse import quote  # loaded since the start; a plain id does not need it

    return quote(text, safe="-._~").encode()


def envelope_around(result: bytes, context: RequestContext) -> bytes:
    """Return the success envelope with `result`, which is JSON already."""
    session = b"null" if context.session_id is None else to_json(context.session_id)
    rest = (
        b',"status":"success","duration":%.6f,"metadata":{"request_id":"%b","session_id":%b},'
        b'"error":null,"error_type":null}' % (context.elapsed(), context.request_id.encode(), session)
    )
    return b"".join((b'{"result":', result, rest))  # `%b` takes ten times as long for 1 MB


async def respond_json(result: bytes, run: Run) -> None:
    """Answer 200 with the success envelope around `result`."""
    body = envelope_around(result, run.context)
    run.sent_bytes = len(body)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), *_headers_of(run.context)]
    await run.send({"type": "http.response.start", "status": 200, "headers": headers})
    await run.send({"type": "http.response.body", "body": body})


def _headers_of(context: RequestContext) -> Headers:
    identity = identity_headers(context.request_id, context.session_id, context.invocation_id)
    return identity + context.response_headers if context.response_headers else identity


async def collect(chunks: ChunkBuffer) -> bytes:
    """Return a whole stream as one JSON value: strings joined, anything else as a list; nothing at all as `[]`."""
    parts: list[bytes] = []
    while (ready := await chunks.take()) or not chunks.ended:
        parts += ready
    if chunks.error is not None:
        raise chunks.error
    if parts and chunks.only_text:
        return b'"' + b"".join([part[1:-1] for part in parts]) + b'"'
    return b"[" + b",".join(parts) + b"]"


class StreamResponse:
    """One writer for one stream: it sends whatever is ready each time it gets control.

    Args:
        tells_errors: Show class and message of the agent's own exceptions.

    Attributes:
        begun: The head went out.
    """

    def __init__(self, run: Run, *, tells_errors: bool) -> None:
        self._run = run
        run.streams = True
        self._tells_errors = tells_errors
        self.begun = False

    async def send_all(self, chunks: ChunkBuffer) -> None:
        """Send the stream to its end, with a comment whenever it was silent for the buffer's `heartbeat_seconds`.

        The headers wait for the first chunk, one heartbeat at most, so that an early failure gets a status of its own.
        Where a response of the agent's own came instead of chunks, the end is left to it.

        Raises:
            PPIOAgentRuntimeError: It failed before anything was sent.
            ClientGoneError: The caller hung up.
        """
        run = self._run
        ready = await chunks.take()
        if not ready and chunks.error is not None:
            raise chunks.error
        while ready or not chunks.ended:
            data = plain_events(ready) if ready else HEARTBEAT
            if run.first_chunk is None and ready:
                run.first_chunk = run.context.elapsed()
            run.sent_chunks += len(ready)
            is_last = chunks.ended and chunks.error is None and run.own_response is None
            await self._send(data + PLAIN_END if is_last else data, more=not is_last)
            if is_last:
                return
            ready = await chunks.take()
        if run.own_response is None:
            await self.end(chunks.error)

    async def end(self, error: BaseException | None) -> None:
        """Say how the stream ended.

        Raises:
            ClientGoneError: The caller hung up.
        """
        context = self._run.context
        if isinstance(error, ClientGoneError):
            raise error
        data = PLAIN_END
        if error is not None:
            log_failure(error, context.request_id, context)
            problem = problem_of(error, request_id=context.request_id, tells_errors=self._tells_errors)
            data = plain_events([problem.envelope(context.request_id, context.session_id, context.elapsed())])
        await self._send(data, more=False)

    async def _send(self, data: bytes, *, more: bool) -> None:
        run = self._run
        if not self.begun:
            self.begun = True
            headers = [*STREAM_HEADERS, *_headers_of(run.context)]
            await run.send({"type": "http.response.start", "status": 200, "headers": headers})
        run.sent_bytes += len(data)
        await run.send({"type": "http.response.body", "body": data, "more_body": more})


def log_failure(error: BaseException, request_id: str, context: RequestContext | None = None) -> None:
    """Log a failed request with its ids; the traceback is that of the agent's own exception, so a timeout has none."""
    is_late = isinstance(error, InvocationTimeoutError) and error.__cause__ is None
    logger.error(
        "%s failed (request %s): %s",
        "A request" if context is None else f"Invocation {context.invocation_id}",
        request_id,
        f"{type(error).__name__}: {error}" if is_late else type(error.__cause__ or error).__name__,
        exc_info=None if is_late else error.__cause__ or error,
        extra=None if context is None else ids_of(context),
    )


def came_too_late() -> SerializationError:
    """Return what a caller is told whose stream had begun when the agent returned a response of its own."""
    return SerializationError(
        "The agent answered with a response of its own, too late to be sent as it is: the stream that was asked for "
        "had begun with a heartbeat. Return a value, or ask for JSON."
    )


class AnswerCutError(Exception):
    """The answer had begun and cannot be completed; the server closes the connection. Never leaves the runtime."""


async def pass_through(response: Any, scope: Scope, receive: Receive, send: Send, run: Run, timeout: float) -> None:
    """Send a Starlette response that the handler made, with our ids added to its headers, within `timeout` seconds.

    Raises:
        AnswerCutError: It failed or was stopped after it had begun.
    """
    context = run.context
    extra = identity_headers(context.request_id, context.session_id, context.invocation_id) + context.response_headers

    async def send_with_ids(message: Message) -> None:
        if message["type"] == "http.response.start":
            if run.head_sent:
                return  # its events go on in a stream that has begun
            run.head_sent = True
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        else:
            run.sent_bytes += len(message.get("body", b""))
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            run.response_sent()

    try:
        await run.send_response(response(scope, receive, send_with_ids), timeout)
    except Exception as error:
        failure = error if error is run.reason else handler_failure(error)
        if not run.head_sent:
            raise failure from failure.__cause__
        if not isinstance(failure, ClientGoneError):
            log_failure(failure, context.request_id, context)
        raise AnswerCutError from error
