"""/ping answers whatever handlers do; what it says follows what is in flight."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.gates import Count, Gate, eventually, opening
from tests.support.raw_http import EVENT_STREAM, Connection, get, invoke

pytestmark = pytest.mark.contract


def test_ping_answers_between_blocked_handlers_of_every_kind() -> None:
    app, go_on, inside = PPIOAgentRuntimeApp(), Gate("go on"), Count()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> object:
        if payload["kind"] == "value":
            inside.add()
            go_on.wait()
            return "done"
        return idle() if payload["kind"] == "idle stream" else blocking()

    async def idle() -> AsyncIterator[int]:
        inside.add()
        await go_on.passed()
        yield 1

    def blocking() -> Iterator[int]:
        inside.add()
        go_on.wait()
        yield 1

    with opening(go_on), running(app) as url:
        callers = []
        for kind, count in (("value", 64), ("idle stream", 64), ("blocking stream", 1)):
            for _ in range(count):
                callers.append(Connection(url))
                callers[-1].post({"kind": kind})
        inside.wait_for(129)
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        assert not go_on.is_open  # it answered while every one of them was still blocked
        go_on.open()
        assert [caller.read_answer().status for caller in callers] == [200] * 129
        for caller in callers:
            caller.close()


def test_ping_answers_when_more_handlers_block_than_there_are_threads() -> None:
    app, go_on, inside = PPIOAgentRuntimeApp(AgentConfig(sync_workers=2)), Gate("go on"), Count()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        inside.add()
        go_on.wait()

    with opening(go_on), running(app) as url:
        callers = [Connection(url) for _ in range(10)]
        for caller in callers:
            caller.post()
        inside.wait_for(2)
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        assert not go_on.is_open
        go_on.open()
        assert [caller.read_answer().status for caller in callers] == [200] * 10
        for caller in callers:
            caller.close()


def test_sync_ping_handler_needs_none_of_the_handlers_threads() -> None:
    app, go_on, inside = PPIOAgentRuntimeApp(AgentConfig(sync_workers=1)), Gate("go on"), Gate("inside")

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        inside.open()
        go_on.wait()

    @app.ping
    def ping() -> dict[str, object]:
        return {"status": "ok", "asked": True}

    with opening(go_on), running(app) as url, Connection(url) as caller:
        caller.post()
        inside.wait()
        answer = get(url, "/ping")
        assert (answer.status, answer.json["asked"]) == (200, True)
        assert not go_on.is_open
        go_on.open()
        assert caller.read_answer().status == 200


def test_sync_ping_handler_that_hangs_is_503_and_costs_one_thread_however_often_it_is_asked() -> None:
    app, go_on = PPIOAgentRuntimeApp(AgentConfig(ping_timeout_seconds=0.02)), Gate("go on")

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    @app.ping
    def ping() -> str:
        go_on.wait()
        return "ok"

    def pinging() -> int:
        return sum(thread.name == "agent-ping" for thread in threading.enumerate())

    with opening(go_on), running(app) as url:
        answers = [get(url, "/ping") for _ in range(20)]
        assert {answer.status for answer in answers} == {503}
        assert answers[0].json["message"] == "The ping handler did not return within 0.02 s."
        assert pinging() == 1
        go_on.open()
        eventually(lambda: get(url, "/ping").status == 200, "healthy again")


def test_async_ping_handler_that_hangs_is_503_and_leaves_one_task() -> None:
    app, go_on, calls = PPIOAgentRuntimeApp(AgentConfig(ping_timeout_seconds=0.02)), Gate("go on"), Count()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    @app.ping
    async def ping() -> str:
        calls.add()
        await go_on.passed()
        return "ok"

    with opening(go_on), running(app) as url:
        assert [get(url, "/ping").status for _ in range(5)] == [503] * 5
        assert calls.value == 1
        go_on.open()
        eventually(lambda: get(url, "/ping").status == 200, "healthy again")


def test_async_ping_handler_answers_beside_blocked_sync_handlers() -> None:
    app, go_on, inside = PPIOAgentRuntimeApp(), Gate("go on"), Gate("inside")

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        inside.open()
        go_on.wait()

    @app.ping
    async def ping() -> bool:
        return True

    with opening(go_on), running(app) as url, Connection(url) as caller:
        caller.post()
        inside.wait()
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        go_on.open()
        assert caller.read_answer().status == 200


@pytest.mark.parametrize("kind", ["async", "stream"])
def test_service_is_busy_exactly_while_something_is_in_flight(kind: str) -> None:
    app, go_on, inside = PPIOAgentRuntimeApp(), Gate("go on"), Gate("inside")

    if kind == "async":

        @app.entrypoint
        async def value(payload: dict[str, object]) -> None:
            inside.open()
            await go_on.passed()

    else:

        @app.entrypoint
        async def stream(payload: dict[str, object]) -> AsyncIterator[int]:
            yield 1
            inside.open()
            await go_on.passed()

    with opening(go_on), running(app) as url, Connection(url) as caller:
        assert get(url, "/ping").json["status"] == "Healthy"
        caller.post()
        inside.wait()
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        go_on.open()
        caller.read_answer()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle again")


def test_service_is_busy_while_a_thread_works_for_a_caller_who_gave_up() -> None:
    app, go_on, inside, seen = PPIOAgentRuntimeApp(), Gate("go on"), Gate("inside"), Gate("seen")

    @app.entrypoint
    def handler(payload: dict[str, object], context: RequestContext) -> None:
        inside.open()
        eventually(lambda: context.cancelled, "the cancel")
        seen.open()
        go_on.wait()

    with opening(go_on), running(app) as url:
        caller = Connection(url)
        caller.post()
        inside.wait()
        caller.close()
        seen.wait()
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        go_on.open()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle again")


def test_upload_in_progress_is_no_work_yet() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    with running(app) as url, Connection(url) as caller:
        caller.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 100\r\n\r\n{")
        assert get(url, "/ping").json["status"] == "Healthy"


def test_time_of_last_update_stays_while_the_status_stays() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    with running(app) as url:
        first = get(url, "/ping").json["time_of_last_update"]
        eventually(lambda: int(time.time()) > first, "a second later")
        assert get(url, "/ping").json["time_of_last_update"] == first


def test_time_of_last_update_tells_when_work_ended_even_if_nobody_asked_meanwhile() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None: ...

    with running(app) as url:
        before = get(url, "/ping").json["time_of_last_update"]
        eventually(lambda: int(time.time()) > before, "a second later")
        invoke(url)
        ended = int(time.time())
        eventually(lambda: int(time.time()) > ended, "another second later")
        assert before < get(url, "/ping").json["time_of_last_update"] <= ended


def test_ping_is_not_delayed_by_a_stream_that_never_suspends() -> None:
    app, enough = PPIOAgentRuntimeApp(), Gate("enough")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        while not enough.is_open:
            yield 1
        await asyncio.sleep(0)

    with opening(enough), running(app) as url, Connection(url) as eager:
        eager.post(headers=EVENT_STREAM)
        eager.read_head()
        events = eager.events()
        for _ in range(5):
            next(events)
            assert get(url, "/ping").status == 200
        enough.open()
