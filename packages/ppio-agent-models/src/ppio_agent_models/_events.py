"""The events that an agent sends while it works: those of AG-UI 1.0 (https://docs.ag-ui.com/concepts/events).

Field names are snake_case here and camelCase on the wire. Unknown fields and types are kept, optional fields without a
value are left out. A run is RUN_STARTED, the agent's own events, and RUN_FINISHED or RUN_ERROR. Messages and tool calls
have a start, contents and an end.

Agents may leave message ids empty, and starts and ends out: the runtime fills them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ._base import Contract
from ._framing import EVENT_TYPES
from ._private_fields import private_fields


def _absent() -> Any:
    """Declare an optional field that is left out of the JSON where it has no value."""
    return Field(default=None, exclude_if=lambda value: value is None)


class WireModel(Contract):
    """A model with snake_case names in Python and camelCase names on the wire; both are read."""

    model_config: ClassVar[ConfigDict] = ConfigDict(alias_generator=to_camel, serialize_by_alias=True)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        return self.model_dump(mode="json", exclude=private_fields(self, "event"))


class Interrupt(WireModel):
    """A question that a run ends with; the next run answers it with a `Resume`.

    Attributes:
        reason: What kind of question it is, such as `tool_call` or `input_required`.
        message: The question, for a person.
        tool_call_id: The tool call that waits for an approval.
        response_schema: JSON Schema of the answer's `payload`.
        expires_at: ISO 8601; later answers are not accepted.
    """

    id: str
    reason: str = "input_required"
    message: str | None = _absent()
    tool_call_id: str | None = _absent()
    response_schema: dict[str, Any] | None = _absent()
    expires_at: str | None = _absent()
    metadata: dict[str, Any] | None = _absent()
    subagent_run_id: str | None = _absent()


class RunOutcome(WireModel):
    """How a run ended.

    Attributes:
        interrupts: What the run waits for, if `type` is `interrupt`.
        pending_tool_call_ids: Calls of the caller's own tools whose results it waits for.
    """

    type: str = "success"
    interrupts: list[Interrupt] | None = _absent()
    pending_tool_call_ids: list[str] | None = _absent()


class AgentEvent(WireModel):
    """One event of a run, of a type that has no class of its own.

    Attributes:
        type: Which event it is, such as `TEXT_MESSAGE_CONTENT`.
        timestamp: In milliseconds since 1970.
        raw_event: The original event of a framework or provider, unchanged.
    """

    is_agent_event: ClassVar[bool] = True

    type: str
    timestamp: int | None = _absent()
    raw_event: Any = _absent()
    metadata: dict[str, Any] | None = _absent()

    @staticmethod
    def parse(data: Mapping[str, Any]) -> AgentEvent:
        """Return an event of the class for its `type`; a plain `AgentEvent` if there is none, or a field is not valid.

        Raises:
            ValidationError: It has no `type`.
        """
        try:
            return _CLASSES.get(str(data.get("type")), AgentEvent).model_validate(data)
        except ValidationError:
            return AgentEvent.model_validate({"type": data.get("type")}).model_copy(update=dict(data))


class _Attributed(AgentEvent):
    """An event that may be a subagent's."""

    subagent_run_id: str | None = _absent()


class _OfSubagent(AgentEvent):
    """An event about a subagent."""

    subagent_run_id: str


class TextMessageStartEvent(_Attributed):
    """A text message begins."""

    type: Literal["TEXT_MESSAGE_START"] = "TEXT_MESSAGE_START"
    message_id: str = ""
    role: Literal["developer", "system", "assistant", "user"] = "assistant"
    name: str | None = _absent()


class TextMessageContentEvent(_Attributed):
    """More text of a message."""

    type: Literal["TEXT_MESSAGE_CONTENT"] = "TEXT_MESSAGE_CONTENT"
    message_id: str = ""
    delta: str


class TextMessageEndEvent(_Attributed):
    """A text message is complete."""

    type: Literal["TEXT_MESSAGE_END"] = "TEXT_MESSAGE_END"
    message_id: str = ""


class TextMessageChunkEvent(_Attributed):
    """Start, contents and end of a message in one event; the runtime expands it."""

    type: Literal["TEXT_MESSAGE_CHUNK"] = "TEXT_MESSAGE_CHUNK"
    message_id: str | None = _absent()
    role: Literal["developer", "system", "assistant", "user"] | None = _absent()
    delta: str | None = _absent()
    name: str | None = _absent()


class ReasoningStartEvent(_Attributed):
    """The agent starts reasoning."""

    type: Literal["REASONING_START"] = "REASONING_START"
    message_id: str = ""


class ReasoningMessageStartEvent(_Attributed):
    """A reasoning message begins."""

    type: Literal["REASONING_MESSAGE_START"] = "REASONING_MESSAGE_START"
    message_id: str = ""
    role: Literal["reasoning"] = "reasoning"


class ReasoningMessageContentEvent(_Attributed):
    """More text of a reasoning message."""

    type: Literal["REASONING_MESSAGE_CONTENT"] = "REASONING_MESSAGE_CONTENT"
    message_id: str = ""
    delta: str


class ReasoningMessageEndEvent(_Attributed):
    """A reasoning message is complete."""

    type: Literal["REASONING_MESSAGE_END"] = "REASONING_MESSAGE_END"
    message_id: str = ""


class ReasoningMessageChunkEvent(_Attributed):
    """Start, contents and end of a reasoning message in one event; the runtime expands it."""

    type: Literal["REASONING_MESSAGE_CHUNK"] = "REASONING_MESSAGE_CHUNK"
    message_id: str | None = _absent()
    delta: str | None = _absent()


class ReasoningEndEvent(_Attributed):
    """The agent has finished reasoning."""

    type: Literal["REASONING_END"] = "REASONING_END"
    message_id: str = ""


class ReasoningEncryptedValueEvent(_Attributed):
    """A provider's encrypted reasoning, to be sent back with the message or tool call `entity_id`."""

    type: Literal["REASONING_ENCRYPTED_VALUE"] = "REASONING_ENCRYPTED_VALUE"
    subtype: Literal["tool-call", "message"] = "message"
    entity_id: str
    encrypted_value: str


class ToolCallStartEvent(_Attributed):
    """The agent calls a tool; its arguments follow."""

    type: Literal["TOOL_CALL_START"] = "TOOL_CALL_START"
    tool_call_id: str
    tool_call_name: str
    parent_message_id: str | None = _absent()


class ToolCallArgsEvent(_Attributed):
    """More of a tool call's arguments, which are JSON text when they are complete."""

    type: Literal["TOOL_CALL_ARGS"] = "TOOL_CALL_ARGS"
    tool_call_id: str
    delta: str


class ToolCallEndEvent(_Attributed):
    """The arguments of a tool call are complete."""

    type: Literal["TOOL_CALL_END"] = "TOOL_CALL_END"
    tool_call_id: str


class ToolCallChunkEvent(_Attributed):
    """Start, arguments and end of a tool call in one event; the runtime expands it."""

    type: Literal["TOOL_CALL_CHUNK"] = "TOOL_CALL_CHUNK"
    tool_call_id: str | None = _absent()
    tool_call_name: str | None = _absent()
    parent_message_id: str | None = _absent()
    delta: str | None = _absent()


class ToolCallResultEvent(_Attributed):
    """What a tool returned: text, or a list of content parts."""

    type: Literal["TOOL_CALL_RESULT"] = "TOOL_CALL_RESULT"
    message_id: str = ""
    tool_call_id: str
    content: str | list[dict[str, Any]]
    role: Literal["tool"] = "tool"


class StateSnapshotEvent(_Attributed):
    """The agent's complete state."""

    type: Literal["STATE_SNAPSHOT"] = "STATE_SNAPSHOT"
    snapshot: Any


class StateDeltaEvent(_Attributed):
    """A change of the agent's state: a JSON Patch (RFC 6902)."""

    type: Literal["STATE_DELTA"] = "STATE_DELTA"
    delta: list[dict[str, Any]]


class MessagesSnapshotEvent(AgentEvent):
    """All messages of the conversation."""

    type: Literal["MESSAGES_SNAPSHOT"] = "MESSAGES_SNAPSHOT"
    messages: list[dict[str, Any]]


class ActivitySnapshotEvent(_Attributed):
    """Complete progress that is not part of the conversation; `replace=False` keeps what is there already."""

    type: Literal["ACTIVITY_SNAPSHOT"] = "ACTIVITY_SNAPSHOT"
    message_id: str = ""
    activity_type: str
    content: dict[str, Any]
    replace: bool | None = _absent()


class ActivityDeltaEvent(_Attributed):
    """A change of progress: a JSON Patch (RFC 6902)."""

    type: Literal["ACTIVITY_DELTA"] = "ACTIVITY_DELTA"
    message_id: str = ""
    activity_type: str
    patch: list[dict[str, Any]]


class StepStartedEvent(_Attributed):
    """A named step of the work begins, such as a node of a graph."""

    type: Literal["STEP_STARTED"] = "STEP_STARTED"
    step_name: str


class StepFinishedEvent(_Attributed):
    """A named step of the work is over."""

    type: Literal["STEP_FINISHED"] = "STEP_FINISHED"
    step_name: str


class SubagentStartedEvent(_OfSubagent):
    """A subagent begins; its events carry its `subagent_run_id`."""

    type: Literal["SUBAGENT_STARTED"] = "SUBAGENT_STARTED"
    name: str
    description: str | None = _absent()
    parent_subagent_run_id: str | None = _absent()
    parent_tool_call_id: str | None = _absent()
    parent_message_id: str | None = _absent()


class SubagentFinishedEvent(_OfSubagent):
    """A subagent has finished."""

    type: Literal["SUBAGENT_FINISHED"] = "SUBAGENT_FINISHED"
    result: Any = _absent()
    outcome: dict[str, Any] | None = _absent()


class SubagentErrorEvent(_OfSubagent):
    """A subagent failed."""

    type: Literal["SUBAGENT_ERROR"] = "SUBAGENT_ERROR"
    message: str
    code: str | None = _absent()


class RawEvent(_Attributed):
    """An event of a framework or provider, passed through as it is."""

    type: Literal["RAW"] = "RAW"
    event: Any
    source: str | None = _absent()


class CustomEvent(_Attributed):
    """An event of the agent's own."""

    type: Literal["CUSTOM"] = "CUSTOM"
    name: str
    value: Any = None


class RunStartedEvent(AgentEvent):
    """The run begins."""

    type: Literal["RUN_STARTED"] = "RUN_STARTED"
    thread_id: str = ""
    run_id: str = ""
    protocol_version: str | None = _absent()
    parent_run_id: str | None = _absent()
    input: dict[str, Any] | None = _absent()


class RunFinishedEvent(AgentEvent):
    """The run is over. An agent may yield it last, to set `result` or `outcome`.

    Attributes:
        result: What the agent returns, if that is more than its text.
        usage: Which models were used, and how many tokens each of them took.
    """

    type: Literal["RUN_FINISHED"] = "RUN_FINISHED"
    thread_id: str = ""
    run_id: str = ""
    result: Any = _absent()
    outcome: RunOutcome | None = _absent()
    usage: list[dict[str, Any]] | None = _absent()

    @property
    def interrupts(self) -> list[Interrupt]:
        """What the run waits for; answer each with a `Resume` in the next request."""
        return [] if self.outcome is None else self.outcome.interrupts or []


class RunErrorEvent(AgentEvent):
    """The run failed."""

    type: Literal["RUN_ERROR"] = "RUN_ERROR"
    message: str
    code: str | None = _absent()
    usage: list[dict[str, Any]] | None = _absent()


_CLASSES: Final = {
    str(kind.model_fields["type"].default): kind
    for base in (AgentEvent, _Attributed, _OfSubagent)
    for kind in base.__subclasses__()
    if kind.model_fields["type"].default in EVENT_TYPES
}
