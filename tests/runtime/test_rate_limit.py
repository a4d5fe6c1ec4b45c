from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_models import ConfigurationError
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit, RateLimiter, RequestContext
from ppio_agent_runtime.limits.rate_limit import MAX_KEYS, RateLimitCounter, SlidingWindows
from ppio_agent_runtime.testing import running
from tests.runtime.wire import Answer, address, post, request


def limited(rate_limit: RateLimit | None, **config: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(rate_limit=rate_limit, **config))

    @app.entrypoint
    def echo(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    return app


@pytest.mark.contract
@pytest.mark.parametrize("isolated", [False, True])
def test_one_request_too_many_gets_429_and_everybody_is_told_what_is_left(isolated: bool) -> None:
    with running(limited(RateLimit(2, 3600), isolate_handlers=isolated)) as url:
        answers = [post(url) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    for answer, left in zip(answers, (1, 0, 0), strict=True):
        assert answer.headers["ratelimit-policy"] == '"client";q=2;w=3600'
        name, remaining, reset = answer.headers["ratelimit"].split(";")
        assert (name, remaining) == ('"client"', f"r={left}")
        assert 0 < int(reset.removeprefix("t=")) <= 3600
    refused = answers[2]
    assert refused.json["error_type"] == "RateLimitedError"
    assert refused.json["status"] == "error"
    assert "2 in 3600 s" in refused.json["error"]
    assert int(refused.headers["retry-after"]) == int(refused.headers["ratelimit"].rpartition("t=")[2])


@pytest.mark.contract
def test_a_stream_and_a_failure_carry_the_fields_too() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(rate_limit=RateLimit(10, 3600)))

    @app.entrypoint
    def agent(payload: dict[str, Any]) -> str:
        if payload.get("fail"):
            raise ValueError
        return "done"

    with running(app) as url:
        assert post(url, Accept="text/event-stream").headers["ratelimit"].startswith('"client";r=9')
        assert post(url, {"fail": True}).headers["ratelimit"].startswith('"client";r=8')


@pytest.mark.contract
def test_browsers_may_read_the_fields() -> None:
    with running(limited(RateLimit(10, 3600))) as url:
        exposed = post(url, Origin="https://page.example").headers["access-control-expose-headers"]
    assert {"ratelimit", "ratelimit-policy", "retry-after"} <= set(exposed.split(", "))


@pytest.mark.contract
def test_rate_limiter_and_rate_limit_are_one_class_that_shows_its_fields_and_may_be_the_setting() -> None:
    assert RateLimiter is RateLimit
    limiter = RateLimiter(max_requests=1, window_seconds=3600)
    assert (limiter.max_requests, limiter.window_seconds, limiter.key) == (1, 3600, "client")
    assert AgentConfig(rate_limit=limiter).rate_limit is limiter
    with running(limited(limiter)) as url:
        assert [post(url).status for _ in range(2)] == [200, 429]


@pytest.mark.contract
def test_without_a_limit_there_are_no_fields() -> None:
    with running(limited(None)) as url:
        assert not [name for name in post(url).headers if name.startswith("ratelimit")]


@pytest.mark.contract
def test_sessions_are_counted_apart_and_requests_without_one_by_address() -> None:
    with running(limited(RateLimit(1, 3600, key="session"))) as url:
        assert [post(url, session=name).status for name in ("s", "t", "s", "%C3%A9")] == [200, 200, 429, 200]
        assert [post(url).status for _ in range(2)] == [200, 429]
        assert post(url, {"session_id": "u"}).status == 200
        assert post(url, {"session_id": "u"}).status == 429


@pytest.mark.contract
def test_credentials_are_counted_apart() -> None:
    with running(limited(RateLimit(1, 3600, key="api_key"))) as url:
        statuses = [post(url, Authorization=f"Bearer {key}").status for key in ("one", "two", "one")]
        assert statuses == [200, 200, 429]
        assert [post(url, X_API_KEY="three").status for _ in range(2)] == [200, 429]
        assert [post(url).status for _ in range(2)] == [200, 429]


@pytest.mark.contract
def test_ping_is_never_limited() -> None:
    with running(limited(RateLimit(1, 3600))) as url:
        assert post(url).status == 200
        assert post(url).status == 429
        assert [request(url, "GET", "/ping").status for _ in range(3)] == [200] * 3


@pytest.mark.contract
def test_a_refused_request_leaves_its_connection_usable() -> None:
    with running(limited(RateLimit(1, 3600))) as url, closing(HTTPConnection(*address(url))) as connection:
        statuses = []
        for _ in range(3):
            connection.request("POST", "/invocations", b"{}")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
    assert statuses == [200, 429, 429]


def forwarded_as(url: str, *chain: str) -> Answer:
    return post(url, X_Forwarded_For=", ".join(chain))


@pytest.mark.contract
def test_a_forwarded_address_counts_only_for_listed_peers() -> None:
    with running(limited(RateLimit(1, 3600))) as url:
        assert [forwarded_as(url, name).status for name in ("192.0.2.1", "192.0.2.2")] == [200, 429]
    with running(limited(RateLimit(1, 3600), forwarded_allow_ips=["127.0.0.0/8", "10.0.0.1"])) as url:
        assert forwarded_as(url, "192.0.2.1").status == 200
        assert forwarded_as(url, "192.0.2.2").status == 200
        assert forwarded_as(url, "192.0.2.1").status == 429
        # What a caller writes in front of its own address changes nothing.
        assert forwarded_as(url, "203.0.113.9", "192.0.2.1").status == 429
        assert forwarded_as(url, "192.0.2.1", "10.0.0.1").status == 429


def test_any_peer_can_be_trusted() -> None:
    with running(limited(RateLimit(1, 3600), forwarded_allow_ips=["*"])) as url:
        assert forwarded_as(url, "198.51.100.7", "192.0.2.1").status == 200
        assert forwarded_as(url, "198.51.100.7", "192.0.2.2").status == 429
        assert forwarded_as(url, "198.51.100.8", "192.0.2.1").status == 200


@given(st.text(max_size=256))
def test_keys_are_short_and_hold_nothing_that_was_sent(text: str) -> None:
    context = RequestContext(session_id=text or None, raw_headers=[(b"authorization", b"Bearer secret-token")])
    assert len(RateLimitCounter(RateLimit(key="session")).key_of(context, "192.0.2.1")) < 64
    assert "secret" not in RateLimitCounter(RateLimit(key="api_key")).key_of(context, "192.0.2.1")


async def test_a_hundred_thousand_keys_take_bounded_memory() -> None:
    limiter = RateLimitCounter(RateLimit(5, 3600))
    windows = limiter._windows
    for number in range(100_000):
        assert (await limiter.hit(f"client:{number}")).allowed
        assert len(windows) <= MAX_KEYS
    assert len(windows) == MAX_KEYS


async def test_whoever_keeps_coming_is_not_forgotten_for_newcomers() -> None:
    limiter = RateLimitCounter(RateLimit(1, 3600))
    assert (await limiter.hit("client:regular")).allowed
    for number in range(2 * MAX_KEYS):
        await limiter.hit(f"client:{number}")
        if number % 1000 == 0:
            assert not (await limiter.hit("client:regular")).allowed


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter_by(clock: Clock, max_requests: int, window_seconds: int) -> tuple[RateLimitCounter, SlidingWindows]:
    limiter = RateLimitCounter(RateLimit(max_requests, window_seconds))
    limiter._windows = SlidingWindows(max_requests, window_seconds, clock=clock)
    return limiter, limiter._windows


async def allowed(limiter: RateLimitCounter, key: str, times: int) -> int:
    return [(await limiter.hit(key)).allowed for _ in range(times)].count(True)


async def test_a_window_slides_where_a_fixed_one_would_let_twice_as_many_in() -> None:
    clock = Clock()
    limiter, _ = limiter_by(clock, 4, 60)
    clock.now += 59
    assert await allowed(limiter, "k", 5) == 4
    clock.now += 60 - 1  # just before the window of the first request turns
    assert await allowed(limiter, "k", 5) == 0
    clock.now += 1 + 30  # half of the next one
    assert await allowed(limiter, "k", 5) == 2
    clock.now += 120
    assert await allowed(limiter, "k", 5) == 4


async def test_keys_that_are_over_go_when_others_come() -> None:
    clock = Clock()
    limiter, windows = limiter_by(clock, 4, 60)
    for number in range(100):
        await limiter.hit(f"old {number}")
    clock.now += 120
    for number in range(50):
        await limiter.hit(f"new {number}")
    assert len(windows) == 50


@given(st.integers(1, 50), st.integers(1, 3600), st.lists(st.floats(0, 4000), min_size=1, max_size=8))
async def test_whoever_waits_as_told_is_let_in(max_requests: int, window: int, pauses: list[float]) -> None:
    clock = Clock()
    limiter, _ = limiter_by(clock, max_requests, window)
    for pause in pauses:
        clock.now += pause
        await allowed(limiter, "k", max_requests)
        state = await limiter.hit("k")
        assert not state.allowed
        assert 0 <= state.remaining <= max_requests
        error = limiter.refusal(state)
        assert error.retry_after is not None
        assert error.retry_after >= max(1, state.reset_after)
        clock.now += state.reset_after + 0.001
        assert (await limiter.hit("k")).allowed


@pytest.mark.contract
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("100/60", RateLimit(100, 60)),
        (" 5 / 1 ", RateLimit(5, 1)),
        ('{"max_requests": 7}', RateLimit(7)),
        (
            '{"max_requests": 7, "window_seconds": 2, "key": "session", "on_storage_failure": "closed"}',
            RateLimit(7, 2, key="session", on_storage_failure="closed"),
        ),
    ],
)
def test_a_limit_can_be_written_into_the_environment(
    written: str, expected: RateLimit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPIO_AGENT_RATE_LIMIT", written)
    assert AgentConfig().rate_limit == expected


@pytest.mark.contract
@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("", "must be a RateLimit"),
        ("100", "must be a RateLimit"),
        ("0/60", "max_requests"),
        ("5/0", "window_seconds"),
        ('{"max_request": 7}', "Did you mean 'max_requests'"),
        ('{"max_requests": "many"}', "max_requests must be a whole number"),
        ('{"key": "caller"}', "key must be one of 'client'"),
        ('{"storage_uri": "mongodb://host"}', "storage_uri must begin with one of memory://"),
        ("[" * 100_000, "must be a RateLimit"),
    ],
)
def test_a_wrong_limit_fails_at_start_and_is_named(written: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_RATE_LIMIT", written)
    with pytest.raises(ConfigurationError, match=named) as caught:
        AgentConfig()
    assert "PPIO_AGENT_RATE_LIMIT" in str(caught.value)


@pytest.mark.contract
def test_a_password_in_the_storage_address_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "redis://user:hunter2@redis.example:6379/3?ssl_password=hunter2"
    limit = RateLimit(storage_uri=uri)
    assert "hunter2" not in repr(limit) + limit.place
    assert "redis.example:6379/3" in repr(limit)
    monkeypatch.setenv("PPIO_AGENT_RATE_LIMIT", json.dumps({"storage_uri": uri, "max_requests": "hunter2"}))
    with pytest.raises(ConfigurationError) as caught:
        AgentConfig()
    assert "hunter2" not in str(caught.value)


@pytest.mark.contract
@pytest.mark.parametrize("entry", ["localhost", "10.0.0.0/99", ""])
def test_a_wrong_proxy_address_fails_at_start(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="forwarded_allow_ips"):
        PPIOAgentRuntimeApp(AgentConfig(forwarded_allow_ips=[entry]))


@pytest.mark.contract
def test_lists_are_separated_by_commas_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    for written in ("10.0.0.1, 10.1.0.0/16", '["10.0.0.1", "10.1.0.0/16"]'):
        monkeypatch.setenv("PPIO_AGENT_FORWARDED_ALLOW_IPS", written)
        assert AgentConfig().forwarded_allow_ips == ["10.0.0.1", "10.1.0.0/16"]


@pytest.mark.contract
def test_an_agent_without_a_shared_limit_never_imports_the_library() -> None:
    program = """
import sys, threading
from http.client import HTTPConnection
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit
from ppio_agent_runtime.testing import running

app = PPIOAgentRuntimeApp(AgentConfig(max_concurrency=5, rate_limit=RateLimit()))
app.entrypoint(lambda payload: payload)
with running(app) as url:
    connection = HTTPConnection(url.removeprefix("http://"))
    connection.request("POST", "/invocations", b"{}")
    assert connection.getresponse().status == 200
    connection.close()
loaded = {"limits", "redis", "deprecated", "wrapt"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
