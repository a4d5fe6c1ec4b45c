"""What holds for an agent over every protocol: session, deadline, limits, keys, drain, hang-ups, metrics and trace.

What each protocol adds of its own is in the file of its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.protocols.mcp_client import MODERN
from tests.runtime.test_logging import agent_process
from tests.support.calls import call
from tests.support.gates import aside, eventually
from tests.support.otlp_sink import collecting
from tests.support.raw_http import Answer, Connection

pytest.importorskip("a2a", reason="needs a2a-sdk: hatch run judges:test")
pytestmark = pytest.mark.contract


@dataclass
class Protocol:
    """How one is asked.

    Attributes:
        body: Of a request, with `PROMPT` and `SESSION` as strings in it.
        session: It says in which session, else the header does.
        cancels: A caller who hangs up cancels the run.
        is_keyed: `Idempotency-Key` is obeyed.
        is_always_answered: What the agent does not take is a result with status 200.
    """

    name: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    session: bool = True
    cancels: bool = True
    is_keyed: bool = True
    is_always_answered: bool = False

    def request(self, prompt: str, session: str) -> bytes:
        return json.dumps(self.body).replace("PROMPT", prompt).replace("SESSION", session).encode()

    def ask(self, url: str, prompt: str = "time?", session: str = "s", **headers: str) -> Answer:
        named = {} if self.session else {"X-PPIO-Session-Id": session}
        every = {"Content-Type": "application/json", **self.headers, **named, **headers}
        return call(url, self.path, body=self.request(prompt, session), headers=every)

    def refusal(self, answer: Answer, status: int) -> str:
        """Return what was said, after a look at the status, which is 200 where refusals are results."""
        assert answer.status == (200 if self.is_always_answered else status), answer.body
        return answer.body.decode()


MESSAGES = [{"id": "m", "role": "user", "content": "PROMPT", "parts": [{"type": "text", "text": "PROMPT"}]}]
MCP = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "clock",
}
A2A = {"messageId": "m", "role": "ROLE_USER", "contextId": "SESSION", "parts": [{"text": "PROMPT"}]}
CALL = {"name": "clock", "arguments": {"prompt": "PROMPT", "session_id": "SESSION"}, "_meta": MODERN}
PROTOCOLS = [
    Protocol("ag-ui", "/ag-ui", {"threadId": "SESSION", "runId": "r", "messages": MESSAGES}),
    Protocol("openai", "/v1/responses", {"input": "PROMPT", "conversation": "SESSION", "stream": True}),
    Protocol("openai", "/v1/chat/completions", {"messages": MESSAGES, "stream": True}, session=False),
    Protocol("vercel", "/api/chat", {"id": "SESSION", "messages": MESSAGES}),
    Protocol(
        *("a2a", "/a2a"),
        {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {"message": A2A}},
        {"A2A-Version": "1.0"},
        cancels=False,  # a task is asked to
    ),
    Protocol(
        *("mcp", "/mcp"),
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL},
        MCP,
        is_keyed=False,
        is_always_answered=True,
    ),
]


@pytest.fixture(params=PROTOCOLS, ids=[each.path for each in PROTOCOLS])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


def words(text: str) -> bool:
    """Say whether an answer has the agent's first words."""
    return TEXT[0] in text


def test_its_session_is_the_context_s(protocol: Protocol, clock: Clock) -> None:
    with serving(clock, ["all"]) as url:
        answers = [protocol.ask(url, session=session) for session in ("one", "two")]

    assert all(answer.status == 200 and words(answer.body.decode()) for answer in answers)
    assert [context.session_id for context in clock.contexts] == ["one", "two"]
    assert {context.protocol for context in clock.contexts} == {protocol.name}


def test_a_key_runs_the_agent_once_and_answers_again(protocol: Protocol, clock: Clock) -> None:
    if not protocol.is_keyed:
        pytest.skip("the protocol has no place for keys")
    with serving(clock, ["all"]) as url:
        first, again = (protocol.ask(url, **{"Idempotency-Key": "k"}) for _ in range(2))
        other = protocol.ask(url, **{"Idempotency-Key": "l"})
        reused = protocol.ask(url, "another", **{"Idempotency-Key": "k"})

    assert [words(answer.body.decode()) for answer in (first, again, other)] == [True] * 3
    assert first.headers["x-ppio-invocation-id"] == again.headers["x-ppio-invocation-id"]
    assert first.headers["x-ppio-invocation-id"] != other.headers["x-ppio-invocation-id"]
    assert len(clock.asked) == 2
    assert reused.status == 422


def test_a_run_with_a_key_is_found_again_after_a_hang_up(protocol: Protocol, clock: Clock) -> None:
    if not protocol.is_keyed:
        pytest.skip("the protocol has no place for keys")
    key = {"Content-Type": "application/json", "X-PPIO-Session-Id": "s", "Idempotency-Key": "k"}
    with serving(clock, ["all"]) as url:
        with Connection(url) as connection:
            body = json.loads(protocol.request("time?", "s"))
            connection.post(body, {**protocol.headers, **key}, path=protocol.path)
            eventually(lambda: clock.asked != [], "the agent works")
            connection.reset()
        answer = protocol.ask(url, **key)

    assert words(answer.body.decode())
    assert len(clock.asked) == 1


def test_the_deadline_of_the_header_holds(protocol: Protocol) -> None:
    with serving(Clock(), ["all"]) as url:
        answer = protocol.ask(url, "wait", **{"X-PPIO-Timeout": "0.2"})

    assert "within 0.2 s" in answer.body.decode()


def test_one_turn_of_a_session_at_a_time_where_that_is_the_limit(protocol: Protocol, clock: Clock) -> None:
    with serving(clock, ["all"], max_concurrency_per_session=1) as url:
        waiting = aside(lambda: protocol.ask(url, "wait", **{"X-PPIO-Timeout": "30"}))
        eventually(lambda: clock.asked != [], "the first one runs")
        told = protocol.refusal(protocol.ask(url, "another"), 409)
        elsewhere = protocol.ask(url, "time?", session="other")
        assert not waiting.done()

    assert "session" in told
    assert words(elsewhere.body.decode())


def test_the_rate_limit_holds(protocol: Protocol, clock: Clock) -> None:
    with serving(clock, ["all"], rate_limit="1/60") as url:
        first = protocol.ask(url, "time?")
        second = protocol.ask(url, "another")

    assert words(first.body.decode())
    assert protocol.refusal(second, 429) != ""
    assert protocol.is_always_answered or ("ratelimit" in first.headers and second.headers["retry-after"])
    assert len(clock.asked) == 1


def test_a_key_is_asked_for_and_known(protocol: Protocol, clock: Clock) -> None:
    with serving(clock, ["all"], api_keys=["right"]) as url:
        statuses = [protocol.ask(url, **key).status for key in ({}, {"Authorization": "Bearer wrong"})]
        answer = protocol.ask(url, Authorization="Bearer right")

    assert statuses == [401, 401]
    assert words(answer.body.decode())
    assert [context.key_id is not None for context in clock.contexts] == [True]


def test_what_is_too_large_is_refused(protocol: Protocol, clock: Clock) -> None:
    with serving(clock, ["all"], max_request_size=1000) as url:
        assert protocol.ask(url, "x" * 1000).status == 413

    assert clock.asked == []


WRONG = [
    ("/ag-ui", "tools", "x"),
    ("/ag-ui", "tools", [{"description": "nameless"}]),
    ("/ag-ui", "messages", [{"role": ["user"], "content": "x"}]),
    ("/ag-ui", "context", [5]),
    ("/ag-ui", "resume", [{"interruptId": None}]),
    ("/v1/responses", "input", [{"type": "mcp_approval_response", "approval_request_id": None}]),
    ("/v1/responses", "tools", True),
    ("/v1/chat/completions", "messages", [{"content": "x"}]),
    ("/v1/chat/completions", "tools", 5),
    ("/v1/chat/completions", "tools", [{"type": "function", "function": None}]),
    ("/v1/chat/completions", "tools", [{"type": "function", "function": {"name": []}}]),
    ("/api/chat", "messages", [{"role": "user", "parts": 5}]),
]


@pytest.mark.parametrize(("path", "field", "value"), WRONG)
def test_what_is_malformed_is_the_caller_s_mistake(path: str, field: str, value: Any, clock: Clock) -> None:
    [protocol] = [each for each in PROTOCOLS if each.path == path]
    with serving(clock, ["all"]) as url:
        body = json.dumps({**protocol.body, field: value}).encode()
        told = call(url, path, body=body, headers={"Content-Type": "application/json"})

    assert told.status == 422
    assert "runtime failed" not in told.body.decode()
    assert clock.asked == []


def test_a_hang_up_cancels_the_run(protocol: Protocol, clock: Clock) -> None:
    if not protocol.cancels:
        pytest.skip("the protocol's runs go on")
    with serving(clock, ["all"]) as url:
        with Connection(url) as connection:
            connection.post(json.loads(protocol.request("wait", "s")), protocol.headers, path=protocol.path)
            eventually(lambda: clock.asked != [], "the agent works")
            connection.reset()
        eventually(lambda: clock.closed == 1, "the generator is closed")


def test_a_drain_ends_a_run_in_the_words_of_the_protocol(protocol: Protocol, clock: Clock) -> None:
    server = serving(clock, ["all"], shutdown_grace_seconds=0)
    url = server.__enter__()
    try:
        waiting = aside(lambda: protocol.ask(url, "wait"))
        eventually(lambda: clock.asked != [], "it runs")
    finally:
        server.__exit__(None, None, None)

    assert "drain" in waiting.result(60).body.decode()
    assert clock.closed == 1


def test_metrics_have_its_name(protocol: Protocol) -> None:
    with serving(Clock(), ["all"]) as url:
        protocol.ask(url)
        metrics = call(url, "/metrics", method="GET").body.decode()

    assert any(f'protocol="{protocol.name}"' in line and line.endswith(" 1.0") for line in metrics.splitlines())


AGENT = """
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def agent(request: dict):
        return request["prompt"]
"""


def test_its_runs_are_in_the_trace_of_the_caller(protocol: Protocol, tmp_path: Path) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with collecting() as sink:
        own = {"PPIO_AGENT_PROTOCOLS": "all", "PPIO_AGENT_AGENT_NAME": "clock"}
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, **own}
        with agent_process(tmp_path, AGENT, **settings) as (url, _):
            answer = protocol.ask(url, "hello", Traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
        spans = {received.span.name: received for received in sink.received}

    assert "hello" in answer.body.decode()
    assert spans.keys() == {f"POST {protocol.path}", "invoke_agent main.agent"}
    assert {received.span.trace_id.hex() for received in spans.values()} == {trace_id}
    assert spans["invoke_agent main.agent"].attributes["gen_ai.conversation.id"] == "s"
