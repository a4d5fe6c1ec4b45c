"""Decides whether and when a lost or refused call is retried. Nothing runs twice.

An invocation of protocol 1 continues without its connection. Its events can be resumed where they were cut, and the
same call with the same `Idempotency-Key` finds it, in the instance of the agent that may have started it: no other
instance accepts a call that names it in `PPIO-Agent-Instance`. Any other call is only retried if it can't have run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ppio_agent_models import (
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

from .responses import speaks_protocol
from .streaming import is_event_stream

MAX_PAUSE_SECONDS = 30.0
"""The longest pause that the client chooses by itself."""
MAX_ASKED_PAUSE_SECONDS = 60.0
"""The longest `Retry-After` that the client waits for; beyond it the call fails."""
REFUSED_STATUSES = frozenset({429, 503})
"""Statuses that may be refusals; see `responses.is_refusal`."""
GATEWAY_STATUSES = frozenset({502, 504})
"""Statuses of gateways that can't reach the agent."""
ANSWERS_PER_RETRY: Final = 10
"""How many responses give back one retry."""


class RetryAction(Enum):
    """What to do after the response to a resumption."""

    RESUME = "read the rest of the events"
    REPEAT = "try again"
    GIVE_UP = "raise an error"


def may_repeat_lost(error: NetworkError, *, is_safe: bool, may_repeat: bool, is_prompt: bool) -> bool:
    """Return whether a call is retried if no response arrived, or only a part of a value.

    Args:
        error: How it was lost.
        is_safe: It is idempotent (RFC 9110, section 9.2).
        may_repeat: It may be sent again although it may have arrived.
        is_prompt: Its response begins within a heartbeat, so a longer silence means a dead connection.
    """
    if error.retryable:
        return True  # it was never sent
    if is_safe:
        return not isinstance(error, TotalTimeoutError)
    dead = isinstance(error, FirstByteTimeoutError) and is_prompt
    return may_repeat and (dead or type(error) is NetworkError)  # otherwise the caller's own time limit has passed


def may_repeat_answered(status: int, headers: Mapping[str, str], *, was_refused: bool, may_repeat: bool) -> bool:
    """Return whether a call is retried after an unsuccessful response.

    Args:
        status: Its status.
        headers: Its headers, by lower-case names.
        was_refused: The agent has started nothing.
        may_repeat: The call may be sent again although it may have arrived.
    """
    # A gateway may have lost it.
    by_others = not speaks_protocol(headers) and status in REFUSED_STATUSES | GATEWAY_STATUSES
    return (was_refused and status in REFUSED_STATUSES) or (by_others and may_repeat)


def may_resume(error: NetworkError, *, invocation_id: str | None, numbered: bool, survives: bool) -> bool:
    """Return whether a cut stream is resumed; it isn't if a time limit of the caller has passed.

    `numbered`: the response used protocol 1. `survives`: the invocation continues without its connection.
    """
    return type(error) in {NetworkError, IdleTimeoutError} and bool(invocation_id) and numbered and survives


def after_return(status: int, headers: Mapping[str, str]) -> RetryAction:
    """Return what to do after the response to a resumption."""
    if 200 <= status < 300 and is_event_stream(headers) and speaks_protocol(headers):
        return RetryAction.RESUME
    if status in REFUSED_STATUSES or (status in GATEWAY_STATUSES and not speaks_protocol(headers)):
        return RetryAction.REPEAT
    return RetryAction.GIVE_UP


def is_own_end(error: PPIOAgentRuntimeError, headers: Mapping[str, str]) -> bool:
    """Return whether the error response to a resumption is the end of the invocation itself.

    Otherwise its events are not available: unknown, no longer kept, or another server responded.
    """
    lost = (NotFoundError, EventsEvictedError, BadRequestError, MethodNotAllowedError)
    return speaks_protocol(headers) and error.status_code not in {401, 403} and not isinstance(error, lost)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon to retry.

    Attributes:
        max_retries: Retries, not counting the first attempt.
        retry_delay: Upper bound of the first pause, in seconds; it doubles with each attempt.
    """

    max_retries: int
    retry_delay: float

    def pause(
        self, attempt: int, *, chance: float, retry_after: float | None = None, remaining: float | None = None
    ) -> float | None:
        """Return how long to wait before the next attempt, in seconds; None to give up.

        Full jitter: a random pause between 0 and the bound, so that many clients do not retry at once.

        Args:
            attempt: Attempts that failed before this one, from 0.
            chance: A random number in [0, 1).
            retry_after: The server's `Retry-After`, in seconds; never shortened.
            remaining: The time left for the call, in seconds; None for no limit.
        """
        if attempt >= self.max_retries:
            return None
        if retry_after is None:
            pause = chance * min(MAX_PAUSE_SECONDS, self.retry_delay * 2.0**attempt)
        elif retry_after <= MAX_ASKED_PAUSE_SECONDS:
            pause = retry_after
        else:
            return None
        return pause if remaining is None or pause < remaining else None


class RetryBudget:
    """Limits the retries of a client, so that they don't make an outage worse.

    A token bucket: a retry takes one token, ten responses add one. While most calls succeed it has no effect; when few
    do, calls fail at their first attempt, and the load is hardly higher than without retries. Resumed streams don't
    count, because they start no new work. Without a lock, threads may miscount by one, which doesn't matter.

    Args:
        most: Size of the bucket, which is full at first; None for no limit.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, most: float | None) -> None:
        self._most = self._left = float("inf") if most is None else float(most)

    def spend(self) -> bool:
        """Take one token. Return whether there was one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def earn(self) -> None:
        """Add the share of one response."""
        if self._left < self._most:
            self._left = min(self._most, self._left + 1 / ANSWERS_PER_RETRY)
