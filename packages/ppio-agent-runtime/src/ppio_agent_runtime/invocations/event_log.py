"""The events of one invocation: bounded, between one producer and its readers, each of them at its own pace.

The producer appends; a reader takes all that is there each time the event loop gives it control. A full log makes the
producer wait, so a slow reader costs a bounded amount of memory, and a fast producer one write for many chunks.

A log of a caller who can come back has a share of the memory for events, numbers them from 1 and forgets only what it
has no room for. It keeps them as they go over the wire in protocol 1, in blocks of those that were made between two
turns of the event loop, so that any number of readers cost next to nothing. Any other log forgets what was read.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_right
from collections.abc import Collection
from typing import Final, NamedTuple, Protocol

from ppio_agent_models import EventsEvictedError

from ..http.sse import (
    PLAIN_END,
    chunk_block,
    chunks_in,
    ends_in_error,
    event_block,
    one_line,
    plain_events,
    without_first,
    without_ids,
)

MAX_CHUNKS: Final = 256
"""The producer gives others their turn after so many; also how long one stream may keep the loop from the others."""
MAX_BYTES: Final = 64 * 1024
"""It does after so many bytes, too; one chunk may be larger."""
FIRST_BYTES: Final = 2048
"""What a log may hold before it asks for the first time: most answers fit."""
_GROWTH: Final = 4
"""How fast a new stream comes to that. At once, the first events of 100 streams took twice as long."""
NOT_READING: Final = 1 << 62
"""The position of a reader that wants no events."""
_TAKE_BYTES: Final = 256 * 1024
"""About so many bytes a reader gets at once; one block may be larger."""
_OVERHEAD_BYTES: Final = 64
"""What a block costs besides its bytes."""


class Share(Protocol):
    """What one log may take of the memory for events."""

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """Return how many bytes a log that holds so many may hold, and by how many it may grow before it asks again."""

    def release(self) -> None:
        """Note that the log is over. May be called any number of times."""


class LogReader:
    """One reader's place in a log, and how it sleeps.

    Attributes:
        position: Number of the last event that it was given.
    """

    __slots__ = ("_waiter", "position")

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Sleep until the next `wake`."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Wake it if it sleeps."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class HeldEvents(NamedTuple):
    """What a log holds, as plain data.

    Attributes:
        blocks: Of protocol 1, each with the number of its first event.
        last_id: Number of the newest event.
        only_text: Every chunk was a string.
    """

    blocks: list[tuple[int, bytes]]
    last_id: int
    only_text: bool


class EventLog:
    """What an invocation says.

    In a log that keeps its events, half of the room is for what a reader was sent already: the end of it may have been
    lost with its connection. While somebody reads, or `keeps_unread` says that somebody may come back, the producer
    waits for room rather than lose an event that nobody has read. Otherwise the oldest events go.

    Args:
        readers: Who reads it, at any time; the slowest decides what may be forgotten.
        share: Says how many bytes may be kept; None to forget what was read, which one reader at most can do.
        keeps_unread: Somebody may come back for what nobody has read.

    Attributes:
        first_id: Number of the oldest event that is still held; one more than `last_id` when there is none.
        size: Bytes of the blocks that are held, overhead included.
        first_chunk_at: When the first chunk came, on the monotonic clock.
        taken_chunks: How many chunks are in blocks, or were read.
        only_text: Every chunk so far was a string.
        closed: Nothing more will come.
    """

    __slots__ = (
        "_asleep", "_blocks", "_bound", "_closing", "_dropped_bytes", "_ends", "_first_ids", "_granted", "_is_full",
        "_keeps_unread", "_pending", "_pending_bytes", "_read_up_to", "_readers", "_room", "_sealed_id", "_share",
        "_turn_chunks", "_waiting", "closed", "first_chunk_at", "first_id", "only_text", "size", "taken_chunks",
    )  # fmt: skip

    def __init__(
        self,
        readers: Collection[LogReader],
        share: Share | None = None,
        *,
        keeps_unread: bool = True,
    ) -> None:
        self._readers = readers
        self._share = share
        self._keeps_unread = keeps_unread
        self._bound = 0
        self._granted = 0  # so much may be held before the share is asked again
        self._room = MAX_BYTES if share is None else FIRST_BYTES  # so many bytes may be pending
        self._turn_chunks = 1  # the first chunk does not wait for others, nor for 255 of each stream that began before
        self._pending: list[bytes] = []  # chunks that are in no block yet
        self._pending_bytes = 0
        self._blocks: list[bytes] = []
        self._first_ids = array("Q")  # of each block: the number of its first event
        self._ends = array("Q")  # of each block: the bytes up to its end, since the beginning
        self._sealed_id = 0  # number of the last event that is in a block, or was read
        self._dropped_bytes = 0
        self._closing: tuple[bytes, bytes] | None = None
        self._is_full = False
        self._asleep: set[LogReader] = set()
        self._read_up_to = 0
        self._waiting: asyncio.Future[None] | None = None
        self.first_id = 1
        self.size = 0
        self.taken_chunks = 0
        self.first_chunk_at: float | None = None
        self.only_text = True
        self.closed = False

    @property
    def last_id(self) -> int:
        """Number of the newest event, 0 before the first."""
        return self._sealed_id + len(self._pending) + (self._closing is not None)

    @property
    def chunks(self) -> int:
        """How many chunks there were so far."""
        return self.taken_chunks + len(self._pending)

    @property
    def made_bytes(self) -> int:
        """Bytes of all events so far, those that were forgotten included."""
        return self._dropped_bytes + self.held_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes held, those included that are in no block yet."""
        return self.size + self._pending_bytes + (0 if self._closing is None else len(self._closing[1]))

    def put(self, chunk: bytes) -> bool:
        """Add an encoded chunk and say whether the producer may go on at once; after the end nothing is added."""
        if self.closed:
            return False
        if self.first_chunk_at is None:
            self.first_chunk_at = time.monotonic()
        pending = self._pending
        pending.append(chunk)
        self._pending_bytes = size = self._pending_bytes + len(chunk)
        if self._asleep:
            self._wake_readers()
        return (size < self._room or self._may_grow()) and len(pending) < self._turn_chunks

    def progress(self, value: bytes) -> None:
        """Add an event that is not a chunk. Only logs that keep their events have it, and not when they are full."""
        if self.closed or self._share is None:
            return
        self._seal()
        self._count()
        if not self._is_full or self._forget():
            self._add(event_block(b"progress", self._sealed_id + 1, value), 1)

    async def room(self) -> None:
        """Give others their turn, then wait until there is room for another event."""
        self._turn_chunks = min(self._turn_chunks * _GROWTH, MAX_CHUNKS)
        if self._share is not None:
            self._seal()
        await asyncio.sleep(0)
        while not (self.closed or self._has_room()):
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def close(self, kind: bytes, envelope: bytes) -> None:
        """Say that nothing more will come; only the first call counts.

        Args:
            kind: `done` or `error`; numbered like a chunk.
            envelope: The answer without its result, as JSON.
        """
        if self.closed:
            return
        self.closed = True
        self._closing = (kind, one_line(envelope))  # no block before somebody reads: most values are never read
        if self._share is not None:
            self._share.release()
        self._wake_readers()
        self.look_again()

    def check_held(self, after: int) -> None:
        """Refuse to read from a position whose events are gone.

        Raises:
            EventsEvictedError: Some of the events after number `after` are not held any more.
        """
        if after + 1 < self.first_id:
            raise EventsEvictedError(
                f"The events after {after} are not held any more; the first that is held is {self.first_id}.",
                first_event_id=self.first_id,
            )

    async def take(self, reader: LogReader) -> list[bytes]:
        """Return what comes next for `reader`, waiting for the first of it; nothing at the end, or when woken early.

        Returns:
            Blocks of events where they are kept, else chunks; see `wire` and `chunks_of`.
        """
        position = reader.position
        self._read_up_to = max(self._read_up_to, position)  # what was taken before has been sent by now
        self.look_again()
        if position >= self._sealed_id and not (self._pending or self.closed):
            self._asleep.add(reader)
            try:
                await reader.wait()
            finally:
                self._asleep.discard(reader)
        if self._share is not None:
            blocks, reader.position = self.blocks_after(reader.position)
            return blocks
        chunks, self._pending, self._pending_bytes = self._pending, [], 0
        self.taken_chunks = self._sealed_id = reader.position = self._sealed_id + len(chunks)
        self.look_again()
        return chunks

    def is_read(self, reader: LogReader) -> bool:
        """Say whether `reader` has been given everything that will ever come."""
        last = self._sealed_id + len(self._pending) if self._share is None else self.last_id
        return self.closed and reader.position >= last

    def wire(self, taken: list[bytes], *, numbered: bool, at_end: bool) -> bytes:
        """Return what `take` returned as it is sent.

        Args:
            taken: The blocks or chunks.
            numbered: As protocol 1 has it; a log that keeps nothing has no numbers.
            at_end: They are the last.
        """
        if numbered:
            return b"".join(taken)
        if self._share is not None:
            data = b"".join(map(without_ids, taken))
            return data + PLAIN_END if at_end and not (taken and ends_in_error(taken[-1])) else data
        data = plain_events(taken) if taken else b""
        if not at_end or self._closing is None:
            return data
        kind, envelope = self._closing
        return data + (plain_events([envelope]) if kind == b"error" else PLAIN_END)

    def chunks_of(self, taken: list[bytes]) -> list[bytes]:
        """Return the chunks in what `take` returned, still encoded."""
        return taken if self._share is None else chunks_in(taken)

    def collected(self) -> list[bytes] | None:
        """Return all chunks as JSON; None if some are gone."""
        if self.first_id != 1:
            return None
        self._seal()
        return chunks_in(self._blocks)

    @property
    def has_chunks(self) -> bool:
        """Whether there was a chunk."""
        return self.chunks > 0 or (self._share is not None and bool(chunks_in(self._blocks)))  # restored: not counted

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

    def look_again(self) -> None:
        """Let a producer that waits see whether there is room now: a reader came, left, or was sent something."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def held(self) -> HeldEvents:
        """Return everything that is held."""
        self._seal()
        return HeldEvents(list(zip(self._first_ids, self._blocks, strict=True)), self.last_id, self.only_text)

    def restore(self, held: HeldEvents) -> None:
        """Fill an empty log with the events of an invocation that is over."""
        starts = [first_id for first_id, _ in held.blocks] + [held.last_id + 1]
        self.first_id = starts[0]
        self._sealed_id = self.first_id - 1
        self.only_text = held.only_text
        for (first_id, block), next_id in zip(held.blocks, starts[1:], strict=True):
            self._add(block, next_id - first_id)
        self.closed = True

    def _seal(self) -> None:
        """Make blocks of what came since the last one."""
        pending = self._pending
        if pending:
            block = chunk_block(pending, self._sealed_id + 1)
            self._pending = []
            self._pending_bytes = 0
            self.taken_chunks += len(pending)
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
        if self._share is None:
            return
        held = self.size + self._pending_bytes
        self._bound, growth = self._share.ask(held)
        self._granted = held + growth
        self._room = min(MAX_BYTES, self._pending_bytes + growth)
        self._is_full = self.size >= self._bound

    def _may_grow(self) -> bool:
        self._count()
        return self._pending_bytes < self._room

    def _has_room(self) -> bool:
        if self._share is None:
            return not self._pending
        if self._is_full:
            self._count()
        return not self._is_full or self._forget() or self._sent_id() >= self._sealed_id

    def _wake_readers(self) -> None:
        for reader in self._asleep:
            reader.wake()
        self._asleep.clear()  # once: until they have their turn, more may come

    def _sent_id(self) -> int:
        """Return up to which event everybody who matters was sent everything."""
        slowest = min((reader.position for reader in self._readers), default=NOT_READING)
        if slowest < NOT_READING:
            return slowest
        return self._read_up_to if self._keeps_unread else self._sealed_id

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
