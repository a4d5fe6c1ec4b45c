"""What to do when a connection is lost or a call is refused, and after which pause. Nothing runs twice.

An invocation of protocol 1 continues without its connection. Its events can be resumed where they were cut, and the
same call with the same `Idempotency-Key` finds it again, in the instance of the agent that may have begun it: no other
takes a call that names this one in `PPIO-Agent-Instance`. Anything else is only retried when it cannot have run.
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
"""The longest pause that a server can ask for with `Retry-After`; beyond it the caller is told instead."""
REFUSED_STATUSES = frozenset({429, 503})
"""Answers that may say "not now"; `responses.is_refusal` knows whether they do."""
GATEWAY_STATUSES = frozenset({502, 504})
"""Answers of somebody between here and the agent, who lost it."""
ANSWERS_PER_RETRY: Final = 10
"""How many answers pay for one retry."""


class RetryAction(Enum):
    """What to do about the answer to an attempt to read on."""

    RESUME = "read the events on from where they were cut"
    REPEAT = "ask again"
    GIVE_UP = "tell the caller"


def may_repeat_lost(error: NetworkError, *, is_safe: bool, may_repeat: bool, is_prompt: bool) -> bool:
    """Return whether a call is sent again when no head of an answer arrived, or not the whole of a value.

    Args:
        error: How it was lost.
        is_safe: It only looks: sending it twice is as good as once (RFC 9110, section 9.2).
        may_repeat: It can be sent again although it may have arrived.
        is_prompt: Its answer begins within a heartbeat, so that a longer silence means a dead connection.
    """
    if error.retryable:
        return True  # it was never sent
    if is_safe:
        return not isinstance(error, TotalTimeoutError)
    dead = isinstance(error, FirstByteTimeoutError) and is_prompt
    return may_repeat and (dead or type(error) is NetworkError)  # else a time limit of the caller's own has passed


def may_repeat_answered(status: int, headers: Mapping[str, str], *, was_refused: bool, may_repeat: bool) -> bool:
    """Return whether a call is sent again after an answer that is no success.

    Args:
        status: Its status.
        headers: Its headers, by lower-case names.
        was_refused: The agent says that it has begun nothing.
        may_repeat: The call can be sent again although it may have arrived.
    """
    # Somebody between here and the agent may have lost it.
    by_others = not speaks_protocol(headers) and status in REFUSED_STATUSES | GATEWAY_STATUSES
    return (was_refused and status in REFUSED_STATUSES) or (by_others and may_repeat)


def may_resume(error: NetworkError, *, invocation_id: str | None, numbered: bool, survives: bool) -> bool:
    """Return whether a stream that had begun and was cut is read on, unless a time limit of the caller's has passed.

    `numbered`: the answer spoke protocol 1. `survives`: the caller chose that the invocation goes on without it.
    """
    return type(error) in {NetworkError, IdleTimeoutError} and bool(invocation_id) and numbered and survives


def after_return(status: int, headers: Mapping[str, str]) -> RetryAction:
    """Return what follows the answer to an attempt to read on: RESUME where it is what was asked for."""
    if 200 <= status < 300 and is_event_stream(headers) and speaks_protocol(headers):
        return RetryAction.RESUME
    if status in REFUSED_STATUSES or (status in GATEWAY_STATUSES and not speaks_protocol(headers)):
        return RetryAction.REPEAT
    return RetryAction.GIVE_UP


def is_own_end(error: PPIOAgentRuntimeError, headers: Mapping[str, str]) -> bool:
    """Tell whether an error that answers an attempt to read on is how the invocation itself ended.

    The other possibility is that its events cannot be had: unknown, no longer kept, another server.
    """
    lost = (NotFoundError, EventsEvictedError, BadRequestError, MethodNotAllowedError)
    return speaks_protocol(headers) and error.status_code not in {401, 403} and not isinstance(error, lost)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon.

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

        Full jitter: anything between nothing and the bound, so that many clients do not come back at once.

        Args:
            attempt: Attempts that failed before this one, from 0.
            chance: A random number in [0, 1).
            retry_after: What the server asked for, in seconds; obeyed, never shortened.
            remaining: What is left of the call, in seconds; None for no limit.
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
    """How many retries a client can afford, so that it does not multiply an outage.

    A bucket: a retry takes one out, ten answers put one in. While most calls are answered nobody notices it; when
    few are, calls fail at their first attempt, and the other side gets little more than without any retry. Streams
    that come back after a cut do not count: they only go on, and the agent holds their work. Threads that meet in it
    may miscount by one, and nothing worse.

    Args:
        most: Retries in a full bucket, which it is at first; None for no bound.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, most: float | None) -> None:
        self._most = self._left = float("inf") if most is None else float(most)

    def spend(self) -> bool:
        """Take one retry out. Return whether there was one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def earn(self) -> None:
        """Put in what one answer is worth."""
        if self._left < self._most:
            self._left = min(self._most, self._left + 1 / ANSWERS_PER_RETRY)
