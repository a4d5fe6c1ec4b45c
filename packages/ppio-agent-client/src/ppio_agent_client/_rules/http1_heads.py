"""Heads of requests and answers in HTTP/1.1 (RFC 9112, sections 2 to 5): a line, and fields as they may stand."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS_LINE: Final = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?", re.ASCII)
_CONTROLS: Final = re.compile(r"[\0-\x08\n-\x1f\x7f]")
_NOT_THE_CALLERS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})


class UnsendableError(ValueError):
    """A request cannot be written as HTTP."""


class MalformedAnswerError(ValueError):
    """What arrived is no answer, or none that can be understood in one way only."""


def request_bytes(method: str, path: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a request as it goes over the wire.

    Args:
        method: A token, in capitals.
        path: Path and query, percent-encoded.
        host: Host and, unless it is the scheme's own, port.
        headers: The headers of the caller; how long the body is and what becomes of the connection is not among them.
        body: The whole body.

    Raises:
        UnsendableError: A header would end early, or is not the caller's to set.
    """
    lines = [f"{method} {path} HTTP/1.1\r\nHost: {host}"]
    for name, value in headers.items():
        if _lower_name(name) in _NOT_THE_CALLERS:
            raise UnsendableError(f"the header {name!r} is set by the transport")
        if not (value.isascii() and value.isprintable()):
            raise UnsendableError(f"the value of the header {name!r} has characters that no header may have")
        lines.append(f"{name}: {value}")
    if body or method not in ("GET", "HEAD", "DELETE"):
        lines.append(f"Content-Length: {len(body)}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("ascii") + body


def parsed_head(head: bytes) -> tuple[str, int, dict[str, str]]:
    """Return the minor version, the status and the headers of an answer.

    Raises:
        MalformedAnswerError: It is no head, or none that can be understood in one way only.
    """
    line, _, fields = head.partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line.decode("latin-1"))
    if match is None or _CONTROLS.search(match[0]):
        raise MalformedAnswerError("the answer has no status line of HTTP/1.1")
    return match[1], int(match[2]), parsed_fields(fields)


def parsed_fields(fields: bytes) -> dict[str, str]:
    """Return headers by lower-case names; what comes more than once is joined by commas.

    Raises:
        MalformedAnswerError: A line of them is no header.
    """
    headers: dict[str, str] = {}
    if not fields:
        return headers
    lines = fields.decode("latin-1").split("\r\n")
    together = "".join(lines)
    is_clean = together.isascii() and together.isprintable()  # all at once: there is hardly another kind
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not (is_clean or not _CONTROLS.search(value)):
            raise MalformedAnswerError("a header of the answer is no header")
        try:
            name = _lower_name(name)
        except UnsendableError as error:
            raise MalformedAnswerError("the name of a header of the answer is no name") from error
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


@functools.lru_cache(maxsize=512)
def _lower_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise UnsendableError(f"{name!r} is no name of a header")
    return name.lower()


def items(value: str) -> list[str]:
    """Return the items of a list that stands in a header (RFC 9110, section 5.6.1)."""
    return [item.strip(" \t").lower() for item in value.split(",")]
