"""Which protocols a server speaks, and what they have to know of it, in uvicorn's words and mostly without uvicorn.

uvicorn's protocols for WebSockets and for machines without httptools are used as they are, and ours fits in their
place. But `import uvicorn` brings a command line, reloaders and worker processes: 30 of the 120 ms from the start of a
process to its first answer. Agents that need none of its protocols do without.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from .._app import PPIOAgentRuntimeApp

_KEEP_ALIVE_SECONDS: Final = 5


class ServerState:
    """What the protocols of one server share.

    Attributes:
        connections: The protocols that are connected.
        tasks: What answers their requests.
        default_headers: Header fields of every answer.
        total_requests: How many were answered.
    """

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.default_headers: list[tuple[bytes, bytes]] = []
        self.total_requests = 0


class _Wiring:
    """What our own protocol reads of a `uvicorn.Config`."""

    ws_protocol_class = None
    timeout_keep_alive = _KEEP_ALIVE_SECONDS

    def __init__(self, app: PPIOAgentRuntimeApp, http: type[asyncio.Protocol]) -> None:
        self.app = app
        self.http_protocol_class = http


def wiring_of(app: PPIOAgentRuntimeApp) -> Any:
    """Return a `uvicorn.Config` for the app, loaded, or what stands for one.

    Raises:
        ConfigurationError: It has WebSockets without the extra for them.
    """
    http, websocket = _http_protocol(), _websocket_protocol(app)
    if http is not None and websocket is None:
        return _Wiring(app, http)
    import uvicorn

    config = uvicorn.Config(
        app,
        http=http or "h11",
        ws=websocket or "none",
        ws_max_size=app.config.max_request_size,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.load()
    return config


def _websocket_protocol(app: PPIOAgentRuntimeApp) -> type[asyncio.Protocol] | None:
    """Return the WebSocket protocol to speak: none where nobody answers it."""
    if app.websockets != "none" and find_spec("websockets") is not None:
        from .websocket_protocol import AgentWebSocketProtocol

        return AgentWebSocketProtocol
    if app.websockets == "handler":
        raise ConfigurationError("WebSockets need the extra: pip install 'ppio-agent-runtime[websocket]'")
    return None


def _http_protocol() -> type[asyncio.Protocol] | None:
    """Return our HTTP protocol; None on Windows, where uvicorn's pure one stands in."""
    try:
        from .._http.protocol import AgentHttpProtocol
    except ImportError:
        return None
    return AgentHttpProtocol
