"""The corridor of a request: `POST /invocations` from its raw headers to its last byte, door by door."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ppio_agent_models import ConfigurationError

from ._body import ClientGoneError
from ._context import RequestContext, current_context
from ._handler import GENERATOR_TYPES
from ._parse import parse, read_headers, request_id_of
from ._problems import problem_of, send_problem
from ._respond import AnswerCutError, StreamResponse, collect, identity_headers, log_failure, pass_through, respond_json
from ._run import Run
from ._serialize import encode

if TYPE_CHECKING:
    from ._asgi import Receive, Scope, Send
    from ._config import AgentConfig
    from ._handler import Handler
    from ._invocations import Invocations
    from ._request import InvocationCall
    from ._workers import WorkerThreads


class Corridor:
    """An ASGI endpoint: parse, context, admit, handle, serialize, respond."""

    def __init__(self, config: AgentConfig, invocations: Invocations, workers: WorkerThreads) -> None:
        self.handler: Handler | None = None
        self._config = config
        self._invocations = invocations
        self._workers = workers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = read_headers(scope)
        request_id = request_id_of(found)
        call: InvocationCall | None = None
        context: RequestContext | None = None
        try:
            handler = self._registered()
            call = await parse(scope, receive, found, request_id, self._config, handler)
            context = self._context(call)
            await self._answer(handler, call, context, scope, receive, send)
        except (ClientGoneError, AnswerCutError):
            return
        except Exception as error:
            await self._refuse(error, request_id, call, context, send)

    def _registered(self) -> Handler:
        if self.handler is None:
            raise ConfigurationError("This service has no entrypoint; put @app.entrypoint above the agent's function.")
        return self.handler

    def _context(self, call: InvocationCall) -> RequestContext:
        limit = self._config.timeout
        return RequestContext(
            request_id=call.request_id,
            session_id=call.session_id,
            user_id=call.user_id,
            metadata=call.metadata,
            raw_headers=call.headers,
            timeout=limit if call.timeout is None else min(call.timeout, limit),
        )

    async def _answer(
        self,
        handler: Handler,
        call: InvocationCall,
        context: RequestContext,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        run = self._invocations.start(context, receive)
        token = current_context.set(context)  # until the last byte is sent
        try:
            result = await run.result(handler, call.payload, self._workers)
            if type(result) in GENERATOR_TYPES:
                await self._answer_generator(run, result, call, send)
            elif _is_response(result):
                await pass_through(result, scope, receive, send, context)
            elif call.wants == "stream":
                await self._stream(run, _one(result), call, send)
            else:
                await respond_json(encode(result), context, send)
        finally:
            current_context.reset(token)
            self._invocations.finish(run)

    async def _answer_generator(self, run: Run, generator: Any, call: InvocationCall, send: Send) -> None:
        if call.wants != "json":
            return await self._stream(run, generator, call, send)
        # A value in the making: the limit of values stays.
        chunks = run.start_stream(generator, self._workers, run.context.timeout)
        await respond_json(await collect(chunks), run.context, send)

    async def _stream(self, run: Run, generator: Any, call: InvocationCall, send: Send) -> None:
        limit = self._config.stream_timeout
        timeout = limit if call.timeout is None else min(call.timeout, limit)
        response = StreamResponse(
            run,
            numbered=call.numbered,
            heartbeat_seconds=self._config.heartbeat_seconds,
            tells_errors=self._config.tells_errors,
        )
        await response.send_all(run.start_stream(generator, self._workers, timeout), send)

    async def _refuse(
        self,
        error: Exception,
        request_id: str,
        call: InvocationCall | None,
        context: RequestContext | None,
        send: Send,
    ) -> None:
        problem = problem_of(error, request_id=request_id, tells_errors=self._config.tells_errors)
        if problem.status >= 500 and context is not None:
            log_failure(error, context)
        session_id = None if call is None else call.session_id
        headers = identity_headers(request_id, session_id, None if context is None else context.invocation_id)
        duration = 0.0 if context is None else context.elapsed()
        await send_problem(
            send, problem, request_id=request_id, session_id=session_id, headers=headers, duration=duration
        )


async def _one(value: Any) -> Any:
    """A plain value that was asked for as a stream is one chunk."""
    yield value


def _is_response(value: Any) -> bool:
    """Say whether `value` is a Starlette response; when the module is not loaded, it cannot be one."""
    module = sys.modules.get("starlette.responses")
    return module is not None and isinstance(value, module.Response)
