"""The UI message stream of Vercel's AI SDK, version 1 (https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol): `useChat`.

`POST /api/chat` accepts what `DefaultChatTransport` sends: `id` (the session) and `messages`, the whole conversation.
The agent's tools become dynamic tool parts, its interrupts approval requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ppio_agent_models import PayloadValidationError, PPIOAgentRuntimeError

from ..events.encoded import EventEncoder
from .writing import CUSTOM, SSE_DONE, begin, payload_of, sse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ..events.encoded import EncodedEvent
    from ..plugin_interface import PluginInterface

NAME = "vercel"
HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}


def install(app: PluginInterface, path: str) -> None:
    """Add the protocol at a path."""

    async def chat(request: Request) -> Response:
        body = await app.read_json(request)
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise PayloadValidationError("A chat request is a JSON object with messages, a list of objects.")
        if not all(isinstance(message.get("parts") or [], list) for message in messages):
            raise PayloadValidationError("The parts of a message must be a list.")
        session_id = body.get("id")
        context = app.context_for(
            request, session_id=session_id if isinstance(session_id, str) else None, protocol=NAME
        )
        props = {name: value for name, value in body.items() if name not in ("id", "messages")}
        payload = payload_of(
            messages=[each for message in messages for each in messages_of(message)],
            resume=answers_in(messages),
            forwarded_props=props,
        )
        run = await begin(app, request, payload, context)
        await run.begun(request.receive)
        message_id = continued_id(messages) or run.context.invocation_id
        return app.event_stream(run, UIEncoder(message_id), headers=HEADERS)

    app.add_route(path, chat)
    app.write_errors(path, lambda _status, envelope: str(envelope["error"]).encode(), "text/plain; charset=utf-8")


def messages_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a UI message as AG-UI messages: the message, and the results of its tools."""
    parts = [part for part in message.get("parts") or [] if isinstance(part, dict)]
    given = str(message.get("id"))
    if message.get("role") != "assistant":
        content = [found for part in parts if (found := _content(part)) is not None]
        is_text = all(part["type"] == "text" for part in content)
        joined = "".join(part["text"] for part in content) if is_text else content
        return [{"id": given, "role": message.get("role"), "content": joined}]
    text = "".join(str(part.get("text")) for part in parts if part.get("type") == "text")
    tools = [part for part in parts if _is_tool(part)]
    calls = [
        {
            "id": part["toolCallId"],
            "type": "function",
            "function": {"name": _tool_name(part), "arguments": json.dumps(part.get("input"))},
        }
        for part in tools
    ]
    made = {"id": given, "role": "assistant", "content": text} | ({"toolCalls": calls} if calls else {})
    return [made, *(_result(part) for part in tools if "output" in part or "errorText" in part)]


def answers_in(messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the answers to the agent's interrupts, if the last message has some."""
    if not messages or messages[-1].get("role") != "assistant":
        return None
    approvals = [
        part["approval"]
        for part in messages[-1].get("parts") or []
        if isinstance(part, dict)
        and part.get("state") == "approval-responded"
        and isinstance(part.get("approval"), dict)
    ]
    answers = [
        {
            "interrupt_id": str(approval.get("id")),
            "status": "resolved",
            "payload": {"approved": bool(approval.get("approved")), "reason": approval.get("reason")},
        }
        for approval in approvals
    ]
    return answers or None


def continued_id(messages: list[dict[str, Any]]) -> str | None:
    """Return the ID of the agent's message that this run continues after an approval, or None for a new one."""
    last = messages[-1] if messages else {}
    given = last.get("id") if last.get("role") == "assistant" else None
    return given if isinstance(given, str) and given else None


def _content(part: dict[str, Any]) -> dict[str, Any] | None:
    if part.get("type") == "text":
        return {"type": "text", "text": str(part.get("text"))}
    if part.get("type") != "file":
        return None
    media = str(part.get("mediaType"))
    kind = media.partition("/")[0]
    source = {"type": "url", "value": part.get("url"), "mimeType": media}
    return {"type": kind if kind in ("image", "audio", "video") else "document", "source": source}


def _is_tool(part: dict[str, Any]) -> bool:
    kind = str(part.get("type"))
    return isinstance(part.get("toolCallId"), str) and (kind == "dynamic-tool" or kind.startswith("tool-"))


def _tool_name(part: dict[str, Any]) -> str:
    return str(part.get("toolName") or part["type"].removeprefix("tool-"))


def _result(part: dict[str, Any]) -> dict[str, Any]:
    output = part.get("output", part.get("errorText"))
    content = output if isinstance(output, str) else json.dumps(output)
    return {"id": f"{part['toolCallId']}-result", "role": "tool", "toolCallId": part["toolCallId"], "content": content}


class UIEncoder(EventEncoder):
    """Encodes a run as the parts of one UI message.

    Args:
        message_id: ID of the message.
    """

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self._text_id: str | None = None
        self._head = b""
        self._calls: dict[str, dict[str, Any]] = {}
        self._writers: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
            "TEXT_MESSAGE_START": self._text_start,
            "TEXT_MESSAGE_END": lambda event: [{"type": "text-end", "id": event["messageId"]}],
            "REASONING_MESSAGE_START": lambda event: [{"type": "reasoning-start", "id": event["messageId"]}],
            "REASONING_MESSAGE_CONTENT": lambda event: [
                {"type": "reasoning-delta", "id": event["messageId"], "delta": event["delta"]}
            ],
            "REASONING_MESSAGE_END": lambda event: [{"type": "reasoning-end", "id": event["messageId"]}],
            "TOOL_CALL_START": self._call_start,
            "TOOL_CALL_ARGS": self._call_args,
            "TOOL_CALL_END": self._call_end,
            "TOOL_CALL_RESULT": lambda event: [
                {
                    "type": "tool-output-available",
                    "toolCallId": event["toolCallId"],
                    "output": _json_or_text(event["content"]),
                    "dynamic": True,
                }
            ],
            "STATE_SNAPSHOT": lambda event: [{"type": "data-state", "data": event["snapshot"]}],
            "STATE_DELTA": lambda event: [{"type": "data-state-delta", "data": event["delta"]}],
            "CUSTOM": lambda event: [{"type": f"data-{event['name']}", "data": event.get("value")}],
            "RUN_FINISHED": self._questions,
        }

    def begin(self) -> bytes:
        """Return the start of the message."""
        return sse({"type": "start", "messageId": self._message_id}) + sse({"type": "start-step"})

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return the parts for events."""
        return b"".join([self._event(event) for event in events])

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return the error, as users see it."""
        return sse({"type": "error", "errorText": str(error.message)}) + SSE_DONE

    def done(self) -> bytes:
        """Return the end of the message."""
        return sse({"type": "finish-step"}) + sse({"type": "finish"}) + SSE_DONE

    def _event(self, event: EncodedEvent) -> bytes:
        if event.text is not None and not event.json.startswith(CUSTOM):
            return b"%b%b}\n\n" % (self._head, event.text)
        write = self._writers.get(event.type)
        return b"" if write is None else b"".join([sse(part) for part in write(event.decode())])

    def _text_start(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        given = event["messageId"]
        self._head = sse({"type": "text-delta", "id": given}).rstrip()[:-1] + b',"delta":'
        return [{"type": "text-start", "id": given}]

    def _call_start(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        given, name = event["toolCallId"], event["toolCallName"]
        self._calls[given] = {"name": name, "arguments": ""}
        return [{"type": "tool-input-start", "toolCallId": given, "toolName": name, "dynamic": True}]

    def _call_args(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        self._calls[event["toolCallId"]]["arguments"] += event["delta"]
        return [{"type": "tool-input-delta", "toolCallId": event["toolCallId"], "inputTextDelta": event["delta"]}]

    def _call_end(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        given = event["toolCallId"]
        call = self._calls[given]
        return [_input(given, call["name"], _json_or_text(call["arguments"] or "{}"))]

    def _questions(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        parts = []
        for interrupt in (event.get("outcome") or {}).get("interrupts") or []:
            call_id = interrupt.get("toolCallId")
            if call_id not in self._calls:  # an approval request needs a tool part
                call_id = call_id or interrupt["id"]
                asked = {"message": interrupt.get("message")}
                parts.append(_input(call_id, str(interrupt.get("reason")), asked))
            parts.append({"type": "tool-approval-request", "approvalId": interrupt["id"], "toolCallId": call_id})
        return parts


def _input(call_id: str, name: str, value: Any) -> dict[str, Any]:
    return {"type": "tool-input-available", "toolCallId": call_id, "toolName": name, "input": value, "dynamic": True}


def _json_or_text(text: Any) -> Any:
    """Return a text decoded from JSON, so that a page needn't parse it; unchanged if it isn't JSON."""
    if isinstance(text, str):
        with suppress(ValueError):
            return json.loads(text)
    return text
