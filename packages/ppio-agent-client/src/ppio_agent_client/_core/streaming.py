"""Decodes the events of an agent's stream: chunks, progress, the closing envelope, or an error."""

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
"""An event: `"chunk"` or `"progress"`, the decoded value, and the event's ID if the server sends IDs.

A tuple for speed; `number_of` converts an ID to a number.
"""
CHUNK, PROGRESS = "chunk", "progress"
_CLOSING = frozenset({b"done", b"error"})


class StreamDecoder:
    """Decodes the bytes of one response to events, and records how the stream ended.

    Args:
        headers: The headers of the response, with names in lower case.
        after: Number of the last event that is known already; repeated events are dropped. Numbers may have gaps, as
            some events are not sent. The server guarantees that none is missing, and otherwise responds with 410.
        max_event_bytes: Largest event, in bytes.

    Attributes:
        position: The ID of the last event that arrived, closing ones included.
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
        # A chunk that may be an older server's error, which only the end of the stream shows.
        self._suspect: Event | None = None
        self.position: bytes | None = None
        self.done: models.InvocationResponse | None = None
        self.error: PPIOAgentRuntimeError | None = None

    def resumed(self, after: int) -> StreamDecoder:
        """Return a decoder for a response that continues after event number `after`."""
        return StreamDecoder(self._headers, after=after, max_event_bytes=self._max_event_bytes)

    @property
    def ended(self) -> bool:
        """Whether the closing event arrived."""
        return self.done is not None or self.error is not None

    def feed(self, part: bytes) -> list[Event]:
        """Return the events that `part` completes. Anything after the closing event is ignored."""
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
                value = pydantic_core.from_json(text)  # inlined, because it runs for every event
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
        """Handle the end of the connection; it is a regular end if the server sends no closing events.

        Raises:
            PPIOAgentRuntimeError: The last chunk was the error of a server that does not number its events.
            NetworkError: The server sends closing events, but none arrived.
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
    """Return the JSON value of an event, or its text, as older servers send plain text."""
    try:
        return json_codec.load(text)
    except ValueError:
        return text.decode("utf-8", "replace")


def has_typed_events(headers: Mapping[str, str]) -> bool:
    """Return whether the chunks of a response are typed events."""
    return headers.get(EVENTS_HEADER.lower()) == "1"


def is_event_stream(headers: Mapping[str, str]) -> bool:
    """Return whether a response is an event stream."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == SSE_MEDIA_TYPE


def _looks_like_error(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("error"), str) and isinstance(value.get("error_type"), str)


def number_of(event_id: bytes | None) -> int | None:
    """Return an event's ID as a number, or None if it isn't one."""
    return int(event_id) if event_id is not None and event_id.isdigit() and len(event_id) < 20 else None
