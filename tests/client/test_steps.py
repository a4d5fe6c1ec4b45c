"""Streams whose reader stops waiting for a chunk, by a time limit of its own: they go on, or say that they do not."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from ppio_agent_client import AgentRuntimeClient, HandlerError, StreamInterruptedError, SyncAgentRuntimeClient
from tests.client._async.clients import attached, shelved
from tests.client._async.shelf import agent
from tests.support.raw_server import LAST_PIECE, Caller, answer, answering, piece, raw_server, sending, stream_head
from tests.support.tasks import cancelled, until

pytestmark = pytest.mark.contract

HEAD = stream_head(headers={"X-PPIO-Invocation-Id": "i-1"})
ONE = piece(b"id: 1\ndata: 1\n\n")
REST = piece(b"id: 2\ndata: 2\n\n") + piece(b'id: 3\nevent: done\ndata: {"status":"success"}\n\n') + LAST_PIECE
SUBMITTED = answer(
    b'{"invocation_id":"i-1","state":"running","created_at":"2026-01-01T00:00:00Z"}',
    "202 Accepted",
    {"PPIO-Agent-Protocol": "1"},
)

Limit = Callable[[Awaitable[Any]], Awaitable[Any]]


async def by_wait_for(step: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(step, 0.01)


async def by_asyncio_timeout(step: Awaitable[Any]) -> Any:
    async with asyncio.timeout(0.01):
        return await step


async def by_anyio(step: Awaitable[Any]) -> Any:
    with anyio.fail_after(0.01):
        return await step


async def by_cancelling_a_task(step: Awaitable[Any]) -> Any:
    task = asyncio.ensure_future(step)
    done, _ = await asyncio.wait({task}, timeout=0.01)
    if not done:
        await cancelled(task)
        raise TimeoutError
    return task.result()


LIMITS = [by_wait_for, by_asyncio_timeout, by_anyio, by_cancelling_a_task]


async def read(steps: Any, limit: Limit, expire: Callable[[], None]) -> list[Any]:
    """Return all that comes of one limited step after the other; `expire` is called after each that expires."""
    found = []
    while True:
        try:
            found.append(await limit(anext(steps)))
        except TimeoutError:
            expire()
        except StopAsyncIteration:
            return found


class Halting:
    """An agent that says one thing, and the rest once four steps have expired."""

    def __init__(self, begin: bytes = HEAD + ONE) -> None:
        self.begin = begin
        self.expired = 0
        self.go_on = threading.Event()

    def __call__(self, caller: Caller) -> None:
        try:
            while True:
                if caller.read_request().headers.get("prefer"):
                    caller.send(SUBMITTED)
                    continue
                caller.send(self.begin)
                self.go_on.wait(timeout=60)
                caller.send((b"" if self.begin else HEAD + ONE) + REST)
        except ConnectionError:
            caller.wait_until_gone()

    def expire(self) -> None:
        self.expired += 1
        if self.expired == 4:
            self.go_on.set()


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("begin", [HEAD + ONE, b""], ids=["between chunks", "before the answer"])
async def test_a_stream_goes_on_with_the_step_after_one_that_expired(limit: Limit, begin: bytes) -> None:
    halting = Halting(begin)
    async with attached(halting) as (server, session):
        assert await read(aiter(session.stream("x")), limit, halting.expire) == [1, 2]
        stream = session.stream("x")  # without aiter(), which is what `async for` calls
        assert await read(stream, limit, halting.expire) == [1, 2]
    assert halting.expired >= 4
    assert len(server.requests) == 2
    assert server.connections == 1


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_stream_in_a_block_goes_on_too(limit: Limit) -> None:
    halting = Halting()
    async with attached(halting) as (server, session), session.stream("x") as stream:
        assert await read(aiter(stream), limit, halting.expire) == [1, 2]
    assert len(server.requests) == 1


@pytest.mark.parametrize("limit", LIMITS)
async def test_events_and_handles_go_on_too(limit: Limit) -> None:
    halting = Halting()
    async with attached(halting) as (_, session):
        events = await read(session.stream("x").events(), limit, halting.expire)
        assert [(event.kind, event.event_id) for event in events] == [("chunk", 1), ("chunk", 2), ("done", 3)]
    halting = Halting()
    async with attached(halting) as (_, session):
        job = await session.submit("x")
        assert await read(aiter(job.events()), limit, halting.expire) == [1, 2]


async def test_an_error_that_was_read_ahead_comes_behind_the_chunks_before_it() -> None:
    failed = piece(b'id: 2\nevent: error\ndata: {"status":"error","error":"no","error_type":"HandlerError"}\n\n')
    async with attached(sending(HEAD + ONE + failed)) as (server, session), session.stream("x") as stream:
        await until(lambda: server.hung_up.acquire(blocking=False))  # everything was read
        assert await anext(stream) == 1
        with pytest.raises(HandlerError):
            await anext(stream)


async def test_a_plain_stream_goes_on_over_the_same_connection() -> None:
    plain = stream_head(numbered=False) + piece(b"data: 1\n\n")
    halting = Halting(plain)
    async with attached(halting) as (server, session):
        assert await read(aiter(session.stream("x")), by_wait_for, halting.expire) == [1, 2]
    assert server.connections == 1


async def test_a_stream_whose_opening_expired_does_not_end_as_if_it_were_whole() -> None:
    async with attached(sending()) as (_, session):
        stream = session.stream("x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.open(), 0.01)
        with pytest.raises(StreamInterruptedError):
            await anext(stream)


@pytest.mark.parametrize("form", ["sse", "ndjson"])
async def test_a_relayed_stream_whose_step_expired_does_not_end_as_if_it_were_whole(form: str) -> None:
    async with attached(sending(HEAD + ONE), answering(answer(b"{}"))) as (_, session):
        lines: Any = getattr(session.stream("x"), form)()
        assert b"1" in await anext(lines)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(lines), 0.01)
        for _again in range(2):
            with pytest.raises(StreamInterruptedError, match="time limit around a step"):
                await anext(lines)


async def test_a_stream_that_nobody_holds_after_its_step_was_cancelled_is_closed() -> None:
    async with attached(sending(HEAD + ONE), answering(answer(b"{}"))) as (server, session):
        stream = session.stream("x")
        assert await anext(stream) == 1
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        del stream
        await cancelled(task)
        await until(lambda: len(server.requests) == 2)
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)
    assert server.requests[1].line == "DELETE /invocations/i-1 HTTP/1.1"


async def test_a_loop_in_a_task_that_is_cancelled_cancels_the_invocation_before_the_client_is_closed() -> None:
    async with attached(sending(HEAD + ONE), answering(answer(b"{}"))) as (server, session):
        chunks = []

        async def loop() -> None:
            async for chunk in session.stream("x"):
                chunks.append(chunk)  # noqa: PERF401  # a loop is what is tried

        task = asyncio.create_task(loop())
        await until(lambda: chunks)
        await cancelled(task)
    assert [request.line.split()[0] for request in server.requests] == ["POST", "DELETE"]


async def test_a_sandbox_of_a_loop_that_is_cancelled_is_ended_before_the_client_is_closed() -> None:
    def talkative(caller: Caller) -> None:
        while caller.read_request().line.startswith("GET"):
            caller.send(answer(b'{"status":"Healthy"}'))
        caller.send(HEAD + ONE)
        caller.wait_until_gone()

    async with shelved(talkative, agent) as (_, shelf, client):
        chunks = []

        async def loop() -> None:
            async for chunk in client.stream_agent("t-1", "x"):
                chunks.append(chunk)  # noqa: PERF401  # a loop is what is tried

        task = asyncio.create_task(loop())
        await until(lambda: chunks)
        await cancelled(task)
    assert shelf.sandboxes["b-1"].state == "ended"


# What the loop left open was its own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.slow
def test_a_stream_left_to_a_closed_event_loop_is_no_error() -> None:
    with raw_server(sending(HEAD + ONE)) as server:

        async def leave() -> Any:
            stream = AgentRuntimeClient().attach(server.url).stream("x")
            assert await anext(stream) == 1
            return stream

        stream = asyncio.run(leave())
        del stream
        gc.collect()


@pytest.fixture
def interrupting() -> Iterator[Callable[[], None]]:
    """Give what makes the main thread raise TimeoutError, as an alarm would; again until it did so within a step."""
    raised = threading.Event()

    def handle(number: int, frame: Any) -> None:
        while frame is not None:  # only where the test waits for a chunk
            if frame.f_code.co_name == "one_step":
                raised.set()
                raise TimeoutError("alarm")
            frame = frame.f_back

    def interrupt() -> None:
        raised.clear()
        while not raised.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            raised.wait(0.01)

    before = signal.signal(signal.SIGUSR1, handle)
    yield interrupt
    signal.signal(signal.SIGUSR1, before)


def one_step(steps: Iterator[Any]) -> Any:
    return next(steps)


def test_a_blocking_stream_is_read_on_after_a_signal_handler_raised(interrupting: Callable[[], None]) -> None:
    def halting(caller: Caller) -> None:
        caller.read_request()
        caller.send(HEAD + ONE)
        first.wait(timeout=60)
        interrupting()
        caller.wait_until_gone()

    first = threading.Event()
    with raw_server(halting, answering(HEAD + REST)) as server, SyncAgentRuntimeClient() as client:
        steps = iter(client.attach(server.url).stream("x"))
        assert one_step(steps) == 1
        first.set()
        with pytest.raises(TimeoutError, match="alarm"):
            one_step(steps)
        assert list(steps) == [2]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, "1"]


def test_a_blocking_relayed_stream_says_that_a_step_was_left(interrupting: Callable[[], None]) -> None:
    def halting(caller: Caller) -> None:
        caller.read_request()
        caller.send(HEAD + ONE)
        first.wait(timeout=60)
        interrupting()
        caller.wait_until_gone()

    first = threading.Event()
    with raw_server(halting, answering(answer(b"{}"))) as server, SyncAgentRuntimeClient() as client:
        lines = client.attach(server.url).stream("x").sse()
        assert b"1" in one_step(lines)
        first.set()
        with pytest.raises(TimeoutError, match="alarm"):
            one_step(lines)
        with pytest.raises(StreamInterruptedError):
            one_step(lines)


def test_a_blocking_plain_stream_says_that_it_does_not_go_on(interrupting: Callable[[], None]) -> None:
    def halting(caller: Caller) -> None:
        caller.read_request()
        caller.send(stream_head(numbered=False) + piece(b"data: 1\n\n"))
        first.wait(timeout=60)
        interrupting()
        caller.wait_until_gone()

    first = threading.Event()
    with raw_server(halting) as server, SyncAgentRuntimeClient() as client:
        steps = iter(client.attach(server.url).stream("x"))
        assert one_step(steps) == 1
        first.set()
        with pytest.raises(TimeoutError, match="alarm"):
            one_step(steps)
        with pytest.raises(StreamInterruptedError):
            one_step(steps)
    assert len(server.requests) == 1
