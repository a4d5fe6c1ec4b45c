"""What is held: never more than the settings say, the oldest finished ones go first.

Speaks to the module itself: whatever comes over the wire fills it too slowly to meet its bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppio_agent_runtime.invocations.kept_log import KeptLog
from ppio_agent_runtime.invocations.memory_store import LEAST_LOG_BYTES, MemoryStore
from ppio_agent_runtime.invocations.store import REMEMBERED_KEYS, Answer, KeyScope, StoredInvocation

MIB = 1024 * 1024
CHUNK = b'"%b"' % (b"x" * 1000)


def store(
    *,
    max_invocations: int = 1000,
    max_age_seconds: float = 600,
    max_bytes: int = 64 * MIB,
    max_log_bytes: int = 8 * MIB,
) -> MemoryStore:
    return MemoryStore(max_invocations, max_age_seconds, max_bytes, max_log_bytes)


def finished(name: str, size: int = 10) -> StoredInvocation:
    return StoredInvocation(
        id=name,
        scope=KeyScope("", "", name),
        fingerprint=b"",
        state="succeeded",
        form="value",
        request_id="r",
        session_id=None,
        created_at=1.0,
        started_at=1.0,
        finished_at=2.0,
        answer=Answer(200, b"{}", b'"%b"' % (b"x" * size)),
    )


def on_a_loop(check: Callable[[], None]) -> None:
    async def run() -> None:
        check()

    asyncio.run(run())


def test_keys_of_those_that_made_room_are_remembered_as_long_as_these_would_have_been_kept() -> None:
    async def check() -> None:
        memory = store(max_invocations=1, max_age_seconds=0.5)
        for name in ("first", "second"):
            memory.put(finished(name))
        assert memory.find_by_key(KeyScope("", "", "first")) is None
        assert memory.has_evicted(KeyScope("", "", "first"))
        assert not memory.has_evicted(KeyScope("", "", "second"))
        async with asyncio.timeout(60):
            while memory.has_evicted(KeyScope("", "", "first")):
                memory.find("any")
                await asyncio.sleep(0.05)

    asyncio.run(check())


def test_no_more_keys_are_remembered_than_allowed() -> None:
    def check() -> None:
        memory = store(max_invocations=1)
        for number in range(REMEMBERED_KEYS + 2):
            memory.put(finished(str(number)))
        assert not memory.has_evicted(KeyScope("", "", "0"))
        assert memory.has_evicted(KeyScope("", "", "1"))
        assert memory.has_evicted(KeyScope("", "", str(REMEMBERED_KEYS)))

    on_a_loop(check)


def test_oldest_ones_go_beyond_the_count() -> None:
    def check() -> None:
        memory = store(max_invocations=3)
        for number in range(10):
            memory.put(finished(str(number)))
        held = [number for number in range(10) if memory.find(str(number))]
        by_key = [number for number in range(10) if memory.find_by_key(KeyScope("", "", str(number)))]
        assert held == by_key == [7, 8, 9]

    on_a_loop(check)


def test_oldest_ones_go_beyond_the_bytes() -> None:
    def check() -> None:
        memory = store(max_bytes=MIB)
        for number in range(30):
            memory.put(finished(str(number), 100_000))
            assert memory.finished_bytes <= MIB
        assert memory.find("29") is not None
        assert memory.find("0") is None

    on_a_loop(check)


def test_those_that_are_too_old_go() -> None:
    def check() -> None:
        memory = store(max_age_seconds=0)
        memory.put(finished("a"))
        assert memory.find("a") is None

    on_a_loop(check)


def test_running_logs_share_half_of_the_bytes() -> None:
    memory = store()
    shares = [memory.share() for _ in range(1000)]
    assert shares[0].ask(0)[0] == LEAST_LOG_BYTES
    for share in shares[200:]:
        share.release()
    assert shares[0].ask(0)[0] == 32 * MIB // 200
    for share in shares[1:]:
        share.release()
    assert shares[0].ask(0)[0] == 8 * MIB


def test_running_logs_that_began_early_leave_the_later_ones_no_more_than_the_half() -> None:
    memory = store()
    for number in range(100):
        share = memory.share()
        log = KeptLog((), share)
        while log.put(CHUNK) or log.size < share.ask(log.size)[0]:
            log.blocks_after(0)
        assert memory.running_bytes <= 32 * MIB + number * LEAST_LOG_BYTES


def test_finished_ones_go_for_what_the_running_logs_hold() -> None:
    async def check() -> None:
        memory = store(max_bytes=MIB)
        for number in range(200):
            memory.put(finished(str(number), 8_000))
        held, log = len(memory), KeptLog((), memory.share(), keeps_unread=False)
        for _ in range(100):
            if not log.put(CHUNK):
                await log.room()
            assert memory.finished_bytes + log.held_bytes <= MIB
        assert len(memory) < held
        assert memory.find("199") is not None

    asyncio.run(check())


def test_running_logs_that_hold_nothing_take_little_from_the_finished_ones() -> None:
    def check() -> None:
        memory = store(max_bytes=MIB)
        for number in range(50):
            memory.put(finished(str(number), 8_000))
        logs = [KeptLog((), memory.share()) for _ in range(200)]
        assert {log.last_id for log in logs} == {0}
        assert len(memory) == 50

    on_a_loop(check)


def test_key_of_a_newer_one_outlives_an_older_one_with_the_same_key() -> None:
    def check() -> None:
        memory = store(max_invocations=1)
        old, new = finished("old"), finished("new")
        old.scope = new.scope
        memory.put(old)
        memory.put(new)
        assert new.scope is not None
        assert memory.find_by_key(new.scope) is new

    on_a_loop(check)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 200_000)), max_size=60))
@settings(max_examples=50, deadline=None)
def test_bounds_hold_after_every_step(steps: list[tuple[bool, int]]) -> None:
    def check() -> None:
        memory = store(max_invocations=5, max_bytes=512 * 1024)
        running: list[KeptLog] = []
        for number, (ends, size) in enumerate(steps):
            if ends and running:
                running.pop(0).close(b"done", b"{}")
                memory.put(finished(str(number), size))
            else:
                running.append(KeptLog((), memory.share()))
            assert len(memory) <= 5
            assert memory.finished_bytes + memory.running_bytes <= 512 * 1024
        for log in running:
            log.close(b"done", b"{}")
        assert memory.running_bytes == 0
        assert len(memory._by_key) == len(memory)

    on_a_loop(check)


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_cost_of_what_is_held_is_given_back_when_it_goes(size: int) -> None:
    def check() -> None:
        memory = store(max_invocations=0)
        memory.put(finished("a", size))
        assert (len(memory), memory.finished_bytes, memory._by_key) == (0, 0, {})

    on_a_loop(check)
