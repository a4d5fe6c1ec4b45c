"""The connections of one client: which are in use, which wait for the next call, and how many there may be."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Mapping
from typing import Final, Protocol

from ppio_agent_models import AgentClientError

from .._config import ClientConfig
from .._io import _async as io
from .._io._network import proxy_for
from .._rules.addresses import Address, address_of
from .._rules.failures import Failure, failed, too_long
from .._rules.idle import IdleConnections
from .._rules.limits import Limits
from .._rules.requests import Call, is_loopback
from ._direct import connect

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


class Answer:
    """One answer whose head has arrived. Read it to its end or close it: either gives its connection back."""

    def __init__(
        self,
        transport: Transport,
        connection: Connection,
        head: tuple[int, Mapping[str, str]],
        call: Call,
        limits: Limits,
    ) -> None:
        self.status, self.headers = head
        self._transport = transport
        self._connection = connection
        self._call = call
        self._limits = limits
        self._content: bytes | None = None
        self._closed = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives.

        Raises:
            NetworkError: It does not arrive whole and in time; the class says which limit passed.
        """
        try:
            while part := await self._connection.more(self._call, self._limits):
                yield part
                self._check_deadline()
        finally:
            await self.close()

    async def read(self) -> bytes:
        """Return the whole body, as often as it is asked for. See `parts`."""
        if self._content is None:
            parts: list[bytes] = []
            try:
                while part := await self._connection.more(self._call, self._limits):
                    parts.append(part)
                    self._check_deadline()
            finally:
                await self.close()
            self._content = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._content

    def hurry(self, seconds: float) -> None:
        """Let the rest of the body take no longer than so many seconds."""
        self._limits = self._limits.within(seconds, io.now())

    async def close(self) -> None:
        """Give the connection back, or close it where the answer was not read to its end."""
        if not self._closed:
            self._closed = True
            await self._transport.release(self._connection)

    def _check_deadline(self) -> None:
        # Each read has its own timeout, so only a look at the clock notices a body that drips.
        if self._limits.deadline is not None and io.now() >= self._limits.deadline:
            raise too_long(self._call, self._limits)


class Transport:
    """Opens connections when they are needed and keeps them for the next call. Closed by `close`."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._idle = IdleConnections[Connection](config.max_idle_connections, KEEP_ALIVE_SECONDS)
        self._busy: set[Connection] = set()
        self._gate = io.Gate(config.max_connections)
        self._guard = threading.Lock()  # for the three above; never held while anything is waited for
        self._place: object = None
        self._closed = False

    async def open(self, call: Call, limits: Limits) -> Answer:
        """Send a call and return its answer as soon as the head is there.

        Raises:
            NetworkError: No answer; `retryable` says that the call was never sent.
            ConfigurationError: Such a call cannot be sent at all.
        """
        try:
            address = address_of(call.url)
        except (ValueError, UnicodeError) as error:
            raise failed(Failure.IMPOSSIBLE, error, call, limits, io.now()) from error
        if self._place is not io.place():
            await self._move_here()
        gate = self._gate
        if not gate.enter_at_once():
            try:
                await gate.enter(limits.connect_timeout(io.now()))
            except TimeoutError as error:
                raise failed(Failure.LATE_CONNECTION, error, call, limits, io.now()) from error
        try:
            self._check_open()
            connection = await self._waiting(address.origin) or await self._made(call, address, limits)
        except BaseException:
            gate.leave()
            raise
        with self._guard:
            self._busy.add(connection)
        try:
            self._check_open()
            head = await connection.ask(call, address, limits)
        except BaseException:
            await self._drop(connection)
            raise
        return Answer(self, connection, head, call, limits)

    async def release(self, connection: Connection) -> None:
        """Keep the connection of an answer for the next call, if it is fit for one."""
        if not connection.is_reusable:
            await self._drop(connection)
            return
        with self._guard:
            is_known = connection in self._busy
            overdue = self._idle.put(connection, io.now()) if is_known else [connection]
            self._busy.discard(connection)
        if is_known:
            self._gate.leave()
        for old in overdue:
            await old.close()

    async def close_idle(self, url: str) -> None:
        """Close the connections to an agent that wait for the next call."""
        with self._guard:
            waiting = self._idle.to(address_of(url).origin)
            for connection in waiting:
                self._idle.remove(connection)
        for connection in waiting:
            await connection.close()

    async def close(self) -> None:
        """Close every connection, those in use as well."""
        self._closed = True
        with self._guard:
            waiting, busy = self._idle.clear(), list(self._busy)
        for connection in waiting:
            await connection.close()
        for connection in busy:
            await self._drop(connection)

    def _check_open(self) -> None:
        if self._closed:
            raise AgentClientError("this client was closed meanwhile; make a new one")

    async def _drop(self, connection: Connection) -> None:
        """Close a connection that cannot be used again."""
        with self._guard:
            was_busy = connection in self._busy
            self._busy.discard(connection)
        if was_busy:
            self._gate.leave()
        await connection.close()

    async def _move_here(self) -> None:
        """Leave what another event loop has opened: it is of no use here."""
        with self._guard:
            self._place = io.place()
            self._gate = io.Gate(self._config.max_connections)
            self._busy = set()
            waiting = self._idle.clear()
        for connection in waiting:
            await connection.close()

    async def _waiting(self, origin: str) -> Connection | None:
        """Return a connection that waits for a call, and close those that the other side has left."""
        while True:
            with self._guard:
                connection = self._idle.take(origin)
            if connection is None or connection.is_fit():
                return connection
            await connection.close()

    async def _made(self, call: Call, address: Address, limits: Limits) -> Connection:
        with self._guard:
            surplus = self._idle.overdue(io.now(), self._config.max_connections - len(self._busy) - 1)
        for connection in surplus:
            await connection.close()
        config = self._config
        proxy = None
        if config.transport is None:
            is_near = is_loopback(address.host)
            proxy = None if is_near else config.proxy or proxy_for(address.scheme, address.host)
            if proxy is None:
                return await connect(call, address, limits)
        return await io.run_blocking(_through_httpx, config.transport, proxy, address)


def _through_httpx(transport: object, proxy: str | None, address: Address) -> Connection:
    """Import httpx, which takes a tenth of a second: only for who needs it, and not on the event loop."""
    from ._through_httpx import through_proxy, through_transport

    if proxy is None:
        return through_transport(transport, address)
    return through_proxy(proxy, address, KEEP_ALIVE_SECONDS)
