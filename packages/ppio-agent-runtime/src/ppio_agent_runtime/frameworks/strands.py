"""Strands Agents: an agent holds one conversation, so each session has its own; its interrupts become ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ppio_agent_models import (
    AgentEvent,
    Interrupt,
    ReasoningMessageContentEvent,
    RunFinishedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from .turn import as_text, calls_of, interrupted, media_of, refusal

if TYPE_CHECKING:
    from ppio_agent_models import Resume

    from .turn import Turn


async def run(turn: Turn) -> AsyncGenerator[Any, None]:
    """Run the agent of a session, or continue a run whose questions are answered."""
    asked = await _input(turn)
    reader, result = EventReader(), None
    async with aclosing(_events(turn.agent, asked)) as events:
        async for event in events:
            result = event.get("result", result)
            for said in reader.events(event):
                yield said
    if questions := getattr(result, "interrupts", None):
        turn.session.pending = [each.id for each in questions]
        yield interrupted(map(_interrupt, questions))
    elif (output := getattr(result, "structured_output", None)) is not None:
        yield RunFinishedEvent(result=output)


async def _events(agent: Any, asked: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Run an agent in a task of its own, and yield its events.

    Strands nests generators without closing them, so closing the outermost one leaves the model's generator to the
    garbage collector. Cancelling a task stops the innermost generator, which is the one that waits.
    """
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()  # unbounded: the task only waits in Strands

    async def read() -> None:
        try:
            async for event in agent.stream_async(asked):
                queue.put_nowait(event)
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(read())
    try:
        while (event := await queue.get()) is not None:
            yield event
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _input(turn: Turn) -> Any:
    waiting = turn.session.pending or []
    if turn.request.resume:
        answers = turn.answers(waiting)
        turn.session.pending = None
        return [
            {"interruptResponse": {"interruptId": interrupt_id, "response": _response(answer)}}
            for interrupt_id, answer in answers.items()
        ]
    if waiting:
        raise refusal(f"This session waits for an answer to {', '.join(waiting)}: send resume first.")
    return await turn.input(lambda: _messages(turn.messages(remembers=bool(turn.agent.messages))))


def _response(answer: Resume) -> Any:
    """Return the answer in the form for the tool that asked."""
    return {"approved": False} if answer.status == "cancelled" else answer.payload


class EventReader:
    """Converts Strands' events of one run to AG-UI events."""

    def __init__(self) -> None:
        self._call_id: str | None = None  # the open call

    def events(self, event: dict[str, Any]) -> Iterator[AgentEvent]:
        """Return the AG-UI events for an event of Strands."""
        raw = event.get("event")
        if isinstance(raw, dict):
            yield from self._raw(raw)
        message = event.get("message")
        if isinstance(message, dict) and message.get("role") == "user":
            for block in message["content"]:
                if "toolResult" in block:
                    result = block["toolResult"]
                    yield ToolCallResultEvent(tool_call_id=result["toolUseId"], content=_result(result["content"]))

    def _raw(self, raw: dict[str, Any]) -> Iterator[AgentEvent]:
        if call := raw.get("contentBlockStart", {}).get("start", {}).get("toolUse"):
            self._call_id = call["toolUseId"]
            yield ToolCallStartEvent(tool_call_id=call["toolUseId"], tool_call_name=call["name"])
        delta = raw.get("contentBlockDelta", {}).get("delta", {})
        if delta.get("text"):
            yield TextMessageContentEvent(delta=delta["text"])
        if text := delta.get("reasoningContent", {}).get("text"):
            yield ReasoningMessageContentEvent(delta=text)
        if self._call_id and (arguments := delta.get("toolUse", {}).get("input")):
            yield ToolCallArgsEvent(tool_call_id=self._call_id, delta=as_text(arguments))
        if "contentBlockStop" in raw:
            yield TextMessageEndEvent() if self._call_id is None else ToolCallEndEvent(tool_call_id=self._call_id)
            self._call_id = None


def _result(content: list[dict[str, Any]]) -> str:
    texts = [block["text"] if "text" in block else as_text(block.get("json", block)) for block in content]
    return "\n".join(texts)


def _interrupt(question: Any) -> Interrupt:
    """Return an interrupt of Strands as ours; if a tool or a hook before its call raised it, its ID has the call's."""
    parts = question.id.split(":")
    call_id = parts[2] if len(parts) > 3 and parts[1].endswith("tool_call") else None
    return Interrupt(
        id=question.id,
        reason="tool_call" if call_id else "input_required",
        message=question.name if question.reason is None else as_text(question.reason),
        tool_call_id=call_id,
        metadata={"name": question.name, "value": question.reason},
    )


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return AG-UI messages as Strands', where the roles user and assistant alternate."""
    made: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = list(_blocks(message))
        if made and made[-1]["role"] == role:
            made[-1]["content"] += blocks
        elif blocks:
            made.append({"role": role, "content": blocks})
    return made


def _blocks(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = message.get("content") or ""
    if message["role"] == "tool":
        result = {"toolUseId": message.get("toolCallId"), "status": "success", "content": [{"text": as_text(content)}]}
        yield {"toolResult": result}
        return
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if part.get("type") != "text":
            yield _media(part)
        elif part["text"]:
            yield {"text": part["text"]}
    for call in calls_of(message):
        yield {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.decoded}}


def _media(part: dict[str, Any]) -> dict[str, Any]:
    media = media_of(part)
    if media.data is None or media.kind == "audio":
        raise refusal(f"This agent reads images, videos and documents that are sent as data, not {media.kind} by URL.")
    block: dict[str, Any] = {"format": media.mime_type.rpartition("/")[2], "source": {"bytes": media.data}}
    return {media.kind: {**block, "name": "document"} if media.kind == "document" else block}
