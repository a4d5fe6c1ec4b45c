"""Places and the queue under any order of arrivals, departures and callers who give up."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_models import InvocationError
from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.invocations.invocation import Invocation
from ppio_agent_runtime.limits.concurrency import Concurrency, WhenBusy

MANAGER = PPIOAgentRuntimeApp()._services.invocations


class Model:
    """Real runs at a real door, and what must be true of them at any moment."""

    def __init__(self, limit: int | None, per_session: int | None, when_busy: WhenBusy, max_queue: int) -> None:
        self.limit, self.per_session, self.max_queue = limit, per_session, max_queue
        self.slots = Concurrency(limit, per_session, when_busy, max_queue)
        self.entering: dict[Invocation, asyncio.Task[None]] = {}
        self.inside: list[Invocation] = []
        self.admitted: list[Invocation] = []
        self.arrived: list[Invocation] = []

    async def arrive(self, session: str | None) -> None:
        run = Invocation(MANAGER, RequestContext(session_id=session))
        self.arrived.append(run)
        self.entering[run] = asyncio.create_task(run.wait_for_admission(self.slots))
        await self.settle()

    async def leave(self, number: int) -> None:
        if self.inside:
            self.slots.release(self.inside.pop(number % len(self.inside)))
            await self.settle()

    async def give_up(self, number: int) -> None:
        waiting = [run for run, task in self.entering.items() if not task.done()]
        if waiting:
            waiting[number % len(waiting)].stop(InvocationError("gone"))
            await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        # In the order of places taken, which is that of the door's own book.
        order = {place.invocation: number for number, place in enumerate(self.slots._slots.values())}
        done = [run for run, task in self.entering.items() if task.done()]
        for run in sorted(done, key=lambda run: order.get(run, -1)):
            error = self.entering.pop(run).exception()
            assert error is None or isinstance(error, InvocationError)
            if error is None:
                self.inside.append(run)
                self.admitted.append(run)
        self.check()

    def check(self) -> None:
        assert self.slots.in_flight == len(self.inside)
        assert self.slots.queued == len(self.entering) <= self.max_queue
        assert self.limit is None or len(self.inside) <= self.limit
        sessions = Counter(run.context.session_id for run in self.inside)
        del sessions[None]
        assert self.per_session is None or not sessions or max(sessions.values()) <= self.per_session
        for run in self.entering:  # nobody waits for a place that is free
            session = None if self.per_session is None else run.context.session_id
            assert self.slots._is_full() or self.slots._session_is_full(session)


limits = st.none() | st.integers(1, 3)
steps = st.lists(
    st.tuples(st.just("arrive"), st.sampled_from([None, "s", "t", "u"]))
    | st.tuples(st.just("leave"), st.integers(0, 9))
    | st.tuples(st.just("give_up"), st.integers(0, 9)),
    max_size=40,
)


@given(limits, limits, st.sampled_from([0, 1, 4, 100]), steps)
async def test_a_queue_is_fair_and_forgets_nobody(
    limit: int | None, per_session: int | None, max_queue: int, todo: list[tuple[str, Any]]
) -> None:
    model = Model(limit, per_session, "queue", max_queue)
    for step, argument in todo:
        await getattr(model, step)(argument)
    while model.inside:
        await model.leave(0)
    assert not model.entering
    assert model.slots.in_flight == model.slots.queued == 0
    assert not model.slots._sessions
    for session in ("s", "t", "u"):
        turns = [run for run in model.admitted if run.context.session_id == session]
        assert turns == [run for run in model.arrived if run in turns]


@given(limits, limits, steps)
async def test_reject_never_lets_anybody_wait(
    limit: int | None, per_session: int | None, todo: list[tuple[str, Any]]
) -> None:
    model = Model(limit, per_session, "reject", 0)
    for step, argument in todo:
        await getattr(model, step)(argument)
        assert not model.entering


@given(st.integers(1, 3), st.lists(st.sampled_from(["s", "t"]), max_size=30))
async def test_an_interrupt_leaves_the_newest_of_each_session(per_session: int, sessions: list[str]) -> None:
    model = Model(None, per_session, "interrupt", 100)
    for session in sessions:
        await model.arrive(session)
        for run in [run for run in model.inside if run.cancel_scope.reason is not None]:
            await model.leave(model.inside.index(run))  # a handler that was cancelled ends
    for session in ("s", "t"):
        alive = [run for run in model.inside if run.context.session_id == session]
        came = [run for run in model.arrived if run.context.session_id == session]
        assert alive == came[-per_session:]
