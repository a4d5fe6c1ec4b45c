"""`WS /ws`: the agent's WebSocket handler, under the same door, limits, drain and record as an invocation.

Close codes: 1000 the handler has returned; 1008 a limit; 1009 a message is too large; 1011 it failed; 1012 the service
drains. What is refused before the handler accepts is an HTTP answer to the handshake.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from ppio_agent_models import (
    ConfigurationError,
    DrainingError,
    InvocationCancelledError,
    InvocationTimeoutError,
    PayloadTooLargeError,
    RequestError,
)

from .._engine.context import RequestContext, current_context
from .._engine.handler import call_of, code_of
from .._engine.run import STUBBORN_SECONDS
from .._engine.unconnected import UnconnectedRun
from .._http.handshake import POLICY_VIOLATION, close_reason, refuse_handshake
from .._http.headers import by_name, request_id_of
from .._problems import ClientGoneError, problem_of
from .parse import context_of
from .respond import identity_headers, log_failure

if TYPE_CHECKING:
    from .._asgi import Message, Receive, Scope, Send
    from .._engine.engine import Engine
    from ..config import AgentConfig

_NORMAL: Final = 1000
_TOO_LARGE: Final = 1009
_FAILURE: Final = 1011
_RESTART: Final = 1012
_LEFT_PROPERLY: Final = frozenset({1000, 1001, 1005})
"""Close codes of a peer that meant to leave (RFC 6455, section 7.4.1)."""


class WebSocketHandler:
    """A registered WebSocket function and how to call it; see `_engine.handler.Handler`."""

    __slots__ = ("call", "in_thread", "name")

    def __init__(self, function: Callable[..., Any]) -> None:
        if not inspect.iscoroutinefunction(code_of(function)):
            raise ConfigurationError("@app.websocket goes above an 'async def handler(websocket, context)'.")
        self.name, self.call = call_of(function)
        self.in_thread = False


class WebSocketRoute:
    """An ASGI endpoint for the WebSockets of one app."""

    def __init__(self, engine: Engine, config: AgentConfig, handler: WebSocketHandler) -> None:
        self._engine = engine
        self._config = config
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from its handshake to its close."""
        connection = Connection(receive, send, self._config.max_request_size)
        try:
            context = context_of(scope)
            context.begin(min(context.timeout, self._config.stream_timeout))
            run = WebSocketRun(context, connection)
            self._engine.start(run)
        except (RequestError, DrainingError) as error:
            self._engine.refused(error)
            await self._tell(error, request_id_of(by_name(scope["headers"])), None, scope, connection)
            return
        work = self._work(run, WebSocket(scope, connection.receive, connection.send), connection)
        try:
            await run.outcome(asyncio.get_running_loop().create_task(work))
        except (ClientGoneError, OSError):
            return
        except Exception as error:  # noqa: BLE001  # the border where an exception becomes a close
            with suppress(OSError):  # the peer has left meanwhile
                await self._tell(error, context.request_id, context, scope, connection)
        finally:
            connection.stop_reading()

    async def _work(self, run: WebSocketRun, websocket: WebSocket, connection: Connection) -> None:
        current_context.set(run.context)  # this task is the connection's own
        failure: BaseException | None = None
        try:
            await self._handle(run, websocket)
            with suppress(OSError):  # the peer has left meanwhile
                await connection.close(_NORMAL, "")  # while the run is in flight: a drain hangs up when none is left
        except BaseException as error:
            failure = error
            raise
        finally:
            self._engine.finish(run, failure)

    async def _handle(self, run: WebSocketRun, websocket: WebSocket) -> None:
        try:
            run.check()  # it may have been stopped before this task got its first turn
            await self._engine.work(run, self.handler, websocket)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # a peer that leaves is no failure
            departure = _as_departure(error)
            if departure is not None:
                raise departure from error.__cause__

    async def _tell(
        self, error: Exception, request_id: str, context: RequestContext | None, scope: Scope, connection: Connection
    ) -> None:
        problem = problem_of(error, request_id=request_id, tells_errors=self._config.tells_errors)
        session_id = invocation_id = None
        further = []
        if context is not None:
            session_id, invocation_id, further = context.session_id, context.invocation_id, context.response_headers
            if problem.status >= 500:
                log_failure(error, context.request_id, context)
        if connection.is_new:
            headers = identity_headers(request_id, session_id, invocation_id) + further
            send = connection.send
            await refuse_handshake(scope, send, problem, request_id=request_id, session_id=session_id, headers=headers)
        else:
            await connection.close(_close_code(error), problem.message)


class WebSocketRun(UnconnectedRun):
    """The run of one connection. It ends too when the peer is gone and the handler does not notice."""

    __slots__ = ()

    def __init__(self, context: RequestContext, connection: Connection) -> None:
        super().__init__(context, connection.gone)
        connection.run = self
        self.streams = True


class Connection:
    """Both directions of one WebSocket, watched: its state, the size of messages, and a peer that is gone.

    One message is read ahead, so that a hang-up is seen while the handler does something else.

    Attributes:
        is_new: Nothing has been answered yet.
        run: What is stopped when a message is too large.
    """

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self.is_new = True
        self.run: WebSocketRun | None = None
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._closed = False
        self._seen_leaving = False
        self._next: asyncio.Task[Message] | None = None
        self._taken = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message, as ASGI has it."""
        message = await asyncio.shield(self._ahead())
        self._next = None
        self._taken.set()
        if message["type"] == "websocket.disconnect":
            self._closed = self._seen_leaving = True
        elif message["type"] == "websocket.receive" and self._size(message) > self._max_bytes:
            assert self.run is not None
            limit = f"The message is larger than {self._max_bytes} bytes, the limit 'max_request_size'."
            self.run.stop(PayloadTooLargeError(limit))
            await asyncio.Event().wait()  # the stop cancels this
        return message

    async def send(self, message: Message) -> None:
        """Send an ASGI message."""
        self.is_new = False
        if message["type"] == "websocket.close":
            self._closed = True
        try:
            await self._send(message)
        except OSError:
            self._seen_leaving = True
            raise
        if message["type"] == "websocket.send" and self.run is not None:
            self.run.sent_chunks += 1
            self.run.sent_bytes += len((message.get("text") or "").encode()) + len(message.get("bytes") or b"")

    async def close(self, code: int, reason: str) -> None:
        """Close the connection unless either side has."""
        if not self._closed:
            await self.send({"type": "websocket.close", "code": code, "reason": close_reason(reason)})

    def stop_reading(self) -> None:
        """Give up the message that was to be read ahead."""
        if self._next is not None:
            self._next.cancel()

    async def gone(self) -> Message:
        """Return once the peer has left and the handler has not noticed for a second."""
        while True:
            self._taken.clear()
            await asyncio.wait({ahead := self._ahead()})
            if ahead.cancelled() or ahead.exception() is not None or ahead.result()["type"] == "websocket.disconnect":
                await asyncio.sleep(STUBBORN_SECONDS)
                if not self._seen_leaving:
                    return {"type": "http.disconnect"}
            await self._taken.wait()

    def _ahead(self) -> asyncio.Task[Message]:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(_received(self._receive))
        return self._next

    @staticmethod
    def _size(message: Message) -> int:
        text, data = message.get("text"), message.get("bytes")
        return len(data or b"") if text is None else len(text.encode())


async def _received(receive: Receive) -> Message:
    return await receive()


def _as_departure(error: BaseException) -> BaseException | None:
    """Return None for a peer that left properly, ClientGoneError for one that was cut off, else the error itself."""
    cause = error.__cause__
    if not isinstance(cause, WebSocketDisconnect):
        return error
    return None if cause.code in _LEFT_PROPERLY else ClientGoneError()


def _close_code(error: Exception) -> int:
    if isinstance(error, DrainingError):
        return _RESTART
    if isinstance(error, PayloadTooLargeError):
        return _TOO_LARGE
    limits = (InvocationTimeoutError, InvocationCancelledError)
    return POLICY_VIOLATION if isinstance(error, limits) else _FAILURE
