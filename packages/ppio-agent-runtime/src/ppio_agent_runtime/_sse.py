"""Chunks as server-sent events (WHATWG HTML, section 9.2), in the two framings that callers speak."""

from __future__ import annotations

from typing import Final

HEARTBEAT: Final = b": keep-alive\n\n"
"""A comment: keeps proxies from closing a silent stream, and every client skips it."""


PLAIN_END: Final = b": done\n\n"
"""The comment that ends a complete stream where nobody expects an event."""


class NumberedFraming:
    """Protocol 1: every event has an id, and `done` or `error` closes the stream."""

    __slots__ = ("_last_id",)

    def __init__(self) -> None:
        self._last_id = 0

    def chunks(self, encoded: list[bytes]) -> bytes:
        """Return one event for each encoded value."""
        first = self._last_id + 1
        self._last_id += len(encoded)
        return b"".join([b"id: %d\ndata: %b\n\n" % (number, data) for number, data in enumerate(encoded, first)])

    def done(self, envelope: bytes) -> bytes:
        """Return the event that ends a complete stream."""
        return self._closing(b"done", envelope)

    def failed(self, envelope: bytes) -> bytes:
        """Return the event that ends a failed stream."""
        return self._closing(b"error", envelope)

    def _closing(self, event: bytes, envelope: bytes) -> bytes:
        self._last_id += 1
        return b"event: %b\nid: %d\ndata: %b\n\n" % (event, self._last_id, envelope)


class PlainFraming:
    """For callers that read every line as text: only `data:` lines, an error as the last one, and a closing comment."""

    __slots__ = ()

    def chunks(self, encoded: list[bytes]) -> bytes:
        """Return one event for each encoded value."""
        return b"data: " + b"\n\ndata: ".join(encoded) + b"\n\n"

    def done(self, _envelope: bytes) -> bytes:
        """Return the comment that ends a complete stream."""
        return PLAIN_END

    def failed(self, envelope: bytes) -> bytes:
        """Return the envelope as the last chunk: it has `error` and `error_type` among its fields."""
        return b"data: %b\n\n" % envelope


Framing = NumberedFraming | PlainFraming
