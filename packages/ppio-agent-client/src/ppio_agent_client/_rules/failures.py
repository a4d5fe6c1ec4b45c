"""What becomes of a call whose bytes did not get through: one of our exceptions, whoever carried them."""

from __future__ import annotations

from enum import Enum

from ppio_agent_models import (
    ConfigurationError,
    ConnectTimeoutError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    TotalTimeoutError,
)

from .limits import Limits
from .requests import Call


class Failure(Enum):
    """What went wrong on the way."""

    IMPOSSIBLE = "such a request cannot be sent"
    NEVER_SENT = "there was no connection"
    LATE_CONNECTION = "there was no connection in time"
    STUCK = "the request did not go out"
    NO_BEGIN = "the answer did not begin in time"
    SILENT = "the answer stopped"
    LOST = "the connection broke"
    OTHER = "something else"


_LATE = frozenset({Failure.LATE_CONNECTION, Failure.STUCK, Failure.NO_BEGIN, Failure.SILENT})


def failed(failure: Failure, reason: object, call: Call, limits: Limits, now: float) -> PPIOAgentRuntimeError:
    """Return the exception for a call that failed.

    Args:
        failure: In which way.
        reason: What the layer below said.
        call: The call.
        limits: Its limits.
        now: The time, on the clock of its deadline.
    """
    where = f"{call.method} {call.url}"
    left = limits.remaining(now)
    if failure in _LATE and left is not None and left <= 0:
        return too_long(call, limits)
    if failure is Failure.LATE_CONNECTION:
        return ConnectTimeoutError(f"no connection for {where} within {limits.connect or 0:g} s")
    if failure is Failure.NO_BEGIN:
        return FirstByteTimeoutError(f"{where}: no answer began within {limits.first_byte or 0:g} s")
    if failure in _LATE:
        return IdleTimeoutError(f"{where}: nothing moved for {limits.idle or 0:g} s")
    if failure is Failure.NEVER_SENT:
        return NetworkError(f"{where} was not sent: {reason}", retryable=True)
    if failure is Failure.IMPOSSIBLE:
        return ConfigurationError(f"{where} cannot be sent: {reason}")
    if failure is Failure.LOST:
        return NetworkError(f"the connection for {where} was lost: {reason}")
    return NetworkError(f"{where} failed: {reason}")


def too_long(call: Call, limits: Limits) -> TotalTimeoutError:
    """Return the exception for a call that outlasts its limit in total."""
    return TotalTimeoutError(f"{call.method} {call.url} took longer than its limit of {limits.total:g} s")
