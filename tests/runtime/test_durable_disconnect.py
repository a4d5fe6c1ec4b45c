"""What becomes of an invocation whose caller is gone: cancelled, continued, or kept for the window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.durable import events, finished, in_state
from tests.support.gates import Gate, aside, eventually, opening
from tests.support.raw_http import PROTOCOL_1, Connection, settle, streaming

Leave = Callable[[Connection], None]

CANCEL = {"X-PPIO-On-Disconnect": "cancel"}
CONTINUE = {"X-PPIO-On-Disconnect": "continue"}
LONG = AgentConfig(resume_window_seconds=3600)
SHORT = AgentConfig(resume_window_seconds=0.05)
NOTICED_SECONDS = 0.3
"""In so long a caller's leaving is noticed: nothing announces it where it must have no consequence."""

by_any_way = pytest.mark.parametrize(
    "leave", [Connection.close, Connection.reset, Connection.half_close], ids=["FIN", "RST", "half-open"]
)
all_kinds = pytest.mark.parametrize("kind", ["async", "sync", "async generator", "sync generator"])


class Watched:
    """An agent that works until it is cancelled or let go, and what was seen of it."""

    def __init__(self, kind: str, config: AgentConfig) -> None:
        self.app = PPIOAgentRuntimeApp(config)
        self.begun, self.go_on, self.cancelled = Gate("begun"), Gate("go on"), Gate("cancelled")
        self.path = ""
        self._register(kind)

    def _note(self, context: RequestContext) -> None:
        self.path = f"/invocations/{context.invocation_id}"
        self.begun.open()

    def _wait(self, context: RequestContext) -> None:
        eventually(lambda: context.cancelled or self.go_on.is_open, "the cancel or the gate")
        if context.cancelled:
            self.cancelled.open()

    async def _passed(self) -> None:
        try:
            await self.go_on.passed()
        except asyncio.CancelledError:
            self.cancelled.open()
            raise

    def _register(self, kind: str) -> None:
        if kind == "async":

            @self.app.entrypoint
            async def value(payload: dict[str, Any], context: RequestContext) -> str:
                self._note(context)
                await self._passed()
                return "ab"

        elif kind == "sync":

            @self.app.entrypoint
            def value_in_a_thread(payload: dict[str, Any], context: RequestContext) -> str:
                self._note(context)
                self._wait(context)
                return "ab"

        elif kind == "async generator":

            @self.app.entrypoint
            async def stream(payload: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
                yield "a"
                self._note(context)
                await self._passed()
                yield "b"

        else:

            @self.app.entrypoint
            def stream_in_a_thread(payload: dict[str, Any], context: RequestContext) -> Iterator[str]:
                yield "a"
                self._note(context)
                self._wait(context)
                yield "b"


@pytest.mark.contract
@by_any_way
@all_kinds
@pytest.mark.parametrize("headers", [{}, CANCEL, PROTOCOL_1 | CANCEL, {"Idempotency-Key": "k"}], ids=str)
def test_cancel_is_the_default_without_protocol_and_can_be_chosen_with_it(
    kind: str, headers: dict[str, str], leave: Leave
) -> None:
    agent = Watched(kind, LONG)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=headers)
        agent.begun.wait()
        leave(connection)
        agent.cancelled.wait()


@pytest.mark.contract
@by_any_way
@all_kinds
@pytest.mark.parametrize("headers", [CONTINUE, PROTOCOL_1 | CONTINUE], ids=["plain", "protocol 1"])
@pytest.mark.slow
def test_continue_works_to_the_end_without_its_caller(kind: str, headers: dict[str, str], leave: Leave) -> None:
    agent = Watched(kind, AgentConfig(resume_window_seconds=0))
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=headers)
        agent.begun.wait()
        leave(connection)
        settle(url, NOTICED_SECONDS)
        agent.go_on.open()
        assert finished(url, agent.path)["response"]["result"] == "ab"
    assert not agent.cancelled.is_open


@pytest.mark.contract
@by_any_way
@all_kinds
def test_protocol_1_goes_on_for_the_window_so_that_the_caller_can_come_back(kind: str, leave: Leave) -> None:
    agent = Watched(kind, LONG)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=PROTOCOL_1)
        agent.begun.wait()
        leave(connection)
        back = aside(lambda: events(url, agent.path))
        agent.go_on.open()
        assert "".join(event.data for event in back.result().events if event.kind == "chunk") == "ab"
    assert not agent.cancelled.is_open


@pytest.mark.contract
@all_kinds
def test_protocol_1_is_cancelled_when_the_window_is_over(kind: str) -> None:
    agent = Watched(kind, SHORT)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=PROTOCOL_1)
        agent.begun.wait()
        connection.close()
        agent.cancelled.wait()
        done = finished(url, agent.path)
    assert (done["state"], done["response"]["error_type"]) == ("cancelled", "InvocationCancelledError")
    assert "stopped waiting" in done["response"]["error"]


@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
def test_window_begins_anew_each_time_the_last_caller_leaves(isolated: bool) -> None:
    agent = Watched("async generator", LONG.replace(isolate_handlers=isolated))
    with opening(agent.go_on), running(agent.app) as url:
        with streaming(url, headers=PROTOCOL_1) as stream:
            next(stream.events())
            agent.begun.wait()
        for _ in range(3):
            eventually(lambda: is_alone(agent), "alone")
            with Connection(url) as back:
                back.send(f"GET {agent.path}/events HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
                back.read_head()
                next(back.events())
                assert not is_alone(agent)
        agent.go_on.open()
        assert finished(url, agent.path)["state"] == "succeeded"


def is_alone(agent: Watched) -> bool:
    return not agent.app._services.invocations._running[agent.path.rpartition("/")[2]].subscribers


@pytest.mark.contract
@pytest.mark.slow
def test_one_of_two_callers_who_leaves_changes_nothing() -> None:
    agent = Watched("async", AgentConfig(resume_window_seconds=0))
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as first:
        first.post(headers=PROTOCOL_1)
        agent.begun.wait()
        with Connection(url) as second:
            second.send(f"GET {agent.path}/events HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            second.read_head()
            first.close()
            settle(url, NOTICED_SECONDS)
            agent.go_on.open()
            assert list(second.events())[-1].kind == "done"
    assert not agent.cancelled.is_open


@pytest.mark.contract
def test_looking_at_an_invocation_counts_as_coming_back() -> None:
    agent = Watched("async", SHORT)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=PROTOCOL_1)
        agent.begun.wait()
        with Connection(url) as back:
            back.send(f"GET {agent.path}?wait=60 HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            settle(url)
            connection.close()
            settle(url, NOTICED_SECONDS)
            agent.go_on.open()
            assert back.read_answer().json["state"] == "succeeded"


@pytest.mark.contract
def test_sync_generator_is_closed_at_its_next_yield_and_sync_value_runs_out_unheard() -> None:
    app, begun, closed = PPIOAgentRuntimeApp(AgentConfig(resume_window_seconds=0)), Gate("begun"), Gate("closed")
    after: list[int] = []

    @app.entrypoint
    def handler(payload: dict[str, Any], context: RequestContext) -> Iterator[int]:
        try:
            yield 1
            begun.open()
            eventually(lambda: context.cancelled, "the cancel")
            yield 2
            after.append(2)
        finally:
            closed.open()

    with running(app) as url, Connection(url) as connection:
        connection.post(headers=PROTOCOL_1)
        begun.wait()
        connection.close()
        closed.wait()
    assert after == []


@pytest.mark.contract
def test_unknown_policy_is_400() -> None:
    agent = Watched("async", LONG)
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers={"X-PPIO-On-Disconnect": "perhaps"})
        answer = connection.read_answer()
    assert (answer.status, answer.json["error_type"]) == (400, "BadRequestError")


@pytest.mark.contract
def test_slow_reader_slows_neither_the_agent_nor_other_readers_within_its_log() -> None:
    app = PPIOAgentRuntimeApp()
    text = "x" * 1000

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        for _ in range(3000):
            yield text

    with running(app) as url, Connection(url, receive_buffer_bytes=4096) as slow:
        slow.post(headers=PROTOCOL_1)
        _, headers = slow.read_head()
        path = f"/invocations/{headers['x-ppio-invocation-id']}"
        fast = events(url, path).events
        in_state(url, path, "succeeded")
        assert len(fast) == 3001
        assert len(list(slow.events())) == 3001


@pytest.mark.contract
def test_slow_reader_holds_the_producer_at_the_bound_of_the_log() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=256 * 1024))
    made = 0
    text = "x" * 16 * 1024

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        nonlocal made
        while made < 4000:
            made += 1
            yield text

    with running(app) as url, Connection(url, receive_buffer_bytes=4096) as slow:
        slow.post(headers=PROTOCOL_1)
        slow.read_head()
        before = -1

        def stands_still() -> bool:
            nonlocal before
            before, is_so = made, made == before
            return is_so and made > 8  # half of the log

        eventually(stands_still, "the producer waits")
        assert made < 2000  # the log, and what the kernel and the server take for themselves
        assert len(list(slow.events())) == 4001
