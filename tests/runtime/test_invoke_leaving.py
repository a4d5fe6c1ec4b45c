"""The agent called in process, by callers who leave, are slow, or find the app draining."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ppio_agent_models import UnavailableError
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, PPIOAgentRuntimeError
from tests.support.in_process import Numbers, app_with, ping_status, until_idle

pytestmark = pytest.mark.contract


async def test_cancelling_the_awaiting_task_cancels_the_handler() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def agent(request: dict[str, Any]) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    app = app_with(agent)
    task = asyncio.create_task(app.invoke({}))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    await until_idle(app)


async def test_leaving_a_stream_early_closes_the_generator() -> None:
    numbers = Numbers()
    app = app_with(numbers)

    async with await app.invoke({}) as stream:
        async for chunk in stream:
            if chunk == 3:
                break

    assert numbers.closed.is_set()
    assert [chunk async for chunk in stream] == []
    await until_idle(app)


async def test_a_stream_that_nobody_holds_is_stopped() -> None:
    numbers = Numbers()
    app = app_with(numbers)

    stream = await app.invoke({})
    del stream
    gc.collect()

    await numbers.closed.wait()
    await until_idle(app)


async def test_cancelling_a_waiting_reader_cancels_the_handler() -> None:
    waiting, ended = asyncio.Event(), asyncio.Event()

    async def agent(request: dict[str, Any]) -> AsyncIterator[int]:
        try:
            yield 1
            waiting.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def read() -> None:
        async for _ in await app.invoke({}):
            pass

    app = app_with(agent)
    task = asyncio.create_task(read())
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()


async def test_a_caller_who_leaves_while_the_generator_of_a_thread_is_handed_over_keeps_no_place() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(max_concurrency=1))
    begun, leaves = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @app.entrypoint
    def agent(request: dict[str, Any]) -> Iterator[int]:
        if not request:
            loop.call_soon_threadsafe(begun.set)
            leaves.wait(60)
        return iter([1])

    task = asyncio.create_task(app.invoke({}))
    await begun.wait()
    loop.call_soon(task.cancel)
    leaves.set()
    time.sleep(0.1)  # stops the loop, so that the cancel and the generator come in the same turn
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_idle(app)
    while True:
        try:
            async with await app.invoke({"again": True}) as stream:
                assert [chunk async for chunk in stream] == [1]
            break
        except UnavailableError:
            await asyncio.sleep(0.01)


async def test_a_slow_reader_makes_the_handler_wait() -> None:
    made = 0

    def agent(request: dict[str, Any]) -> Iterator[int]:
        nonlocal made
        while made < 100_000:
            yield made
            made += 1

    app = app_with(agent)
    async with await app.invoke({}) as stream:
        assert await anext(stream) == 0
        before = -1
        while made != before:  # it stands still
            before = made
            await asyncio.sleep(0.02)
        assert made < 2000


async def test_a_handler_that_ignores_its_cancelling_does_not_hold_its_caller() -> None:
    released = asyncio.Event()

    async def agent(request: dict[str, Any]) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    app = app_with(agent, timeout=0.5)
    with pytest.raises(PPIOAgentRuntimeError) as told:
        await app.invoke({})

    assert told.value.status_code == 504
    assert await ping_status(app) == "HealthyBusy"
    released.set()
    await until_idle(app)


async def test_a_draining_app_takes_no_calls_and_stops_running_ones() -> None:
    numbers = Numbers()
    app = app_with(numbers)
    stream = await app.invoke({})
    drain = asyncio.create_task(app.drain(0))

    with pytest.raises(PPIOAgentRuntimeError) as cut:
        async for _ in stream:
            pass
    await drain
    with pytest.raises(PPIOAgentRuntimeError) as refused:
        await app.invoke({})

    assert cut.value.error_type == refused.value.error_type == "DrainingError"
    assert numbers.closed.is_set()
