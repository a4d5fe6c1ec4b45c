"""Streams arrive complete, in order, as soon as they are made, and next to each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gates import Gate, aside, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, Event, invoke, streaming

pytestmark = pytest.mark.contract


def test_sync_generator_that_blocks_has_delivered_what_it_yielded_before() -> None:
    app, go_on = PPIOAgentRuntimeApp(), Gate("go on")

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Iterator[int]:
        yield 1
        yield 2
        yield 3
        go_on.wait()
        yield 4

    with opening(go_on), running(app) as url, streaming(url) as connection:
        events = connection.events()
        assert [next(events).data for _ in range(3)] == [1, 2, 3]
        go_on.open()
        assert [event.data for event in events] == [4]


def test_async_generator_that_waits_has_delivered_what_it_yielded_before() -> None:
    app, go_on = PPIOAgentRuntimeApp(), Gate("go on")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        yield 1
        yield 2
        yield 3
        await go_on.passed()
        yield 4

    with opening(go_on), running(app) as url, streaming(url) as connection:
        events = connection.events()
        assert [next(events).data for _ in range(3)] == [1, 2, 3]
        go_on.open()
        assert [event.data for event in events] == [4]


def test_sync_generator_that_blocks_between_all_its_yields_is_never_late() -> None:
    app, gates = PPIOAgentRuntimeApp(), [Gate(str(number)) for number in range(200)]

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Iterator[int]:
        for number, gate in enumerate(gates):
            yield number
            gate.wait()

    with opening(*gates), running(app) as url, streaming(url) as connection:
        events = connection.events()
        for number, gate in enumerate(gates):  # each is opened only when what was yielded before it has arrived
            assert next(events).data == number
            gate.open()


def _async_numbers(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, int]) -> AsyncIterator[list[int]]:
        for number in range(payload["count"]):
            yield [payload["who"], number]


def _paced_numbers(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, int]) -> AsyncIterator[list[int]]:
        for number in range(payload["count"]):
            yield [payload["who"], number]
            await asyncio.sleep(0)


def _sync_numbers(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    def handler(payload: dict[str, int]) -> Iterator[list[int]]:
        for number in range(payload["count"]):
            yield [payload["who"], number]


every_kind = pytest.mark.parametrize("register", [_async_numbers, _paced_numbers, _sync_numbers])


@every_kind
@pytest.mark.slow
def test_hundred_streams_at_once_are_complete_and_in_order(register: type[object]) -> None:
    app = PPIOAgentRuntimeApp()
    register(app)  # type: ignore[call-arg]

    def read(who: int) -> bool:
        answer = invoke(url, {"who": who, "count": 500}, PROTOCOL_1 | EVENT_STREAM)
        *chunks, done = answer.events
        assert [event.data for event in chunks] == [[who, number] for number in range(500)]
        assert [event.event_id for event in answer.events] == list(range(1, 502))
        return done.kind == "done"

    with running(app) as url:
        readers = [aside(lambda who=who: read(who)) for who in range(100)]  # type: ignore[misc]
        assert all(reader.result() for reader in readers)


@pytest.mark.parametrize("headers", [EVENT_STREAM, PROTOCOL_1], ids=["plain", "protocol 1"])
@pytest.mark.parametrize("register", [_async_numbers, _sync_numbers])
def test_chunks_that_are_there_at_once_leave_in_one_write(register: type[object], headers: dict[str, str]) -> None:
    app = PPIOAgentRuntimeApp()
    register(app)  # type: ignore[call-arg]
    with running(app) as url, streaming(url, {"who": 1, "count": 10_000}, headers) as connection:
        pieces = list(connection.pieces())
    found = [event for block in b"".join(pieces).split(b"\n\n") if (event := Event.read(block)) is not None]
    assert [event.data for event in found][:10_000] == [[1, number] for number in range(10_000)]
    assert len(pieces) < 500


@every_kind
def test_generator_asked_for_as_json_is_collected_whole(register: type[object]) -> None:
    app = PPIOAgentRuntimeApp()
    register(app)  # type: ignore[call-arg]
    with running(app) as url:
        result = invoke(url, {"who": 1, "count": 2000}, {"Accept": "application/json"}).result
    assert result == [[1, number] for number in range(2000)]


@every_kind
def test_empty_generator_is_an_empty_stream_with_an_end(register: type[object]) -> None:
    app = PPIOAgentRuntimeApp()
    register(app)  # type: ignore[call-arg]
    with running(app) as url:
        (done,) = invoke(url, {"who": 1, "count": 0}, PROTOCOL_1).events
    assert (done.kind, done.event_id) == ("done", 1)


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("count", [1, 256, 257, 1000])
def test_error_after_some_chunks_comes_after_all_of_them(kind: str, count: int) -> None:
    app = PPIOAgentRuntimeApp()

    if kind == "async":

        @app.entrypoint
        async def failing(payload: dict[str, object]) -> AsyncIterator[int]:
            for number in range(count):
                yield number
            raise ValueError("after some chunks")

    else:

        @app.entrypoint
        def failing_in_a_thread(payload: dict[str, object]) -> Iterator[int]:
            yield from range(count)
            raise ValueError("after some chunks")

    with running(app) as url:
        *chunks, last = invoke(url, headers=PROTOCOL_1 | EVENT_STREAM).events
    assert [event.data for event in chunks] == list(range(count))
    assert (last.kind, last.data["error_type"]) == ("error", "HandlerError")


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_error_before_the_first_chunk_has_a_status_of_its_own(kind: str) -> None:
    app = PPIOAgentRuntimeApp()

    if kind == "async":

        @app.entrypoint
        async def failing(payload: dict[str, object]) -> AsyncIterator[int]:
            raise ValueError("at once")
            yield 1

    else:

        @app.entrypoint
        def failing_in_a_thread(payload: dict[str, object]) -> Iterator[int]:
            raise ValueError("at once")
            yield 1

    with running(app) as url:
        assert invoke(url, headers=EVENT_STREAM).status == 500


def test_return_value_of_a_generator_is_no_chunk() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Generator[int, None, int]:
        yield 1
        return 2  # what is tested

    with running(app) as url:
        assert [event.data for event in invoke(url).events] == [1]


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_yield_in_a_finally_block_is_a_chunk_when_the_generator_ends_by_itself(kind: str) -> None:
    app = PPIOAgentRuntimeApp()

    if kind == "async":

        @app.entrypoint
        async def both(payload: dict[str, object]) -> AsyncIterator[str]:
            try:
                yield "body"
            finally:
                yield "last words"

    else:

        @app.entrypoint
        def both_in_a_thread(payload: dict[str, object]) -> Iterator[str]:
            try:
                yield "body"
            finally:
                yield "last words"

    with running(app) as url:
        assert [event.data for event in invoke(url).events] == ["body", "last words"]


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_generator_that_refuses_to_be_closed_harms_nobody(kind: str) -> None:
    app, refused = PPIOAgentRuntimeApp(), Gate("refused")

    if kind == "async":

        @app.entrypoint
        async def endless(payload: dict[str, object]) -> AsyncIterator[str]:
            if payload.get("brief"):
                yield "fine"
                return
            try:
                while True:
                    yield "x" * 1000
            finally:
                refused.open()
                yield "no"

    else:

        @app.entrypoint
        def endless_in_a_thread(payload: dict[str, object]) -> Iterator[str]:
            if payload.get("brief"):
                yield "fine"
                return
            try:
                while True:
                    yield "x" * 1000
            finally:
                refused.open()
                yield "no"

    with running(app) as url:
        with streaming(url) as connection:
            next(connection.events())
            connection.reset()
        refused.wait()
        assert [event.data for event in invoke(url, {"brief": True}).events] == ["fine"]


def test_async_generator_that_never_suspends_lets_the_others_through() -> None:
    app, enough = PPIOAgentRuntimeApp(), Gate("enough")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        number = 0
        while not (payload.get("brief") and number == 3) and not enough.is_open:
            number += 1
            yield number

    with opening(enough), running(app) as url, Connection(url) as eager:
        eager.post(headers=EVENT_STREAM)
        eager.read_head()
        events = eager.events()
        for _ in range(5):
            next(events)
            assert [event.data for event in invoke(url, {"brief": True}).events] == [1, 2, 3]
        enough.open()


def test_generator_that_an_async_handler_returns_streams() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> object:
        async def inner() -> AsyncIterator[int]:
            yield 1
            yield 2

        return inner()

    with running(app) as url:
        assert [event.data for event in invoke(url).events] == [1, 2]
