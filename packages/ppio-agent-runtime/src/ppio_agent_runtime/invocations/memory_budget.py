"""How much event logs may hold: one bound for all of them, the running and the finished ones together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LEAST_LOG_BYTES: Final = 64 * 1024
"""What a running log may hold however many there are."""
FIRST_BYTES: Final = 2048
"""What a log may hold before it asks for the first time: most answers fit."""
_LEAST_GROWTH_BYTES: Final = 4 * 1024
"""By how much a log may grow before it asks again where memory is short: asking costs a fast stream time."""
_MOST_GROWTH_BYTES: Final = 256 * 1024
"""By how much at most: what one was given and does not use, others lack."""


class MemoryBudget:
    """The bytes of all logs. A running one counts with what it may grow by before it asks again.

    Args:
        max_bytes: Of all logs.
        max_log_bytes: Of one that runs.
        make_room: Called when more is held than allowed.

    Attributes:
        max_bytes: The same.
        max_log_bytes: The same.
        finished_bytes: Of those that are over.
        running_bytes: Of those that run.
        running: How many run.
    """

    def __init__(self, max_bytes: int, max_log_bytes: int, make_room: Callable[[], None]) -> None:
        self.max_bytes = max_bytes
        self.max_log_bytes = max_log_bytes
        self._make_room = make_room
        self.finished_bytes = 0
        self.running_bytes = 0
        self.running = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more is held than allowed."""
        return self.running_bytes + self.finished_bytes > self.max_bytes

    def share(self) -> MemoryShare:
        """Return the share of a log that begins."""
        return MemoryShare(self)

    def count(self, delta: int) -> None:
        """Add to what the running ones hold."""
        self.running_bytes += delta
        if delta > 0 and self.is_exceeded:
            self._make_room()


class MemoryShare:
    """One running log's part of the budget: of one half that they share, and `LEAST_LOG_BYTES` in any case."""

    __slots__ = ("_budget", "_counted", "_is_over")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._counted = FIRST_BYTES
        self._is_over = False
        budget.running += 1
        budget.count(FIRST_BYTES)

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """Return how many bytes the log may hold, and by how many it may grow before it asks again.

        Args:
            held_bytes: What it holds now.
        """
        if self._is_over:
            return 0, 0
        budget = self._budget
        others_bytes = budget.running_bytes - self._counted
        half = budget.max_bytes // 2
        share = min(half // budget.running, half - others_bytes)
        most = min(budget.max_log_bytes, max(LEAST_LOG_BYTES, share))
        free = budget.max_bytes - budget.finished_bytes - others_bytes - held_bytes
        growth = min(_MOST_GROWTH_BYTES, max(_LEAST_GROWTH_BYTES, free // (4 * budget.running)))
        growth = max(0, min(most - held_bytes, growth))
        counted, self._counted = self._counted, held_bytes + growth
        budget.count(self._counted - counted)
        return most, growth

    def release(self) -> None:
        """Note that the log is over. May be called any number of times."""
        if not self._is_over:
            self._is_over = True
            self._budget.running -= 1
            self._budget.count(-self._counted)


class FixedShare:
    """The share of a log that shares with no other."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """See `MemoryShare`."""
        return self._max_bytes, max(0, self._max_bytes - held_bytes)

    def release(self) -> None:
        """See `MemoryShare`."""
