"""One reader of an event log, at its own pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from .event_log import EventLog


class EventReader:
    """One reader's place in a log.

    Attributes:
        position: Number of the last event that was taken.
    """

    __slots__ = ("_log", "_waiter", "position")

    def __init__(self, log: EventLog, after: int) -> None:
        self._log = log
        self._waiter: asyncio.Future[None] | None = None
        self.position = after

    @property
    def at_end(self) -> bool:
        """Whether the closing event has been taken."""
        return self._log.closed and self.position >= self._log.last_id

    async def take(self) -> list[bytes]:
        """Return the next events in blocks, waiting for the first; an empty list at the end, or when woken early."""
        self._log.was_read(self.position)  # what was taken before has been sent by now
        if self.position >= self._log.last_id and not self._log.closed:
            self._waiter = self._log.next_event()
            try:
                await self._waiter
            finally:
                self._log.awake(self._waiter)
                self._waiter = None
        blocks, self.position = self._log.blocks_after(self.position)
        return blocks

    def wake(self) -> None:
        """Make a waiting `take` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """Stop reading; the log may forget what only this reader kept."""
        self._log.leave(self)
