"""Adds progress reports to the log of an invocation, from any thread, in order with its chunks.

For a report of another thread the loop is woken up, but the handler may continue before that: since Python 3.14 `await
asyncio.to_thread(...)` returns without a turn of the loop if the thread was fast. So waiting reports are added before
the next chunk, and before the invocation ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .cancel_scope import CancelScope
    from .event_log import EventLog
    from .store import Ending


class Reporting(Protocol):
    """What `Reports` needs of an invocation."""

    cancel_scope: CancelScope
    ending: Ending | None

    @property
    def log(self) -> EventLog:
        """Its events."""


class Reports:
    """Adds progress events to the log when called, in any thread; after the end it ignores them.

    Attributes:
        waiting: Reports that are not in the log yet, as JSON.
    """

    __slots__ = ("_invocation", "waiting")

    def __init__(self, invocation: Reporting) -> None:
        self._invocation = invocation
        self.waiting: deque[bytes] = deque()

    def __call__(self, value: bytes) -> None:
        """Add a progress event."""
        invocation = self._invocation
        task = invocation.cancel_scope.task
        if task is None or invocation.ending is not None:
            return
        self.waiting.append(value)
        loop = task.get_loop()
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here:
            self.take()
        else:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self.take)

    def take(self) -> None:
        """Add the waiting reports to the log. Runs on the loop."""
        if self.waiting and self._invocation.ending is None:
            log = self._invocation.log
            log.reported = self.waiting
            log.take_reported()
