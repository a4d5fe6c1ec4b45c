"""Streams that are cut and read on, calls that are repeated under their key, over a real socket."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentError,
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    DrainingError,
    EventsEvictedError,
    HandlerError,
    IdleTimeoutError,
    NetworkError,
    OtherInstanceError,
    StreamEvent,
    StreamInterruptedError,
    UnavailableError,
)
from tests.client._async.clients import attached
from tests.support.raw_server import (
    LAST_PIECE,
    Caller,
    Script,
    answer,
    answering,
    closed_port,
    hang_up,
    piece,
    raw_server,
    refusal,
    sending,
    stream_head,
)

pytestmark = pytest.mark.contract

PROTOCOL = {"PPIO-Agent-Protocol": "1"}
INSTANCE = {**PROTOCOL, "PPIO-Agent-Instance": "a"}
HEAD = stream_head(headers={"X-PPIO-Request-Id": "r-9", "X-PPIO-Invocation-Id": "i-1"})
ONE = piece(b'id: 1\ndata: {"n":1}\n\n')
HALFWAY = piece(b"event: progress\nid: 2\ndata: 0.5\n\n")
TWO = piece(b"id: 3\ndata: 2\n\n")
DONE = piece(b'id: 4\nevent: done\ndata: {"status":"success","result":null,"duration":1.5}\n\n')
WHOLE = HEAD + ONE + HALFWAY + TWO + DONE + LAST_PIECE
REST = HEAD + TWO + DONE + LAST_PIECE
OK = answer(b'{"result":42,"status":"success","duration":0.5}', headers={**PROTOCOL, "X-PPIO-Invocation-Id": "i-1"})
HEALTHY = answer(b'{"status":"Healthy"}', headers=INSTANCE)
ELSEWHERE = answer(
    b'{"status":"error","error":"another one","error_type":"OtherInstanceError"}',
    "412 x",
    {**PROTOCOL, "PPIO-Agent-Instance": "b"},
)
THIRD = ELSEWHERE.replace(b"Instance: b", b"Instance: c")


def refusing(error_type: str, status: str) -> bytes:
    body = b'{"result":null,"status":"error","error":"because","error_type":"%b"}' % error_type.encode()
    return answer(body, status, PROTOCOL)


def cut(*parts: bytes) -> Script:
    return sending(*parts, then=hang_up)


async def test_a_stream_that_is_cut_is_read_on_after_the_last_event() -> None:
    with raw_server(cut(HEAD + ONE + HALFWAY), answering(REST)) as server:
        async with AgentRuntimeClient(config=ClientConfig(retry_delay=0)) as client:
            session = client.attach(server.url, token="t-1")
            async with session.stream("x") as stream:
                assert [chunk async for chunk in stream] == [{"n": 1}, 2]
    first, second = server.requests
    assert (first.line, second.line) == ("POST /invocations HTTP/1.1", "GET /invocations/i-1/events HTTP/1.1")
    assert second.headers["last-event-id"] == "2"
    assert second.headers["authorization"] == "Bearer t-1"
    assert second.headers["x-ppio-session-id"] == session.session_id
    assert (stream.received, stream.last_event_id) == (2, 3)
    assert (stream.request_id, stream.invocation_id, stream.replayed) == ("r-9", "i-1", False)
    assert stream.done is not None
    assert (stream.done.duration, stream.done.invocation_id) == (1.5, "i-1")


async def test_events_that_come_again_are_not_handed_out_again() -> None:
    async with attached(cut(HEAD + ONE), answering(WHOLE), retry_delay=0) as (_, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]


async def test_progress_is_no_chunk_and_can_be_had() -> None:
    async with attached(answering(WHOLE)) as (_, session):
        stream = session.stream("x")
        events = [event async for event in stream.events()]
    *events, last = events
    assert events == [
        StreamEvent("chunk", {"n": 1}, 1),
        StreamEvent("progress", 0.5, 2),
        StreamEvent("chunk", 2, 3),
    ]
    assert (last.kind, last.data["duration"]) == ("done", 1.5)
    assert stream.received == 2


async def test_a_cut_behind_the_closing_event_changes_nothing() -> None:
    async with attached(cut(HEAD + ONE + HALFWAY + TWO + DONE)) as (server, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]
    assert server.connections == 1


async def test_silence_of_a_dead_connection_is_a_cut() -> None:
    async with attached(
        sending(HEAD + ONE), answering(HEAD + HALFWAY + TWO + DONE + LAST_PIECE), retry_delay=0, idle_timeout=0.2
    ) as (_, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]


async def test_silence_that_does_not_end_is_told_as_such() -> None:
    async with attached(sending(HEAD + ONE), retry_delay=0, idle_timeout=0.05, max_retries=2) as (server, session):
        with pytest.raises(IdleTimeoutError):
            [chunk async for chunk in session.stream("x")]
    assert server.connections == 3


async def test_attempts_without_progress_are_counted_and_progress_starts_anew() -> None:
    scripts = [cut(HEAD + ONE), cut(HEAD), cut(HEAD), cut(HEAD + HALFWAY), cut(HEAD), cut(HEAD), answering(REST)]
    async with attached(*scripts, retry_delay=0, max_retries=3) as (server, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]
    assert server.connections == 7


async def test_too_many_attempts_without_progress_are_an_interruption() -> None:
    async with attached(cut(HEAD + ONE), cut(HEAD), retry_delay=0, max_retries=3) as (server, session):
        with pytest.raises(StreamInterruptedError) as caught:
            [chunk async for chunk in session.stream("x")]
    assert (caught.value.last_event_id, caught.value.received, caught.value.request_id) == (1, 1, "r-9")
    assert server.connections == 4


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (refusing("EventsEvictedError", "410 Gone"), EventsEvictedError),
        (refusing("NotFoundError", "404 Not Found"), None),
        (answer(b"<html>", "404 Not Found"), None),
        (answer(b"<html>another server</html>", headers={"Content-Type": "text/html"}), None),
        (stream_head(numbered=False) + TWO + LAST_PIECE, None),
    ],
)
async def test_what_cannot_be_read_on_is_an_interruption(refusal: bytes, cause: type[Exception] | None) -> None:
    async with (
        attached(cut(HEAD + ONE), answering(refusal), retry_delay=0) as (server, session),
        session.stream("x") as stream,
    ):
        assert await anext(stream) == {"n": 1}
        with pytest.raises(StreamInterruptedError) as caught:
            await anext(stream)
    assert caught.value.last_event_id == 1
    assert cause is None or isinstance(caught.value.__cause__, cause)
    assert len(server.requests) == 2


async def test_a_refusal_for_now_is_waited_out() -> None:
    full = [refusing("UnavailableError", "503 x"), answer(b"", "502 Bad Gateway"), answer(b"{}", "429 x")]
    async with attached(cut(HEAD + ONE + HALFWAY), answering(*full, REST), retry_delay=0, max_retries=4) as (
        _,
        session,
    ):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]


async def test_an_invocation_that_failed_meanwhile_is_told_as_it_failed() -> None:
    async with attached(cut(HEAD), answering(refusing("HandlerError", "500 x")), retry_delay=0) as (_, session):
        with pytest.raises(HandlerError, match="because"):
            [chunk async for chunk in session.stream("x")]


async def test_an_invocation_that_was_cut_by_a_drain_is_told_as_such() -> None:
    async with attached(cut(HEAD), answering(refusing("DrainingError", "503 x")), retry_delay=0) as (server, session):
        with pytest.raises(DrainingError):
            [chunk async for chunk in session.stream("x")]
    assert len(server.requests) == 4


async def test_a_stream_that_has_begun_is_not_told_as_one_that_has_not() -> None:
    async with attached(cut(HEAD + ONE), answering(refusal()), retry_delay=0) as (_, session):
        with pytest.raises(UnavailableError) as caught:
            [chunk async for chunk in session.stream("x")]
    assert not caught.value.retryable


async def test_leaving_a_stream_early_cancels_the_invocation() -> None:
    async with attached(sending(HEAD + ONE), answering(answer(b"{}", "202 Accepted", PROTOCOL))) as (server, session):
        async with session.stream("x") as stream:
            await anext(stream)
        assert [request.line for request in server.requests[1:]] == ["DELETE /invocations/i-1 HTTP/1.1"]


async def test_leaving_a_stream_that_may_go_on_lets_it_go_on() -> None:
    with raw_server(sending(HEAD + ONE)) as server:
        async with (
            AgentRuntimeClient() as client,
            client.attach(server.url).stream("x", on_disconnect="continue") as stream,
        ):
            await anext(stream)
    assert [request.headers["x-ppio-on-disconnect"] for request in server.requests] == ["continue"]


async def test_reading_an_invocation_and_leaving_lets_it_go_on() -> None:
    with raw_server(sending(HEAD + TWO)) as server:
        async with (
            AgentRuntimeClient() as client,
            client.attach(server.url).invocation("i-1").events(after=2) as stream,
        ):
            assert await anext(stream) == 2
    assert [request.headers["last-event-id"] for request in server.requests] == ["2"]


async def test_a_stream_that_ends_with_its_connection_is_not_read_on() -> None:
    async with attached(cut(HEAD + ONE), retry_delay=0) as (server, session):
        stream = session.stream("x", on_disconnect="cancel")
        with pytest.raises(StreamInterruptedError):
            [chunk async for chunk in stream]
    assert server.connections == 1


async def test_a_cancel_that_nobody_answers_is_no_error() -> None:
    async with attached(sending(HEAD + ONE), cut()) as (server, session), session.stream("x") as stream:
        await anext(stream)
    assert server.connections == 2


@pytest.mark.parametrize("lost", [cut(), cut(OK[:-5]), cut(OK[:20]), sending(then=Caller.reset)])
async def test_a_call_whose_answer_was_lost_is_repeated_with_its_key(lost: Script) -> None:
    def first(caller: Caller) -> None:
        caller.read_request()
        caller.send(HEALTHY)
        lost(caller)

    async with attached(first, answering(OK), retry_delay=0) as (server, session):
        await session.ping()
        response = await session.invoke("x")
    assert (response.result, response.invocation_id, response.replayed) == (42, "i-1", False)
    _, one, two = server.requests
    assert one.headers["idempotency-key"] == two.headers["idempotency-key"]
    assert one.headers["ppio-agent-instance"] == two.headers["ppio-agent-instance"] == "a"
    assert one.body == two.body


@pytest.mark.parametrize("first", [HEALTHY.replace(b"PPIO-Agent-Instance: a\r\n", b""), None])
async def test_a_lost_call_to_an_unknown_instance_is_not_repeated(first: bytes | None) -> None:
    def script(caller: Caller) -> None:
        if first is not None:
            caller.read_request()
            caller.send(first)
        cut()(caller)

    async with attached(script, answering(HEALTHY, OK), retry_delay=0) as (server, session):
        if first is not None:
            await session.ping()
        with pytest.raises(NetworkError) as caught:
            await session.invoke("x")
    assert not caught.value.retryable
    assert "ppio-agent-instance" not in server.requests[-1].headers


def known(*answers: bytes) -> Script:
    """Return a script that is pinged, then reads one request for each answer, and hangs up after one more."""

    def script(caller: Caller) -> None:
        for each in (HEALTHY, *answers):
            caller.read_request()
            caller.send(each)
        cut()(caller)

    return script


async def test_a_lost_call_that_finds_another_instance_may_have_run() -> None:
    async with attached(known(), answering(ELSEWHERE), retry_delay=0) as (server, session):
        await session.ping()
        with pytest.raises(OtherInstanceError, match="another one") as caught:
            await session.invoke("x")
    assert (caught.value.retryable, caught.value.retry_after) == (False, None)
    assert len(server.requests) == 3


async def test_a_call_that_another_instance_refused_goes_to_that_one() -> None:
    async with attached(answering(HEALTHY, ELSEWHERE, OK), max_retries=0) as (server, session):
        await session.ping()
        assert (await session.invoke("x")).result == 42
    assert [request.headers.get("ppio-agent-instance") for request in server.requests] == [None, "a", "b"]


async def test_instances_that_take_turns_are_not_named_any_more() -> None:
    async with attached(answering(HEALTHY, ELSEWHERE, THIRD, OK), max_retries=0) as (server, session):
        await session.ping()
        for _ in range(2):
            assert (await session.invoke("x")).result == 42
    assert [request.headers.get("ppio-agent-instance") for request in server.requests] == [None, "a", "b", None, None]


async def test_a_412_of_the_agents_own_is_its_answer() -> None:
    own = answer(b'{"status":"error","error":"mine","error_type":"HTTPException"}', "412 x", INSTANCE)
    async with attached(answering(HEALTHY, own)) as (server, session):
        await session.ping()
        with pytest.raises(AgentError, match="mine"):
            await session.invoke("x")
    assert len(server.requests) == 2


async def test_a_lost_call_whose_repeat_is_refused_is_told_as_lost() -> None:
    """Nothing ran for the repeat; for the first attempt it may have."""
    async with attached(known(), answering(refusal()), retry_delay=0) as (server, session):
        await session.ping()
        with pytest.raises(NetworkError) as caught:
            await session.invoke("x")
    assert not caught.value.retryable
    assert len(server.requests) == 5


async def test_a_call_that_ends_with_its_connection_is_not_repeated() -> None:
    async with attached(cut(), retry_delay=0) as (server, session):
        with pytest.raises(NetworkError):
            await session.invoke("x", on_disconnect="cancel")
    assert server.connections == 1


async def test_a_stream_whose_head_was_lost_is_asked_for_again_with_its_key() -> None:
    async with attached(sending(HEALTHY, then=cut(HEAD[:30])), answering(WHOLE), retry_delay=0) as (server, session):
        await session.ping()
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]
    posts = [request for request in server.requests if request.line.startswith("POST")]
    assert len({post.headers["idempotency-key"] for post in posts}) == 1
    assert len(posts) == 2


async def test_a_key_of_the_callers_own_is_sent_and_the_replay_is_told() -> None:
    again = answer(b'{"result":42,"status":"success"}', headers={**PROTOCOL, "Idempotency-Replayed": "true"})
    async with attached(answering(again)) as (server, session):
        response = await session.invoke("x", idempotency_key="order 7")
    assert server.requests[0].headers["idempotency-key"] == "order 7"
    assert response.replayed


@pytest.mark.parametrize("key", ["", "ä", "a\nb", "x" * 256])
async def test_a_key_that_cannot_travel_is_refused_before_anything_is_sent(key: str) -> None:
    with closed_port() as url:
        async with AgentRuntimeClient() as client:
            with pytest.raises(ConfigurationError, match="idempotency key"):
                await client.attach(url).invoke("x", idempotency_key=key)


async def test_a_run_that_was_cut_by_a_drain_is_not_asked_for_again() -> None:
    async with attached(answering(HEALTHY, refusing("DrainingError", "503 x")), retry_delay=0) as (server, session):
        await session.ping()
        with pytest.raises(DrainingError) as caught:
            await session.invoke("x")
    assert not caught.value.retryable
    assert len(server.requests) == 2
