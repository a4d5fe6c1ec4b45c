"""The states of an invocation, whatever happens to it and in whatever order.

Speaks to the module itself, because orders of events within one turn of the event loop cannot be had over the wire.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ppio_agent_models import AgentError, InvocationTimeoutError
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.handler import Handler
from ppio_agent_runtime.invocations.invocation import Invocation
from ppio_agent_runtime.invocations.manager import InvocationManager
from ppio_agent_runtime.invocations.subscriber import Subscriber
from ppio_agent_runtime.routes.invocation_resource import resource_of

OVER = ("succeeded", "failed", "cancelled")
steps = st.sampled_from(["turn", "finish", "fail", "cancel", "timeout", "subscribe", "leave", "read", "report"])


def manager() -> InvocationManager:
    return PPIOAgentRuntimeApp(AgentConfig())._services.invocations


def durable(invocations: InvocationManager) -> Invocation:
    """Return one that goes on without its callers, and that has not begun its work."""
    invocation = invocations.begin(context := RequestContext(timeout=60))
    invocation.durable, invocation.created_at, invocation.window_seconds = True, time.time(), None
    context.reporter = invocation.report
    return invocation


class Script:
    """A handler that does what it is told."""

    def __init__(self, *, streams: bool) -> None:
        self.ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def value(payload: dict[str, Any]) -> str:
            return await self.ending

        async def stream(payload: dict[str, Any]) -> AsyncIterator[str]:
            yield "first"
            yield await self.ending

        self.handler = Handler(stream if streams else value)

    def end(self, error: Exception | None) -> None:
        if self.ending.done():
            return
        if error is None:
            self.ending.set_result("last")
        else:
            self.ending.set_exception(error)
            self.ending.exception()  # seen here: a handler that was cancelled does not wait for it


async def play(step: str, invocation: Invocation, told: Script, subscribers: list[Subscriber]) -> None:
    if step == "turn":
        await asyncio.sleep(0)
    elif step in ("finish", "fail"):
        told.end(None if step == "finish" else AgentError("no"))
    elif step == "cancel":
        invocation.cancel()
    elif step == "timeout":
        invocation.stop(InvocationTimeoutError("late"))
    elif step == "subscribe":
        subscribers.append(invocation.subscribe())
    elif step == "leave" and subscribers:
        subscribers.pop().leave()
    elif step == "read":
        assert invocation.log.last_id >= 0
    elif step == "report":
        invocation.report(b"1")


async def last_block(subscriber: Subscriber) -> bytes:
    blocks = []
    while not subscriber.at_end:
        blocks += await subscriber.take()
    subscriber.leave()
    return blocks[-1]


@given(st.lists(steps, max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_state_only_goes_forward_and_everybody_is_told_the_one_end(script: list[str], streams: bool) -> None:
    async def check() -> None:
        invocations = manager()
        invocation, told = durable(invocations), Script(streams=streams)
        invocation.start(invocation.work(told.handler, {}))
        subscribers: list[Subscriber] = []
        states = [invocation.state]
        for step in script:
            await play(step, invocation, told, subscribers)
            states.append(invocation.state)
        told.end(None)
        subscribers.append(waiter := invocation.subscribe())
        await asyncio.wait_for(waiter.until(lambda: invocation.is_over), 5)
        assert invocation.cancel_scope.task is not None
        await asyncio.wait({invocation.cancel_scope.task})
        states.append(invocation.state)
        assert states == sorted(states, key=["queued", "running", *OVER].index)
        assert len({state for state in states if state in OVER}) == 1
        end = b"event: %b\nid: " % (b"done" if invocation.state == "succeeded" else b"error")
        for subscriber in subscribers:
            assert end + b"%d\n" % invocation.last_event_id in await last_block(subscriber)
        assert not invocations.in_flight
        found = await invocations.durable.find(invocation.id)
        assert found is not None
        assert resource_of(found) == resource_of(invocation)
        assert found.whole_answer() == invocation.whole_answer()

    asyncio.run(check())


@given(st.binary(max_size=300).map(lambda value: b'"%b"' % value.hex().encode()), st.booleans())
def test_value_is_told_the_same_whether_somebody_read_events_or_nobody_did(value: bytes, fails: bool) -> None:
    async def told(*, early: bool) -> tuple[object, ...]:
        invocation = durable(manager())
        if early:
            assert invocation.log.last_id == 0
        if fails:
            invocation.fail(AgentError("no"))
        else:
            await invocation.complete(value)
        said = invocation.said_nothing(numbered=True), invocation.said_nothing(numbered=False)
        blocks = b"".join([block for _, block in invocation.kept_log.held().blocks])
        return (
            invocation.state,
            invocation.answer and invocation.answer.value,
            blocks.count(b"id: "),
            said,
            invocation.last_event_id,
        )

    async def check() -> None:
        assert await told(early=True) == await told(early=False)

    asyncio.run(check())


async def test_reports_after_the_end_are_dropped() -> None:
    invocation, told = durable(manager()), Script(streams=False)
    told.end(None)
    invocation.start(invocation.work(told.handler, {}))
    with invocation.subscribe() as subscriber:
        await subscriber.until(lambda: invocation.is_over)
    invocation.report(b"2")
    await asyncio.to_thread(invocation.report, b"3")
    await asyncio.sleep(0)
    assert invocation.last_event_id == 2
