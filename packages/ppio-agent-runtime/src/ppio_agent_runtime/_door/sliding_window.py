"""Counting requests in a sliding window, in this process: two numbers for each key, and a bound on the keys.

The arithmetic is that of `limits` (its sliding window counter), which counts in Redis for replicas. In one process it
is done here: the library's memory storage scans all its keys on the event loop with every request (12 ms at 100,000
keys), keeps as many of them as callers care to invent, and costs 20 us where this costs 1.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

MAX_KEYS: Final = 20_000
"""Keys that are counted in memory at most; beyond them the one that was not seen for longest is forgotten."""


class RateLimitState(NamedTuple):
    """What a limit says about one request.

    Attributes:
        allowed: It may go on, and has been counted.
        remaining: Requests that the key has left now.
        reset_after: Seconds until it has more.
        known: The storage answered; otherwise the three above say only what `on_storage_failure` decided.
    """

    allowed: bool
    remaining: int
    reset_after: float
    known: bool = True


def state_of(
    allowed: bool, limit: int, window_seconds: int, previous: int, current: int, left: float
) -> RateLimitState:
    """Return the state of a key whose running window has `left` seconds to go.

    Of the window before, so much counts as still lies within one length back from now, as if it had been spread evenly.
    """
    if not previous:
        return RateLimitState(allowed, max(0, limit - current), left if current else 0.0)
    weighted = int(previous * left / window_seconds) + current
    return RateLimitState(allowed, max(0, limit - weighted), left % (window_seconds / previous))


class _Window:
    """The counts of one key: of the window that runs, and of the one before."""

    __slots__ = ("begins", "count", "previous")

    def __init__(self, begins: float) -> None:
        self.begins = begins
        self.count = 0
        self.previous = 0


class SlidingWindows:
    """The windows of many keys. Those of a key begin with its first request, as they do in Redis.

    Nothing here waits, so one object serves every event loop, one at a time.

    Args:
        limit: Requests that one key may make.
        window_seconds: In a span of so many seconds.
        max_keys: Keys that are remembered.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self, limit: int, window_seconds: int, max_keys: int = MAX_KEYS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window_seconds = window_seconds
        self._max_keys = max_keys
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def hit(self, key: str) -> RateLimitState:
        """Count one request of `key` if it fits into the limit."""
        now = self._clock()
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
            self._forget(now)
        else:
            self._windows.move_to_end(key)
            if now - window.begins >= self._window_seconds:
                self._turn(window, now)
        left = self._window_seconds - (now - window.begins)
        if not window.previous:
            allowed = window.count < self._limit
            window.count += allowed
            return RateLimitState(allowed, self._limit - window.count, left)
        allowed = int(window.previous * left / self._window_seconds) + window.count < self._limit
        if allowed:
            window.count += 1
        return state_of(allowed, self._limit, self._window_seconds, window.previous, window.count, left)

    def _turn(self, window: _Window, now: float) -> None:
        if now - window.begins >= 2 * self._window_seconds:
            window.begins, window.previous = now, 0
        else:
            window.begins, window.previous = window.begins + self._window_seconds, window.count
        window.count = 0

    def _forget(self, now: float) -> None:
        """Drop the oldest keys that are over, two for each new one, and what is beyond the bound."""
        for _ in range(2):
            oldest = next(iter(self._windows))
            over = now - self._windows[oldest].begins >= 2 * self._window_seconds
            if over or len(self._windows) > self._max_keys:
                del self._windows[oldest]
