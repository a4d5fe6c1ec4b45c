"""A store in Redis that is away, hangs, forgets or wants another password: what is told, and that it comes back."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from ppio_agent_runtime.invocations.redis_store import RedisStore
from ppio_agent_runtime.invocations.store import StoreBounds
from tests.runtime.replicas import AGENT, INSTANCE, KEY, Replicas
from tests.support.agent_process import agent_process
from tests.support.calls import call, refusal
from tests.support.durable import chunks, events, finished, resource, submit
from tests.support.gates import aside, eventually
from tests.support.raw_http import invoke
from tests.support.redis_server import Redis, needs_redis_server, redis_server
from tests.support.stored import NothingRuns

pytestmark = [pytest.mark.contract, needs_redis_server]
pytest.importorskip("redis", reason="the extra [redis] is not installed")


@pytest.mark.slow
def test_without_redis_durable_calls_are_refused_plain_ones_go_on_and_it_comes_back_by_itself(
    replicas: Replicas, redis: Redis
) -> None:
    here = replicas.start()
    url = here.url
    before = call(url, "/ping", method="GET").headers[INSTANCE]
    redis.kill()
    refused = invoke(url, {"do": "value"}, KEY)
    assert "nothing was started" in refusal(refused, 503, "UnavailableError")
    assert "retry-after" in refused.headers
    assert invoke(url, {"do": "value"}, {"Prefer": "respond-async"}).status == 503
    assert invoke(url, {"do": "value"}).result == "value"
    ping = call(url, "/ping", method="GET")
    assert (ping.status, ping.json["status"]) == (200, "Healthy")
    assert ping.json["message"].startswith("degraded: the event store cannot be used (")
    redis.start()
    eventually(lambda: call(url, "/ping", method="GET").json["message"] is None, "it is used again")
    assert invoke(url, {"do": "value"}, KEY).result == "value"
    after = call(url, "/ping", method="GET").headers[INSTANCE]
    assert after != before  # it may have lost what had begun
    refusal(invoke(url, {"do": "value"}, KEY | {INSTANCE: before}), 412, "OtherInstanceError")
    assert replicas.runs == ["value", "value"]
    assert here.log.count("cannot be used: ") == 1
    assert here.log.count("is available again") == 1


@pytest.mark.slow
def test_agent_starts_without_redis_and_uses_it_when_it_is_there(replicas: Replicas, redis: Redis) -> None:
    redis.kill()
    here = replicas.start()
    assert invoke(here.url, {"do": "value"}).result == "value"
    refusal(invoke(here.url, {"do": "value"}, KEY), 503, "UnavailableError")
    redis.start()
    eventually(lambda: invoke(here.url, {"do": "value"}, KEY).status == 200, "it is used")


async def test_store_whose_opening_is_cancelled_leaves_nothing_behind(redis: Redis) -> None:
    """As when the agent gets SIGTERM while it starts. Whatever is left would keep the event loop from being closed."""
    store = RedisStore(redis.uri, StoreBounds(10, 600, 1 << 20), NothingRuns())
    redis.freeze()
    opening = asyncio.create_task(store.open())
    await asyncio.wait([opening], timeout=0.2)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert "agent-event-store" not in {thread.name for thread in threading.enumerate()}
    redis.thaw()
    await store.open()
    assert store.instance_id is not None
    await store.close()


@pytest.mark.slow
def test_redis_that_hangs_is_told_and_does_not_hang_plain_calls(replicas: Replicas, redis: Redis) -> None:
    here = replicas.start()
    invoke(here.url, {"do": "value"}, KEY)
    redis.freeze()
    eventually(lambda: call(here.url, "/ping", method="GET").json["message"] is not None, "it is noticed")
    assert invoke(here.url, {"do": "value"}).result == "value"
    refusal(invoke(here.url, {"do": "value"}, {"Idempotency-Key": "other"}), 503, "UnavailableError")
    redis.thaw()
    eventually(lambda: invoke(here.url, {"do": "value"}, {"Idempotency-Key": "other"}).status == 200, "it is back")


@pytest.mark.slow
def test_answer_that_could_not_be_kept_is_withheld_and_told_the_same_later(replicas: Replicas, redis: Redis) -> None:
    here = replicas.start()
    asked = aside(lambda: invoke(here.url, {"do": "wait"}, KEY))
    eventually(lambda: replicas.runs == ["wait"], "it runs")
    redis.freeze()
    replicas.say("go on")
    withheld = asked.result()
    assert "the event store could not store the result" in refusal(withheld, 500, "InvocationError")
    redis.thaw()
    eventually(lambda: call(here.url, "/ping", method="GET").json["message"] is None, "it is used again")
    assert invoke(here.url, {"do": "wait"}, KEY).status == 500
    assert replicas.runs == ["wait"]


def test_run_that_outlasts_a_restart_of_redis_is_found_by_all_at_its_end(replicas: Replicas, redis: Redis) -> None:
    here, there = replicas.start(), replicas.start()
    path = submit(here.url, {"before": 3})
    eventually(lambda: resource(there.url, path)["last_event_id"] == 3, "the store has the events")
    redis.kill()
    redis.start()
    for url in (here.url, there.url):
        eventually(lambda url=url: call(url, "/ping", method="GET").json["message"] is None, "it is used again")  # type: ignore[misc]
    replicas.say("go on")
    assert finished(here.url, path)["response"]["result"] == "012last0"
    assert chunks(events(there.url, path).events) == ["0", "1", "2", "last0"]


@pytest.mark.slow
def test_wrong_password_fails_at_start_without_telling_it(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        redis.ask("CONFIG", "SET", "requirepass", "hunter2")
        (tmp_path / "agent").mkdir()
        address = redis.uri.replace("://", "://:hunter3@")
        with agent_process(tmp_path / "agent", AGENT, PPIO_AGENT_EVENT_STORE=address) as agent:
            assert agent.wait() == 1
            assert "cannot be used" in agent.log
            assert "hunter" not in agent.log
        good = redis.uri.replace("://", "://:hunter2@")
        (tmp_path / "other").mkdir()
        with agent_process(tmp_path / "other", AGENT, PPIO_AGENT_EVENT_STORE=good) as agent:
            assert invoke(agent.url, {"do": "value"}, KEY).result == "value"
        redis.ask("AUTH hunter2\r\nCONFIG", "SET", "requirepass", '""')
