"""Two real replicas with one real store: what one of them runs, the other finds, reads, cancels and survives."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.replicas import INSTANCE, KEY, Replicas, reading
from tests.support.calls import call, refusal
from tests.support.durable import cancel, chunks, events, finished, in_state, numbers, resource, submit
from tests.support.gates import aside, eventually
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, invoke, streaming
from tests.support.redis_server import needs_redis_server

pytestmark = pytest.mark.contract

JSON = {"Accept": "application/json"}


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis_server)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    return f"{request.getfixturevalue('redis').uri}?prefix=test"


@pytest.fixture
def pair(replicas: Replicas) -> tuple[str, str]:
    both = replicas.start(), replicas.start()
    return both[0].url, both[1].url


def test_replicas_of_one_store_are_one_instance(pair: tuple[str, str], replicas: Replicas) -> None:
    names = {call(url, "/ping", method="GET").headers[INSTANCE] for url in pair}
    assert len(names) == 1
    other = replicas.start(PPIO_AGENT_EVENT_STORE=f"{replicas.store_url}-other")
    assert call(other.url, "/ping", method="GET").headers[INSTANCE] not in names


def test_what_one_replica_has_finished_the_other_tells_in_the_same_bytes(
    pair: tuple[str, str], replicas: Replicas
) -> None:
    here, there = pair
    replicas.say("go on")
    for payload in ({"do": "value"}, {"do": "fail"}, {}, {"before": 300, "size": 500}):
        path = submit(here, payload)
        before = finished(here, path)
        assert resource(there, path) == before
        assert events(there, path).body == events(here, path).body
        assert events(there, path, after=1).body == events(here, path, after=1).body
        assert cancel(there, path).status == 200


@pytest.mark.slow
def test_what_runs_in_one_replica_is_read_live_from_any_position_in_the_other(
    pair: tuple[str, str], replicas: Replicas
) -> None:
    here, there = pair
    path = submit(here, {"before": 5})
    eventually(lambda: resource(there, path)["last_event_id"] == 5, "the other one knows of the events")
    assert resource(there, path)["state"] == "running"
    rests = []
    with ExitStack() as stack:
        for after in (0, 3, 5):
            connection = stack.enter_context(Connection(there))
            connection.send(reading(path, after))
            assert connection.read_head()[0] == 200
            rests.append(connection)
        replicas.say("go on")
        assert [numbers(list(each.events())) for each in rests] == [[1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7], [6, 7]]
    assert finished(there, path)["response"]["result"] == "01234last0"


def test_one_event_is_told_by_the_other_replica_before_the_next_is_made(
    pair: tuple[str, str], replicas: Replicas
) -> None:
    here, there = pair
    path = submit(here, {"do": "report"})
    with Connection(there) as connection:
        connection.send(reading(path))
        connection.read_head()
        found = connection.events()
        assert next(found).kind == "progress"
        replicas.say("go on")
        assert [event.kind for event in found] == ["chunk", "done"]


def test_position_that_is_not_made_yet_is_refused_by_the_other_replica(
    pair: tuple[str, str], replicas: Replicas
) -> None:
    here, there = pair
    replicas.say("go on")
    path = submit(here)
    last = finished(here, path)["last_event_id"]
    refusal(events(there, path, after=last + 1), 400, "BadRequestError")


@pytest.mark.slow
def test_cancel_reaches_the_replica_that_runs_it(pair: tuple[str, str]) -> None:
    here, there = pair
    path = submit(here)
    in_state(there, path, "running")
    assert cancel(there, path).status == 202
    assert finished(here, path)["state"] == finished(there, path)["state"] == "cancelled"
    assert [event.kind for event in events(there, path).events][-1] == "error"


def test_waiting_at_the_other_replica_is_told_the_end_at_once(pair: tuple[str, str], replicas: Replicas) -> None:
    here, there = pair
    path = submit(here, {"do": "wait"})
    waiting = aside(lambda: resource(there, path, wait=60))
    in_state(there, path, "running")
    replicas.say("go on")
    assert waiting.result()["response"]["result"] == "wait"


@pytest.mark.parametrize("headers", [JSON, EVENT_STREAM | PROTOCOL_1], ids=["value", "stream"])
@pytest.mark.slow
def test_same_key_at_both_replicas_runs_once_and_the_other_waits_for_its_events(
    pair: tuple[str, str], replicas: Replicas, headers: dict[str, str]
) -> None:
    both = threading.Barrier(8)

    def ask(url: str) -> Any:
        both.wait()
        return invoke(url, {"before": 3}, KEY | headers)

    asked = [aside(lambda url=url: ask(url)) for url in pair * 4]  # type: ignore[misc]
    eventually(lambda: replicas.runs == ["stream"], "it runs")
    replicas.say("go on")
    answers = [each.result() for each in asked]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["x-ppio-invocation-id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == [""] + ["true"] * 7
    if headers is JSON:
        assert [answer.result for answer in answers] == ["012last0"] * 8
    else:
        assert [chunks(answer.events) for answer in answers] == [["0", "1", "2", "last0"]] * 8
    assert replicas.runs == ["stream"]


def test_key_with_another_body_is_refused_by_the_other_replica(pair: tuple[str, str], replicas: Replicas) -> None:
    replicas.say("go on")
    invoke(pair[0], {"do": "value"}, KEY)
    refusal(invoke(pair[1], {"do": "other"}, KEY), 422, "IdempotencyKeyReusedError")
    assert replicas.runs == ["value"]


@pytest.mark.slow
def test_what_a_killed_replica_wrote_is_replayed_and_then_told_as_interrupted(replicas: Replicas) -> None:
    here, there = replicas.start(), replicas.start()
    path = submit(here.url, {"before": 3}, KEY)
    with streaming(here.url, {"before": 4}, KEY | PROTOCOL_1 | EVENT_STREAM | {"X-PPIO-Session-Id": "s"}) as stream:
        seen = stream.events()
        assert [next(seen).data for _ in range(4)] == ["0", "1", "2", "3"]
        eventually(lambda: resource(there.url, path)["last_event_id"] == 3, "the store has the events")
        follower = Connection(there.url)
        follower.send(reading(path))
        follower.read_head()
        here.process.kill()
        live = list(follower.events())
        follower.close()
    assert [event.kind for event in live] == ["chunk", "chunk", "chunk", "error"]
    assert live[-1].data["error_type"] == "Interrupted"
    lost = resource(there.url, path)
    assert (lost["state"], lost["response"]["error_type"]) == ("failed", "Interrupted")
    assert numbers(events(there.url, path, after=2).events) == [3, 4]
    (end,) = events(there.url, path, after=9).events  # a caller may have had more than the store
    assert (end.event_id, end.data["error_type"]) == (10, "Interrupted")
    assert invoke(there.url, {"before": 3}, KEY | JSON).json["error_type"] == "Interrupted"
    assert replicas.runs == ["stream", "stream"]


@pytest.mark.slow
def test_caller_who_comes_back_right_after_the_kill_waits_until_that_is_known(replicas: Replicas) -> None:
    here, there = replicas.start(), replicas.start()
    path = submit(here.url, {"before": 3})
    eventually(lambda: resource(there.url, path)["last_event_id"] == 3, "the store has the events")
    here.process.kill()
    (end,) = events(there.url, path, after=5).events
    assert (end.event_id, end.data["error_type"]) == (6, "Interrupted")


@pytest.mark.slow
def test_drained_replica_tells_the_other_how_its_runs_ended(replicas: Replicas) -> None:
    here, there = replicas.start(PPIO_AGENT_SHUTDOWN_GRACE_SECONDS="0.2"), replicas.start()
    path = submit(here.url, {"before": 2}, KEY)
    in_state(there.url, path, "running")
    here.terminate()
    assert here.wait() == 0
    lost = finished(there.url, path)
    assert lost["response"]["error_type"] == "DrainingError"
    assert chunks(events(there.url, path).events) == ["0", "1"]
    again = invoke(there.url, {"before": 2}, KEY | JSON)
    assert (again.json["error_type"], "retry-after" in again.headers) == ("DrainingError", False)
    assert replicas.runs == ["stream"]


@pytest.mark.slow
def test_stream_through_a_replica_that_drains_is_read_on_at_another(replicas: Replicas) -> None:
    here, there = replicas.start(), replicas.start(PPIO_AGENT_SHUTDOWN_GRACE_SECONDS="0.2")
    path = submit(here.url, {"before": 2})
    with Connection(there.url) as connection:
        connection.send(reading(path))
        connection.read_head()
        found = connection.events()
        assert [next(found).data for _ in range(2)] == ["0", "1"]
        there.terminate()
        assert there.wait() == 0
    replicas.say("go on")
    assert chunks(events(here.url, path, after=2).events) == ["last0"]


@pytest.mark.slow
def test_replica_that_blocks_its_event_loop_is_alive(replicas: Replicas) -> None:
    here, there = replicas.start(), replicas.start()
    path = submit(here.url, {"do": "block"})
    in_state(there.url, path, "running")
    replicas.say("block")
    assert resource(there.url, path, wait=10)["state"] == "running"
    replicas.say("go on")
    assert finished(there.url, path)["response"]["result"] == "block"


def test_events_that_are_not_held_any_more_are_told_by_the_other_replica(replicas: Replicas) -> None:
    bounds = {"PPIO_AGENT_EVENT_LOG_MAX_BYTES_PER_INVOCATION": "65536"}
    here, there = replicas.start(**bounds), replicas.start(**bounds)
    path = submit(here.url, {"before": 50, "size": 10_000})
    eventually(lambda: resource(there.url, path)["last_event_id"] == 50, "all are there")
    gone = events(there.url, path)
    refusal(gone, 410, "EventsEvictedError")
    first = gone.json["metadata"]["first_event_id"]
    assert 40 < first <= 50
    replicas.say("go on")
    assert numbers(events(there.url, path, after=first - 1).events) == list(range(first, 53))
    assert finished(there.url, path)["first_event_id"] == finished(here.url, path)["first_event_id"] is not None


def test_producer_waits_for_the_slow_reader_at_the_other_replica(replicas: Replicas) -> None:
    bounds = {"PPIO_AGENT_EVENT_LOG_MAX_BYTES_PER_INVOCATION": "65536"}
    here, there = replicas.start(**bounds), replicas.start(**bounds)
    other = submit(here.url, {"do": "wait"})
    with Connection(here.url) as fast, Connection(there.url, receive_buffer_bytes=4096) as slow:
        fast.post({"before": 1, "after": 1000, "last_size": 10_000}, PROTOCOL_1 | EVENT_STREAM)
        slow.send(reading(f"/invocations/{fast.read_head()[1]['x-ppio-invocation-id']}"))
        assert slow.read_head()[0] == 200
        cancel(there.url, other)  # told behind the reader: when it has come, the reader is known
        in_state(here.url, other, "cancelled")
        replicas.say("go on")
        ids = [aside(lambda each=each: numbers(list(each.events()))) for each in (fast, slow)]  # type: ignore[misc]
        assert [each.result() for each in ids] == [list(range(1, 1003))] * 2
