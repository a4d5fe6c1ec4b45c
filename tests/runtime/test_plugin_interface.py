"""What plugins are built on, by a protocol as small as can be: events as lines, tasks, errors in words of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ppio_agent_models import AgentError, NotFoundError
from ppio_agent_runtime import (
    AgentConfig,
    EncodedEvent,
    EventEncoder,
    PPIOAgentRuntimeApp,
    PPIOAgentRuntimeError,
    RequestContext,
)
from ppio_agent_runtime.testing import running
from tests.support.calls import call
from tests.support.gates import eventually
from tests.support.raw_http import Answer, Connection, invoke

pytestmark = pytest.mark.contract


class Lines(EventEncoder):
    def begin(self) -> bytes:
        return b"BEGIN\n"

    def events(self, events: list[EncodedEvent]) -> bytes:
        return b"".join([b"%b %b\n" % (event.type.encode(), event.text or b"-") for event in events])

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        return f"FAILED {error.status_code} {error.error_type} {error.message}\n".encode()

    def done(self) -> bytes:
        return b"DONE\n"


class LineProtocol:
    """`/lines/run`, `/lines/late` (errors in the stream), `/lines/tasks[/{id}]`."""

    def install(self, app: PPIOAgentRuntimeApp) -> None:
        self.app = app
        app.add_route("/lines/run", self.run)
        app.add_route("/lines/tasks", self.submit)
        app.add_route("/lines/tasks/{id}", self.task, ["GET", "DELETE"])
        app.add_route("/lines/open", self.open, ["GET"])
        app.open_path("/lines/open")
        app.write_errors("/lines", lambda status, envelope: f"{status} {envelope['error_type']}".encode())
        app.claim_invocations(lambda body: isinstance(body, dict) and "lines" in body, self.run)

    def context(self, request: Request) -> RequestContext:
        return self.app.context_for(request, session_id="from the body", protocol="lines", metadata={"run_id": "r"})

    async def run(self, request: Request) -> Response:
        payload = await self.app.read_json(request)
        stream = await self.app.invoke(payload, self.context(request), stream=True, typed=True)
        if not payload.get("late"):
            await stream.begun(request.receive)
        return self.app.event_stream(stream, Lines(), headers={"x-lines": "1"})

    async def submit(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        handle = await self.app.submit(await self.app.read_json(request), self.context(request), key=key)
        return JSONResponse({"id": handle.id, "replayed": handle.replayed})

    async def task(self, request: Request) -> Response:
        handle = await self.app.find(request.path_params["id"])
        if handle is None:
            raise NotFoundError("There is no such task.")
        if request.method == "DELETE":
            handle.cancel()
            await handle.finished()
            return PlainTextResponse(handle.status)
        return self.app.event_stream(handle, Lines())

    async def open(self, request: Request) -> Response:
        return PlainTextResponse("open")


class Agent:
    """Says what it is told, fails or waits; and notes what became of it."""

    def __init__(self) -> None:
        self.runs = 0
        self.contexts: list[RequestContext] = []
        self.closed: list[bool] = []

    async def __call__(self, payload: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
        self.runs += 1
        self.contexts.append(context)
        try:
            if payload.get("fails") == "first":
                raise AgentError("no", status_code=418)
            yield "a"
            if payload.get("waits"):
                await asyncio.Event().wait()
            if payload.get("fails") == "later":
                raise AgentError("late", status_code=418)
            yield 'b"\n'
        finally:
            self.closed.append(True)


@pytest.fixture
def agent() -> Agent:
    return Agent()


def serving(agent: Agent, **settings: Any) -> Any:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))
    app.entrypoint(agent)
    app.install(LineProtocol())
    return running(app)


def ask(url: str, path: str, payload: Any = None, method: str = "POST", **headers: str) -> Answer:
    return call(
        url, path, method=method, headers=headers, body=None if payload is None else json.dumps(payload).encode()
    )


WHOLE = (
    b"BEGIN\nRUN_STARTED -\nTEXT_MESSAGE_START -\n"
    b'TEXT_MESSAGE_CONTENT "a"\nTEXT_MESSAGE_CONTENT "b\\"\\n"\nTEXT_MESSAGE_END -\nRUN_FINISHED -\nDONE\n'
)


def test_a_run_is_written_in_the_words_of_the_protocol(agent: Agent) -> None:
    with serving(agent) as url:
        answer = ask(url, "/lines/run", {})

    assert answer.body == WHOLE
    assert answer.headers["x-lines"] == "1"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-ppio-invocation-id"] == agent.contexts[0].invocation_id
    assert answer.headers["x-ppio-session-id"] == "from%20the%20body"
    assert (agent.contexts[0].protocol, agent.contexts[0].metadata) == ("lines", {"run_id": "r"})


def test_a_failure_before_the_first_chunk_has_a_status_where_the_protocol_waits_for_it(agent: Agent) -> None:
    with serving(agent) as url:
        waited = ask(url, "/lines/run", {"fails": "first"})
        at_once = ask(url, "/lines/run", {"fails": "first", "late": True})

    assert (waited.status, waited.body) == (418, b"418 AgentError")
    assert (at_once.status, at_once.body) == (200, b"BEGIN\nFAILED 418 AgentError no\n")


def test_a_later_failure_is_the_end_of_the_stream(agent: Agent) -> None:
    with serving(agent) as url:
        answer = ask(url, "/lines/run", {"fails": "later"})

    assert answer.status == 200
    assert answer.body.endswith(b'"a"\nFAILED 418 AgentError late\n')


@pytest.mark.parametrize("late", [False, True])
def test_a_caller_who_hangs_up_cancels_the_handler_and_silence_has_heartbeats(agent: Agent, late: bool) -> None:
    with serving(agent, heartbeat_seconds=0.05) as url:
        with Connection(url) as connection:
            connection.post({"waits": True, "late": late}, path="/lines/run")
            connection.read_head()
            assert any(b": keep-alive" in piece for piece in connection.pieces())
            connection.reset()
        eventually(lambda: agent.closed == [True], "the generator is closed")


@pytest.mark.parametrize(
    ("path", "method", "payload", "headers", "told"),
    [
        ("/lines/run", "POST", {}, {"Authorization": "Bearer wrong"}, (401, b"401 AuthenticationError")),
        ("/lines/none", "POST", {}, {}, (404, b"404 NotFoundError")),
        ("/lines/run", "GET", None, {}, (405, b"405 MethodNotAllowedError")),
        ("/lines/run", "POST", "x" * 2000, {}, (413, b"413 PayloadTooLargeError")),
        ("/lines/run", "POST", {}, {"Content-Type": "text/plain"}, (415, b"415 UnsupportedMediaTypeError")),
        ("/lines/run", "POST", [], {}, (422, b"422 PayloadValidationError")),
        ("/lines/tasks/none", "GET", None, {}, (404, b"404 NotFoundError")),
    ],
)
def test_errors_below_the_path_are_in_the_words_of_the_protocol(
    agent: Agent, path: str, method: str, payload: Any, headers: dict[str, str], told: tuple[int, bytes]
) -> None:
    with serving(agent, api_keys=["key"], max_request_size=1000) as url:
        key = {"Authorization": "Bearer key"}
        answer = ask(url, path, payload, method, **(key | headers))
        elsewhere = ask(url, "/none", method="GET", **key)

    assert (answer.status, answer.body) == told
    assert answer.headers["content-length"] == str(len(told[1]))
    assert "x-ppio-request-id" in answer.headers
    assert elsewhere.json["error_type"] == "NotFoundError"


def test_limits_hold_for_a_protocol(agent: Agent) -> None:
    with serving(agent, rate_limit="1/60") as url:
        answers = [ask(url, "/lines/run", {}) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 429]
    assert answers[1].body == b"429 RateLimitedError"
    assert "retry-after" in answers[1].headers


def test_an_open_path_needs_no_key(agent: Agent) -> None:
    with serving(agent, api_keys=["key"]) as url:
        assert ask(url, "/lines/open", method="GET").body == b"open"


def test_a_task_is_read_any_number_of_times_and_begun_once(agent: Agent) -> None:
    with serving(agent) as url:
        first = ask(url, "/lines/tasks", {}, **{"Idempotency-Key": "k"}).json
        again = ask(url, "/lines/tasks", {}, **{"Idempotency-Key": "k"}).json
        runs = [ask(url, f"/lines/tasks/{first['id']}", method="GET").body for _ in range(2)]
        other = ask(url, "/lines/tasks", {"other": 1}, **{"Idempotency-Key": "k"})
        shown = ask(url, f"/invocations/{first['id']}", method="GET").json

    assert again == {"id": first["id"], "replayed": True}
    assert runs == [WHOLE, WHOLE]
    assert agent.runs == 1
    assert other.body == b"422 IdempotencyKeyReusedError"
    assert (shown["state"], shown["response"]["result"]) == ("succeeded", 'ab"\n')


def test_a_task_can_be_cancelled(agent: Agent) -> None:
    with serving(agent) as url:
        task = ask(url, "/lines/tasks", {"waits": True}).json["id"]
        cancelled = ask(url, f"/lines/tasks/{task}", method="DELETE").body
        told = ask(url, f"/lines/tasks/{task}", method="GET").body

    assert cancelled == b"cancelled"
    assert b"FAILED 409 InvocationCancelledError" in told
    assert agent.closed == [True]


def test_some_requests_for_invocations_are_of_the_protocol(agent: Agent) -> None:
    with serving(agent) as url:
        claimed = invoke(url, {"lines": 1})
        ours = invoke(url, {}, {"Accept": "application/json"})
        wrong = call(url, "/invocations", body=b"{")

    assert claimed.body == WHOLE
    assert ours.json["result"] == 'ab"\n'
    assert (wrong.status, wrong.json["error_type"]) == (400, "BadRequestError")


def test_the_metrics_have_the_protocol(agent: Agent) -> None:
    with serving(agent) as url:
        ask(url, "/lines/run", {})
        invoke(url, {})
        text = ask(url, "/metrics", method="GET").body.decode()

    assert 'ppio_agent_protocol_invocations_total{outcome="success",protocol="lines"} 1.0' in text
    assert text.count("ppio_agent_protocol_invocations_total{") == 1


def test_a_context_is_made_of_headers_alone() -> None:
    app = PPIOAgentRuntimeApp()
    context = app.context_for({"X-PPIO-Session-Id": "s", "X-PPIO-Timeout": "5"}, session_id="other")

    assert (context.session_id, context.timeout) == ("other", 5.0)
    assert app.context_for({"X-PPIO-Session-Id": "s"}).session_id == "s"
