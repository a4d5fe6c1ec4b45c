"""HTTP/1.1 as bytes: written so that h11 reads it, read as h11 reads it, and refused where that is in doubt."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._rules.http1 import (
    MAX_HEAD_BYTES,
    MAX_INTERIM_ANSWERS,
    MAX_SIZE_LINE_BYTES,
    AnswerReader,
)
from ppio_agent_client._rules.http1_heads import MalformedAnswerError, UnsendableError, request_bytes

Answer = tuple[int, dict[str, str], bytes, bool]
"""Status, headers, body, and whether the connection can be used again."""

COUNTED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nX-A:  one \r\nx-a: two\r\nX-Empty:\r\n\r\n"
    b"5\r\nhello\r\n6;name=value\r\n world\r\n1\r\n\n\r\n0a\r\n0123456789\r\n0;last\r\nTrailer: x\r\nOther: y\r\n\r\n"
)


def read(*parts: bytes, method: str = "POST", ends: bool = False) -> Answer:
    reader = AnswerReader(method)
    body = b"".join([reader.feed(part) for part in parts])
    if ends:
        reader.feed_end()
    assert reader.ended
    return reader.status, reader.headers, body, reader.leaves_reusable


def read_by_h11(data: bytes, method: str = "POST", *, ends: bool = False) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "a"), ("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if ends:
        connection.receive_data(b"")
    status, body = 0, b""
    headers: dict[str, str] = {}
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        if isinstance(event, h11.Response):
            status = event.status_code
            for name, value in event.headers:
                key = name.decode()
                headers[key] = f"{headers[key]}, {value.decode()}" if key in headers else value.decode()
        elif isinstance(event, h11.Data):
            body += event.data
    reusable = connection.our_state is h11.DONE and connection.their_state is h11.DONE
    return status, headers, body, reusable and not connection.trailing_data[0]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(places), len(data)])]


def test_a_counted_answer_is_read() -> None:
    assert read(COUNTED) == (200, {"content-type": "text/plain", "content-length": "5"}, b"hello", True)


def test_an_answer_in_chunks_is_read_with_all_that_may_stand_around_it() -> None:
    status, headers, body, reusable = read(CHUNKED)
    assert (status, body, reusable) == (201, b"hello world\n0123456789", True)
    assert headers == {"transfer-encoding": "chunked", "x-a": "one, two", "x-empty": ""}


@pytest.mark.parametrize("data", [COUNTED, CHUNKED])
def test_a_cut_at_any_byte_changes_nothing(data: bytes) -> None:
    for place in range(len(data) + 1):
        assert read(*cut(data, [place])) == read_by_h11(data)
    assert read(*(bytes([byte]) for byte in data)) == read_by_h11(data)


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=12))
def test_any_number_of_cuts_changes_nothing(places: list[int]) -> None:
    assert read(*cut(CHUNKED, places)) == read_by_h11(CHUNKED)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(0, 3000), max_size=8), st.data())
def test_whatever_stands_in_chunks_comes_out(chunks: list[bytes], places: list[int], data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.sampled_from([b"%x", b"%X", b"00%x", b"%x ;a=b"]), min_size=9, max_size=9))
    framed = b"".join(
        size % len(chunk) + b"\r\n" + chunk + b"\r\n" for size, chunk in zip(sizes, [*chunks], strict=False)
    )
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    assert read(*cut(wire, [min(place, len(wire)) for place in places]))[2:] == (b"".join(chunks), True)


TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
NAMES = st.text("abcXYZ019-_", min_size=1, max_size=8).map(lambda name: f"x-{name}")


@given(
    st.sampled_from([200, 204, 304, 404, 500, 503]),
    st.dictionaries(NAMES, TEXT, max_size=6),
    st.binary(max_size=40),
    st.sampled_from(["POST", "HEAD"]),
    st.sampled_from([b"1.1", b"1.0"]),
    st.sampled_from([b"", b"Connection: close\r\n", b"Connection: x, Close\r\n", b"Connection: keep-alive\r\n"]),
    st.sampled_from(["length", "chunks", "end"]),
    st.binary(max_size=3),
)
def test_an_answer_is_understood_as_h11_understands_it(
    status: int,
    headers: dict[str, str],
    body: bytes,
    method: str,
    version: bytes,
    connection: bytes,
    framing: str,
    surplus: bytes,
) -> None:
    fields = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items()) + connection
    has_body = method != "HEAD" and status not in {204, 304}
    if framing == "length":
        fields += b"Content-Length: %d\r\n" % len(body)
    elif framing == "chunks" and version == b"1.1":
        fields += b"Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    data = b"HTTP/%b %d Reason\r\n%b\r\n" % (version, status, fields) + (body if has_body else b"") + surplus
    try:
        expected = read_by_h11(data, method, ends=True)
    except h11.RemoteProtocolError:
        return  # what h11 refuses may be refused
    found = read(data, method=method, ends=True)
    assert found[:3] == expected[:3]
    assert found[3] <= (not surplus and version == b"1.1" and b"lose" not in connection)


@given(st.binary(max_size=200), st.integers(0, 200), st.sampled_from([b"", COUNTED[:16], COUNTED[:40], CHUNKED[:150]]))
def test_no_bytes_break_the_reader_and_none_are_understood_that_h11_refuses(
    noise: bytes, place: int, begin: bytes
) -> None:
    data = begin + noise
    try:
        found = read(*cut(data, [min(place, len(data))]), ends=True)
    except (MalformedAnswerError, AssertionError):
        return
    assert found[:3] == read_by_h11(data, ends=True)[:3]


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 ٢٠٠ OK\r\n\r\n".encode(),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        HEAD + b": no name\r\n\r\n",
        HEAD + b"Space : x\r\n\r\n",
        HEAD + b" Folded: x\r\n\r\n",
        HEAD + b"X-A: one\r\n two\r\n\r\n",
        HEAD + b"X-A: one\ntwo: three\r\n\r\n",
        HEAD + b"X-A: one\rtwo: three\r\n\r\n",
        HEAD + b"X-A: o\0ne\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"Content-Length: 5, 6\r\n\r\n",
        HEAD + b"Content-Length: +5\r\n\r\n",
        HEAD + b"Content-Length: -5\r\n\r\n",
        HEAD + b"Content-Length: 5_0\r\n\r\n",
        HEAD + b"Content-Length: 0x5\r\n\r\n",
        HEAD + b"Content-Length:\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        *(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body
            for body in (
                b"5\nhello\r\n",
                b"\r\n",
                b"+5\r\nhello\r\n",
                b" 5\r\nhello\r\n",
                b"0x5\r\nhello\r\n",
                b"5_0\r\nhello\r\n",
                b"g\r\n",
                b"5\r\nhelloX\r\n",
                b"5\r\nhello\n0\r\n\r\n",
                b"5\r\nhello\r\r\n",
                b"5;\0\r\nhello\r\n",
                b"f" * 20 + b"\r\n",
                b"0\r\nno colon\r\n\r\n",
                b"0\r\nX: a\nb\r\n\r\n",
            )
        ),
    ],
)
def test_what_is_no_answer_is_refused_wherever_it_is_cut(data: bytes) -> None:
    for parts in ([data], [bytes([byte]) for byte in data], cut(data, [len(data) // 2])):
        with pytest.raises(MalformedAnswerError):
            read(*parts)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 2", "inside its answer"),
        (COUNTED[:-1], "inside its answer"),
        (CHUNKED[:-1], "inside its answer"),
    ],
)
def test_an_end_before_the_end_is_said(data: bytes, says: str) -> None:
    reader = AnswerReader("POST")
    reader.feed(data)
    assert not reader.ended
    with pytest.raises(MalformedAnswerError, match=says):
        reader.feed_end()


def test_a_coding_is_named_without_regard_to_case() -> None:
    assert read(HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")[2] == b"x"


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    assert read(HEAD + b"\r\n", b"hel", b"lo", ends=True) == (200, {}, b"hello", False)


def test_bytes_behind_an_answer_spoil_the_connection() -> None:
    assert read(COUNTED + b"HTTP/1.1 200 OK\r\n")[3] is False
    assert read(COUNTED, b"x")[3] is False


@pytest.mark.parametrize("padding", [MAX_HEAD_BYTES - 100, MAX_HEAD_BYTES])
def test_a_head_has_a_limit(padding: int) -> None:
    data = HEAD + b"X-Padding: " + b"x" * padding + b"\r\nContent-Length: 0\r\n\r\n"
    for size in (len(data), 1000):
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        if padding < MAX_HEAD_BYTES:
            assert read(*parts)[0] == 200
        else:
            with pytest.raises(MalformedAnswerError, match=str(MAX_HEAD_BYTES)):
                read(*parts)


def test_a_line_before_a_chunk_and_a_trailer_have_limits() -> None:
    for endless in (b"5;" + b"x" * MAX_SIZE_LINE_BYTES, b"0\r\nX: " + b"x" * MAX_HEAD_BYTES):
        reader = AnswerReader("POST")
        reader.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(MalformedAnswerError, match="more than"):
            reader.feed(endless)


def test_interim_answers_have_a_limit() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    assert read(interim * MAX_INTERIM_ANSWERS + COUNTED)[2] == b"hello"
    with pytest.raises(MalformedAnswerError, match="102"):
        read(interim * (MAX_INTERIM_ANSWERS + 1) + COUNTED)


def read_request(data: bytes) -> tuple[bytes, bytes, dict[bytes, bytes], bytes]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
    return request.method, request.target, dict(request.headers), body


@given(st.dictionaries(NAMES.map(str.lower), TEXT, max_size=6), st.binary(max_size=100))
def test_a_request_is_read_by_h11_as_it_was_meant(headers: dict[str, str], body: bytes) -> None:
    method, path, sent, received = read_request(request_bytes("POST", "/a?b=c", "host:1", headers, body))
    assert (method, path, received) == (b"POST", b"/a?b=c", body)
    assert sent == {
        b"host": b"host:1",
        b"content-length": str(len(body)).encode(),
        **{name.encode(): value.encode() for name, value in headers.items()},
    }


def test_a_request_without_a_body_says_so_where_one_could_be() -> None:
    assert b"content-length" not in read_request(request_bytes("GET", "/", "a", {}, b""))[2]
    assert read_request(request_bytes("POST", "/", "a", {}, b""))[2][b"content-length"] == b"0"
    assert read_request(request_bytes("DELETE", "/", "a", {}, b"x"))[3] == b"x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "one\r\nX-B: two"),
        ("X-A", "one\n"),
        ("X-A", "one\0"),
        ("X-A", "naïve"),
        ("X-A: one\r\nX-B", "two"),
        ("X A", "one"),
        ("", "one"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Host", "elsewhere"),
        ("Connection", "close"),
    ],
)
def test_a_header_cannot_become_another_request(name: str, value: str) -> None:
    with pytest.raises(UnsendableError) as caught:
        request_bytes("POST", "/", "a", {name: value}, b"")
    assert value not in str(caught.value)
