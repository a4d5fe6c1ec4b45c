"""One invocation on the wire: what is asked, what is answered, what a stream is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr

from ._base import Contract


class InvocationRequest(Contract):
    """What a caller asks of an agent. Any further field is kept and reaches the handler unchanged.

    Attributes:
        prompt: The text for the agent.
        data: Structured input.
        session_id: The session the caller means; a session object sends its own id in a header as well.
        timeout: Longest time the handler may take, in seconds, more than 0. Limits the client's wait too.
        stream: Ask for a stream; the methods that stream do so by themselves.
        metadata: Facts about the call, such as a user id.
    """

    prompt: str | None = None
    data: dict[str, Any] | None = None
    session_id: str | None = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    stream: bool = False
    metadata: dict[str, Any] | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send: what was set, extra fields included."""
        return self.model_dump(mode="json", exclude_unset=True)


class InvocationResponse(Contract):
    """The envelope of every answer, success or error.

    Attributes:
        result: What the handler returned; None for an error.
        status: `"success"` or `"error"`.
        duration: Time the invocation took in the runtime, in seconds.
        metadata: `request_id`, `session_id` and what else the runtime says.
        error: One sentence, for an error.
        error_type: Name of the kind of error, for an error.
    """

    result: Any = None
    status: Literal["success", "error"] = "success"
    duration: float = 0.0
    metadata: dict[str, Any] | None = None
    error: str | None = None
    error_type: str | None = None

    _invocation_id: str | None = PrivateAttr(default=None)
    _replayed: bool = PrivateAttr(default=False)

    @property
    def invocation_id(self) -> str | None:
        """The id of the invocation, which travels in a header and not in the envelope; None where nobody said it."""
        return self._invocation_id

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key has caused this answer."""
        return self._replayed

    def known_as(self, invocation_id: str | None, *, replayed: bool = False) -> Self:
        """Note what the headers of the answer said, and return this envelope."""
        self._invocation_id, self._replayed = invocation_id, replayed
        return self


class InvocationState(StrEnum):
    """Where an invocation is. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the invocation is over."""
        return self not in (InvocationState.QUEUED, InvocationState.RUNNING)


class InvocationResource(Contract):
    """What `GET /invocations/{id}` says.

    Attributes:
        last_event_id: Number of the newest event of its log, 0 before the first.
        first_event_id: None, unless its result is not held: it was a stream that was longer than its log, and this is
            the number of the first event that is.
        response: The envelope, once it is over.
    """

    invocation_id: str
    state: InvocationState
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    last_event_id: int = 0
    first_event_id: int | None = None
    response: InvocationResponse | None = None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream.

    Attributes:
        kind: `chunk` carries what the agent yielded, `progress` what it reported on the way; `done` and `error` end the
            stream.
        data: The decoded chunk, or the envelope as a dict.
        event_id: Number of the event, from 1; None where the server does not number its events.
    """

    kind: Literal["chunk", "progress", "done", "error"]
    data: Any
    event_id: int | None = None
