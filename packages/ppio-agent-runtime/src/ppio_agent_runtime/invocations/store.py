"""What is kept of invocations: plain data, behind a few async methods if it outlives the process."""

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
"""What a handler made."""
INTERRUPTED: Final = "Interrupted"
"""Error type, and form, of an invocation whose process ended before it did."""
REMEMBERED_KEYS: Final = 100_000
"""How many idempotency keys are remembered of invocations that had to make room for others."""
_RETRY_AFTER_SECONDS: Final = 5.0


class KeyScope(NamedTuple):
    """Whose idempotency key it is."""

    caller: str
    session: str
    key: str


@dataclass(slots=True, frozen=True)
class Answer:
    """What an invocation is answered with once it is over, however often somebody asks.

    Attributes:
        status: HTTP status.
        envelope: The answer as JSON, without its result.
        value: The result as JSON, where the handler made a value.
        headers: Further response headers; of a response object of the handler all of them.
        body: Of a response object of the handler, if it can be sent again.
    """

    status: int
    envelope: bytes
    value: bytes | None = None
    headers: Headers = field(default_factory=list)
    body: bytes | None = None

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return len(self.envelope) + len(self.value or b"") + len(self.body or b"")


class Ending(NamedTuple):
    """How an invocation ends: its last state, its answer, and when that was, in unix seconds."""

    state: State
    answer: Answer
    finished_at: float

    @property
    def event(self) -> tuple[bytes, bytes]:
        """Kind and data of the event that tells it."""
        return b"done" if self.state == "succeeded" else b"error", self.answer.envelope


@dataclass(slots=True, kw_only=True)
class StoredInvocation:
    """An invocation as plain data.

    Attributes:
        scope: Of its idempotency key, if it was asked with one.
        fingerprint: Digest of its body, to tell another request under the same key.
        form: What the handler made; None where nothing came of it.
        interrupted: Its process ended before it did; how many events there were is not known.
        answer: What it is answered with, once it is over.
        events: What it said; None where that follows from the answer.
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
        """Return how many bytes its answer and its events take."""
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
    """The store cannot be used now; callers are told `UnavailableError`, for nothing was begun for them.

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
    """Keeps invocations beyond the process. All verbs may take a while, and raise a `StoreError` while that cannot be.

    What failed is the store's own to log, once until it works again.

    Attributes:
        failure: Why it could not be used when it was tried last, in a few words; None when it could.
        instance_id: Names what it has kept: whoever opens it knows every call that began under this name, and runs
            none of them again. None while that is not known.
    """

    failure: str | None
    instance_id: str | None

    async def open(self) -> None:
        """Get ready, and mark what was running in a process that is gone as interrupted.

        Asked again before each durable call: does nothing when it is open.

        Raises:
            ConfigurationError: It cannot be used as it is set.
        """

    async def close(self) -> None:
        """Keep what is waiting to be kept, and let go."""

    async def begin(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Keep an invocation that begins, unless its key is taken: then return the one that has it, and keep nothing.

        When it returns, the process may die without losing it.

        Raises:
            EventsEvictedError: As `get_by_key` does.
        """

    async def finish(self, stored: StoredInvocation) -> StoredInvocation | None:
        """Keep an invocation that is over; likewise. If it was found to be over before, return what is kept of it."""

    async def delete(self, invocation_id: str) -> None:
        """Forget an invocation."""

    async def get(self, invocation_id: str) -> StoredInvocation | None:
        """Return the invocation of this id as it was kept last, running or over."""

    async def get_by_key(self, scope: KeyScope) -> StoredInvocation | None:
        """Return the invocation that was asked for under this idempotency key, running or over.

        Raises:
            EventsEvictedError: It is over, and had to make room for others.
        """


def evicted() -> EventsEvictedError:
    """Return what is told to whoever comes with the idempotency key of an invocation that is not kept any more."""
    return EventsEvictedError(
        "An earlier request with this Idempotency-Key has run, and its response is no longer kept; nothing ran again."
    )


def ending_of(stored: StoredInvocation) -> Ending:
    """Return how an invocation ended that is over."""
    assert stored.answer is not None
    assert stored.finished_at is not None
    return Ending(stored.state, stored.answer, stored.finished_at)


def interrupted(stored: StoredInvocation) -> StoredInvocation:
    """Return what an invocation becomes whose process died while it ran."""
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
    """Return the result as one value from the chunks of what was kept, where the invocation has one besides them."""
    if typed and chunks:
        from ..events.views import result_of  # for agents with events only

        return result_of(chunks, is_value=form == "value")
    return chunks[-1] if form == "value" else None


def closing_events(envelope: bytes, number: int) -> HeldEvents:
    """Return what is held of an interrupted invocation: its end, as the event of this number."""
    return HeldEvents([(number, event_block(b"error", number, envelope))], number, only_text=True)
