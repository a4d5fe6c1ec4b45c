"""Routes requests: the two most frequent routes first, then FastAPI if the agent uses it, then 404."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import MethodNotAllowedError, NotFoundError

from .._version import __version__
from ..http.request import INSTANCE
from ..http.responses import PROTOCOL, refuse, send_json
from ..lifespan import serve_lifespan

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Message, Receive, Scope, Send
    from ..invocations.durable import DurableInvocations
    from ..observability.health import Health
    from .fastapi_app import FastAPI
    from .invocation_resource import InvocationResource
    from .invocations import InvocationsEndpoint
    from .plugin_routes import ClaimedInvocations


class Router:
    """The innermost ASGI app.

    Args:
        invocations: Handles `POST /invocations`.
        resource: Handles everything below `/invocations/`.
        health: Handles `GET /ping`.
        durable: Has the instance for the header `PPIO-Agent-Instance`.
        uses_fastapi: Returns whether FastAPI is used.
        fastapi: Returns the FastAPI app; may import it, so it is called in a thread.
        managers: Makes the async context managers of the app's lifespan.
        metrics: Handles `GET /metrics`, unless a FastAPI route does; None if metrics are off.
        websocket: Handles `WS /ws`; None if there is no handler.
    """

    def __init__(
        self,
        invocations: InvocationsEndpoint | ClaimedInvocations,
        resource: InvocationResource,
        health: Health,
        durable: DurableInvocations,
        uses_fastapi: Callable[[], bool],
        fastapi: Callable[[], FastAPI],
        managers: Callable[[], list[Any]],
        metrics: ASGIApp | None,
        websocket: ASGIApp | None,
    ) -> None:
        self._own_websocket = websocket
        self._invocations = invocations
        self._resource = resource
        self._health = health
        self._durable = durable
        self._uses_fastapi = uses_fastapi
        self._make_fastapi = fastapi
        self._managers = managers
        self._metrics = metrics
        self._fastapi: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a request; a coroutine function, because middleware detects ASGI 3 by that."""
        if scope["type"] == "lifespan":
            return await serve_lifespan(scope, receive, send, self._managers)
        path: str = scope["path"]
        if root := scope.get("root_path"):  # mounted inside another app
            path = path.removeprefix(root)
        if scope["type"] == "websocket":
            return await self._websocket(path, scope, receive, send)
        if path == "/ping":
            return await self.ping(scope, receive, send)
        send = self._named(send)
        if path == "/invocations":
            if scope["method"] == "POST":
                return await self._invocations(scope, receive, send)
            return await self._refuse_method(scope, send, path, "POST")
        if path.startswith("/invocations/"):
            return await self._resource(path.removeprefix("/invocations/"), scope, receive, send)
        await self._other(path, scope, receive, send)

    async def ping(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Handle `GET /ping`."""
        send = self._named(send)
        if scope["method"] not in ("GET", "HEAD"):
            return await self._refuse_method(scope, send, "/ping", "GET, HEAD")
        status, body = await self._health.ping()
        await send_json(send, status, body, [(b"cache-control", b"no-store"), PROTOCOL])

    def _named(self, send: Send) -> Send:
        """Return a `send` that adds the instance header to responses."""
        name = (INSTANCE, self._durable.instance)

        def send_named(message: Message) -> Awaitable[None]:  # not async, to save a coroutine for each part
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), name]}
            return send(message)

        return send_named

    async def _websocket(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if path == "/ws" and self._own_websocket is not None:
            return await self._own_websocket(scope, receive, send)
        fastapi = await self._fastapi_if_used()
        if fastapi is not None:
            return await fastapi(scope, receive, send)
        await refuse(scope, send, NotFoundError(f"There is no WebSocket at {path[:200]!r}."))

    async def _fastapi_if_used(self) -> FastAPI | None:
        if self._fastapi is None and self._uses_fastapi():
            # In a thread, because the import takes long enough to delay everything on the loop.
            self._fastapi = await asyncio.get_running_loop().run_in_executor(None, self._make_fastapi)
        return self._fastapi

    async def has_own_route(self, scope: Scope) -> bool:
        """Return whether the agent has its own route or mounted app for the request's path."""
        fastapi = await self._fastapi_if_used()
        return fastapi is not None and _takes(fastapi, scope)

    async def _other(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        fastapi = await self._fastapi_if_used()
        own: dict[str, ASGIApp | None] = {"/": self._describe, "/metrics": self._metrics}
        answer = own.get(path)
        if answer is not None and (fastapi is None or not _takes(fastapi, scope)):
            if scope["method"] not in ("GET", "HEAD"):
                return await self._refuse_method(scope, send, path, "GET, HEAD")
            return await answer(scope, receive, send)
        if fastapi is not None:
            return await fastapi(scope, receive, send)
        await refuse(scope, send, NotFoundError(f"There is no route {path[:200]!r}."))

    async def _describe(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        handler = self._invocations.handler
        service = {"service": "ppio-agent-runtime", "version": __version__, "protocol": "1"}
        await send_json(send, 200, to_json(service | {"agent": None if handler is None else handler.name}), [])

    async def _refuse_method(self, scope: Scope, send: Send, path: str, allowed: str) -> None:
        error = MethodNotAllowedError(f"{path} takes {allowed}, not {scope['method'][:20]}.")
        await refuse(scope, send, error, more_headers=[(b"allow", allowed.encode())])


def _takes(fastapi: FastAPI, scope: Scope) -> bool:
    """Return whether the agent has its own route or mounted app for the request.

    A route for other methods leaves GET and HEAD to us, such as that of a protocol at `/`.
    """
    least = 2 if scope["method"] in ("GET", "HEAD") else 1  # Starlette's Match.FULL and Match.PARTIAL
    return any(route.matches(scope)[0].value >= least for route in fastapi.routes)
