"""`app.invoke`: calls the agent in process, for every protocol that is not `POST /invocations`.

It returns what a caller over HTTP would get: the payload is checked like a body, all limits apply, and values and
chunks are plain JSON data (dict, list, str, number, bool, None), whatever types the handler works with.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from ppio_agent_models import (
    ConfigurationError,
    HandlerError,
    InvocationCancelledError,
    PayloadTooLargeError,
    PayloadValidationError,
    PPIOAgentRuntimeError,
    SerializationError,
)

from ..context import RequestContext, current_context
from ..errors import error_response
from ..event_loop import run_in_thread
from ..http.call import body_hints
from ..http.responses import came_too_late
from ..http.sse import as_one_value
from ..large_json import decode_large, encode_large, is_large
from ..serialization import decode, encode
from .cancel_scope import CANCEL_GRACE_SECONDS

if TYPE_CHECKING:
    from ..asgi import Receive
    from ..config import AgentConfig
    from ..events.encoded import EncodedEvent
    from ..handler import Handler
    from .invocation import Invocation
    from .manager import InvocationManager
    from .subscriber import Subscriber


class InvocationStream(AsyncIterator[Any]):
    """The chunks of one invocation. Read it to its end, or leave it with `aclose()` or `async with`.

    Iterate over it for decoded chunks, or over `batches()` for encoded ones, which costs a tenth. Leaving it, dropping
    it, or cancelling the task that waits for a chunk cancels the handler. A slow reader makes the handler wait. No
    more chunks follow an error.
    """

    def __init__(
        self, invocation: Invocation, subscriber: Subscriber, *, tells_errors: bool, typed: bool = False
    ) -> None:
        self._invocation = invocation
        self._subscriber = subscriber
        self._tells_errors = tells_errors
        self._typed = typed
        self._ready: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def context(self) -> RequestContext:
        """The context of the invocation."""
        return self._invocation.context

    async def __anext__(self) -> Any:
        while not self._ready and not self._closed:
            await self._take()
        if self._closed:
            raise StopAsyncIteration
        return json.loads(self._ready.popleft())

    async def _take(self) -> None:
        """Wait for chunks, or until a heartbeat is due, or the end."""
        subscriber, invocation = self._subscriber, self._invocation
        try:
            self._ready += subscriber.log.chunks_of(await subscriber.take(), typed=self._typed)
        except asyncio.CancelledError:
            self._leave()
            raise
        if not self._ready and subscriber.at_end:
            self._closed = True
            subscriber.leave()
            if invocation.error is not None:
                raise_for_caller(invocation.error, self.context, tells_errors=self._tells_errors)
            if invocation.form == "response":
                raise came_too_late()

    async def begun(self, receive: Receive | None = None) -> None:
        """Wait for the first chunk, for one heartbeat at most, so that an early failure still gets an error status.

        Args:
            receive: ASGI's `receive` of the request: from now on, a caller that disconnects cancels the handler.

        Raises:
            InvocationError: It failed before its first chunk.
            ClientGoneError: The caller disconnected.
        """
        if receive is not None:
            self._subscriber.listen(receive)
        if not self._ready and not self._closed:
            await self._take()

    async def batches(self, receive: Receive | None = None) -> AsyncIterator[list[EncodedEvent]]:
        """Yield the encoded events that are there, each time there are some; an empty list when a heartbeat is due.

        Leaving the loop cancels the handler.

        Args:
            receive: As for `begun`.

        Raises:
            InvocationError: It failed.
            ClientGoneError: The caller disconnected.
        """
        from ..events.encoded import encoded  # for protocols only

        if receive is not None:
            self._subscriber.listen(receive)
        try:
            while not self._closed:
                if not self._ready:
                    await self._take()
                if not self._closed:
                    events = encoded(list(self._ready))
                    self._ready.clear()
                    yield events
        finally:
            if not self._closed:
                self._leave()

    async def collect(self, receive: Receive | None = None) -> list[EncodedEvent]:
        """Return all events, encoded, once the stream has ended.

        Args:
            receive: As for `begun`.

        Raises:
            InvocationError: It failed.
            ClientGoneError: The caller disconnected.
        """
        return [event async for batch in self.batches(receive) for event in batch]

    async def aclose(self) -> None:
        """Cancel the handler unless it has finished, and wait until it has cleaned up, for a second at most."""
        self._leave()
        await settled(self._invocation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _leave(self) -> None:
        self._closed = True
        self._ready.clear()
        leave(self._invocation, self._subscriber)

    def __del__(self) -> None:
        # Dropped without being closed. The garbage collector may call this in any thread.
        if not self._closed and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(leave, self._invocation, self._subscriber)


async def invoke(
    manager: InvocationManager,
    payload: Any,
    context: RequestContext | None,
    *,
    stream: bool | None,
    typed: bool = False,
) -> Any:
    """Return the value or the stream, or raise the caller's error; see `PluginInterface.invoke`."""
    config = manager.config
    try:
        handler = manager.registered()
        prepared = await prepare(handler, payload, context, config)
        context, timeout = prepared.context, prepared.timeout
        context._begin(min(timeout or math.inf, config.timeout))
        invocation = manager.begin(context)
    except Exception as error:
        manager.refused(error)
        raise
    invocation.in_process = True
    invocation.wants = None if stream is None else "stream" if stream else "json"
    stream_timeout = min(timeout or math.inf, config.stream_timeout)
    invocation.stream_timeout = context.timeout if stream is False else stream_timeout
    invocation.typed = typed or handler.yields_events
    subscriber = invocation.subscribe(heartbeat_seconds=config.heartbeat_seconds)
    invocation.start(invocation.work(handler, prepared.payload))
    chunks: list[bytes] = []
    try:
        await subscriber.until(lambda: invocation.has_form or (typed and invocation.admitted))
        if invocation.form == "stream" and stream is False:
            chunks = await subscriber.chunks()
        elif stream is not True and invocation.form != "stream":
            await subscriber.until(lambda: invocation.is_over)
    except asyncio.CancelledError:
        leave(invocation, subscriber)
        await settled(invocation)
        raise
    if stream is not False and (typed or invocation.streams or invocation.form == "stream") and not _failed(invocation):
        # Made here, so that the invocation doesn't refer to it: `__del__` must run when the stream is dropped.
        return InvocationStream(invocation, subscriber, tells_errors=config.tells_errors, typed=typed)
    subscriber.leave()
    if invocation.error is not None:
        raise_for_caller(invocation.error, context, tells_errors=config.tells_errors)
    if invocation.form == "stream" and (invocation.answer is None or invocation.answer.value is None):
        return json.loads(as_one_value(chunks, only_text=invocation.log.only_text))
    if invocation.form == "response":
        return invocation.own_response
    assert invocation.answer is not None
    return json.loads(invocation.answer.value or b"null")


def _failed(invocation: Invocation) -> bool:
    """Return whether it failed before it became a stream."""
    return invocation.error is not None and not (invocation.streams or invocation.form == "stream")


async def settled(invocation: Invocation) -> None:
    """Wait, for a second at most, until the code of a stopped invocation has cleaned up."""
    if (task := invocation.cancel_scope.task) is not None:
        await asyncio.wait({task}, timeout=CANCEL_GRACE_SECONDS)


def leave(invocation: Invocation, subscriber: Subscriber) -> None:
    """Stop an invocation whose result is no longer needed."""
    invocation.stop(InvocationCancelledError("This invocation was cancelled: its caller stopped waiting."))
    subscriber.leave()


def raise_for_caller(error: BaseException, context: RequestContext, *, tells_errors: bool) -> NoReturn:
    """Raise `error` as callers may see it: with status, error type and request ID, without hidden details."""
    problem = error_response(error, request_id=context.request_id, tells_errors=tells_errors)
    if isinstance(error, PPIOAgentRuntimeError) and error.message == problem.message:
        error.request_id = error.request_id or context.request_id
        raise error
    cause = error.__cause__ or error
    raise HandlerError(
        problem.message,
        status_code=problem.status,
        error_type=problem.error_type,
        request_id=context.request_id,
    ) from cause


def _context_for(given: RequestContext | None) -> RequestContext:
    if given is None:
        return RequestContext()
    if not isinstance(given, RequestContext):
        raise ConfigurationError(f"app.invoke takes a RequestContext as context, not {type(given).__name__}.")
    # An agent that calls itself: same request and session, but another invocation.
    return given.child() if given is current_context.get() else given


class Prepared(NamedTuple):
    """A checked call in process; `timeout` is the requested limit in seconds, or None."""

    context: RequestContext
    body: bytes
    payload: Any
    timeout: float | None


async def prepare(handler: Handler, payload: Any, context: RequestContext | None, config: AgentConfig) -> Prepared:
    """Check a payload as a body is checked, and fill the context with what it says about itself.

    Raises:
        RequestError: It was refused.
    """
    context = _context_for(context)
    if not is_large(payload):
        return _prepared(handler, payload, context, config)
    asked = handler, payload, context, config, encode_large, decode_large
    return await run_in_thread(copy_context().run, _prepared, *asked, name="agent-json")


def _prepared(
    handler: Handler,
    payload: Any,
    context: RequestContext,
    config: AgentConfig,
    to_json: Callable[[Any], bytes] = encode,
    from_json: Callable[[bytes], Any] = decode,
) -> Prepared:
    body = _encoded(payload, config.max_request_size, to_json)
    value = from_json(body)
    session_id, timeout, metadata = body_hints(value)
    context.session_id = context.session_id or session_id
    context.metadata = context.metadata or metadata or {}
    wish = min(context.timeout, math.inf if timeout is None else timeout)
    return Prepared(context, body, handler.load(body, value), None if wish == math.inf else wish)


def _encoded(payload: Any, max_bytes: int, to_json: Callable[[Any], bytes]) -> bytes:
    try:
        body = to_json(payload)
    except SerializationError as error:
        raise PayloadValidationError(error.message.replace("result", "the payload", 1)) from error
    if len(body) > max_bytes:
        raise PayloadTooLargeError(f"The payload is larger than {max_bytes} bytes, the limit 'max_request_size'.")
    return body
