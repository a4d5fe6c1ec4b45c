from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from ppio_agent_models import ConfigurationError
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit, RequestContext
from ppio_agent_runtime.testing import running
from tests.runtime.turns import Turns, each_kind, on_both_loops
from tests.runtime.wire import (
    connect,
    in_background,
    post,
    request,
    send_post,
    serving,
    until,
)

pytestmark = pytest.mark.contract


@each_kind
@on_both_loops
def test_a_full_process_refuses_with_503(kind: str, isolated: bool) -> None:
    turns = Turns(max_concurrency=1, isolate_handlers=isolated)
    turns.app.entrypoint(getattr(turns, kind))
    with running(turns.app) as url:
        first = in_background(post, url, {"name": "a"})
        until(lambda: turns.began)
        refused = post(url, {"name": "b"})
        turns.open("a")
        assert first.result().json["result"] == "a"
        assert (refused.status, refused.json["error_type"]) == (503, "UnavailableError")
        assert refused.headers["retry-after"] == "1"
        turns.open("b")
        assert post(url, {"name": "b"}).status == 200


@each_kind
def test_a_busy_session_refuses_with_409_and_leaves_others_alone(kind: str) -> None:
    turns = Turns(max_concurrency_per_session=1)
    turns.app.entrypoint(getattr(turns, kind))
    turns.open("other", "none")
    with running(turns.app) as url:
        first = in_background(post, url, {"name": "a"}, session="s")
        until(lambda: turns.began)
        refused = post(url, {"name": "b"}, session="s")
        assert (refused.status, refused.json["error_type"]) == (409, "SessionBusyError")
        assert refused.headers["retry-after"] == "1"
        assert post(url, {"name": "other"}, session="t").status == 200
        assert post(url, {"name": "none"}).status == 200
        turns.open("a")
        assert first.result().status == 200


@on_both_loops
@pytest.mark.parametrize("handler", ["def", "async def", "generator"])
def test_twenty_parallel_turns_of_one_session_make_a_linear_history(handler: str, isolated: bool) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(max_concurrency_per_session=1, when_busy="queue", isolate_handlers=isolated))
    histories: dict[str, list[int]] = {"s": [], "t": []}

    def plain(payload: dict[str, Any], context: RequestContext) -> int:
        assert context.session_id is not None
        history = histories[context.session_id]
        seen = len(history)
        threading.Event().wait(0.001)  # gives another turn every chance to come in between
        history.append(seen)
        return seen

    async def coroutine(payload: dict[str, Any], context: RequestContext) -> int:
        assert context.session_id is not None
        history = histories[context.session_id]
        seen = len(history)
        await asyncio.sleep(0.001)
        history.append(seen)
        return seen

    async def generator(payload: dict[str, Any], context: RequestContext) -> AsyncIterator[int]:
        yield await coroutine(payload, context)

    app.entrypoint({"def": plain, "async def": coroutine, "generator": generator}[handler])
    with running(app) as url:
        calls = [in_background(post, url, {}, session=session) for session in ("s", "t") for _ in range(20)]
        assert {call.result().status for call in calls} == {200}
    assert histories == {"s": list(range(20)), "t": list(range(20))}


@each_kind
def test_those_who_wait_run_in_the_order_in_which_they_came(kind: str) -> None:
    turns = Turns(max_concurrency=1, when_busy="queue")
    turns.app.entrypoint(getattr(turns, kind))
    with running(turns.app) as url:
        calls = []
        for waiting, name in enumerate("abcde"):
            calls.append(in_background(post, url, {"name": name}))
            until(partial(turns.wait, url, waiting))
        turns.open(*"abcde")
        assert [call.result().json["result"] for call in calls] == list("abcde")
    assert turns.began == list("abcde")


def test_a_busy_session_at_the_head_of_the_queue_does_not_hold_up_the_others() -> None:
    turns = Turns(max_concurrency=2, max_concurrency_per_session=1, when_busy="queue")
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        calls = [in_background(post, url, {"name": "s1"}, session="s")]
        until(lambda: turns.began == ["s1"])
        calls.append(in_background(post, url, {"name": "t1"}, session="t"))
        until(lambda: turns.began == ["s1", "t1"])
        for count, (name, session) in enumerate([("s2", "s"), ("u1", "u")], 1):
            calls.append(in_background(post, url, {"name": name}, session=session))
            until(partial(turns.wait, url, count))
        turns.open("t1")
        until(lambda: "u1" in turns.began)
        turns.open("s1", "s2", "u1")
        assert [call.result().status for call in calls] == [200] * 4
    assert turns.began == ["s1", "t1", "u1", "s2"]


def test_a_full_queue_refuses_with_503() -> None:
    turns = Turns(max_concurrency=1, when_busy="queue", max_queue=1)
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        calls = [in_background(post, url, {"name": "a"})]
        until(lambda: turns.began)
        calls.append(in_background(post, url, {"name": "b"}))
        until(lambda: turns.wait(url, 1))
        refused = post(url, {"name": "c"})
        assert (refused.status, refused.json["error_type"]) == (503, "UnavailableError")
        assert "max_queue" in refused.json["error"]
        turns.open("a", "b")
        assert [call.result().status for call in calls] == [200, 200]


@on_both_loops
def test_time_in_the_queue_counts_against_the_timeout(isolated: bool) -> None:
    turns = Turns(max_concurrency=1, when_busy="queue", isolate_handlers=isolated)
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        first = in_background(post, url, {"name": "a"})
        until(lambda: turns.began)
        late = post(url, {"name": "b"}, X_PPIO_Timeout="0.2")
        assert (late.status, late.json["error_type"]) == (504, "InvocationTimeoutError")
        assert turns.wait(url, 0)
        turns.open("a")
        assert first.result().status == 200
    assert turns.began == ["a"]


def test_whoever_hangs_up_leaves_the_queue() -> None:
    turns = Turns(max_concurrency=1, when_busy="queue")
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        first = in_background(post, url, {"name": "a"})
        until(lambda: turns.began)
        with connect(url) as gone:
            send_post(gone, {"name": "b"})
            until(lambda: turns.wait(url, 1))
        until(lambda: turns.wait(url, 0))
        turns.open("a")
        assert first.result().status == 200
    assert turns.began == ["a"]


@on_both_loops
def test_a_drain_refuses_those_who_wait_and_lets_the_running_finish(isolated: bool) -> None:
    turns = Turns(max_concurrency=1, when_busy="queue", isolate_handlers=isolated)
    turns.app.entrypoint(turns.coroutine)
    with serving(turns.app) as (url, server):
        first = in_background(post, url, {"name": "a"})
        until(lambda: turns.began)
        waiting = [in_background(post, url, {"name": name}) for name in "bc"]
        until(lambda: turns.wait(url, 2))
        server.stop()
        for answer in [call.result() for call in waiting]:
            assert (answer.status, answer.json["error_type"]) == (503, "DrainingError")
            assert answer.headers["retry-after"]
        turns.open("a")
        assert first.result().status == 200
    assert turns.began == ["a"]


@on_both_loops
@pytest.mark.parametrize("when_busy", ["reject", "queue", "interrupt"])
def test_an_agent_that_calls_itself_shares_the_place_and_counts_once(when_busy: str, isolated: bool) -> None:
    limits: dict[str, Any] = {"max_concurrency": 1, "max_concurrency_per_session": 1, "when_busy": when_busy}
    app = PPIOAgentRuntimeApp(AgentConfig(**limits, rate_limit=RateLimit(2, 3600), isolate_handlers=isolated))

    @app.entrypoint
    async def agent(payload: dict[str, Any], context: RequestContext) -> int:
        depth = payload.get("depth", 0)
        return depth if depth == 3 else int(await app.invoke({"depth": depth + 1}, context))

    with running(app) as url:
        answers = [post(url, session="s") for _ in range(2)]
        assert [answer.json["result"] for answer in answers] == [3, 3]
        assert post(url, session="s").status == 429


def test_ping_and_other_routes_need_no_place() -> None:
    turns = Turns(max_concurrency=1)
    turns.app.entrypoint(turns.coroutine)
    with running(turns.app) as url:
        first = in_background(post, url, {"name": "a"})
        until(lambda: turns.began)
        assert request(url, "GET", "/ping").json["status"] == "HealthyBusy"
        assert request(url, "GET", "/").status == 200
        turns.open("a")
        assert first.result().status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_concurrency", 0), ("max_concurrency_per_session", 0), ("max_queue", -1), ("when_busy", "wait")],
)
def test_wrong_limits_fail_with_the_name_of_the_setting(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        AgentConfig(**{field: value})


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_MAX_CONCURRENCY", "3")
    monkeypatch.setenv("PPIO_AGENT_WHEN_BUSY", "queue")
    config = AgentConfig()
    assert (config.max_concurrency, config.when_busy, config.max_queue) == (3, "queue", 100)
