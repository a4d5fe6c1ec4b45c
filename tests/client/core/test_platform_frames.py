"""envd's frames: whole again however the bytes were cut, and what their messages mean."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._core.platform.start import (
    MAX_MESSAGE_BYTES,
    MAX_OUTPUT_BYTES,
    FrameError,
    ProcessReport,
    encode_frame,
    take_frames,
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
    data = b"".join(encode_frame(message, is_end=is_end) for message, is_end in messages)
    pending, found = bytearray(), list[tuple[dict[str, Any], bool]]()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        pending += data[start:end]
        found += take_frames(pending)
    assert found == messages


def test_every_single_cut_gives_the_same() -> None:
    data = encode_frame({"event": {"start": {"pid": 7}}}) + encode_frame({}, is_end=True)
    for cut in range(len(data) + 1):
        report = ProcessReport()
        report.feed(data[:cut])
        report.feed(data[cut:])
        assert (report.has_started, report.is_closed, report.error) == (True, True, "")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x01\x00\x00\x00\x02{}", "flags 1"),
        (b"\x00" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"), "bytes"),
        (b"\x00\x00\x00\x00\x02{]", "not JSON"),
        (b"\x00\x00\x00\x00\x02[]", "not a JSON object"),
        (b"HTTP/1.1 502 Bad Gateway\r\n", "cannot be read"),
    ],
)
def test_what_is_no_such_stream_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(FrameError, match=what):
        list(take_frames(bytearray(data)))


def report(**event: Any) -> ProcessReport:
    """Return what a process is after one event."""
    found = ProcessReport()
    found.feed(encode_frame({"event": event}))
    return found


@pytest.mark.parametrize("stream", ["stdout", "stderr", "pty"])
def test_what_a_process_prints_to_any_stream_is_its_output(stream: str) -> None:
    assert report(data={stream: base64.b64encode("häppy\n".encode()).decode()}).output == "häppy\n"


def test_only_the_last_of_the_output_is_kept() -> None:
    found = report(data={"stdout": base64.b64encode(b"x" * 100_000).decode()})
    found.feed(encode_frame({"event": {"data": {"stdout": base64.b64encode(b"the end").decode()}}}))
    assert found.output.endswith("xthe end")
    assert len(found.output) == MAX_OUTPUT_BYTES


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        ({"exitCode": 3, "exited": True, "status": "exit status 3"}, 3),
        ({"exited": True, "status": "exit status 0"}, 0),
        ({"exitCode": -1, "status": "signal: killed"}, -9),
        ({"exitCode": -1, "status": "signal: segmentation fault (core dumped)"}, -11),
        ({"exitCode": -1, "status": "signal: 47"}, None),
        ({"error": "gone"}, None),
        ({}, None),
    ],
)
def test_an_exit_code_is_told_as_pythons_are(end: dict[str, Any], exit_code: int | None) -> None:
    assert report(end=end).has_ended
    assert report(end=end).exit_code == exit_code


def test_a_message_that_keeps_the_stream_alive_says_nothing() -> None:
    assert not report(keepalive={}).is_known


def test_a_stream_that_ends_with_an_error_says_it() -> None:
    found = ProcessReport()
    found.feed(encode_frame({"error": {"code": "invalid_argument", "message": "no such cwd"}}, is_end=True))
    assert (found.is_known, found.error) == (True, "invalid_argument: no such cwd")


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: (
            st.lists(each)
            | st.dictionaries(st.sampled_from(["stdout", "exitCode", "exited", "status", "code"]) | st.text(), each)
        ),
    )
)
@pytest.mark.slow
def test_a_message_of_any_shape_breaks_nothing(value: Any) -> None:
    for key in ("start", "data", "end", "keepalive", "other"):
        report(**{key: value})
    found = ProcessReport()
    found.feed(encode_frame({"event": value}))
    found.feed(encode_frame({"error": value}, is_end=True))
