"""The four time limits of a call, the timeouts derived from them, and the errors of failed calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from ppio_agent_models import (
    ConfigurationError,
    ConnectTimeoutError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    TotalTimeoutError,
)

if TYPE_CHECKING:
    from .._config import ClientConfig

ANSWER_GRACE_SECONDS = 1.0
"""How much longer than the handler's own limit a client waits, so that the agent's more specific 504 arrives."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call, all in seconds, None for no limit.

    Attributes:
        connect: Time to connect.
        first_byte: Time from the request to the start of the response.
        idle: Silence within the response.
        total: Time of the whole call; `deadline` is when that ends, on the clock of `now`.
        is_prompt: `first_byte` was not set by the caller: a response begins within a heartbeat if the connection works.
    """

    connect: float | None
    first_byte: float | None
    idle: float | None
    total: float | None = None
    deadline: float | None = None
    is_prompt: bool = False

    def for_events(self) -> Limits:
        """Return the limits of a stream of protocol 1, whose response begins within a heartbeat."""
        return self if self.first_byte is not None else replace(self, first_byte=self.idle, is_prompt=True)

    def for_waiting(self, wait: float) -> Limits:
        """Return the limits of a request whose response the agent delays for up to `wait` seconds."""
        return self if self.idle is None else replace(self, first_byte=self.idle + wait)

    def remaining(self, now: float) -> float | None:
        """Return the time left for the whole call, 0 or less after the deadline."""
        return None if self.deadline is None else self.deadline - now

    def head_timeout(self, now: float) -> float | None:
        """Return how long to wait for the start of the response."""
        return _shorter(self.first_byte, self.remaining(now))

    def body_timeout(self, now: float) -> float | None:
        """Return how long to wait for the next part of the response."""
        return _shorter(self.idle, self.remaining(now))

    def connect_timeout(self, now: float) -> float | None:
        """Return how long to wait for a connection."""
        return _shorter(self.connect, self.remaining(now))


def _shorter(limit: float | None, remaining: float | None) -> float | None:
    if remaining is None:
        return limit
    # Not 0, which means non-blocking for a socket, and no limit for some libraries.
    left = max(remaining, 0.001)
    return left if limit is None else min(limit, left)


def call_limits(config: ClientConfig, total: float | None, now: float) -> Limits:
    """Return the limits of a call that begins at `now` and may take `total` seconds."""
    deadline = None if total is None else now + total
    return Limits(config.connect_timeout, config.first_byte_timeout, config.idle_timeout, total, deadline)


def total_seconds(requested: float | None, default: float | None) -> float | None:
    """Return the client's total limit: the request's timeout plus a grace period, else the default."""
    return default if requested is None else requested + ANSWER_GRACE_SECONDS


class Failure(Enum):
    """Kinds of failed requests."""

    IMPOSSIBLE = "such a request cannot be sent"
    UNTRUSTED = "the certificate could not be verified"
    NEVER_SENT = "there was no connection"
    LATE_CONNECTION = "there was no connection in time"
    STUCK = "the request did not go out"
    NO_BEGIN = "the response did not begin in time"
    SILENT = "the response stopped"
    LOST = "the connection broke"
    OTHER = "something else"


_LATE: Final = frozenset({Failure.LATE_CONNECTION, Failure.STUCK, Failure.NO_BEGIN, Failure.SILENT})
_KINDS: Final = {
    "ConnectTimeout": Failure.LATE_CONNECTION,
    "PoolTimeout": Failure.LATE_CONNECTION,
    "WriteTimeout": Failure.STUCK,
    "ConnectError": Failure.NEVER_SENT,
    "ProxyError": Failure.NEVER_SENT,
    "UnsupportedProtocol": Failure.IMPOSSIBLE,
    "LocalProtocolError": Failure.IMPOSSIBLE,
    "InvalidURL": Failure.IMPOSSIBLE,
    "NetworkError": Failure.LOST,
    "RemoteProtocolError": Failure.LOST,
    "DecodingError": Failure.LOST,
    "HTTPError": Failure.OTHER,
    "StreamError": Failure.OTHER,
    "CookieConflict": Failure.OTHER,
}
"""Exceptions of httpx, by the name of the class or its nearest base class; httpx2 has the same names."""
_NEVER_CONNECTED: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError"})
"""Exceptions of aiohttp before anything was sent; httpx-aiohttp maps them to the same classes as broken connections."""


def failure_of(error: BaseException, *, began: bool) -> Failure | None:
    """Return the kind of failure for an exception of httpx or httpx2, before or after a response began; else None."""
    if isinstance(error, UnicodeError):  # a header or a host that cannot be encoded
        return Failure.IMPOSSIBLE
    if _is_untrusted(error):
        return Failure.UNTRUSTED
    if type(error).__module__.startswith("socksio."):  # a proxy that does not speak SOCKS; httpx lets it through
        return Failure.NEVER_SENT
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ in {"httpx", "httpx2"}]
    if "ReadTimeout" in names:
        return Failure.SILENT if began else Failure.NO_BEGIN
    if "ProxyError" in names and str(error)[:1] == "4":  # a status of the proxy itself, such as 407
        return Failure.IMPOSSIBLE
    failure = next((_KINDS[name] for name in names if name in _KINDS), None)
    if failure in {Failure.LATE_CONNECTION, Failure.NEVER_SENT} and (cause := error.__cause__) is not None:
        causes = type(cause).__mro__
        if causes[0].__module__.startswith("aiohttp") and _NEVER_CONNECTED.isdisjoint(kind.__name__ for kind in causes):
            return Failure.LOST
    return failure


def _is_untrusted(error: BaseException | None) -> bool:
    """Return whether the cause of an error is a certificate, so that retries would fail too."""
    while error is not None and type(error).__name__ != "SSLCertVerificationError":
        error = error.__cause__ or error.__context__
    return error is not None


def failed(failure: Failure, reason: object, where: str, limits: Limits, now: float) -> PPIOAgentRuntimeError:
    """Return the exception for a call to `where`, a method and a URL; `reason` comes from the layer below."""
    left = limits.remaining(now)
    if failure in _LATE and left is not None and left <= 0:
        return too_long(where, limits)
    if failure is Failure.LATE_CONNECTION:
        return ConnectTimeoutError(f"no connection for {where} {_within(limits.connect)}")
    if failure is Failure.NO_BEGIN:
        return FirstByteTimeoutError(f"{where}: no response began {_within(limits.first_byte)}")
    if failure in _LATE:
        return IdleTimeoutError(f"{where}: no data {_within(limits.idle)}")
    if failure is Failure.NEVER_SENT:
        hint = "; is it http and not https?" if "WRONG_VERSION_NUMBER" in str(reason) else ""
        return NetworkError(f"{where} was not sent: {reason}{hint}", retryable=True)
    if failure is Failure.IMPOSSIBLE:
        return ConfigurationError(f"{where} cannot be sent: {reason}")
    if failure is Failure.UNTRUSTED:
        return ConfigurationError(
            f"{where} was not sent, because the server's certificate could not be verified: {reason}; if a private CA "
            "issued it, set SSL_CERT_FILE to the certificate file of that CA"
        )
    if failure is Failure.LOST:
        return NetworkError(f"the connection for {where} was lost: {reason}")
    return NetworkError(f"{where} failed: {reason}")


def _within(limit: float | None) -> str:
    """Return a limit in words; None where the layer below has one of its own."""
    return "in time" if limit is None else f"within {limit:g} s"


def too_long(where: str, limits: Limits) -> TotalTimeoutError:
    """Return the exception for a call that exceeds its total limit."""
    return TotalTimeoutError(f"{where} took longer than its limit of {limits.total:g} s")
