"""The only module that imports httpx: calls that go through a proxy, or through a transport of the caller's own.

What httpx raises ends here and leaves as ours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Final

import httpx

from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError

from .._io import _async as io
from .._io._network import secure_context
from .._rules.addresses import Address
from .._rules.failures import Failure, failed
from .._rules.limits import Limits
from .._rules.requests import Call

_FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
"""Everything that httpx raises."""
_KINDS: Final[dict[tuple[type[Exception], ...], Failure]] = {
    (httpx.ConnectTimeout, httpx.PoolTimeout): Failure.LATE_CONNECTION,
    (httpx.WriteTimeout,): Failure.STUCK,
    (httpx.ConnectError, httpx.ProxyError): Failure.NEVER_SENT,
    (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL): Failure.IMPOSSIBLE,
    (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError): Failure.LOST,
}


def translated(error: Exception, call: Call, limits: Limits, *, began: bool) -> PPIOAgentRuntimeError:
    """Return our exception for one of httpx.

    Args:
        error: What httpx raised.
        call: The call it belongs to.
        limits: The limits of that call.
        began: Whether the answer had begun.
    """
    if isinstance(error, httpx.ReadTimeout):
        failure = Failure.SILENT if began else Failure.NO_BEGIN
    else:
        failure = next((kind for errors, kind in _KINDS.items() if isinstance(error, errors)), Failure.OTHER)
    return failed(failure, str(error) or type(error).__name__, call, limits, io.now())


class HttpxConnection:
    """One call at a time through a transport of httpx.

    Args:
        transport: What carries the calls.
        origin: Where they lead.
        is_own: Whether the transport was made for this connection, which then closes it.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, origin: str, *, is_own: bool) -> None:
        self.origin = origin
        self.is_reusable = False
        self._transport = transport
        self._is_own = is_own
        self._request: httpx.Request | None = None
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[bytes] | None = None

    async def ask(self, call: Call, address: Address, limits: Limits) -> tuple[int, Mapping[str, str]]:
        """Send a call and return status and headers of its answer.

        Raises:
            NetworkError: No answer began.
            ConfigurationError: Such a call cannot be sent.
        """
        now = io.now()
        timeout = {
            "connect": limits.connect_timeout(now),
            "pool": limits.connect_timeout(now),
            "write": limits.body_timeout(now),
            "read": limits.head_timeout(now),
        }
        self.is_reusable = False
        try:
            self._request = httpx.Request(
                call.method, call.url, headers=call.headers, content=call.body, extensions={"timeout": timeout}
            )
            self._response = await self._transport.handle_async_request(self._request)
        except UnicodeError as error:
            raise failed(Failure.IMPOSSIBLE, "a header is not ASCII", call, limits, now) from error
        except _FAILURES as error:
            raise translated(error, call, limits, began=False) from error
        self._body = self._response.aiter_bytes()
        return self._response.status_code, self._response.headers

    async def more(self, call: Call, limits: Limits) -> bytes:
        """Return more of the body, at least a byte; nothing behind its end.

        Raises:
            NetworkError: It does not arrive whole and in time.
        """
        assert self._request is not None
        assert self._response is not None
        assert self._body is not None
        # httpcore reads the timeout once for the head and anew when the body begins: until here it was the limit of the
        # first byte, from here on it is the longest silence.
        self._request.extensions["timeout"]["read"] = limits.body_timeout(io.now())
        try:
            async for part in self._body:
                if part:
                    return part
            await self._response.aclose()
            self.is_reusable = self._is_own
        except _FAILURES as error:
            raise translated(error, call, limits, began=True) from error
        return b""

    def is_fit(self) -> bool:
        """Tell whether it can carry another call: the transport looks after its connection by itself."""
        return True

    async def close(self) -> None:
        """Close what was opened for it, in the middle of an answer too."""
        if self._response is not None:
            with suppress(*_FAILURES, RuntimeError):
                await self._response.aclose()
        if self._is_own:
            await self._transport.aclose()
        if isinstance(self._body, AsyncGenerator):
            # A body is a chain of generators inside httpx. One that is left in the middle would be closed later by a
            # task of the event loop's own, which may outlive the client; reading on fails at once and ends the chain.
            with suppress(*_FAILURES, RuntimeError, ValueError):
                async for _ in self._body:
                    continue


def through_proxy(proxy: str, address: Address, keep_seconds: float) -> HttpxConnection:
    """Return a connection by way of a proxy.

    Raises:
        ConfigurationError: There is no such proxy.
    """
    limits = httpx.Limits(max_connections=1, keepalive_expiry=keep_seconds)
    try:
        transport = httpx.AsyncHTTPTransport(verify=secure_context(), limits=limits, proxy=proxy)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the proxy for {address.host!r} cannot be used: {error}") from error
    return HttpxConnection(transport, address.origin, is_own=True)


def through_transport(transport: object, address: Address) -> HttpxConnection:
    """Return a connection by way of a transport that the caller made and closes.

    Raises:
        ConfigurationError: It is no transport of this kind.
    """
    if not isinstance(transport, httpx.AsyncBaseTransport):
        wanted = httpx.AsyncBaseTransport.__qualname__
        raise ConfigurationError(f"transport must be an httpx.{wanted}, not {type(transport).__qualname__}")
    return HttpxConnection(transport, address.origin, is_own=False)
