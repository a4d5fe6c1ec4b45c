"""When a call is repeated, and after which pause. Only a call that cannot have run is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PAUSE_SECONDS = 30.0
"""The longest pause that the client chooses by itself."""
MAX_ASKED_PAUSE_SECONDS = 60.0
"""The longest pause that a server can ask for with `Retry-After`; beyond it the caller is told instead."""
REFUSED_STATUSES = frozenset({429, 503})
"""Answers that say "not now": the agent's code has not seen the request. `resuming` knows the exception."""
GATEWAY_STATUSES = frozenset({502, 504})
"""Answers of somebody between here and the agent, who lost it."""
ANSWERS_PER_RETRY: Final = 10
"""How many answers pay for one retry."""


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
