"""One run of a framework's agent: its input, its session, and helpers that all frameworks share."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from ppio_agent_models import (
    AgentError,
    AgentInput,
    Interrupt,
    PayloadValidationError,
    RunFinishedEvent,
    RunOutcome,
)
from ppio_agent_models._agent_input import message_text

from ..handler import explain

if TYPE_CHECKING:
    from ppio_agent_models import Resume

    from ..context import RequestContext
    from .sessions import Session

MakeSession = Callable[[str], Any]
MakeInput = Callable[[AgentInput], Any]


@dataclass(slots=True)
class Turn:
    """One run.

    Attributes:
        agent: The framework's object.
        request: The input.
        context: The context of the invocation.
        session: The state of the conversation.
        make_session: The user's function from a session ID to the framework's session object.
        make_input: The user's function from the request to the framework's input.
    """

    agent: Any
    request: AgentInput
    context: RequestContext
    session: Session
    make_session: MakeSession | None
    make_input: MakeInput | None

    @property
    def is_throwaway(self) -> bool:
        """Whether the caller named no session, so no state has to be kept."""
        return self.context.session_id is None

    @property
    def session_id(self) -> str:
        """The session ID, or an ID for this run alone."""
        return self.context.session_id or self.context.invocation_id

    async def memory(self, default: Callable[[], Any]) -> Any:
        """Return the framework's session object, created once: by the user's function, else by `default`."""
        if self.session.memory is None:
            made = default() if self.make_session is None else self.make_session(self.session_id)
            self.session.memory = await made if inspect.isawaitable(made) else made
        return self.session.memory

    async def input(self, default: Callable[[], Any]) -> Any:
        """Return the framework's input, made by the user's function, else by `default`."""
        if self.make_input is None:
            return default()
        made = self.make_input(self.request)
        return await made if inspect.isawaitable(made) else made

    def messages(self, *, remembers: bool) -> list[dict[str, Any]]:
        """Return the messages for the agent, in AG-UI's form.

        Many callers send the whole conversation each time, and an agent that remembers it must not get it twice.

        Args:
            remembers: The agent remembers the conversation up to its last message.

        Raises:
            AgentError: There are none; the error is that of a payload that doesn't fit.
        """
        messages = [each for each in self.request.messages if each.get("role") in _ROLES]
        if remembers:
            answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
            messages = messages[answers[-1] + 1 :] if answers else messages
        if not messages:
            raise refusal("The request has no new message: send a prompt, messages or resume.")
        return messages

    def answers(self, waiting: Iterable[str]) -> dict[str, Resume]:
        """Return the caller's answers by interrupt ID.

        Raises:
            AgentError: One answers an interrupt that this session does not wait for.
        """
        known = list(waiting)
        for answer in self.request.resume:
            if answer.interrupt_id not in known:
                raise refusal(
                    f"resume answers {answer.interrupt_id!r}, but this session waits for answers to: "
                    f"{', '.join(known) or 'nothing'}."
                )
        return {answer.interrupt_id: answer for answer in self.request.resume}


_ROLES = frozenset({"user", "assistant", "system", "developer", "tool"})


def agent_input(request: AgentInput | Mapping[str, Any] | str) -> AgentInput:
    """Return the input from a text, from a mapping with `prompt`, `messages` or `input`, or as it is.

    Raises:
        AgentError: It doesn't fit.
    """
    if isinstance(request, str):
        request = {"prompt": request}
    if not isinstance(request, AgentInput):
        try:
            request = AgentInput.model_validate(request)
        except ValidationError as error:
            raise refusal(explain(error)) from None
    given = (request.model_extra or {}).get("input")
    if request.prompt or request.messages or request.resume or not isinstance(given, str | list):
        return request
    name = "prompt" if isinstance(given, str) else "messages"
    return agent_input({**request.model_dump(exclude={"prompt", "messages", "input"}), name: given})


def refusal(sentence: str) -> AgentError:
    """Return the error for a request that passed validation but doesn't fit the agent's framework or session."""
    return AgentError(sentence, status_code=422, error_type=PayloadValidationError.__name__)


def is_approved(answer: Resume) -> bool:
    """Return whether an answer approves a tool call: `true`, or `{"approved": true}`."""
    payload = answer.payload
    if isinstance(payload, Mapping):
        payload = payload.get("approved", payload.get("approve"))
    return answer.status == "resolved" and payload is True


def reason_of(answer: Resume) -> str | None:
    """Return the reason for a rejection, if the answer has one."""
    reason = answer.payload.get("reason") if isinstance(answer.payload, Mapping) else None
    return reason if isinstance(reason, str) and reason else None


def approval(interrupt_id: str, call_id: str | None, tool: str, arguments: Any) -> Interrupt:
    """Return the interrupt that asks to approve a tool call."""
    shown = as_text(arguments if arguments is not None else {})
    return Interrupt(
        id=interrupt_id,
        reason="tool_call",
        message=f"May {tool} be called with {shown}?",
        tool_call_id=call_id,
        metadata={"tool": tool, "arguments": arguments},
    )


def interrupted(questions: Iterable[Interrupt]) -> RunFinishedEvent:
    """Return the last event of a run that waits for answers."""
    return RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=list(questions)))


class Media(NamedTuple):
    """A part of a message that is not text.

    Attributes:
        kind: `image`, `audio`, `video` or `document`.
        mime_type: Such as `image/png`.
        data: Its bytes, or None if it is at `url`.
        url: Its URL, or None if its bytes were sent.
    """

    kind: str
    mime_type: str
    data: bytes | None
    url: str | None

    @property
    def as_url(self) -> str:
        """Its address, or a `data:` URL of its bytes."""
        return self.url or f"data:{self.mime_type};base64,{base64.b64encode(self.data or b'').decode()}"


def media_of(part: Mapping[str, Any]) -> Media:
    """Return the media in a part of an AG-UI message.

    Raises:
        AgentError: Its kind is unknown, or it is not base64.
    """
    kind, source = str(part.get("type")), part.get("source")
    if kind not in _MEDIA_TYPES or not isinstance(source, Mapping) or not isinstance(source.get("value"), str):
        raise refusal(f"A part of a message is text, image, audio, video or document with a source, not {kind!r}.")
    mime_type = source.get("mimeType") or _MEDIA_TYPES[kind]
    if source.get("type") == "url":
        return Media(kind, mime_type, None, source["value"])
    try:
        return Media(kind, mime_type, base64.b64decode(source["value"], validate=True), None)
    except ValueError as error:
        raise refusal(f"The data of a part of type {kind!r} is not base64: {error}.") from None


_MEDIA_TYPES = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4", "document": "application/pdf"}


class ToolCall(NamedTuple):
    """A tool call in an assistant message; its arguments are JSON text."""

    id: str
    name: str
    arguments: str

    @property
    def decoded(self) -> Any:
        """The arguments, decoded."""
        try:
            return json.loads(self.arguments)
        except ValueError as error:
            raise refusal(f"The arguments of the tool call {self.id!r} are not JSON: {error}.") from None


def calls_of(message: Mapping[str, Any]) -> list[ToolCall]:
    """Return the tool calls of an AG-UI message.

    Raises:
        AgentError: One doesn't have AG-UI's form.
    """
    try:
        calls = [(call["id"], call["function"]) for call in message.get("toolCalls") or []]
        return [ToolCall(call_id, function["name"], function["arguments"]) for call_id, function in calls]
    except (TypeError, KeyError):
        raise refusal("Each of toolCalls has an id, and a function with name and arguments.") from None


def as_text(value: Any) -> str:
    """Return a tool's result, or its arguments, as text: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return message_text(value) or json.dumps(value, ensure_ascii=False, default=str)
