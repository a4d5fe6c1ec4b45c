"""What hostile and broken callers get: the right status or a closed connection, never a 500; the service lives on."""

from __future__ import annotations

import json
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.runtime.wire import connect, post, read_to_end, read_until, request, send_post

pytestmark = pytest.mark.contract

HEAD = b"POST /invocations HTTP/1.1\r\nHost: agent\r\n"


def echo_app(**config: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**config))

    @app.entrypoint
    async def echo(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """One server for all attacks: each finds it alive, or the ones before have failed."""
    with running(echo_app()) as base:
        yield base


def outcome(url: str, sent: bytes) -> bytes:
    """Send bytes on a connection of their own, say that nothing follows the next request, and return all answers."""
    with connect(url) as connection:
        try:
            connection.sendall(sent)
            connection.sendall(b"GET /end HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has heard enough
        return read_to_end(connection)


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


def with_body(body: bytes, *fields: bytes) -> bytes:
    return HEAD + b"".join(field + b"\r\n" for field in fields) + b"Content-Length: %d\r\n\r\n" % len(body) + body


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

SMUGGLED = {
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "a hexadecimal length": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "a folded field": HEAD + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "space before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "bare line feeds": b"POST /invocations HTTP/1.1\nHost: agent\nContent-Length: 2\n\n{}",
    "no host": b"POST /invocations HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    "two hosts": HEAD + b"Host: other\r\nContent-Length: 2\r\n\r\n{}",
    "a chunk size that is none": CHUNKED + b"ZZ\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a prefixed chunk size": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"2\r\n{}XX0\r\n\r\n",
    "a line feed in a chunk extension": CHUNKED + b"2;a\n{}\r\n0\r\n\r\n",
    "chunked, and then something else": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a NUL in a field": HEAD + b"X-A: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL in a name": HEAD + b"X\0A: a\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL in the path": b"POST /invo\0cations HTTP/1.1\r\nHost: agent\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: agent\r\n\r\n",
    "a method of nobody": b"FOO /ping HTTP/1.1\r\nHost: agent\r\n\r\n",
    "a version of nobody": b"GET /ping HTTP/9.9\r\nHost: agent\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
}


@pytest.mark.parametrize("sent", SMUGGLED.values(), ids=SMUGGLED)
def test_what_two_servers_could_read_differently_is_refused_and_the_connection_closed(url: str, sent: bytes) -> None:
    answers = outcome(url, sent)
    assert statuses(answers) == [400]
    head, _, body = answers.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert json.loads(body)["error_type"] == "BadRequestError"
    assert post(url).status == 200


TOO_MUCH = {
    "many fields": HEAD + b"".join(b"X-%d: a\r\n" % number for number in range(20_000)) + b"\r\n",
    "a long field": HEAD + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "a long name": HEAD + b"X" * 1_000_000 + b": a\r\n\r\n",
    "a long path": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: agent\r\n\r\n",
    "a field without an end": HEAD + b"X-A: " + b"a" * 1_000_000,
}


@pytest.mark.parametrize("sent", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_flood_of_header_fields_is_cut_off(url: str, sent: bytes) -> None:
    assert statuses(outcome(url, sent)) in (
        [431],
        [],
    )  # nothing arrives where the rest of the flood reset the connection
    assert post(url).status == 200


@pytest.mark.parametrize("bytes_at_first", [1000, 50_000, 64_000])
def test_a_head_that_is_too_large_is_so_in_parts_too(url: str, bytes_at_first: int) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 2\r\n"
    head += b"".join(b"X-%d: %b\r\n" % (number, b"a" * 1000) for number in range(100)) + b"\r\n"
    with closing(connect(url)) as connection:
        connection.sendall(head[:bytes_at_first])
        assert request(url, "GET", "/ping").status == 200  # so the server has read the first part
        connection.sendall(head[bytes_at_first:] + b"{}")

        assert statuses(read_to_end(connection)) == [431]


def test_an_honest_head_is_not_too_large(url: str) -> None:
    fields = {f"X-Field-{number}": "a" * 400 for number in range(100)}
    assert request(url, "POST", "/invocations", b"{}", fields).status == 200


ODD = {
    "deep arrays": (b"[" * 100_000, 400),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "a number of 100,000 digits": (b'{"a":' + b"9" * 100_000 + b"}", 400),
    "a number beyond all": (b'{"a":1e999999}', 200),
    "a timeout beyond all": (b'{"timeout":1e999}', 200),
    "a timeout of 4,000 digits": (b'{"timeout":' + b"9" * 4000 + b"}", 200),
    "a raw NUL": (b'{"a":"\0"}', 400),
    "an escaped NUL": (b'{"a":"\\u0000","session_id":"\\u0000"}', 200),
    "a NUL behind": (b"{}\0", 400),
    "bytes that are no text": (b'{"a":"\xff"}', 400),
    "a lone surrogate": (b'{"session_id":"\\ud800"}', 400),
    "a byte order mark": (b"\xef\xbb\xbf{}", 400),
    "UTF-16": ('{"a":1}'.encode("utf-16"), 400),
    "nothing but blanks": (b" " * 10_000, 400),
    "60,000 keys": (json.dumps({str(number): number for number in range(60_000)}).encode(), 200),
    "60,000 keys alike": (b"{" + b",".join([b'"same":1'] * 60_000) + b"}", 200),
    "keys that collide under a plain hash": (
        json.dumps(
            dict.fromkeys(("".join("Aa" if bit == "0" else "BB" for bit in f"{n:014b}") for n in range(16384)), 1)
        ).encode(),
        200,
    ),
}


@pytest.mark.parametrize(("body", "status"), ODD.values(), ids=ODD)
def test_odd_json_is_refused_or_taken_never_an_accident(url: str, body: bytes, status: int) -> None:
    assert statuses(outcome(url, with_body(body))) == [status, 404]


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"X-Whatever: \xff\xfe", 200),
        (b"X-PPIO-Request-Id: \xff\xfe", 200),
        (b"X-PPIO-Request-Id: " + b"a" * 10_000, 200),
        (b"X-PPIO-User-Id: \xff\xfe", 200),
        (b"X-PPIO-Session-Id: \xff\xfe", 400),
        (b"X-PPIO-Session-Id: %ED%A0%80", 400),
        (b"X-PPIO-Session-Id: " + b"a" * 257, 400),
        (b"X-PPIO-Session-Id: %00%0d%0aX-Injected:%201", 200),
        (b"X-PPIO-Timeout: \xff", 400),
        (b"X-PPIO-Timeout: nan", 400),
        (b"X-PPIO-Timeout: -1", 400),
        (b"X-PPIO-Timeout: 1e999", 400),
        (b"Accept: \xff\xfe", 406),
        (b"Accept: " + b"a/b," * 10_000 + b"*/*", 200),
        (b"Content-Type: \xff\xfe", 415),
        (b"Content-Encoding: gzip", 415),
        (b"Origin: \xff\xfe", 200),
        (b"PPIO-Agent-Protocol: \xff", 200),
        (b"Expect: something", 200),
        (b"traceparent: \xff", 200),
        (b"Idempotency-Key: \xff", 400),
        (b"X-PPIO-On-Disconnect: \xff", 400),
        (b"Prefer: \xff", 200),
        (b"Last-Event-ID: \xff", 200),
    ],
)
def test_no_header_field_breaks_anything(url: str, field: bytes, status: int) -> None:
    answers = outcome(url, with_body(b"{}", field))
    assert statuses(answers) == [status, 404]
    assert b"\r\nX-Injected" not in answers


@pytest.mark.parametrize(
    "path", ["/%00", "/%ff%fe", "/%", "/..%2f..%2fetc/passwd", "//", "/ping/", "/invocations/", "*"]
)
def test_no_path_breaks_anything(url: str, path: str) -> None:
    answers = outcome(url, f"GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n".encode())
    assert statuses(answers) == [404, 404]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sent=st.binary(max_size=200).flatmap(lambda noise: st.sampled_from([with_body(noise), noise + b"\r\n\r\n"])))
def test_no_bytes_make_a_500(url: str, sent: bytes) -> None:
    answers = outcome(url, sent)
    assert not any(status >= 500 for status in statuses(answers))


def trickle(connection: socket.socket, piece: bytes) -> bytes:
    """Send a byte at a time until the server has had enough; return what it says."""
    connection.settimeout(0.05)
    got = b""
    while True:
        try:
            connection.sendall(piece)
            part = connection.recv(65536)
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return got
        if not part:
            return got
        got += part


@pytest.mark.parametrize(
    ("beginning", "piece", "status"),
    [
        (b"POST /invo", b"o", [408]),
        (HEAD + b"X-A: ", b"a", [408]),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b" ", [408]),
        (CHUNKED, b"1\r\n \r\n", [408]),
        (b"\r\n", b"\r\n", []),
    ],
    ids=["request line", "field", "body", "chunks", "blank lines"],
)
def test_whoever_sends_too_slowly_is_cut_off(beginning: bytes, piece: bytes, status: list[int]) -> None:
    with running(echo_app(request_read_timeout_seconds=1)) as base, connect(base) as connection:
        connection.sendall(beginning)
        answers = trickle(connection, piece)
        assert statuses(answers) == status
        assert post(base).status == 200


def test_a_body_that_goes_on_after_its_refusal_is_cut_off() -> None:
    with running(echo_app(request_read_timeout_seconds=1, max_request_size=10)) as base, connect(base) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        assert statuses(trickle(connection, b" ")) == [413]


def test_the_rest_of_a_refused_body_is_read_so_that_the_answer_arrives(url: str) -> None:
    assert request(url, "POST", "/invocations", b" " * 8_000_000).status == 413


def test_a_refused_body_that_never_ends_is_cut_off(url: str) -> None:
    def pour(connection: socket.socket) -> None:
        while True:
            connection.sendall(b" " * 1_000_000)

    with connect(url) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000000000\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            pour(connection)


def test_a_connection_that_never_says_anything_is_closed() -> None:
    with running(echo_app(request_read_timeout_seconds=1)) as base, connect(base) as connection:
        assert read_to_end(connection) == b""


def test_a_second_head_that_never_ends_is_cut_off_too() -> None:
    with running(echo_app(request_read_timeout_seconds=1)) as base, connect(base) as connection:
        send_post(connection)
        read_until(connection, b"error_type")
        connection.sendall(b"POST /invo")
        assert statuses(trickle(connection, b"o")) == [408]


def test_a_slow_answer_is_not_a_slow_request() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(request_read_timeout_seconds=0.2))

    @app.entrypoint
    def agent(payload: dict[str, Any]) -> str:
        with socket.create_server(("127.0.0.1", 0)) as nobody:  # waits longer than any limit on reading
            nobody.settimeout(1)
            with pytest.raises(TimeoutError):
                nobody.accept()
        return "done"

    with running(app) as base:
        assert post(base).json["result"] == "done"


def test_garbage_behind_a_request_never_becomes_a_part_of_its_answer() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(payload: dict[str, Any]) -> Any:
        yield "first"
        while True:
            yield "more"

    with running(app) as base, connect(base) as connection:
        send_post(connection)
        read_until(connection, b"first")
        connection.sendall(b"\0\0 this is no request\r\n\r\n")
        assert b"400 Bad Request" not in read_to_end(connection)
        assert request(base, "GET", "/ping").status == 200


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_closed(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    answers = read_to_end(connection)
    assert statuses(answers) in ([200], [])


@pytest.mark.parametrize("leave", [half_closed, reset, socket.socket.close], ids=["half-closed", "reset", "closed"])
@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{", with_body(b"{}")])
def test_sockets_that_end_at_any_point_harm_nobody(
    url: str, leave: Callable[[socket.socket], None], sent: bytes
) -> None:
    with closing(connect(url)) as connection:
        connection.sendall(sent)
        leave(connection)
    assert post(url).status == 200


def test_a_thousand_idle_connections_keep_nobody_out(url: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * 1000 + 200
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            pytest.skip(f"this machine allows {hard} open files, {needed} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(url)) for _ in range(1000)]
        for connection in idle[:500]:
            connection.sendall(HEAD)
        assert [post(url).status for _ in range(5)] == [200] * 5
        assert request(url, "GET", "/ping").status == 200
        idle[0].sendall(b"Content-Length: 2\r\n\r\n{}")
        assert read_until(idle[0], b"\r\n").startswith(b"HTTP/1.1 200")
