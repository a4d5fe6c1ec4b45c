"""`PPIO-Agent-Events: 1`: one run, read as typed events or as text, live, cut anywhere, later, and as one value."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_models import (
    CustomEvent,
    Interrupt,
    ReasoningMessageContentEvent,
    RunErrorEvent,
    RunFinishedEvent,
    RunOutcome,
    StateSnapshotEvent,
    TextMessageContentEvent,
    ToolCallArgsEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.events.framer import EncodedFramer  # what protocols rely on, for any text
from ppio_agent_runtime.events.views import text_chunk, texts_of
from ppio_agent_runtime.testing import running
from tests.support.calls import call
from tests.support.durable import chunks, events, finished, numbers, submit
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, Event, invoke

pytestmark = pytest.mark.contract

EVENTS = {"PPIO-Agent-Events": "1"}
JSON = {"Accept": "application/json"}
WHOLE_TEXT = "Hello, it is w\u00f6rld\u2028."
SAID: list[Any] = [
    "Hello, ",
    ReasoningMessageContentEvent(delta="hm"),
    ToolCallStartEvent(tool_call_id="c", tool_call_name="clock"),
    ToolCallArgsEvent(tool_call_id="c", delta='{"a": "}\\\\n"}'),
    ToolCallResultEvent(tool_call_id="c", content='"delta":"no"'),
    "it is ",
    "w\u00f6rld\u2028.",
]
TYPES = [
    "RUN_STARTED",
    "TEXT_MESSAGE_START",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_END",
    "REASONING_START",
    "REASONING_MESSAGE_START",
    "REASONING_MESSAGE_CONTENT",
    "REASONING_MESSAGE_END",
    "REASONING_END",
    "TOOL_CALL_START",
    "TOOL_CALL_ARGS",
    "TOOL_CALL_END",
    "TOOL_CALL_RESULT",
    "TEXT_MESSAGE_START",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_END",
    "RUN_FINISHED",
]


def yielded(payload: dict[str, Any]) -> Iterator[Any]:
    said = SAID[1:] if payload.get("begins") == "event" else SAID
    yield from said
    if payload.get("asks"):
        interrupts = [Interrupt(id="i", message="Really?")]
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=interrupts))
    if payload.get("returns"):
        yield RunFinishedEvent(result={"answer": 42})
    if payload.get("fails"):
        yield RunErrorEvent(message="The model is gone.", code="ModelError")


async def in_tasks(payload: dict[str, Any]) -> AsyncIterator[Any]:
    for value in yielded(payload):
        yield value


def in_threads(payload: dict[str, Any]) -> Iterator[Any]:
    yield from yielded(payload)


both_kinds = pytest.mark.parametrize("handler", [in_tasks, in_threads])


def serving(handler: Callable[..., Any], **settings: Any) -> Any:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))
    app.entrypoint(handler)
    return running(app)


def typed(url: str, payload: Any, **more: str) -> list[Event]:
    answer = invoke(url, payload, PROTOCOL_1 | EVENTS | more)
    assert answer.headers["ppio-agent-events"] == "1"
    return answer.events


def types(found: list[Event]) -> list[str]:
    return [event["type"] for event in chunks(found)]


def text_of(found: list[Any]) -> str:
    return "".join(event["delta"] for event in found if event["type"] == "TEXT_MESSAGE_CONTENT")


@both_kinds
def test_a_run_is_told_in_events_from_its_start_to_its_end(handler: Any) -> None:
    with serving(handler) as url:
        found = typed(url, {})

    assert types(found) == TYPES
    assert numbers(found) == list(range(1, len(TYPES) + 2))
    assert found[-1].kind == "done"
    assert text_of(chunks(found)) == WHOLE_TEXT


@both_kinds
@pytest.mark.parametrize("begins", ["text", "event"])
def test_whoever_asks_for_no_events_sees_text_alone(handler: Any, begins: str) -> None:
    expected = [value for value in SAID if isinstance(value, str)][begins == "event" :]
    with serving(handler) as url:
        live = invoke(url, {"begins": begins}, PROTOCOL_1 | EVENT_STREAM)
        plain = invoke(url, {"begins": begins}, EVENT_STREAM)
        value = invoke(url, {"begins": begins}, JSON)

    assert "ppio-agent-events" not in live.headers
    assert chunks(live.events) == expected
    ids = [number or 0 for number in numbers(live.events)]
    assert ids == sorted(set(ids))
    assert [json.loads(line.removeprefix("data: ")) for line in plain.body.decode().split("\n\n")[:-2]] == expected
    assert value.json["result"] == "".join(expected)


@both_kinds
def test_without_the_protocol_header_events_are_plain_lines(handler: Any) -> None:
    with serving(handler) as url:
        answer = invoke(url, {}, EVENTS)

    lines = [line for line in answer.body.decode().split("\n\n") if line.startswith("data: ")]
    assert [json.loads(line[6:])["type"] for line in lines] == TYPES
    assert answer.body.endswith(b": done\n\n")


@both_kinds
def test_a_run_that_was_begun_for_text_can_be_read_as_events(handler: Any) -> None:
    with serving(handler) as url:
        path = submit(url, {"begins": "event"})
        finished(url, path)
        as_text = events(url, path).events
        as_events = call(url, f"{path}/events", method="GET", headers=EVENTS)

    assert chunks(as_text) == ["it is ", "w\u00f6rld\u2028."]
    assert as_events.headers["ppio-agent-events"] == "1"
    assert types(as_events.events) == ["RUN_STARTED", *TYPES[4:]]


def test_events_behind_text_are_not_lost_on_a_run_that_was_begun_for_text() -> None:
    with serving(in_tasks) as url:
        path = submit(url, {})
        finished(url, path)
        found = chunks(call(url, f"{path}/events", method="GET", headers=EVENTS).events)

    assert found[0] == "Hello, "
    assert [event["type"] for event in found[1:]] == ["RUN_STARTED", *TYPES[4:]]


@pytest.mark.parametrize("store", [None, "sqlite"])
def test_both_views_are_read_on_after_any_event_and_after_a_restart(store: str | None, tmp_path: Path) -> None:
    settings = {} if store is None else {"event_store": f"sqlite:///{tmp_path / 'events.db'}"}
    with serving(in_tasks, **settings) as url:
        whole = typed(url, {"asks": True}, **{"Idempotency-Key": "k"})
        path = f"/invocations/{invoke(url, {'asks': True}, {'Idempotency-Key': 'k'}).headers['x-ppio-invocation-id']}"
        as_text = events(url, path).events
        if store is None:
            check_every_cut(url, path, whole, as_text)
    if store is not None:
        with serving(in_tasks, **settings) as url:
            check_every_cut(url, path, whole, as_text)
            assert finished(url, path)["response"]["result"]["interrupts"][0]["id"] == "i"


def check_every_cut(url: str, path: str, whole: list[Event], as_text: list[Event]) -> None:
    for event in [None, *whole]:
        after = 0 if event is None or event.event_id is None else event.event_id
        position = {"Last-Event-ID": str(after)}
        for view, headers in ((whole, EVENTS), (as_text, {})):
            rest = call(url, f"{path}/events", method="GET", headers=position | headers).events
            assert rest == [each for each in view if (each.event_id or 0) > after]


@pytest.mark.parametrize("count", range(1, len(TYPES) + 1))
def test_a_typed_stream_that_is_cut_after_any_event_is_read_on_after_it(count: int) -> None:
    with serving(in_tasks) as url:
        with Connection(url) as connection:
            connection.post({}, PROTOCOL_1 | EVENTS)
            _, headers = connection.read_head()
            reading = connection.events()
            before = [next(reading) for _ in range(count)]
            connection.reset()
        path = f"/invocations/{headers['x-ppio-invocation-id']}/events"
        after = call(url, path, method="GET", headers=EVENTS | {"Last-Event-ID": str(count)}).events

    assert types(before + after) == TYPES
    assert after[-1].kind == "done"


def test_an_interrupt_is_told_in_every_form() -> None:
    with serving(in_tasks) as url:
        found = typed(url, {"asks": True})
        text = invoke(url, {"asks": True}, PROTOCOL_1 | EVENT_STREAM).events
        value = invoke(url, {"asks": True}, JSON).json

    interrupts = [{"id": "i", "reason": "input_required", "message": "Really?"}]
    assert chunks(found)[-1]["outcome"] == {"type": "interrupt", "interrupts": interrupts}
    assert text[-1].data["metadata"]["interrupts"] == interrupts
    assert value["result"] == {"interrupts": interrupts}
    assert value["metadata"]["interrupts"] == interrupts


@both_kinds
def test_a_result_is_the_value_and_the_text_stays_the_stream(handler: Any) -> None:
    with serving(handler) as url:
        value = invoke(url, {"returns": True}, JSON).json
        found = typed(url, {"returns": True})
        text = invoke(url, {"returns": True}, EVENT_STREAM | PROTOCOL_1).events

    assert value["result"] == {"answer": 42}
    assert chunks(found)[-1]["result"] == {"answer": 42}
    assert "".join(chunks(text)) == WHOLE_TEXT


@both_kinds
def test_a_run_error_of_the_agent_fails_the_invocation(handler: Any) -> None:
    with serving(handler) as url:
        numbered = typed(url, {"fails": True})
        plain = invoke(url, {"fails": True}, EVENTS)
        value = invoke(url, {"fails": True}, JSON)

    assert numbered[-1].kind == "error"
    assert numbered[-1].data["error_type"] == "ModelError"
    last = json.loads(plain.body.decode().strip().rpartition("data: ")[2])
    assert (last["type"], last["message"], last["code"]) == ("RUN_ERROR", "The model is gone.", "ModelError")
    assert (value.status, value.json["error"]) == (500, "The model is gone.")


def test_a_failure_before_the_first_event_has_a_status() -> None:
    async def fails(payload: dict[str, Any]) -> AsyncIterator[str]:
        raise ValueError("at once")
        yield ""

    with serving(fails) as url:
        answer = invoke(url, {}, EVENTS | PROTOCOL_1)

    assert answer.status == 500
    assert answer.json["error_type"] == "HandlerError"


@pytest.mark.parametrize(
    ("value", "said"),
    [("text", ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]), ({"a": [1]}, ["CUSTOM"])],
)
def test_a_value_is_a_run_too(value: Any, said: list[str]) -> None:
    async def returns(payload: dict[str, Any]) -> Any:
        return value

    with serving(returns) as url:
        found = typed(url, {}, **{"Idempotency-Key": "k"})
        again = invoke(url, {}, PROTOCOL_1 | EVENT_STREAM | {"Idempotency-Key": "k"})
        answer = invoke(url, {}, JSON | {"Idempotency-Key": "k"})

    assert types(found) == ["RUN_STARTED", *said, "RUN_FINISHED"]
    assert chunks(again.events) == [value]
    assert answer.json["result"] == value


def test_raw_dicts_of_a_plain_handler_pass_as_they_are_and_are_events_where_events_are_wanted() -> None:
    event = {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1}}

    async def plain(payload: dict[str, Any]) -> AsyncIterator[Any]:
        yield event
        yield {"no": "event"}

    with serving(plain) as url:
        as_before = invoke(url, {}, PROTOCOL_1 | EVENT_STREAM)
        value = invoke(url, {}, JSON)
        found = typed(url, {})

    assert chunks(as_before.events) == value.json["result"] == [event, {"no": "event"}]
    assert chunks(found)[1:3] == [event, {"type": "CUSTOM", "name": "ppio.chunk", "value": {"no": "event"}}]


def test_the_recorded_run_passes_the_validator_of_the_protocol(tmp_path: Path) -> None:
    recorded = tmp_path / "run.sse"
    with serving(in_tasks) as url:
        recorded.write_bytes(invoke(url, {"asks": True}, EVENTS).body)

    command = [sys.executable, "-m", "ag_ui_validate.cli", str(recorded), "--json"]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    report = json.loads(judged.stdout)
    assert judged.returncode == 0, report
    assert not [each for each in report["diagnostics"] if each["severity"] in ("error", "warning")]


@given(st.lists(st.tuples(st.sampled_from(["m", 'a","delta":"b']), st.text(), st.booleans())))
def test_the_text_in_encoded_events_is_the_text_that_was_said(said: list[tuple[str, str, bool]]) -> None:
    framer = EncodedFramer(RequestContext())
    values = [
        TextMessageContentEvent(message_id=name, delta=text, timestamp=1 if more else None) if name != "m" else text
        for name, text, more in said
    ]
    encoded = [event for value in values for event in framer.encode(value)] + framer.finish()
    texts = texts_of(encoded)

    assert texts == [text_chunk(event) for event in encoded]
    assert [json.loads(text) for text in texts if text is not None] == [text for _, text, _ in said if text]


def test_an_agent_without_events_imports_nothing_for_them() -> None:
    program = """
import asyncio, sys
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()
@app.entrypoint
async def agent(request):
    yield "a"
    yield "b"
async def main():
    assert [chunk async for chunk in await app.invoke({}, stream=True)] == ["a", "b"]
asyncio.run(main())
names = "_framing", "ppio_agent_runtime.events", "ppio_agent_models._events"
print([name for name in sys.modules if any(unwanted in name for unwanted in names)])
"""
    finished_program = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished_program.stdout.strip() == "[]"


@dataclass
class Step:
    name: str
    _prompt: str = "of the system"


def test_private_fields_are_not_told_in_events_either() -> None:
    async def says() -> AsyncIterator[Any]:
        yield "a"
        yield StateSnapshotEvent(snapshot={"steps": [Step("x")]})
        yield CustomEvent(name="step", value=Step("y"))
        yield RunFinishedEvent(result=Step("z"))

    with serving(says) as url:
        events_told, value = invoke(url, {}, PROTOCOL_1 | EVENTS), invoke(url, {}, JSON)
    told = [event.data for event in events_told.events]
    assert [event["snapshot"] for event in told if "snapshot" in event] == [{"steps": [{"name": "x"}]}]
    assert [event["value"] for event in told if "value" in event] == [{"name": "y"}]
    assert value.result == {"name": "z"}
    assert b"system" not in events_told.body
