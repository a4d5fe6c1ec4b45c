"""Errors of middleware as the envelope. In the stack only when somebody added middleware: the rest answers its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._http.headers import by_name, request_id_of
from ..errors import error_response, handler_failure, send_error_response
from ..http.responses import identity_headers, log_failure

if TYPE_CHECKING:
    from .._asgi import ASGIApp, Message, Receive, Scope, Send


class ErrorLayer:
    """Answers what a middleware raised before it answered; an answer that has begun is cut by the server.

    Args:
        app: The outermost middleware.
        tells_errors: Show class and message of the exception.
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
            request_id = request_id_of(by_name(scope["headers"]))
            failure = handler_failure(error)
            problem = error_response(failure, request_id=request_id, tells_errors=self._tells_errors)
            if problem.status >= 500:
                log_failure(failure, request_id)
            ids = identity_headers(request_id, None)
            await send_error_response(send, problem, request_id=request_id, session_id=None, headers=ids)
