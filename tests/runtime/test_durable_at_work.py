"""The work for a durable invocation, which goes on without those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.asgi import ASGIApp, Receive, Scope, Send
from ppio_agent_runtime.invocations.invocation import Invocation
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.durable import cancel, events, finished, in_state, resource
from tests.support.gates import Gate, aside, eventually, opening
from tests.support.raw_http import PROTOCOL_1, Connection, invoke

LONG = AgentConfig(resume_window_seconds=3600)
JSON = PROTOCOL_1 | {"Accept": "application/json"}
either_form = pytest.mark.parametrize("headers", [PROTOCOL_1, JSON], ids=["as it comes", "json"])


class Agent:
    """An agent that goes through gates."""

    def __init__(self, config: AgentConfig = LONG) -> None:
        self.app = PPIOAgentRuntimeApp(config)
        self.begun, self.go_on = Gate("begun"), Gate("go on")
        self.path = ""

    def note(self, context: RequestContext) -> None:
        self.path = f"/invocations/{context.invocation_id}"
        self.begun.open()

    def invocation(self) -> Invocation:
        return self.app._services.invocations._running[self.path.rpartition("/")[2]]

    def runs(self) -> bool:
        return bool(self.app._services.invocations.in_flight)


def valued(agent: Agent) -> Agent:
    @agent.app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> str:
        agent.note(context)
        await agent.go_on.passed()
        return "ab"

    return agent


def generating(agent: Agent) -> Agent:
    @agent.app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
        async def chunks() -> AsyncIterator[str]:
            agent.note(context)
            yield "a"
            await agent.go_on.passed()
            yield "b"

        return chunks()

    return agent


def refusing_to_end(agent: Agent) -> Agent:
    @agent.app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> str:
        agent.note(context)
        while not agent.go_on.is_open:
            try:
                await agent.go_on.passed()
            except asyncio.CancelledError:
                continue
        return "too late"

    return agent


class Impatient:
    """A middleware that gives up on whatever does not answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "GET":
            return await self._app(scope, receive, send)
        try:
            await asyncio.wait_for(self._app(scope, receive, send), 1)
        except TimeoutError:
            await send({"type": "http.response.start", "status": 504, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


def test_middleware_that_gives_up_on_its_caller_does_not_stop_the_work() -> None:
    agent = valued(Agent())
    agent.app.add_middleware(Impatient)
    with opening(agent.go_on), running(agent.app) as url:
        assert invoke(url, headers=PROTOCOL_1).status == 504
        in_state(url, agent.path, "running")
        agent.go_on.open()
        assert finished(url, agent.path)["response"]["result"] == "ab"


@either_form
def test_caller_of_a_handler_that_refuses_to_end_is_told_once_and_its_record_is_over(headers: dict[str, str]) -> None:
    agent = refusing_to_end(Agent(AgentConfig(timeout=1)))
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=headers)
        first = connection.read_answer()
        refusal(first, 504, "InvocationTimeoutError")
        assert agent.runs()
        found = resource(url, agent.path)
        assert (found["state"], found["response"]) == ("failed", first.json)
        agent.go_on.open()
        eventually(lambda: not agent.runs(), "the handler ends")
        assert resource(url, f"/invocations/{first.headers['x-ppio-invocation-id']}") == found
        connection.send(b"GET /ping HTTP/1.1\r\nHost: agent\r\n\r\n")
        assert connection.read_answer().json["status"] == "Healthy"  # and nothing is left of an answer before it


@either_form
def test_generator_that_a_plain_coroutine_returns_is_answered_while_it_is_made(headers: dict[str, str]) -> None:
    agent = generating(Agent())
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=headers)
        agent.begun.wait()
        if headers is JSON:
            agent.go_on.open()
            assert connection.read_answer().result == "ab"
        else:
            connection.read_head()
            found = connection.events()
            assert next(found).data == "a"
            agent.go_on.open()
            assert [(event.kind, event.event_id) for event in found] == [("chunk", 2), ("done", 3)]
        assert finished(url, agent.path)["response"]["result"] == "ab"


@either_form
def test_generator_goes_on_when_its_caller_hangs_up(headers: dict[str, str]) -> None:
    agent = generating(Agent())
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=headers)
        agent.begun.wait()
        connection.close()
        eventually(lambda: not agent.invocation().subscribers, "alone")
        agent.go_on.open()
        assert [event.data for event in events(url, agent.path).events if event.kind == "chunk"] == ["a", "b"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, ValueError])
@pytest.mark.parametrize("chunks", [0, 1])
def test_generator_that_ends_in_whatever_way_fails_its_invocation_alone(
    error: type[BaseException], chunks: int
) -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[int]:
        for number in range(chunks):
            yield number
        if "fails" in payload:
            raise error

    with running(app) as url:
        failed = invoke(url, {"fails": True}, PROTOCOL_1)
        if chunks:
            assert failed.events[-1].data["error_type"] == "HandlerError"
        else:
            refusal(failed, 500, "HandlerError")
        assert invoke(url, headers=PROTOCOL_1).events[-1].kind == "done"
        eventually(lambda: not app._services.invocations.in_flight, "nothing is left")


def test_reader_of_a_stopped_stream_does_not_wait_until_its_generator_has_cleaned_up() -> None:
    agent = Agent()

    @agent.app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
        try:
            agent.note(context)
            yield "a"
            await asyncio.Future()
        finally:
            await agent.go_on.passed()

    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=PROTOCOL_1)
        connection.read_head()
        found = connection.events()
        assert next(found).data == "a"
        assert cancel(url, agent.path).status == 202
        assert next(found).data["error_type"] == "InvocationCancelledError"
        assert agent.runs()
        agent.go_on.open()
        eventually(lambda: not agent.runs(), "the generator ends")


@either_form
def test_work_that_lost_its_caller_is_cancelled_by_another_one_and_leaves_nothing(headers: dict[str, str]) -> None:
    agent = valued(Agent())
    with opening(agent.go_on), running(agent.app) as url, Connection(url) as connection:
        connection.post(headers=headers)
        agent.begun.wait()
        connection.close()
        eventually(lambda: not agent.invocation().subscribers, "alone")
        assert cancel(url, agent.path).status == 202
        assert finished(url, agent.path)["state"] == "cancelled"
        eventually(lambda: not (agent.runs() or agent.app._services.invocations.ticker._others), "nothing is left")


def test_events_of_a_value_that_nobody_read_while_it_was_made_are_those_of_one_that_somebody_read() -> None:
    read, unread = valued(Agent()), valued(Agent())
    with opening(read.go_on), running(read.app) as url:
        waiting = aside(lambda: invoke(url, headers=PROTOCOL_1))
        read.begun.wait()
        following = aside(lambda: events(url, read.path))
        eventually(lambda: len(read.invocation().subscribers) == 2, "it is read")
        read.go_on.open()
        live, of_read = following.result().events, waiting.result().json
        assert resource(url, read.path)["last_event_id"] == 2
    unread.go_on.open()
    with running(unread.app) as url:
        of_unread = invoke(url, headers=PROTOCOL_1).json
        later = [events(url, unread.path, after).events for after in range(3)]
        assert resource(url, unread.path)["last_event_id"] == 2
    assert [event.kind for event in live] == [event.kind for event in later[0]] == ["chunk", "done"]
    assert live[0] == later[0][0]
    assert later[1:] == [later[0][1:], later[0][2:]]
    assert of_read.keys() == of_unread.keys()
