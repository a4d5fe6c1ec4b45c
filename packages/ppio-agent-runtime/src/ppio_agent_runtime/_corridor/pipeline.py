"""The corridor of a request: `POST /invocations` from its raw headers to its last byte, door by door.

This is the HTTP around `_engine`: parse, let it work, respond or refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ppio_agent_models import RequestReadTimeoutError, UnavailableError

from .._engine.context import RequestContext, current_context
from .._engine.invocations import draining_error
from .._engine.outcome import GENERATOR_TYPES, is_event_stream, is_response
from .._engine.run import Run
from .._http.body import read_body
from .._http.headers import by_name, given_request_id
from .._problems import ClientGoneError, problem_of, send_problem
from .._serialize import encode
from .parse import parse, parse_head
from .respond import (
    AnswerCutError,
    StreamResponse,
    came_too_late,
    collect,
    identity_headers,
    log_failure,
    pass_through,
    respond_json,
)

if TYPE_CHECKING:
    from .._asgi import Headers, Receive, Scope, Send
    from .._durable.corridor import DurableCorridor
    from .._engine.chunks import ChunkBuffer
    from .._engine.engine import Engine
    from .._engine.handler import Handler
    from ..config import AgentConfig
    from .request import InvocationCall


class Corridor:
    """An ASGI endpoint: read, admit, handle, respond; whatever goes wrong leaves through `_refuse`."""

    def __init__(self, config: AgentConfig, engine: Engine, durably: DurableCorridor) -> None:
        self._config = config
        self._engine = engine
        self._durably = durably
        self._invocations = engine.invocations
        self._invocations.answer_late = self._answer_late
        self._invocations.read_limit_seconds = config.request_read_timeout_seconds

    @property
    def handler(self) -> Handler | None:
        """The agent's function, once it is registered."""
        return self._engine.handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        found = by_name(scope["headers"])
        request_id = given_request_id(found)
        context: RequestContext | None = None
        run: Run | None = None
        engine = self._engine
        try:
            handler = engine.registered()
            head = parse_head(found)
            body = await self._read(found, receive)
            call = parse(scope, found, head, body, request_id, self._config, handler)
            context = call.context
            if call.durability is not None:
                return await self._durably(call, call.durability, handler, scope, receive, send)
            run = Run(context, receive, send)
            engine.start(run)
            token = current_context.set(context)  # until the last byte is sent
            try:
                working = engine.work(run, handler, call.payload)
                if call.wants == "stream":
                    chunks = run.stream_work(working, engine.workers, self._stream_timeout(call))
                    await self._stream(run, chunks, scope, receive)
                else:
                    await self._respond(run, await working, call, scope, receive)
            except BaseException as error:
                engine.finish(run, error)
                raise
            else:
                engine.finish(run, None)
            finally:
                current_context.reset(token)
        except (ClientGoneError, AnswerCutError):
            return None
        except Exception as error:  # noqa: BLE001  # the one border where every exception becomes an answer
            if run is None:
                engine.refused(error)
            if run is None or not run.answered_late:
                await self._refuse(error, request_id, context, send)

    async def _answer_late(self, run: Run) -> None:
        """Tell the caller of a stopped handler that refuses to end."""
        assert run.reason is not None
        if not isinstance(run.reason, ClientGoneError):
            await self._refuse(run.reason, run.context.request_id, run.context, run.send)

    async def _read(self, found: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the body within the limits of size and time."""
        task = asyncio.current_task()
        assert task is not None
        self._invocations.reading_began(task)
        in_time = True
        try:
            return await read_body(receive, found.get(b"content-length"), self._config.max_request_size)
        except asyncio.CancelledError:
            in_time = self._invocations.reading_ended(task)
            if in_time or task.uncancel() > 0:
                raise
            if self._invocations.draining:
                raise draining_error() from None
            limit = self._config.request_read_timeout_seconds
            raise RequestReadTimeoutError(
                f"The body did not arrive within {limit:g} s, the limit 'request_read_timeout_seconds'."
            ) from None
        finally:
            if in_time:
                self._invocations.reading_ended(task)

    def _respond(
        self, run: Run, result: Any, call: InvocationCall, scope: Scope, receive: Receive
    ) -> Coroutine[Any, Any, None]:
        """Return what answers with the result."""
        if type(result) in GENERATOR_TYPES:
            return self._respond_made(run, result, call, scope, receive)
        if is_response(result):
            return pass_through(result, scope, receive, run.send, run, self._config.stream_timeout)
        return respond_json(encode(result), run)

    async def _respond_made(
        self, run: Run, generator: Any, call: InvocationCall, scope: Scope, receive: Receive
    ) -> None:
        """Answer with what a generator makes: as a stream unless a value was asked for."""
        if call.wants is None:
            chunks = run.start_stream(generator, self._engine.workers, self._stream_timeout(call))
            return await self._stream(run, chunks, scope, receive)
        chunks = run.start_stream(generator, self._engine.workers, run.context.timeout)  # the limit of values stays
        await respond_json(await collect(chunks), run)

    def _stream_timeout(self, call: InvocationCall) -> float:
        limit = self._config.stream_timeout
        return limit if call.timeout is None else min(call.timeout, limit)

    async def _stream(self, run: Run, chunks: ChunkBuffer, scope: Scope, receive: Receive) -> None:
        chunks.heartbeat_seconds = self._config.heartbeat_seconds
        stream = StreamResponse(run, tells_errors=self._config.tells_errors)
        await stream.send_all(chunks)
        own = run.own_response
        if own is None:
            return None
        run.streams = run.head_sent = stream.begun
        if stream.begun and not is_event_stream(own):
            chunks.error = came_too_late()
            return await stream.end(chunks.error)
        run.leave_stream()
        await pass_through(own, scope, receive, run.send, run, self._config.stream_timeout)

    async def _refuse(
        self, error: Exception, request_id: str | None, context: RequestContext | None, send: Send
    ) -> None:
        if request_id is None:
            request_id = (context or RequestContext()).request_id
        problem = problem_of(error, request_id=request_id, tells_errors=self._config.tells_errors)
        session_id = invocation_id = None
        duration = 0.0
        further: Headers = []
        if context is not None:
            further = context.response_headers
            session_id, invocation_id, duration = context.session_id, context.invocation_id, context.elapsed()
        if problem.status >= 500 and not isinstance(error, UnavailableError):  # a refusal is no failure
            log_failure(error, request_id, context)
        await send_problem(
            send,
            problem,
            request_id=request_id,
            session_id=session_id,
            headers=identity_headers(request_id, session_id, invocation_id) + further,
            duration=duration,
        )
