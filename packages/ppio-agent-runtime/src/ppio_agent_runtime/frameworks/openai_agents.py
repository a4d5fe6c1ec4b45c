"""OpenAI Agents SDK: the session is one of its `Session`s; tools that need approval are interrupts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

from ppio_agent_models import (
    AgentEvent,
    Interrupt,
    ReasoningMessageContentEvent,
    RunFinishedEvent,
    StepFinishedEvent,
    StepStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from .turn import approval, as_text, calls_of, interrupted, is_approved, media_of, reason_of

if TYPE_CHECKING:
    from .turn import Turn

_REASONING = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})
_TEXT = frozenset({"response.output_text.delta", "response.refusal.delta"})


async def run(turn: Turn) -> AsyncGenerator[Any, None]:
    """Run an agent, or continue a run whose calls were approved or rejected."""
    from agents import RunConfig, Runner

    memory = await turn.memory(lambda: Memory(turn.session_id))
    asked = await _input(turn, memory)
    config = RunConfig(session_input_callback=lambda history, new: [*history, *new])
    reader, stream = EventReader(), Runner.run_streamed(turn.agent, asked, session=memory, run_config=config)
    try:
        async for event in stream.stream_events():
            for said in reader.events(event):
                yield said
    finally:
        await _stop(stream)
    for said in reader.end():
        yield said
    if stream.interruptions:
        calls = {_field(item.raw_item, "call_id") or _field(item.raw_item, "id"): item for item in stream.interruptions}
        turn.session.pending = (stream.to_state(), calls)
        yield interrupted(_interrupt(call_id, item) for call_id, item in calls.items())
    elif stream.final_output is not None and not isinstance(stream.final_output, str):
        yield RunFinishedEvent(result=stream.final_output)


async def _input(turn: Turn, memory: Any) -> Any:
    """Return the input of a new run, or the state of the interrupted run with the answers applied."""
    if not turn.request.resume:
        turn.session.pending = None
        remembers = bool(await memory.get_items(limit=1))
        return await turn.input(lambda: [item for each in turn.messages(remembers=remembers) for item in _items(each)])
    pending: tuple[Any, dict[str, Any]] = turn.session.pending or (None, {})
    state, calls = pending
    answers = turn.answers(calls)
    turn.session.pending = None
    for call_id, answer in answers.items():
        if is_approved(answer):
            state.approve(calls[call_id])
        else:
            state.reject(calls[call_id], rejection_message=reason_of(answer))
    return state


async def _stop(stream: Any) -> None:
    """Cancel a run that is not over, and wait for its task, which closes the model's generator."""
    if not stream.is_complete:
        stream.cancel()
    task = getattr(stream, "run_loop_task", None)
    if task is not None and not task.done():
        await asyncio.wait([task])


class Memory:
    """A session in memory that implements the SDK's protocol `Session`.

    Args:
        session_id: Its name.
    """

    session_settings = None

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self._items: list[Any] = []

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """Return all items, or the newest `limit` of them."""
        return list(self._items if limit is None else self._items[-limit:] if limit > 0 else [])

    async def add_items(self, items: list[Any]) -> None:
        """Add items."""
        self._items += items

    async def pop_item(self) -> Any:
        """Remove and return the newest item, or return None if there is none."""
        return self._items.pop() if self._items else None

    async def clear_session(self) -> None:
        """Remove all items."""
        self._items.clear()


class EventReader:
    """Converts the SDK's events of one run to AG-UI events."""

    def __init__(self) -> None:
        self._calls: dict[int, str] = {}  # IDs of the open calls, by their index in the model's response
        self._has_arguments: set[str] = set()
        self._agent: str | None = None
        self._step: str | None = None

    def events(self, event: Any) -> Iterator[AgentEvent]:
        """Return the AG-UI events for an event of the SDK."""
        if event.type == "raw_response_event":
            yield from self._raw(event.data)
        elif event.type == "run_item_stream_event" and event.item.type == "tool_call_output_item":
            if call_id := _field(event.item.raw_item, "call_id"):
                yield ToolCallResultEvent(tool_call_id=call_id, content=as_text(event.item.output))
        elif event.type == "agent_updated_stream_event":
            if self._agent not in (None, event.new_agent.name):
                yield from self.end()
                self._step = event.new_agent.name
                yield StepStartedEvent(step_name=self._step)
            self._agent = event.new_agent.name

    def end(self) -> Iterator[AgentEvent]:
        """Return the end of the open step: that of an agent to which the run was handed off."""
        if self._step is not None:
            yield StepFinishedEvent(step_name=self._step)
            self._step = None

    def _raw(self, data: Any) -> Iterator[AgentEvent]:
        if data.type in _TEXT:
            yield TextMessageContentEvent(message_id=_real(data.item_id), delta=data.delta)
        elif data.type in _REASONING:
            yield ReasoningMessageContentEvent(delta=data.delta)
        elif data.type == "response.function_call_arguments.delta":
            if call_id := self._calls.get(data.output_index):
                self._has_arguments.add(call_id)
                yield ToolCallArgsEvent(tool_call_id=call_id, delta=data.delta)
        elif data.type == "response.output_item.added" and data.item.type == "function_call":
            yield from self._start(data)
        elif data.type == "response.output_item.done":
            yield from self._done(data)

    def _start(self, data: Any) -> Iterator[AgentEvent]:
        self._calls[data.output_index] = data.item.call_id
        yield ToolCallStartEvent(tool_call_id=data.item.call_id, tool_call_name=data.item.name)

    def _done(self, data: Any) -> Iterator[AgentEvent]:
        if data.item.type == "message":
            yield TextMessageEndEvent(message_id=_real(data.item.id))
        elif data.item.type == "function_call":
            if data.output_index not in self._calls:
                yield from self._start(data)
            call_id = self._calls.pop(data.output_index)
            if call_id not in self._has_arguments and data.item.arguments:
                yield ToolCallArgsEvent(tool_call_id=call_id, delta=data.item.arguments)
            yield ToolCallEndEvent(tool_call_id=call_id)


def _real(item_id: str | None) -> str:
    """Return a message ID, or "" for the placeholder that the SDK uses for all messages of Chat Completions."""
    return "" if item_id is None or "fake" in item_id else item_id


def _interrupt(call_id: str, item: Any) -> Interrupt:
    return approval(call_id, call_id, item.name or "", _field(item.raw_item, "arguments"))


def _field(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


def _items(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the items of the Responses API for a message."""
    content, role = message.get("content") or "", message["role"]
    if role == "tool":
        yield {"type": "function_call_output", "call_id": message.get("toolCallId"), "output": as_text(content)}
        return
    if isinstance(content, list):
        content = [_part(part) for part in content] if role == "user" else as_text(content)
    if content:
        yield {"role": role, "content": content}
    for call in calls_of(message):
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "input_text", "text": part["text"]}
    media = media_of(part)
    if media.kind == "image":
        return {"type": "input_image", "image_url": media.as_url, "detail": "auto"}
    if media.url is not None:
        return {"type": "input_file", "file_url": media.url}
    return {"type": "input_file", "file_data": media.as_url, "filename": "document"}
