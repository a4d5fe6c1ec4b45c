"""The input of an MCP request: its body, read within our limits, its caller's disconnect, the tool's arguments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import PayloadValidationError

from .writing import payload_of

if TYPE_CHECKING:
    from ..asgi import Message, Receive, Scope

_GONE: Final = "ppio_agent_runtime.gone"
_SESSION_ID: Final = {
    "type": "string",
    "description": "The session_id of an earlier result, to continue its conversation; without it a new one begins.",
}
_PROMPT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string", "description": "The text for the agent."},
        "session_id": _SESSION_ID,
        "resume": {
            "type": "array",
            "description": "Answers to the interrupts of an earlier result; send its session_id too.",
            "items": {
                "type": "object",
                "properties": {
                    "interrupt_id": {"type": "string"},
                    "status": {"enum": ["resolved", "cancelled"]},
                    "payload": {"description": "The answer."},
                },
                "required": ["interrupt_id"],
            },
        },
    },
}


def watched(scope: Scope, body: bytes, receive: Receive) -> tuple[Scope, Receive]:
    """Return a request whose body was read already, and that records a disconnect; see `hang_up_of`."""
    gone = asyncio.Event()
    is_given = False

    async def receive_on() -> Message:
        nonlocal is_given
        if not is_given:
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        return message

    return {**scope, _GONE: gone}, receive_on


def hang_up_of(scope: Scope) -> Receive:
    """Return a `receive` that only reports the caller's disconnect."""
    gone: asyncio.Event = scope[_GONE]

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


class ToolInput:
    """The arguments of the tool: the agent's payload if that has a type, else a prompt.

    Args:
        payload: JSON Schema of the agent's payload, or None if it accepts any object.

    Attributes:
        schema: JSON Schema of the tool's arguments, an object.
        takes_answers: The agent accepts answers to its interrupts.
    """

    def __init__(self, payload: dict[str, Any] | None) -> None:
        self.takes_answers: bool = payload is None
        self._is_wrapped = payload is not None and payload.get("type") != "object"
        self._owns_session_id = payload is not None and "session_id" in payload.get("properties", {})
        self.schema: dict[str, Any] = _PROMPT
        if payload is not None:
            definitions = {"$defs": payload["$defs"]} if "$defs" in payload else {}
            if self._is_wrapped:
                inner = {name: value for name, value in payload.items() if name != "$defs"}
                payload = {"type": "object", "properties": {"payload": inner}, "required": ["payload"], **definitions}
            self.schema = {**payload, "properties": {"session_id": _SESSION_ID, **payload.get("properties", {})}}

    def payload(self, arguments: dict[str, Any], resume: list[dict[str, Any]] | None) -> Any:
        """Return the payload for the agent.

        Args:
            arguments: The arguments of the call.
            resume: Answers to the agent's interrupts, instead of a prompt.

        Raises:
            PayloadValidationError: There is neither a prompt nor an answer, and the payload has no type of its own.
        """
        given = {name: value for name, value in arguments.items() if name != "session_id" or self._owns_session_id}
        if not self.takes_answers:
            return given.get("payload") if self._is_wrapped else given
        prompt = given.pop("prompt", None)
        resume = resume or given.pop("resume", None)
        if resume:
            return {**given, **payload_of(resume=resume)}
        if not isinstance(prompt, str):
            raise PayloadValidationError("The argument prompt must be a string: the text for the agent.")
        return {**payload_of(messages=[{"id": "prompt", "role": "user", "content": prompt}]), **given}
