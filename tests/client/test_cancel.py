"""Cancelling: nothing half done stays behind, neither sandboxes nor tasks nor sockets."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    Sandbox,
    SandboxSpec,
    StreamInterruptedError,
    TotalTimeoutError,
)
from ppio_agent_client._async import sandbox_handle
from ppio_agent_client._io import tls_context
from tests.client._async.clients import attached, shelved
from tests.client._async.shelf import Shelf
from tests.support.raw_server import Caller, answer, answering, keeping, piece, raw_server, sending, stream_head
from tests.support.tasks import cancelled, until
from tests.support.tls_server import tls_server

SICK = answer(b'{"status":"Unhealthy"}', "503 x")
HEALTHY = answer(b'{"status":"Healthy"}')


class SlowShelf(Shelf):
    """A provider that makes sandboxes only when it is told to."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def create(self, spec: SandboxSpec) -> Sandbox:
        self.asked.set()
        await self.go_on.wait()
        return await super().create(spec)


def silent_agent(caller: Caller) -> None:
    """Healthy, and never answers a question."""
    while caller.read_request().line.startswith("GET /ping"):
        caller.send(HEALTHY)
    caller.wait_until_gone()


@pytest.mark.contract
async def test_a_sandbox_whose_making_is_cancelled_is_ended_when_it_is_there() -> None:
    shelf = SlowShelf("http://127.0.0.1:1")
    async with AgentRuntimeClient(provider=shelf) as client:
        task = asyncio.create_task(client.create_session("t-1"))
        await shelf.asked.wait()
        task.cancel()
        task.cancel()
        shelf.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["ended"]


@pytest.mark.contract
async def test_a_close_that_is_cancelled_before_its_sandbox_has_ended_can_be_repeated() -> None:
    async with shelved(answering(HEALTHY)) as (_, shelf, client):
        session = await client.create_session("t-1", keep_alive=True)
        await session.__aenter__()
        task = asyncio.create_task(session.close())
        await asyncio.sleep(0)  # it waits for the end of what keeps the sandbox alive
        await cancelled(task)
        assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["running"]
        assert await session.close()
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["ended"]


@pytest.mark.contract
async def test_a_client_whose_closing_is_cancelled_leaves_no_connection() -> None:
    with raw_server(sending(HEALTHY)) as first, raw_server(sending(HEALTHY)) as second:
        client = AgentRuntimeClient()
        for server in (first, second):
            await client.attach(server.url).ping()
        task = asyncio.create_task(client.close())
        await asyncio.sleep(0)  # it waits for the end of the first connection
        await cancelled(task)
        await client.close()
        for server in (first, second):
            assert await asyncio.to_thread(server.hung_up.acquire, timeout=10)


async def test_a_call_whose_time_is_over_does_not_wait_for_who_might_know_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Speechless(Shelf):
        async def get(self, sandbox_id: str) -> Sandbox | None:
            await asyncio.Event().wait()
            return None

    monkeypatch.setattr(sandbox_handle, "_LOOK_SECONDS", 0.05)
    with raw_server(silent_agent) as server:
        async with AgentRuntimeClient(provider=Speechless(server.url), timeout=0.2) as client:
            session = await client.create_session("t-1")
            with pytest.raises(TotalTimeoutError, match=r"0\.2 s"):
                await session.invoke("x")


@pytest.mark.contract
async def test_a_sandbox_whose_start_is_cancelled_is_ended() -> None:
    async with shelved(answering(SICK)) as (server, shelf, client):
        task = asyncio.create_task(client.create_session("t-1"))
        await until(lambda: server.requests)
        await cancelled(task)
    assert shelf.sandboxes["b-1"].state == "ended"


@pytest.mark.contract
async def test_a_joined_sandbox_survives_a_cancelled_start() -> None:
    async with shelved(answering(SICK)) as (server, shelf, client):
        shelf.put("theirs")
        task = asyncio.create_task(client.create_session("t-1", session_id="theirs"))
        await until(lambda: server.requests)
        await cancelled(task)
    assert shelf.sandboxes["b-1"].state == "running"


@pytest.mark.contract
async def test_a_cancelled_call_for_one_answer_ends_its_sandbox() -> None:
    async with shelved(silent_agent) as (server, shelf, client):
        task = asyncio.create_task(client.invoke_agent("t-1", "x"))
        await until(lambda: len(server.requests) == 2)
        await cancelled(task)
    assert shelf.sandboxes["b-1"].state == "ended"


@pytest.mark.contract
async def test_a_cancelled_stream_of_an_agent_ends_its_sandbox() -> None:
    async with shelved(silent_agent) as (server, shelf, client):
        task = asyncio.ensure_future(anext(client.stream_agent("t-1", "x")))
        await until(lambda: len(server.requests) == 2)
        await cancelled(task)
    assert shelf.sandboxes["b-1"].state == "ended"


@pytest.mark.contract
async def test_a_cancelled_invocation_closes_its_connection() -> None:
    async with attached(sending()) as (server, session):
        task = asyncio.create_task(session.invoke("x"))
        await until(lambda: server.requests)
        await cancelled(task)
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)


@pytest.mark.contract
async def test_calls_over_tls_that_are_cancelled_anywhere_leave_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_server(tmp_path / "authority.pem", keeping) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        tls_context.cache_clear()
        async with AgentRuntimeClient(config=ClientConfig(max_connections=2)) as client:
            session = client.attach(server.url)
            for steps in range(0, 60, 2):
                calls = [asyncio.ensure_future(session.invoke("x")) for _ in range(3)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            assert [(await session.invoke("x")).result for _ in range(3)] == [42] * 3
        tls_context.cache_clear()
        gc.collect()  # a socket that is left to it is a warning, and warnings are errors here


@pytest.mark.contract
async def test_a_stream_that_is_closed_while_somebody_reads_was_interrupted() -> None:
    async with attached(sending(stream_head() + piece(b"data: 1\n\n"))) as (server, session):
        stream = session.stream("x")
        assert await anext(stream) == 1
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await stream.close()
        with pytest.raises(StreamInterruptedError):
            await task
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)


@pytest.mark.contract
async def test_a_stream_that_is_closed_while_somebody_reads_is_not_read_on() -> None:
    begin = stream_head(headers={"X-PPIO-Invocation-Id": "i-1"}) + piece(b"id: 1\ndata: 1\n\n")
    async with attached(sending(begin), answering(answer(b"{}"))) as (server, session):
        stream = session.stream("x")
        assert await anext(stream) == 1
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await stream.close()
        with pytest.raises(StreamInterruptedError):
            await task
    assert [request.line.split()[0] for request in server.requests] == ["POST", "DELETE"]


@pytest.mark.contract
async def test_a_stream_that_is_closed_while_it_is_opened_cancels_the_invocation() -> None:
    arrived, closed = threading.Event(), threading.Event()

    def late(caller: Caller) -> None:
        caller.read_request()
        arrived.set()
        closed.wait(timeout=60)
        caller.send(stream_head(headers={"X-PPIO-Invocation-Id": "i-1"}))
        caller.wait_until_gone()

    async with attached(late, answering(answer(b"{}"))) as (server, session):
        stream = session.stream("x")
        task = asyncio.ensure_future(stream.open())
        await asyncio.to_thread(arrived.wait, timeout=60)
        await stream.close()
        closed.set()
        await task
        assert [chunk async for chunk in stream] == []
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)
    assert [request.line for request in server.requests[1:]] == ["DELETE /invocations/i-1 HTTP/1.1"]


@pytest.mark.contract
async def test_a_loop_that_is_left_without_a_block_closes_its_connection() -> None:
    async with attached(sending(stream_head() + piece(b"data: 1\n\n"))) as (server, session):
        async for chunk in session.stream("x"):
            assert chunk == 1
            break
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)


@pytest.mark.contract
async def test_closing_the_client_ends_streams_that_are_open() -> None:
    with raw_server(sending(stream_head() + piece(b"data: 1\n\n"))) as server:
        client = AgentRuntimeClient()
        stream = client.attach(server.url).stream("x")
        assert await anext(stream) == 1
        await client.close()
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)
        await stream.close()


@pytest.mark.contract
async def test_a_client_leaves_no_task_and_no_thread() -> None:
    with raw_server(sending(stream_head() + piece(b"data: 1\n\n"))) as server:
        tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
        async with AgentRuntimeClient(timeout=0.05) as client:
            async with client.attach(server.url).stream("x") as stream:
                assert await anext(stream) == 1
            session = client.attach(server.url)
            with pytest.raises(TotalTimeoutError):
                await session.invoke("x")
        assert asyncio.all_tasks() == tasks
        ours = {thread for thread in set(threading.enumerate()) - threads if thread.name == "ppio-agent-client"}
        assert ours == set()


# What the first loop left open was its own: closing the client before the loop ends would have closed it.
@pytest.mark.contract
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_client_can_be_used_in_one_event_loop_after_another() -> None:
    with raw_server(answering(answer(b"1"))) as server:
        client = AgentRuntimeClient()

        async def call() -> None:
            assert (await client.attach(server.url).invoke("x")).result == 1

        async def last_call() -> None:
            await call()
            await client.close()

        asyncio.run(call())
        asyncio.run(last_call())
        gc.collect()
