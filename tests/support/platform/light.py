"""An agent without a process: it answers as a started one does, so a thousand sandboxes cost next to nothing."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Receive, Scope, Send

SESSION_HEADER = b"x-ppio-session-id"


async def light_agent(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `/ping`, and `/invocations` with the payload and the sandbox that it came to."""
    headers = dict(scope["headers"])
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if scope["path"] == "/ping":
        await answer(send, 200, {"status": "Healthy", "message": None})
    elif b"authorization" not in headers:
        await answer(send, 401, envelope(None, error="no token", error_type="AuthenticationError"))
    elif scope["path"] == "/invocations":
        result = {"payload": json.loads(body), "sandbox_id": scope["state"]["sandbox_id"]}
        session = headers.get(SESSION_HEADER, b"").decode()
        await answer(send, 200, envelope(result, session_id=session))
    else:
        await answer(send, 404, envelope(None, error="not found", error_type="NotFoundError"))


def envelope(
    result: Any, *, session_id: str = "", error: str | None = None, error_type: str | None = None
) -> dict[str, Any]:
    return {
        "result": result,
        "status": "success" if error is None else "error",
        "duration": 0.0,
        "metadata": {"request_id": "r-1", "session_id": session_id},
        "error": error,
        "error_type": error_type,
    }


async def answer(send: Send, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"ppio-agent-protocol", b"1"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
