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
    PayloadTooLargeError,
    PayloadValidationError,
    PPIOAgentRuntimeError,
    SerializationError,
)

from .._engine.context import RequestContext, current_context
from .._engine.outcome import GENERATOR_TYPES, is_response
from .._engine.run import STUBBORN_SECONDS
from .._engine.unconnected import UnconnectedRun, caller_left
from .._problems import problem_of
from .._serialize import decode, encode
from .parse import body_hints
from .respond import collect, log_failure

if TYPE_CHECKING:
    from .._engine.chunks import ChunkBuffer
    from .._engine.engine import Engine
    from .._engine.handler import Handler
    from ..config import AgentConfig


class InvocationStream(AsyncIterator[Any]):
    """The chunks of one invocation. Read it to its end, or leave it with `aclose()` or `async with`.

    Leaving it, dropping it, or cancelling the task that waits for a chunk cancels the handler. A reader that is slow
    makes the handler wait. After an error no chunk comes any more.
    """

    def __init__(self, run: UnconnectedRun, chunks: ChunkBuffer, *, tells_errors: bool) -> None:
        self._run = run
        self._chunks = chunks
        self._tells_errors = tells_errors
        self._ready: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def context(self) -> RequestContext:
        """The context of the invocation."""
        return self._run.context

    async def __anext__(self) -> Any:
        while not self._ready and not self._closed:
            try:
                taken = await self._chunks.take()
            except asyncio.CancelledError:
                self._leave()
                raise
            self._ready += taken
            if taken and self._run.first_chunk is None:
                self._run.first_chunk = self.context.elapsed()
            self._run.sent_chunks += len(taken)
            if not self._ready and self._chunks.ended:
                self._closed = True
                if self._chunks.error is not None:
                    raise_as_told(self._chunks.error, self.context, tells_errors=self._tells_errors)
        if self._closed:
            raise StopAsyncIteration
        return json.loads(self._ready.popleft())

    async def aclose(self) -> None:
        """Cancel the handler unless it has finished, and wait until it has cleaned up, for a second at most."""
        self._leave()
        await asyncio.wait({self._run.over}, timeout=STUBBORN_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _leave(self) -> None:
        self._closed = True
        self._ready.clear()
        if not self._chunks.ended:
            self._run.stop(caller_left())

    def __del__(self) -> None:
        # Nobody can read it any more. May run in any thread, wherever the garbage collector is at work.
        if not self._closed and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._run.stop, caller_left())


class Invoker:
    """Calls the agent in process; see `PPIOAgentRuntimeApp.invoke`."""

    def __init__(self, engine: Engine, config: AgentConfig) -> None:
        self._engine = engine
        self._config = config

    async def invoke(self, payload: Any, context: RequestContext | None, *, stream: bool | None) -> Any:
        """Return the value or the stream, or raise what a caller is told."""
        engine = self._engine
        context = _context_for(context)
        try:
            handler = engine.registered()
            body = _encoded(payload, self._config.max_request_size)
            value = decode(body)
            stream_timeout = _complete(context, value, self._config)
            loaded = handler.load(body, value)
            run = UnconnectedRun(context)
            engine.start(run)
        except Exception as error:
            engine.refused(error)
            raise
        work = self._work(run, handler, loaded, stream_timeout, stream)
        try:
            result = await run.outcome(asyncio.get_running_loop().create_task(work))
        except Exception as error:  # noqa: BLE001  # raised again, in the words that a caller may hear
            raise_as_told(error, run.context, tells_errors=self._config.tells_errors)
        # Made here, where nothing that the run refers to holds it: a stream that is dropped must be seen to be.
        return InvocationStream(run, result, tells_errors=self._config.tells_errors) if run.streams else result

    async def _work(
        self, run: UnconnectedRun, handler: Handler, payload: Any, stream_timeout: float, stream: bool | None
    ) -> Any:
        """Let the run work in a task of its own, so that its caller can leave; return the value or the chunks."""
        current_context.set(run.context)  # in this task and what it starts, not in the caller's
        failure: BaseException | None = None
        try:
            run.check()  # it may have been stopped before this task got its first turn
            result = await self._engine.work(run, handler, payload)
            generates = type(result) in GENERATOR_TYPES
            if stream or (generates and stream is None):
                run.streams = True
                return run.start_stream(result if generates else _one(result), self._engine.workers, stream_timeout)
            if generates:
                chunks = run.start_stream(result, self._engine.workers, run.context.timeout)
                return json.loads(await collect(chunks))
            return result if is_response(result) else json.loads(encode(result))
        except BaseException as error:
            failure = error
            raise
        finally:
            if run.chunks is None:
                self._end(run, failure)
            else:
                run.when_produced(lambda error: self._end(run, failure or error))

    def _end(self, run: UnconnectedRun, failure: BaseException | None) -> None:
        context = run.context
        if isinstance(failure, Exception):
            problem = problem_of(failure, request_id=context.request_id, tells_errors=False)
            if problem.status >= 500:
                log_failure(failure, context.request_id, context)
        if run.streams and run.chunks is not None:
            run.sent_chunks += run.chunks.waiting  # the run is over when the last chunk is made, not when it is read
        self._engine.finish(run, failure)
        run.over.set_result(None)


def raise_as_told(error: BaseException, context: RequestContext, *, tells_errors: bool) -> NoReturn:
    """Raise `error` as callers are told of it: with status, kind and request id, and no more than they may know."""
    problem = problem_of(error, request_id=context.request_id, tells_errors=tells_errors)
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


async def _one(value: Any) -> Any:
    """A plain value that was asked for as a stream is one chunk."""
    yield value
