"""What follows when a connection is lost or a call is refused: read on, send it again, or give up. Nothing runs twice.

An invocation of protocol 1 lives on without its connection. Its events can be read on from where they were cut, and the
same call with the same `Idempotency-Key` finds it again. Anything else is only repeated when it cannot have run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ppio_agent_models import (
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    BadRequestError,
    EventsEvictedError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    MethodNotAllowedError,
    NetworkError,
    NotFoundError,
    PPIOAgentRuntimeError,
    TotalTimeoutError,
)

from .retry import GATEWAY_STATUSES, REFUSED_STATUSES
from .streaming import is_event_stream


class RetryAction(Enum):
    """What to do about a call that brought no whole answer."""

    RESUME = "read its events on from where they were cut"
    REPEAT = "send the same call again"
    GIVE_UP = "tell the caller"


@dataclass(frozen=True, slots=True)
class RetryState:
    """What is known about a call when its connection is lost.

    Attributes:
        is_safe: It only looks: sending it twice is as good as once (RFC 9110, section 9.2).
        has_key: An `Idempotency-Key` went with it, and the server keeps the invocation when its caller is gone.
        speaks_protocol: The server speaks protocol 1.
        is_prompt: Its answer begins within a heartbeat, so that a longer silence means a dead connection.
    """

    is_safe: bool = False
    has_key: bool = False
    speaks_protocol: bool = False
    is_prompt: bool = False

    @property
    def may_repeat(self) -> bool:
        """Whether the call can be sent again although it may have arrived."""
        return self.is_safe or (self.has_key and self.speaks_protocol)


def after_loss(error: NetworkError, state: RetryState) -> RetryAction:
    """Return what follows when no head of an answer arrived, or not the whole of a value."""
    if error.retryable:
        return RetryAction.REPEAT  # it was never sent
    if state.is_safe and not isinstance(error, TotalTimeoutError):
        return RetryAction.REPEAT
    dead = isinstance(error, FirstByteTimeoutError) and state.is_prompt
    if type(error) is not NetworkError and not dead:
        return RetryAction.GIVE_UP  # a time limit of the caller's own has passed
    return RetryAction.REPEAT if state.may_repeat else RetryAction.GIVE_UP


def after_refusal(status: int, headers: Mapping[str, str], state: RetryState) -> RetryAction:
    """Return what follows an answer that may be no more than "not now".

    A numbered 503 can be the end of an invocation that had begun when the agent was shut down. Without a key nobody can
    tell it from a refusal; with one the retry finds it, and is told so by `Idempotency-Replayed`.
    """
    numbered = speaks_protocol(headers)
    if status == 429:
        return RetryAction.REPEAT
    if status in REFUSED_STATUSES:
        if headers.get("idempotency-replayed") == "true":
            return RetryAction.GIVE_UP
        return RetryAction.REPEAT if state.may_repeat or not numbered else RetryAction.GIVE_UP
    if status in GATEWAY_STATUSES and not numbered and state.may_repeat:
        return RetryAction.REPEAT  # somebody between here and the agent lost it
    return RetryAction.GIVE_UP


def after_cut(
    error: PPIOAgentRuntimeError, *, invocation_id: str | None, numbered: bool, survives: bool
) -> RetryAction:
    """Return what follows when a stream that had begun is cut.

    Args:
        error: How the cut was noticed.
        invocation_id: What the answer called the invocation, if it did.
        numbered: The answer spoke protocol 1.
        survives: The invocation goes on without its caller, as far as that was the caller's choice.
    """
    limit_of_caller = isinstance(error, NetworkError) and type(error) not in {NetworkError, IdleTimeoutError}
    if limit_of_caller or not (invocation_id and numbered and survives):
        return RetryAction.GIVE_UP
    return RetryAction.RESUME


def after_return(status: int, headers: Mapping[str, str]) -> RetryAction:
    """Return what follows the answer to an attempt to read on: RESUME where it is what was asked for."""
    if 200 <= status < 300 and is_event_stream(headers) and speaks_protocol(headers):
        return RetryAction.RESUME
    if status in REFUSED_STATUSES or (status in GATEWAY_STATUSES and not speaks_protocol(headers)):
        return RetryAction.REPEAT
    return RetryAction.GIVE_UP


def is_own_end(error: PPIOAgentRuntimeError, headers: Mapping[str, str]) -> bool:
    """Tell whether an error that answers an attempt to read on is how the invocation itself ended.

    The other possibility is that its events cannot be had: unknown, not held any more, another server.
    """
    lost = (NotFoundError, EventsEvictedError, BadRequestError, MethodNotAllowedError)
    return speaks_protocol(headers) and error.status_code not in {401, 403} and not isinstance(error, lost)


def speaks_protocol(headers: Mapping[str, str]) -> bool:
    """Tell whether who sent these headers speaks protocol 1."""
    return headers.get(PROTOCOL_HEADER.lower()) == PROTOCOL_VERSION
