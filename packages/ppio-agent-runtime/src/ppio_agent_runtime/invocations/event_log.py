"""The events of one invocation: a bounded buffer between one producer and its readers, each at its own pace.

The producer appends; a reader takes everything available each time the event loop runs it. A full log makes the
producer wait, so a slow reader uses bounded memory, and many chunks of a fast producer take one write.

There are two kinds: `PassingLog` drops what was read, `kept_log.KeptLog` keeps events for callers that resume.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from ppio_agent_models import EventsEvictedError

from ..http.sse import HEARTBEAT, PLAIN_END, one_line, plain_events

MAX_CHUNKS: Final = 256
"""After how many chunks the producer yields to other tasks of the event loop."""
MAX_BYTES: Final = 64 * 1024
"""It also yields after this many bytes; one chunk may be larger."""
_GROWTH: Final = 4
"""How fast a new stream reaches `MAX_CHUNKS`. At once, the first events of 100 streams took twice as long."""
NOT_READING: Final = 1 << 62
"""The position of a reader that doesn't read events."""


class LogReader:
    """One reader's position in a log, and its wait for new events.

    Args:
        position: Number of the last event that it already has.
        unacknowledged: Returns how many bytes sent to it are not acknowledged.

    Attributes:
        position: Number of the last event that it took.
        sent: Number of the last event that was sent to its caller.
    """

    __slots__ = ("_waiter", "position", "sent", "unacknowledged")

    def __init__(self, position: int = 0, unacknowledged: Callable[[], int] | None = None) -> None:
        self.position: int = position
        self.sent: int = position
        self.unacknowledged: Callable[[], int] = unacknowledged or _nothing
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait until the next `wake`."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """End its `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _nothing() -> int:
    return 0


class EventLog:
    """The events of an invocation.

    Args:
        readers: Its current readers; the collection changes.
        room: How many bytes it may hold before the producer waits.

    Attributes:
        first_id: Number of the oldest event that is still kept; one more than `last_id` if there is none.
        first_chunk_at: When the first chunk was added, on the monotonic clock.
        taken_chunks: How many chunks are in blocks, or were read.
        only_text: Every chunk so far was a string.
        reported: Progress reports of other threads that come before the next chunk, as JSON.
        typed: Its chunks are AG-UI events, at least from some chunk on; see `events.views` for their text.
        ended: No more chunks can be added.
        closed: The closing event was added.
    """

    __slots__ = (
        "_asleep", "_closing", "_pending", "_pending_bytes", "_readers", "_room", "_sealed_id", "_turn_chunks",
        "_waiting", "closed", "ended", "first_chunk_at", "first_id", "only_text", "reported", "taken_chunks",
        "typed",
    )  # fmt: skip

    def __init__(self, readers: Collection[LogReader], room: int) -> None:
        self._readers = readers
        self._room = room
        self._turn_chunks = 1  # so that the first chunk is sent at once, and doesn't wait for 255 of other streams
        self._pending: list[bytes] = []  # chunks that are not in a block yet
        self._pending_bytes = 0
        self._sealed_id = 0  # number of the last event before these
        self._closing: tuple[bytes, bytes] | None = None  # the end: kind, and data
        self._asleep: set[LogReader] = set()
        self._waiting: asyncio.Future[None] | None = None
        self.first_id: int = 1
        self.taken_chunks: int = 0
        self.first_chunk_at: float | None = None
        self.only_text: bool = True
        self.reported: deque[bytes] | None = None
        self.typed: bool = False
        self.ended: bool = False
        self.closed: bool = False

    @property
    def last_id(self) -> int:
        """Number of the newest event, 0 before the first."""
        return self._sealed_id + len(self._pending) + (self._closing is not None)

    @property
    def chunks(self) -> int:
        """How many chunks were added so far."""
        return self.taken_chunks + len(self._pending)

    @property
    def has_chunks(self) -> bool:
        """Whether a chunk was added."""
        return self.chunks > 0

    @property
    def held_bytes(self) -> int:
        """Bytes held."""
        return self._pending_bytes + (0 if self._closing is None else len(self._closing[1]))

    def put(self, chunk: bytes) -> bool:
        """Add an encoded chunk, unless the log has ended; return whether the producer may continue at once."""
        if self.ended:
            return False
        if self.reported:
            self.take_reported()
        if self.first_chunk_at is None:
            self.first_chunk_at = time.monotonic()
        pending = self._pending
        pending.append(chunk)
        self._pending_bytes = size = self._pending_bytes + len(chunk)
        if self._asleep:
            self._wake_readers()
        return (size < self._room or self._may_grow()) and len(pending) < self._turn_chunks

    def progress(self, value: bytes) -> None:
        """Add a progress event. Only logs that keep their events do, unless they are full."""

    def take_reported(self) -> None:
        """Add the waiting progress reports."""
        while self.reported:
            self.progress(one_line(self.reported.popleft()))

    async def room(self) -> None:
        """Yield to other tasks, then wait until there is room for another event."""
        self._turn_chunks = min(self._turn_chunks * _GROWTH, MAX_CHUNKS)
        await asyncio.sleep(0)
        while not (self.ended or self._has_room()):
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def end(self) -> None:
        """Accept no more chunks. Readers get those that are there, and the end after `close`."""
        self.ended = True
        self.look_again()

    def close(self, kind: bytes, envelope: bytes) -> None:
        """Add the closing event; only the first call counts.

        Args:
            kind: `done` or `error`; numbered like a chunk.
            envelope: The envelope without its result, as JSON.
        """
        if self.closed:
            return
        self.ended = self.closed = True
        self._closing = (kind, one_line(envelope))  # not made a block before it is read: most never are
        self._wake_readers()
        self.look_again()

    def check_held(self, after: int) -> None:
        """Raise an error if events after a position are no longer kept.

        Raises:
            EventsEvictedError: Some of the events after number `after` are no longer kept.
        """
        if after + 1 < self.first_id:
            raise EventsEvictedError(
                f"The events after {after} are no longer kept; the first that is kept is {self.first_id}.",
                first_event_id=self.first_id,
            )

    async def take(self, reader: LogReader) -> list[bytes]:
        """Return the next events for `reader`, waiting for the first; nothing at the end, or if woken early.

        Returns:
            Blocks of events if they are kept, else chunks; see `wire` and `chunks_of`.
        """
        position = reader.sent = reader.position
        self._note_taking(reader)
        self.look_again()
        if position >= self._sealed_id and not (self._pending or self.closed):
            self._asleep.add(reader)
            try:
                await reader.wait()
            finally:
                self._asleep.discard(reader)
        return self._next(reader)

    def is_read(self, reader: LogReader) -> bool:
        """Return whether `reader` has taken all events of a closed log."""
        raise NotImplementedError

    def wire(self, taken: list[bytes], *, numbered: bool, at_end: bool, typed: bool = False) -> bytes:
        """Return the bytes to send for what `take` returned; a heartbeat if that is nothing before the end.

        Args:
            taken: The blocks or chunks.
            numbered: In protocol 1; a log that keeps nothing has no numbers.
            at_end: They are the last.
            typed: Send typed events, if the log has such; otherwise their text.
        """
        if not (taken or at_end):
            return HEARTBEAT
        if self.typed and not typed:
            taken = self._text_in(taken)
        data, is_failure = self._encoded(taken, numbered=numbered, at_end=at_end)
        if not (is_failure and typed and self.typed):
            return data
        from ..events.views import with_run_error  # for agents with events only

        return with_run_error(data)

    def chunks_of(self, taken: list[bytes], *, typed: bool = False) -> list[bytes]:
        """Return the chunks in what `take` returned, still encoded; see `wire` for `typed`."""
        if self.typed and not typed:
            taken = self._text_in(taken)
        return self._chunks_in(taken)

    def collected(self) -> list[bytes] | None:
        """Return all chunks as JSON, the text of typed ones; None if some are gone."""
        return None

    def look_again(self) -> None:
        """Let a waiting producer check for room again: a reader came, left, or was sent something."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _wake_readers(self) -> None:
        for reader in self._asleep:
            reader.wake()
        self._asleep.clear()  # woken once, however many chunks come before they run

    def _may_grow(self) -> bool:
        """Return whether there may be more bytes than `_room` now."""
        return False

    def _has_room(self) -> bool:
        raise NotImplementedError

    def _note_taking(self, reader: LogReader) -> None:
        """Record that what `reader` took before has been sent."""

    def _next(self, reader: LogReader) -> list[bytes]:
        raise NotImplementedError

    def _encoded(self, taken: list[bytes], *, numbered: bool, at_end: bool) -> tuple[bytes, bool]:
        """Return the bytes for `wire`, and whether they end in an error as a `data:` line."""
        raise NotImplementedError

    def _text_in(self, taken: list[bytes]) -> list[bytes]:
        raise NotImplementedError

    def _chunks_in(self, taken: list[bytes]) -> list[bytes]:
        raise NotImplementedError


class PassingLog(EventLog):
    """The log of an invocation that can't be resumed: it has at most one reader, and drops what was read."""

    __slots__ = ()
    taken_chunks: int

    def __init__(self, readers: Collection[LogReader]) -> None:
        super().__init__(readers, MAX_BYTES)

    def is_read(self, reader: LogReader) -> bool:
        """See `EventLog`."""
        return self.closed and reader.position >= self._sealed_id + len(self._pending)

    def _has_room(self) -> bool:
        return not self._pending

    def _next(self, reader: LogReader) -> list[bytes]:
        chunks, self._pending, self._pending_bytes = self._pending, [], 0
        self.taken_chunks = self._sealed_id = reader.position = self._sealed_id + len(chunks)
        self.look_again()
        return chunks

    def _encoded(self, taken: list[bytes], *, numbered: bool, at_end: bool) -> tuple[bytes, bool]:  # it has no numbers
        data = plain_events(taken) if taken else b""
        if not at_end or self._closing is None:
            return data, False
        kind, envelope = self._closing
        is_failure = kind == b"error"
        return data + (plain_events([envelope]) if is_failure else PLAIN_END), is_failure

    def _text_in(self, taken: list[bytes]) -> list[bytes]:
        from ..events.views import text_chunks  # for agents with events only

        return text_chunks(taken)

    def _chunks_in(self, taken: list[bytes]) -> list[bytes]:
        return taken
