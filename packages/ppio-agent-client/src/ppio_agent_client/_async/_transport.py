"""The wire: the only module that imports httpx. Its exceptions end here and leave as ours.

Connections wait in a last-in-first-out free list, each behind an httpx transport of its own. httpcore's pool looks at
all its connections on every request and every close, which makes sixty calls at once four times slower than one after
another.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from ppio_agent_models import (
    ConfigurationError,
    ConnectTimeoutError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    TotalTimeoutError,
)

from .._io import _async as io
from .._rules.limits import Limits
from .._rules.requests import Call, is_loopback

logger = logging.getLogger("ppio_agent_client")

MAX_IDLE_CONNECTIONS: Final = 64
"""Connections kept for the next call, per agent."""
KEEP_ALIVE_SECONDS: Final = 4.0
"""How long an idle one is kept. uvicorn closes it after 5 s, and a POST that meets the close cannot be repeated."""

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ProxyError)
_TOO_SLOW_TO_CONNECT: Final = (httpx.ConnectTimeout, httpx.PoolTimeout)
_SILENT: Final = (httpx.ReadTimeout, httpx.WriteTimeout)
_IMPOSSIBLE: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL)
_LOST: Final = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError)
_FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
"""Everything that httpx raises."""


def translated(error: Exception, call: Call, limits: Limits, *, began: bool) -> PPIOAgentRuntimeError:
    """Return our exception for one of httpx.

    Args:
        error: What httpx raised.
        call: The call it belongs to.
        limits: The limits of that call.
        began: Whether the answer had begun.
    """
    where = f"{call.method} {call.url}"
    reason = str(error) or type(error).__name__
    left = limits.remaining(io.now())
    if isinstance(error, httpx.TimeoutException) and left is not None and left <= 0:
        return TotalTimeoutError(f"{where} took longer than its limit of {limits.total:g} s")
    if isinstance(error, _TOO_SLOW_TO_CONNECT):
        return ConnectTimeoutError(f"no connection for {where} within {limits.connect or 0:g} s")
    if isinstance(error, _SILENT):
        if began or isinstance(error, httpx.WriteTimeout):
            return IdleTimeoutError(f"{where}: nothing moved for {limits.idle or 0:g} s")
        return FirstByteTimeoutError(f"{where}: no answer began within {limits.first_byte or 0:g} s")
    if isinstance(error, _NEVER_SENT):
        return NetworkError(f"{where} was not sent: {reason}", retryable=True)
    if isinstance(error, _IMPOSSIBLE):
        return ConfigurationError(f"{where} cannot be sent: {reason}")
    if isinstance(error, _LOST):
        return NetworkError(f"the connection for {where} was lost: {reason}")
    return NetworkError(f"{where} failed: {reason}")


class Answer:
    """One answer whose head has arrived. Read it to its end or close it: either gives its connection back."""

    def __init__(
        self,
        transport: Transport,
        connection: httpx.AsyncHTTPTransport,
        response: httpx.Response,
        request: httpx.Request,
        call: Call,
        limits: Limits,
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._transport = transport
        self._connection = connection
        self._response = response
        self._request = request
        self._call = call
        self._limits = limits
        self._body: AsyncIterator[bytes] | None = None
        self._content: bytes | None = None
        self._whole = False
        self._closed = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives.

        Raises:
            NetworkError: It does not arrive whole and in time; the class says which limit passed.
        """
        # httpcore reads the timeout once for the head and anew when the body begins: until here it was the limit of the
        # first byte, from here on it is the longest silence.
        self._request.extensions["timeout"]["read"] = self._limits.body_timeout(io.now())
        stream = self._response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        self._body = aiter(self._response.aiter_bytes() if "content-encoding" in self.headers else stream)
        try:
            async for part in self._body:
                yield part
                if self._limits.deadline is not None:
                    # Each read has its own timeout, so only a look at the clock notices a body that drips.
                    self._check_deadline(self._limits.deadline)
            await self._response.aclose()
            self._whole = True
        except _FAILURES as error:
            raise translated(error, self._call, self._limits, began=True) from error
        finally:
            await self.close()

    async def read(self) -> bytes:
        """Return the whole body, as often as it is asked for. See `parts`."""
        if self._content is None:
            parts = [part async for part in self.parts() if part]
            self._content = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._content

    async def close(self) -> None:
        """Give the connection back, or close it where the answer was not read to its end."""
        if self._closed:
            return
        self._closed = True
        if self._whole:
            await self._transport.give_back(self._call.url, self._connection)
        else:
            await self._transport.drop(self._connection)
            await self._end_generators()

    def cut(self) -> None:
        """Break the connection under whoever is reading from it in another thread, who fails at once."""
        stream = self._response.extensions.get("network_stream")
        wire = None if stream is None else stream.get_extra_info("socket")
        if wire is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(wire, socket.SHUT_RDWR)  # past TLS, which would wait for the other side

    async def _end_generators(self) -> None:
        """Read on from the closed connection, which fails at once.

        A body is a chain of generators inside httpx. One that is left in the middle would be closed later by a task of
        the event loop's own, which may outlive the client; the failure ends the whole chain now.
        """
        if self._body is None:
            return
        try:
            async for _ in self._body:
                continue
        except (*_FAILURES, RuntimeError, ValueError):
            # The last two: somebody else is just reading from it, and will fail there.
            return

    def _check_deadline(self, deadline: float) -> None:
        if io.now() >= deadline:
            raise TotalTimeoutError(
                f"{self._call.method} {self._call.url} took longer than its limit of {self._limits.total:g} s"
            )


class Transport:
    """The connections of one client. Opened when first needed, closed by `close`."""

    def __init__(self) -> None:
        self._idle: dict[str, list[httpx.AsyncHTTPTransport]] = {}
        self._busy: set[httpx.AsyncHTTPTransport] = set()
        self._place: object = None

    async def open(self, call: Call, limits: Limits) -> Answer:
        """Send a call and return its answer as soon as the head is there.

        Raises:
            NetworkError: No answer; `retryable` says that the call was never sent.
            ConfigurationError: Such a call cannot be sent at all.
        """
        now = io.now()
        timeout = {
            "connect": limits.connect_timeout(now),
            "pool": limits.connect_timeout(now),
            "write": limits.body_timeout(now),
            "read": limits.head_timeout(now),
        }
        try:
            url = _parsed(call.url)
            request = httpx.Request(
                call.method, url, headers=call.headers, content=call.body or None, extensions={"timeout": timeout}
            )
            connection = await self._take(url)
        except _FAILURES as error:
            raise translated(error, call, limits, began=False) from error
        self._busy.add(connection)
        try:
            response = await connection.handle_async_request(request)
        except BaseException as error:
            await self.drop(connection)
            if isinstance(error, _FAILURES):
                raise translated(error, call, limits, began=False) from error
            raise
        return Answer(self, connection, response, request, call, limits)

    async def give_back(self, url: str, connection: httpx.AsyncHTTPTransport) -> None:
        """Keep the connection of a whole answer for the next call."""
        idle = self._idle.setdefault(_origin(_parsed(url)), [])
        if connection in self._busy and len(idle) < MAX_IDLE_CONNECTIONS:
            self._busy.discard(connection)
            idle.append(connection)
        else:
            await self.drop(connection)

    async def drop(self, connection: httpx.AsyncHTTPTransport) -> None:
        """Close a connection that cannot be used again."""
        self._busy.discard(connection)
        try:
            await connection.aclose()
        except _FAILURES:
            logger.debug("a connection did not close cleanly", exc_info=True)

    async def close_idle(self, url: str) -> None:
        """Close the connections to an agent that wait for the next call."""
        for connection in self._idle.pop(_origin(_parsed(url)), ()):
            await self.drop(connection)

    async def close(self) -> None:
        """Close every connection, those in use as well."""
        connections = [*self._busy, *(connection for idle in self._idle.values() for connection in idle)]
        self._idle.clear()
        for connection in connections:
            await self.drop(connection)

    async def _take(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        if self._place is not io.place():
            # Another event loop than last time: what the old one opened died with it.
            self._place = io.place()
            self._idle.clear()
        idle = self._idle.get(_origin(url))
        while idle:
            try:
                connection = idle.pop()  # the one used last is the least likely to have been closed by the other side
            except IndexError:
                break  # another thread was faster
            if not isinstance(connection, _Connection) or connection.is_fit():
                return connection
            await self.drop(connection)
        return _new_connection(url)


class _Connection(httpx.AsyncHTTPTransport):
    """httpx's transport over one connection of httpcore.

    Its own pool, even of one connection, takes a fifth of the time of a small call. httpx is pinned to 0.28, whose
    transport asks of `_pool` what a connection has: `handle_async_request` and `aclose`.
    """

    def __init__(self, url: httpx.URL) -> None:
        # Not super().__init__(): that is what makes the pool.
        secure = url.scheme == "https"
        self._connection = httpcore.AsyncHTTPConnection(
            origin=httpcore.Origin(url.raw_scheme, url.raw_host, url.port or (443 if secure else 80)),
            ssl_context=_secure_context() if secure else None,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        )
        self._pool = self._connection  # type: ignore[assignment]

    def is_fit(self) -> bool:
        """Tell whether it can carry another call: neither side has closed it, and it is not too old."""
        return self._connection.is_available() and not self._connection.has_expired()


def _new_connection(url: httpx.URL) -> httpx.AsyncHTTPTransport:
    proxy = _proxy_for(url)
    if proxy is None:
        return _Connection(url)
    limits = httpx.Limits(max_connections=1, keepalive_expiry=KEEP_ALIVE_SECONDS)
    try:
        return httpx.AsyncHTTPTransport(verify=_secure_context(), limits=limits, proxy=proxy)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"the proxy that the environment names for {url.host!r} cannot be used: {error}"
        ) from error


def _proxy_for(url: httpx.URL) -> str | None:
    """Return the proxy that the environment names; none for this machine, whatever the environment says."""
    if is_loopback(url.host) or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


@functools.cache
def _secure_context() -> ssl.SSLContext:
    """Return the one TLS context of this process; reading the certificates takes 17 ms."""
    return httpx.create_ssl_context()


@functools.lru_cache(maxsize=512)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
