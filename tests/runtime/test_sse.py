"""Streams byte by byte: two framings, heartbeats in silence, and an end that says how it ended."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.gates import Gate
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Answer, invoke, streaming

pytestmark = pytest.mark.contract


def _three() -> Iterator[Any]:
    yield "a\nb"
    yield {"n": 1}
    yield None


async def _three_async() -> AsyncIterator[Any]:
    for value in _three():
        yield value


def _fails_late() -> Iterator[int]:
    yield 1
    raise AgentError("no more paper", status_code=409, error_type="OutOfPaper")


def _breaks_late() -> Iterator[int]:
    yield 1
    raise ValueError("a secret")


def _fails_first() -> Iterator[int]:
    raise AgentError("no paper", status_code=409, error_type="OutOfPaper")
    yield 1


async def _fails_first_async() -> AsyncIterator[int]:
    raise AgentError("no paper", status_code=409, error_type="OutOfPaper")
    yield 1


def _fails_at_once() -> Iterator[int]:
    raise AgentError("no paper", status_code=409, error_type="OutOfPaper")


def _nothing() -> Iterator[int]:
    yield from ()


def _many() -> Iterator[int]:
    yield from range(2000)


def _large() -> Iterator[str]:
    for _ in range(4):
        yield "x" * 200_000


STREAMS: dict[str, Callable[[], Any]] = {
    "three": _three,
    "three async": _three_async,
    "fails late": _fails_late,
    "breaks late": _breaks_late,
    "fails first": _fails_first,
    "fails first async": _fails_first_async,
    "fails at once": _fails_at_once,
    "nothing": _nothing,
    "many": _many,
    "large": _large,
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, str]) -> Any:
        return STREAMS[payload["do"]]()

    with running(app) as address:
        yield address


def plain(url: str, what: str) -> Answer:
    return invoke(url, {"do": what}, EVENT_STREAM)


def numbered(url: str, what: str, headers: dict[str, str] | None = None) -> Answer:
    return invoke(url, {"do": what}, {**EVENT_STREAM, **PROTOCOL_1, **(headers or {})})


def without_duration(body: bytes) -> bytes:
    return re.sub(rb'"duration":[0-9.]+', b'"duration":0', body)


@pytest.mark.parametrize("what", ["three", "three async"])
def test_plain_framing_is_data_lines_and_a_closing_comment(url: str, what: str) -> None:
    assert plain(url, what).body == b'data: "a\\nb"\n\ndata: {"n":1}\n\ndata: null\n\n: done\n\n'


@pytest.mark.parametrize("what", ["three", "three async"])
def test_numbered_framing_counts_from_1_and_closes_with_done(url: str, what: str) -> None:
    answer = numbered(url, what, {"X-PPIO-Request-Id": "r", "X-PPIO-Session-Id": "s"})

    assert without_duration(answer.body) == (
        b'id: 1\ndata: "a\\nb"\n\nid: 2\ndata: {"n":1}\n\nid: 3\ndata: null\n\n'
        b'event: done\nid: 4\ndata: {"result":null,"status":"success","duration":0,'
        b'"metadata":{"request_id":"r","session_id":"s"},"error":null,"error_type":null}\n\n'
    )


def test_plain_framing_ends_a_failure_with_the_envelope_as_last_data(url: str) -> None:
    body = plain(url, "fails late").body

    assert body.startswith(b"data: 1\n\ndata: {")
    assert body.endswith(b"}\n\n")
    assert body.count(b"\n\n") == 2
    last = json.loads(body.split(b"data: ")[-1])
    assert (last["error"], last["error_type"], last["status"]) == ("no more paper", "OutOfPaper", "error")


def test_numbered_framing_ends_a_failure_with_an_error_event(url: str) -> None:
    answer = numbered(url, "fails late", {"X-PPIO-Request-Id": "r"})

    assert without_duration(answer.body) == (
        b"id: 1\ndata: 1\n\n"
        b'event: error\nid: 2\ndata: {"result":null,"status":"error","duration":0,'
        b'"metadata":{"request_id":"r","session_id":null,"status_code":409},'
        b'"error":"no more paper","error_type":"OutOfPaper"}\n\n'
    )


@pytest.mark.parametrize("headers", [{}, PROTOCOL_1])
def test_message_of_an_exception_in_a_stream_is_hidden(url: str, headers: dict[str, str]) -> None:
    answer = invoke(url, {"do": "breaks late"}, {**EVENT_STREAM, **headers})

    assert b"a secret" not in answer.body
    assert answer.events[-1].data["error_type"] == "HandlerError"


def test_failure_in_a_stream_is_logged_with_the_request_id(url: str, caplog: pytest.LogCaptureFixture) -> None:
    request_id = plain(url, "breaks late").headers["x-ppio-request-id"]

    assert f"(request {request_id}): ValueError" in caplog.text


@pytest.mark.parametrize("what", ["fails first", "fails first async", "fails at once"])
@pytest.mark.parametrize("headers", [{}, PROTOCOL_1])
def test_failure_before_the_first_chunk_is_a_true_status(url: str, what: str, headers: dict[str, str]) -> None:
    assert refusal(invoke(url, {"do": what}, {**EVENT_STREAM, **headers}), 409, "OutOfPaper") == "no paper"


def test_empty_plain_stream_is_only_its_end(url: str) -> None:
    assert plain(url, "nothing").body == b": done\n\n"


def test_empty_numbered_stream_is_only_its_end(url: str) -> None:
    assert [(event.kind, event.event_id) for event in numbered(url, "nothing").events] == [("done", 1)]


def test_ids_have_no_gaps_in_a_long_stream(url: str) -> None:
    events = numbered(url, "many").events

    assert [event.event_id for event in events] == list(range(1, 2002))
    assert [event.data for event in events[:-1]] == list(range(2000))


def test_chunks_larger_than_the_buffer_arrive_whole(url: str) -> None:
    assert [len(event.data) for event in plain(url, "large").events] == [200_000] * 4


def test_protocol_version_that_is_unknown_gets_the_plain_framing(url: str) -> None:
    assert invoke(url, {"do": "nothing"}, {"PPIO-Agent-Protocol": "2"}).body == b": done\n\n"


def test_stream_headers_keep_caches_and_proxies_away(url: str) -> None:
    headers = plain(url, "three").headers

    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"


def test_stream_headers_carry_the_ids(url: str) -> None:
    headers = numbered(url, "three", {"X-PPIO-Request-Id": "r", "X-PPIO-Session-Id": "s"}).headers

    assert (headers["x-ppio-request-id"], headers["x-ppio-session-id"]) == ("r", "s")
    assert headers["ppio-agent-protocol"] == "1"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-ppio-invocation-id"])


@contextmanager
def slow_agent(gate: Gate, handler: Callable[[Gate], AsyncIterator[Any]], **settings: Any) -> Iterator[str]:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    def stream(payload: Any) -> AsyncIterator[Any]:
        return handler(gate)

    try:
        with running(app) as url:
            yield url
    finally:
        gate.open()


async def _waits_first(gate: Gate) -> AsyncIterator[int]:
    await gate.passed()
    yield 1


async def _waits_second(gate: Gate) -> AsyncIterator[int]:
    yield 1
    await gate.passed()
    yield 2


async def _waits_then_fails(gate: Gate) -> AsyncIterator[int]:
    await gate.passed()
    raise AgentError("no paper", status_code=409)
    yield 1


@pytest.mark.parametrize("headers", [EVENT_STREAM, PROTOCOL_1])
def test_silence_before_the_first_chunk_is_filled_with_comments(headers: dict[str, str]) -> None:
    gate = Gate()
    with slow_agent(gate, _waits_first, heartbeat_seconds=0.05) as url, streaming(url, {}, headers) as connection:
        blocks = connection.blocks()
        assert [next(blocks), next(blocks)] == [b": keep-alive", b": keep-alive"]
        gate.open()
        assert b"data: 1" in [block.split(b"\n")[-1] for block in blocks]


def test_silence_between_chunks_is_filled_with_comments_that_take_no_id() -> None:
    gate = Gate()
    with slow_agent(gate, _waits_second, heartbeat_seconds=0.05) as url, streaming(url, {}, PROTOCOL_1) as connection:
        blocks = connection.blocks()
        assert [next(blocks), next(blocks)] == [b"id: 1\ndata: 1", b": keep-alive"]
        gate.open()
        assert b"id: 2\ndata: 2" in list(blocks)


def test_first_chunk_is_sent_while_the_second_is_not_made() -> None:
    gate = Gate()
    with slow_agent(gate, _waits_second) as url, streaming(url, {}, EVENT_STREAM) as connection:
        blocks = connection.blocks()
        assert next(blocks) == b"data: 1"
        gate.open()
        assert list(blocks) == [b"data: 2", b": done"]


def test_failure_after_the_first_heartbeat_is_an_event() -> None:
    gate = Gate()
    agent = slow_agent(gate, _waits_then_fails, heartbeat_seconds=0.05)
    with agent as url, streaming(url, {}, PROTOCOL_1) as connection:
        blocks = connection.blocks()
        assert next(blocks) == b": keep-alive"
        gate.open()
        *_, last = blocks
    assert last.startswith(b"event: error\nid: 1\ndata: {")
