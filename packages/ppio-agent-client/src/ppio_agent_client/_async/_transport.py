"""What carries the calls of one client: an answer for each, over connections that are kept for the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from ppio_agent_models import AgentClientError

from .._config import ClientConfig
from .._io import _async as io
from .._io._network import proxy_for
from .._rules.addresses import Address, address_of
from .._rules.failures import Failure, failed, too_long
from .._rules.limits import Limits
from .._rules.requests import Call, is_loopback
from ._direct import connect
from ._pool import KEEP_ALIVE_SECONDS, Connection, Pool


class Answer:
    """One answer whose head has arrived. Read it to its end or close it: either gives its connection back."""

    def __init__(
        self,
        pool: Pool,
        connection: Connection,
        head: tuple[int, Mapping[str, str]],
        call: Call,
        limits: Limits,
    ) -> None:
        self.status, self.headers = head
        self._pool = pool
        self._connection = connection
        self._call = call
        self._limits = limits
        self._content: bytes | None = None
        self._to_give_back = [connection]

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
        try:
            connection = self._to_give_back.pop()  # one step: given back twice, it would carry two calls at once
        except IndexError:
            return
        await self._pool.release(connection)

    def _check_deadline(self) -> None:
        # Each read has its own timeout, so only a look at the clock notices a body that drips.
        if self._limits.deadline is not None and io.now() >= self._limits.deadline:
            raise too_long(self._call, self._limits)


class Transport:
    """Opens connections when they are needed and keeps them for the next call. Closed by `close`.

    Each event loop that uses it has connections of its own, and so has each process that was forked from another.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._pools: dict[object, Pool] = {}
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
        pool = self._pools.get(io.place()) or await self._new_pool()
        try:
            await pool.enter(limits)
        except TimeoutError as error:
            raise failed(Failure.LATE_CONNECTION, error, call, limits, io.now()) from error
        try:
            self._check_open()
            connection = await pool.waiting(address.origin) or await self._made(pool, call, address, limits)
        except BaseException:
            pool.leave()
            raise
        pool.use(connection)
        try:
            self._check_open()
            head = await connection.ask(call, address, limits)
        except BaseException:
            await pool.drop(connection)
            raise
        return Answer(pool, connection, head, call, limits)

    async def close_idle(self, url: str) -> None:
        """Close the connections to an agent that wait for the next call."""
        for pool in list(self._pools.values()):
            await pool.close_idle(address_of(url).origin)

    async def close(self) -> None:
        """Close every connection, those in use as well."""
        self._closed = True
        for pool in list(self._pools.values()):
            await pool.close()

    def _check_open(self) -> None:
        if self._closed:
            raise AgentClientError("this client was closed meanwhile; make a new one")

    async def _new_pool(self) -> Pool:
        """Return a pool for the place where this runs, and let go of those whose place is no more."""
        pool = self._pools.setdefault(io.place(), Pool(self._config, io.place()))
        for place in list(self._pools):
            left = self._pools.pop(place, None) if io.is_over(place) else None
            if left is not None:
                await left.close()
        return pool

    async def _made(self, pool: Pool, call: Call, address: Address, limits: Limits) -> Connection:
        await pool.make_room()
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
