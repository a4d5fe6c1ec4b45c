"""`app.invoke`: the agent called in process, for every protocol that is not `POST /invocations`.

What a caller over HTTP would get, without HTTP: the payload is checked like a body, all limits hold, and values and
chunks are plain JSON data (dict, list, str, number, bool, None), whatever types the handler works with.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

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
from ..http.call import body_hints
from ..http.sse import as_one_value
from ..serialization import decode, encode
from .invocation import CANCEL_GRACE_SECONDS

if TYPE_CHECKING:
    from ..config import AgentConfig
    from .invocation import Invocation
    from .manager import InvocationManager
    from .subscriber import Subscriber


class InvocationStream(AsyncIterator[Any]):
    """The chunks of one invocation. Read it to its end, or leave it with `aclose()` or `async with`.

    Leaving it, dropping it, or cancelling the task that waits for a chunk cancels the handler. A reader that is slow
    makes the handler wait. After an error no chunk comes any more.
    """

    def __init__(self, invocation: Invocation, subscriber: Subscriber, *, tells_errors: bool) -> None:
        self._invocation = invocation
        self._subscriber = subscriber
        self._tells_errors = tells_errors
        self._ready: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def context(self) -> RequestContext:
        """The context of the invocation."""
        return self._invocation.context

    async def __anext__(self) -> Any:
        while not self._ready and not self._closed:
            try:
                self._ready += await self._subscriber.take()
            except asyncio.CancelledError:
                self._leave()
                raise
            if not self._ready and self._subscriber.at_end:
                self._closed = True
                self._subscriber.leave()
                if self._invocation.error is not None:
                    raise_as_told(self._invocation.error, self.context, tells_errors=self._tells_errors)
        if self._closed:
            raise StopAsyncIteration
        return json.loads(self._ready.popleft())

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
        # Nobody can read it any more. May run in any thread, wherever the garbage collector is at work.
        if not self._closed and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(leave, self._invocation, self._subscriber)


async def invoke(
    manager: InvocationManager, payload: Any, context: RequestContext | None, *, stream: bool | None
) -> Any:
    """Return the value or the stream, or raise what a caller is told; see `PPIOAgentRuntimeApp.invoke`."""
    config = manager.config
    context = _context_for(context)
    try:
        handler = manager.registered()
        body = _encoded(payload, config.max_request_size)
        value = decode(body)
        stream_timeout = _complete(context, value, config)
        loaded = handler.load(body, value)
        invocation = manager.begin(context)
    except Exception as error:
        manager.refused(error)
        raise
    invocation.in_process = True
    invocation.wants = None if stream is None else "stream" if stream else "json"
    invocation.stream_timeout = context.timeout if stream is False else stream_timeout
    subscriber = invocation.subscribe()
    invocation.start(invocation.work(handler, loaded))
    chunks: list[bytes] = []
    try:
        await subscriber.until(lambda: invocation.has_form)
        if invocation.form == "stream" and stream is False:
            chunks = await subscriber.chunks()
        elif stream is not True and invocation.form != "stream":
            await subscriber.until(lambda: invocation.is_over)
    except asyncio.CancelledError:
        leave(invocation, subscriber)
        await settled(invocation)
        raise
    if stream is not False and (invocation.streams or invocation.form == "stream"):
        # Made here, where nothing that the invocation refers to holds it: a stream that is dropped must be seen to be.
        return InvocationStream(invocation, subscriber, tells_errors=config.tells_errors)
    subscriber.leave()
    if invocation.error is not None:
        raise_as_told(invocation.error, context, tells_errors=config.tells_errors)
    if invocation.form == "stream":
        return json.loads(as_one_value(chunks, only_text=invocation.log.only_text))
    if invocation.form == "response":
        return invocation.own_response
    assert invocation.answer is not None
    return json.loads(invocation.answer.value or b"null")


async def settled(invocation: Invocation) -> None:
    """Wait until the code of an invocation that was stopped has cleaned up, for a second at most."""
    if invocation.task is not None:
        await asyncio.wait({invocation.task}, timeout=CANCEL_GRACE_SECONDS)


def leave(invocation: Invocation, subscriber: Subscriber) -> None:
    """Stop an invocation whose result nobody wants any more."""
    invocation.stop(InvocationCancelledError("Nobody waits for this invocation any more; it was cancelled."))
    subscriber.leave()


def raise_as_told(error: BaseException, context: RequestContext, *, tells_errors: bool) -> NoReturn:
    """Raise `error` as callers are told of it: with status, kind and request id, and no more than they may know."""
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
    # An agent that calls itself: the same request and session, an invocation of its own.
    return given.child() if given is current_context.get() else given


def _complete(context: RequestContext, payload: Any, config: AgentConfig) -> float:
    """Fill the context with what the payload says about itself, start its clock, and return the limit of a stream."""
    session_id, timeout, metadata = body_hints(payload)
    context.session_id = context.session_id or session_id
    context.metadata = context.metadata or metadata or {}
    wish = min(context.timeout, math.inf if timeout is None else timeout)
    context.begin(min(wish, config.timeout))
    return min(wish, config.stream_timeout)


def _encoded(payload: Any, max_bytes: int) -> bytes:
    try:
        body = encode(payload)
    except SerializationError as error:
        raise PayloadValidationError(error.message.replace("result", "the payload", 1)) from error
    if len(body) > max_bytes:
        raise PayloadTooLargeError(f"The payload is larger than {max_bytes} bytes, the limit 'max_request_size'.")
    return body
