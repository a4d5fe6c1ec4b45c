"""Cross-origin requests from browsers (Fetch standard, section 3.2). Costs nothing without an `Origin` header."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Headers, Message, Receive, Scope, Send

_EXPOSED = (
    b"x-ppio-request-id, x-ppio-session-id, x-ppio-invocation-id, ppio-agent-protocol, ppio-agent-instance, "
    b"retry-after, ratelimit, ratelimit-policy, location, preference-applied, idempotency-replayed"
)
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
"""All that a FastAPI route of the agent may have; the router refuses those that don't exist."""
_MAX_AGE_SECONDS = b"600"


class CORSMiddleware:
    """Responds to preflight requests and adds CORS headers for the allowed origins; never allows credentials.

    Args:
        app: The next ASGI app.
        origins: Allowed origins; `*` for any.
    """

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond to a preflight."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"origin":
                    return await self._cross_origin(scope, receive, send, value)
        await self._app(scope, receive, send)

    async def _cross_origin(self, scope: Scope, receive: Receive, send: Send, origin: bytes) -> None:
        allowed = self._any or origin in self._origins
        marks: Headers = [] if self._any else [(b"vary", b"origin")]
        if allowed:
            marks.append((b"access-control-allow-origin", b"*" if self._any else origin))
        asked = dict(scope["headers"])
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
            if allowed:
                marks += [
                    (b"access-control-allow-methods", _METHODS),
                    (b"access-control-allow-headers", asked.get(b"access-control-request-headers", b"content-type")),
                    (b"access-control-max-age", _MAX_AGE_SECONDS),
                ]
            await send({"type": "http.response.start", "status": 204, "headers": marks})
            await send({"type": "http.response.body", "body": b""})
            return
        if allowed:
            marks.append((b"access-control-expose-headers", _EXPOSED))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *marks]}
            await send(message)

        await self._app(scope, receive, send_marked)
