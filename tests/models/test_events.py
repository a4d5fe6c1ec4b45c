"""Our events are AG-UI's: what one side makes, the other reads, and nothing is lost on the way."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import ag_ui.core
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

import ppio_agent_models
from ppio_agent_models import AgentEvent, AgentInput, CustomEvent, Resume, RunFinishedEvent, message_text
from ppio_agent_models._framing import EVENT_TYPES, EventFramer

ANY_EVENT: TypeAdapter[Any] = TypeAdapter(ag_ui.core.Event)
THEIR_CLASSES = list(get_args(get_args(ag_ui.core.Event)[0]))


MESSAGE = {"id": "m", "role": "user", "content": "hi"}
PATCH = {"op": "add", "path": "/a", "value": None}
OBJECTS: dict[str, dict[str, Any]] = {
    "delta": PATCH,
    "patch": PATCH,
    "messages": MESSAGE,
    "content": {"type": "text", "text": "hi"},
    "usage": {"model": "m", "inputTokens": 1},
    "input": {"threadId": "t", "runId": "r", "messages": [MESSAGE]},
    "outcome": {"type": "suspended", "interruptIds": ["i"]},
}
"""What fits where our models take any object."""


def ours() -> list[type[AgentEvent]]:
    names = vars(ppio_agent_models)["__all__"]
    found = [getattr(ppio_agent_models, name) for name in names]
    return [
        kind for kind in found if isinstance(kind, type) and issubclass(kind, AgentEvent) and kind is not AgentEvent
    ]


def example(annotation: Any, name: str, *, whole: bool) -> Any:
    """Return JSON data that fits an annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return example(arguments[0], name, whole=whole)
    if origin is Literal:
        return getattr(arguments[-1], "value", arguments[-1])
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind is not NoneType]
        return example(kinds[0], name, whole=whole)
    if origin is list:
        return [example(arguments[0], name, whole=whole)]
    if origin is dict:
        return OBJECTS.get(name, {"any": None})
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return whole_or_least(annotation, whole=whole)
    return {int: 1, bool: False, str: "/text"}.get(annotation, {"any": [None, 1.5]})


def whole_or_least(kind: type[BaseModel], *, whole: bool) -> dict[str, Any]:
    """Return an object of a class as JSON data, with all its fields or those that it needs."""
    return {
        field.alias or name: "interrupt"
        if (name, kind.__name__) == ("type", "RunOutcome")
        else example(field.annotation, name, whole=whole)
        for name, field in kind.model_fields.items()
        if whole or field.is_required() or name in ("type", "op", "role")
    }


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", THEIR_CLASSES, ids=lambda kind: kind.__name__)
def test_every_event_of_theirs_is_one_of_ours(kind: type[BaseModel], whole: bool) -> None:
    sent = kind.model_validate(whole_or_least(kind, whole=whole)).model_dump(mode="json", by_alias=True)
    event = AgentEvent.parse(sent)

    assert type(event).__name__ == kind.__name__
    assert not event.model_extra
    assert sent.items() <= event.to_wire().items()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ours(), ids=lambda kind: kind.__name__)
def test_every_event_of_ours_is_one_of_theirs(kind: type[AgentEvent], whole: bool) -> None:
    event = kind.model_validate(whole_or_least(kind, whole=whole))
    theirs = ANY_EVENT.validate_python(event.to_wire())

    assert type(theirs).__name__ == kind.__name__
    assert not theirs.model_extra
    assert theirs.model_dump(mode="json", by_alias=True) == event.to_wire()


def test_the_types_are_theirs() -> None:
    assert {kind.value for kind in ag_ui.core.EventType} == EVENT_TYPES
    assert len(ours()) == len(EVENT_TYPES)


def test_unknown_types_and_fields_are_kept() -> None:
    sent = {"type": "SOMETHING_NEW", "someField": {"a": None}}

    assert AgentEvent.parse(sent).to_wire() == sent
    assert AgentEvent.parse({"type": "RUN_STARTED", "threadId": "t", "runId": "r", "more": 1}).to_wire()["more"] == 1


def test_a_known_event_with_an_odd_field_is_kept_as_it_is() -> None:
    event = AgentEvent.parse({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": 5})

    assert type(event) is AgentEvent
    assert event.to_wire() == {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": 5}


def test_a_custom_event_keeps_its_null() -> None:
    assert CustomEvent(name="n").to_wire() == {"type": "CUSTOM", "name": "n", "value": None}


def test_interrupts_are_read_from_the_end_of_a_run() -> None:
    event = AgentEvent.parse(
        {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [{"id": "i", "reason": "r"}]}}
    )

    assert isinstance(event, RunFinishedEvent)
    assert [interrupt.id for interrupt in event.interrupts] == ["i"]


values = st.one_of(
    st.text(max_size=3),
    st.builds(lambda delta: {"type": "REASONING_MESSAGE_CHUNK", "delta": delta}, st.text(max_size=3)),
    st.builds(
        lambda number, delta: {"type": "TEXT_MESSAGE_CHUNK", "messageId": f"m{number}", "delta": delta},
        st.integers(0, 2),
        st.text(max_size=3),
    ),
    st.builds(lambda number: {"type": "TEXT_MESSAGE_START", "messageId": f"e{number}"}, st.integers(0, 99)),
    st.builds(lambda number: {"type": "TEXT_MESSAGE_END", "messageId": f"e{number}"}, st.integers(0, 99)),
    st.builds(lambda n: {"type": "TOOL_CALL_START", "toolCallId": f"c{n}", "toolCallName": "t"}, st.integers(0, 2)),
    st.builds(lambda n: {"type": "TOOL_CALL_RESULT", "toolCallId": f"c{n}", "content": "r"}, st.integers(0, 2)),
    st.just({"type": "REASONING_START"}),
    st.just({"type": "REASONING_END"}),
    st.just({"type": "STEP_STARTED", "stepName": "s"}),
    st.just({"type": "RUN_STARTED"}),
    st.just({"no": "event"}),
)


@given(st.lists(values))
def test_whatever_an_agent_yields_is_a_whole_run(yielded: list[Any]) -> None:
    framer = EventFramer("thread", "run", "seed")
    events = [event for value in yielded for event in framer.frame(value)] + framer.finish()
    opened = set[tuple[str, str]]()
    for event in events:
        ANY_EVENT.validate_python(event)
        subject, _, what = event["type"].rpartition("_")
        name = (subject, str(event.get("toolCallId", event.get("messageId"))))
        if what == "START":
            assert name not in opened
            opened.add(name)
        elif what in ("CONTENT", "ARGS"):
            assert name in opened
        elif what == "END":
            opened.remove(name)

    assert not opened
    assert [event["type"] for event in events].count("RUN_STARTED") == 1
    assert (events[0]["type"], events[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    said = [value if isinstance(value, str) else value["delta"] for value in yielded if is_text(value)]
    assert "".join(said) == "".join(each["delta"] for each in events if each["type"] == "TEXT_MESSAGE_CONTENT")


def is_text(value: Any) -> bool:
    return isinstance(value, str) or value.get("type") == "TEXT_MESSAGE_CHUNK"


def test_a_prompt_alone_is_a_conversation_of_one_message() -> None:
    asked = AgentInput(prompt="hello")

    assert [(message["role"], message["content"]) for message in asked.messages] == [("user", "hello")]


def test_the_prompt_is_the_last_message_of_the_user() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image", "source": {}}, {"type": "text", "text": "b"}]
    messages: list[dict[str, Any]] = [
        {"id": "1", "role": "user", "content": "first"},
        {"id": "2", "role": "user", "content": parts},
        {"id": "3", "role": "assistant", "content": "c"},
    ]
    asked = AgentInput(messages=messages)

    assert asked.prompt == "ab"
    assert asked.messages == messages


def test_a_request_that_answers_an_interrupt_asks_nothing() -> None:
    wire = {"messages": [{"id": "1", "role": "user", "content": "buy"}], "resume": [{"interruptId": "i"}]}
    asked = AgentInput.model_validate(wire)

    assert asked.prompt == ""
    assert asked.resume == [Resume(interrupt_id="i", status="resolved")]


@given(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.dictionaries(st.text(), st.text()))))
def test_content_of_any_kind_has_a_text(content: Any) -> None:
    assert isinstance(message_text(content), str)
