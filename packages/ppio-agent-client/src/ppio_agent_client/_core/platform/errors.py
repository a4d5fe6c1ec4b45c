"""What an answer of the PPIO platform means that isn't a success, and which requests are sent again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppio_agent_models import (
    AuthenticationError,
    NetworkError,
    PlatformError,
    PPIOAgentRuntimeError,
    QuotaExceededError,
    RateLimitedError,
    SandboxCreationError,
    TotalTimeoutError,
)

from ..._rules.responses import request_id_of, retry_after_of

_TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
_QUOTA_STATUSES = frozenset({400, 402, 403, 409, 429})
_QUOTA_WORDS = ("quota", "concurrent", "maximum number", "insufficient", "resource limit", "exceeds the limit")
_MAX_QUOTED_CHARS = 500


def error_of(
    status: int, headers: Mapping[str, str], value: object, action: str, *, unix_now: float
) -> PPIOAgentRuntimeError:
    """Return the exception for an answer other than those that its request expects.

    Args:
        status: HTTP status.
        headers: Found by lower-case names.
        value: The decoded body.
        action: What was asked, to stand behind "cannot".
        unix_now: The time, in unix seconds, for a `Retry-After` that is a date.
    """
    fields = value if isinstance(value, dict) else {}
    message = _message(value)
    reason = f"cannot {action}: the platform answered {status}" + (f" ({message})" if message else "")
    facts: dict[str, Any] = {"status_code": status, "request_id": _request_id(headers, fields)}
    if status in _QUOTA_STATUSES and any(word in message.lower() for word in _QUOTA_WORDS):
        return QuotaExceededError(f"{reason}; close sandboxes, or ask for a larger quota", **facts)
    if status in {401, 403}:
        return AuthenticationError(f"{reason}; check the key (PPIO_API_KEY or api_key=) and what it may do", **facts)
    facts["retry_after"] = retry_after_of(headers, unix_now=unix_now)
    if status == 429:
        return RateLimitedError(reason, **facts)
    return PlatformError(reason, retryable=status in _TRANSIENT_STATUSES, **facts)


def is_refusal(error: PPIOAgentRuntimeError) -> bool:
    """Tell whether an error says that nothing was done: never sent, or turned away before anybody looked at it."""
    return error.retryable if isinstance(error, NetworkError) else isinstance(error, RateLimitedError)


def is_lost(error: PPIOAgentRuntimeError) -> bool:
    """Tell whether what was asked for may have been done, although the answer is an error or none."""
    if isinstance(error, NetworkError):
        return not error.retryable
    return isinstance(error, PlatformError) and (error.status_code is None or error.status_code >= 500)


def may_retry(error: PPIOAgentRuntimeError, *, is_idempotent: bool) -> bool:
    """Tell whether a request that came to this error may be sent again."""
    if isinstance(error, TotalTimeoutError):
        return False
    return is_refusal(error) or (is_idempotent and is_lost(error))


def not_created(error: PPIOAgentRuntimeError) -> PPIOAgentRuntimeError:
    """Return the error of a sandbox that wasn't made; one that is about the key or the rate stays what it is."""
    if not isinstance(error, PlatformError):
        return error
    return SandboxCreationError(
        error.message,
        status_code=error.status_code,
        request_id=error.request_id,
        retry_after=error.retry_after,
        retryable=error.retryable,
    )


def _message(value: object) -> str:
    text = value
    if isinstance(value, dict):
        text = value.get("message") or value.get("error") or value.get("detail")
        text = text.get("message") if isinstance(text, dict) else text
    text = text.strip() if isinstance(text, str) else ""
    if text.startswith("<"):
        return ""  # the page of a gateway
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"


def _request_id(headers: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    found = request_id_of(headers, fields) or headers.get("x-trace-id") or fields.get("requestId")
    return found if isinstance(found, str) and found else None
