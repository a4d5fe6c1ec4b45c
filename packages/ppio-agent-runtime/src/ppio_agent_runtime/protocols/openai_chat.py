"""Chat Completions (https://platform.openai.com/docs/api-reference/chat).

There is no session unless a header names one: each request has the whole conversation.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ppio_agent_models import PPIOAgentRuntimeError

from ..events.encoded import EventEncoder
from .openai_input import checked_list, content_of, tools_of
from .writing import SSE_DONE, begin, collected, decoded_text, payload_of, sse, text_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..events.encoded import EncodedEvent
    from ..plugin_interface import PluginInterface


class ChatCompletions:
    """The API of one app."""

    def __init__(self, app: PluginInterface) -> None:
        self._app = app

    async def create(self, request: Request) -> Any:
        """Handle `POST /v1/chat/completions`."""
        body = await self._app.read_json(request)
        messages = checked_list(body, "messages")
        tools = tools_of(body)
        context = self._app.context_for(request, protocol="openai")
        payload = payload_of(
            messages=[message_of(message, number) for number, message in enumerate(messages)],
            tools=tools,
            forwarded_props={
                name: value for name, value in body.items() if name not in ("messages", "tools", "stream")
            },
        )
        run = await begin(self._app, request, payload, context)
        head = {
            "id": f"chatcmpl-{run.context.invocation_id}",
            "model": body.get("model") or self._app.config.agent_name,
        }
        options = body.get("stream_options")
        has_usage = isinstance(options, dict) and options.get("include_usage") is True
        encoder = ChatEncoder(head, {tool["name"] for tool in tools}, has_usage=has_usage)
        if body.get("stream") is True:
            await run.begun(request.receive)
            return self._app.event_stream(run, encoder)
        for event in await collected(run, request):
            encoder.take(event)
        return self._app.json_response(encoder.completion(), run.context)


def message_of(message: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a message of a request as an AG-UI message."""
    made = {"id": f"message-{number}", "role": message.get("role"), "content": content_of(message.get("content"))}
    if isinstance(message.get("tool_calls"), list):
        made["toolCalls"] = message["tool_calls"]
    if "tool_call_id" in message:
        made["toolCallId"] = message["tool_call_id"]
    return made


class ChatEncoder(EventEncoder):
    """Encodes a run as chunks of a completion, or as a whole completion.

    Args:
        head: ID and model.
        tools: Names of the caller's tools; calls of the agent's own tools are not sent.
        has_usage: The last chunk has the token usage.
    """

    def __init__(self, head: dict[str, str], tools: set[str], *, has_usage: bool) -> None:
        self._head: dict[str, Any] = {**head, "created": int(time.time())}
        self._tools = tools
        self._has_usage = has_usage
        before, _, after = self._chunk({"content": None}).partition(b'"content":null')
        self._text_head, self._text_tail = before + b'"content":', after
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[str, dict[str, Any]] = {}
        self._usage: list[dict[str, Any]] = []

    def begin(self) -> bytes:
        """Return the first chunk, which has the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return the chunks for events."""
        head, tail = self._text_head, self._text_tail
        return b"".join(
            [
                self._other(event) if event.text is None else b"%b%b%b" % (head, text_of(event.text), tail)
                for event in events
            ]
        )

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return the error in the stream, which clients raise."""
        fields = {"message": str(error.message), "type": "server_error", "param": None, "code": error.error_type}
        return sse({"error": fields})

    def done(self) -> bytes:
        """Return the last chunks."""
        end = self._chunk({}, self._finish_reason)
        if self._has_usage:
            end += sse(self._head | {"object": "chat.completion.chunk", "choices": [], "usage": usage_of(self._usage)})
        return end + SSE_DONE

    def take(self, event: EncodedEvent) -> None:
        """Add an event to the whole completion."""
        if event.text is not None:
            self._texts.append(decoded_text(event.text))
        else:
            self._delta(event)

    def completion(self) -> dict[str, Any]:
        """Return the whole completion."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts) or None, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [
                {"id": given, "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
                for given, call in self._calls.items()
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason}
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": usage_of(self._usage)}

    @property
    def _finish_reason(self) -> str:
        return "tool_calls" if self._calls else "stop"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse(self._head | {"object": "chat.completion.chunk", "choices": [choice]})

    def _other(self, event: EncodedEvent) -> bytes:
        delta = self._delta(event)
        return b"" if delta is None else self._chunk(delta)

    def _delta(self, event: EncodedEvent) -> dict[str, Any] | None:
        kind = event.type
        if kind == "REASONING_MESSAGE_CONTENT":
            self._reasoning.append(event.decode()["delta"])
            return {"reasoning_content": self._reasoning[-1]}
        if kind in ("TOOL_CALL_START", "TOOL_CALL_ARGS"):
            return self._call(event.decode())
        if kind == "RUN_FINISHED":
            return self._end(event.decode())
        return None

    def _call(self, event: dict[str, Any]) -> dict[str, Any] | None:
        given = event["toolCallId"]
        if "toolCallName" in event:
            if event["toolCallName"] not in self._tools:
                return None
            self._calls[given] = {"index": len(self._calls), "name": event["toolCallName"], "arguments": ""}
            function = {"name": event["toolCallName"], "arguments": ""}
            head = {"index": self._calls[given]["index"], "id": given, "type": "function", "function": function}
            return {"tool_calls": [head]}
        if given not in self._calls:
            return None
        call = self._calls[given]
        call["arguments"] += event["delta"]
        return {"tool_calls": [{"index": call["index"], "function": {"arguments": event["delta"]}}]}

    def _end(self, event: dict[str, Any]) -> dict[str, Any] | None:
        self._usage = event.get("usage") or []
        questions = [
            str(interrupt.get("message") or interrupt.get("reason"))
            for interrupt in (event.get("outcome") or {}).get("interrupts") or []
        ]
        if not questions:
            return None
        self._texts.append("\n".join(questions))
        return {"content": self._texts[-1]}


def usage_of(usage: list[dict[str, Any]]) -> dict[str, int]:
    """Return the tokens that a run used, zeros if it didn't report them."""
    sent = sum(each.get("inputTokens") or 0 for each in usage)
    made = sum(each.get("outputTokens") or 0 for each in usage)
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
