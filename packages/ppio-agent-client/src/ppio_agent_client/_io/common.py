"""What both halves share: clocks, random numbers, and work that many ask for and one does."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

now = time.monotonic
"""Seconds on a clock that never jumps, for limits and pauses."""
unix_now = time.time
"""Seconds since 1970, for dates on the wire."""


def chance() -> float:
    """Return a random number in [0, 1), for jitter; nothing secret depends on it."""
    return random.random()  # noqa: S311  # jitter is no secret


def key() -> str:
    """Return 32 characters that nobody gets twice."""
    return os.urandom(16).hex()


def nonce() -> str:
    """Return 22 characters that nobody can guess and nobody gets twice."""
    return secrets.token_urlsafe(16)


class AbandonedError(Exception):
    """Who did the work was stopped; somebody else has to do it."""


class SharedWork(Generic[T]):
    """Knows the work that is under way, if some is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    @property
    def is_running(self) -> bool:
        """Whether somebody does the work right now."""
        return self._running is not None

    def join(self) -> tuple[Future[T], bool]:
        """Return the result to come, and whether the caller is the first to want it: then the work is the caller's."""
        with self._lock:
            if self._running is not None:
                return self._running, False
            self._running = Future()
            self._running.set_running_or_notify_cancel()  # who stops waiting does not cancel it
            return self._running, True

    def set_result(self, future: Future[T], result: T) -> T:
        """Give the result to all who wait for it."""
        self._clear()
        future.set_result(result)
        return result

    def set_exception(self, future: Future[T], error: BaseException) -> None:
        """Raise in all who wait what went wrong; where only the worker was stopped, another takes over."""
        self._clear()
        future.set_exception(error if isinstance(error, Exception) else AbandonedError())

    def _clear(self) -> None:
        with self._lock:
            self._running = None
