"""Any request to an agent, and what every error must look like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .raw_http import Answer, Connection

ENVELOPE = {"result", "status", "duration", "metadata", "error", "error_type"}


def call(
    url: str,
    path: str = "/invocations",
    *,
    method: str = "POST",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request, its body as it is and without a media type, and return the whole answer."""
    length = {} if body is None else {"Content-Length": str(len(body))}
    lines = {"Host": "localhost", **length, **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with Connection(url) as connection:
        connection.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))
        if method == "HEAD":
            return Answer(*connection.read_head(), b"")
        return connection.read_answer()


def refusal(answer: Answer, status: int, error_type: str) -> str:
    """Return the sentence of an error, after a look at everything else that each error must have."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    envelope = json.loads(answer.body)
    assert envelope.keys() == ENVELOPE
    assert envelope["result"] is None
    assert envelope["status"] == "error"
    assert envelope["error_type"] == error_type
    assert envelope["metadata"]["request_id"] == answer.headers["x-ppio-request-id"]
    sentence: Any = envelope["error"]
    assert isinstance(sentence, str)
    assert sentence
    return sentence
