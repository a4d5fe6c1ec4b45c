"""`context.progress` is told to callers of durable invocations, in its place among the chunks, and to nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.durable import events, finished, submit
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, invoke

pytestmark = pytest.mark.contract

isolated_too = pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
MANY = 2000


def reporting(  # noqa: C901  # one handler of each kind
    kind: str, config: AgentConfig | None = None
) -> PPIOAgentRuntimeApp:
    """An agent that reports what it is going to yield before it yields it, from wherever its kind does."""
    app = PPIOAgentRuntimeApp(config)
    if kind == "async":

        @app.entrypoint
        async def value(payload: dict[str, Any], context: RequestContext) -> str:
            context.progress({"step": 0})
            await asyncio.to_thread(context.progress, {"step": 1})
            return "done"

    elif kind == "sync":

        @app.entrypoint
        def value_in_a_thread(payload: dict[str, Any], context: RequestContext) -> str:
            context.progress({"step": 0})
            helper = threading.Thread(target=context.progress, args=({"step": 1},))
            helper.start()
            helper.join()
            return "done"

    elif kind == "async generator":

        @app.entrypoint
        async def stream(payload: dict[str, Any], context: RequestContext) -> AsyncIterator[int]:
            for number in range(MANY):
                if number % 100:
                    context.progress(number)
                else:
                    await asyncio.to_thread(context.progress, number)
                yield number

    else:

        @app.entrypoint
        def stream_in_a_thread(payload: dict[str, Any], context: RequestContext) -> Iterator[int]:
            for number in range(MANY):
                if number % 3:
                    context.progress(number)
                else:
                    helper = threading.Thread(target=context.progress, args=(number,))
                    helper.start()
                    helper.join()
                yield number

    return app


@isolated_too
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_value_handler_reports_before_its_result(kind: str, isolated: bool) -> None:
    with running(reporting(kind, AgentConfig(isolate_handlers=isolated))) as url:
        found = invoke(url, headers=PROTOCOL_1 | EVENT_STREAM).events
    assert [(event.kind, event.data) for event in found[:-1]] == [
        ("progress", {"step": 0}),
        ("progress", {"step": 1}),
        ("chunk", "done"),
    ]
    assert [event.event_id for event in found] == [1, 2, 3, 4]


@isolated_too
@pytest.mark.parametrize("kind", ["async generator", "sync generator"])
def test_each_report_keeps_its_place_among_the_chunks(kind: str, isolated: bool) -> None:
    with running(reporting(kind, AgentConfig(isolate_handlers=isolated))) as url:
        found = invoke(url, headers=PROTOCOL_1).events
    said = [(event.kind, event.data) for event in found[:-1]]
    assert said == [(kind, number) for number in range(MANY) for kind in ("progress", "chunk")]
    assert [event.event_id for event in found] == list(range(1, 2 * MANY + 2))


@pytest.mark.parametrize("kind", ["async", "sync", "async generator", "sync generator"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["plain", "plain with key"])
def test_callers_without_the_protocol_are_not_told(kind: str, headers: dict[str, str]) -> None:
    with running(reporting(kind)) as url:
        body = invoke(url, headers=headers | EVENT_STREAM).body
        value = invoke(url, headers=headers | {"Accept": "application/json"}).result
    expected = list(range(MANY)) if "generator" in kind else ["done"]
    assert [event for event in body.split(b"\n\n") if event.startswith(b"data: ")] == [
        f"data: {number}".encode() if isinstance(number, int) else b'data: "done"' for number in expected
    ]
    assert b"progress" not in body
    assert value == (expected if "generator" in kind else "done")


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_reports_can_be_read_again_from_the_log(kind: str) -> None:
    with running(reporting(kind)) as url:
        path = submit(url)
        assert finished(url, path)["last_event_id"] == 4
        assert [event.kind for event in events(url, path).events] == ["progress", "progress", "chunk", "done"]


def test_early_failure_after_a_report_is_an_http_status_for_callers_who_were_not_told_of_it() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> AsyncIterator[str]:
        context.progress("on my way")
        await asyncio.sleep(0.05)
        raise AgentError("no", status_code=418, error_type="Teapot")
        yield ""

    with running(app) as url:
        refusal(invoke(url, headers={"Idempotency-Key": "k"}), 418, "Teapot")
        found = invoke(url, headers=PROTOCOL_1).events
    assert [event.kind for event in found] == ["progress", "error"]


def test_report_that_cannot_be_json_is_an_error_at_its_call() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> None:
        context.progress(object())

    with running(app) as url:
        refusal(invoke(url, headers=PROTOCOL_1), 500, "SerializationError")


@pytest.mark.slow
def test_value_handler_that_reports_without_end_stays_within_its_log() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=64 * 1024))

    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> str:
        for number in range(50_000):
            context.progress(number)
        return "done"

    with running(app) as url:
        found = invoke(url, headers=PROTOCOL_1 | EVENT_STREAM).events
        assert invoke(url, headers=PROTOCOL_1).result == "done"
    assert [event.event_id for event in found] == list(range(1, len(found) + 1))
    assert len(found) < 2000
    assert found[-2].data == "done"
