"""`@app.middleware`: runs `async def mw(request, call_next)` as pure ASGI, and converts errors of any middleware.

The inner app runs in its own task until it has sent the response's head; then the middleware gets a response whose
headers it can change. Once it returns that response, the inner app continues, and its body goes straight to the server.
Only a body in one piece is buffered, so that the inner app needn't wait; `http.disconnect` reaches it unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from .errors import handler_failure
from .http.responses import refuse

if TYPE_CHECKING:
    from .asgi import ASGIApp, Message, Receive, Scope, Send

CallNext = Callable[[Request], Awaitable[Any]]
MiddlewareFunction = Callable[[Request, CallNext], Awaitable[Any]]


class FunctionMiddleware:
    """One function middleware.

    Args:
        app: The next ASGI app.
        function: `async def mw(request, call_next) -> response`. It may respond without calling `call_next`, may
            change status and headers of what `call_next` returned, and may return another response instead.
    """

    def __init__(self, app: ASGIApp, function: MiddlewareFunction) -> None:
        self._app = app
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the function handle the request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        inner: InnerResponse | None = None

        async def call_next(request: Request) -> InnerResponse:
            nonlocal inner
            if inner is not None:
                raise RuntimeError("call_next can be called once per request")
            inner = InnerResponse(self._app, request, send)
            await inner.head()
            return inner

        try:
            response = await self._function(RereadableRequest(scope, receive), call_next)
            if not callable(response):
                raise TypeError(
                    f"The middleware {self._function.__qualname__} must return the response of call_next or another "
                    f"response, not {type(response).__name__}"
                )
            await response(scope, receive, send)
        finally:
            if inner is not None:
                await inner.close()


class RereadableRequest(Request):
    """A request whose body the middleware may read: the inner app gets the same bytes again.

    A body that was read with `stream()` is not available to the inner app.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._unread_by_inside = False

    async def body(self) -> bytes:
        """Return the whole body."""
        if not hasattr(self, "_body"):
            await super().body()
            self._unread_by_inside = True
        return self._body

    @property
    def receive(self) -> Receive:
        """The `receive` for the inner app."""
        return self._receive_again

    async def _receive_again(self) -> Message:
        if self._unread_by_inside:
            self._unread_by_inside = False
            return {"type": "http.request", "body": self._body, "more_body": False}
        return await self._receive()


class InnerResponse:
    """What `call_next` returns: the response of the inner app, whose body follows later.

    Attributes:
        status_code: HTTP status; may be changed until the response is returned.
        headers: Response headers; may be changed until the response is returned.
    """

    def __init__(self, app: ASGIApp, request: Request, send: Send) -> None:
        self.status_code: int = 200
        self.headers: MutableHeaders = MutableHeaders(raw=[])
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._has_head = False
        self._whole_body: Message | None = None
        self._heard: asyncio.Future[None] = self._loop.create_future()
        self._is_released = False
        self._release: asyncio.Future[None] | None = None
        self._task = self._loop.create_task(self._run(app, request))

    async def head(self) -> None:
        """Wait until status and headers are known.

        Raises:
            Exception: The inner app's exception before it responded.
        """
        await self._heard
        if not self._has_head:
            await self._task
            raise RuntimeError("the app inside the middleware ended without a response")

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the head, then let the inner app send the body."""
        raw = [(name, value) for name, value in self.headers.raw]
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw})
        self._is_released = True
        if self._whole_body is not None:
            await send(self._whole_body)
        if self._release is not None and not self._release.done():
            self._release.set_result(None)
        await self._task

    async def close(self) -> None:
        """Cancel the inner app if it still runs: the middleware sent another response, or failed."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, app: ASGIApp, request: Request) -> None:
        try:
            await app(request.scope, request.receive, self._pass)
        finally:
            self._tell()

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
            self.headers = MutableHeaders(raw=list(message.get("headers", [])))
            self._has_head = True
            self._tell()
        elif self._is_released:
            await self._send(message)
        elif not message.get("more_body"):
            self._whole_body = message
        else:
            self._release = self._loop.create_future()
            await self._release
            await self._send(message)

    def _tell(self) -> None:
        if not self._heard.done():
            self._heard.set_result(None)


class ErrorMiddleware:
    """Responds with the envelope if a middleware raises before a response began; later, the server cuts the response.

    Args:
        app: The outermost middleware.
        tells_errors: Include class and message of the exception.
    """

    def __init__(self, app: ASGIApp, *, tells_errors: bool) -> None:
        self._app = app
        self._tells_errors = tells_errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun = False

        async def send_noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:
            if begun:
                raise
            await refuse(scope, send, handler_failure(error), tells_errors=self._tells_errors)
