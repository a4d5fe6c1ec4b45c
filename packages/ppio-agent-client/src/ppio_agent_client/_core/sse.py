"""Parses an event stream whose bytes arrive in parts of any size (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re

MAX_EVENT_BYTES = 64 * 1024 * 1024
_NUMBERED = re.compile(rb"(?m)^id: ([^\n\0]*)\ndata: ([^\n]*)(?:\n\n|\Z)")
_BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """One event is larger than the parser's limit."""


ServerEvent = tuple[bytes, bytes, bytes | None]
"""One event: its name (empty for a message), its data, the current ID if any. A tuple for speed."""


class EventParser:
    """Parses bytes into complete events, and buffers an incomplete one.

    Line ends may be LF, CR or CRLF. They are converted to LF first, so that one `split` at blank lines finds all
    events. A last event without a blank line is dropped, as the standard requires.

    Args:
        max_event_bytes: Largest event, in bytes.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        # Pieces of an incomplete event, joined only once, so that a large event isn't copied for each piece.
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._head: bytes | None = b""
        self._after_cr = False
        self._event_id: bytes | None = None

    def feed(self, part: bytes) -> list[ServerEvent]:
        """Return the events that `part` completes.

        Raises:
            EventTooLargeError: An event has more than `max_event_bytes` bytes.
        """
        text = self._with_plain_newlines(self._without_mark(part))
        if not text:
            return []
        if b"\n\n" not in text and not self._closes_with(text):
            self._hold(text)
            return []
        if self._pieces:
            self._pieces.append(text)
            text = b"".join(self._pieces)
            self._pieces.clear()
        whole, _, rest = text.rpartition(b"\n\n")
        self._held_bytes = 0
        self._hold(rest)
        return self._events(whole)

    def _closes_with(self, text: bytes) -> bool:
        """Return whether the blank line is split between the buffer and `text`."""
        return bool(self._pieces) and text[:1] == b"\n" and self._pieces[-1][-1:] == b"\n"

    def _hold(self, text: bytes) -> None:
        if not text:
            return
        self._held_bytes += len(text)
        if self._held_bytes > self._max_event_bytes:
            raise EventTooLargeError(f"an event of the stream has more than {self._max_event_bytes} bytes")
        self._pieces.append(text)

    def _without_mark(self, part: bytes) -> bytes:
        """Remove a byte order mark at the start of the stream, which may arrive in parts."""
        if self._head is None:
            return part
        self._head += part
        if len(self._head) < len(_BOM) and _BOM.startswith(self._head):
            return b""
        text, self._head = self._head, None
        return text.removeprefix(_BOM)

    def _with_plain_newlines(self, text: bytes) -> bytes:
        if self._after_cr and text:
            self._after_cr = False
            text = text.removeprefix(b"\n")
        if b"\r" not in text:
            return text
        # A CR ends its line at once; an LF at the start of the next part belongs to it.
        self._after_cr = text.endswith(b"\r")
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, whole: bytes) -> list[ServerEvent]:
        # Nearly all events of our runtime have one ID line and one data line. If there are only such events, the number
        # of line ends shows it, and one regular expression finds them all.
        found = _NUMBERED.findall(whole)
        if len(found) * 3 - 2 == whole.count(b"\n"):
            self._event_id = found[-1][0]
            return [(b"", text, event_id) for event_id, text in found]
        return [event for event in map(self._event, whole.split(b"\n\n")) if event is not None]

    def _event(self, block: bytes) -> ServerEvent | None:
        first, newline, rest = block.partition(b"\n")
        if not newline and first.startswith(b"data: "):
            return b"", first[6:], self._event_id
        if first.startswith(b"id: ") and rest.startswith(b"data: ") and b"\n" not in rest and b"\0" not in first:
            self._event_id = first[4:]
            return b"", rest[6:], self._event_id
        return self._any_event(block)

    def _any_event(self, block: bytes) -> ServerEvent | None:
        name, lines = b"", []
        for line in block.split(b"\n"):
            key, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if key == b"data":
                lines.append(value)
            elif key == b"event":
                name = value
            elif key == b"id" and b"\0" not in value:
                self._event_id = value
        return (name, b"\n".join(lines), self._event_id) if lines else None
