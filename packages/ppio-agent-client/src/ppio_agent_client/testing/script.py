"""The scripts of a fake agent, and the requests that it received."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ppio_agent_models as models
from ppio_agent_models import (
    IDEMPOTENCY_KEY_HEADER,
    SESSION_ID_HEADER,
    USER_ID_HEADER,
    AgentError,
    ConfigurationError,
    PPIOAgentRuntimeError,
    SerializationError,
)
from ppio_agent_models._framing import PLAIN_CHUNK, EventFramer, as_event

from .._core.json_codec import dump


@dataclass(frozen=True, slots=True)
class Progress:
    """A progress event of the agent."""

    value: Any


@dataclass(frozen=True, slots=True)
class Delay:
    """The agent sends nothing for this many seconds; the client's time limits include it."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ConfigurationError(f"a Delay has seconds, 0 or more, and not {self.seconds!r}")


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is lost here, once. The rest is sent when the client reconnects."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value."""

    result: Any


@dataclass(frozen=True, slots=True)
class Typed:
    """One event of a run that has typed events, as on the wire."""

    event: dict[str, Any]

    @property
    def chunks(self) -> list[Any]:
        """The chunks for a caller without typed events: one or none."""
        if self.event["type"] == "TEXT_MESSAGE_CONTENT":
            return [self.event["delta"]]
        return [self.event["value"]] if self.event.get("name") == PLAIN_CHUNK else []


Item = Any
"""A chunk, a typed event, or one of the classes above, or an exception that ends the invocation."""


def checked_item(item: Item) -> Item:
    """Return what a test has put into a script, if a fake agent can do it.

    Raises:
        ConfigurationError: It is a class, or a chunk without a JSON form.
    """
    return item if isinstance(item, Progress | Delay | Cut | Exception) else checked_value(item)


def checked_value(value: Any) -> Any:
    """Return a result or a chunk of a script, see `checked_item`."""
    try:
        dump(value, name="what a fake agent returns")
    except SerializationError as error:
        raise ConfigurationError(str(error)) from error
    return value


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that a fake agent received. Retries of a call with the same key are recorded once.

    Attributes:
        payload: The decoded body.
        headers: Names in lower case.
        session_id: The session that the caller named.
        user_id: The user that the caller named, or None.
        idempotency_key: The key of the call.
        wants_stream: Whether the caller requested a stream.
        is_background: Whether it was submitted.
    """

    payload: Any
    headers: Mapping[str, str] = field(repr=False)
    session_id: str | None
    user_id: str | None
    idempotency_key: str | None
    wants_stream: bool
    is_background: bool

    @classmethod
    def _of(cls, payload: Any, headers: Mapping[str, str]) -> RecordedRequest:
        """Return the record of a request."""
        from urllib.parse import unquote

        session_id = headers.get(SESSION_ID_HEADER.lower())
        return cls(
            payload=payload,
            headers=headers,
            session_id=None if session_id is None else unquote(session_id),
            user_id=headers.get(USER_ID_HEADER.lower()),
            idempotency_key=headers.get(IDEMPOTENCY_KEY_HEADER.lower()),
            wants_stream="text/event-stream" in headers.get("accept", ""),
            is_background="respond-async" in headers.get("prefer", ""),
        )


class FakeInvocation:
    """One run of a script: its events and its end. It runs once, even if it is requested again.

    Args:
        invocation_id: Its id.
        items: The script.
        metadata: For its envelope.
    """

    def __init__(self, invocation_id: str, items: tuple[Item, ...], metadata: Mapping[str, Any]) -> None:
        self.invocation_id = invocation_id
        self.items: tuple[Item, ...] = _framed(items, metadata.get("session_id") or invocation_id, invocation_id)
        self.is_typed: bool = any(isinstance(item, Typed) for item in self.items)
        self.created_at: datetime = datetime.now(UTC)
        self.is_cancelled: bool = False
        self._started = time.monotonic()
        self._metadata = dict(metadata)
        self._cuts = {index for index, item in enumerate(self.items) if isinstance(item, Cut)}

    @property
    def error(self) -> Exception | None:
        """The error that ends it, if it fails."""
        if self.is_cancelled:
            return models.InvocationCancelledError("the invocation was cancelled", status_code=409)
        return next((item for item in self.items if isinstance(item, Exception)), None)

    @property
    def fails_at_once(self) -> bool:
        """Whether it fails before its first event, so that the response has an error status."""
        said = [item for item in self.items if not isinstance(item, Delay | Cut)]
        return bool(said) and isinstance(said[0], Exception)

    @property
    def seconds(self) -> float:
        """How long it takes in total."""
        return float(sum(item.seconds for item in self.items if isinstance(item, Delay)))

    def remaining(self) -> float:
        """Return how many seconds are left; 0 when it is over."""
        return 0.0 if self.is_cancelled else max(0.0, self._started + self.seconds - time.monotonic())

    def cancel(self) -> None:
        """Cancel it, unless it is over."""
        self.is_cancelled = self.is_cancelled or self.remaining() > 0

    def take_cut(self, index: int | None = None) -> bool:
        """Return whether the connection is cut at this item, or at any item if None; each cut happens once."""
        found = self._cuts if index is None else self._cuts & {index}
        self._cuts = self._cuts - found
        return bool(found)

    def envelope(self, *, with_result: bool = True) -> models.InvocationResponse:
        """Return its envelope."""
        error = self.error
        if error is None:
            result = self._result() if with_result else None
            return models.InvocationResponse(result=result, metadata=self._metadata, duration=self.seconds)
        told = error if isinstance(error, PPIOAgentRuntimeError) else models.HandlerError("The agent failed.")
        return models.InvocationResponse(
            status="error",
            error=str(told),
            error_type=told.error_type or type(told).__name__,
            metadata=self._metadata | {"status_code": status_of(error)},
        )

    def resource(self) -> models.InvocationResource:
        """Return its resource; it is running until its delays are over."""
        states = models.InvocationState
        said = [item for item in self.items if not isinstance(item, Delay | Cut | Exception)]
        about = models.InvocationResource(
            invocation_id=self.invocation_id,
            state=states.RUNNING,
            created_at=self.created_at,
            started_at=self.created_at,
        )
        if self.remaining():
            return about
        state = states.CANCELLED if self.is_cancelled else states.FAILED if self.error else states.SUCCEEDED
        ended = {"finished_at": datetime.now(UTC), "last_event_id": len(said) + 1, "response": self.envelope()}
        return about.model_copy(update={"state": state, **ended})

    def _result(self) -> Any:
        chunks = [item for item in self.items if not isinstance(item, Delay | Cut | Progress)]
        if self.is_typed:
            finished = chunks[-1].event
            if interrupts := (finished.get("outcome") or {}).get("interrupts"):
                return {"interrupts": interrupts}
            if finished.get("result") is not None:
                return finished["result"]
            chunks = [chunk for typed in chunks for chunk in typed.chunks]
        if len(chunks) == 1 and isinstance(chunks[0], Value):
            return chunks[0].result
        return "".join(chunks) if chunks and all(isinstance(chunk, str) for chunk in chunks) else chunks


def _framed(items: tuple[Item, ...], thread_id: str, run_id: str) -> tuple[Item, ...]:
    """Return a script with typed events as a complete run, as the runtime would; any other script unchanged."""
    items = tuple(item.result if isinstance(item, Value) and as_event(item.result) else item for item in items)
    if not any(as_event(item) for item in items):
        return items
    framer, said = EventFramer(thread_id, run_id, run_id), list[Item]()
    for item in items:
        if isinstance(item, Delay | Cut | Progress | Exception):
            said.append(item)
            continue
        events = framer.frame(item)
        if (error := framer.error) is not None:  # a RUN_ERROR
            return *said, AgentError(str(error.get("message")), error_type=error.get("code"))
        said += map(Typed, events)
    return *said, *map(Typed, framer.finish())


def status_of(error: Exception | None) -> int:
    """Return the HTTP status of an outcome."""
    if error is None:
        return 200
    return (error.status_code if isinstance(error, PPIOAgentRuntimeError) else None) or 500
