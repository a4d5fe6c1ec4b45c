"""The context of an invocation is there in every handler kind, to the last byte, and never that of another one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.gates import aside
from tests.support.raw_http import EVENT_STREAM, invoke

pytestmark = pytest.mark.contract

own: ContextVar[str] = ContextVar("own", default="unset")


def _seen(app: PPIOAgentRuntimeApp) -> str | None:
    return None if app.context is None else app.context.request_id


def _async_value(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, str]) -> list[Any]:
        own.set(payload["who"])
        first = _seen(app), own.get()
        await asyncio.sleep(0.001)
        return [first, (_seen(app), own.get())]


def _sync_value(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    def handler(payload: dict[str, str]) -> list[Any]:
        own.set(payload["who"])
        time.sleep(0.001)
        return [(_seen(app), own.get())]


def _async_stream(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, str]) -> AsyncIterator[Any]:
        own.set(payload["who"])
        try:
            for _ in range(600):  # more than one hand-over
                yield _seen(app), own.get()
        finally:
            await asyncio.sleep(0)
            yield _seen(app), own.get()


def _sync_stream(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    def handler(payload: dict[str, str]) -> Iterator[Any]:
        token = own.set(payload["who"])
        try:
            for _ in range(600):
                yield _seen(app), own.get()
        finally:
            own.reset(token)  # fails in any other context than the one of the set
            yield _seen(app), payload["who"]


def _to_thread(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, str]) -> list[Any]:
        own.set(payload["who"])
        return [await asyncio.to_thread(lambda: (_seen(app), own.get()))]


def _own_task(app: PPIOAgentRuntimeApp) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, str]) -> list[Any]:
        own.set(payload["who"])

        async def inner() -> Any:
            return _seen(app), own.get()

        return [await asyncio.create_task(inner())]


@pytest.mark.parametrize("register", [_async_value, _sync_value, _async_stream, _sync_stream, _to_thread, _own_task])
def test_concurrent_invocations_see_their_own_context_and_variables_to_the_last_item(
    register: Callable[[PPIOAgentRuntimeApp], None],
) -> None:
    app = PPIOAgentRuntimeApp()
    register(app)

    def ask(number: int) -> bool:
        who = f"caller-{number}"
        answer = invoke(url, {"who": who}, {"X-PPIO-Request-Id": who, "Accept": "application/json"})
        return {tuple(each) for each in answer.result} == {(who, who)}

    with running(app) as url:
        asked = [aside(lambda number=number: ask(number)) for number in range(40)]  # type: ignore[misc]
        assert all(each.result() for each in asked)


def test_context_outlives_the_handler_until_the_stream_is_sent() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Iterator[bool]:
        yield app.context is not None
        yield app.context is not None

    with running(app) as url:
        assert [event.data for event in invoke(url, headers=EVENT_STREAM).events] == [True, True]


def test_there_is_no_context_outside_of_an_invocation() -> None:
    app = PPIOAgentRuntimeApp()
    in_ping: list[RequestContext | None] = []

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None: ...

    @app.ping
    async def ping() -> None:
        in_ping.append(app.context)

    assert app.context is None
    with running(app) as url:
        invoke(url)
        from tests.support.raw_http import get

        get(url, "/ping")
    assert in_ping == [None]
    assert app.context is None


def test_worker_thread_keeps_nothing_of_the_invocation_before() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, str]) -> str:
        before = own.get()
        own.set("left behind")
        return before

    with running(app) as url:
        assert [invoke(url).result for _ in range(5)] == ["unset"] * 5


def test_context_parameter_is_the_same_object_as_app_context() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object], context: RequestContext) -> bool:
        return context is app.context

    with running(app) as url:
        assert invoke(url).result is True


def test_remaining_counts_down_from_the_requested_timeout() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object], context: RequestContext) -> list[float]:
        first = context.remaining()
        await asyncio.sleep(0.01)
        return [60, first, context.remaining(), 0]

    with running(app) as url:
        numbers = invoke(url, headers={"X-PPIO-Timeout": "60"}).result
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 4


def test_deadline_is_the_unix_time_at_which_nothing_remains() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def handler(payload: dict[str, object], context: RequestContext) -> float:
        return context.deadline

    before = time.time()
    with running(app) as url:
        deadline = invoke(url, headers={"X-PPIO-Timeout": "60"}).result
    assert before + 60 <= deadline + 1e-3
    assert deadline <= time.time() + 60
