"""What is held: never more than the settings say, the oldest finished ones go first, running ones never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppio_agent_runtime import AgentConfig
from ppio_agent_runtime._records.allowance import LEAST_LOG_BYTES
from ppio_agent_runtime._records.ledger import Ledger
from ppio_agent_runtime._records.record import Record

MIB = 1024 * 1024
CHUNK = b'"%b"' % (b"x" * 1000)


def record_in(ledger: Ledger, name: str) -> Record:
    record = Record(
        name,
        ledger.allowance,
        request_id="r",
        session_id=None,
        window_seconds=None,
        scope=("", "", name),
        fingerprint=b"",
    )
    ledger.open(record)
    return record


def finish(ledger: Ledger, record: Record, size: int = 10) -> None:
    value = b'"%b"' % (b"x" * size)
    record.succeed(value, b'{"result":%b,"status":"success"}' % value)
    ledger.close(record)


def on_a_loop(check: Callable[[], None]) -> None:
    async def run() -> None:
        check()

    asyncio.run(run())


def test_oldest_finished_ones_go_beyond_the_count() -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_invocations=3))
        for number in range(10):
            finish(ledger, record_in(ledger, str(number)))
        held = [number for number in range(10) if ledger.find(str(number))]
        by_key = [number for number in range(10) if ledger.find_by_key(("", "", str(number)))]
        assert held == by_key == [7, 8, 9]

    on_a_loop(check)


def test_oldest_finished_ones_go_beyond_the_bytes() -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_bytes=1024 * 1024))
        for number in range(30):
            finish(ledger, record_in(ledger, str(number)), 100_000)
            assert ledger.held_bytes <= 1024 * 1024
        assert ledger.find("29") is not None
        assert ledger.find("0") is None

    on_a_loop(check)


def test_finished_ones_go_when_they_are_too_old() -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_age_seconds=0))
        finish(ledger, record_in(ledger, "a"))
        assert ledger.find("a") is None

    on_a_loop(check)


def test_running_ones_never_go() -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_invocations=0, event_log_max_age_seconds=0))
        running = record_in(ledger, "running")
        for number in range(10):
            finish(ledger, record_in(ledger, str(number)))
        assert ledger.find("running") is running
        assert ledger.held == 1

    on_a_loop(check)


def test_running_ones_share_half_of_the_bytes() -> None:
    def check() -> None:
        config = AgentConfig(event_log_max_bytes=64 * 1024 * 1024, event_log_max_bytes_per_invocation=8 * 1024 * 1024)
        ledger = Ledger(config)
        logs = [record_in(ledger, str(number)).log for number in range(1000)]
        assert logs[0].allowance.ask(0)[0] == LEAST_LOG_BYTES
        for log in logs[200:]:
            log.allowance.release()
        assert logs[0].allowance.ask(0)[0] == 32 * MIB // 200
        for log in logs[1:]:
            log.allowance.release()
        assert logs[0].allowance.ask(0)[0] == 8 * MIB

    on_a_loop(check)


def test_running_ones_that_began_early_leave_the_later_ones_no_more_than_the_half() -> None:
    async def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_bytes=64 * MIB))
        for number in range(100):
            log = record_in(ledger, str(number)).log
            while log.put(CHUNK) or log.size < log.allowance.ask(log.size)[0]:
                log.blocks_after(0)
            assert ledger.held_bytes <= 32 * MIB + number * LEAST_LOG_BYTES

    asyncio.run(check())


def test_finished_ones_go_for_what_the_running_ones_hold() -> None:
    async def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_bytes=MIB))
        for number in range(200):
            finish(ledger, record_in(ledger, str(number)), 8_000)
        held, running = ledger.held, record_in(ledger, "running")
        for _ in range(100):
            if not running.log.put(CHUNK):
                await running.log.room()
            assert ledger.held_bytes <= MIB
        assert ledger.held < held
        assert ledger.find("199") is not None

    asyncio.run(check())


def test_running_ones_that_hold_nothing_take_little_from_the_finished_ones() -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_bytes=MIB))
        for number in range(50):
            finish(ledger, record_in(ledger, str(number)), 8_000)
        for number in range(200):
            assert record_in(ledger, f"running {number}").log.last_id == 0
        assert ledger.held == 250

    on_a_loop(check)


def test_key_of_a_newer_record_outlives_an_older_one_with_the_same_key() -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_invocations=1))
        old, new = record_in(ledger, "old"), record_in(ledger, "new")
        old.scope = new.scope
        finish(ledger, old)
        assert new.scope is not None
        ledger.open(new)
        finish(ledger, new)
        assert ledger.find_by_key(new.scope) is new

    on_a_loop(check)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 200_000)), max_size=60))
@settings(max_examples=50, deadline=None)
def test_bounds_hold_after_every_step(steps: list[tuple[bool, int]]) -> None:
    def check() -> None:
        config = AgentConfig(event_log_max_invocations=5, event_log_max_bytes=512 * 1024)
        ledger = Ledger(config)
        running: list[Record] = []
        for number, (ends, size) in enumerate(steps):
            if ends and running:
                finish(ledger, running.pop(0), size)
            else:
                running.append(record_in(ledger, str(number)))
            assert ledger.held <= len(running) + 5
            assert ledger.held_bytes <= 512 * 1024
            assert all(ledger.find(record.invocation_id) is record for record in running)
        for record in running:
            finish(ledger, record)
        assert ledger.held_bytes <= 512 * 1024
        assert len(ledger._keys) == ledger.held

    on_a_loop(check)


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_cost_of_what_is_held_is_given_back_when_it_goes(size: int) -> None:
    def check() -> None:
        ledger = Ledger(AgentConfig(event_log_max_invocations=0))
        finish(ledger, record_in(ledger, "a"), size)
        assert (ledger.held, ledger.held_bytes, ledger._keys) == (0, 0, {})

    on_a_loop(check)
