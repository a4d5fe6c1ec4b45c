"""What events mean: chunks, an end, an error, a cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import (
    AgentError,
    HandlerError,
    InvocationResponse,
    NetworkError,
    PPIOAgentRuntimeError,
    RateLimitedError,
    StreamInterruptedError,
)
from ppio_agent_client._core.streaming import StreamDecoder, is_event_stream, number_of

NUMBERED = {"ppio-agent-protocol": "1", "x-ppio-request-id": "r-1"}
PLAIN: Mapping[str, str] = {"x-ppio-request-id": "r-2"}


def decoder(headers: Mapping[str, str] = NUMBERED, **options: Any) -> StreamDecoder:
    return StreamDecoder(headers, **options)


def end_of(plain: StreamDecoder) -> PPIOAgentRuntimeError:
    with pytest.raises(PPIOAgentRuntimeError) as caught:
        plain.finish()
    return caught.value


def test_chunks_come_decoded_with_their_number() -> None:
    assert decoder().feed(b'id: 1\ndata: {"a":1}\n\nid: 2\ndata: "x"\n\n') == [
        ("chunk", {"a": 1}, b"1"),
        ("chunk", "x", b"2"),
    ]


def test_a_chunk_that_is_no_json_is_text() -> None:
    assert decoder(PLAIN).feed(b"data: plain words\n\n") == [("chunk", "plain words", None)]


def test_lone_surrogates_survive() -> None:
    assert decoder().feed(b'data: "\\ud800"\n\n') == [("chunk", "\ud800", None)]


@pytest.mark.parametrize(
    ("event_id", "number"),
    [(b"7", 7), (b"abc", None), (b"-1", None), (b"", None), (None, None), ("٣".encode(), None), (b"9" * 5000, None)],
)
def test_only_a_plain_number_is_the_number_of_an_event(event_id: bytes | None, number: int | None) -> None:
    assert number_of(event_id) == number


def test_done_ends_the_stream_with_its_envelope() -> None:
    stream = decoder()
    stream.feed(b'event: done\ndata: {"status":"success","result":null,"duration":1.5}\n\ndata: "late"\n\n')
    assert stream.done == InvocationResponse(result=None, duration=1.5)
    assert stream.feed(b"data: 1\n\n") == []
    stream.finish()


def test_chunks_before_an_error_are_delivered_first() -> None:
    stream = decoder()
    assert stream.feed(b'data: 1\n\nevent: error\ndata: {"error":"no","error_type":"HandlerError"}\n\n') == [
        ("chunk", 1, None)
    ]
    assert type(stream.error) is HandlerError
    assert str(stream.error) == "no"
    assert stream.error.request_id == "r-1"


def test_an_unknown_error_type_is_kept_word_for_word() -> None:
    stream = decoder()
    stream.feed(b'event: error\ndata: {"error":"no","error_type":"OutOfCheese"}\n\n')
    assert type(stream.error) is AgentError
    assert stream.error.error_type == "OutOfCheese"


def test_an_error_event_of_plain_text_is_an_error() -> None:
    stream = decoder(PLAIN)
    stream.feed(b"event: error\ndata: it broke\n\n")
    assert str(stream.error) == "it broke"


def test_a_numbered_stream_without_its_end_was_cut() -> None:
    with pytest.raises(NetworkError, match="before the stream did"):
        decoder().finish()


def test_the_plain_end_of_a_plain_stream_is_its_end() -> None:
    decoder(PLAIN).finish()


def test_an_error_object_at_the_end_of_a_plain_stream_is_raised() -> None:
    stream = decoder(PLAIN)
    assert stream.feed(b'data: 1\n\ndata: {"error":"slow down","error_type":"RateLimitedError"}\n\n') == [
        ("chunk", 1, None)
    ]
    assert type(end_of(stream)) is RateLimitedError


def test_an_error_object_in_the_middle_of_a_plain_stream_is_a_chunk() -> None:
    stream = decoder(PLAIN)
    error = {"error": "x", "error_type": "Y"}
    assert stream.feed(b'data: {"error":"x","error_type":"Y"}\n\n') == []
    assert stream.feed(b"data: 2\n\n") == [("chunk", error, None), ("chunk", 2, None)]


def test_an_error_object_in_a_numbered_stream_is_a_chunk() -> None:
    error = {"error": "x", "error_type": "Y"}
    assert decoder().feed(b'id: 1\ndata: {"error":"x","error_type":"Y"}\n\n') == [("chunk", error, b"1")]


def test_progress_is_told_from_chunks() -> None:
    text = b'event: progress\nid: 1\ndata: 0.5\n\nid: 2\ndata: "x"\n\n'
    assert decoder().feed(text) == [("progress", 0.5, b"1"), ("chunk", "x", b"2")]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12))
def test_what_comes_again_after_a_resumption_comes_once_and_numbers_may_skip(
    after: int, start: int, count: int
) -> None:
    stream = decoder().resumed(after)
    text = b"".join(b"id: %d\ndata: %d\n\n" % (number, number) for number in range(start + 1, start + count + 1))
    events = [value for _, value, _ in stream.feed(text)]
    assert events == list(range(max(after, start) + 1, start + count + 1))
    assert stream.error is None


def test_the_position_is_that_of_the_last_whole_event() -> None:
    stream = decoder()
    stream.feed(b"id: 1\ndata: 1\n\nevent: progress\nid: 2\ndata: 2\n\nid: 3\nda")
    assert number_of(stream.position) == 2


def test_an_event_that_is_too_large_is_an_error_that_says_so() -> None:
    stream = decoder(max_event_bytes=10)
    stream.feed(b"data: 0123456789")
    assert isinstance(stream.error, StreamInterruptedError)
    assert "10 bytes" in str(stream.error)


@pytest.mark.parametrize(
    ("value", "is_stream"),
    [("text/event-stream", True), ("Text/Event-Stream; charset=utf-8", True), ("application/json", False), ("", False)],
)
def test_the_media_type_tells_streams(value: str, is_stream: bool) -> None:
    assert is_event_stream({"content-type": value} if value else {}) is is_stream
