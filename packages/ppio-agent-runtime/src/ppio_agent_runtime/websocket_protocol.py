"""uvicorn's WebSocket protocol, without an error line in the log for each handshake that the app refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from .asgi import Message


class AgentWebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    async def send(self, message: Any) -> None:
        """Send an ASGI message; a complete HTTP response ends the handshake."""
        await super().send(message)
        if _ends_denial(message):
            self.handshake_complete = True


def _ends_denial(message: Message) -> bool:
    return message["type"] == "websocket.http.response.body" and not message.get("more_body", False)
