"""A stream that is cut anywhere is read on where it was, and its handler runs once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.durable import events, resource, submit
from tests.support.gated import app_of
from tests.support.gates import Count, Gate, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, invoke

pytestmark = pytest.mark.contract

CHUNKS = 12


def tasks_generator(app: PPIOAgentRuntimeApp, runs: Count) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        runs.add()
        for number in range(CHUNKS):
            yield f"{number}\n\u2028 data: "
        if payload["fails"]:
            raise AgentError("told to")


def threads_generator(app: PPIOAgentRuntimeApp, runs: Count) -> None:
    @app.entrypoint
    def handler(payload: dict[str, Any]) -> Iterator[str]:
        runs.add()
        for number in range(CHUNKS):
            yield f"{number}\n\u2028 data: "
        if payload["fails"]:
            raise AgentError("told to")


def value(app: PPIOAgentRuntimeApp, runs: Count) -> None:
    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> str:
        runs.add()
        for number in range(CHUNKS):
            context.progress(number)
        if payload["fails"]:
            raise AgentError("told to")
        return "the value"


def value_of_a_thread(app: PPIOAgentRuntimeApp, runs: Count) -> None:
    @app.entrypoint
    def handler(payload: dict[str, Any], context: RequestContext) -> str:
        runs.add()
        for number in range(CHUNKS):
            context.progress(number)
        if payload["fails"]:
            raise AgentError("told to")
        return "the value"


all_kinds = pytest.mark.parametrize("register", [tasks_generator, threads_generator, value, value_of_a_thread])
both_ends = pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])


def cut_after(url: str, payload: Any, key: str, count: int) -> str:
    """Read so many events of a stream, break the connection, and return where it is read on."""
    with Connection(url) as connection:
        connection.post(payload, PROTOCOL_1 | EVENT_STREAM | {"Idempotency-Key": key})
        _, headers = connection.read_head()
        found = connection.events()
        assert [next(found).event_id for _ in range(count)] == list(range(1, count + 1))
        connection.reset()
    return f"/invocations/{headers['x-ppio-invocation-id']}"


@all_kinds
@both_ends
def test_a_stream_that_is_cut_after_any_event_is_read_on_after_it(
    register: Callable[[PPIOAgentRuntimeApp, Count], None], fails: bool
) -> None:
    app, runs = PPIOAgentRuntimeApp(AgentConfig(resume_window_seconds=3600)), Count()
    register(app, runs)
    with running(app) as url:
        whole = invoke(url, {"fails": fails}, PROTOCOL_1 | EVENT_STREAM | {"Idempotency-Key": "whole"})
        ids = [event.event_id for event in whole.events]
        assert ids == list(range(1, len(ids) + 1))
        for position in range(len(ids)):
            path = cut_after(url, {"fails": fails}, f"cut after {position}", position)
            rest = events(url, path, position).events
            seen = [(event.kind, event.event_id, shown(event.data)) for event in rest]
            assert seen == [(event.kind, event.event_id, shown(event.data)) for event in whole.events[position:]]
    assert runs.value == len(ids) + 1


def shown(data: Any) -> Any:
    """Leave out what differs from call to call: ids and durations."""
    return (data["status"], data["error_type"]) if isinstance(data, dict) and "error_type" in data else data


@both_ends
def test_a_stream_that_is_cut_at_any_byte_is_read_on_after_its_last_whole_event(fails: bool) -> None:
    app, runs = PPIOAgentRuntimeApp(AgentConfig(resume_window_seconds=3600)), Count()
    tasks_generator(app, runs)
    with running(app) as url:
        whole = invoke(url, {"fails": fails}, PROTOCOL_1 | EVENT_STREAM | {"Idempotency-Key": "whole"})
        for cut in range(0, len(whole.body), 13):
            before = whole.body[:cut].rpartition(b"\n\n")[0]
            position = before.count(b"id: ")
            path = f"/invocations/{whole.headers['x-ppio-invocation-id']}"
            rest = events(url, path, position).body
            assert whole.body.endswith(rest)
            assert rest.count(b"id: ") + position == whole.body.count(b"id: ")
    assert runs.value == 1


@pytest.mark.parametrize("where", ["memory", "file"])
def test_who_has_every_event_hears_at_once_that_the_stream_goes_on(tmp_path: Path, where: str) -> None:
    gate = Gate()
    store: dict[str, Any] = {"event_store": f"sqlite:///{tmp_path}/events.db"} if where == "file" else {}
    app = app_of("async generator", gate, AgentConfig(heartbeat_seconds=3600, **store))
    with opening(gate), running(app) as url:
        path = submit(url)
        eventually(lambda: resource(url, path)["last_event_id"] == 1, "the first chunk")
        with Connection(url) as connection:
            connection.send(f"GET {path}/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1\r\n\r\n".encode())
            assert connection.read_head()[0] == 200  # while nothing happens, and no heartbeat is due
            gate.open()
            assert next(connection.events()).event_id == 2
