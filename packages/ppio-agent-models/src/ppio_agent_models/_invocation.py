"""One invocation on the wire: the request, the response, and the events of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, Self

from pydantic import Field, PrivateAttr
from typing_extensions import TypeVar

from ._base import Contract
from ._private_fields import private_fields

Result = TypeVar("Result", default=Any)


class InvocationRequest(Contract):
    """A request to an agent. Further fields are kept and reach the handler unchanged.

    Attributes:
        prompt: The text for the agent.
        data: Structured input.
        session_id: The session to use; a session object sends its own ID in a header as well.
        timeout: Longest time the handler may take, in seconds, more than 0. Limits the client's wait too.
        stream: Ask for a stream; the methods that stream always do.
        metadata: Facts about the call, such as a user id.
    """

    prompt: str | None = None
    data: dict[str, Any] | None = None
    session_id: str | None = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    stream: bool = False
    metadata: dict[str, Any] | None = None

    if TYPE_CHECKING:  # pydantic's own, plus extra fields, which type checkers would refuse

        def __init__(
            self,
            *,
            prompt: str | None = None,
            data: dict[str, Any] | None = None,
            session_id: str | None = None,
            timeout: float | None = None,
            stream: bool = False,
            metadata: dict[str, Any] | None = None,
            **extra: Any,
        ) -> None: ...

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send: what was set, extra fields included."""
        return self.model_dump(mode="json", exclude_unset=True, exclude=private_fields(self, "request"))


class InvocationResponse(Contract, Generic[Result]):
    """The envelope of every response, success or error.

    Attributes:
        result: What the handler returned, of the type that was asked for, else plain JSON; None for an error.
        status: `"success"` or `"error"`.
        duration: Time the invocation took in the runtime, in seconds.
        metadata: `request_id`, `session_id` and other facts from the runtime.
        error: One sentence, for an error.
        error_type: Name of the kind of error, for an error.
    """

    result: Result = None  # type: ignore[assignment]  # for errors
    status: Literal["success", "error"] = "success"
    duration: float = 0.0
    metadata: dict[str, Any] | None = None
    error: str | None = None
    error_type: str | None = None

    _invocation_id: str | None = PrivateAttr(default=None)
    _replayed: bool = PrivateAttr(default=False)

    @property
    def invocation_id(self) -> str | None:
        """The ID of the invocation, from a header and not from the envelope; None if there was no such header."""
        return self._invocation_id

    @property
    def replayed(self) -> bool:
        """Whether this is the response to an earlier request with the same idempotency key."""
        return self._replayed

    def _known_as(self, invocation_id: str | None, *, replayed: bool = False) -> Self:
        """Keep what the headers of the response say, and return this envelope."""
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
    """What `GET /invocations/{id}` returns.

    Attributes:
        last_event_id: Number of the newest event of its log, 0 before the first.
        first_event_id: Number of the first event that is still kept, if the result is not, because the stream was
            longer than its log; otherwise None.
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
        kind: `chunk` carries what the agent yielded, `progress` a progress report; `done` and `error` end the
            stream.
        data: The decoded chunk, or the envelope as a dict.
        event_id: Number of the event, from 1; None if the server does not number its events.
    """

    kind: Literal["chunk", "progress", "done", "error"]
    data: Any
    event_id: int | None = None
