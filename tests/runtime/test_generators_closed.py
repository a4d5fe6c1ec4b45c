"""A generator is closed once, in its own context and thread, in whatever way its invocation ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.runtime.wire import serving
from tests.support.durable import cancel
from tests.support.gates import Gate, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, invoke

pytestmark = pytest.mark.contract

own: ContextVar[str] = ContextVar("own", default="unset")


class Agent:
    """An agent whose generator yields twice, or something else that ends it, and notes how it was closed.

    Attributes:
        closed: For each closing: the request id that the app's context had there, a variable of the handler's own, and
            whether a thread closed it that is not the one of the event loop.
    """

    def __init__(self, kind: str, **config: Any) -> None:
        self.app = PPIOAgentRuntimeApp(AgentConfig(resume_window_seconds=0, shutdown_grace_seconds=0, **config))
        self.closed: list[tuple[str | None, str, bool]] = []
        self.begun, self.go_on = Gate("begun"), Gate("go on")
        self.loop_thread: int | None = None
        self._register(kind)

    def note(self) -> None:
        context = self.app.context
        in_loop = threading.get_ident() == self.loop_thread
        self.closed.append((None if context is None else context.request_id, own.get(), not in_loop))

    def _register(self, kind: str) -> None:
        async def in_tasks(payload: dict[str, Any]) -> AsyncIterator[object]:
            own.set("mine")
            self.loop_thread = threading.get_ident()
            try:
                yield "first"
                self.begun.open()
                if payload.get("waits"):
                    await self.go_on.passed()
                yield what_is_told(payload)
            finally:
                await asyncio.sleep(0)
                self.note()

        def in_threads(payload: dict[str, Any], context: RequestContext) -> Iterator[object]:
            own.set("mine")
            try:
                yield "first"
                self.begun.open()
                if payload.get("waits"):
                    eventually(lambda: context.cancelled or self.go_on.is_open, "the cancel")
                yield what_is_told(payload)
            finally:
                self.note()

        async def returns_one(payload: dict[str, Any]) -> AsyncIterator[object]:
            return in_tasks(payload)

        def returns_one_from_a_thread(payload: dict[str, Any], context: RequestContext) -> Iterator[object]:
            return in_threads(payload, context)

        kinds: dict[str, Callable[..., Any]] = {
            "async generator": in_tasks,
            "sync generator": in_threads,
            "async returned": returns_one,
            "sync returned": returns_one_from_a_thread,
        }
        self.app.entrypoint(kinds[kind])

    def is_closed(self, request_id: str, kind: str) -> None:
        eventually(lambda: bool(self.closed), "it is closed")
        assert self.closed == [(request_id, "mine", kind.startswith("sync"))]


def what_is_told(payload: dict[str, Any]) -> object:
    match payload.get("then"):
        case "raises":
            raise AgentError("told to")
        case "cannot be told":
            return object()
    return "second"


ID = {"X-PPIO-Request-Id": "mine-1"}
all_kinds = pytest.mark.parametrize("kind", ["async generator", "sync generator", "async returned", "sync returned"])
both_protocols = pytest.mark.parametrize("headers", [EVENT_STREAM, PROTOCOL_1], ids=["plain", "protocol 1"])


@all_kinds
@pytest.mark.parametrize("headers", [EVENT_STREAM, PROTOCOL_1, {"Accept": "application/json"}], ids=str)
@pytest.mark.parametrize("then", ["ends", "raises", "cannot be told"])
@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
def test_generator_that_comes_to_its_end(kind: str, headers: dict[str, str], then: str, isolated: bool) -> None:
    agent = Agent(kind, isolate_handlers=isolated)
    with running(agent.app) as url:
        invoke(url, {"then": then}, headers | ID)
        agent.is_closed("mine-1", kind)


@all_kinds
@both_protocols
@pytest.mark.parametrize(
    "leave", [Connection.close, Connection.reset, Connection.half_close], ids=["FIN", "RST", "half"]
)
def test_generator_whose_caller_leaves(kind: str, headers: dict[str, str], leave: Callable[[Connection], None]) -> None:
    agent = Agent(kind)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post({"waits": True}, headers | ID)
        agent.begun.wait()
        leave(connection)
        agent.is_closed("mine-1", kind)


@all_kinds
@both_protocols
@pytest.mark.slow
def test_generator_whose_time_is_over(kind: str, headers: dict[str, str]) -> None:
    agent = Agent(kind, stream_timeout=1.0)
    with opening(agent.go_on), running(agent.app) as url:
        last = invoke(url, {"waits": True}, headers | ID).events[-1]
        assert last.data["error_type"] == "InvocationTimeoutError"
        agent.is_closed("mine-1", kind)


@all_kinds
@both_protocols
def test_generator_that_is_cancelled(kind: str, headers: dict[str, str]) -> None:
    agent = Agent(kind)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post({"waits": True}, headers | ID)
        _, found = connection.read_head()
        agent.begun.wait()
        assert cancel(url, f"/invocations/{found['x-ppio-invocation-id']}").status == 202
        agent.is_closed("mine-1", kind)
        assert list(connection.events())[-1].data["error_type"] == "InvocationCancelledError"


@all_kinds
@both_protocols
def test_generator_that_a_drain_cuts(kind: str, headers: dict[str, str]) -> None:
    agent = Agent(kind)
    with opening(agent.go_on), serving(agent.app) as (url, server), Connection(url) as connection:
        connection.post({"waits": True}, headers | ID)
        connection.read_head()
        agent.begun.wait()
        server.stop()
        agent.is_closed("mine-1", kind)
        assert list(connection.events())[-1].data["error_type"] == "DrainingError"


@all_kinds
def test_generator_of_an_interrupted_session(kind: str) -> None:
    agent = Agent(kind, max_concurrency_per_session=1, when_busy="interrupt")
    session = {"X-PPIO-Session-Id": "s"}
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post({"waits": True}, EVENT_STREAM | ID | session)
        agent.begun.wait()
        assert invoke(url, headers=session | {"X-PPIO-Request-Id": "mine-2"}).status == 200
        assert [closed[0] for closed in agent.closed] == ["mine-1", "mine-2"]


@all_kinds
def test_generator_that_was_asked_for_in_process_and_left(kind: str) -> None:
    agent = Agent(kind)

    async def leave_early() -> None:
        async with await agent.app.invoke({"waits": True}, RequestContext(request_id="mine-1")) as stream:
            assert await anext(stream) == "first"

    with opening(agent.go_on):
        asyncio.run(leave_early())
        agent.is_closed("mine-1", kind)
