"""The log of a durable invocation: its events are numbered from 1 and kept.

It has a share of the memory for events, and drops the oldest events when it has no room for all. It keeps them encoded
for protocol 1, in blocks of those added between two iterations of the event loop, so that further readers cost almost
nothing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection
from typing import Final, NamedTuple, Protocol

from ..http.sse import (
    PLAIN_END,
    chunk_block,
    chunks_in,
    ends_in_error,
    event_block,
    one_line,
    without_first,
    without_ids,
)
from .event_log import MAX_BYTES, NOT_READING, EventLog, LogReader

FIRST_BYTES: Final = 2048
"""How much a log may hold before it requests memory for the first time: most results fit."""
_TAKE_BYTES: Final = 256 * 1024
"""About how many bytes a reader gets at once; one block may be larger."""
_OVERHEAD_BYTES: Final = 64
"""Memory for a block besides its bytes."""


class Share(Protocol):
    """The share of one log in the memory for events."""

    def ask(self, held_bytes: int) -> tuple[int, int]:
        """Return how many bytes a log may hold, and by how many it may grow before it asks again."""

    def release(self) -> None:
        """Release the share: the log is over. May be called any number of times."""


class HeldEvents(NamedTuple):
    """The events of a log, as plain data.

    Attributes:
        blocks: Blocks of protocol 1, each with the number of its first event.
        last_id: Number of the newest event.
        only_text: Every chunk was a string.
        typed: The chunks are AG-UI events.
    """

    blocks: list[tuple[int, bytes]]
    last_id: int
    only_text: bool
    typed: bool = False

    def entries(self) -> list[Entry]:
        """Return the blocks with the number of events in each."""
        ends = [first_id for first_id, _ in self.blocks[1:]] + [self.last_id + 1]
        blocks = zip(self.blocks, ends, strict=False)  # there may be none
        return [Entry(first_id, end - first_id, block) for (first_id, block), end in blocks]


class Entry(NamedTuple):
    """A block of events as it is passed on to other processes: the number of its first event, and how many it has."""

    first_id: int
    event_count: int
    block: bytes


class KeptLog(EventLog):
    """The events of a durable invocation.

    Half of the room is for events that were already sent, and unacknowledged ones are kept beyond that, because both
    may be lost with a connection. While it has a reader, or `keeps_unread` is set, the producer waits for room rather
    than drop an unread event. Otherwise the oldest events are dropped.

    Args:
        readers: Its current readers; the slowest one decides what may be dropped.
        share: Limits how many bytes may be kept.
        keeps_unread: A caller may resume, so unread events must be kept.

    Attributes:
        size: Bytes of the blocks that are held, overhead included.
        recorder: Writes events to a shared store; events that it has not taken are not dropped.
    """

    __slots__ = (
        "_blocks", "_bound", "_dropped_bytes", "_ends", "_first_ids", "_granted", "_is_full", "_keeps_unread",
        "_read_up_to", "_share", "_unacknowledged_bytes", "recorder", "size",
    )  # fmt: skip
    first_id: int
    taken_chunks: int
    only_text: bool
    typed: bool
    ended: bool
    closed: bool

    def __init__(self, readers: Collection[LogReader], share: Share, *, keeps_unread: bool = True) -> None:
        super().__init__(readers, FIRST_BYTES)
        self._share = share
        self._keeps_unread = keeps_unread
        self._bound = 0
        self._granted = 0  # how much may be held before the next request to the share
        self._blocks: list[bytes] = []
        self._first_ids = array("Q")  # of each block: the number of its first event
        self._ends = array("Q")  # of each block: the bytes up to its end, since the beginning
        self._dropped_bytes = 0
        self._is_full = False
        self._read_up_to = 0
        self._unacknowledged_bytes = 0
        self.size: int = 0
        self.recorder: LogReader | None = None

    @property
    def made_bytes(self) -> int:
        """Bytes of all events so far, dropped ones included."""
        return self._dropped_bytes + self.held_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes held, including events that are not in a block yet."""
        return self.size + super().held_bytes

    @property
    def has_chunks(self) -> bool:
        """Whether a chunk was added."""
        return self.chunks > 0 or bool(chunks_in(self._blocks))  # restored chunks are not counted

    def progress(self, value: bytes) -> None:
        """Add a progress event, unless the log is full."""
        if self.ended:
            return
        self._seal()
        self._count()
        if not self._is_full or self._forget():
            self._add(event_block(b"progress", self._sealed_id + 1, value), 1)

    def close(self, kind: bytes, envelope: bytes) -> None:
        """See `EventLog`."""
        self._share.release()
        super().close(kind, envelope)

    def is_read(self, reader: LogReader) -> bool:
        """See `EventLog`."""
        return self.closed and reader.position >= self.last_id

    def collected(self) -> list[bytes] | None:
        """See `EventLog`."""
        if self.first_id != 1:
            return None
        self._seal()
        return self.chunks_of(self._blocks)

    def blocks_after(self, position: int) -> tuple[list[bytes], int]:
        """Return some of the events after number `position`, and the number of the last one among them."""
        self._seal()
        if self._first_ids and self._first_ids[-1] == position + 1:  # the usual case: only the newest block
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

    def note_sent(self, position: int) -> None:
        """Record that a caller, of this process or another, was sent everything up to event `position`."""
        self._read_up_to = max(self._read_up_to, position)

    def entries(self, after: int, up_to: int) -> list[Entry]:
        """Return the blocks with the events after number `after` up to `up_to`; both are ends of blocks."""
        first, end = bisect_right(self._first_ids, after), bisect_right(self._first_ids, up_to)
        starts = [*self._first_ids[first:end], up_to + 1]
        blocks = zip(starts, starts[1:], self._blocks[first:end], strict=False)
        return [Entry(start, next_start - start, block) for start, next_start, block in blocks]

    def begin_after(self, position: int) -> None:
        """Let an empty log begin after event `position`."""
        self.first_id, self._sealed_id = position + 1, position

    def extend(self, entry: Entry) -> None:
        """Add a block from another process, without the events that are here already."""
        known = self._sealed_id + 1 - entry.first_id
        if known < entry.event_count:
            self._add(
                without_first(entry.block, known) if known > 0 else entry.block, entry.event_count - max(known, 0)
            )

    def close_extended(self) -> None:
        """Close the log: the last added block has the closing event."""
        self.ended = self.closed = True
        self._share.release()
        self._wake_readers()

    def held(self, closing: tuple[bytes, bytes] | None = None) -> HeldEvents:
        """Return all kept events.

        Args:
            closing: The arguments for `close` of a log that will be closed; the result then has the closing event.
        """
        self._seal()
        blocks = list(zip(self._first_ids, self._blocks, strict=True))
        if closing is None:
            return HeldEvents(blocks, self.last_id, self.only_text, self.typed)
        number = self.last_id + 1
        last = event_block(closing[0], number, one_line(closing[1]))
        return HeldEvents([*blocks, (number, last)], number, self.only_text, self.typed)

    def restore(self, held: HeldEvents) -> None:
        """Fill an empty log with the events of an invocation that is over."""
        self.begin_after(held.blocks[0][0] - 1 if held.blocks else held.last_id)
        self.only_text, self.typed = held.only_text, held.typed
        for entry in held.entries():
            self._add(entry.block, entry.event_count)
        self.ended = self.closed = True

    def _note_taking(self, reader: LogReader) -> None:
        if reader is not self.recorder:
            self.note_sent(reader.sent)
            if self.size > self._bound // 2:
                self._unacknowledged_bytes = reader.unacknowledged()

    def _next(self, reader: LogReader) -> list[bytes]:
        blocks, reader.position = self.blocks_after(reader.position)
        return blocks

    def _encoded(self, taken: list[bytes], *, numbered: bool, at_end: bool) -> tuple[bytes, bool]:
        if numbered:  # an error is a numbered event too
            return b"".join(taken), False
        is_failure = at_end and bool(taken) and ends_in_error(taken[-1])
        data = b"".join(map(without_ids, taken))
        return data + PLAIN_END if at_end and not is_failure else data, is_failure

    def _text_in(self, taken: list[bytes]) -> list[bytes]:
        from ..events.views import text_block  # for agents with events only

        return [text_block(block) for block in taken]

    def _chunks_in(self, taken: list[bytes]) -> list[bytes]:
        return chunks_in(taken)

    def _seal(self) -> None:
        """Make blocks of the pending chunks and of the closing event."""
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
        """Report the held bytes to the share, and get the new limits."""
        held = self.size + self._pending_bytes
        self._bound, growth = self._share.ask(held)
        self._granted = held + growth
        self._room = min(MAX_BYTES, self._pending_bytes + growth)
        self._is_full = self.size >= self._bound

    def _may_grow(self) -> bool:
        self._count()
        return self._pending_bytes < self._room

    def _has_room(self) -> bool:
        self._seal()
        if self._is_full:
            self._count()
        return not self._is_full or self._forget() or self._sent_id() >= self._sealed_id

    def _sent_id(self) -> int:
        """Return up to which event all readers that the producer waits for were sent everything."""
        slowest = min((reader.sent for reader in self._readers), default=NOT_READING)
        if slowest == NOT_READING:
            slowest = self._read_up_to if self._keeps_unread else self._sealed_id
        return slowest if self.recorder is None else min(slowest, self.recorder.sent)

    def _forget(self) -> bool:
        """Drop the oldest events that may be dropped, and return whether there is room now."""
        up_to = self._dropped_bytes + self.size - self._bound * 3 // 4
        if self._readers or self._keeps_unread:
            waiting = [reader.unacknowledged() for reader in self._readers if reader.sent < NOT_READING]
            self._unacknowledged_bytes = max(waiting, default=self._unacknowledged_bytes)
            reserve = self._bound // 2 + self._unacknowledged_bytes
            up_to = min(up_to, self._bytes_up_to(self._sent_id()) - reserve)
        elif self.recorder is not None:
            up_to = min(up_to, self._bytes_up_to(self.recorder.sent))
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
        """Return the end of the last block that has only events up to this one."""
        blocks = bisect_right(self._first_ids, event_id + 1) - 1 if event_id < self._sealed_id else len(self._ends)
        return self._ends[blocks - 1] if blocks > 0 else 0
