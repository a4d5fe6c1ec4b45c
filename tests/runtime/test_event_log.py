"""The log: every event once and in order from any position, and never more bytes than allowed.

Speaks to the module itself: over the wire its bounds are those of the sockets, and every position costs a connection.
"""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_models import EventsEvictedError
from ppio_agent_runtime.http.sse import chunk_block, chunks_in, without_ids
from ppio_agent_runtime.invocations.event_log import EventLog, LogReader, PassingLog
from ppio_agent_runtime.invocations.kept_log import KeptLog
from ppio_agent_runtime.invocations.memory_store import FixedShare

BOUND = 4096
ENVELOPE = b'{"result":null,"status":"success"}'

texts = st.text(max_size=20) | st.sampled_from(["\n\nid: 9\ndata: x", "event: done", "\r", "\u2028", "id: 1\n"])
values = texts | st.integers() | st.lists(texts, max_size=2)
said = st.lists(st.tuples(st.sampled_from(["chunk", "chunk", "progress", "turn"]), values), max_size=40)


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


class Log(KeptLog):
    """A log with its readers."""

    def __init__(self, max_bytes: int = 1 << 30, *, keeps_unread: bool = True) -> None:
        self.readers: list[LogReader] = []
        super().__init__(self.readers, FixedShare(max_bytes), keeps_unread=keeps_unread)

    def read(self, after: int) -> LogReader:
        self.check_held(after)
        self.readers.append(LogReader(after))
        return self.readers[-1]


async def rest(log: EventLog, reader: LogReader) -> bytes:
    """Everything that the reader still gets from a log that is closed, or will be."""
    data = b""
    while not log.is_read(reader):
        data += b"".join(await log.take(reader))
    return data


def ids(data: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^id: (\d+)$", data, re.MULTILINE)]


async def told(script: list[tuple[str, object]]) -> tuple[Log, list[object]]:
    """A closed log in which somebody said all of this, read from now and then as it was made."""
    log, chunks = Log(), []
    for kind, value in script:
        if kind == "chunk":
            log.put(encoded(value))
            chunks.append(value)
        elif kind == "progress":
            log.progress(encoded(value))
        elif log.last_id:
            log.blocks_after(0)
    log.close(b"done", ENVELOPE)
    return log, chunks


@given(said)
def test_ids_begin_at_1_and_grow_by_1_to_the_closing_event(script: list[tuple[str, object]]) -> None:
    async def check() -> None:
        log, _ = await told(script)
        found = ids(await rest(log, log.read(0)))
        assert found == list(range(1, log.last_id + 1))
        assert len(found) == sum(kind != "turn" for kind, _ in script) + 1

    asyncio.run(check())


@given(st.integers(1, 3000) | st.integers(1, 10**15), st.integers(0, 2500))
def test_many_chunks_are_numbered_as_each_of_them_would_be(first_id: int, count: int) -> None:
    chunks = [b"%d" % number for number in range(count)]
    one_by_one = b"".join(chunk_block([chunk], number) for number, chunk in enumerate(chunks, first_id))
    assert chunk_block(chunks, first_id) == one_by_one


@given(said, st.data())
def test_reading_from_any_position_gives_the_rest_of_the_same_bytes(
    script: list[tuple[str, object]], data: st.DataObject
) -> None:
    async def check() -> None:
        log, _ = await told(script)
        everything = await rest(log, log.read(0))
        after = data.draw(st.integers(0, log.last_id))
        tail = await rest(log, log.read(after))
        assert everything.endswith(tail)
        assert ids(tail) == list(range(after + 1, log.last_id + 1))

    asyncio.run(check())


@given(said)
def test_chunks_are_found_again_and_nothing_else_is_taken_for_one(script: list[tuple[str, object]]) -> None:
    async def check() -> None:
        log, chunks = await told(script)
        collected = log.collected()
        assert collected is not None
        assert [json.loads(chunk) for chunk in collected] == chunks
        assert [json.loads(chunk) for chunk in chunks_in([block for _, block in log.held().blocks])] == chunks

    asyncio.run(check())


@given(said)
def test_plain_callers_get_the_chunks_as_data_lines_and_nothing_else(script: list[tuple[str, object]]) -> None:
    async def check() -> None:
        log, chunks = await told(script)
        data = b"".join(map(without_ids, log.blocks_after(0)[0]))
        assert data == b"".join(b"data: %b\n\n" % encoded(chunk) for chunk in chunks)

    asyncio.run(check())


@given(said)
def test_log_that_was_held_and_restored_reads_the_same(script: list[tuple[str, object]]) -> None:
    async def check() -> None:
        log, _ = await told(script)
        again = Log()
        again.restore(log.held())
        for after in range(log.last_id + 1):
            assert await rest(again, again.read(after)) == await rest(log, log.read(after))

    asyncio.run(check())


async def produce(log: EventLog, count: int, text: str = "x" * 100) -> None:
    for number in range(count):
        if not log.put(encoded(f"{number} {text}")):
            await log.room()
    log.close(b"done", ENVELOPE)


async def test_without_anybody_who_comes_back_the_oldest_events_go() -> None:
    log = Log(BOUND, keeps_unread=False)
    await produce(log, 5000)
    assert log.first_id > 1
    assert log.size < BOUND + 256 * 150  # one turn's worth of events more, at most
    with pytest.raises(EventsEvictedError) as caught:
        log.read(0)
    assert caught.value.first_event_id == log.first_id
    assert str(log.first_id) in str(caught.value)
    assert ids(await rest(log, log.read(log.first_id - 1))) == list(range(log.first_id, 5002))


async def test_producer_waits_for_somebody_who_may_come_back() -> None:
    log = Log(BOUND)
    task = asyncio.get_running_loop().create_task(produce(log, 5000))
    made = 0
    while made != log.last_id or not made:
        made = log.last_id
        await asyncio.sleep(0.01)
    assert not task.done()
    assert log.first_id == 1
    data = await rest(log, log.read(0))
    await task
    assert ids(data) == list(range(1, 5002))


async def test_producer_is_held_by_the_slowest_reader_and_both_get_everything() -> None:
    log = Log(BOUND)
    slow, fast = log.read(0), log.read(0)
    task = asyncio.get_running_loop().create_task(produce(log, 3000))

    async def slowly() -> bytes:
        data = b""
        while not log.is_read(slow):
            data += b"".join(await log.take(slow))
            await asyncio.sleep(0.001)
        return data

    both = await asyncio.gather(rest(log, fast), slowly())
    await task
    assert both[0] == both[1]
    assert ids(both[0]) == list(range(1, 3002))


async def test_half_of_the_room_is_for_what_was_sent_already() -> None:
    log = Log(64 * 1024)
    reader = log.read(0)
    task = asyncio.get_running_loop().create_task(produce(log, 20_000))
    data = await rest(log, reader)
    await task
    assert log.first_id > 1
    again = await rest(log, log.read(log.first_id - 1))
    assert data.endswith(again)
    assert len(again) > 16 * 1024


@pytest.mark.parametrize("keeps_unread", [True, False])
async def test_chunks_larger_than_the_whole_log_pass_through(keeps_unread: bool) -> None:
    log = Log(BOUND, keeps_unread=keeps_unread)
    reader = log.read(0)
    task = asyncio.get_running_loop().create_task(produce(log, 10, "x" * 3 * BOUND))
    assert ids(await rest(log, reader)) == list(range(1, 12))
    await task


async def test_chunks_larger_than_the_whole_log_do_not_stop_a_producer_that_nobody_reads() -> None:
    log = Log(BOUND, keeps_unread=False)
    await produce(log, 100, "x" * 3 * BOUND)
    assert log.size < 3 * 3 * BOUND


async def test_progress_without_end_in_a_full_log_is_dropped_and_costs_nothing() -> None:
    log = Log(BOUND)
    for number in range(10_000):
        log.progress(encoded(number))
    assert log.size < 2 * BOUND
    log.put(b'"the result"')
    log.close(b"done", ENVELOPE)
    data = await rest(log, log.read(0))
    assert ids(data) == list(range(1, log.last_id + 1))
    assert chunks_in([data]) == [b'"the result"']


async def test_nothing_is_added_after_the_end() -> None:
    log = Log()
    log.put(b"1")
    log.close(b"done", ENVELOPE)
    assert not log.put(b"2")
    log.progress(b"3")
    log.close(b"error", ENVELOPE)
    assert log.last_id == 2


async def test_end_frees_a_waiting_producer() -> None:
    log = Log(BOUND)
    log.put(b"x" * BOUND)
    waiting = asyncio.get_running_loop().create_task(log.room())
    await asyncio.sleep(0)
    log.close(b"error", ENVELOPE)
    await waiting


def test_asleep_readers_are_forgotten_when_they_are_woken_early() -> None:
    async def check() -> None:
        log = Log()
        reader = log.read(0)
        for _ in range(100):
            taking = asyncio.get_running_loop().create_task(log.take(reader))
            await asyncio.sleep(0)
            reader.wake()
            assert await taking == []
        assert not log._asleep

    asyncio.run(check())


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30), st.integers(0, 3))
def test_log_that_forgets_gives_its_one_reader_every_chunk_once_and_holds_little(
    script: list[tuple[int, bool]], slowness: int
) -> None:
    async def check() -> None:
        reader, most, made, read = LogReader(), 0, 0, []
        log = PassingLog([reader])

        async def make() -> None:
            nonlocal made
            for count, pauses in script:
                for _ in range(count):
                    made += 1
                    if not log.put(b"%d" % made):
                        await log.room()
                if pauses:
                    await asyncio.sleep(0)
            log.close(b"done", ENVELOPE)

        task = asyncio.get_running_loop().create_task(make())
        while not log.is_read(reader):
            read += await log.take(reader)
            most = max(most, log.held_bytes - len(ENVELOPE))
            for _ in range(slowness):
                await asyncio.sleep(0)
        await task
        assert [int(chunk) for chunk in read] == list(range(1, made + 1))
        assert most <= 256 * 5

    asyncio.run(check())


async def test_first_chunks_of_a_stream_leave_in_growing_batches() -> None:
    reader, sizes = LogReader(), []
    log = PassingLog([reader])
    task = asyncio.get_running_loop().create_task(produce(log, 1000))
    while not log.is_read(reader):
        sizes.append(len(await log.take(reader)))
    await task
    assert sizes[:5] == [1, 4, 16, 64, 256]
    assert max(sizes) == 256
