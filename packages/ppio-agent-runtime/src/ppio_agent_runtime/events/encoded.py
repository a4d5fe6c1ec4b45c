"""A run as plugins read and write it: events are encoded once, and decoded only on demand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .views import texts_of

if TYPE_CHECKING:
    from ppio_agent_models import PPIOAgentRuntimeError

_TYPE_AT = len(b'{"type":"')


class EncodedEvent:
    """One AG-UI event of a run, or one chunk of a stream that is not typed.

    Attributes:
        json: The event, as JSON on one line.
        text: Its content, as JSON: the delta (a string) of a text event; the value, if it isn't an event; else None.
    """

    __slots__ = ("json", "text")

    def __init__(self, json: bytes, text: bytes | None) -> None:
        self.json: bytes = json
        self.text: bytes | None = text

    @property
    def type(self) -> str:
        """The event's type, such as `TOOL_CALL_START`."""
        return self.json[_TYPE_AT : self.json.index(b'"', _TYPE_AT)].decode()

    def decode(self) -> Any:
        """Return the event as a dict, with the field names of the wire."""
        return json.loads(self.json)

    def __repr__(self) -> str:
        return f"EncodedEvent({self.json!r})"


class EventEncoder:
    """How a protocol writes a run; a base class whose methods write nothing."""

    def begin(self) -> bytes:
        """Return what is sent at the start, before the agent's first event."""
        return b""

    def events(self, events: list[EncodedEvent]) -> bytes:
        """Return what is sent for some events; there is at least one."""
        raise NotImplementedError

    def failed(self, error: PPIOAgentRuntimeError) -> bytes:
        """Return what is sent at the end of a run that failed; it must not reveal more than `error` does."""
        raise NotImplementedError

    def done(self) -> bytes:
        """Return what is sent at the end of a run that succeeded."""
        return b""


def encoded(chunks: list[bytes]) -> list[EncodedEvent]:
    """Return chunks of a log as events."""
    return list(map(EncodedEvent, chunks, texts_of(chunks)))
