"""What the events of an agent's stream mean: chunks, a closing envelope, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ppio_agent_models as models
from ppio_agent_models import (
    EVENTS_HEADER,
    SSE_MEDIA_TYPE,
    NetworkError,
    PPIOAgentRuntimeError,
    StreamInterruptedError,
)

from . import json_codec
from .responses import envelope_of, error_from_envelope, request_id_of, speaks_protocol
from .sse import MAX_EVENT_BYTES, EventParser, EventTooLargeError

Event = tuple[str, Any, bytes | None]
"""What is read: `"chunk"` or `"progress"`, the decoded value, and the id of the event where the server has ids.

Plain: there are many of them. `number_of` says what number an id is.
"""
CHUNK, PROGRESS = "chunk", "progress"
_CLOSING = frozenset({b"done", b"error"})


class StreamDecoder:
    """Turns the bytes of one answer into chunks, and knows how the stream ended.

    Args:
        headers: The headers of the answer, found by lower-case names.
        after: Number of the last event that is known already. What comes again is dropped. Numbers grow, by more than
            1 where events are not shown; that none is missing is the server's promise (410 where it cannot keep it).
        max_event_bytes: The most that one event may have.

    Attributes:
        position: The id of the last event that arrived, closing ones included.
        done: The closing envelope, once it arrived.
        error: The error that ended the stream, once it arrived.
    """

    def __init__(
        self, headers: Mapping[str, str], *, after: int | None = None, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self._headers = headers
        self._after = after
        self._numbered = speaks_protocol(headers)
        self._max_event_bytes = max_event_bytes
        self._parser = EventParser(max_event_bytes=max_event_bytes)
        # A chunk that may be an older server's error: only the end of the stream tells.
        self._suspect: Event | None = None
        self.position: bytes | None = None
        self.done: models.InvocationResponse | None = None
        self.error: PPIOAgentRuntimeError | None = None

    def resumed(self, after: int) -> StreamDecoder:
        """Return a decoder for the answer that goes on behind event number `after`."""
        return StreamDecoder(self._headers, after=after, max_event_bytes=self._max_event_bytes)

    @property
    def ended(self) -> bool:
        """Whether the server said how the stream ended."""
        return self.done is not None or self.error is not None

    def feed(self, part: bytes) -> list[Event]:
        """Return the events that `part` completes. What follows the closing one is ignored."""
        import pydantic_core

        found: list[Event] = []
        if self.ended:
            return found
        try:
            events = self._parser.feed(part)
        except EventTooLargeError as error:
            self.error = StreamInterruptedError(
                f"{error}; the rest was not read", request_id=request_id_of(self._headers)
            )
            return found
        is_numbered = self._numbered
        for name, text, event_id in events:
            if self._after is not None and (number_of(event_id) or 0) <= self._after:
                continue
            self.position = event_id
            try:
                value = pydantic_core.from_json(text)  # without a detour: this is done for every event
            except ValueError:
                value = decoded(text)
            if name in _CLOSING:
                self._end(name, value)
                break
            event = (PROGRESS if name == b"progress" else CHUNK), value, event_id
            if is_numbered:
                found.append(event)
            else:
                self._suspect_or_take(event, found)
        return found

    def _suspect_or_take(self, event: Event, found: list[Event]) -> None:
        if self._suspect is not None:
            found.append(self._suspect)
            self._suspect = None
        if _looks_like_error(event[1]):
            self._suspect = event
        else:
            found.append(event)

    def finish(self) -> None:
        """Judge a connection that has ended: a plain end is an end where the server does not promise a closing event.

        Raises:
            PPIOAgentRuntimeError: The last chunk was the error of a server that does not number its events.
            NetworkError: The server promised a closing event, and none came.
        """
        if self.ended:
            return
        if self._numbered:
            raise NetworkError("the connection ended before the stream did")
        if self._suspect is not None:
            raise error_from_envelope(self._suspect[1], None, self._headers)

    def _end(self, name: bytes, value: Any) -> None:
        self._suspect = None
        if name == b"error":
            self.error = error_from_envelope(
                value if isinstance(value, dict) else {"error": value}, None, self._headers
            )
        else:
            self.done = envelope_of(value) or models.InvocationResponse()


def decoded(text: bytes) -> Any:
    """Return the JSON value of an event, or its text where an older server sends plain text."""
    try:
        return json_codec.load(text)
    except ValueError:
        return text.decode("utf-8", "replace")


def has_typed_events(headers: Mapping[str, str]) -> bool:
    """Tell whether the chunks of an answer are typed events."""
    return headers.get(EVENTS_HEADER.lower()) == "1"


def is_event_stream(headers: Mapping[str, str]) -> bool:
    """Tell whether an answer is an event stream."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == SSE_MEDIA_TYPE


def _looks_like_error(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("error"), str) and isinstance(value.get("error_type"), str)


def number_of(event_id: bytes | None) -> int | None:
    """Return the number that an event's id is; None where it is none."""
    return int(event_id) if event_id is not None and event_id.isdigit() and len(event_id) < 20 else None
