"""Encodes a stream to relay it to another client: as server-sent events for browsers, or as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError

from .json_codec import dump
from .requests import checked_invocation_id
from .streaming import CHUNK, Event, number_of

HEARTBEAT_SECONDS: Final = 15.0
"""How often a silent stream sends a heartbeat; proxies and browsers give up after 30 to 60 s."""


class ServerSentEvents:
    """`text/event-stream` (HTML Standard, section 9.2). The ID of an event includes the invocation ID.

    The two closing events have no ID, so a browser that reconnects nevertheless gets the end again.
    """

    heartbeat = b": heartbeat\n\n"

    def events(self, events: Iterable[Event], invocation_id: str | None) -> bytes:
        """Return chunks as messages, and progress as events of that name."""
        prefix = b"" if invocation_id is None else b"id: %b:" % invocation_id.encode()
        parts: list[bytes] = []
        for kind, value, event_id in events:
            if prefix and event_id is not None:
                parts += prefix, event_id, b"\n"
            parts += b"data: " if kind == CHUNK else b"event: progress\ndata: ", _line(value), b"\n\n"
        return b"".join(parts)

    def done(self, envelope: models.InvocationResponse) -> bytes:
        """Return the event `done` with the envelope."""
        return b"event: done\ndata: %b\n\n" % _line(envelope.model_dump(mode="json"))

    def error(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return the event `error` with the error's fields."""
        return b"event: error\ndata: %b\n\n" % _line(_fields(error))


class JsonLines:
    """`application/x-ndjson`: a JSON object with `kind`, `data` and `event_id` in each line."""

    heartbeat = b'{"kind":"heartbeat","data":null,"event_id":null}\n'

    def events(self, events: Iterable[Event], invocation_id: str | None) -> bytes:
        """Return a line for each event."""
        prefix = "" if invocation_id is None else f"{invocation_id}:"
        return b"".join(
            _json_line(kind, value, None if number_of(event_id) is None else f"{prefix}{number_of(event_id)}")
            for kind, value, event_id in events
        )

    def done(self, envelope: models.InvocationResponse) -> bytes:
        """Return a line of the kind `done`."""
        return _json_line("done", envelope.model_dump(mode="json"), None)

    def error(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return a line of the kind `error`."""
        return _json_line("error", _fields(error), None)


def checked_heartbeat(seconds: object) -> float:
    """Return how often a silent stream sends a heartbeat.

    Raises:
        ConfigurationError: It would send nothing else.
    """
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise ConfigurationError(f"heartbeat_seconds is a number above 0, not {seconds!r}")
    return seconds


def position_of(last_event_id: object) -> tuple[str, int]:
    """Return invocation and event number that the `Last-Event-ID` of a passed-on stream names.

    Raises:
        ConfigurationError: It is not from such a stream.
    """
    if not isinstance(last_event_id, str):
        raise ConfigurationError(
            f"last_event_id is the str that sse() or ndjson() sent, not {type(last_event_id).__qualname__}; to read on "
            "after the event of a number: session.invocation(invocation_id).events(after=number)"
        )
    invocation_id, _, number = last_event_id.rpartition(":")
    if not invocation_id or number_of(number.encode()) is None:
        raise ConfigurationError(
            f"last_event_id {last_event_id[:80]!r} was not sent by sse(); pass on the browser's Last-Event-ID"
        )
    return checked_invocation_id(invocation_id), int(number)


def _fields(error: PPIOAgentRuntimeError) -> dict[str, Any]:
    return {
        "error": str(error),
        "error_type": error.error_type or type(error).__name__,
        "request_id": error.request_id,
        "retryable": error.retryable,
    }


def _line(value: Any) -> bytes:
    """Return a value as JSON on one line; escapes three characters that some readers take for line breaks."""
    text = dump(value)
    if b"\xe2\x80" in text or b"\xc2\x85" in text:
        text = text.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
        text = text.replace(b"\xc2\x85", rb"\u0085")
    return text


def _json_line(kind: str, value: Any, event_id: str | None) -> bytes:
    return _line({"kind": kind, "data": value, "event_id": event_id}) + b"\n"
