"""LangGraph: compiled graphs, `create_agent` and functional entrypoints. Memory and interrupts need a checkpointer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from ppio_agent_models import AgentEvent, CustomEvent, Interrupt, RunFinishedEvent
from ppio_agent_models._framing import as_event, is_event_object

from .langchain_messages import MessageReader, as_langchain
from .turn import as_text, interrupted, is_approved, reason_of

if TYPE_CHECKING:
    from ppio_agent_models import Resume

    from .turn import Turn

_MESSAGES = "messages"


async def run(turn: Turn) -> AsyncGenerator[Any, None]:
    """Run a graph; the session is its thread."""
    graph = turn.agent
    saver = graph.checkpointer or None
    config = {"configurable": {"thread_id": turn.session_id}}
    reader, interrupts, values = MessageReader(), dict[str, Interrupt](), None
    modes = [_MESSAGES, "updates", "custom", *([] if _has_messages(graph) else ["values"])]
    try:
        asked = await _input(turn, config if saver else None)
        async with aclosing(graph.astream(asked, config, stream_mode=modes)) as parts:
            async for mode, data in parts:
                if mode == _MESSAGES:
                    for event in reader.events(data[0]):
                        yield event
                elif mode == "custom":
                    yield _custom(data)
                elif mode == "values":
                    values = data
                elif "__interrupt__" in data:
                    interrupts |= {each.id: _interrupt(each, reader.waiting) for each in data["__interrupt__"]}
    finally:
        if saver and turn.is_throwaway:
            await saver.adelete_thread(turn.session_id)
    if interrupts:
        yield interrupted(interrupts.values())
    elif values is not None:
        yield RunFinishedEvent(result=values)


async def _input(turn: Turn, config: Any) -> Any:
    """Return the input of the graph.

    Args:
        turn: The run.
        config: Names the thread; None if the graph has no checkpointer.
    """
    state = await turn.agent.aget_state(config) if config else None
    if not turn.request.resume:
        remembers = state is not None and bool(state.values)
        return await turn.input(lambda: {_MESSAGES: as_langchain(turn.messages(remembers=remembers))})
    from langgraph.types import Command

    waiting = {each.id: each.value for task in (state.tasks if state else ()) for each in task.interrupts}
    return Command(resume={key: _payload(answer, waiting[key]) for key, answer in turn.answers(waiting).items()})


def _has_messages(graph: Any) -> bool:
    channels = graph.output_channels
    return _MESSAGES in ([channels] if isinstance(channels, str) else channels)


def _custom(data: Any) -> Any:
    """Return the event for what a node wrote to its stream writer; a value that is not an event becomes CUSTOM."""
    event = None if is_event_object(data) else as_event(data)
    if event is not None:
        return AgentEvent.parse(event)
    return data if is_event_object(data) else CustomEvent(name="langgraph", value=data)


def _interrupt(interrupt: Any, waiting: Mapping[str, str]) -> Interrupt:
    """Return an interrupt of a node, or of LangChain's approval of tool calls, as ours."""
    value, call_id, reason = interrupt.value, None, "input_required"
    if actions := _actions(value):
        message = "\n\n".join(str(each.get("description") or each["name"]) for each in actions)
        reason = "tool_call"
        call_id = next((call_id for call_id, name in waiting.items() if name == actions[0]["name"]), None)
    else:
        named = [value.get(key) for key in ("message", "question", "description")] if isinstance(value, dict) else []
        message = next((text for text in named if isinstance(text, str)), None) or as_text(value)
    schema = getattr(interrupt, "response_schema", None)
    return Interrupt(
        id=interrupt.id,
        reason=reason,
        message=message,
        tool_call_id=call_id,
        response_schema=schema if isinstance(schema, dict) else None,
        metadata={"value": value},
    )


def _payload(answer: Resume, asked: Any) -> Any:
    """Return the payload of an answer; a plain yes or no to LangChain's approval becomes its list of decisions."""
    payload = answer.payload if answer.status == "resolved" else None
    if not (actions := _actions(asked)) or (isinstance(payload, Mapping) and "decisions" in payload):
        return payload
    if is_approved(answer):
        return {"decisions": [{"type": "approve"} for _ in actions]}
    rejection = {"type": "reject", "message": reason_of(answer) or "The user has not approved this call."}
    return {"decisions": [rejection for _ in actions]}


def _actions(value: Any) -> list[Any]:
    """Return the tool calls that `HumanInTheLoopMiddleware` asks to approve; none for other interrupts."""
    actions = value.get("action_requests") if isinstance(value, dict) else None
    return list(actions) if isinstance(actions, Iterable) else []
