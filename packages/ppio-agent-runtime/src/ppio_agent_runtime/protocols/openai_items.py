"""Encodes a run as the events and items of a Response: text, reasoning, tool calls and approval requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ppio_agent_models import PPIOAgentRuntimeError

from ..events.encoded import EventEncoder
from .openai_chat import usage_of
from .writing import joined, text_of

if TYPE_CHECKING:
    from ..events.encoded import EncodedEvent

_TEXT = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


class ResponseEncoder(EventEncoder):
    """Encodes the events of a response, and keeps its items.

    Args:
        head: The fields that the response object has in any state.
        tools: Names of the caller's tools; their calls are function calls, other calls are shown as MCP calls.
        label: The server label of such MCP calls.

    Attributes:
        starting_after: Events up to this sequence number are not written.
    """

    def __init__(self, head: dict[str, Any], tools: frozenset[str], label: str) -> None:
        self.starting_after = -1
        self._head = head
        self._tools = tools
        self._label = label
        self._number = 0
        self._items: list[dict[str, Any]] = []
        self._open: dict[str, int] = {}  # ID of a message or call to the index of its item
        self._texts: dict[int, list[str]] = {}
        self._messages: dict[str, list[bytes]] = {}
        self._error: dict[str, Any] | None = None
        self._usage: list[dict[str, Any]] = []
        self._current: list[bytes] | None = None  # the texts of the open message
        self._text_head = b""
        self._writers: dict[str, Callable[[dict[str, Any]], bytes]] = {
            "TEXT_MESSAGE_START": self._text_start,
            "TEXT_MESSAGE_END": self._text_end,
            "REASONING_MESSAGE_START": self._reasoning_start,
            "REASONING_MESSAGE_CONTENT": self._reasoning_delta,
            "REASONING_MESSAGE_END": self._reasoning_end,
            "TOOL_CALL_START": self._call_start,
            "TOOL_CALL_ARGS": self._call_delta,
            "TOOL_CALL_END": self._call_end,
            "TOOL_CALL_RESULT": self._call_result,
            "RUN_FINISHED": self._questions,
        }

    def response(self, status: str) -> dict[str, Any]:
        """Return the response object in a state."""
        usage = usage_of(self._usage)
        counted = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        items = self._items if status in ("completed", "failed") else []
        return {
            **self._head,
            "status": status,
            "output": items,
            "error": self._error,
            "incomplete_details": None,
            "usage": counted if status == "completed" else None,
        }

    def begin(self) -> bytes:
        """Return the first two events."""
        created = self._event("response.created", response=self.response("in_progress"))
        return created + self._event("response.in_progress", response=self.response("in_progress"))

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return encoded events."""
        written = []
        for event in events:
            text = event.text
            if text is None:
                written.append(self._other(event))
            elif self._current is None:
                written.append(self._value(text))
            else:
                written.append(self._delta(self._current, text if text[:1] == b'"' else text_of(text)))
        return b"".join(written)

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return the failure."""
        self._error = {"code": error.error_type, "message": str(error.message)}
        return self._event("response.failed", response=self.response("failed"))

    def done(self) -> bytes:
        """Return the end."""
        return self._event("response.completed", response=self.response("completed"))

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        if number <= self.starting_after:
            return b""
        return b"event: %b\ndata: %b\n\n" % (
            kind.encode(),
            to_json({"type": kind, "sequence_number": number, **fields}),
        )

    def _other(self, event: EncodedEvent) -> bytes:
        write = self._writers.get(event.type)
        return b"" if write is None else write(event.decode())

    def _delta(self, message: list[bytes], text: bytes) -> bytes:
        number, self._number = self._number, self._number + 1
        message.append(text)
        if number <= self.starting_after:
            return b""
        return b'%b%b,"sequence_number":%d}\n\n' % (self._text_head, text, number)

    def _value(self, text: bytes) -> bytes:
        """Return a separate message for a value that is not an event, while no message is open."""
        given = f"value-{len(self._items)}"
        start = self._text_start({"messageId": given})
        said = self._delta(self._messages[given], text_of(text))
        return start + said + self._text_end({"messageId": given})

    def _add(self, key: str, item: dict[str, Any]) -> tuple[int, bytes]:
        """Begin an item."""
        index = self._open[key] = len(self._items)
        self._items.append(item)
        self._texts[index] = []
        return index, self._event("response.output_item.added", output_index=index, item=item)

    def _end(self, key: str, item: dict[str, Any]) -> bytes:
        """End an item."""
        index = self._open.pop(key)
        self._items[index] = item
        return self._event("response.output_item.done", output_index=index, item=item)

    def _text_start(self, event: dict[str, Any]) -> bytes:
        item_id = f"msg_{event['messageId']}"
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        index, added = self._add(event["messageId"], item)
        self._current = self._messages[event["messageId"]] = []
        kind = "response.output_text.delta"
        place = {"type": kind, "item_id": item_id, "output_index": index, "content_index": 0, "logprobs": []}
        self._text_head = b"event: %b\ndata: %b" % (kind.encode(), to_json(place)[:-1] + b',"delta":')
        return added + self._event(
            "response.content_part.added", item_id=item_id, output_index=index, content_index=0, part=_TEXT
        )

    def _text_end(self, event: dict[str, Any]) -> bytes:
        index = self._open[event["messageId"]]
        item = self._items[index]
        texts = self._messages.pop(event["messageId"])
        text = joined(texts)
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        part = {**_TEXT, "text": text}
        if texts is self._current:
            self._current = None
        return (
            self._event("response.output_text.done", **place, text=text, logprobs=[])
            + self._event("response.content_part.done", **place, part=part)
            + self._end(event["messageId"], {**item, "status": "completed", "content": [part]})
        )

    def _reasoning_start(self, event: dict[str, Any]) -> bytes:
        item_id = f"rs_{event['messageId']}"
        item: dict[str, Any] = {
            "id": item_id,
            "type": "reasoning",
            "summary": [],
            "content": [],
            "status": "in_progress",
        }
        index, added = self._add(f"rs {event['messageId']}", item)
        part = {"type": "reasoning_text", "text": ""}
        return added + self._event(
            "response.content_part.added", item_id=item_id, output_index=index, content_index=0, part=part
        )

    def _reasoning_delta(self, event: dict[str, Any]) -> bytes:
        index = self._open[f"rs {event['messageId']}"]
        self._texts[index].append(event["delta"])
        place = {"item_id": self._items[index]["id"], "output_index": index, "content_index": 0}
        return self._event("response.reasoning_text.delta", **place, delta=event["delta"])

    def _reasoning_end(self, event: dict[str, Any]) -> bytes:
        key = f"rs {event['messageId']}"
        index = self._open[key]
        item = self._items[index]
        text = "".join(self._texts[index])
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        part = {"type": "reasoning_text", "text": text}
        return (
            self._event("response.reasoning_text.done", **place, text=text)
            + self._event("response.content_part.done", **place, part=part)
            + self._end(key, {**item, "status": "completed", "content": [part]})
        )

    def _call_start(self, event: dict[str, Any]) -> bytes:
        given, name = event["toolCallId"], event["toolCallName"]
        item: dict[str, Any] = {"id": f"fc_{given}", "type": "function_call", "call_id": given, "name": name}
        if name not in self._tools:
            item = {"id": f"mcp_{given}", "type": "mcp_call", "server_label": self._label, "name": name, "output": None}
            item["error"] = None
        _, added = self._add(given, {**item, "arguments": "", "status": "in_progress"})
        return added

    def _call_delta(self, event: dict[str, Any]) -> bytes:
        index = self._open[event["toolCallId"]]
        self._texts[index].append(event["delta"])
        return self._event(f"{self._arguments(index)}.delta", **self._place(index), delta=event["delta"])

    def _call_end(self, event: dict[str, Any]) -> bytes:
        given = event["toolCallId"]
        index = self._open[given]
        arguments = "".join(self._texts[index])
        item = self._items[index] = {**self._items[index], "arguments": arguments}
        name = {"name": item["name"]} if item["type"] == "function_call" else {}
        done = self._event(f"{self._arguments(index)}.done", **self._place(index), arguments=arguments, **name)
        if item["type"] == "function_call":
            return done + self._end(given, {**item, "status": "completed"})
        return done + self._event("response.mcp_call.in_progress", **self._place(index))

    def _call_result(self, event: dict[str, Any]) -> bytes:
        given = event["toolCallId"]
        index = self._open.get(given)
        if index is None:  # of the caller's tool, or unknown
            return b""
        content = event["content"]
        output = content if isinstance(content, str) else to_json(content).decode()
        done = self._event("response.mcp_call.completed", **self._place(index))
        return done + self._end(given, {**self._items[index], "status": "completed", "output": output})

    def _questions(self, event: dict[str, Any]) -> bytes:
        self._usage = event.get("usage") or []
        written = []
        for key, index in list(self._open.items()):  # calls that wait for an approval
            written.append(self._end(key, {**self._items[index], "status": "incomplete"}))
        for interrupt in (event.get("outcome") or {}).get("interrupts") or []:
            asked = next((each for each in self._items if each.get("id") == f"mcp_{interrupt.get('toolCallId')}"), None)
            item = {
                "id": interrupt["id"],
                "type": "mcp_approval_request",
                "server_label": self._label,
                "name": interrupt.get("reason") if asked is None else asked["name"],
                "arguments": to_json({"message": interrupt.get("message")}).decode()
                if asked is None
                else asked["arguments"],
            }
            _, added = self._add(interrupt["id"], item)
            written += [added, self._end(interrupt["id"], item)]
        return b"".join(written)

    def _place(self, index: int) -> dict[str, Any]:
        return {"item_id": self._items[index]["id"], "output_index": index}

    def _arguments(self, index: int) -> str:
        kind = "function_call" if self._items[index]["type"] == "function_call" else "mcp_call"
        return f"response.{kind}_arguments"
