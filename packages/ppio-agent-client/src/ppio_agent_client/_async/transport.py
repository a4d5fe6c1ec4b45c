"""Sends all requests over httpx, with one httpx client per event loop and forked process, and translates its errors.

The limits of a call become timeouts of its request: httpcore reads `read` once for the head, and again when the body
begins. This module limits the total time of a call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import httpx

from ppio_agent_models import AgentClientError, ConfigurationError, InvocationError, TotalTimeoutError

from .._core.limits import Failure, Limits, failed, failure_of, too_long
from .._core.requests import Call, is_loopback
from .._io import _async as io
from .free_list import FreeList

if TYPE_CHECKING:
    from .._config import ClientConfig

MAX_CONNECTIONS: Final = 1000
MAX_IDLE_CONNECTIONS: Final = 256
KEEP_ALIVE_SECONDS: Final = 4.0
"""How long an idle connection is kept. uvicorn closes it after 5 s by default, and a POST at that moment is lost."""

HttpClient = httpx.AsyncClient

_NO_STREAM: Final = httpx.ByteStream(b"")


class Answer:
    """A response whose head has arrived. Read it to its end or close it: either returns its connection."""

    def __init__(
        self, response: httpx.Response, call: Call, limits: Limits, timeouts: dict[str, float | None], max_bytes: int
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._body = response.aiter_bytes()
        self._call = call
        self._limits = limits
        self._timeouts = timeouts
        self._max_bytes = max_bytes
        self._content: bytes | None = None

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives.

        Raises:
            NetworkError: It did not arrive completely and in time; the class says which limit was exceeded.
        """
        self._timeouts["read"] = self._limits.body_timeout(io.now())
        try:
            async for part in self._body:
                yield part
                self._check_deadline()
        except Exception as error:
            ours = translated(error, self._call, self._limits, began=True)
            if ours is None:
                raise
            raise ours from error
        finally:
            await self.close()

    async def read(self) -> bytes:
        """Return the whole body; can be called again. See `parts`.

        Raises:
            InvocationError: Its decompressed size exceeds `max_answer_bytes`.
        """
        if self._content is None:
            size, held = 0, []
            async for part in self.parts():
                size += len(part)
                held.append(part)
                if size > self._max_bytes:
                    await self.close()
                    raise InvocationError(
                        f"{self._call.where}: the response has more than {self._max_bytes} bytes; "
                        "ClientConfig(max_answer_bytes=...) sets the limit"
                    )
            self._content = b"".join(held)
        return self._content

    async def finish(self, seconds: float) -> None:
        """Read the rest, so that the connection can be used again, or close it after `seconds`."""
        self._timeouts["read"] = seconds
        # In a thread the new timeout only applies to a new read; a task is cancelled instead.
        rest: Any = self._body if io.IS_ASYNC else self._response.stream
        deadline = io.now() + seconds
        try:
            async with io.Until(deadline, seconds):
                async for _ in rest:
                    if io.now() >= deadline:
                        break
        except TotalTimeoutError:
            return
        except Exception as error:
            if failure_of(error, began=True) is None:
                raise
        finally:
            await self.close()

    async def close(self) -> None:
        """Return the connection, or close it if the response was not read to its end."""
        try:
            await self._response.aclose()
        except Exception as error:
            # RuntimeError: another task is reading, or the event loop of the connection is closed.
            if not isinstance(error, RuntimeError) and failure_of(error, began=True) is None:
                raise
        finally:
            if isinstance(self._response, httpx.Response):
                self._response.stream = _NO_STREAM  # breaks a reference cycle
            await io.end_of(self._body)

    async def hang_up(self) -> None:
        """Interrupt a response that another thread or task reads; that one then closes it."""
        await io.hang_up_stream(self._response.extensions.get("network_stream"))

    def _check_deadline(self) -> None:
        # Each read has its own timeout, so only the clock detects a body that arrives in tiny parts.
        if self._limits.deadline is not None and io.now() >= self._limits.deadline:
            raise too_long(self._call.where, self._limits)


class Transport:
    """Sends the calls of one client, over the given httpx client or over its own ones."""

    def __init__(self, config: ClientConfig, http_client: HttpClient | None = None) -> None:
        self._config = config
        self._given = http_client
        self._own: dict[object, DefaultAsyncHttpxClient] = {}
        self._closed = False
        if http_client is None:
            io.tls_context()  # now, because here it doesn't block an event loop

    async def open(self, call: Call, limits: Limits) -> Answer:
        """Send a call, and return its response as soon as the head has arrived.

        Raises:
            NetworkError: No response; `retryable` is True if the call was never sent.
            ConfigurationError: Such a call cannot be sent at all.
        """
        self._check_open()
        client = self._given or self._own.get(io.place()) or await self._new_client()
        now = io.now()
        connect = limits.connect_timeout(now)
        idle = limits.body_timeout(now)
        timeouts = {"connect": connect, "pool": connect, "write": idle, "read": limits.head_timeout(now), "idle": idle}
        try:
            request = client.build_request(
                call.method, call.url, headers=call.headers, content=call.body, extensions={"timeout": timeouts}
            )
            response = await client.send(request, stream=True)
        except Exception as error:
            self._check_open()
            ours = translated(error, call, limits, began=False)
            if ours is None:
                raise
            raise ours from error
        answer = Answer(response, call, limits, timeouts, self._config.max_answer_bytes)
        if (coding := _unknown_coding(response)) is not None:
            await answer.close()
            reason = f"the response is encoded as {coding!r}, which was not requested"
            raise failed(Failure.LOST, reason, call.where, limits, io.now())
        return answer

    async def close_idle(self, url: str) -> None:
        """Close its own idle connections to an agent that has ended."""
        if (client := self._own.get(io.place())) is not None:
            await client.close_idle(httpx.URL(url))

    async def close(self) -> None:
        """Close all of its own connections, those in use as well."""
        self._closed = True
        for place, client in list(self._own.items()):
            await io.close_at(place, client)
            self._own.pop(place, None)

    def _check_open(self) -> None:
        if self._closed:
            raise AgentClientError("this client was closed in the meantime; create a new one")

    async def _new_client(self) -> DefaultAsyncHttpxClient:
        """Return an httpx client for the current event loop, and close those of closed loops."""
        config = self._config
        try:
            client = DefaultAsyncHttpxClient(
                limits=_limits(config.max_connections, config.max_idle_connections), proxy=config.proxy
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(f"the proxy that is configured cannot be used: {error}") from error
        for place in [place for place in list(self._own) if io.is_over(place)]:
            if (left := self._own.pop(place, None)) is not None:
                await io.close_at(place, left)
        return self._own.setdefault(io.place(), client)


class DefaultAsyncHttpxClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` with the SDK's own defaults: pass it as `http_client=`, and close it yourself.

    What differs from httpx: up to 1000 connections, of which 256 are kept for 4 s, in a pool whose cost doesn't grow
    with them; the TLS context of the process, with `SSL_CERT_FILE` and `SSL_CERT_DIR`; no proxy for this machine,
    and no cookies.

    Args:
        **settings: Those of `httpx.AsyncClient`. A `transport` and `mounts` are used unchanged.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("limits", _limits(MAX_CONNECTIONS, MAX_IDLE_CONNECTIONS))
        # Sandboxes have one domain: with a jar, one of them could set what is sent to all the others.
        settings.setdefault("cookies", CookieJar(DefaultCookiePolicy(allowed_domains=())))
        if "verify" not in settings and "cert" not in settings:
            settings["verify"] = io.tls_context()
        super().__init__(**settings)
        mounted = list((settings.get("mounts") or {}).values())
        mounts: dict[Any, httpx.AsyncBaseTransport | None] = {
            pattern if transport in mounted else Elsewhere(pattern): transport
            for pattern, transport in self._mounts.items()
        }
        self._mounts = mounts

    async def close_idle(self, url: httpx.URL) -> None:
        """Close the idle connections to the origin of `url`."""
        free_list = getattr(self._transport_for_url(url), "_pool", None)
        if isinstance(free_list, FreeList):
            await free_list.close_idle(url.raw_scheme, url.raw_host, url.port)

    # httpx creates its transports in these two methods; httpx-aiohttp overrides them too.
    def _init_transport(self, *arguments: Any, **settings: Any) -> httpx.AsyncBaseTransport:
        made = super()._init_transport(*arguments, **settings)
        return made if made is settings["transport"] else _with_free_list(made, settings["limits"])

    def _init_proxy_transport(self, *arguments: Any, **settings: Any) -> httpx.AsyncBaseTransport:
        return _with_free_list(super()._init_proxy_transport(*arguments, **settings), settings["limits"])


class Elsewhere:
    """A mount pattern that never matches this machine, which needs no proxy."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def matches(self, url: httpx.URL) -> bool:
        """Return whether the mount is for `url`."""
        return not is_loopback(url.host) and bool(self._pattern.matches(url))


def _unknown_coding(response: httpx.Response) -> str | None:
    """Return the content coding of a body if httpx can't decode it (RFC 9110, section 8.4), or if there are several.

    A body that is compressed twice can exceed any limit before its size is known.
    """
    coding = response.headers.get("content-encoding")
    if coding is None:
        return None
    asked = f"identity, gzip, deflate, {response.request.headers.get('accept-encoding', '')}"
    known = {name.partition(";")[0].strip() for name in asked.lower().split(",")}
    codings = [name.strip() for name in coding.lower().split(",")]
    return None if set(codings) <= known and sum(name != "identity" for name in codings) <= 1 else coding


def _limits(most: int, most_idle: int) -> httpx.Limits:
    return httpx.Limits(max_connections=most, max_keepalive_connections=most_idle, keepalive_expiry=KEEP_ALIVE_SECONDS)


def _with_free_list(transport: httpx.AsyncBaseTransport, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    """Replace httpcore's pool in a transport of httpx by a free list; the pool still creates the connections."""
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    free_list = FreeList(
        transport._pool.create_connection,
        MAX_CONNECTIONS if limits.max_connections is None else limits.max_connections,
        MAX_CONNECTIONS if limits.max_keepalive_connections is None else limits.max_keepalive_connections,
        float("inf") if limits.keepalive_expiry is None else limits.keepalive_expiry,
    )
    transport._pool = free_list  # type: ignore[assignment]  # it has all methods that httpx uses
    return transport


def translated(error: Exception, call: Call, limits: Limits, *, began: bool) -> Exception | None:
    """Return our exception for one of httpx or httpx2; None for other exceptions."""
    if (theirs := io.raised_by_signal(error)) is not None:
        return theirs
    failure = failure_of(error, began=began)
    if failure is None:
        return None
    reason = str(error) or type(error).__name__
    if isinstance(error, UnicodeError):
        is_header = isinstance(error, UnicodeEncodeError) and error.encoding == "ascii"
        reason = "a header is not ASCII" if is_header else f"the host name is not valid ({reason})"
    elif type(error).__module__.startswith("socksio."):
        reason = f"the proxy does not answer as a SOCKS proxy does ({reason})"
    elif failure is Failure.IMPOSSIBLE and type(error).__name__ == "ProxyError":
        reason = f"the proxy responded with {reason}; check ClientConfig(proxy=...) or HTTPS_PROXY, password included"
    return failed(failure, reason, call.where, limits, io.now())
