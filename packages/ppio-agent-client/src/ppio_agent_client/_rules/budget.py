"""How many repetitions a client can afford, so that it does not multiply an outage.

A bucket: a repetition takes one out, ten answers put one in. While most calls are answered nobody notices it; when few
are, calls fail at their first attempt, and the other side gets little more than it would without any repetition.
Streams that come back after a cut do not count: they only go on, and the agent holds their work.
"""

from __future__ import annotations

from typing import Final

ANSWERS_PER_RETRY: Final = 10
"""How many answers pay for one repetition."""


class RetryBudget:
    """The bucket of one client. Threads that meet in it may miscount by one, and nothing worse.

    Args:
        most: Repetitions in a full bucket, which it is at first; None for no bound.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, most: float | None) -> None:
        self._most = self._left = float("inf") if most is None else float(most)

    def spend(self) -> bool:
        """Take one repetition out. Return whether there was one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def earn(self) -> None:
        """Put in what one answer is worth."""
        if self._left < self._most:
            self._left = min(self._most, self._left + 1 / ANSWERS_PER_RETRY)
