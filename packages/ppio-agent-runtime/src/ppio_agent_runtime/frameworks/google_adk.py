"""Google's Agent Development Kit: sessions are in a `SessionService`; tool confirmations become interrupts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import (
    AgentEvent,
    Interrupt,
    ReasoningMessageContentEvent,
    TextMessageContentEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from .turn import approval, as_text, calls_of, interrupted, is_approved, media_of

if TYPE_CHECKING:
    from .turn import Turn

APP_NAME: Final = "ppio_agent"
"""The app name of sessions in a `SessionService`."""
DEFAULT_USER: Final = "user"
"""The user ID of sessions whose caller sends none."""
_CONFIRMATION: Final = "adk_request_confirmation"


async def run(turn: Turn) -> AsyncGenerator[Any, None]:
    """Run an agent, or continue a run whose confirmations are answered."""
    from google.adk.agents import RunConfig
    from google.adk.agents.run_config import StreamingMode
    from google.adk.runners import Runner
    from google.adk.sessions import InMemorySessionService

    service = await turn.memory(InMemorySessionService)
    names = {"user_id": turn.context.user_id or DEFAULT_USER, "session_id": turn.session_id}
    session = await service.get_session(app_name=APP_NAME, **names)
    if session is None:
        session = await service.create_session(app_name=APP_NAME, **names)
    asked = await _input(turn, service, session)
    runner = Runner(app_name=APP_NAME, agent=turn.agent, session_service=service)
    config = RunConfig(streaming_mode=StreamingMode.SSE)
    reader = EventReader()
    async with aclosing(runner.run_async(**names, new_message=asked, run_config=config)) as events:
        async for event in events:
            for said in reader.events(event):
                yield said
    if reader.interrupts:
        turn.session.pending = list(reader.interrupts)
        yield interrupted(reader.interrupts.values())


async def _input(turn: Turn, service: Any, session: Any) -> Any:
    """Return the new message; earlier messages are added to the session if it is new."""
    from google.adk.events import Event
    from google.genai import types

    if turn.request.resume:
        answers = turn.answers(turn.session.pending or [])
        turn.session.pending = None
        responses = [
            types.FunctionResponse(
                id=interrupt_id,
                name=_CONFIRMATION,
                response={"confirmed": is_approved(answer), "payload": answer.payload},
            )
            for interrupt_id, answer in answers.items()
        ]
        return types.Content(role="user", parts=[types.Part(function_response=each) for each in responses])
    turn.session.pending = None
    if turn.make_input is not None:
        made = await turn.input(str)
        return types.Content(role="user", parts=[types.Part(text=made)]) if isinstance(made, str) else made
    contents = _contents(turn.messages(remembers=bool(session.events)))
    for content in contents[:-1]:
        author = turn.agent.name if content.role == "model" else "user"
        await service.append_event(session, Event(author=author, content=content, invocation_id="earlier"))
    return contents[-1]


class EventReader:
    """Converts the ADK's events of one run to AG-UI events.

    Attributes:
        interrupts: The confirmations that the run waits for, by their IDs.
    """

    def __init__(self) -> None:
        self.interrupts: dict[str, Interrupt] = {}
        self._has_streamed = False  # then the next complete text repeats what was streamed

    def events(self, event: Any) -> Iterator[AgentEvent]:
        """Return the AG-UI events for an event of the ADK.

        Raises:
            RuntimeError: The model failed, which the ADK reports in an event.
        """
        parts = (event.content.parts or []) if event.content else []
        if event.error_code and not parts:
            raise RuntimeError(f"{event.error_code}: {event.error_message}")
        is_repeated = self._has_streamed and not event.partial
        for part in parts:
            if part.text and not is_repeated:
                yield _said(part)
            if part.function_call and not event.partial:
                yield from self._call(part.function_call)
            response = part.function_response
            if response and response.id not in event.actions.requested_tool_confirmations:
                yield ToolCallResultEvent(tool_call_id=response.id or "", content=_result(response.response))
        if any(part.text for part in parts):
            self._has_streamed = bool(event.partial)

    def _call(self, call: Any) -> Iterator[AgentEvent]:
        if call.name == _CONFIRMATION:
            asked, hint = call.args["originalFunctionCall"], call.args.get("toolConfirmation", {})
            question = approval(call.id, asked.get("id"), asked["name"], asked.get("args"))
            self.interrupts[call.id] = question.model_copy(
                update={"metadata": {**(question.metadata or {}), "confirmation": hint}}
            )
            return
        yield ToolCallStartEvent(tool_call_id=call.id or call.name, tool_call_name=call.name)
        arguments = json.dumps(call.args or {}, ensure_ascii=False, default=str)
        yield ToolCallArgsEvent(tool_call_id=call.id or call.name, delta=arguments)
        yield ToolCallEndEvent(tool_call_id=call.id or call.name)


def _said(part: Any) -> AgentEvent:
    return ReasoningMessageContentEvent(delta=part.text) if part.thought else TextMessageContentEvent(delta=part.text)


def _result(response: Any) -> str:
    """Return a tool's result as text; the ADK wraps results that are not dicts in one."""
    is_wrapped = isinstance(response, dict) and response.keys() == {"result"}
    return as_text(response["result"] if is_wrapped else response)


def _contents(messages: list[dict[str, Any]]) -> list[Any]:
    """Return AG-UI messages as the ADK's contents; consecutive messages of one role become one content."""
    from google.genai import types

    contents: list[Any] = []
    names: dict[str, str] = {}
    for message in messages:
        role, parts = "model" if message["role"] == "assistant" else "user", list(_parts(message, names))
        if contents and contents[-1].role == role:
            contents[-1].parts += parts
        else:
            contents.append(types.Content(role=role, parts=parts))
    return contents


def _parts(message: dict[str, Any], names: dict[str, str]) -> Iterator[Any]:
    from google.genai import types

    content = message.get("content") or ""
    if message["role"] == "tool":
        call_id = message.get("toolCallId") or ""
        response = {"result": as_text(content)}
        yield types.Part(
            function_response=types.FunctionResponse(id=call_id, name=names.get(call_id, "tool"), response=response)
        )
        return
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if part.get("type") == "text":
            yield types.Part(text=part["text"])
        elif (media := media_of(part)).data is not None:
            yield types.Part.from_bytes(data=media.data, mime_type=media.mime_type)
        else:
            yield types.Part.from_uri(file_uri=media.url or "", mime_type=media.mime_type)
    for call in calls_of(message):
        names[call.id] = call.name
        yield types.Part(function_call=types.FunctionCall(id=call.id, name=call.name, args=call.decoded))
