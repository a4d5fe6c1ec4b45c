"""Events come out whole, however their bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._core.sse import EventParser, EventTooLargeError, ServerEvent


def parsed(*parts: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for part in parts for event in parser.feed(part)]


def texts(*parts: bytes) -> list[bytes]:
    return [text for _, text, _ in parsed(*parts)]


EVERYTHING = (
    b"\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata: one\r\n\r\ndata:two\rdata: lines\r\rid: 2\nevent: done\ndata: {}\n\n"
    b"retry: 5\n\ndata\n\n:beat\n\n\n\ndata:  spaced\n\n"
)
EVENTS: list[ServerEvent] = [
    (b"", b"one", b"1"),
    (b"", b"two\nlines", b"1"),
    (b"done", b"{}", b"2"),
    (b"", b"", b"2"),
    (b"", b" spaced", b"2"),
]


def test_every_form_of_line_end_comment_and_field_is_understood() -> None:
    assert parsed(EVERYTHING) == EVENTS


@pytest.mark.parametrize("cut", range(len(EVERYTHING) + 1))
def test_a_cut_at_any_byte_changes_nothing(cut: int) -> None:
    assert parsed(EVERYTHING[:cut], EVERYTHING[cut:]) == EVENTS


def test_bytes_may_come_one_at_a_time() -> None:
    assert parsed(*(bytes([byte]) for byte in EVERYTHING)) == EVENTS


@given(st.lists(st.integers(0, len(EVERYTHING)), max_size=8))
def test_any_number_of_cuts_changes_nothing(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(EVERYTHING)]
    assert parsed(*(EVERYTHING[start:end] for start, end in pairwise(places))) == EVENTS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.lists(json_values, max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_what_is_sent_comes_out(values: list[object], newline: bytes, numbered: bool, size: int) -> None:
    wire = b"".join(
        (b"id: %d" % number + newline if numbered else b"") + b"data: " + json.dumps(value).encode() + newline * 2
        for number, value in enumerate(values, 1)
    )
    events = parsed(*(wire[start : start + size] for start in range(0, len(wire), size)))
    assert [json.loads(text) for _, text, _ in events] == values
    assert [event_id for _, _, event_id in events] == [
        b"%d" % n if numbered else None for n in range(1, len(values) + 1)
    ]


def as_the_standard_says(wire: bytes) -> list[ServerEvent]:
    """Return the events, found line by line in the standard's own words."""
    events: list[ServerEvent] = []
    name, lines, last_id = b"", list[bytes](), None
    for line in wire.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
        if not line:
            if lines:
                events.append((name, b"\n".join(lines), last_id))
            name, lines = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"event":
            name = value
        elif field == b"data":
            lines.append(value)
        elif field == b"id" and b"\0" not in value:
            last_id = value
    return events


some_lines = st.sampled_from(
    b"||id: 1|id: 2|xid: 3|id:4|id|id: 5\0|data: x|data: y|data:z| data: w|data: id: 6|data|event: a|: b".split(b"|")
)
plain_events = st.sampled_from([b"id: 7\ndata: u\n", b"id: 8\ndata: v\n", b"data: t\n"])


@given(
    st.lists(some_lines | plain_events, max_size=30),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 300), max_size=3),
)
def test_every_shape_of_events_is_read_as_the_standard_says(
    lines: list[bytes], newline: bytes, cuts: list[int]
) -> None:
    wire = b"".join(line + b"\n" for line in lines).replace(b"\n", newline)
    places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    assert parsed(*(wire[start:end] for start, end in pairwise(places))) == as_the_standard_says(wire)


def test_an_event_is_out_as_soon_as_its_blank_line_is() -> None:
    parser = EventParser()
    assert parser.feed(b"data: 1\r\r") == [(b"", b"1", None)]
    assert parser.feed(b"\ndata: 2\n\n") == [(b"", b"2", None)]


def test_an_event_without_its_blank_line_is_dropped() -> None:
    assert texts(b"data: 1\n\ndata: half\n") == [b"1"]


def test_an_event_without_data_is_none_but_its_id_holds() -> None:
    assert parsed(b"id: 7\n\ndata: x\n\n") == [(b"", b"x", b"7")]


def test_an_id_with_a_null_is_ignored() -> None:
    assert parsed(b"id: 1\n\nid: 2\0\ndata: x\n\n") == [(b"", b"x", b"1")]


def test_only_one_byte_order_mark_is_dropped() -> None:
    assert texts(b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n") == [b"y"]


def test_a_begin_that_only_looks_like_a_mark_is_kept() -> None:
    assert texts(b"\xef\xbb", b"data: x\n\n", b"data: y\n\n") == [b"y"]


def test_an_event_may_be_as_large_as_the_limit() -> None:
    parser = EventParser(max_event_bytes=100)
    line = b"data: " + b"x" * 93
    assert parser.feed(line) == []
    assert [text for _, text, _ in parser.feed(b"\n\n")] == [b"x" * 93]


def test_a_larger_event_is_refused_while_it_arrives() -> None:
    parser = EventParser(max_event_bytes=100)
    parser.feed(b"data: " + b"x" * 94)
    with pytest.raises(EventTooLargeError, match="100 bytes"):
        parser.feed(b"x")


def test_many_small_events_never_meet_the_limit() -> None:
    parser = EventParser(max_event_bytes=20)
    assert (
        len([event for _ in range(50) for event in parser.feed(b"data: 123\n\nda") + parser.feed(b"ta: 4\n\n")]) == 100
    )
