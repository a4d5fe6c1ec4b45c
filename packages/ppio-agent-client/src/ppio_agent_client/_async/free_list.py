"""A connection pool for a transport of httpx, instead of httpcore's.

httpcore's pool checks every connection for every request (7 ms of CPU per call at 64 concurrent calls), and loses
connections when waiting requests are cancelled (httpcore #1035, #1110). This one has a limit, a list of idle
connections, and one way to return a connection.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpcore

from .._io import _async as io

Connection = httpcore.AsyncConnectionInterface
Origin = tuple[bytes, bytes, int]


class FreeList:
    """Replaces the pool of an `httpx.AsyncHTTPTransport`, which only calls the public methods below.

    Args:
        connect: Makes a connection to an origin; its first request opens it.
        max_connections: How many may be open at once; a further request waits within its pool timeout.
        max_idle: How many idle connections are kept.
        idle_seconds: How long an idle connection is kept.
    """

    def __init__(
        self,
        connect: Callable[[httpcore.Origin], Connection],
        max_connections: int,
        max_idle: int,
        idle_seconds: float,
    ) -> None:
        self._connect = connect
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._places = io.Gate(max_connections)
        self._busy: dict[Connection, Origin] = {}
        self._idle: dict[Connection, tuple[Origin, float]] = {}  # with the start of idling, the oldest first
        self._idle_to: dict[Origin, list[Connection]] = {}  # the newest last
        self._guard = threading.Lock()  # for the three above; never held during a wait
        self._process = os.getpid()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request over the most recently used idle connection to its origin, or over a new one.

        Raises:
            httpcore.PoolTimeout: No connection became free in time.
        """
        try:
            await self._places.enter(request.extensions.get("timeout", {}).get("pool"))
        except TimeoutError as error:
            raise httpcore.PoolTimeout("every connection is in use") from error
        connection, stale = self._take(request.url.origin)
        opening: Opening | None = None
        if _is_unopened(connection):
            opening = Opening(request.extensions.get("trace"), request.extensions.get("timeout", {}))
            request.extensions = {**request.extensions, "trace": opening}
        try:
            await _close(stale)
            response = await connection.handle_async_request(request)
        except BaseException as error:
            await self.give_back(connection)
            if opening is not None and opening.sockets and _is_unopened(connection):
                await _close(opening.sockets)
            if opening is not None and opening.is_at_proxy and isinstance(error, httpcore.TimeoutException):
                raise httpcore.ConnectTimeout("the proxy did not respond") from error
            raise
        response.stream = Body(self, connection, response.stream)
        return response

    async def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it if it can't be reused. Further calls do nothing."""
        with self._guard:
            origin = self._busy.pop(connection, None)
            if origin is None:
                return
            if self._closed or not _is_as_good_as_new(connection):
                stale = [connection]
            else:
                self._idle[connection] = origin, io.now()
                self._idle_to.setdefault(origin, []).append(connection)
                stale = self._surplus(self._max_idle)
        self._places.leave()
        await _close(stale)

    async def close_idle(self, scheme: bytes, host: bytes, port: int | None) -> None:
        """Close the idle connections to an origin."""
        origin = scheme, host, port or {b"http": 80, b"https": 443}[scheme]
        with self._guard:
            waiting = list(self._idle_to.get(origin, ()))
            for connection in waiting:
                self._remove(connection)
        await _close(waiting)

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail."""
        self._closed = True
        with self._guard:
            idle, busy = self._surplus(0), list(self._busy)
        await _close(idle)
        if self._process == os.getpid():  # in a forked child, they belong to the parent
            for connection in busy:
                await io.hang_up(connection)

    def _take(self, wanted: httpcore.Origin) -> tuple[Connection, list[Connection]]:
        """Return the connection to use, and connections to close first."""
        origin = wanted.scheme, wanted.host, wanted.port
        stale: list[Connection] = []
        with self._guard:
            if self._closed:
                self._places.leave()
                raise RuntimeError("the client was closed")
            while waiting := self._idle_to.get(origin):
                connection = waiting[-1]
                self._remove(connection)
                if not connection.has_expired():
                    self._busy[connection] = origin
                    return connection, stale
                stale.append(connection)
            connection = self._connect(wanted)
            self._busy[connection] = origin
            stale += self._surplus(min(self._max_idle, self._max_connections - len(self._busy)))
            return connection, stale

    def _surplus(self, most: int) -> list[Connection]:
        """Remove and return idle connections that are too many or too old."""
        found: list[Connection] = []
        latest = io.now() - self._idle_seconds
        for connection, (_, since) in self._idle.items():
            if len(self._idle) - len(found) <= most and since > latest:
                break
            found.append(connection)
        for connection in found:
            self._remove(connection)
        return found

    def _remove(self, connection: Connection) -> None:
        origin, _ = self._idle.pop(connection)
        self._idle_to[origin].remove(connection)
        if not self._idle_to[origin]:
            del self._idle_to[origin]


class Opening:
    """Traces the opening of a connection.

    It records the socket, which httpcore leaks if it is cancelled during TLS; and it limits how long a proxy may take
    to connect, for which httpcore has no limit (SOCKS), or only that of the response (CONNECT).

    Args:
        trace: The request's own trace function (https://www.encode.io/httpcore/extensions/#trace).
        timeouts: The request's timeouts, which httpcore reads again for each step.

    Attributes:
        is_at_proxy: Whether a proxy is currently connecting.
    """

    def __init__(
        self, trace: Callable[[str, dict[str, Any]], Awaitable[None]] | None, timeouts: dict[str, float | None]
    ) -> None:
        self.sockets: list[httpcore.AsyncNetworkStream] = []
        self.is_at_proxy = False
        self._trace = trace
        self._timeouts = timeouts
        self._read = timeouts.get("read")

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        """Handle a trace event of httpcore."""
        if name.endswith("connect_tcp.complete"):
            self.sockets = [info["return_value"]]
        elif name.endswith("setup_socks5_connection.started"):
            self.is_at_proxy = True
            info["stream"] = Handshake(info["stream"], self._timeouts.get("connect"))
        elif name.endswith("setup_socks5_connection.complete"):
            self.is_at_proxy = False
        elif name == "http11.send_request_headers.started":
            self.is_at_proxy = info["request"].method == b"CONNECT"
            self._timeouts["read"] = self._timeouts.get("connect") if self.is_at_proxy else self._read
        if self._trace is not None:
            await self._trace(name, info)


class Handshake:
    """The stream to a SOCKS proxy until it has connected, with a timeout for each step."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, seconds: float | None) -> None:
        self._stream = stream
        self._seconds = seconds

    async def read(self, max_bytes: int) -> bytes:
        """Read from the proxy."""
        return await self._stream.read(max_bytes, self._seconds)

    async def write(self, data: bytes) -> None:
        """Write to the proxy."""
        await self._stream.write(data, self._seconds)


class Body:
    """The body of a response; closing it returns the connection to the pool."""

    def __init__(self, owner: FreeList, connection: Connection, stream: Any) -> None:
        self._owner = owner
        self._connection = connection
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        parts: AsyncIterator[bytes] = self._stream.__aiter__()
        return parts

    async def aclose(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        try:
            await self._stream.aclose()
        finally:
            await self._owner.give_back(self._connection)


def _is_as_good_as_new(connection: Connection) -> bool:
    if not connection.is_available():
        return False
    # httpcore would take bytes that follow a response for the response to the next request.
    while (below := getattr(connection, "_connection", None)) is not None:
        connection = below
    parser = getattr(connection, "_h11_state", None)
    return parser is None or not parser.trailing_data[0]


def _is_unopened(connection: Connection) -> bool:
    is_tunnel_to_be = getattr(connection, "_connected", True) is False
    return is_tunnel_to_be or getattr(connection, "_connection", None) is None


async def _close(connections: Sequence[Connection | httpcore.AsyncNetworkStream]) -> None:
    """Close connections that are in no list any longer: all of them, even if the task is cancelled meanwhile."""
    if connections:
        await io.to_the_end(_closed(connections))


async def _closed(connections: Sequence[Connection | httpcore.AsyncNetworkStream]) -> int:
    for connection in connections:
        await connection.aclose()
    return len(connections)
