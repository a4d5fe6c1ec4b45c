"""What only a store in Redis promises to its replicas, and what is in it."""

from __future__ import annotations

import signal

import pytest

from tests.runtime.replicas import Replicas
from tests.support.calls import call
from tests.support.durable import finished, in_state, submit
from tests.support.gates import eventually
from tests.support.raw_http import invoke
from tests.support.redis_server import Redis, needs_redis_server

pytestmark = [pytest.mark.contract, needs_redis_server]
pytest.importorskip("redis", reason="the extra [redis] is not installed")


@pytest.mark.slow
def test_paused_replica_is_told_what_the_others_were_told(replicas: Replicas) -> None:
    here, there = replicas.start(), replicas.start()
    path = submit(here.url, {"before": 1})
    in_state(there.url, path, "running")
    here.process.send_signal(signal.SIGSTOP)
    assert finished(there.url, path)["response"]["error_type"] == "Interrupted"
    here.process.send_signal(signal.SIGCONT)
    replicas.say("go on")
    assert finished(here.url, path)["response"]["error_type"] == "Interrupted"
    assert finished(there.url, path)["response"]["error_type"] == "Interrupted"


@pytest.mark.slow
def test_finished_ones_expire_and_what_is_kept_is_bounded(replicas: Replicas, redis: Redis) -> None:
    bounds = {"PPIO_AGENT_EVENT_LOG_MAX_INVOCATIONS": "20", "PPIO_AGENT_EVENT_LOG_MAX_AGE_SECONDS": "5"}
    here, there = replicas.start(**bounds), replicas.start(**bounds)
    paths = [
        submit(url, {"do": "value"}, {"Idempotency-Key": f"{url}{n}"})
        for n in range(20)
        for url in (here.url, there.url)
    ]
    for path in paths:
        eventually(lambda path=path: call(here.url, path, method="GET").status in (200, 404), "found")  # type: ignore[misc]

    def keys(pattern: str) -> int:
        return sum(b"}" in line for line in redis.ask("KEYS", pattern).split(b"\r\n"))

    eventually(lambda: keys("*invocation:*") <= 20 and keys("*owned:*") == 0, "the oldest go")
    assert keys("*:key:*") > 20  # they are remembered
    eventually(lambda: keys("*invocation:*") + keys("*events:*") + keys("*:key:*") == 0, "they expire")


def test_redis_has_no_credential_and_no_idempotency_key_in_a_name(replicas: Replicas, redis: Redis) -> None:
    here = replicas.start(PPIO_AGENT_API_KEYS="secret-token")
    invoke(here.url, {"do": "value"}, {"Idempotency-Key": "key-of-mine", "Authorization": "Bearer secret-token"})
    names = redis.ask("KEYS", "*")
    assert b"{test}:invocation:" in names
    assert b"key-of-mine" not in names
    name = next(line for line in names.decode().split("\r\n") if "invocation:" in line)
    assert b"secret-token" not in redis.ask("HGETALL", name)
