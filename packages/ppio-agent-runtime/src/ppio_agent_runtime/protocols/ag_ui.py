"""AG-UI 1.0 (https://docs.ag-ui.com): `POST /ag-ui`, the events of a run as server-sent events.

At the path `/invocations` it is AgentCore's contract: there a body with `threadId`, `runId` and `messages` is AG-UI,
any other is ours, and `/ws` takes runs as JSON messages.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import PayloadValidationError, PPIOAgentRuntimeError

from ..events.encoded import EventEncoder
from .writing import begin, payload_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

    from ..context import RequestContext
    from ..events.encoded import EncodedEvent
    from ..plugin_interface import PluginInterface

NAME = "ag-ui"


def install(app: PluginInterface, path: str) -> None:
    """Add the protocol at a path."""
    protocol = AGUI(app)
    if path != "/invocations":
        return app.add_route(path, protocol.run)
    app.claim_invocations(is_run, protocol.run)
    app.claim_websocket(protocol.talk)


def is_run(body: Any) -> bool:
    """Return whether a body is a `RunAgentInput`."""
    return isinstance(body, dict) and {"threadId", "runId", "messages"} <= body.keys()


class AGUI:
    """The protocol of one app."""

    def __init__(self, app: PluginInterface) -> None:
        self._app = app

    async def run(self, request: Request) -> Response:
        """Handle one run. An error after the agent's code started is a RUN_ERROR; before, it has an HTTP status."""
        body = checked(await self._app.read_json(request))
        context = self._app.context_for(request, session_id=body["threadId"], protocol=NAME)
        run = await begin(self._app, request, self._payload(body, context), context)
        return self._app.event_stream(run, Encoder(body))

    async def talk(self, websocket: WebSocket, context: RequestContext) -> None:
        """Handle runs that come as WebSocket messages, one after another; each event is a message."""
        await websocket.accept()
        async for message in websocket.iter_text():
            try:
                body = checked(json.loads(message))
                child = context.child()
                child.session_id, child.protocol = body["threadId"], NAME
                stream = await self._app.invoke(self._payload(body, child), child, stream=True, typed=True)
                async for events in stream.batches():
                    for event in events:
                        await websocket.send_text(event.json.decode())
            except ValueError as error:
                await websocket.send_json(run_error(PayloadValidationError(f"The message is not JSON: {error}.")))
            except PPIOAgentRuntimeError as error:
                await websocket.send_json(run_error(error))

    def _payload(self, body: dict[str, Any], context: RequestContext) -> dict[str, Any]:
        context.metadata = {"run_id": body["runId"], "parent_run_id": body.get("parentRunId")}
        props = body.get("forwardedProps")
        timeout = props.get("timeout") if isinstance(props, dict) else None
        if isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0:
            context.timeout = min(context.timeout, timeout)
        return payload_of(
            messages=body["messages"],
            tools=body.get("tools"),
            state=body.get("state"),
            context=body.get("context"),
            resume=body.get("resume"),
            forwarded_props=props,
        )


def checked(body: Any) -> dict[str, Any]:
    """Return a body after checking that it is a `RunAgentInput`.

    Raises:
        PayloadValidationError: It is not.
    """
    if not is_run(body):
        raise PayloadValidationError("An AG-UI run is a JSON object with threadId, runId and messages.")
    wrong = [name for name in ("threadId", "runId") if not (isinstance(body[name], str) and body[name])]
    if wrong or not isinstance(body["messages"], list) or not all(isinstance(each, dict) for each in body["messages"]):
        raise PayloadValidationError(
            f"{wrong[0]} must be a string." if wrong else "messages must be a list of objects."
        )
    run: dict[str, Any] = body
    return run


def run_error(error: PPIOAgentRuntimeError) -> dict[str, Any]:
    """Return the RUN_ERROR event for an error."""
    return {"type": "RUN_ERROR", "message": str(error.message), "code": error.error_type}


class Encoder(EventEncoder):
    """Sends events unchanged, and RUN_STARTED at once.

    Args:
        run: The `RunAgentInput`.
    """

    def __init__(self, run: dict[str, Any]) -> None:
        self._start = {"type": "RUN_STARTED", "threadId": run["threadId"], "runId": run["runId"]}
        self._is_first = True

    def begin(self) -> bytes:
        """Return RUN_STARTED, before the agent's first event."""
        return b"data: %b\n\n" % to_json(self._start)

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return the events, without the first RUN_STARTED, which `begin` has sent."""
        if self._is_first:
            self._is_first, events = False, events[1:]
        return b"data: " + b"\n\ndata: ".join([event.json for event in events]) + b"\n\n" if events else b""

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return RUN_ERROR."""
        return b"data: %b\n\n" % to_json(run_error(error))
