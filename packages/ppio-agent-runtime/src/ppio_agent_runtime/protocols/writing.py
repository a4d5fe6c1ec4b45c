"""Helpers that protocols share, to start runs, build payloads and write server-sent events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import to_json

from ppio_agent_models import AgentInput, PayloadValidationError

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..context import RequestContext
    from ..events.encoded import EncodedEvent
    from ..invocations.handle import InvocationHandle
    from ..invocations.in_process import InvocationStream
    from ..plugin_interface import PluginInterface

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts that only this machine can reach."""
CUSTOM = b'{"type":"CUSTOM"'
"""How a CUSTOM event begins, which carries a value."""
SSE_DONE = b"data: [DONE]\n\n"


async def begin(
    app: PluginInterface, request: Request, payload: Any, context: RequestContext
) -> InvocationStream | InvocationHandle:
    """Start a run, or find it by the request's `Idempotency-Key`; with a key it continues after a disconnect."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return await app.invoke(payload, context, stream=True, typed=True)
    return await app.submit(payload, context, key=key)


async def collected(run: InvocationStream | InvocationHandle, request: Request) -> list[EncodedEvent]:
    """Return all events of a run, once it is over.

    Raises:
        PPIOAgentRuntimeError: It failed.
        ClientGoneError: The caller disconnected.
    """
    return [event async for events in run.batches(request.receive) for event in events]


def sse(data: Any) -> bytes:
    """Return one event with a JSON object as its data."""
    return b"data: %b\n\n" % to_json(data)


def text_of(text: bytes) -> bytes:
    """Return an event's content as a JSON string: text unchanged, any other value as its JSON text."""
    return text if text[:1] == b'"' else to_json(text.decode())


def joined(texts: list[bytes]) -> str:
    """Return JSON strings, joined and decoded."""
    text: str = json.loads(b'"%b"' % b"".join([text[1:-1] for text in texts]))
    return text


def payload_of(**fields: Any) -> dict[str, Any]:
    """Return the handler's payload: an `AgentInput` as JSON data.

    Raises:
        PayloadValidationError: It would not be valid.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    unset = {"data", "session_id", "timeout", "stream", "metadata"}
    try:
        asked = AgentInput.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise PayloadValidationError(f"The request is not valid: {where}: {problem['msg']}.") from None
    for kind, objects, name in (("messages", asked.messages, "role"), ("tools", asked.tools, "name")):
        if not all(isinstance(each.get(name), str) for each in objects):
            raise PayloadValidationError(f"The request is not valid: each of its {kind} must have a {name}, a text.")
    return asked.model_dump(mode="json", by_alias=False, exclude=unset)


def decoded_text(text: bytes) -> str:
    """Return an event's content as a string."""
    decoded: str = json.loads(text_of(text))
    return decoded
