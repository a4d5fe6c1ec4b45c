"""What the page is told of the service: settings, runs, spans; with `debug`, with a key, for itself alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_models import CustomEvent, StepFinishedEvent, StepStartedEvent, ToolCallResultEvent, ToolCallStartEvent
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.calls import call, refusal
from tests.support.middleware import serving
from tests.support.raw_http import (
    EVENT_STREAM,
    LIMIT_SECONDS,
    PROTOCOL_1,
    Answer,
    Connection,
    get,
    invoke,
    streaming,
)

pytestmark = pytest.mark.contract

KEY = "key-of-16-letters"
PATHS = ["/console/settings", "/console/runs", "/console/spans?run=x"]
LISTED = 50
SPANS_KEPT = 200


@contextmanager
def agent(function: Any, **settings: Any) -> Iterator[str]:
    app = PPIOAgentRuntimeApp(AgentConfig(debug=True, **settings))
    app.entrypoint(function)
    with running(app) as url:
        yield url


async def echo(payload: Any) -> Any:
    if payload == {"fail": True}:
        raise ValueError("a secret")
    return payload


def ended_run(url: str, answer: Answer) -> dict[str, Any]:
    """Return the run of an answer; the last byte is sent before the run is noted as ended."""
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        runs: list[dict[str, Any]] = get(url, "/console/runs").json["runs"]
        run = next(run for run in runs if run["id"] == answer.headers["x-ppio-invocation-id"])
        if run["outcome"] is not None:
            return run
    raise AssertionError("the run does not end")


def spans(url: str, answer: Answer) -> list[dict[str, Any]]:
    run = ended_run(url, answer)
    told = get(url, f"/console/spans?run={run['id']}").json
    assert told["complete"] is True
    assert len(told["spans"]) == run["spans"]
    found: list[dict[str, Any]] = told["spans"]
    return found


@pytest.mark.parametrize("path", [*PATHS, "/console/log"])
def test_everything_is_behind_the_key(path: str) -> None:
    with serving(debug=True, api_keys=[KEY]) as url:
        refusal(call(url, path, method="GET"), 401, "AuthenticationError")
        refusal(call(url, path, method="GET", headers={"X-API-KEY": "wrong"}), 401, "AuthenticationError")
        assert call(url, path, method="GET", headers={"X-API-KEY": KEY}).status != 401


@pytest.mark.parametrize("path", PATHS)
def test_page_of_another_origin_reads_nothing_even_where_it_may_call_the_agent(path: str) -> None:
    with serving(debug=True, cors_origins=["*"]) as url:
        for origin in "https://evil.example", "null", "http://localhost:1", "http://[":
            asked = {"Origin": origin, "Host": "localhost"}
            refusal(call(url, path, method="GET", headers=asked), 403, "AuthenticationError")
        own = {"Origin": "http://localhost", "Host": "localhost"}
        assert call(url, path, method="GET", headers=own).status in (200, 404)


def test_what_is_not_there_and_what_is_not_allowed_has_the_envelope() -> None:
    with serving(debug=True) as url:
        refusal(get(url, "/console/nothing"), 404, "NotFoundError")
        assert call(url, "/console/runs", method="POST", body=b"{}").headers["allow"] == "GET"
        refusal(call(url, "/console/runs", method="DELETE"), 405, "MethodNotAllowedError")
        refusal(get(url, "/console/spans"), 400, "BadRequestError")
        refusal(get(url, "/console/spans?run=nothing"), 404, "NotFoundError")
        refusal(get(url, "/console/log"), 404, "NotFoundError")


@pytest.mark.parametrize("tells", [None, False])
def test_lines_of_the_agents_own_code_that_failed_are_told_unless_errors_are_not(tells: bool | None) -> None:
    def inner(payload: dict[str, Any]) -> Any:
        return json.loads(payload["text"])

    async def outer(payload: dict[str, Any]) -> Any:
        return inner(payload)

    with agent(outer, expose_errors=tells) as url:
        failed = ended_run(url, invoke(url, {"text": "{"}))
        frames = get(url, f"/console/spans?run={failed['id']}").json["frames"]
        worked = ended_run(url, invoke(url, {"text": "{}"}))
        assert get(url, f"/console/spans?run={worked['id']}").json["frames"] == []
    here = str(Path(__file__).relative_to(Path.cwd()))
    told = [(each["file"], each["function"], each["source"]) for each in frames]
    assert told == (
        []
        if tells is False
        else [
            (here, "outer", "return inner(payload)"),
            (here, "inner", 'return json.loads(payload["text"])'),
        ]
    )


def test_answers_are_for_nobody_else() -> None:
    with serving(debug=True) as url:
        headers = get(url, "/console/settings").headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_settings_come_with_their_origin_and_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_TIMEOUT", "12")
    limit = RateLimit(9, 8, storage_uri="memory://")
    with agent(echo, api_keys=[KEY], rate_limit=limit, agent_name="me") as url:
        told = call(url, "/console/settings", method="GET", headers={"X-API-KEY": KEY})
    assert KEY.encode() not in told.body
    found = {setting["name"]: setting for setting in told.json["settings"]}
    assert found.keys() == AgentConfig().explain().keys()
    assert (found["timeout"]["value"], found["timeout"]["origin"]) == (12.0, "environment")
    assert found["timeout"]["variable"] == "PPIO_AGENT_TIMEOUT"
    assert found["timeout"]["description"].startswith("Longest time for a result")
    assert (found["agent_name"]["value"], found["agent_name"]["origin"]) == ("me", "argument")
    assert (found["max_queue"]["value"], found["max_queue"]["origin"]) == (100, "default")
    assert (found["api_keys"]["value"], found["api_keys"]["secret"]) == ("set", True)
    assert (found["hmac_keys"]["value"], found["hmac_keys"]["secret"]) == (None, True)
    assert found["rate_limit"]["value"]["max_requests"] == 9
    assert told.json["agent"].endswith("echo")
    assert told.json["has_log"] is False


def test_passwords_in_addresses_are_masked() -> None:
    with agent(echo, public_url="https://user:hidden@agent.example/?token=hidden") as url:
        told = get(url, "/console/settings")
    assert b"hidden" not in told.body
    assert b"agent.example" in told.body


def test_run_is_listed_while_it_runs_and_after_it_has_ended() -> None:
    async def counting(payload: dict[str, Any]) -> AsyncIterator[str]:
        yield "one"
        yield "two"
        if payload.get("wait"):
            await asyncio.Event().wait()

    with agent(counting) as url:
        asked = {**PROTOCOL_1, **EVENT_STREAM, "X-PPIO-Session-Id": "s1"}
        with streaming(url, {"wait": True}, asked) as connection:
            events = connection.events()
            assert [next(events).data, next(events).data] == ["one", "two"]
            run = get(url, "/console/runs").json["runs"][0]
            assert (run["state"], run["mode"], run["session_id"], run["chunks"]) == ("running", "stream", "s1", 2)
            assert (run["durable"], run["outcome"], run["finished_at"]) == (True, None, None)
            assert run["deadline_at"] > run["created_at"]
            assert run["first_chunk_seconds"] >= 0
            call(url, f"/invocations/{run['id']}", method="DELETE")
            answer = Answer(200, {"x-ppio-invocation-id": run["id"]}, b"")
            ended = ended_run(url, answer)
        assert (ended["state"], ended["outcome"], ended["chunks"]) == ("cancelled", "cancelled", 2)
        assert ended["deadline_at"] is None
        assert ended["finished_at"] >= ended["created_at"]


def test_run_that_failed_says_how() -> None:
    with agent(echo) as url:
        failed = ended_run(url, invoke(url, {"fail": True}))
        good = ended_run(url, invoke(url, {"fail": False}))
        listed = get(url, "/console/runs")
    assert (failed["state"], failed["outcome"], failed["error_type"]) == ("failed", "error", "ValueError")
    assert (good["state"], good["outcome"], good["error_type"], good["mode"]) == ("succeeded", "success", None, "json")
    assert good["sent_bytes"] > 0
    assert [run["id"] for run in listed.json["runs"]] == [good["id"], failed["id"]]
    assert b"a secret" not in listed.body


def test_so_many_runs_are_listed_and_of_more_the_spans_are_kept() -> None:
    with agent(echo) as url:
        ids = [invoke(url).headers["x-ppio-invocation-id"] for _ in range(SPANS_KEPT + 2)]
        last = Answer(200, {"x-ppio-invocation-id": ids[-1]}, b"")
        ended_run(url, last)
        listed = [run["id"] for run in get(url, "/console/runs").json["runs"]]
        assert listed == ids[::-1][:LISTED]
        assert get(url, f"/console/spans?run={ids[2]}").status == 200
        refusal(get(url, f"/console/spans?run={ids[1]}"), 404, "NotFoundError")


def test_run_that_waited_for_its_turn_has_a_span_of_that() -> None:
    async def slow(payload: dict[str, Any]) -> AsyncIterator[str]:
        yield "begun"
        if payload.get("wait"):
            await asyncio.Event().wait()

    with agent(slow, max_concurrency=1, when_busy="queue") as url:
        with streaming(url, {"wait": True}, {**PROTOCOL_1, **EVENT_STREAM}) as first, Connection(url) as second:
            events = first.events()
            assert next(events).data == "begun"
            second.post({}, {"Accept": "application/json"})
            until = time.monotonic() + LIMIT_SECONDS
            runs: list[dict[str, Any]] = []
            while len(runs) < 2 and time.monotonic() < until:
                runs = get(url, "/console/runs").json["runs"]
            waiting, holding = runs
            assert (waiting["state"], waiting["started_at"]) == ("queued", None)
            call(url, f"/invocations/{holding['id']}", method="DELETE")
            answer = second.read_answer()
        root, queued = spans(url, answer)
        run = ended_run(url, answer)
    assert (root["kind"], queued["kind"], queued["parent_id"]) == ("invocation", "queue", root["id"])
    assert run["started_at"] - run["created_at"] == pytest.approx(queued["duration_seconds"])
    assert root["duration_seconds"] >= queued["duration_seconds"] > 0


async def with_tools(payload: dict[str, Any]) -> AsyncIterator[Any]:
    yield "let me see"
    yield StepStartedEvent(step_name="look up")
    yield ToolCallStartEvent(tool_call_id="call-1", tool_call_name="get_weather")
    yield ToolCallResultEvent(tool_call_id="call-1", content="-3")
    yield StepFinishedEvent(step_name="look up")
    yield CustomEvent(name="x", value=1)
    yield ToolCallStartEvent(tool_call_id="call-2", tool_call_name="not_ended")
    if payload.get("fail"):
        raise ValueError("a secret")


@pytest.mark.parametrize("failing", [False, True])
def test_spans_are_made_of_times_and_typed_events(failing: bool) -> None:
    with agent(with_tools) as url:
        answer = invoke(url, {"fail": failing}, EVENT_STREAM | PROTOCOL_1 | {"PPIO-Agent-Events": "1"})
        told = spans(url, answer)
    root, *parts = told
    assert (root["parent_id"], root["kind"], root["status"]) == (None, "invocation", "error" if failing else "ok")
    assert root["error"] == ("ValueError" if failing else None)
    names = {(part["kind"], part["name"]): part for part in parts}
    step, tool = names["step", "look up"], names["tool", "get_weather"]
    assert tool["parent_id"] == step["id"]
    assert step["parent_id"] == root["id"]
    assert tool["attributes"] == {"gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "call-1"}
    assert ("message", "message") in names
    assert names["tool", "not_ended"]["parent_id"] == root["id"]
    for span in told:
        assert span["duration_seconds"] is not None
        assert span["duration_seconds"] >= 0
        assert root["started_at"] <= span["started_at"] <= root["started_at"] + root["duration_seconds"] + 0.1


def test_agent_that_says_nothing_but_text_has_one_span() -> None:
    with agent(echo) as url:
        (root,) = spans(url, invoke(url))
    assert root["attributes"]["ppio.outcome"] == "success"


TRACED = """
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("mine")
app = PPIOAgentRuntimeApp(debug=True)

def in_thread():
    with tracer.start_as_current_span("in thread") as span:
        span.set_attribute("long", "x" * 5000)

@app.entrypoint
async def agent(payload):
    with tracer.start_as_current_span("outer"):
        with ThreadPoolExecutor() as pool:
            pool.submit(copy_context().run, in_thread).result()
        try:
            with tracer.start_as_current_span("failing"):
                raise KeyError("a secret")
        except KeyError:
            pass
    return 1

with tracer.start_as_current_span("of nobody"):
    pass
"""


def test_spans_of_opentelemetry_are_shown_where_it_is_on(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="needs the extra [otel]")
    with agent_process(tmp_path, TRACED) as process:
        url = process.url
        answer = invoke(url)
        told = spans(url, answer)
        again = spans(url, invoke(url))
        run = get(url, f"/console/spans?run={answer.headers['x-ppio-invocation-id']}").json
        process.terminate()
        assert process.wait() == 0
    assert run["source"] == "opentelemetry"
    root, *parts = told
    by_name = {part["name"]: part for part in parts}
    assert (root["parent_id"], root["kind"]) == (None, "server")
    assert root["attributes"]["ppio.outcome"] == "success"
    assert by_name.keys() == {"outer", "in thread", "failing"}
    assert by_name["outer"]["parent_id"] == root["id"]
    assert by_name["in thread"]["parent_id"] == by_name["failing"]["parent_id"] == by_name["outer"]["id"]
    assert len(by_name["in thread"]["attributes"]["long"]) < 2100
    assert (by_name["failing"]["status"], by_name["failing"]["error"]) == ("error", "KeyError")
    assert "a secret" not in json.dumps(told)
    assert {span["id"] for span in again}.isdisjoint(span["id"] for span in told)
