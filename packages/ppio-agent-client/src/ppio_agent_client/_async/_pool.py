"""The connections of one event loop, or of one process: which are in use, which wait, and how many there may be."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, Protocol

from .._config import ClientConfig
from .._io import _async as io
from .._rules.addresses import Address
from .._rules.idle import IdleConnections
from .._rules.limits import Limits
from .._rules.requests import Call

KEEP_ALIVE_SECONDS: Final = 4.0
"""How long an idle connection is kept. uvicorn closes it after 5 s, and a POST that meets the close is lost."""


class Connection(Protocol):
    """What carries one call after another; `DirectConnection` says more."""

    origin: str

    async def ask(self, call: Call, address: Address, limits: Limits) -> tuple[int, Mapping[str, str]]: ...
    async def more(self, call: Call, limits: Limits) -> bytes: ...
    @property
    def is_reusable(self) -> bool: ...
    def is_fit(self) -> bool: ...
    async def close(self) -> None: ...


class Pool:
    """Connections at one place. Whoever takes one out has entered before, and gives it back or drops it.

    Attributes:
        place: Where its connections can be used, as `io.place` says.
    """

    def __init__(self, config: ClientConfig, place: object) -> None:
        self.place = place
        self._max_connections = config.max_connections
        self._idle = IdleConnections[Connection](config.max_idle_connections, KEEP_ALIVE_SECONDS)
        self._busy: set[Connection] = set()
        self._gate = io.Gate(config.max_connections)
        self._guard = threading.Lock()  # for the two above; never held while anything is waited for

    async def enter(self, limits: Limits) -> None:
        """Take a place among the connections in use.

        Raises:
            TimeoutError: None became free in time.
        """
        if not self._gate.enter_at_once():
            await self._gate.enter(limits.connect_timeout(io.now()))

    def leave(self) -> None:
        """Give a place back with which nothing was done."""
        self._gate.leave()

    async def waiting(self, origin: str) -> Connection | None:
        """Return a connection that waits for a call, and close those that have waited too long or were left."""
        while True:
            with self._guard:
                overdue = self._idle.overdue(io.now())
            await _close(overdue)
            with self._guard:
                connection = self._idle.take(origin)
            if connection is None or connection.is_fit():
                return connection
            await connection.close()

    async def make_room(self) -> None:
        """Close connections that wait, where one more would be too many."""
        with self._guard:
            surplus = self._idle.overdue(io.now(), self._max_connections - len(self._busy) - 1)
        await _close(surplus)

    def use(self, connection: Connection) -> None:
        """Count a connection among those in use."""
        with self._guard:
            self._busy.add(connection)

    async def release(self, connection: Connection) -> None:
        """Keep a connection for the next call, if it is fit for one."""
        if not connection.is_reusable:
            await self.drop(connection)
            return
        with self._guard:
            is_known = connection in self._busy
            overdue = self._idle.put(connection, io.now()) if is_known else [connection]
            self._busy.discard(connection)
        if is_known:
            self._gate.leave()
        await _close(overdue)

    async def drop(self, connection: Connection) -> None:
        """Close a connection that cannot be used again."""
        with self._guard:
            was_busy = connection in self._busy
            self._busy.discard(connection)
        if was_busy:
            self._gate.leave()
        await connection.close()

    async def close_idle(self, origin: str) -> None:
        """Close the connections to an origin that wait for a call."""
        with self._guard:
            waiting = self._idle.to(origin)
            for connection in waiting:
                self._idle.remove(connection)
        await _close(waiting)

    async def close(self) -> None:
        """Close every connection, those in use as well."""
        with self._guard:
            waiting, busy = self._idle.clear(), list(self._busy)
        await _close(waiting)
        for connection in busy:
            # Who uses it elsewhere notices, and drops it there: only at its own place may somebody else be let in.
            await (self.drop(connection) if self.place == io.place() else connection.close())


async def _close(connections: list[Connection]) -> None:
    """Close connections that only the caller knows: all of them, although it may be cancelled meanwhile."""
    if connections:
        await io.to_the_end(_closed(connections))


async def _closed(connections: list[Connection]) -> int:
    for connection in connections:
        await connection.close()
    return len(connections)
