"""A2A (https://a2a-protocol.org), 1.0 and 0.3: `/a2a` for JSON-RPC, `/a2a/rest` for HTTP+JSON, and the agent's card.

Needs the extra `[a2a]`: a2a-sdk checks and dispatches requests and builds responses; it is imported for the first
request. Tasks are durable invocations (`a2a_tasks`), and streams are encoded here (`a2a_stream`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from email.utils import formatdate
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..plugin_interface import PluginInterface
    from .a2a_routes import A2ARoutes

CARD_PATH: Final = "/.well-known/agent-card.json"
_CARD_SECONDS: Final = 60
_STATUS: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_CODES: Final = {415: -32005, 422: -32602}
"""JSON-RPC error codes other than those for an invalid request or a failure; -32005 is A2A's for a content type."""
_PARSE_ERROR, _INVALID_REQUEST, _INTERNAL_ERROR = -32700, -32600, -32603


def install(app: PluginInterface, path: str) -> None:
    """Add the protocol at a path; JSON-RPC there, HTTP+JSON in `rest` below it."""
    below = path.rstrip("/")
    protocol = A2A(app, path, f"{below}/rest")
    for each in {path, f"{below}/"}:
        app.add_route(each, protocol.answer)
    app.add_route(f"{below}/rest/{{rest:path}}", protocol.answer, ["GET", "POST", "DELETE"])
    app.add_route(CARD_PATH, protocol.card, ["GET"])
    app.write_errors(f"{below}/rest", rest_error)
    app.write_errors(path, rpc_error)
    if app.config.agent_card_public:
        app.open_path(CARD_PATH)


class A2A:
    """The protocol of one app, loaded for its first request.

    Args:
        app: The app.
        path: The path of JSON-RPC.
        rest_path: The path of HTTP+JSON.
    """

    def __init__(self, app: PluginInterface, path: str, rest_path: str) -> None:
        self._app = app
        self._paths = path, rest_path
        self._made_at = formatdate(usegmt=True)  # the card says what the settings say
        self._routes: A2ARoutes | None = None

    async def answer(self, request: Request) -> Any:
        """Respond to a request of either binding."""
        return await (await self._loaded()).answer(request)

    async def card(self, request: Request) -> Any:
        """Return the agent's card, with caching headers (A2A 1.0, section 8.6.1)."""
        card = (await self._loaded()).card(request)
        response = self._app.json_response(card, self._app.context_for(request), has_invocation=False)
        kind = "public" if self._app.config.agent_card_public else "private"
        response.headers["cache-control"] = f"{kind}, max-age={_CARD_SECONDS}"
        response.headers["last-modified"] = self._made_at
        response.headers["etag"] = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
        return response

    async def _loaded(self) -> A2ARoutes:
        if self._routes is None:
            # The run has a span already; those of a2a-sdk, one for each of its methods, would be separate traces.
            os.environ.setdefault("OTEL_INSTRUMENTATION_A2A_SDK_ENABLED", "false")
            # In a thread, because the import takes long enough to delay everything on the loop.
            module = await asyncio.get_running_loop().run_in_executor(None, import_module, f"{__package__}.a2a_routes")
            if self._routes is None:  # two requests may have waited
                self._routes = module.A2ARoutes(self._app, *self._paths)
        return self._routes


def rpc_error(status: int, envelope: dict[str, Any]) -> bytes:
    """Return an error as JSON-RPC, without the ID of the request, which is unknown here."""
    code = _CODES.get(status, _INTERNAL_ERROR if status >= 500 else _INVALID_REQUEST)
    if status == 400 and str(envelope["error"]).startswith("The body is "):
        code = _PARSE_ERROR
    error = {"code": code, "message": envelope["error"], "data": [_info(envelope)]}
    return to_json({"jsonrpc": "2.0", "id": None, "error": error})


def rest_error(status: int, envelope: dict[str, Any]) -> bytes:
    """Return an error as HTTP+JSON, a `google.rpc.Status`."""
    name = _STATUS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    details = [_info(envelope)]
    return to_json({"error": {"code": status, "status": name, "message": envelope["error"], "details": details}})


def _info(envelope: dict[str, Any]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": envelope["error_type"],
        "domain": "ppio-agent-runtime",
        "metadata": {"request_id": envelope["metadata"]["request_id"]},
    }
