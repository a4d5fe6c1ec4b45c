"""Results and chunks as the type that the caller wants."""

from __future__ import annotations

import gzip
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from ppio_agent_client import ClientConfig, InvocationError, InvocationResponse, ResultValidationError
from tests.client._async.clients import attached, shelved
from tests.client._async.shelf import HEALTHY
from tests.support.raw_server import LAST_PIECE, answer, answering, piece, sending, stream_head

pytestmark = pytest.mark.contract


class Item(BaseModel, strict=True):
    name: str
    made_at: datetime


class Answer(BaseModel):
    items: list[Item]


@dataclass
class Point:
    x: int


RESULT = b'{"result":{"items":[{"name":"a","made_at":"2026-01-02T00:00:00Z"}]},"status":"success","duration":0.5}'
WRONG = b'{"result":{"items":[{"name":7}]},"status":"success","metadata":{"request_id":"r-1"}}'
HEAD = stream_head()
CHUNKS = piece(b'id: 1\ndata: {"x":1}\n\nid: 2\ndata: {"x":"many"}\n\nid: 3\ndata: {"x":3}\n\n')
DONE = piece(b'id: 4\nevent: done\ndata: {"status":"success"}\n\n') + LAST_PIECE


async def test_a_result_is_made_what_the_caller_wants() -> None:
    async with attached(answering(answer(RESULT))) as (_, session):
        response = await session.invoke("x", result_type=Answer)
        assert isinstance(response, InvocationResponse)
        assert response.result.items[0].made_at == datetime(2026, 1, 2, tzinfo=UTC)
        assert response.duration == 0.5


async def test_a_result_that_does_not_fit_names_the_fields_and_keeps_the_value() -> None:
    async with attached(answering(answer(WRONG))) as (_, session):
        with pytest.raises(ResultValidationError) as caught:
            await session.invoke("x", result_type=Answer)
    told = str(caught.value)
    assert "items[0].name: Input should be a valid string" in told
    assert "items[0].made_at: Field required" in told
    assert "7" not in told
    assert (caught.value.result, caught.value.request_id) == ({"items": [{"name": 7}]}, "r-1")
    assert not caught.value.retryable
    assert pickle.loads(pickle.dumps(caught.value)).result == caught.value.result


async def test_chunks_are_made_what_the_caller_wants_and_one_that_does_not_fit_ends_nothing() -> None:
    async with attached(answering(HEAD + CHUNKS + DONE)) as (_, session):
        async with session.stream("x", chunk_type=Point) as stream:
            assert await anext(stream) == Point(1)
            with pytest.raises(ResultValidationError, match=r"chunk 2 .* Point: x: ") as caught:
                await anext(stream)
            assert caught.value.result == {"x": "many"}
            assert [chunk async for chunk in stream] == [Point(3)]
        events = session.stream("x", chunk_type=dict[str, object]).events()
        assert [event.data async for event in events][:3] == [{"x": 1}, {"x": "many"}, {"x": 3}]


async def test_one_call_to_a_template_has_types_too() -> None:
    async with shelved(answering(HEALTHY, answer(b'{"result":[1,2],"status":"success"}'))) as (_, _shelf, client):
        response = await client.invoke_agent("t-1", "x", session_id="s", result_type=tuple[int, ...])
        assert response.result == (1, 2)
    async with shelved(answering(HEALTHY, HEAD + piece(b"id: 1\ndata: 1\n\n") + DONE)) as (_, _shelf, client):
        assert [chunk async for chunk in client.stream_agent("t-1", "x", chunk_type=float)] == [1.0]


async def test_a_result_of_submitted_work_has_a_type_too() -> None:
    done = b'{"invocation_id":"i","state":"succeeded","created_at":"2026-01-01T00:00:00Z","response":%b}' % RESULT
    async with attached(answering(answer(done, headers={"PPIO-Agent-Protocol": "1"}))) as (_, session):
        assert (await (await session.submit("x")).result(result_type=Answer)).result.items[0].name == "a"


@pytest.mark.slow
async def test_an_answer_that_grows_beyond_the_limit_when_it_is_decompressed_is_not_held() -> None:
    bomb = answer(gzip.compress(b'"' + b"0" * 50_000_000 + b'"'), headers={"Content-Encoding": "gzip"})
    async with attached(answering(bomb), max_answer_bytes=1_000_000) as (server, session):
        with pytest.raises(InvocationError, match=r"more than 1000000 bytes.*max_answer_bytes"):
            await session.invoke("x")
    assert len(server.requests) == 1


async def test_an_event_beyond_the_limit_is_not_held() -> None:
    async with attached(sending(HEAD + piece(b"data: " + b"0" * 2000)), max_answer_bytes=1000) as (_, session):
        with pytest.raises(InvocationError, match="more than 1000 bytes"):
            await anext(session.stream("x"))


def test_the_limit_is_64_mib() -> None:
    assert ClientConfig().max_answer_bytes == 64 * 1024 * 1024
