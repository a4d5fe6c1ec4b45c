"""Converts LangChain's messages to AG-UI events, and AG-UI messages to LangChain's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ppio_agent_models import (
    AgentEvent,
    ReasoningMessageContentEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from .turn import as_text, calls_of, media_of


class MessageReader:
    """Converts messages and message chunks to events; those of several models may be interleaved.

    Attributes:
        waiting: Names of the tool calls that have no result yet, by their IDs.
    """

    def __init__(self) -> None:
        self.waiting: dict[str, str] = {}
        self._texts: set[str] = set()  # ids of messages whose text is open
        self._calls: dict[tuple[str, Any], str] = {}  # ids of calls, by message and index
        self._seen: set[str] = set()

    def events(self, message: Any) -> Iterator[AgentEvent]:
        """Return the events for a message or chunk of a model or a tool; none for other messages."""
        if message.type == "tool":
            yield from self._result(message)
        elif message.type in ("ai", "AIMessageChunk"):
            yield from self._said(message)

    def _said(self, message: Any) -> Iterator[AgentEvent]:
        message_id, is_chunk = message.id or "", message.type == "AIMessageChunk"
        for kind, text in _texts(message):
            if kind == "reasoning":
                yield ReasoningMessageContentEvent(delta=text)
                continue
            if message_id not in self._texts:
                self._texts.add(message_id)
                yield TextMessageStartEvent(message_id=message_id)
            yield TextMessageContentEvent(message_id=message_id, delta=text)
        calls = message.tool_call_chunks if is_chunk else message.tool_calls
        if calls:
            yield from self._end_text(message_id)
        for call in calls:
            yield from self._part_of_call(message_id, call) if is_chunk else self._whole_call(message_id, call)
        if not is_chunk or getattr(message, "chunk_position", None) == "last":
            yield from self._end(message_id)

    def _part_of_call(self, message_id: str, chunk: Any) -> Iterator[AgentEvent]:
        key = (message_id, chunk.get("index"))
        call_id = chunk.get("id") or self._calls.get(key)
        if call_id is None:
            return
        if self._calls.get(key) != call_id:
            self._calls[key] = call_id
            yield from self._start(message_id, call_id, chunk.get("name") or "")
        if chunk.get("args"):
            yield ToolCallArgsEvent(tool_call_id=call_id, delta=chunk["args"])

    def _whole_call(self, message_id: str, call: Any) -> Iterator[AgentEvent]:
        if call["id"] is None or call["id"] in self._seen:
            return
        yield from self._start(message_id, call["id"], call["name"])
        yield ToolCallArgsEvent(tool_call_id=call["id"], delta=json.dumps(call["args"], ensure_ascii=False))
        yield ToolCallEndEvent(tool_call_id=call["id"])

    def _start(self, message_id: str, call_id: str, name: str) -> Iterator[AgentEvent]:
        if call_id not in self._seen:
            self._seen.add(call_id)
            self.waiting[call_id] = name
            yield ToolCallStartEvent(tool_call_id=call_id, tool_call_name=name, parent_message_id=message_id or None)

    def _result(self, message: Any) -> Iterator[AgentEvent]:
        self.waiting.pop(message.tool_call_id, None)
        content = as_text(message.content)
        yield ToolCallResultEvent(message_id=message.id or "", tool_call_id=message.tool_call_id, content=content)

    def _end_text(self, message_id: str) -> Iterator[AgentEvent]:
        if message_id in self._texts:
            self._texts.discard(message_id)
            yield TextMessageEndEvent(message_id=message_id)

    def _end(self, message_id: str) -> Iterator[AgentEvent]:
        yield from self._end_text(message_id)
        for key in [key for key in self._calls if key[0] == message_id]:
            yield ToolCallEndEvent(tool_call_id=self._calls.pop(key))


def _texts(message: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts and the reasoning of a message, in order."""
    if isinstance(message.content, str) and "reasoning_content" not in message.additional_kwargs:
        if message.content:
            yield "text", message.content
        return
    for block in message.content_blocks:
        kind = block["type"]
        if kind in ("text", "reasoning") and block.get(kind):
            yield kind, block[kind]


def as_langchain(messages: Iterable[dict[str, Any]]) -> list[Any]:
    """Return AG-UI messages as LangChain's, without their ids, which callers repeat."""
    from langchain_core.messages import convert_to_messages

    converted: list[Any] = convert_to_messages([_as_openai(message) for message in messages])
    return converted


def _as_openai(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = [_block(part) for part in content]
    made: dict[str, Any] = {"role": message["role"], "content": content}
    if message["role"] == "assistant" and (calls := calls_of(message)):
        functions = [{"id": call.id, "function": {"name": call.name, "arguments": call.arguments}} for call in calls]
        made["tool_calls"] = [{"type": "function", **function} for function in functions]
    if message["role"] == "tool":
        made["tool_call_id"] = message.get("toolCallId") or ""
    return made


def _block(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return part
    media = media_of(part)
    kind = "file" if media.kind == "document" else media.kind
    if media.url is not None:
        return {"type": kind, "url": media.url}
    return {"type": kind, "base64": part["source"]["value"], "mime_type": media.mime_type}
