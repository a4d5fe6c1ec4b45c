from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit
from ppio_agent_runtime.limits.rate_limit import RateLimitCounter
from ppio_agent_runtime.testing import running
from tests.runtime.wire import WAIT_SECONDS, post, request, until
from tests.support.redis_server import Redis, needs_redis_server

pytestmark = [
    pytest.mark.contract,
    needs_redis_server,
]
pytest.importorskip("redis", reason="the extra [redis] is not installed")


def limited(rate_limit: RateLimit, **config: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(rate_limit=rate_limit, **config))

    @app.entrypoint
    async def echo(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    return app


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "storage" in record.getMessage()]


@pytest.mark.parametrize("isolated", [False, True])
def test_a_limit_in_redis_is_kept_and_told(redis: Redis, isolated: bool) -> None:
    with running(limited(RateLimit(2, 3600, storage_uri=redis.uri), isolate_handlers=isolated)) as url:
        answers = [post(url) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert 0 < int(answers[2].headers["retry-after"]) <= 3600


@contextmanager
def agent_process(redis: Redis, max_requests: int) -> Iterator[str]:
    program = """
import sys
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime import PPIOAgentRuntimeServer

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def echo(payload):
    return payload

server = PPIOAgentRuntimeServer(app, port=0, host="127.0.0.1")
server.bind()
print(server.port, flush=True)
sys.exit(server.run())
"""
    limit = json.dumps({"max_requests": max_requests, "window_seconds": 3600, "storage_uri": redis.uri})
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PPIO_AGENT_RATE_LIMIT": limit},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
        process.stdout.close()


@pytest.mark.slow
def test_two_processes_share_one_limit(redis: Redis) -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(agent_process(redis, 10)) for _ in range(2)]
        statuses = [post(urls[number % 2]).status for number in range(14)]
    assert statuses == [200] * 10 + [429] * 4


def test_without_redis_an_open_limit_lets_everybody_in_and_says_so_once(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), running(limited(RateLimit(3, 3600, storage_uri=redis.uri))) as url:
        assert post(url).headers["ratelimit"].startswith('"client";r=2')
        redis.kill()
        answers = [post(url) for _ in range(10)]
        assert {answer.status for answer in answers} == {200}
        assert not any("ratelimit" in answer.headers for answer in answers)
        assert len(told(caplog)) == 1
        assert "requests are not limited" in told(caplog)[0]
        redis.start()
        until(lambda: "ratelimit" in post(url).headers)
        assert len(told(caplog)) == 2
        assert "is available again" in told(caplog)[1]
        until(lambda: post(url).status == 429)
        redis.kill()
        assert post(url).status == 200
        assert len(told(caplog)) == 3


def test_without_redis_a_closed_limit_lets_nobody_in(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    limit = RateLimit(100, 3600, storage_uri=redis.uri, on_storage_failure="closed")
    with caplog.at_level(logging.INFO), running(limited(limit)) as url:
        assert post(url).status == 200
        redis.kill()
        for _ in range(5):
            refused = post(url)
            assert (refused.status, refused.json["error_type"]) == (503, "UnavailableError")
            assert refused.headers["retry-after"] == "2"
        assert request(url, "GET", "/ping").status == 200
        assert len(told(caplog)) == 1
        redis.start()
        until(lambda: post(url).status == 200)


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.slow
def test_a_redis_that_hangs_does_not_hang_the_agent(redis: Redis, isolated: bool) -> None:
    with running(limited(RateLimit(100, 3600, storage_uri=redis.uri), isolate_handlers=isolated)) as url:
        assert "ratelimit" in post(url).headers
        redis.freeze()
        assert [post(url).status for _ in range(5)] == [200] * 5
        assert request(url, "GET", "/ping").status == 200
        redis.thaw()
        until(lambda: "ratelimit" in post(url).headers)


def test_a_redis_that_was_never_there_does_not_keep_the_agent_from_starting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running(limited(RateLimit(100, 3600, storage_uri=f"redis://127.0.0.1:{port}"))) as url:
        assert post(url).status == 200


def test_redis_keeps_short_keys_that_expire_and_no_credential(redis: Redis) -> None:
    with running(limited(RateLimit(5, 3600, key="api_key", storage_uri=redis.uri))) as url:
        post(url, Authorization="Bearer secret-token")
        post(url)
    keys = [line for line in redis.ask("KEYS", "*").decode().split("\r\n") if line and line[0] not in "*$"]
    assert len(keys) == 2
    for key in keys:
        assert key.startswith("ppio-agent:")
        assert "secret" not in key
        assert 0 < int(redis.ask("TTL", key)[1:]) <= 7200


def test_connections_are_closed_when_the_service_ends(redis: Redis) -> None:
    def clients() -> int:
        return redis.ask("CLIENT", "LIST").count(b"id=")

    assert clients() == 1  # who asks
    with running(limited(RateLimit(100, 3600, storage_uri=redis.uri))) as url:
        assert post(url).status == 200
        assert clients() > 1
    until(lambda: clients() == 1)


def test_a_limiter_can_be_used_from_one_event_loop_after_another(redis: Redis) -> None:
    limiter = RateLimitCounter(RateLimit(3, 3600, storage_uri=redis.uri))

    async def use() -> bool:
        state = await limiter.hit("k")
        await limiter.close()
        assert state.known
        return state.allowed

    assert [asyncio.run(use()) for _ in range(4)] == [True, True, True, False]
