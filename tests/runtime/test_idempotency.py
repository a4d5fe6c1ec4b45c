"""One key, one run: however many ask, in whatever form, and whatever came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.durable import ASYNC, cancel, chunks, finished, submit
from tests.support.gates import Count, Gate, aside, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, settle, streaming

pytestmark = pytest.mark.contract

KEY = {"Idempotency-Key": "key-1"}
JSON = {"Accept": "application/json"}


def counting(gate: Gate | None = None, config: AgentConfig | None = None) -> tuple[PPIOAgentRuntimeApp, Count]:
    """An agent that streams two chunks, with a count of its runs."""
    app, runs = PPIOAgentRuntimeApp(config), Count()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        runs.add()
        yield "a"
        if gate is not None:
            await gate.passed()
        yield "b"

    return app, runs


@pytest.mark.parametrize("kind", ["async", "sync", "async generator", "sync generator"])
@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
def test_hundred_concurrent_posts_with_one_key_run_the_handler_once_and_get_equal_answers(
    kind: str, isolated: bool
) -> None:
    app, gate, runs = PPIOAgentRuntimeApp(AgentConfig(isolate_handlers=isolated)), Gate(), Count()
    if kind == "async":

        @app.entrypoint
        async def value(payload: dict[str, Any]) -> int:
            runs.add()
            await gate.passed()
            return runs.value

    elif kind == "sync":

        @app.entrypoint
        def value_in_a_thread(payload: dict[str, Any]) -> int:
            runs.add()
            gate.wait()
            return runs.value

    elif kind == "async generator":

        @app.entrypoint
        async def stream(payload: dict[str, Any]) -> AsyncIterator[int]:
            runs.add()
            yield runs.value
            await gate.passed()

    else:

        @app.entrypoint
        def stream_in_a_thread(payload: dict[str, Any]) -> Iterator[int]:
            runs.add()
            yield runs.value
            gate.wait()

    with opening(gate), running(app) as url, ExitStack() as stack:
        callers = [stack.enter_context(Connection(url)) for _ in range(100)]
        for caller in callers:
            caller.post({"n": 1}, KEY | PROTOCOL_1)
        settle(url)
        gate.open()
        answers = [caller.read_answer() for caller in callers]
    assert runs.value == 1
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len({answer.headers["x-ppio-invocation-id"] for answer in answers}) == 1


def test_replay_is_marked_and_the_first_answer_is_not() -> None:
    app, runs = counting()
    with running(app) as url:
        first, second = invoke(url, headers=KEY), invoke(url, headers=KEY)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert first.body == second.body
    assert runs.value == 1


def test_either_form_comes_from_the_same_run() -> None:
    app, runs = counting()
    with running(app) as url:
        as_stream = invoke(url, headers=KEY | PROTOCOL_1)
        as_json = invoke(url, headers=KEY | JSON)
        as_plain_stream = invoke(url, headers=KEY | EVENT_STREAM)
        later = finished(url, submit(url, headers=KEY))
    assert chunks(as_stream.events) == ["a", "b"]
    assert as_json.result == later["response"]["result"] == "ab"
    assert as_plain_stream.body == b'data: "a"\n\ndata: "b"\n\n: done\n\n'
    assert runs.value == 1


def test_value_can_be_replayed_as_a_stream_of_one_chunk() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> list[int]:
        return [1, 2]

    with running(app) as url:
        assert invoke(url, headers=KEY).result == [1, 2]
        assert chunks(invoke(url, headers=KEY | PROTOCOL_1 | EVENT_STREAM).events) == [[1, 2]]


def test_another_body_under_the_key_is_422() -> None:
    app, runs = counting()
    with running(app) as url:
        invoke(url, {"n": 1}, KEY)
        answer = invoke(url, {"n": 2}, KEY)
    assert "another body" in refusal(answer, 422, "IdempotencyKeyReusedError")
    assert runs.value == 1


def test_same_value_in_other_bytes_is_another_body() -> None:
    app, _ = counting()
    with running(app) as url:
        assert call(url, body=b'{"n":1}', headers=KEY).status == 200
        assert call(url, body=b'{"n": 1}', headers=KEY).status == 422


def test_key_is_scoped_by_session() -> None:
    app, runs = counting()
    with running(app) as url:
        for session in ("one", "two", "two"):
            invoke(url, headers=KEY | {"X-PPIO-Session-Id": session})
        invoke(url, headers=KEY)
    assert runs.value == 3


@pytest.mark.parametrize("key", ["x" * 256, "", "kéy", "tab\there"])
def test_key_that_is_not_1_to_255_printable_ascii_characters_is_400(key: str) -> None:
    app, runs = counting()
    with running(app) as url:
        answer = call(url, body=b"{}", headers={"Idempotency-Key": key})
    assert "1 to 255 printable ASCII" in refusal(answer, 400, "BadRequestError")
    assert runs.value == 0


@pytest.mark.parametrize("key", ["x", "x" * 255, '"quoted, key" ~!'])
def test_key_of_1_to_255_printable_ascii_characters_is_taken(key: str) -> None:
    app, runs = counting()
    with running(app) as url:
        invoke(url, headers={"Idempotency-Key": key})
        assert invoke(url, headers={"Idempotency-Key": key}).headers["idempotency-replayed"] == "true"
    assert runs.value == 1


def failing_app(runs: Count) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=5))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None:
        runs.add()
        if payload["how"] == "own":
            raise AgentError("no", status_code=418, error_type="Teapot")
        if payload["how"] == "crash":
            raise ValueError
        await asyncio.Future()

    return app


@pytest.mark.parametrize(
    ("how", "status", "error_type"),
    [("own", 418, "Teapot"), ("crash", 500, "HandlerError"), ("hang", 504, "InvocationTimeoutError")],
)
def test_failure_is_replayed_as_it_was(how: str, status: int, error_type: str) -> None:
    runs = Count()
    headers = KEY | {"X-PPIO-Timeout": "1" if how == "hang" else "60"}
    with running(failing_app(runs)) as url:
        first, second = invoke(url, {"how": how}, headers), invoke(url, {"how": how}, headers)
    refusal(first, status, error_type)
    assert (second.status, second.body) == (first.status, first.body)
    assert runs.value == 1


def test_cancel_is_replayed_as_it_was() -> None:
    runs = Count()
    with running(failing_app(runs)) as url:
        path = submit(url, {"how": "hang"}, KEY)
        runs.wait_for(1)
        cancel(url, path)
        finished(url, path)
        assert invoke(url, {"how": "hang"}, KEY).json["error_type"] == "InvocationCancelledError"
    assert runs.value == 1


def test_failed_stream_is_replayed_with_its_chunks() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[int]:
        yield 1
        raise AgentError("no more")

    with running(app) as url:
        first, second = (invoke(url, headers=KEY | PROTOCOL_1) for _ in range(2))
    assert first.body == second.body
    assert [event.kind for event in first.events] == ["chunk", "error"]


@pytest.mark.parametrize("when", ["payload", "busy"])
def test_refusal_before_the_handler_began_is_not_stored(when: str) -> None:
    gate = Gate()
    app, runs = counting(gate, AgentConfig(max_concurrency=1))
    with opening(gate), running(app) as url:
        if when == "payload":
            refusal(call(url, body=b"[1]", headers=KEY), 422, "PayloadValidationError")
            gate.open()
        else:
            other = aside(lambda: invoke(url))
            runs.wait_for(1)
            refusal(invoke(url, headers=KEY | JSON), 503, "UnavailableError")
            refusal(invoke(url, headers=KEY | JSON), 503, "UnavailableError")
            gate.open()
            other.result()
            eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle")
        answer = invoke(url, headers=KEY | JSON)
    assert answer.result == "ab"
    assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_key_whose_run_had_to_make_room_for_others_does_not_run_again(tmp_path: Path, store: str) -> None:
    """A caller whose answer was lost comes back with it, however busy the agent is meanwhile."""
    event_store = None if store == "memory" else f"sqlite:///{tmp_path}/events.db"
    app, runs = counting(config=AgentConfig(event_store=event_store, event_log_max_invocations=1))
    with running(app) as url:
        invoke(url, headers=KEY)
        invoke(url, headers={"Idempotency-Key": "key-2"})
        answer = invoke(url, headers=KEY)
    assert "may have run, and its response is no longer kept" in refusal(answer, 410, "EventsEvictedError")
    assert "retry-after" not in answer.headers
    assert runs.value == 2


def test_caller_who_comes_back_joins_the_running_stream_from_its_start() -> None:
    gate = Gate()
    app, runs = counting(gate)
    with opening(gate), running(app) as url:
        with streaming(url, headers=KEY | PROTOCOL_1) as stream:
            assert next(stream.events()).data == "a"
            stream.reset()
        with streaming(url, headers=KEY | PROTOCOL_1) as again:
            found = again.events()
            assert next(found).data == "a"
            gate.open()
            assert [event.data for event in found if event.kind == "chunk"] == ["b"]
    assert runs.value == 1


def test_plain_response_of_the_agent_is_replayed_whole_and_its_background_task_runs_once() -> None:
    app, runs, background = PPIOAgentRuntimeApp(), Count(), Count()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> JSONResponse:
        runs.add()
        return JSONResponse({"a": 1}, 201, {"X-Own": "yes"}, background=BackgroundTask(background.add))

    with running(app) as url:
        first, second = (invoke(url, headers=KEY) for _ in range(2))
        background.wait_for(1)
        later = finished(url, submit(url, headers=KEY))
    for answer in (first, second):
        assert (answer.status, answer.json, answer.headers["x-own"]) == (201, {"a": 1}, "yes")
        assert answer.headers["content-type"] == "application/json"
        assert len(answer.headers["x-ppio-invocation-id"]) == 32
    assert (runs.value, background.value) == (1, 1)
    assert (later["state"], later["response"]["result"]) == ("succeeded", None)


def streaming_response_app(gate: Gate, runs: Count) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp()

    async def body() -> AsyncIterator[bytes]:
        yield b"first "
        await gate.passed()
        yield b"second"

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> StreamingResponse:
        runs.add()
        return StreamingResponse(body(), 203, media_type="text/x-own")

    return app


@pytest.mark.parametrize("headers", [KEY, PROTOCOL_1, PROTOCOL_1 | EVENT_STREAM], ids=["key", "p1", "p1 stream"])
def test_streaming_response_of_the_agent_goes_live_to_the_caller_who_waits(headers: dict[str, str]) -> None:
    gate, runs = Gate(), Count()
    with opening(gate), running(streaming_response_app(gate, runs)) as url, Connection(url) as connection:
        connection.post(headers=headers)
        status, found = connection.read_head()
        pieces = connection.pieces()
        assert next(pieces) == b"first "
        gate.open()
        assert b"".join(pieces) == b"second"
    assert (status, found["content-type"].split(";")[0]) == (203, "text/x-own")


def test_streaming_response_of_the_agent_cannot_be_replayed_and_says_so() -> None:
    gate, runs = Gate(), Count()
    gate.open()
    with running(streaming_response_app(gate, runs)) as url:
        assert invoke(url, headers=KEY).body == b"first second"
        sentence = refusal(invoke(url, headers=KEY), 410, "EventsEvictedError")
    assert "can be sent only once" in sentence
    assert runs.value == 1


def test_streaming_response_of_the_agent_is_an_error_where_nobody_waits() -> None:
    gate, runs = Gate(), Count()
    gate.open()
    with running(streaming_response_app(gate, runs)) as url:
        done = finished(url, submit(url))
    assert (done["state"], done["response"]["error_type"]) == ("failed", "SerializationError")
    assert "StreamingResponse" in done["response"]["error"]


def test_caller_of_a_streaming_response_who_hangs_up_ends_it() -> None:
    gate, runs = Gate(), Count()
    app = streaming_response_app(gate, runs)
    with opening(gate), running(app) as url:
        connection = Connection(url)
        connection.post(headers=PROTOCOL_1)
        connection.read_head()
        connection.reset()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle")


def test_plain_text_response_is_not_taken_for_a_value() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> PlainTextResponse:
        return PlainTextResponse("hello")

    with running(app) as url:
        assert invoke(url, headers=PROTOCOL_1).body == b"hello"
        assert invoke(url, headers=PROTOCOL_1 | EVENT_STREAM).body == b"hello"


def test_replay_to_respond_async_is_202_and_marked() -> None:
    app, runs = counting()
    with running(app) as url:
        invoke(url, headers=KEY)
        answer = invoke(url, headers=KEY | ASYNC)
    assert (answer.status, answer.json["state"]) == (202, "succeeded")
    assert answer.headers["idempotency-replayed"] == "true"
    assert runs.value == 1
