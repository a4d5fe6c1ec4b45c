"""The Model Context Protocol (https://modelcontextprotocol.io): `/mcp`, streamable HTTP, the agent as one tool.

In versions up to 2025-11-25 a client opens a session with an ID; since 2026-07-28 each request stands alone. The wire
format is implemented by the package `mcp`, which is imported when the app starts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from ppio_agent_models import DrainingError

from .mcp_input import watched

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.requests import Request

    from ..asgi import ASGIApp, Receive, Scope, Send
    from ..plugin_interface import PluginInterface

_INVALID_REQUEST: Final = -32600
_INTERNAL_ERROR: Final = -32603


def install(app: PluginInterface, path: str) -> None:
    """Add the protocol at a path."""
    protocol = MCP(app)
    app.on_lifespan(protocol.lifespan)
    app.add_route(path, protocol.serve, ["POST", "DELETE"])  # no GET: nothing is sent outside of responses
    app.write_errors(path, error_body)


class MCP:
    """The protocol of one app."""

    def __init__(self, app: PluginInterface) -> None:
        self._app = app
        self._manager: StreamableHTTPSessionManager | None = None

    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Run the session manager during the app's lifespan."""
        from .mcp_tool import session_manager  # imports mcp

        self._manager = session_manager(self._app)
        async with self._manager.run():
            yield
        self._manager = None

    async def serve(self, request: Request) -> ASGIApp:
        """Respond to one request."""
        if self._manager is None:
            raise DrainingError("The service no longer accepts MCP requests.")
        handle = self._manager.handle_request
        body = await self._app.read_body(request) if request.method == "POST" else b""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await handle(*watched(scope, body, receive), send)

        return answer


def error_body(status: int, envelope: dict[str, Any]) -> bytes:
    """Return one of our errors as JSON-RPC."""
    code = _INTERNAL_ERROR if status >= 500 else _INVALID_REQUEST
    facts = {"error_type": envelope["error_type"], "request_id": envelope["metadata"]["request_id"]}
    return to_json({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": envelope["error"], "data": facts}})
