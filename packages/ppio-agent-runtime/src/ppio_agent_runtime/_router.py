"""Who answers which route: the two hot ones in front, then FastAPI where somebody uses it, then 404."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import MethodNotAllowedError, NotFoundError, PPIOAgentRuntimeError

from ._lifespan import serve_lifespan
from ._parse import read_headers, request_id_of
from ._problems import problem_of, send_problem
from ._respond import PROTOCOL, identity_headers
from ._version import __version__

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ._asgi import ASGIApp, Receive, Scope, Send
    from ._context import Headers
    from ._health import Health
    from ._pipeline import Corridor
    from ._resource import InvocationResources


class Router:
    """The innermost ASGI app.

    Args:
        corridor: Answers `POST /invocations`.
        resources: Answers everything below `/invocations/`.
        health: Answers `GET /ping`.
        fastapi: Returns the FastAPI app, or None where nobody uses it; may import it, so it is called in a thread.
        managers: Makes the async context managers of the app's lifespan.
        metrics: Answers `GET /metrics`, unless a FastAPI route does; None for nobody.
    """

    def __init__(
        self,
        corridor: Corridor,
        resources: InvocationResources,
        health: Health,
        fastapi: Callable[[], FastAPI | None],
        managers: Callable[[], list[Any]],
        metrics: ASGIApp | None,
    ) -> None:
        self._corridor = corridor
        self._resources = resources
        self._health = health
        self._make_fastapi = fastapi
        self._managers = managers
        self._metrics = metrics
        self._fastapi: FastAPI | None = None
        self._asked = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await serve_lifespan(scope, receive, send, self._managers)
        if scope["type"] == "websocket":
            await receive()
            return await send({"type": "websocket.close", "code": 1000, "reason": "There is no websocket route."})
        path: str = scope["path"]
        if root := scope.get("root_path"):  # mounted inside another app
            path = path.removeprefix(root)
        if path == "/invocations":
            if scope["method"] == "POST":
                return await self._corridor(scope, receive, send)
            return await self._refuse_method(scope, send, path, "POST")
        if path == "/ping":
            return await self.ping(scope, receive, send)
        if path.startswith("/invocations/"):
            return await self._resources(path.removeprefix("/invocations/"), scope, receive, send)
        await self._other(path, scope, receive, send)

    async def ping(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer `GET /ping`."""
        if scope["method"] not in ("GET", "HEAD"):
            return await self._refuse_method(scope, send, "/ping", "GET, HEAD")
        status, body = await self._health.ping()
        await _send(send, status, body, [(b"cache-control", b"no-store"), PROTOCOL])

    async def _other(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._asked:
            # In a thread: the import takes long enough to be felt by everybody on the loop.
            self._fastapi = await asyncio.get_running_loop().run_in_executor(None, self._make_fastapi)
            self._asked = True
        fastapi = self._fastapi
        own: dict[str, ASGIApp | None] = {"/": self._describe, "/metrics": self._metrics}
        answer = own.get(path)
        if answer is not None and not _has_route(fastapi, path):
            if scope["method"] not in ("GET", "HEAD"):
                return await self._refuse_method(scope, send, path, "GET, HEAD")
            return await answer(scope, receive, send)
        if fastapi is not None:
            return await fastapi(scope, receive, send)
        await _refuse(scope, send, NotFoundError(f"There is no route {path[:200]!r}."))

    async def _describe(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        handler = self._corridor.handler
        service = {"service": "ppio-agent-runtime", "version": __version__, "protocol": "1"}
        await _send(send, 200, to_json(service | {"agent": None if handler is None else handler.name}), [])

    async def _refuse_method(self, scope: Scope, send: Send, path: str, allowed: str) -> None:
        error = MethodNotAllowedError(f"{path} takes {allowed}, not {scope['method'][:20]}.")
        await _refuse(scope, send, error, [(b"allow", allowed.encode())])


def _has_route(fastapi: FastAPI | None, path: str) -> bool:
    return fastapi is not None and any(getattr(route, "path", "") == path for route in fastapi.routes)


async def _send(send: Send, status: int, body: bytes, extra: Headers) -> None:
    headers: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Scope, send: Send, error: PPIOAgentRuntimeError, extra: Headers | None = None) -> None:
    request_id = request_id_of(read_headers(scope))
    problem = problem_of(error, request_id=request_id, tells_errors=False)
    headers = identity_headers(request_id, None) + (extra or [])
    await send_problem(send, problem, request_id=request_id, session_id=None, headers=headers)
