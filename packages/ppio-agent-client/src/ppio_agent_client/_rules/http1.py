"""An answer in HTTP/1.1 (RFC 9112) as its bytes arrive, cut anywhere.

Where two readers could understand an answer differently, it is refused: the next answer on the connection would be
whatever the other one makes of the rest.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

from .http1_heads import MalformedAnswerError, items, parsed_fields, parsed_head

MAX_HEAD_BYTES: Final = 64 * 1024
"""The most that the head of an answer may have, and the trailer section of a chunked one."""
MAX_SIZE_LINE_BYTES: Final = 4096
"""The most that the line before a chunk may have, its extensions included."""
MAX_INTERIM_ANSWERS: Final = 20
"""How many 1xx answers may come before the one that counts."""

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\0-\x08\n-\x1f\x7f]*)?")
_LENGTH: Final = re.compile(r"\d{1,18}", re.ASCII)


class AnswerReader:
    """Takes the bytes of one connection and gives the body of one answer.

    Args:
        method: Of the request: an answer to HEAD has no body.

    Attributes:
        status: 0 until the head has arrived.
        headers: By lower-case names; what comes more than once is joined by commas.
        ended: Whether the answer has arrived whole.
        leaves_reusable: Whether the connection is as good as new behind it.
    """

    def __init__(self, method: str) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        self.leaves_reusable = False
        self._method = method
        # Plain functions: a method of this object, kept in it, would be a circle.
        self._step: Step = AnswerReader._head
        self._held = b""
        self._left = 0
        self._interim = 0

    def feed(self, data: bytes) -> bytes:
        """Return what `data` adds to the body, which may be nothing.

        Raises:
            MalformedAnswerError: It is no answer.
        """
        return self._step(self, data)

    def feed_end(self) -> None:
        """Note that nothing more will come.

        Raises:
            MalformedAnswerError: The answer is not whole.
        """
        if self._step is AnswerReader._until_end:
            self.ended = True
        elif not self.ended:
            what = "inside its answer" if self.status or self._held else "without an answer"
            raise MalformedAnswerError(f"the server closed the connection {what}")

    def _head(self, data: bytes) -> bytes:
        known = max(len(self._held) - 3, 0)
        held = self._held + data
        if not held.startswith(b"HTTP/1."[: len(held)]):
            raise MalformedAnswerError("what the server sent is not HTTP/1.1")
        end = held.find(b"\r\n\r\n", known)
        if end > MAX_HEAD_BYTES or (end < 0 and len(held) > MAX_HEAD_BYTES):
            raise MalformedAnswerError(f"the head of the answer has more than {MAX_HEAD_BYTES} bytes")
        if end < 0:
            self._held = held
            return b""
        version, status, headers = parsed_head(held[:end])
        self._held, rest = b"", held[end + 4 :]
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM_ANSWERS:
                raise MalformedAnswerError(f"the server answered {status}, which was not asked for")
            return self._head(rest) if rest else b""
        self.status, self.headers = status, headers
        self.leaves_reusable = version == "1" and not _says_close(headers.get("connection"))
        self._step = self._framing(version)
        return self._step(self, rest)

    def _framing(self, version: str) -> Step:
        """Return what reads the body (RFC 9112, section 6.3)."""
        length = self.headers.get("content-length")
        encoding = self.headers.get("transfer-encoding")
        if encoding is not None and (length is not None or version == "0" or encoding.lower() != "chunked"):
            raise MalformedAnswerError("how long the answer is can be understood in more than one way")
        if self._method == "HEAD" or self.status in {204, 304}:
            if self.status == 204 and (encoding is not None or length not in {None, "0"}):
                self.leaves_reusable = False  # it has no body, and may send one all the same
            return AnswerReader._surplus
        if encoding is not None:
            return AnswerReader._chunks
        if length is None:
            self.leaves_reusable = False
            return AnswerReader._until_end
        self._left = _length(length)
        return AnswerReader._counted

    def _counted(self, data: bytes) -> bytes:
        if len(data) < self._left:
            self._left -= len(data)
            return data
        body, rest = data[: self._left], data[self._left :]
        self._surplus(rest)
        return body

    def _until_end(self, data: bytes) -> bytes:
        return data

    def _surplus(self, data: bytes) -> bytes:
        """End the answer. What comes behind it answers nothing that was asked."""
        self.ended = True
        self._step = AnswerReader._surplus
        if data:
            self.leaves_reusable = False
        return b""

    def _chunks(self, data: bytes) -> bytes:
        """Return what stands inside the chunks (RFC 9112, section 7.1)."""
        if self._left > len(data) + 2:
            self._left -= len(data)
            return data
        parts: list[bytes] = []
        at = self._rest_of_chunk(data, parts) if self._left else 0
        if self._held:
            data, at, self._held = self._held + data[at:], 0, b""
        while at < len(data):
            line_end = data.find(b"\r\n", at, at + MAX_SIZE_LINE_BYTES)
            if line_end < 0:
                self._hold(data[at:], MAX_SIZE_LINE_BYTES)
                break
            size = _chunk_size(data[at:line_end])
            start = line_end + 2
            if size == 0:
                self._step = AnswerReader._trailer
                self._trailer(b"\r\n" + data[start:])
                break
            at = start + size + 2
            if at <= len(data):
                if data[at - 2 : at] != b"\r\n":
                    raise MalformedAnswerError("a chunk of the answer is longer than it says")
                parts.append(data[start : at - 2])
            else:
                self._left = size + 2
                self._rest_of_chunk(data[start:], parts)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _rest_of_chunk(self, data: bytes, parts: list[bytes]) -> int:
        """Take what is left of a chunk and the line end behind it; return where the next one begins."""
        size = max(self._left - 2, 0)
        mark = data[size : self._left]
        if mark and mark != b"\r\n"[2 - min(self._left, 2) :][: len(mark)]:
            raise MalformedAnswerError("a chunk of the answer is longer than it says")
        parts.append(data[:size])
        taken = min(self._left, len(data))
        self._left -= taken
        return taken

    def _trailer(self, data: bytes) -> bytes:
        """Pass over the fields behind the last chunk; nothing that they say is used."""
        held = self._held + data
        end = held.find(b"\r\n\r\n")
        if end < 0:
            self._hold(held, MAX_HEAD_BYTES)
            return b""
        if end:
            parsed_fields(held[2:end])
        self._held = b""
        return self._surplus(held[end + 4 :])

    def _hold(self, data: bytes, limit: int) -> None:
        if len(data) >= limit:
            raise MalformedAnswerError(f"a line of the answer has more than {limit} bytes")
        self._held = data


Step = Callable[[AnswerReader, bytes], bytes]
"""What the next bytes are read as."""


@functools.lru_cache(maxsize=512)
def _chunk_size(line: bytes) -> int:
    match = _SIZE_LINE.fullmatch(line)
    if match is None:
        raise MalformedAnswerError("a chunk of the answer does not say how long it is")
    return int(match[1], 16)


def _length(value: str) -> int:
    """Return the length; said more than once, it has to be the same (RFC 9112, section 6.3)."""
    first, *others = items(value) if "," in value else (value,)
    if not _LENGTH.fullmatch(first) or any(other != first for other in others):
        raise MalformedAnswerError("the answer does not say how long it is")
    return int(first)


def _says_close(connection: str | None) -> bool:
    return connection is not None and "close" in items(connection)
