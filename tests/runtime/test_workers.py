"""Threads for plain functions: as many as are needed, no more than allowed, and not to be killed."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gates import Count, Gate, aside, eventually, opening
from tests.support.raw_http import EVENT_STREAM, Connection, get, invoke

pytestmark = pytest.mark.contract


class Unusual(BaseException):
    """What some libraries raise to get past every `except Exception`."""


def worker_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("agent-worker")}


def test_async_handlers_need_no_thread() -> None:
    app, of_other_servers = PPIOAgentRuntimeApp(), worker_threads()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> int:
        return len(worker_threads() - of_other_servers)

    with running(app) as url:
        assert invoke(url).result == 0


def test_thread_is_used_again_when_it_is_free() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> int:
        return threading.get_ident()

    with running(app) as url, Connection(url) as connection:
        threads = set()
        for _ in range(20):
            connection.post()
            threads.add(connection.read_answer().result)
    assert len(threads) == 1


def test_threads_grow_with_the_callers_and_stop_at_sync_workers() -> None:
    app, go_on, inside = PPIOAgentRuntimeApp(AgentConfig(sync_workers=4)), Gate("go on"), Count()
    of_other_servers = worker_threads()

    def threads() -> int:
        return len(worker_threads() - of_other_servers)

    @app.entrypoint
    def handler(payload: dict[str, object]) -> int:
        inside.add()
        go_on.wait()
        return threads()

    with opening(go_on), running(app) as url:
        callers = [Connection(url) for _ in range(6)]
        for number, caller in enumerate(callers):
            caller.post()
            inside.wait_for(min(number + 1, 4))
            assert threads() == min(number + 1, 4)
        go_on.open()
        assert [caller.read_answer().result for caller in callers] == [4] * 6
        for caller in callers:
            caller.close()


def test_more_callers_than_threads_are_all_served() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(sync_workers=2))

    @app.entrypoint
    def handler(payload: dict[str, int]) -> int:
        return payload["number"]

    with running(app) as url:
        asked = [aside(lambda number=number: invoke(url, {"number": number}).result) for number in range(50)]  # type: ignore[misc]
        assert [each.result() for each in asked] == list(range(50))


def test_slow_readers_of_sync_generators_hold_no_thread() -> None:
    app, blocked = PPIOAgentRuntimeApp(AgentConfig(sync_workers=1)), Count()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Iterator[str]:
        if payload.get("brief"):
            yield "fine"
            return
        for number in range(1000):
            if number == 100:
                blocked.add()
            yield "x" * 100_000

    with running(app) as url:
        readers = [Connection(url, receive_buffer_bytes=4096) for _ in range(3)]
        for reader in readers:
            reader.post(headers=EVENT_STREAM)
        assert [event.data for event in invoke(url, {"brief": True}).events] == ["fine"]
        for reader in readers:
            reader.reset()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, StopIteration, ValueError, Unusual])
@pytest.mark.parametrize("kind", ["sync", "async", "sync generator", "async generator"])
def test_whatever_a_handler_raises_ends_its_invocation_and_not_the_service(
    kind: str, error: type[BaseException]
) -> None:
    app = PPIOAgentRuntimeApp()

    def fail(payload: dict[str, object]) -> str:
        if payload.get("fail"):
            raise error
        return "fine"

    if kind == "sync":
        app.entrypoint(fail)
    elif kind == "async":

        @app.entrypoint
        async def async_handler(payload: dict[str, object]) -> str:
            return fail(payload)

    elif kind == "sync generator":

        @app.entrypoint
        def generator(payload: dict[str, object]) -> Iterator[str]:
            yield fail(payload)

    else:

        @app.entrypoint
        async def async_generator(payload: dict[str, object]):  # type: ignore[no-untyped-def]
            yield fail(payload)

    with running(app) as url:
        answer = invoke(url, {"fail": True}, {"Accept": "application/json"})
        assert (answer.status, answer.json["error_type"]) == (500, "HandlerError")
        assert invoke(url, headers={"Accept": "application/json"}).result == "fine"
        assert get(url, "/ping").json["status"] == "Healthy"


def test_sys_exit_in_a_handler_leaves_its_thread_for_the_next_one() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(sync_workers=1))

    @app.entrypoint
    def handler(payload: dict[str, object]) -> str:
        if payload.get("fail"):
            sys.exit(3)
        return threading.current_thread().name

    with running(app) as url:
        before = invoke(url).result
        assert invoke(url, {"fail": True}).status == 500
        assert invoke(url).result == before


class Large(dict[str, int]):
    """A result that can be referred to weakly."""


def test_result_is_not_kept_by_an_idle_thread() -> None:
    app, made = PPIOAgentRuntimeApp(), []

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Large:
        large = Large(size=1)
        made.append(weakref.ref(large))
        return large

    with running(app) as url, Connection(url) as connection:
        connection.post()
        assert connection.read_answer().result == {"size": 1}
        eventually(lambda: made[0]() is None, "the result is given up")
