"""JSON or a stream: an explicit Accept decides, then the body, then the handler. Every handler serves both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import PROTOCOL_1, Answer, Connection, invoke

pytestmark = pytest.mark.contract

JSON, STREAM = "application/json", "text/event-stream"


async def _numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


HANDLERS: dict[str, Callable[[], Any]] = {
    "value": lambda: {"n": 1},
    "texts": lambda: (word for word in ("a", '"b"', "\n")),
    "numbers": lambda: (number for number in range(3)),
    "mixed": lambda: (item for item in ("a", 1)),
    "async numbers": _numbers,
    "nothing": lambda: (item for item in list[int]()),
    "halves of a pair": lambda: (half for half in ("\ud83d", "\ude00")),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, Any]) -> Any:
        return HANDLERS[payload["do"]]()

    with running(app) as address:
        yield address


def ask(url: str, what: str, accept: str | None = None, **body: object) -> Answer:
    return invoke(url, {"do": what, **body}, {} if accept is None else {"Accept": accept})


def form_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["content-type"].partition(";")[0]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (JSON, JSON),
        (STREAM, STREAM),
        ("Application/JSON", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/*", JSON),
        ("text/*", STREAM),
        ("application/json, */*", JSON),
        ("text/event-stream, */*", STREAM),
        ("application/json;q=0.5, text/event-stream;q=0.6", STREAM),
        ("application/json;q=0.6, text/event-stream;q=0.5", JSON),
        ("application/json;q=0.6,text/event-stream; q=0.5", JSON),
        ("application/json;q=0, */*", STREAM),
        ("text/event-stream;q=0, */*", JSON),
        ("*/*;q=0.1, text/event-stream;q=0.2", STREAM),
        ("text/*;q=1, text/event-stream;q=0, application/json;q=0.1", JSON),
        ("text/html, application/json;q=0.1", JSON),
        ("text/event-stream;q=none, application/json;q=0.1", JSON),
    ],
)
@pytest.mark.parametrize("what", ["value", "numbers"])
def test_accept_decides_the_form_for_every_kind_of_handler(url: str, what: str, accept: str, form: str) -> None:
    assert form_of(ask(url, what, accept)) == form


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/json, text/event-stream",
        "text/html, application/xhtml+xml, */*;q=0.8",
        "application/*, text/*",
    ],
)
@pytest.mark.parametrize(("what", "form"), [("value", JSON), ("numbers", STREAM), ("async numbers", STREAM)])
def test_handler_decides_when_accept_leaves_it_open(url: str, what: str, form: str, accept: str | None) -> None:
    assert form_of(ask(url, what, accept)) == form


@pytest.mark.parametrize(("stream", "form"), [(True, STREAM), (False, JSON)])
@pytest.mark.parametrize("what", ["value", "numbers"])
def test_body_decides_when_accept_leaves_it_open(url: str, what: str, stream: bool, form: str) -> None:
    assert form_of(ask(url, what, "*/*", stream=stream)) == form


@pytest.mark.parametrize(("accept", "stream"), [(JSON, True), (STREAM, False)])
def test_accept_is_stronger_than_the_body(url: str, accept: str, stream: bool) -> None:
    assert form_of(ask(url, "numbers", accept, stream=stream)) == accept


@pytest.mark.parametrize("stream", ["true", 1, 0, None, [True]])
def test_stream_of_another_type_decides_nothing(url: str, stream: object) -> None:
    assert form_of(ask(url, "value", stream=stream)) == JSON


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "image/png, text/plain",
        "application/json;q=0",
        "*/*;q=0",
        "application/json;q=0, text/event-stream;q=0",
    ],
)
def test_nothing_acceptable_is_406(url: str, accept: str) -> None:
    refusal(ask(url, "value", accept), 406, "NotAcceptableError")


def test_empty_accept_leaves_it_open(url: str) -> None:
    assert form_of(ask(url, "value", "")) == JSON


def test_body_that_is_no_object_decides_nothing() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: list[Any]) -> Any:
        return payload

    with running(app) as url:
        assert form_of(call(url, body=json.dumps([{"stream": True}]).encode())) == JSON


def test_value_as_a_stream_is_one_chunk(url: str) -> None:
    assert [event.data for event in ask(url, "value", STREAM).events] == [{"n": 1}]


def test_value_as_a_numbered_stream_is_one_chunk_and_done(url: str) -> None:
    events = invoke(url, {"do": "value"}, {"Accept": STREAM, **PROTOCOL_1}).events

    assert [(event.kind, event.event_id) for event in events] == [("chunk", 1), ("done", 2)]


def test_generator_of_texts_as_json_is_joined(url: str) -> None:
    assert ask(url, "texts", JSON).result == 'a"b"\n'


@pytest.mark.parametrize("what", ["numbers", "async numbers"])
def test_generator_of_other_values_as_json_is_a_list(url: str, what: str) -> None:
    assert ask(url, what, JSON).result == [0, 1, 2]


def test_generator_of_texts_and_more_as_json_is_a_list(url: str) -> None:
    assert ask(url, "mixed", JSON).result == ["a", 1]


def test_empty_generator_as_json_is_an_empty_list(url: str) -> None:
    assert ask(url, "nothing", JSON).result == []


def test_halves_of_a_character_are_joined_to_a_whole_one(url: str) -> None:
    assert ask(url, "halves of a pair", JSON).result == "\U0001f600"


@pytest.mark.parametrize(("lines", "form"), [((STREAM, f"{JSON};q=0.5"), STREAM), ((JSON, f"{STREAM};q=0.5"), JSON)])
def test_accept_in_several_lines_is_one_list(url: str, lines: tuple[str, str], form: str) -> None:
    body = b'{"do":"value"}'
    accept = "".join(f"Accept: {line}\r\n" for line in lines)
    with Connection(url) as connection:
        head = f"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n{accept}\r\n"
        connection.send(head.encode() + body)
        assert form_of(connection.read_answer()) == form


def test_prefer_in_several_lines_is_one_list(url: str) -> None:
    body = b'{"do":"value"}'
    head = f"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n"
    with Connection(url) as connection:
        connection.send(f"{head}Prefer: respond-async\r\nPrefer: wait=5\r\n\r\n".encode() + body)
        assert connection.read_answer().status == 202
