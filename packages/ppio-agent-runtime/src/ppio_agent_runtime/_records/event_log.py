"""The events of one durable invocation: numbered from 1, bounded, read by any number of readers at their own pace.

It takes the place of `ChunkBuffer` between the producer and whoever listens, and differs in what it forgets: a buffer
forgets what was taken, a log only what it has no room for. Events are kept as they go over the wire in protocol 1, in
blocks of those that were made between two turns of the event loop, so that a reader costs next to nothing.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from ppio_agent_models import EventsEvictedError

from .._engine.chunks import MAX_BYTES, MAX_CHUNKS
from .allowance import FIRST_BYTES
from .event_blocks import chunk_block, chunks_in, event_block, without_first
from .event_reader import EventReader

if TYPE_CHECKING:
    from .allowance import Allowance

_TAKE_BYTES: Final = 256 * 1024
"""About so many bytes a reader gets at once; one block may be larger."""
_OVERHEAD_BYTES: Final = 64
"""What a block costs besides its bytes."""


class EventLog:
    """Everything that an invocation said, as long as there is room for it.

    Half of the room is for what a reader was sent already: the end of it may have been lost with its connection. While
    somebody reads, or `keeps_unread` says that somebody may come back, the producer waits for room rather than lose an
    event that nobody has read. Otherwise the oldest events go.

    Args:
        allowance: Says how many bytes this log may hold, and counts them.
        keeps_unread: Somebody may come back for what nobody has read.

    Attributes:
        allowance: The same.
        first_id: Number of the oldest event that is still held; one more than `last_id` when there is none.
        size: Bytes of the blocks that are held, overhead included.
        first_chunk_at: When the first chunk came, on the monotonic clock.
        only_text: Every chunk so far was a string.
        ended: The producer will add nothing more.
        error: Why it ended, when it failed.
        closed: The closing event is there.
    """

    __slots__ = (
        "_asleep",
        "_blocks",
        "_bound",
        "_closing",
        "_dropped_bytes",
        "_ends",
        "_first_ids",
        "_granted",
        "_is_full",
        "_keeps_unread",
        "_pending",
        "_pending_bytes",
        "_read_up_to",
        "_readers",
        "_room",
        "_sealed_chunks",
        "_sealed_id",
        "_waiting",
        "allowance",
        "closed",
        "ended",
        "error",
        "first_chunk_at",
        "first_id",
        "only_text",
        "size",
    )

    def __init__(self, allowance: Allowance, *, keeps_unread: bool = True) -> None:
        self.allowance = allowance
        self._bound = 0
        self._granted = 0  # so much may be held before the allowance is asked again
        self._room = FIRST_BYTES  # so many may be pending
        self._keeps_unread = keeps_unread
        self._pending: list[bytes] = []  # chunks that are in no block yet
        self._pending_bytes = 0
        self._blocks: list[bytes] = []
        self._first_ids = array("Q")  # of each block: the number of its first event
        self._ends = array("Q")  # of each block: the bytes up to its end, since the beginning
        self._sealed_id = 0  # number of the last event that is in a block
        self._dropped_bytes = 0
        self._closing: tuple[bytes, bytes] | None = None
        self._is_full = False
        self._readers: set[EventReader] = set()
        self._asleep: set[asyncio.Future[None]] = set()
        self._read_up_to = 0
        self._waiting: asyncio.Future[None] | None = None
        self.first_id = 1
        self.size = 0
        self._sealed_chunks = 0
        self.first_chunk_at: float | None = None
        self.only_text = True
        self.ended = False
        self.error: BaseException | None = None
        self.closed = False

    @property
    def last_id(self) -> int:
        """Number of the newest event, 0 before the first."""
        return self._sealed_id + len(self._pending) + (self._closing is not None)

    @property
    def chunks(self) -> int:
        """How many chunks there were so far."""
        return self._sealed_chunks + len(self._pending)

    @property
    def made_bytes(self) -> int:
        """Bytes of all events so far, those that were forgotten included."""
        return self._dropped_bytes + self.held_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes held, those included that are in no block yet."""
        return self.size + self._pending_bytes + (0 if self._closing is None else len(self._closing[1]))

    @property
    def waiting(self) -> int:
        """How many events nobody has taken yet."""
        return self.last_id - self._read_up_to

    def put(self, chunk: bytes) -> bool:
        """Add an encoded chunk and say whether the producer may go on at once; after the end nothing is added."""
        if self.ended:
            return False
        pending = self._pending
        pending.append(chunk)
        self._pending_bytes = size = self._pending_bytes + len(chunk)
        if self.first_chunk_at is None:
            self.first_chunk_at = time.monotonic()
        if self._asleep:
            self._wake_readers()
        return (size < self._room or self._may_grow()) and len(pending) < MAX_CHUNKS

    def progress(self, value: bytes) -> None:
        """Add an event that is not a chunk. In a full log that nothing may leave, it is dropped."""
        if self.ended:
            return
        self._seal()
        self._count()
        if not self._is_full or self._forget():
            self._add(event_block(b"progress", self._sealed_id + 1, value), 1)

    async def room(self) -> None:
        """Give others their turn, then wait until there is room for another event."""
        self._seal()
        await asyncio.sleep(0)
        while not (self.ended or self._has_room()) and self._has_unread():
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
            self._let_producer_look()

    def close(self, kind: bytes, envelope: bytes) -> None:
        """Add the event that ends the log: `done` or `error`."""
        self.ended = self.closed = True
        self._closing = (kind, envelope)  # becomes a block when somebody reads: most values are never read as events
        if self._asleep:
            self._wake_readers()

    def beat(self, now: float) -> None:
        """Do nothing: it is each reader that has heartbeats."""

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
        self._let_producer_look()

    def collected(self) -> list[bytes] | None:
        """Return all chunks as JSON; None if some are gone."""
        if self.first_id != 1:
            return None
        self._seal()
        return chunks_in(self._blocks)

    def value(self) -> bytes:
        """Return the newest chunk as JSON, `null` if there is none."""
        if self._pending:
            return self._pending[-1]
        for block in reversed(self._blocks):
            if chunks := chunks_in([block]):
                return chunks[-1]
        return b"null"

    def blocks_after(self, position: int) -> tuple[list[bytes], int]:
        """Return some of the events after number `position`, and the number of the last one among them."""
        self._seal()
        if self._first_ids and self._first_ids[-1] == position + 1:  # only the newest block, as mostly
            return self._blocks[-1:], self._sealed_id
        first = bisect_right(self._first_ids, position + 1) - 1
        if first < 0 or position >= self._sealed_id:
            return [], position
        begin = self._ends[first] - len(self._blocks[first])
        end = max(first + 1, bisect_right(self._ends, begin + _TAKE_BYTES, lo=first))
        blocks = self._blocks[first:end]
        if skip := position + 1 - self._first_ids[first]:
            blocks[0] = without_first(blocks[0], skip)
        return blocks, self._first_ids[end] - 1 if end < len(self._first_ids) else self._sealed_id

    def next_event(self) -> asyncio.Future[None]:
        """Return a future that is done when there is another event."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asleep.add(waiter)
        return waiter

    def awake(self, waiter: asyncio.Future[None]) -> None:
        """Forget a future of `next_event`."""
        self._asleep.discard(waiter)

    def was_read(self, position: int) -> None:
        """Note that a reader has been sent everything up to number `position`."""
        self._read_up_to = max(self._read_up_to, position)
        self._let_producer_look()

    def held(self) -> bytes:
        """Return everything that is held, from `first_id` on."""
        self._seal()
        return b"".join(self._blocks)

    def resume_at(self, number: int) -> None:
        """Number the closing event anew, in a log that has only this one and does not know how many came before it."""
        kind, rest = self._blocks[0].split(b"\n", 1)
        data = rest.split(b"\n", 1)[1]
        self._blocks = [b"%b\nid: %d\n%b" % (kind, number, data)]
        self._first_ids = array("Q", [number])
        self._sealed_id = self.first_id = number

    def restore(self, events: bytes, first_id: int, last_id: int, *, only_text: bool) -> None:
        """Fill an empty log with the events of an invocation that is over."""
        self.first_id = first_id
        self._sealed_id = first_id - 1
        self.only_text = only_text
        if events:
            self._add(events, last_id - self._sealed_id)
            self._sealed_chunks = len(chunks_in([events]))
        self.ended = self.closed = True

    def _seal(self) -> None:
        """Make blocks of what came since the last one."""
        pending = self._pending
        if pending:
            block = chunk_block(pending, self._sealed_id + 1)
            self._pending = []
            self._pending_bytes = 0
            self._sealed_chunks += len(pending)
            self._add(block, len(pending))
        if self._closing is not None:
            kind, envelope = self._closing
            self._closing = None
            self._add(event_block(kind, self._sealed_id + 1, envelope), 1)

    def _add(self, block: bytes, count: int) -> None:
        self._blocks.append(block)
        self._first_ids.append(self._sealed_id + 1)
        self._sealed_id += count
        self.size += len(block) + _OVERHEAD_BYTES
        self._ends.append(self._dropped_bytes + self.size)
        if self.size < self._granted:
            self._room = min(MAX_BYTES, self._granted - self.size)
        else:
            self._count()
        if self._asleep:
            self._wake_readers()

    def _count(self) -> None:
        """Say how much is held, and hear how much may be."""
        held = self.size + self._pending_bytes
        self._bound, growth = self.allowance.ask(held)
        self._granted = held + growth
        self._room = min(MAX_BYTES, self._pending_bytes + growth)
        self._is_full = self.size >= self._bound

    def _may_grow(self) -> bool:
        self._count()
        return self._pending_bytes < self._room

    def _has_room(self) -> bool:
        if self._is_full:
            self._count()
        return not self._is_full or self._forget()

    def _wake_readers(self) -> None:
        for waiter in self._asleep:
            if not waiter.done():
                waiter.set_result(None)
        self._asleep.clear()

    def _let_producer_look(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _sent_id(self) -> int:
        """Return up to which event everybody who matters was sent everything."""
        if self._readers:
            return min(reader.position for reader in self._readers)
        return self._read_up_to if self._keeps_unread else self._sealed_id

    def _has_unread(self) -> bool:
        return self._sent_id() < self._sealed_id

    def _forget(self) -> bool:
        """Forget the oldest events that may go, and say whether there is room now."""
        up_to = self._dropped_bytes + self.size - self._bound * 3 // 4
        if self._readers or self._keeps_unread:
            up_to = min(up_to, self._bytes_up_to(self._sent_id()) - self._bound // 2)
        count = bisect_right(self._ends, up_to) if up_to > 0 else 0
        if count:
            gone = self._ends[count - 1]
            self.size -= gone - self._dropped_bytes
            self._dropped_bytes = gone
            del self._blocks[:count], self._first_ids[:count], self._ends[:count]
            self.first_id = self._first_ids[0] if self._first_ids else self._sealed_id + 1
            self._count()
        return self.size < self._bound

    def _bytes_up_to(self, event_id: int) -> int:
        """Return where the last block ends that has only events up to this one."""
        blocks = bisect_right(self._first_ids, event_id + 1) - 1 if event_id < self._sealed_id else len(self._ends)
        return self._ends[blocks - 1] if blocks > 0 else 0
