"""Streams over a real socket, whole and cut."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    FirstByteTimeoutError,
    HandlerError,
    IdleTimeoutError,
    NetworkError,
    PayloadValidationError,
    StreamInterruptedError,
    TotalTimeoutError,
)
from tests.client._async.clients import attached
from tests.support.raw_server import (
    LAST_PIECE,
    Caller,
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

ONE = piece(b'id: 1\ndata: {"n":1}\n\n')
TWO = piece(b"id: 2\ndata: 2\n\n")
DONE = piece(b'id: 3\nevent: done\ndata: {"status":"success","result":null,"duration":1.5}\n\n')
FAILED = piece(b'id: 3\nevent: error\ndata: {"status":"error","error":"no","error_type":"HandlerError"}\n\n')
HEAD = stream_head(headers={"X-PPIO-Request-Id": "r-9"})


async def test_chunks_come_decoded_until_done() -> None:
    async with (
        attached(answering(HEAD + ONE + TWO + DONE + LAST_PIECE)) as (server, session),
        session.stream("x") as stream,
    ):
        assert [chunk async for chunk in stream] == [{"n": 1}, 2]
        assert (stream.request_id, stream.last_event_id, stream.received) == ("r-9", 2, 2)
        assert stream.done is not None
        assert stream.done.duration == 1.5
    assert server.requests[0].headers["accept"] == "text/event-stream"


async def test_a_stream_is_an_iterator_by_itself() -> None:
    async with attached(answering(HEAD + ONE + TWO + DONE + LAST_PIECE)) as (_, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}, 2]


async def test_invoke_with_stream_returns_an_iterator() -> None:
    async with attached(answering(HEAD + ONE + TWO + DONE + LAST_PIECE)) as (_, session):
        chunks = await session.invoke("x", stream=True)
        assert await anext(chunks) == {"n": 1}
        assert [chunk async for chunk in chunks] == [2]


async def test_a_whole_stream_leaves_its_connection_for_the_next_call() -> None:
    async with attached(answering(HEAD + ONE + DONE + LAST_PIECE)) as (server, session):
        for _ in range(2):
            assert [chunk async for chunk in session.stream("x")] == [{"n": 1}]
    assert (len(server.requests), server.connections) == (2, 1)


async def test_a_chunk_is_there_before_the_next_is_made() -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(HEAD + ONE)
        assert server.hung_up.acquire(timeout=60)  # the test has its first chunk
        caller.send(TWO + DONE + LAST_PIECE)

    async with attached(script) as (server, session), session.stream("x") as stream:
        assert await anext(stream) == {"n": 1}
        server.hung_up.release()
        assert await anext(stream) == 2


async def test_the_agents_error_is_raised_behind_the_chunks() -> None:
    async with (
        attached(answering(HEAD + ONE + FAILED + LAST_PIECE)) as (_, session),
        session.stream("x") as stream,
    ):
        assert await anext(stream) == {"n": 1}
        with pytest.raises(HandlerError, match="no") as caught:
            await anext(stream)
    assert caught.value.request_id == "r-9"


async def test_an_error_before_the_first_chunk_is_an_ordinary_one() -> None:
    refused = answer(b'{"error":"bad","error_type":"PayloadValidationError","status":"error"}', "422 x")
    async with attached(answering(refused)) as (_, session):
        with pytest.raises(PayloadValidationError, match="bad"):
            await session.invoke("x", stream=True)


async def test_one_value_is_one_chunk() -> None:
    async with (
        attached(answering(answer(b'{"result":[1,2],"status":"success","duration":0.5}'))) as (_, session),
        session.stream("x") as stream,
    ):
        assert [chunk async for chunk in stream] == [[1, 2]]
        assert stream.done is not None


@pytest.mark.parametrize("then", [hang_up, Caller.reset])
@pytest.mark.parametrize("sent", [HEAD, HEAD + ONE, HEAD + ONE + TWO[:-5], HEAD + ONE + LAST_PIECE])
async def test_a_stream_without_its_end_was_interrupted(sent: bytes, then: object) -> None:
    async with attached(sending(sent, then=then)) as (server, session):  # type: ignore[arg-type]
        stream = session.stream("x")
        with pytest.raises((StreamInterruptedError, NetworkError)) as caught:
            [chunk async for chunk in stream]
    # A reset may overtake what was sent before it; then there is no answer at all.
    if isinstance(caught.value, StreamInterruptedError):
        assert caught.value.received == caught.value.last_event_id == stream.received
    else:
        assert then is Caller.reset
    assert server.connections == 1


@pytest.mark.parametrize("then", [hang_up, Caller.wait_until_gone])
async def test_what_happens_behind_the_closing_event_does_not_matter(then: object) -> None:
    async with attached(sending(HEAD + ONE + DONE, then=then), idle_timeout=None) as (_, session):  # type: ignore[arg-type]
        async with session.stream("x") as stream:
            assert [chunk async for chunk in stream] == [{"n": 1}]
        assert stream.done is not None


async def test_the_plain_end_of_a_plain_stream_is_its_end() -> None:
    plain = stream_head(numbered=False) + piece(b"data: 1\n\n: bye\n\n") + LAST_PIECE
    async with attached(answering(plain)) as (_, session):
        assert [chunk async for chunk in session.stream("x")] == [1]


async def test_an_error_at_the_end_of_a_plain_stream_is_raised() -> None:
    plain = stream_head(numbered=False) + piece(b'data: {"error":"no","error_type":"HandlerError"}\n\n') + LAST_PIECE
    async with attached(answering(plain)) as (_, session), session.stream("x") as stream:
        with pytest.raises(HandlerError):
            await anext(stream)


async def test_a_plain_stream_that_is_cut_inside_a_piece_was_interrupted() -> None:
    async with (
        attached(sending(stream_head(numbered=False) + ONE + TWO[:-5], then=hang_up)) as (_, session),
        session.stream("x") as stream,
    ):
        assert await anext(stream) == {"n": 1}
        with pytest.raises(StreamInterruptedError):
            await anext(stream)


async def test_leaving_the_block_early_closes_the_connection() -> None:
    async with attached(sending(HEAD + ONE)) as (server, session):
        async with session.stream("x") as stream:
            assert await anext(stream) == {"n": 1}
        assert server.hung_up.acquire(timeout=60)


async def test_a_loop_in_the_block_can_be_left_and_taken_up_again() -> None:
    async with (
        attached(answering(HEAD + ONE + TWO + DONE + LAST_PIECE)) as (_, session),
        session.stream("x") as stream,
    ):
        async for chunk in stream:
            assert chunk == {"n": 1}
            break
        assert [chunk async for chunk in stream] == [2]


async def test_closing_a_stream_that_was_never_opened_sends_nothing() -> None:
    async with attached(answering(HEAD)) as (server, session):
        stream = session.stream("x")
        await stream.close()
        assert [chunk async for chunk in stream] == []
    assert server.connections == 0


async def test_a_closed_stream_has_no_more_chunks() -> None:
    async with attached(sending(HEAD + ONE)) as (_, session):
        async with session.stream("x") as stream:
            await anext(stream)
        assert [chunk async for chunk in stream] == []


async def test_silence_inside_a_stream_is_its_own_error() -> None:
    with raw_server(sending(HEAD + ONE)) as server:
        async with (
            AgentRuntimeClient(config=ClientConfig(idle_timeout=0.05)) as client,
            client.attach(server.url).stream("x") as stream,
        ):
            assert await anext(stream) == {"n": 1}
            with pytest.raises(IdleTimeoutError):
                await anext(stream)


async def test_silence_before_a_stream_is_its_own_error() -> None:
    async with attached(sending(), first_byte_timeout=0.05) as (_, session):
        with pytest.raises(FirstByteTimeoutError):
            await session.invoke("x", stream=True)


async def test_heartbeats_are_no_silence_and_no_chunks() -> None:
    def beat(caller: Caller) -> None:
        caller.read_request()
        caller.send(HEAD)
        for _ in range(7):
            server.hung_up.acquire(timeout=0.2)
            caller.send(piece(b": beat\n\n"))
        caller.send(ONE + DONE + LAST_PIECE)

    async with attached(beat, idle_timeout=1) as (server, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}]


async def test_a_stream_has_no_limit_in_total_unless_it_asks_for_one() -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(HEAD)
        server.hung_up.acquire(timeout=0.2)
        caller.send(ONE + DONE + LAST_PIECE)

    async with attached(script, timeout=0.05) as (server, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}]


async def test_a_stream_that_asks_for_a_limit_has_one() -> None:
    async with attached(sending(HEAD + ONE)) as (_, session), session.stream({"timeout": 0.05}) as stream:
        assert await anext(stream) == {"n": 1}
        with pytest.raises(TotalTimeoutError):
            await anext(stream)


async def test_a_stream_that_was_never_sent_is_tried_again() -> None:
    with closed_port() as url:
        async with AgentRuntimeClient(config=ClientConfig(max_retries=1, retry_delay=0)) as client:
            with pytest.raises(NetworkError) as caught:
                await client.attach(url).invoke("x", stream=True)
    assert caught.value.retryable


async def test_a_refused_stream_is_tried_again() -> None:
    async with attached(answering(refusal(), HEAD + ONE + DONE + LAST_PIECE), retry_delay=0) as (_, session):
        assert [chunk async for chunk in session.stream("x")] == [{"n": 1}]
