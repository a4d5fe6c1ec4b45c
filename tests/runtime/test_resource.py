"""`/invocations/{id}`: looked at, read on from, cancelled, whatever kind of handler it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from ppio_agent_models import InvocationResource
from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.durable import (
    ASYNC,
    body_of,
    cancel,
    chunks,
    events,
    finished,
    in_state,
    numbers,
    resource,
    submit,
)
from tests.support.gated import app_of
from tests.support.gates import Gate, aside, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, settle

pytestmark = pytest.mark.contract

all_kinds = pytest.mark.parametrize("kind", ["async", "sync", "async generator", "sync generator"])
isolated_too = pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])


@all_kinds
@isolated_too
def test_respond_async_is_202_and_the_result_is_found_there_later(kind: str, isolated: bool) -> None:
    gate = Gate()
    app = app_of(kind, gate, AgentConfig(isolate_handlers=isolated))
    with opening(gate), running(app) as url:
        path = submit(url, headers={"X-PPIO-Session-Id": "s"})
        seen = resource(url, path)
        assert (seen["state"], seen["response"], seen["finished_at"]) == ("running", None, None)
        gate.open()
        done = finished(url, path)
    assert done["state"] == "succeeded"
    assert done["response"]["result"] == "ab"
    assert done["response"]["metadata"]["session_id"] == "s"
    assert datetime.fromisoformat(done["created_at"]) <= datetime.fromisoformat(done["finished_at"])
    InvocationResource.model_validate(done)


@all_kinds
@isolated_too
def test_events_of_a_submitted_invocation_can_be_followed_live_and_again(kind: str, isolated: bool) -> None:
    gate = Gate()
    app = app_of(kind, gate, AgentConfig(isolate_handlers=isolated))
    with opening(gate), running(app) as url:
        path = submit(url)
        in_state(url, path, "running")
        with Connection(url) as live:
            live.send(f"GET {path}/events HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            assert live.read_head()[0] == 200 if "generator" in kind else True
            gate.open()
            if "generator" not in kind:
                live.read_head()
            seen = list(live.events())
        again = events(url, path).events
    assert seen == again
    assert "".join(chunks(seen)) == "ab"
    assert numbers(seen) == list(range(1, len(seen) + 1))
    assert seen[-1].kind == "done"


def test_last_event_id_goes_on_behind_it() -> None:
    gate = Gate()
    gate.open()
    with running(app_of("async generator", gate)) as url:
        path = submit(url)
        finished(url, path)
        everything = events(url, path).events
        for after in range(len(everything) + 1):
            assert events(url, path, after).events == everything[after:]


def test_evicted_position_is_410_and_names_the_first_event_that_is_held() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=4096))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        for number in range(3000):
            yield f"{number} {'x' * 50}"

    with running(app) as url:
        path = submit(url)
        done = finished(url, path)
        answer = events(url, path, 1)
        sentence = refusal(answer, 410, "EventsEvictedError")
        first = answer.json["metadata"]["first_event_id"]
        rest = events(url, path, first - 1).events
    assert f"the first that is kept is {first}" in sentence
    assert done["state"] == "succeeded"
    assert (done["response"]["result"], done["first_event_id"]) == (None, first)
    assert numbers(rest) == list(range(first, 3002))


def test_submitted_stream_that_nobody_reads_is_not_held_up_by_a_full_log_nor_by_polling() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=4096, timeout=1, background_timeout=600))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        for _ in range(5000):
            yield "x" * 100

    with running(app) as url:
        assert finished(url, submit(url))["state"] == "succeeded"


def test_stream_longer_than_its_log_is_still_collected_for_a_caller_who_waits_for_json() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=4096))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[int]:
        for number in range(20_000):
            yield number

    with running(app) as url:
        answer = invoke(url, headers=PROTOCOL_1 | {"Accept": "application/json"})
    assert answer.result == list(range(20_000))


def test_wait_returns_at_the_limit_when_the_invocation_goes_on() -> None:
    gate = Gate()
    with opening(gate), running(app_of("async", gate)) as url:
        path = submit(url)
        assert resource(url, path, wait=0.05)["state"] == "running"
        gate.open()
        assert finished(url, path)["state"] == "succeeded"


@all_kinds
def test_delete_cancels_a_running_invocation_and_every_waiting_caller_is_told(kind: str) -> None:
    gate, key = Gate(), {"Idempotency-Key": "k"}
    app = app_of(kind, gate)
    with opening(gate), running(app) as url, Connection(url) as first, Connection(url) as second:
        path = submit(url, headers=key)
        for caller in (first, second):
            caller.post(headers=key | {"Accept": "application/json"})
        settle(url)
        answer = cancel(url, path)
        assert (answer.status, answer.json["invocation_id"]) == (202, path.rpartition("/")[2])
        for told in (first.read_answer(), second.read_answer()):
            assert (told.status, told.json["error_type"]) == (409, "InvocationCancelledError")
        assert finished(url, path)["state"] == "cancelled"
        again = cancel(url, path)
        gate.open()
    assert (again.status, again.json["state"]) == (200, "cancelled")


def test_cancelled_stream_ends_with_an_error_event() -> None:
    gate = Gate()
    with opening(gate), running(app_of("async generator", gate)) as url, Connection(url) as connection:
        connection.post(headers=PROTOCOL_1)
        _, headers = connection.read_head()
        found = connection.events()
        assert next(found).data == "a"
        cancel(url, f"/invocations/{headers['x-ppio-invocation-id']}")
        (error,) = found
    assert (error.kind, error.event_id, error.data["error_type"]) == ("error", 2, "InvocationCancelledError")


def test_delete_of_a_finished_invocation_is_200_and_changes_nothing() -> None:
    gate = Gate()
    gate.open()
    with running(app_of("async", gate)) as url:
        path = submit(url)
        before = finished(url, path)
        answer = cancel(url, path)
        assert (answer.status, answer.json) == (200, before)
        assert resource(url, path) == before


def test_invocation_that_was_not_asked_for_durably_can_be_seen_and_cancelled_while_it_runs() -> None:
    gate, seen = Gate(), Gate("seen")
    app = PPIOAgentRuntimeApp()
    paths: list[str] = []

    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> None:
        paths.append(f"/invocations/{context.invocation_id}")
        seen.open()
        await gate.passed()

    with opening(gate), running(app) as url:
        waiting = aside(lambda: invoke(url))
        seen.wait()
        assert resource(url, paths[0])["state"] == "running"
        answer = cancel(url, paths[0])
        assert (answer.status, answer.json["state"]) == (202, "running")
        refusal(waiting.result(), 409, "InvocationCancelledError")
        refusal(call(url, paths[0], method="GET"), 404, "NotFoundError")


@pytest.mark.parametrize("headers", [PROTOCOL_1 | EVENT_STREAM, {}], ids=["protocol 1", "plain"])
def test_queued_invocation_is_seen_as_queued_and_can_be_cancelled(headers: dict[str, str]) -> None:
    gate, key = Gate(), {"Idempotency-Key": "k"}
    app = app_of("async", gate, AgentConfig(max_concurrency=1, when_busy="queue"))
    with opening(gate), running(app) as url, Connection(url) as second:
        first = submit(url)
        in_state(url, first, "running")
        second.post(headers=headers | key)
        path = submit(url, headers=key)
        seen = resource(url, path)
        assert (seen["state"], seen["started_at"]) == ("queued", None)
        assert cancel(url, path).status == 202
        told = second.read_answer()
        assert (told.status, told.json["error_type"]) == (409, "InvocationCancelledError")
        assert finished(url, path)["state"] == "cancelled"
        gate.open()
        assert finished(url, first)["response"]["result"] == "ab"


@pytest.mark.parametrize(
    ("config", "status", "error_type"),
    [
        (AgentConfig(max_concurrency=1), 503, "UnavailableError"),
        (AgentConfig(max_concurrency_per_session=1), 409, "SessionBusyError"),
    ],
)
def test_refusal_at_the_door_is_told_with_its_status_even_to_respond_async(
    config: AgentConfig, status: int, error_type: str
) -> None:
    gate = Gate()
    app = app_of("async", gate, config)
    session = {"X-PPIO-Session-Id": "s"}
    with opening(gate), running(app) as url:
        submit(url, headers=session)
        answer = invoke(url, headers=ASYNC | session)
        refusal(answer, status, error_type)
        refusal(call(url, f"/invocations/{answer.headers['x-ppio-invocation-id']}", method="GET"), 404, "NotFoundError")
        gate.open()


def test_drain_stops_submitted_work_and_tells_everybody() -> None:
    gate = Gate()
    app = app_of("async", gate, AgentConfig(shutdown_grace_seconds=0))
    with opening(gate):
        with running(app) as url:
            path = submit(url)
            in_state(url, path, "running")
            waiting, following, polling = Connection(url), Connection(url), Connection(url)
            waiting.post(headers=PROTOCOL_1)
            following.send(f"GET {path}/events HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            polling.send(f"GET {path}?wait=60 HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
            settle(url)
        with waiting, following, polling:
            refusal(waiting.read_answer(), 503, "DrainingError")
            assert following.read_answer().events[-1].data["error_type"] == "DrainingError"
            seen = polling.read_answer().json
            assert (seen["state"], seen["response"]["error_type"]) == ("failed", "DrainingError")


def test_failure_of_the_agent_is_failed_with_its_envelope() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None:
        if payload.get("own"):
            raise AgentError("no such order", status_code=404, error_type="OrderNotFound")
        raise ValueError("secret")

    with running(app) as url:
        own = finished(url, submit(url, {"own": True}))
        other = finished(url, submit(url))
    assert (own["state"], own["response"]["error"], own["response"]["error_type"]) == (
        "failed",
        "no such order",
        "OrderNotFound",
    )
    assert (other["state"], other["response"]["error_type"]) == ("failed", "HandlerError")
    assert "secret" not in json.dumps(other)


def test_background_timeout_is_the_limit_of_submitted_work_and_a_request_may_shorten_it() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=0.05, background_timeout=600))

    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> float:
        if "forever" in payload:
            await asyncio.Future()
        return context.remaining()

    with running(app) as url:
        assert finished(url, submit(url))["response"]["result"] > 60
        short = finished(url, submit(url, {"forever": 1}, {"X-PPIO-Timeout": "0.05"}))
    assert (short["state"], short["response"]["error_type"]) == ("failed", "InvocationTimeoutError")


def test_handler_that_refuses_to_end_is_failed_while_its_thread_still_works() -> None:
    gate = Gate()
    app = app_of("sync", gate, AgentConfig(background_timeout=0.05))
    with opening(gate), running(app) as url:
        done = finished(url, submit(url))
        assert not gate.is_open
        gate.open()
    assert (done["state"], done["response"]["error_type"]) == ("failed", "InvocationTimeoutError")


def test_metrics_show_what_is_held() -> None:
    gate = Gate()
    gate.open()
    with running(app_of("async generator", gate)) as url:
        for _ in range(3):
            finished(url, submit(url))
        text = get(url, "/metrics").body.decode()
    assert "ppio_agent_invocations_held 3.0" in text
    (line,) = [line for line in text.splitlines() if line.startswith("ppio_agent_event_log_bytes ")]
    assert 0 < float(line.split()[1]) < 100_000
    assert 'ppio_agent_invocations_total{mode="stream",outcome="success"} 3.0' in text
    assert "ppio_agent_chunks_total 6.0" in text


def test_answer_to_respond_async_with_another_body_type_is_refused_before_it_begins() -> None:
    gate = Gate()
    with running(app_of("async", gate)) as url:
        refusal(call(url, body=b"[1]", headers=ASYNC), 422, "PayloadValidationError")
        refusal(call(url, body=body_of({})[:1], headers=ASYNC), 400, "BadRequestError")
