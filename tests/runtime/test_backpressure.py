"""A slow reader makes the producer wait: memory stays bounded, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.gates import Count, Gate, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, invoke, streaming

pytestmark = pytest.mark.contract

MIB = 1024 * 1024


def _resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096


class Standstill:
    """Notices that a count has stopped to grow."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._before = -1
        self._same = 0

    def __call__(self) -> bool:
        now = self._read()
        self._same = self._same + 1 if now == self._before else 0
        self._before = now
        return now > 0 and self._same > 30


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_producer_waits_for_a_slow_reader_and_then_goes_on_where_it_was(kind: str) -> None:
    app, made, total = PPIOAgentRuntimeApp(), Count(), 2000

    if kind == "async":

        @app.entrypoint
        async def numbers(payload: dict[str, object]) -> AsyncIterator[str]:
            for number in range(total):
                made.add()
                yield f"{number}:" + "x" * 10_000

    else:

        @app.entrypoint
        def numbers_in_a_thread(payload: dict[str, object]) -> Iterator[str]:
            for number in range(total):
                made.add()
                yield f"{number}:" + "x" * 10_000

    with running(app) as url, Connection(url, receive_buffer_bytes=4096) as connection:
        connection.post(headers=PROTOCOL_1 | EVENT_STREAM)
        eventually(Standstill(lambda: made.value), "the producer waits")
        assert made.value < total
        connection.read_head()
        *chunks, done = connection.events()
    assert [event.data.partition(":")[0] for event in chunks] == [str(number) for number in range(total)]
    assert done.kind == "done"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of another process from /proc")
@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize("chunk_bytes", [50, 1_000_000])
@pytest.mark.slow
def test_generator_that_could_make_a_gigabyte_costs_a_bounded_amount_of_memory(
    tmp_path: Path, kind: str, chunk_bytes: int
) -> None:
    program = f"""
app = PPIOAgentRuntimeApp()

@app.entrypoint
{kind} handler(payload):
    for number in range(1_000_000_000 // {chunk_bytes}):
        yield "x" * {chunk_bytes}
"""
    with agent_process(tmp_path, program) as agent:
        warm = invoke(agent.url, None, {"Accept": "text/plain"})  # refused, and everything is imported
        assert warm.status == 406
        before = _resident_bytes(agent.process.pid)
        readers = [Connection(agent.url, receive_buffer_bytes=4096) for _ in range(4)]
        for reader in readers:
            reader.post(headers=EVENT_STREAM)
        eventually(Standstill(lambda: _resident_bytes(agent.process.pid)), "memory stands still")
        assert _resident_bytes(agent.process.pid) - before < 100 * MIB
        for reader in readers:
            reader.reset()


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_single_chunks_far_larger_than_the_buffer_arrive_whole(kind: str) -> None:
    app, sizes = PPIOAgentRuntimeApp(), [1, 65_535, 65_536, 65_537, 3_000_000, 1]

    if kind == "async":

        @app.entrypoint
        async def large(payload: dict[str, object]) -> AsyncIterator[str]:
            for size in sizes:
                yield "x" * size

    else:

        @app.entrypoint
        def large_in_a_thread(payload: dict[str, object]) -> Iterator[str]:
            for size in sizes:
                yield "x" * size

    with running(app) as url:
        assert [len(event.data) for event in invoke(url).events] == sizes


def test_other_streams_go_on_beside_a_reader_that_stands_still() -> None:
    app, made, go_on = PPIOAgentRuntimeApp(), Count(), Gate("go on")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[str]:
        if payload.get("endless"):
            while True:
                made.add()
                yield "x" * 10_000
        for number in range(500):
            yield str(number)
            await asyncio.sleep(0)

    with opening(go_on), running(app) as url, Connection(url, receive_buffer_bytes=4096) as still:
        still.post({"endless": True})
        eventually(Standstill(lambda: made.value), "the producer waits")
        for _ in range(3):
            with streaming(url) as connection:
                assert [event.data for event in connection.events()] == [str(number) for number in range(500)]
        still.reset()
