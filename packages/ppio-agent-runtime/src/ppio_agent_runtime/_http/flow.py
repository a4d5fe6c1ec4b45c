"""Whether a connection takes or sends more at the moment, in both directions."""

from __future__ import annotations

import asyncio


class FlowControl:
    """Pauses what outruns its reader.

    Attributes:
        read_paused: Nothing is read: what has arrived is not taken yet.
        write_paused: The caller reads more slowly than we write.
    """

    __slots__ = ("_is_writable", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.read_paused = False
        self.write_paused = False
        self._transport = transport
        self._is_writable: asyncio.Event | None = None

    async def drain(self) -> None:
        """Wait until the caller has read enough."""
        if self.write_paused:
            if self._is_writable is None:
                self._is_writable = asyncio.Event()
            await self._is_writable.wait()

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Let those wait who want to write."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Let them go on."""
        self.write_paused = False
        if self._is_writable is not None:
            self._is_writable.set()
            self._is_writable = None
