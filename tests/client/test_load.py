"""Many sessions, many calls at once, in tasks and in threads: nothing is mixed up, nothing grows, nothing stays."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ppio_agent_client import AgentClientError, AgentRuntimeClient, ClientConfig, SyncAgentRuntimeClient
from tests.client._async.clients import attached
from tests.support.raw_server import LAST_PIECE, Caller, Script, answer, piece, raw_server, sending, stream_head
from tests.support.tasks import until

pytestmark = pytest.mark.contract

AT_ONCE = 64


def alternating(*answers: bytes) -> Script:
    def script(caller: Caller) -> None:
        for reply in itertools.cycle(answers):
            caller.read_request()
            caller.send(reply)

    return script


def envelope(result: object) -> bytes:
    return answer(json.dumps({"result": result, "status": "success", "duration": 0.1}).encode())


def echoing(caller: Caller) -> None:
    while True:
        caller.send(envelope(json.loads(caller.read_request().body)["prompt"]))


class Echo:
    """An agent on every loopback address; each is an origin of its own."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self.most_open = 0
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                host = head.split(b"Host: ")[1].split(b"\r\n")[0].decode()
                prompt = json.loads(await reader.readexactly(length))["prompt"]
                writer.write(envelope([host, prompt]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    agent = Echo()
    server = await asyncio.start_server(agent.serve, "0.0.0.0", 0)
    agent.port = server.sockets[0].getsockname()[1]
    async with server:
        yield agent


def our_sockets() -> set[str]:
    return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if _is_socket(link)}


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8 and /proc")
@pytest.mark.slow
async def test_a_thousand_sessions_share_a_client_and_leave_nothing() -> None:
    tasks, threads, sockets = asyncio.all_tasks(), set(threading.enumerate()), our_sockets()
    config = ClientConfig(max_connections=100, max_idle_connections=20, connect_timeout=60)
    async with echo() as agent:
        async with AgentRuntimeClient(config=config) as client:
            hosts = [f"127.0.{number // 250}.{number % 250 + 1}:{agent.port}" for number in range(1000)]
            sessions = [(host, client.attach(f"http://{host}")) for host in hosts]
            left = iter([(*pair, turn) for turn in range(2) for pair in sessions])

            async def work() -> None:
                for host, session, turn in left:
                    assert (await session.invoke(f"{host} {turn}")).result == [host, f"{host} {turn}"]

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            await until(lambda: agent.open <= 20)
        await until(lambda: agent.open == 0)
        assert agent.most_open <= 100 + AT_ONCE  # the server notices a close later than the client
    assert asyncio.all_tasks() == tasks
    assert set(threading.enumerate()) <= threads  # what earlier tests left may have ended meanwhile
    assert our_sockets() <= sockets


@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8")
async def test_calls_wait_for_each_other_where_there_are_more_than_connections() -> None:
    async with echo() as agent, AgentRuntimeClient(config=ClientConfig(max_connections=3)) as client:
        session = client.attach(f"http://127.0.0.1:{agent.port}")
        answers = await asyncio.gather(*(session.invoke(str(number)) for number in range(200)))
        assert [response.result[1] for response in answers] == [str(number) for number in range(200)]
        assert agent.connections == 3


async def test_calls_that_are_cancelled_anywhere_give_their_place_back() -> None:
    async with echo() as agent, AgentRuntimeClient(config=ClientConfig(max_connections=2)) as client:
        session = client.attach(f"http://127.0.0.1:{agent.port}")
        for steps in range(12):
            calls = [asyncio.ensure_future(session.invoke("x")) for _ in range(4)]
            for _ in range(steps):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        answers = await asyncio.gather(*(session.invoke(str(number)) for number in range(10)))
        assert len(answers) == 10
        await until(lambda: agent.open <= 2)


@pytest.mark.slow
async def test_calls_and_streams_leave_nothing_to_the_garbage_collector() -> None:
    events = stream_head() + piece(b"id: 1\ndata: 1\n\n") + piece(b"id: 2\nevent: done\ndata: {}\n\n") + LAST_PIECE
    async with attached(alternating(envelope(1), events)) as (_, session):

        async def both() -> None:
            await session.invoke("x")
            async with session.stream("x") as stream:
                assert [chunk async for chunk in stream] == [1]

        await both()
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await both()
            assert gc.collect() < 50
        finally:
            gc.enable()


async def test_closing_a_client_ends_those_who_use_and_those_who_wait_for_a_connection() -> None:
    with raw_server(sending()) as server:
        client = AgentRuntimeClient(config=ClientConfig(max_connections=1, max_retries=0))
        session = client.attach(server.url)
        calls = [asyncio.ensure_future(session.invoke("x")) for _ in range(3)]
        await until(lambda: server.requests)
        await client.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, AgentClientError) for outcome in outcomes)
        assert await asyncio.to_thread(server.hung_up.acquire, timeout=60)
    assert server.connections == 1


@pytest.mark.slow
def test_threads_share_a_blocking_client() -> None:
    with raw_server(echoing) as server:
        with SyncAgentRuntimeClient() as client, ThreadPoolExecutor(AT_ONCE) as pool:
            sessions = [client.attach(server.url) for _ in range(8)]
            results = pool.map(lambda number: sessions[number % 8].invoke(str(number)).result, range(3000))
            assert list(results) == [str(number) for number in range(3000)]
        assert server.connections <= AT_ONCE
    gc.collect()


def test_threads_wait_for_each_other_where_there_are_more_than_connections() -> None:
    with raw_server(echoing) as server:
        config = ClientConfig(max_connections=2, connect_timeout=60)
        with (
            SyncAgentRuntimeClient(config=config) as client,
            ThreadPoolExecutor(16) as pool,
        ):
            session = client.attach(server.url)
            assert set(pool.map(lambda number: session.invoke(str(number)).result == str(number), range(500))) == {True}
    assert server.connections == 2


def test_closing_a_blocking_client_wakes_those_who_wait_for_an_answer() -> None:
    arrived = threading.Event()

    def silent(caller: Caller) -> None:
        caller.read_request()
        arrived.set()
        caller.wait_until_gone()

    with raw_server(silent) as server, ThreadPoolExecutor(1) as pool:
        client = SyncAgentRuntimeClient(config=ClientConfig(max_retries=0))
        call = pool.submit(client.attach(server.url).invoke, "x")
        assert arrived.wait(timeout=60)
        client.close()
        assert call.exception(timeout=60) is not None
