"""What goes on while a server runs: startup, connections, drain, shutdown, in this order, on a loop of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from .life import Life
from .loop import OwnLoop
from .wiring import ServerState, wiring_of

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from .._app import PPIOAgentRuntimeApp

logger = logging.getLogger("ppio_agent_runtime")

EXIT_ABANDONED: Final = 3
"""A `def` handler did not return before the end; its thread died with the process."""
BACKLOG: Final = 2048
"""How many callers may wait to be connected; the system may allow less."""

_FAREWELL_SECONDS: Final = 2
"""How long connections may take to close after the drain."""
_LOOK_SECONDS: Final = 0.02
_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Serving:
    """Serves one app on one socket once, with an end that comes whatever the agent does.

    Args:
        app: What to serve.
        listening: The socket; it is closed at the end.

    Attributes:
        failed: The app's startup did.
        left_something: Tasks or threads did not end and were left behind.

    Raises:
        ConfigurationError: The app has WebSockets without the extra for them.
    """

    def __init__(self, app: PPIOAgentRuntimeApp, listening: socket.socket) -> None:
        self.failed = False
        self.left_something = False
        self._app = app
        self._wiring = wiring_of(app)
        self._socket = listening
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._drain_wanted = False
        self._over = asyncio.Event()
        self._is_forced = False
        self._last_resort: threading.Timer | None = None

    def run(self) -> None:
        """Serve until a signal or `begin_drain`, and drain."""
        own = OwnLoop()
        loop = self._loop = own.loop
        self._main = loop.create_task(self._serve())
        if self._drain_wanted:
            loop.call_soon(self._start_drain)
        try:
            with suppress(asyncio.CancelledError):  # the second signal
                loop.run_until_complete(self._main)
        finally:
            self.left_something = not own.end(_FAREWELL_SECONDS, self._hang_up)
            if self._last_resort is not None:
                self._last_resort.cancel()

    def begin_drain(self) -> None:
        """Start the drain; safe in any thread and in a signal handler."""
        self._drain_wanted = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it is over already
                self._loop.call_soon_threadsafe(self._start_drain)

    async def _serve(self) -> None:
        with self._signals():
            life = Life(self._app)
            if not await life.startup():
                self.failed = True
                return
            await self._listen(life)
            await self._over.wait()
            await self._hang_up_politely()
            if not self._is_forced:
                await life.shutdown()

    async def _listen(self, life: Life) -> None:
        def connection() -> asyncio.Protocol:
            protocol: asyncio.Protocol = self._wiring.http_protocol_class(
                config=self._wiring, server_state=self._state, app_state=life.state
            )
            return protocol

        self._tick()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(connection, sock=self._socket, backlog=BACKLOG)

    def _tick(self) -> None:
        """Set the date of answers (RFC 9110, section 6.6.1), once a second."""
        self._state.default_headers = [(b"date", http_date(time.time()))]
        self._clock = asyncio.get_running_loop().call_later(1, self._tick)

    async def _hang_up_politely(self) -> None:
        """Take no more callers, and give the last answers time to leave."""
        assert self._server is not None
        self._server.close()
        self._socket.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        until = time.monotonic() + _FAREWELL_SECONDS
        while (self._state.connections or self._state.tasks) and not self._is_forced:
            if time.monotonic() > until:
                logger.error("%d requests are cut: their answers did not leave in time.", len(self._state.tasks))
                for task in self._state.tasks:
                    task.cancel()
                break
            await asyncio.sleep(_LOOK_SECONDS)

    async def _hang_up(self) -> None:
        """Close what a slow reader or a second signal left open, so that nothing is pending on the loop at its end."""
        if self._clock is not None:
            self._clock.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            transport: Any = connection.transport
            transport.abort()
        await asyncio.sleep(0)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # only there one may listen to them
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._drain_wanted or self._server is None:
            self._end_at_once()
            return
        self.begin_drain()  # first: the next signal may come while the line is being written
        if number == signal.SIGINT:
            sys.stderr.write("\nDraining; press Ctrl-C again to stop at once.\n")

    def _start_drain(self) -> None:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        try:
            await self._app.drain()
            self._is_forced = not await self._app.can_shut_down()
        finally:
            self._over.set()

    def _end_at_once(self) -> None:
        """Cancel the server wherever it waits, in a hanging lifespan too; leave without it if its loop is blocked."""
        self._is_forced = True
        if self._last_resort is None:
            assert self._loop is not None
            assert self._main is not None
            self._last_resort = threading.Timer(_FAREWELL_SECONDS * 2, os._exit, [EXIT_ABANDONED])
            self._last_resort.daemon = True
            self._last_resort.start()
            self._loop.call_soon_threadsafe(self._main.cancel)


def http_date(now: float) -> bytes:
    """Return a time as HTTP writes it (RFC 9110, section 5.6.7), whatever the locale."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(now)
    return b"%b, %02d %b %d %02d:%02d:%02d GMT" % (
        _DAYS[weekday].encode(),
        day,
        _MONTHS[month - 1].encode(),
        year,
        hour,
        minute,
        second,
    )
