"""A connection as bytes in and out, for asyncio: its transports, without streams and what they cost."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import deque
from contextlib import suppress
from typing import Final, cast

from ._network import is_address, is_readable

PIECE_BYTES: Final = 64 * 1024
"""What goes out without waiting; the kernel takes so much at once."""
MOST_HELD_BYTES: Final = 256 * 1024
"""What may arrive before somebody reads it; then the other side has to wait."""


class Socket(asyncio.Protocol):
    """One connection. Made by `connect`; one reader at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived: list[bytes] = []
        self._arrived_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._ended = False
        self._late: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed_here = False
        self._error: Exception | None = None
        self._gone = self._loop.create_future()

    async def send(self, data: bytes, seconds: float | None) -> None:
        """Send bytes; what is left when the other side already answers goes out meanwhile.

        Raises:
            TimeoutError: Nothing moved for `seconds`.
        """
        if len(data) <= PIECE_BYTES:
            self._transport.write(data)
            return
        self._transport.set_write_buffer_limits(0)
        for start in range(0, len(data), PIECE_BYTES):
            self._transport.write(data[start : start + PIECE_BYTES])
        while (left := self._transport.get_write_buffer_size()) and not (self._arrived or self._ended):
            try:
                await self._wait(seconds)
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= left:
                    raise

    async def receive(self, seconds: float | None) -> bytes:
        """Return what has arrived, at least a byte; nothing at the end.

        Raises:
            TimeoutError: Nothing came for `seconds`.
            OSError: The connection broke, or was closed here.
        """
        while not self._arrived and not self._ended:
            await self._wait(seconds)  # it may only be that all is sent
        if self._closed_here:
            raise ConnectionAbortedError("it was closed here")
        if self._arrived:
            data = self._arrived[0] if len(self._arrived) == 1 else b"".join(self._arrived)
            self._arrived.clear()
            if self._arrived_bytes > MOST_HELD_BYTES:
                self._transport.resume_reading()
            self._arrived_bytes = 0
            return data
        if self._error is not None:
            raise self._error
        return b""

    def is_fit(self) -> bool:
        """Tell whether it can carry another call: nobody has closed it, and nothing waits that nobody asked for."""
        if self._ended or self._arrived or self._transport.is_closing() or self._transport.get_write_buffer_size():
            return False
        # The event loop may not have looked since the other side closed it.
        return not is_readable(self._descriptor)

    async def close(self) -> None:
        """Close it at once. Whoever reads is told."""
        self._closed_here = True
        if self._loop is not asyncio.get_running_loop():
            with suppress(RuntimeError):  # its event loop was closed, and it with that
                self._loop.call_soon_threadsafe(self._transport.abort)
            return
        self._transport.abort()  # not close(): that says goodbye over TLS, and waits for the answer
        self._wake()
        if not self._gone.done():
            await asyncio.shield(self._gone)

    async def _wait(self, seconds: float | None) -> None:
        """Wait until something happens."""
        if self._reader is not None:
            raise RuntimeError("somebody else is reading from this connection")
        reader = self._reader = self._loop.create_future()
        if seconds is not None:
            self._watch(self._loop.time() + seconds)
        try:
            await reader
        finally:
            self._reader = self._late = None

    def _watch(self, late: float) -> None:
        """Let the reader wait until `late`. A timer that is set earlier will look again: most are not needed at all."""
        self._late = late
        if self._timer is None or self._timer.when() > late:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(late, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._reader is None or self._reader.done() or self._late is None:
            return
        if self._loop.time() < self._late:
            self._watch(self._late)
        else:
            self._reader.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # What asyncio calls:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._descriptor: int = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._arrived_bytes += len(data)
        if self._arrived_bytes > MOST_HELD_BYTES:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._error = self._error or error
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
        if not self._gone.done():
            self._gone.set_result(None)

    def resume_writing(self) -> None:
        self._wake()


class Gate:
    """Lets so many connections be in use at once; further callers wait in a row."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._row: deque[asyncio.Future[None]] = deque()

    def enter_at_once(self) -> bool:
        """Take a place, if one is free and nobody waits for it."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def enter(self, seconds: float | None) -> None:
        """Take a place.

        Raises:
            TimeoutError: None was free for `seconds`.
        """
        turn = asyncio.get_running_loop().create_future()
        self._row.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave()  # it came too late
            raise

    def leave(self) -> None:
        """Give a place back."""
        while self._row:
            turn = self._row.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


async def connect(host: str, port: int, tls: ssl.SSLContext | None, seconds: float | None) -> Socket:
    """Return a connection.

    Raises:
        TimeoutError: There was none within `seconds`.
        OSError: There is none to be had, or no safe one.
    """
    loop = asyncio.get_running_loop()
    # A name may have addresses that lead nowhere: the next is tried a quarter of a second later (RFC 8305, section 5).
    # uvloop, which tries them one after another, has no such option.
    may_race = isinstance(loop, asyncio.BaseEventLoop) and not is_address(host)
    make = functools.partial(loop.create_connection, happy_eyeballs_delay=0.25) if may_race else loop.create_connection
    async with asyncio.timeout(seconds):
        _, made = await make(Socket, host, port, ssl=tls, server_hostname=host if tls else None)
    return made
