"""Refusals of WebSocket handshakes: an HTTP answer where the server can give one, else a close before the accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ErrorResponse, send_error_response

if TYPE_CHECKING:
    from .._asgi import Headers, Message, Scope, Send

POLICY_VIOLATION = 1008


async def refuse_handshake(
    scope: Scope, send: Send, problem: ErrorResponse, *, request_id: str, session_id: str | None, headers: Headers
) -> None:
    """Answer the handshake with the error envelope (ASGI extension `websocket.http.response`)."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": close_reason(problem.message)})
        return

    async def send_denial(message: Message) -> None:
        await send({**message, "type": message["type"].replace("http.", "websocket.http.", 1)})

    await send_error_response(send_denial, problem, request_id=request_id, session_id=session_id, headers=headers)


def close_reason(text: str) -> str:
    """Return as much of `text` as fits into a close frame: 123 bytes (RFC 6455, section 5.5.1)."""
    return text.encode()[:123].decode(errors="ignore")
