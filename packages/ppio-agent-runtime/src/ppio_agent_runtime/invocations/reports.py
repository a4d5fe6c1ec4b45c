"""Progress that an agent reports, on its way into the log of its invocation: from any thread, and in its place.

The loop is woken for what another thread reports. Code of the agent may go on before that: since Python 3.14 `await
asyncio.to_thread(...)` goes on at once where the thread was fast. So before a chunk or the end is added, what waits is.
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
    """What reports need of an invocation; see `invocation.Invocation`."""

    cancel_scope: CancelScope
    ending: Ending | None

    @property
    def log(self) -> EventLog:
        """Where they go."""


class Reports:
    """Adds progress events to the log of an invocation, when it is called, in any thread. Nothing after the end.

    Attributes:
        waiting: Reports that are in no log yet.
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
        """Add to the log what waits. Runs on the loop."""
        if self.waiting and self._invocation.ending is None:
            log = self._invocation.log
            log.reported = self.waiting
            log.take_reported()
