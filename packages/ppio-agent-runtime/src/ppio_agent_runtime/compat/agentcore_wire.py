"""`POST /invocations` with AgentCore's responses: the bare value, or its chunks as `data:` lines.

Callers that send `PPIO-Agent-Protocol`, such as our client, get our own responses. Errors have the same envelope for
both; AgentCore's callers read its `error`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from ppio_agent_models import PROTOCOL_HEADER, BadRequestError, PPIOAgentRuntimeError

from ..events.encoded import EventEncoder
from .agentcore_context import REQUEST_ID_HEADER, SESSION_HEADER, request_of_call

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..asgi import ASGIApp, Receive, Scope, Send
    from ..events.encoded import EncodedEvent
    from .bedrock_agentcore import BedrockAgentCoreApp

PATH: Final = "/_agentcore/invocations"
_OURS: Final = PROTOCOL_HEADER.lower().encode()
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_ACTION: Final = "_agent_core_app_action"


class AgentCoreCallers:
    """ASGI middleware that routes calls without our protocol header to AgentCore's route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the path of such calls, and pass every request on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            root = scope.get("root_path", "")
            if scope["path"].removeprefix(root) == "/invocations" and all(
                name != _OURS for name, _ in scope["headers"]
            ):
                scope = {**scope, "path": f"{root}{PATH}", "raw_path": f"{root}{PATH}".encode()}
        await self._app(scope, receive, send)


async def answer(app: BedrockAgentCoreApp, request: Request) -> Response:
    """Respond to one call."""
    payload = await app.read_json(request)
    if app.debug and isinstance(payload, dict) and _ACTION in payload:
        return JSONResponse(_act(app, payload[_ACTION]))
    context = app.context_for(request, session_id=request.headers.get(SESSION_HEADER), protocol="agentcore")
    if _REQUEST_ID.fullmatch(given := request.headers.get(REQUEST_ID_HEADER, "")):
        context.request_id = given
    request_of_call.set(request)
    result = await app.invoke(payload, context)
    if isinstance(result, Response):
        return result
    if hasattr(result, "batches"):
        return app.event_stream(result, Lines())
    return app.json_response(result, context)


class Lines(EventEncoder):
    """Encodes chunks as `data:` lines, and a failure as one more."""

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return the chunks."""
        return b"".join([b"data: %b\n\n" % event.json for event in events])

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return the line that reports the error."""
        report = {
            "error": str(error.message),
            "error_type": error.error_type,
            "message": "An error occurred during streaming",
        }
        return b"data: %b\n\n" % to_json(report)


def _act(app: BedrockAgentCoreApp, action: Any) -> dict[str, Any]:
    """Read or set the health of an app with `debug`, and return the response.

    Raises:
        BadRequestError: There is no such action.
    """
    if action == "ping_status":
        return {"status": app.get_current_ping_status().value, "time_of_last_update": int(time.time())}
    if action == "job_status":
        return app.get_async_task_info()
    if action == "clear_forced_status":
        app.clear_forced_ping_status()
        return {"forced_status": "Cleared"}
    status = {"force_healthy": "Healthy", "force_busy": "HealthyBusy"}.get(str(action))
    if status is None:
        raise BadRequestError(f"Unknown action: {str(action)[:80]}")
    app.force_ping_status(status)
    return {"forced_status": status}
