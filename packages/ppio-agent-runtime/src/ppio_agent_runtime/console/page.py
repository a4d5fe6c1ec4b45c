"""Middleware that serves the console page: `/` for browsers, `/console`, `/console/static/…`.

They contain nothing of the agent and need no key. A Content-Security-Policy with Trusted Types limits what they can do
in a browser: no scripts but their own, no requests to other servers, no HTML that was not sanitized.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..http.request import by_name, quality
from .static_files import SAFE_HEADERS, StaticFiles, send_answer, send_file

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Message, Receive, Scope, Send

_STATIC: Final = Path(__file__).parent / "static"
_PREFIX: Final = "/console/static/"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types dompurify"
)


async def _never(_: Scope) -> bool:
    return False


class ConsolePage:
    """Responds to GET and HEAD for the page and its files, and passes everything else on.

    Args:
        app: The next ASGI app.
        has_own_root: Returns whether the agent has a route `/` of its own; then the page is only at `/console`.
    """

    def __init__(self, app: ASGIApp, has_own_root: Callable[[Scope], Awaitable[bool]] = _never) -> None:
        self._app = app
        self._has_own_root = has_own_root
        self._files = StaticFiles([_STATIC], _POLICY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, or pass the request on."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return await self._app(scope, receive, send)
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == "/":
            return await self._root(scope, receive, send)
        if path == "/console/":  # links in the page are relative to a path without the slash
            return await send_answer(send, 308, [(b"location", b"../console"), *SAFE_HEADERS])
        name = "index.html" if path == "/console" else path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""
        file = await self._files.find(name)
        if file is None:
            return await self._app(scope, receive, send)
        await send_file(scope, send, file, b"accept-encoding")

    async def _root(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self._has_own_root(scope):
            return await self._app(scope, receive, send)
        if quality(by_name(scope["headers"]).get(b"accept", b""), "text/html"):
            file = await self._files.find("index.html")
            assert file is not None, "the package was installed without its files"
            return await send_file(scope, send, file, b"accept, accept-encoding")

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"vary", b"accept")]}
            await send(message)

        await self._app(scope, receive, send_marked)
