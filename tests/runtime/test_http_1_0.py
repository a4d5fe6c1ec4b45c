"""Callers that speak HTTP/1.0 (nginx's default upstream, `ab`, old proxies) get what they can read (RFC 9112, 6.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.raw_http import Connection

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[int]:
        for number in range(3):
            yield number
        if "fail" in payload:
            raise ValueError

    @app.get("/file")  # type: ignore[untyped-decorator]  # FastAPI's own
    async def file() -> StreamingResponse:
        return StreamingResponse(iter(["one ", "two"]), headers={"Transfer-Encoding": "chunked"})

    with running(app) as base:
        yield base


def ask(url: str, request_line: str, *fields: str, body: bytes = b"") -> tuple[str, bytes]:
    """Send a request of HTTP/1.0, read to the close of the connection, and return head and body."""
    with Connection(url) as connection:
        lines = [f"{request_line} HTTP/1.0", *fields, *([f"Content-Length: {len(body)}"] if body else [])]
        connection.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body)
        head, _, rest = connection.read_to_the_end().partition(b"\r\n\r\n")
    return head.decode().lower(), rest


@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        ([], b"{}", b"data: 0\n\ndata: 1\n\ndata: 2\n\n: done\n\n"),
        (["PPIO-Agent-Protocol: 1"], b"{}", b"id: 1\ndata: 0\n\nid: 2\ndata: 1\n\nid: 3\ndata: 2\n\nevent: done\n"),
        ([], b'{"fail": 1}', b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: {"),
        (["Expect: 100-continue"], b"{}", b"data: 0\n"),
        (["Connection: keep-alive"], b"{}", b"data: 0\n"),
    ],
    ids=["a stream", "protocol 1", "a failure", "an expectation", "a wish to keep it"],
)
def test_stream_ends_with_its_connection(url: str, fields: list[str], body: bytes, expected: bytes) -> None:
    head, rest = ask(url, "POST /invocations", *fields, body=body)
    assert head.startswith("http/1.1 200 ")
    assert "transfer-encoding" not in head
    assert "connection: close" in head
    assert rest.startswith(expected)


@pytest.mark.parametrize("line", ["GET /ping", "GET /file", "GET /metrics", "GET /nothing"])
def test_other_answers_are_whole_and_without_chunks(url: str, line: str) -> None:
    head, rest = ask(url, line)
    assert "transfer-encoding" not in head
    if "content-length" in head:
        assert f"content-length: {len(rest)}" in head
    else:
        assert rest == b"one two"


def test_value_has_its_length(url: str) -> None:
    head, rest = ask(url, "POST /invocations", "Accept: application/json", body=b"{}")
    assert f"content-length: {len(rest)}" in head
    assert b'"result":[0,1,2]' in rest
