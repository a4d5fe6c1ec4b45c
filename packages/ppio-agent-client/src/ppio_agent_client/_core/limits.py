"""The four time limits of a call, how they become the timeout of one read, and the error of a call that failed."""

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
"""How much longer than the handler's own limit a client waits, so that the agent's 504 arrives and says more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call, all in seconds, None for no limit.

    Attributes:
        connect: To a connection.
        first_byte: From the request to the start of the answer.
        idle: Of silence inside the answer.
        total: For the whole call; `deadline` is when that ends, on the clock of `now`.
        is_prompt: `first_byte` is not the caller's wish: the answer of a living connection begins within a heartbeat.
    """

    connect: float | None
    first_byte: float | None
    idle: float | None
    total: float | None = None
    deadline: float | None = None
    is_prompt: bool = False

    def for_events(self) -> Limits:
        """Return the limits of a stream of protocol 1: its answer begins within a heartbeat, or not at all."""
        return self if self.first_byte is not None else replace(self, first_byte=self.idle, is_prompt=True)

    def for_waiting(self, wait: float) -> Limits:
        """Return the limits of an attempt whose answer the agent holds back for `wait` seconds."""
        return self if self.idle is None else replace(self, first_byte=self.idle + wait)

    def remaining(self, now: float) -> float | None:
        """Return what is left of the whole call, 0 or less when it is over."""
        return None if self.deadline is None else self.deadline - now

    def head_timeout(self, now: float) -> float | None:
        """Return how long to wait for the start of the answer."""
        return _shorter(self.first_byte, self.remaining(now))

    def body_timeout(self, now: float) -> float | None:
        """Return how long to wait for more of the answer."""
        return _shorter(self.idle, self.remaining(now))

    def connect_timeout(self, now: float) -> float | None:
        """Return how long to wait for a connection."""
        return _shorter(self.connect, self.remaining(now))


def _shorter(limit: float | None, remaining: float | None) -> float | None:
    if remaining is None:
        return limit
    # 0 would mean "do not wait at all" to a socket, and some layers read it as "no limit".
    left = max(remaining, 0.001)
    return left if limit is None else min(limit, left)


def call_limits(config: ClientConfig, total: float | None, now: float) -> Limits:
    """Return the limits of a call that begins at `now` and may take `total` seconds."""
    deadline = None if total is None else now + total
    return Limits(config.connect_timeout, config.first_byte_timeout, config.idle_timeout, total, deadline)


def total_seconds(requested: float | None, default: float | None) -> float | None:
    """Return how long the client waits in all: what the request asks plus a moment for its answer, else the default."""
    return default if requested is None else requested + ANSWER_GRACE_SECONDS


class Failure(Enum):
    """What went wrong on the way."""

    IMPOSSIBLE = "such a request cannot be sent"
    UNTRUSTED = "the certificate could not be verified"
    NEVER_SENT = "there was no connection"
    LATE_CONNECTION = "there was no connection in time"
    STUCK = "the request did not go out"
    NO_BEGIN = "the answer did not begin in time"
    SILENT = "the answer stopped"
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
"""Everything that httpx raises, by the name of its class or of the nearest one above: httpx2 has the same names."""
_NEVER_CONNECTED: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError"})
"""What aiohttp raises before anything was sent; httpx-aiohttp gives all that breaks a connection the same names."""


def failure_of(error: BaseException, *, began: bool) -> Failure | None:
    """Return what an exception of httpx or httpx2 means before or after an answer began; None for anything else."""
    if isinstance(error, UnicodeError):  # a header or a host that cannot be written
        return Failure.IMPOSSIBLE
    if _is_untrusted(error):
        return Failure.UNTRUSTED
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
    """Tell whether the cause of an error is a certificate, which the next attempt would meet again."""
    while error is not None and type(error).__name__ != "SSLCertVerificationError":
        error = error.__cause__ or error.__context__
    return error is not None


def failed(failure: Failure, reason: object, where: str, limits: Limits, now: float) -> PPIOAgentRuntimeError:
    """Return the exception for a call to `where`, a method and an address; `reason` is what the layer below said."""
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
            f"{where} was not sent, because the server's certificate could not be verified: {reason}; if an authority "
            "of your own issued it, set SSL_CERT_FILE to the file of that authority"
        )
    if failure is Failure.LOST:
        return NetworkError(f"the connection for {where} was lost: {reason}")
    return NetworkError(f"{where} failed: {reason}")


def _within(limit: float | None) -> str:
    """Return a limit in words; None where the layer below has one of its own."""
    return "in time" if limit is None else f"within {limit:g} s"


def too_long(where: str, limits: Limits) -> TotalTimeoutError:
    """Return the exception for a call that outlasts its limit in total."""
    return TotalTimeoutError(f"{where} took longer than its limit of {limits.total:g} s")
