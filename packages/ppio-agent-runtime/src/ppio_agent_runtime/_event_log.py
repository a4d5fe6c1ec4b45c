"""The events of one durable invocation: numbered from 1, bounded, read by any number of readers at their own pace.

It takes the place of `ChunkBuffer` between the producer and whoever listens, and differs in what it forgets: a buffer
forgets what was taken, a log only what it has no room for. Events are kept as they go over the wire in protocol 1, so
that a reader costs a slice and a join.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ppio_agent_models import EventsEvictedError

_YIELD_AFTER: Final = 256
"""So many events at a time; then other streams on the loop have their turn."""
_TAKE_BYTES: Final = 256 * 1024
"""About so many bytes a reader gets at once; one event may be larger."""
_OVERHEAD_BYTES: Final = 64
"""What an event costs besides its bytes."""
_DATA: Final = b"\ndata: "


class EventLog:
    """Everything that an invocation said, as long as there is room for it.

    While somebody reads, or `keeps_unread` says that somebody may come back, the producer waits for room rather than
    lose an event that nobody has read. Otherwise the oldest events go.

    Args:
        max_bytes: Returns how many bytes this log may hold now.

    Attributes:
        first_id: Number of the oldest event that is still held; one more than `last_id` when there is none.
        last_id: Number of the newest event, 0 before the first.
        size: Bytes held, overhead included.
        keeps_unread: Somebody may come back for what nobody has read.
        only_text: Every chunk so far was a string.
        ended: The producer will add nothing more.
        error: Why it ended, when it failed.
        closed: The closing event is there.
    """

    __slots__ = (
        "_events",
        "_max_bytes",
        "_read_up_to",
        "_readers",
        "_since_turn",
        "_waiting",
        "closed",
        "ended",
        "error",
        "first_id",
        "keeps_unread",
        "last_id",
        "only_text",
        "production_over",
        "size",
    )

    def __init__(self, max_bytes: Callable[[], int]) -> None:
        self._max_bytes = max_bytes
        self._events: list[bytes] = []
        self._readers: set[EventReader] = set()
        self._read_up_to = 0
        self._since_turn = 0
        self._waiting: asyncio.Future[None] | None = None
        self.first_id = 1
        self.last_id = 0
        self.size = 0
        self.keeps_unread = True
        self.only_text = True
        self.ended = False
        self.error: BaseException | None = None
        self.closed = False
        self.production_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, chunk: bytes) -> bool:
        """Add an encoded chunk and say whether the producer may go on at once; after the end nothing is added."""
        if self.ended:
            return True
        self._append(b"id: %d\ndata: %b\n\n" % (self.last_id + 1, chunk))
        self._since_turn += 1
        return self._since_turn < _YIELD_AFTER and self.size < self._max_bytes()

    def progress(self, value: bytes) -> None:
        """Add an event that is not a chunk."""
        if not self.ended:
            self._append(b"event: progress\nid: %d\ndata: %b\n\n" % (self.last_id + 1, value))

    async def room(self) -> None:
        """Give others their turn, then wait until there is room for another event."""
        self._since_turn = 0
        await asyncio.sleep(0)
        while not self.ended and self.size >= self._max_bytes() and not self._forget():
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come; only the first call counts."""
        if not self.ended:
            self.ended = True
            self.error = error
            self.look_again()
            if not self.production_over.done():
                self.production_over.set_result(None)

    def close(self, kind: str, envelope: bytes) -> None:
        """Add the event that ends the log: `done` or `error`."""
        self.ended = self.closed = True
        self._append(b"event: %b\nid: %d\ndata: %b\n\n" % (kind.encode(), self.last_id + 1, envelope))

    def beat(self, now: float) -> None:
        """Do nothing: it is each reader that has heartbeats."""

    @property
    def waiting(self) -> int:
        """How many events nobody has taken yet."""
        return self.last_id - self._read_up_to

    def look_again(self) -> None:
        """Let a producer that waits for room see whether there is some now."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def read(self, after: int) -> EventReader:
        """Return a reader of the events after number `after`.

        Raises:
            EventsEvictedError: Some of them are not held any more.
        """
        if after + 1 < self.first_id:
            raise EventsEvictedError(
                f"The events after {after} are not held any more; the first that is held is {self.first_id}.",
                first_event_id=self.first_id,
            )
        reader = EventReader(self, after)
        self._readers.add(reader)
        return reader

    def leave(self, reader: EventReader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)
        self.look_again()

    @property
    def has_readers(self) -> bool:
        """Whether somebody reads."""
        return bool(self._readers)

    def collected(self) -> bytes | None:
        """Return all chunks as one JSON value: strings joined, anything else as a list; None if some are gone."""
        if self.first_id != 1:
            return None
        parts = [_data_of(event) for event in self._events if event.startswith(b"id:")]
        if parts and self.only_text:
            return b'"' + b"".join([part[1:-1] for part in parts]) + b'"'
        return b"[" + b",".join(parts) + b"]"

    def events_after(self, position: int) -> list[bytes]:
        """Return some of the events after number `position`, as they go over the wire."""
        start = position + 1 - self.first_id
        size = 0
        for index in range(start, len(self._events)):
            size += len(self._events[index])
            if size >= _TAKE_BYTES:
                return self._events[start : index + 1]
        return self._events[start:]

    def was_read(self, position: int) -> None:
        """Note that a reader has got everything up to number `position`."""
        self._read_up_to = max(self._read_up_to, position)
        self.look_again()

    def held_events(self) -> tuple[int, list[bytes]]:
        """Return the number of the first event that is held, and all of them."""
        return self.first_id, list(self._events)

    def restore(self, events: list[bytes], first_id: int, *, only_text: bool) -> None:
        """Fill an empty log with the events of an invocation that is over."""
        self._events = events
        self.first_id = first_id
        self.last_id = first_id + len(events) - 1
        self.size = sum(map(len, events)) + _OVERHEAD_BYTES * len(events)
        self.only_text = only_text
        self.ended = self.closed = True

    def _append(self, event: bytes) -> None:
        self._events.append(event)
        self.last_id += 1
        self.size += len(event) + _OVERHEAD_BYTES
        for reader in self._readers:
            reader.wake()

    def _forget(self) -> bool:
        """Make room by forgetting the oldest events that may go; False when none may."""
        if self._readers:
            limit = min(reader.position for reader in self._readers)
        else:
            limit = self._read_up_to if self.keeps_unread else self.last_id
        target = self._max_bytes() * 3 // 4
        count = 0
        for event in self._events[: max(0, limit + 1 - self.first_id)]:
            if self.size <= target:
                break
            self.size -= len(event) + _OVERHEAD_BYTES
            count += 1
        del self._events[:count]
        self.first_id += count
        return count > 0


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
        """Return the next events, waiting for the first; an empty list at the end or after a beat."""
        if self.position >= self._log.last_id and not self._log.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        events = self._log.events_after(self.position)
        if events:
            self._log.was_read(self.position)  # what was taken before has been sent by now
            self.position += len(events)
        return events

    def wake(self) -> None:
        """Make a waiting `take` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """Stop reading; the log may forget what only this reader kept."""
        self._log.leave(self)


def _data_of(event: bytes) -> bytes:
    start = event.index(_DATA) + len(_DATA)
    return event[start:-2]


def plain_event(event: bytes) -> bytes:
    """Return an event without number and kind, for callers that speak no protocol; nothing for what is no chunk."""
    return b"data: %b\n\n" % _data_of(event) if event.startswith((b"id:", b"event: error")) else b""
