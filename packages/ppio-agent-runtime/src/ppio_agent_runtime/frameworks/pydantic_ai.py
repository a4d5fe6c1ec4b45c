"""Pydantic AI: the session is a list of its messages; deferred tools are interrupts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
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

from .turn import approval, as_text, calls_of, interrupted, is_approved, media_of, reason_of, refusal

if TYPE_CHECKING:
    from .turn import Turn


async def run(turn: Turn) -> AsyncGenerator[Any, None]:
    """Run an agent, or continue a run whose deferred calls are answered."""
    memory = await turn.memory(list)
    reader, result = EventReader(), None
    async with turn.agent.run_stream_events(**await _input(turn, memory)) as events:
        async for event in events:
            if event.event_kind == "agent_run_result":
                result = event.result
            for said in reader.events(event):
                yield said
    if result is None:
        return
    if type(result.output).__name__ == "DeferredToolRequests":
        turn.session.pending = (result.output, result.all_messages())
        yield interrupted(_interrupts(result.output))
        return
    memory[:] = result.all_messages()
    if not isinstance(result.output, str):
        yield RunFinishedEvent(result=result.output)


async def _input(turn: Turn, memory: Any) -> dict[str, Any]:
    """Return the arguments of a run."""
    if turn.request.resume:
        return _answered(turn)
    turn.session.pending = None  # a run whose questions were not answered is dropped from the conversation
    if turn.make_input is not None:
        return {"user_prompt": await turn.input(str), "message_history": list(memory)}
    return {"message_history": [*memory, *_messages(turn.messages(remembers=bool(memory)))]}


def _answered(turn: Turn) -> dict[str, Any]:
    from pydantic_ai import DeferredToolResults, ToolApproved, ToolDenied

    requests, messages = turn.session.pending or (None, [])
    approvals = [call.tool_call_id for call in requests.approvals] if requests else []
    calls = [call.tool_call_id for call in requests.calls] if requests else []
    answers = turn.answers([*approvals, *calls])
    if missing := [call_id for call_id in (*approvals, *calls) if call_id not in answers]:
        raise refusal(f"resume must answer all interrupts at once; these have no answer: {', '.join(missing)}.")
    turn.session.pending = None
    results = DeferredToolResults()
    for call_id in approvals:
        denied = ToolDenied(reason_of(answers[call_id]) or "The user has not approved this call.")
        results.approvals[call_id] = ToolApproved() if is_approved(answers[call_id]) else denied
    for call_id in calls:
        results.calls[call_id] = answers[call_id].payload
    return {"message_history": messages, "deferred_tool_results": results}


def _interrupts(requests: Any) -> Iterator[Interrupt]:
    for call in requests.approvals:
        yield approval(call.tool_call_id, call.tool_call_id, call.tool_name, call.args)
    for call in requests.calls:
        yield Interrupt(
            id=call.tool_call_id,
            message=f"What does {call.tool_name} return for {as_text(call.args or {})}?",
            tool_call_id=call.tool_call_id,
            metadata={"tool": call.tool_name, "arguments": call.args},
        )


class EventReader:
    """Converts Pydantic AI's events of one run to AG-UI events."""

    def __init__(self) -> None:
        self._call_id = ""  # the open call

    def events(self, event: Any) -> Iterator[AgentEvent]:
        """Return the AG-UI events for an event of Pydantic AI."""
        kind = event.event_kind
        if kind == "part_start":
            yield from self._start(event.part)
        elif kind == "part_delta":
            yield from self._delta(event.delta)
        elif kind == "part_end" and event.part.part_kind == "text":
            yield TextMessageEndEvent()
        elif kind == "part_end" and event.part.part_kind == "tool-call":
            yield ToolCallEndEvent(tool_call_id=event.part.tool_call_id)
        elif kind in ("function_tool_result", "output_tool_result"):
            part = getattr(event, "part", None) or event.result
            if part.tool_name is not None:
                content = part.content if part.part_kind == "retry-prompt" else part.model_response_str()
                yield ToolCallResultEvent(tool_call_id=part.tool_call_id, content=as_text(content))

    def _start(self, part: Any) -> Iterator[AgentEvent]:
        if part.part_kind == "tool-call":
            self._call_id = part.tool_call_id
            yield ToolCallStartEvent(tool_call_id=part.tool_call_id, tool_call_name=part.tool_name)
            yield from self._arguments(part.args)
        elif part.part_kind in ("text", "thinking") and part.content:
            yield from _said(part.part_kind, part.content)

    def _delta(self, delta: Any) -> Iterator[AgentEvent]:
        if delta.part_delta_kind == "tool_call":
            yield from self._arguments(delta.args_delta)
        elif delta.content_delta:
            yield from _said(delta.part_delta_kind, delta.content_delta)

    def _arguments(self, arguments: Any) -> Iterator[AgentEvent]:
        if arguments:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
            yield ToolCallArgsEvent(tool_call_id=self._call_id, delta=text)


def _said(kind: str, text: str) -> Iterator[AgentEvent]:
    yield TextMessageContentEvent(delta=text) if kind == "text" else ReasoningMessageContentEvent(delta=text)


def _messages(messages: list[dict[str, Any]]) -> Iterator[Any]:
    """Return AG-UI messages as Pydantic AI's."""
    from pydantic_ai.messages import (
        ModelRequest,
        ModelResponse,
        SystemPromptPart,
        TextPart,
        ToolCallPart,
        ToolReturnPart,
        UserPromptPart,
    )

    names: dict[str, str] = {}
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        if role == "user":
            parts = [_part(part) for part in content] if isinstance(content, list) else content
            yield ModelRequest(parts=[UserPromptPart(parts)])
        elif role == "assistant":
            calls = calls_of(message)
            names |= {call.id: call.name for call in calls}
            said = [TextPart(as_text(content))] if content else []
            made = [ToolCallPart(call.name, call.arguments, call.id) for call in calls]
            yield ModelResponse(parts=[*said, *made])
        elif role == "tool":
            call_id = message.get("toolCallId") or ""
            yield ModelRequest(parts=[ToolReturnPart(names.get(call_id, "tool"), as_text(content), call_id)])
        else:
            yield ModelRequest(parts=[SystemPromptPart(as_text(content))])


def _part(part: dict[str, Any]) -> Any:
    from pydantic_ai import messages

    if part.get("type") == "text":
        return part["text"]
    media = media_of(part)
    if media.data is not None:
        return messages.BinaryContent(media.data, media_type=media.mime_type)
    kinds = {"image": messages.ImageUrl, "audio": messages.AudioUrl, "video": messages.VideoUrl}
    return kinds.get(media.kind, messages.DocumentUrl)(media.url)
