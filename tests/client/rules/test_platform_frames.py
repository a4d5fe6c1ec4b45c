"""envd's frames: whole again however the bytes were cut, and what their messages mean."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._rules.platform_frames import (
    MAX_MESSAGE_BYTES,
    Frame,
    FrameError,
    FrameReader,
    ProcessEnded,
    ProcessOutput,
    ProcessStarted,
    StreamClosed,
    framed,
    process_event,
)

MESSAGES = st.lists(
    st.tuples(
        st.dictionaries(st.text(max_size=5), st.integers(-5, 5) | st.text(max_size=20), max_size=3), st.booleans()
    ),
    max_size=5,
)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=8))
def test_messages_come_back_however_the_bytes_are_cut(
    messages: list[tuple[dict[str, Any], bool]], cuts: list[int]
) -> None:
    data = b"".join(framed(message, is_end=is_end) for message, is_end in messages)
    reader, found = FrameReader(), list[Frame]()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        found += reader.feed(data[start:end])
    assert [(frame.value, frame.is_end) for frame in found] == messages
    assert reader.is_between


def test_every_single_cut_gives_the_same() -> None:
    data = framed({"event": {"start": {"pid": 7}}}) + framed({}, is_end=True)
    for cut in range(len(data) + 1):
        reader = FrameReader()
        frames = [*reader.feed(data[:cut]), *reader.feed(data[cut:])]
        assert [process_event(frame) for frame in frames] == [ProcessStarted(7), StreamClosed("")]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x01\x00\x00\x00\x02{}", "flags 1"),
        (b"\x00" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), "bytes"),
        (b"\x00\x00\x00\x00\x02{]", "not JSON"),
        (b"\x00\x00\x00\x00\x02[]", "no JSON object"),
        (b"HTTP/1.1 502 Bad Gateway\r\n", "cannot be read"),
    ],
)
def test_what_is_no_such_stream_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(FrameError, match=what):
        list(FrameReader().feed(data))


def event(**fields: Any) -> Any:
    return process_event(Frame({"event": fields}))


def test_events_say_what_they_say() -> None:
    text = base64.b64encode("häppy\n".encode()).decode()
    assert event(data={"stdout": text}) == ProcessOutput("häppy\n".encode())
    assert event(data={"stderr": text}) == ProcessOutput("häppy\n".encode())
    assert event(keepalive={}) is None
    assert event(end={"exitCode": 3, "exited": True, "status": "exit status 3"}) == ProcessEnded(3, "exit status 3")
    assert event(end={"exited": True, "status": "exit status 0"}) == ProcessEnded(0, "exit status 0")
    assert event(end={"exitCode": -1, "status": "signal: killed"}) == ProcessEnded(-1, "signal: killed")
    assert event(end={"error": "gone"}) == ProcessEnded(None, "gone")


def test_an_end_with_an_error_says_it() -> None:
    closed = process_event(Frame({"error": {"code": "invalid_argument", "message": "no such cwd"}}, is_end=True))
    assert closed == StreamClosed("invalid_argument: no such cwd")


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_a_message_of_any_shape_breaks_nothing(value: Any) -> None:
    for key in ("start", "data", "end", "keepalive", "other"):
        process_event(Frame({"event": {key: value}}))
    process_event(Frame({"event": value}))
    process_event(Frame({"error": value}, is_end=True))
