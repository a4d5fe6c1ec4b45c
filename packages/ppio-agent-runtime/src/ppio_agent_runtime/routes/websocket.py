"""`WS /ws`: calls the agent's WebSocket handler as an invocation, with all limits.

Close codes: 1000 the handler has returned; 1008 a limit; 1009 a message is too large; 1011 it failed; 1012 the service
drains. If the connection is refused before the handler accepts it, the handshake gets an HTTP error response.
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

from ..context import RequestContext
from ..errors import ClientGoneError, error_response
from ..handler import call_of, code_of
from ..http.call import context_of
from ..http.request import by_name, request_id_of
from ..http.responses import POLICY_VIOLATION, close_reason, headers_of, identity_headers, refuse_handshake
from ..invocations.cancel_scope import CANCEL_GRACE_SECONDS

if TYPE_CHECKING:
    from ..asgi import Message, Receive, Scope, Send
    from ..invocations.invocation import Invocation
    from ..invocations.manager import InvocationManager

_NORMAL: Final = 1000
_TOO_LARGE: Final = 1009
_FAILURE: Final = 1011
_RESTART: Final = 1012
_LEFT_PROPERLY: Final = frozenset({1000, 1001, 1005})
"""Close codes of a peer that left regularly (RFC 6455, section 7.4.1)."""


class WebSocketHandler:
    """A registered WebSocket function and how to call it; see `handler.Handler`."""

    __slots__ = ("_call", "in_thread", "name")

    def __init__(self, function: Callable[..., Any]) -> None:
        if not inspect.iscoroutinefunction(code_of(function)):
            raise ConfigurationError("@app.websocket needs an 'async def handler(websocket, context)'.")
        self.name: str
        self.name, self._call = call_of(function)
        self.in_thread: bool = False

    async def call(self, connection: Connection, context: RequestContext) -> None:
        """Serve one connection, and close it when the function returns."""
        try:
            await self._call(WebSocket(connection.scope, connection.receive, connection.send), context)
        except WebSocketDisconnect as error:
            if error.code not in _LEFT_PROPERLY:
                raise ClientGoneError from error
        with suppress(OSError):  # the peer has left meanwhile
            await connection.close(_NORMAL, "")  # while this is in flight: a drain disconnects when nothing is left


class WebSocketRoute:
    """An ASGI endpoint for the WebSockets of one app."""

    def __init__(self, manager: InvocationManager, handler: WebSocketHandler) -> None:
        self._manager = manager
        self._config = manager.config
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection from its handshake to its close."""
        connection = Connection(scope, receive, send, self._config.max_request_size)
        try:
            context = context_of(scope)
            context._begin(min(context.timeout, self._config.stream_timeout))
            invocation = connection.invocation = self._manager.begin(context)
        except (RequestError, DrainingError) as error:
            self._manager.refused(error)
            await self._tell(error, request_id_of(by_name(scope["headers"])), None, connection)
            return
        invocation.streams = True
        try:
            with invocation.subscribe(receive=connection.gone) as subscriber:
                invocation.start(invocation.work(self.handler, connection))
                await subscriber.until(lambda: invocation.is_over)
            failure = invocation.error
            if isinstance(failure, Exception) and not isinstance(failure, ClientGoneError):
                with suppress(OSError):  # the peer has left meanwhile
                    await self._tell(failure, context.request_id, context, connection)
        except ClientGoneError:
            return
        finally:
            connection.stop_reading()

    async def _tell(
        self, error: Exception, request_id: str, context: RequestContext | None, connection: Connection
    ) -> None:
        problem = error_response(error, request_id=request_id, tells_errors=self._config.tells_errors)
        if connection.is_new:
            session_id = None if context is None else context.session_id
            headers = identity_headers(request_id, None) if context is None else headers_of(context)
            await refuse_handshake(
                connection.scope,
                connection.send,
                problem,
                request_id=request_id,
                session_id=session_id,
                headers=headers,
            )
        else:
            await connection.close(_close_code(error), problem.message)


class Connection:
    """One WebSocket connection; watches its state, the size of messages, and whether the peer has left.

    One message is read ahead, so that a disconnect is detected while the handler does something else.

    Attributes:
        scope: The scope of its handshake.
        is_new: Nothing has been sent yet.
        invocation: Its invocation, which is stopped if a message is too large.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int) -> None:
        self.scope = scope
        self.is_new: bool = True
        self.invocation: Invocation | None = None
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._closed = False
        self._seen_leaving = False
        self._next: asyncio.Task[Message] | None = None
        self._taken = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next ASGI message."""
        message = await asyncio.shield(self._ahead())
        self._next = None
        self._taken.set()
        if message["type"] == "websocket.disconnect":
            self._closed = self._seen_leaving = True
        elif message["type"] == "websocket.receive" and self._size(message) > self._max_bytes:
            assert self.invocation is not None
            limit = f"The message is larger than {self._max_bytes} bytes, the limit 'max_request_size'."
            self.invocation.stop(PayloadTooLargeError(limit))
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
        if message["type"] == "websocket.send" and self.invocation is not None:
            self.invocation.sent_chunks += 1
            self.invocation.sent_bytes += len((message.get("text") or "").encode()) + len(message.get("bytes") or b"")

    async def close(self, code: int, reason: str) -> None:
        """Close the connection unless it is closed already."""
        if not self._closed:
            await self.send({"type": "websocket.close", "code": code, "reason": close_reason(reason)})

    def stop_reading(self) -> None:
        """Cancel the reading ahead."""
        if self._next is not None:
            self._next.cancel()

    async def gone(self) -> Message:
        """Wait until the peer has left, and the handler has not noticed it for a second."""
        while True:
            self._taken.clear()
            await asyncio.wait({ahead := self._ahead()})
            if ahead.cancelled() or ahead.exception() is not None or ahead.result()["type"] == "websocket.disconnect":
                await asyncio.sleep(CANCEL_GRACE_SECONDS)
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


def _close_code(error: Exception) -> int:
    if isinstance(error, DrainingError):
        return _RESTART
    if isinstance(error, PayloadTooLargeError):
        return _TOO_LARGE
    limits = (InvocationTimeoutError, InvocationCancelledError)
    return POLICY_VIOLATION if isinstance(error, limits) else _FAILURE
