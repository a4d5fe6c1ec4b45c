"""What is refused before an agent sees it: bodies that are too large, too slow, or not JSON in UTF-8."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import Answer, Connection

pytestmark = pytest.mark.contract

LIMIT = 1000


def echo_app(**settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    async def echo(payload: Any) -> Any:
        return payload

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(echo_app()) as address:
        yield address


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    with running(echo_app(max_request_size=LIMIT)) as address:
        yield address


@pytest.fixture(scope="module")
def impatient() -> Iterator[str]:
    with running(echo_app(request_read_timeout_seconds=0.2)) as address:
        yield address


def text_of(size: int) -> bytes:
    return b'"' + b"x" * (size - 2) + b'"'


def send_chunked(url: str, *parts: bytes) -> Answer:
    with Connection(url) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (*parts, b""):
            connection.send(b"%x\r\n%b\r\n" % (len(part), part))
        return connection.read_answer()


def test_body_of_exactly_the_limit_is_taken(small: str) -> None:
    assert len(call(small, body=text_of(LIMIT)).result) == LIMIT - 2


def test_body_over_the_limit_is_413_and_names_the_limit(small: str) -> None:
    sentence = refusal(call(small, body=text_of(LIMIT + 1)), 413, "PayloadTooLargeError")

    assert sentence == "The body is larger than 1000 bytes, the limit 'max_request_size'."


def test_chunked_body_of_exactly_the_limit_is_taken(small: str) -> None:
    assert len(send_chunked(small, text_of(LIMIT)[:400], text_of(LIMIT)[400:]).result) == LIMIT - 2


@pytest.mark.parametrize("sizes", [[LIMIT + 1], [LIMIT, 1], [1] * (LIMIT + 1)])
def test_chunked_body_over_the_limit_is_413(small: str, sizes: list[int]) -> None:
    refusal(send_chunked(small, *(b"1" * size for size in sizes)), 413, "PayloadTooLargeError")


def test_announced_size_over_the_limit_is_413_before_the_body_comes(small: str) -> None:
    with Connection(small) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 1001\r\n\r\n")

        refusal(connection.read_answer(), 413, "PayloadTooLargeError")


def test_announced_size_over_the_limit_is_413_and_not_100_continue(small: str) -> None:
    with Connection(small) as connection:
        connection.send(
            b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n"
        )

        refusal(connection.read_answer(), 413, "PayloadTooLargeError")


def test_body_is_asked_for_with_100_continue(small: str) -> None:
    with Connection(small) as connection:
        connection.send(
            b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.read_head()[0] == 100
        connection.send(b"7")

        assert connection.read_answer().result == 7


def test_content_length_beside_a_chunked_body_is_no_way_past_the_limit(small: str) -> None:
    with Connection(small) as connection:
        connection.send(
            b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"bb8\r\n" + text_of(3000) + b"\r\n0\r\n\r\n"
        )

        assert connection.read_answer().status in (400, 413)


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30, "0x10"])
def test_content_length_that_is_no_size_is_400(small: str, length: str) -> None:
    refusal(call(small, headers={"Content-Length": length}), 400, "BadRequestError")


def test_default_limit_is_one_mebibyte(url: str) -> None:
    assert len(call(url, body=text_of(1024 * 1024)).result) == 1024 * 1024 - 2
    refusal(call(url, body=text_of(1024 * 1024 + 1)), 413, "PayloadTooLargeError")


def test_connection_is_usable_after_a_refused_body(small: str) -> None:
    with Connection(small) as connection:
        body = text_of(LIMIT + 1)
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        refusal(connection.read_answer(), 413, "PayloadTooLargeError")
        connection.post([1])

        assert connection.read_answer().result == [1]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON ; Charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json;charset=utf8",
        "application/json; charset=us-ascii",
        "application/json; profile=x",
        "application/vnd.agent+json",
    ],
)
def test_media_type_of_json_is_taken(url: str, media_type: str) -> None:
    assert call(url, body=b"[]", headers={"Content-Type": media_type}).result == []


def test_body_without_a_media_type_is_read_as_json(url: str) -> None:
    assert call(url, body=b"[]").result == []


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/x-ndjson",
        "json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
    ],
)
def test_other_media_type_is_415(url: str, media_type: str) -> None:
    refusal(call(url, body=b"[]", headers={"Content-Type": media_type}), 415, "UnsupportedMediaTypeError")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip"])
def test_encoded_body_is_415(url: str, encoding: str) -> None:
    answer = call(url, body=zlib.compress(b"[]"), headers={"Content-Encoding": encoding})

    assert "Content-Encoding" in refusal(answer, 415, "UnsupportedMediaTypeError")


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_body_without_an_encoding_by_name_is_taken(url: str, encoding: str) -> None:
    assert call(url, body=b"[]", headers={"Content-Encoding": encoding}).result == []


@pytest.mark.parametrize("body", [None, b"", b" \r\n\t"])
def test_empty_body_is_400(url: str, body: bytes | None) -> None:
    assert refusal(call(url, body=body), 400, "BadRequestError") == "The body is empty; send a JSON value."


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b"{a: 1}",
        b'{"a" 1}',
        b"nul",
        b"1 2",
        b"{}x",
        b"[]]",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b'"\n"',
        b'"\\x"',
        b'"\\u12"',
        b"// no\n1",
        b"\x00",
        b"\x1f\x8b\x08",
    ],
)
def test_body_that_is_not_json_is_400(url: str, body: bytes) -> None:
    assert refusal(call(url, body=body), 400, "BadRequestError").startswith("The body is not valid JSON: ")


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b'{"a": -Infinity}'])
def test_literal_that_json_does_not_have_is_400(url: str, literal: bytes) -> None:
    refusal(call(url, body=literal), 400, "BadRequestError")


@pytest.mark.parametrize(
    "body",
    [
        b'"\xff"',
        b'{"\xff": 1}',
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b'"\xf8\x88\x80\x80\x80"',
        b'"\xc0\x80"',
        b"\xff\xfe1\x00",
    ],
)
def test_body_that_is_not_utf8_is_400(url: str, body: bytes) -> None:
    refusal(call(url, body=body), 400, "BadRequestError")


@pytest.mark.parametrize("body", [b'"\\ud800"', b'"\\udc00x"', b'{"\\ud800": 1}'])
def test_half_of_a_surrogate_pair_is_400(url: str, body: bytes) -> None:
    refusal(call(url, body=body), 400, "BadRequestError")


def test_byte_order_mark_is_400(url: str) -> None:
    refusal(call(url, body=b"\xef\xbb\xbf[]"), 400, "BadRequestError")


def test_deep_body_comes_back(url: str) -> None:
    body = b"[" * 200 + b"]" * 200

    assert json.dumps(call(url, body=body).result).encode() == body


@pytest.mark.parametrize("body", [b"[" * 300 + b"]" * 300, b"[" * 100_000, b'{"a":' * 300 + b"1" + b"}" * 300])
def test_body_that_is_nested_too_deeply_is_400(url: str, body: bytes) -> None:
    refusal(call(url, body=body), 400, "BadRequestError")


@pytest.mark.parametrize("number", ["9" * 4000, "-" + "9" * 4000, "1e308", "-0.0", "1e-400", "123456789012345678901"])
def test_extreme_number_comes_back(url: str, number: str) -> None:
    assert call(url, body=number.encode()).json["result"] == json.loads(number)


def test_number_with_more_digits_than_python_reads_is_400(url: str) -> None:
    refusal(call(url, body=b"9" * 5000), 400, "BadRequestError")


def test_number_beyond_floats_is_infinite_and_comes_back_as_null(url: str) -> None:
    assert call(url, body=b"1e999").result is None


def test_body_that_does_not_come_is_408(impatient: str) -> None:
    with Connection(impatient) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 10\r\n\r\n[1")

        sentence = refusal(connection.read_answer(), 408, "RequestReadTimeoutError")
    assert sentence == "The body did not arrive within 0.2 s, the limit 'request_read_timeout_seconds'."


def test_body_that_trickles_is_408(impatient: str) -> None:
    with Connection(impatient) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"1\r\n[\r\n")

        refusal(connection.read_answer(), 408, "RequestReadTimeoutError")


def test_service_goes_on_after_a_slow_body(impatient: str) -> None:
    with Connection(impatient) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 10\r\n\r\n")
        connection.read_answer()

    assert call(impatient, body=b"1").result == 1
