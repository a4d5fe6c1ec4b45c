"""The bounded hand-over of encoded chunks from one producer to one writer, on one event loop.

The producer appends; the writer takes all that is there each time the loop gives it control. A full buffer makes the
producer wait, so a slow reader costs a bounded amount of memory and a fast producer one write for many chunks.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

MAX_CHUNKS: Final = 256
"""The producer waits once so many chunks are ready; also how long one stream may keep the loop from the others."""
_GROWTH: Final = 4
"""How fast a new stream comes to that. At once, the first events of 100 streams took twice as long."""
MAX_BYTES: Final = 64 * 1024
"""The producer waits once so many bytes are ready; one chunk may be larger."""


class ChunkSink(Protocol):
    """What a producer puts encoded chunks into.

    Attributes:
        only_text: Every chunk so far was a string.
        ended: The producer will add nothing more.
        error: Why it ended, when it failed.
    """

    only_text: bool
    ended: bool
    error: BaseException | None

    def put(self, chunk: bytes) -> bool:
        """Add a chunk and say whether the producer may go on at once."""

    async def room(self) -> None:
        """Wait until the producer may go on."""

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come; only the first call counts."""

    def beat(self, now: float) -> None:
        """Take note of the clock."""

    @property
    def waiting(self) -> int:
        """How many chunks nobody has taken yet."""


class ChunkBuffer:
    """Encoded chunks between a producer and a writer.

    Attributes:
        heartbeat_seconds: Silence after which a waiting `take` returns an empty list; None for never.
        only_text: Every chunk so far was a string.
        ended: The producer will add nothing more.
        error: Why it ended, when it failed.
    """

    __slots__ = (
        "_chunks",
        "_loop",
        "_most",
        "_quiet_since",
        "_reader",
        "_size",
        "_writer",
        "ended",
        "error",
        "heartbeat_seconds",
        "only_text",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()  # kept: on 3.11 each look at it is a syscall
        self._chunks: list[bytes] = []
        self._most = 1  # the first chunk does not wait for others, nor for 255 of each stream that began just before
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._quiet_since = 0.0
        self.heartbeat_seconds: float | None = None
        self.only_text = True
        self.ended = False
        self.error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """How many chunks are ready to be taken."""
        return len(self._chunks)

    def put(self, chunk: bytes) -> bool:
        """Add a chunk and say whether there is room for another one; after the end it is dropped, and there is none."""
        if self.ended:
            return False
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._reader is not None:
            self._wake_reader()
        return len(self._chunks) < self._most and self._size < MAX_BYTES

    async def room(self) -> None:
        """Wait until everything has been taken."""
        while self._chunks and not self.ended:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come; only the first call counts."""
        if not self.ended:
            self.ended = True
            self.error = error
            self._wake_reader()
            if self._writer is not None and not self._writer.done():
                self._writer.set_result(None)

    def beat(self, now: float) -> None:
        """Make a `take` that has waited for `heartbeat_seconds` return.

        Args:
            now: The loop's time.
        """
        if self._reader is None or self.heartbeat_seconds is None:
            return
        if not self._quiet_since:
            self._quiet_since = now
        elif now - self._quiet_since >= self.heartbeat_seconds:
            self._wake_reader()

    async def take(self) -> list[bytes]:
        """Return all chunks that are ready, waiting for the first; an empty list after the end or a beat."""
        if not self._chunks and not self.ended:
            self._reader = reader = asyncio.get_running_loop().create_future()
            self._quiet_since = 0.0  # the clock notes the time at its next tick, more cheaply than every take
            try:
                await reader
            finally:
                self._reader = None
        chunks, self._chunks, self._size = self._chunks, [], 0
        self._most = min(self._most * _GROWTH, MAX_CHUNKS)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        return chunks

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None  # once: until it has its turn, more chunks may come
        if reader is not None and not reader.done():
            reader.set_result(None)
