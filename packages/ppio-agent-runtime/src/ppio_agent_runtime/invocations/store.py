"""Stored invocations as plain data, and the interface of stores that outlive the process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from ppio_agent_models import EventsEvictedError, UnavailableError

from ..errors import ErrorResponse
from ..http.sse import event_block
from .kept_log import HeldEvents

if TYPE_CHECKING:
    from ..asgi import Headers

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Form = Literal["value", "stream", "response"]
"""What kind of result a handler returned."""
INTERRUPTED: Final = "Interrupted"
"""Error type, and form, of an invocation whose process ended before it did."""
REMEMBERED_KEYS: Final = 100_000
"""How many idempotency keys are remembered of invocations that had to make room for others."""
_RETRY_AFTER_SECONDS: Final = 5.0


class KeyScope(NamedTuple):
    """An idempotency key with its scope: the caller and the session."""

    caller: str
    session: str
    key: str


@dataclass(slots=True, frozen=True)
class Answer:
    """The response of a finished invocation, the same for each request.

    Attributes:
        status: HTTP status.
        envelope: The envelope as JSON, without its result.
        value: The result as JSON, if the handler returned a value.
        headers: Further response headers; all of them, if the handler returned a response object.
        body: The body of such a response object, if it can be sent again.
    """

    status: int
    envelope: bytes
    value: bytes | None = None
    headers: Headers = field(default_factory=list)
    body: bytes | None = None

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.envelope) + len(self.value or b"") + len(self.body or b"")


class Ending(NamedTuple):
    """How an invocation ended: its final state, its response, and when, in unix seconds."""

    state: State
    answer: Answer
    finished_at: float

    @property
    def event(self) -> tuple[bytes, bytes]:
        """Kind and data of the closing event."""
        return b"done" if self.state == "succeeded" else b"error", self.answer.envelope


@dataclass(slots=True, kw_only=True)
class StoredInvocation:
    """An invocation as plain data.

    Attributes:
        scope: Its idempotency key, if it has one.
        fingerprint: Digest of its body, to detect another request with the same key.
        form: What kind of result the handler returned; None if it returned none.
        interrupted: Its process ended before it did; the number of its events is unknown.
        answer: Its response, once it is over.
        events: Its events; None if they follow from the response.
    """

    id: str
    scope: KeyScope | None
    fingerprint: bytes
    state: State
    form: Form | None
    request_id: str
    session_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    interrupted: bool = False
    answer: Answer | None = None
    events: HeldEvents | None = None

    def held_bytes(self) -> int:
        """Return the size of its response and its events, in bytes."""
        events = 0 if self.events is None else sum(len(block) for _, block in self.events.blocks)
        return events + (0 if self.answer is None else self.answer.size)


@dataclass(frozen=True, slots=True)
class StoreBounds:
    """How many finished invocations are kept, for how long by the wall clock, and in how many bytes.

    The idempotency keys of those that make room for others are remembered as long as these would have been kept: a
    caller who comes back for an answer that was lost must not run the agent again.
    """

    max_invocations: int
    max_age_seconds: float
    max_bytes: int


class StoreError(UnavailableError):
    """The store cannot be used now; callers get `UnavailableError`, because nothing was started.

    Args:
        failure: Why, in a few words.
    """

    def __init__(self, failure: str) -> None:
        super().__init__(
            f"The event store cannot be used now ({failure}), so nothing was started.",
            error_type=UnavailableError.__name__,
            retry_after=_RETRY_AFTER_SECONDS,
        )


class InvocationStore(Protocol):
    """Keeps invocations beyond the process. Methods raise `StoreError` while the store cannot be used.

    The store logs failures itself, once until it works again.

    Attributes:
        failure: Why the last attempt to use it failed, in a few words; None if it succeeded.
        instance_id: Identifies the content of the store: a process that opens it under this ID knows every call that
            was started under this ID, and so runs none of them again. None while it is unknown.
    """

    failure: str | None
    instance_id: str | None

    async def open(self) -> None:
        """Open the store, and mark running invocations of a dead process as interrupted.

        Called again before each durable call; does nothing if it is open.

        Raises:
            ConfigurationError: It cannot be used with this setting.
        """

    async def close(self) -> None:
        """Finish pending writes, and close the store."""

    async def begin(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Store a new invocation, unless its key is taken: then store nothing, and return the one that has the key.

        When it returns, the process may die without losing it.

        Raises:
            EventsEvictedError: As `get_by_key` does.
        """

    async def finish(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Store a finished invocation, likewise. If the store already has an end of it, return that one."""

    async def delete(self, invocation_id: str) -> None:
        """Delete an invocation."""

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation with this ID as last stored, running or finished."""

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation with this idempotency key, running or finished.

        Raises:
            EventsEvictedError: It is finished, and was evicted to free memory.
        """


def evicted() -> EventsEvictedError:
    """Return the error for a request with the idempotency key of an evicted invocation."""
    return EventsEvictedError(
        "An earlier request with this Idempotency-Key may have run, and its response is no longer kept; "
        "nothing ran again."
    )


def ending_of(stored: StoredInvocation) -> Ending:
    """Return how a finished invocation ended."""
    assert stored.answer is not None
    assert stored.finished_at is not None
    return Ending(stored.state, stored.answer, stored.finished_at)


def interrupted(stored: StoredInvocation) -> StoredInvocation:
    """Return the final state of an invocation whose process died while it ran."""
    problem = ErrorResponse(500, "The agent's process ended while the invocation was running.", INTERRUPTED)
    stored.state, stored.form, stored.interrupted = "failed", None, True
    stored.finished_at = time.time()
    envelope = problem.envelope(stored.request_id, stored.session_id)
    stored.answer = Answer(problem.status, envelope)
    held = stored.events or HeldEvents([], 0, only_text=True)
    (end,) = closing_events(envelope, held.last_id + 1).blocks
    stored.events = held._replace(blocks=[*held.blocks, end], last_id=end[0])
    return stored


def value_in(chunks: list[bytes], form: Form | None, *, typed: bool) -> bytes | None:
    """Return the result from the stored chunks as JSON, or None if the chunks themselves are the result."""
    if typed and chunks:
        from ..events.views import result_of  # for agents with events only

        return result_of(chunks, is_value=form == "value")
    return chunks[-1] if form == "value" else None


def closing_events(envelope: bytes, number: int) -> HeldEvents:
    """Return the log of an interrupted invocation: only its closing event, with this number."""
    return HeldEvents([(number, event_block(b"error", number, envelope))], number, only_text=True)
