"""The requests to the PPIO platform's control plane, in both versions of its API, and its errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from ppio_agent_models import (
    AuthenticationError,
    ConfigurationError,
    NetworkError,
    PlatformError,
    PPIOAgentRuntimeError,
    QuotaExceededError,
    RateLimitedError,
    SandboxCreationError,
    TotalTimeoutError,
)

from ..._sandbox import SandboxSpec
from .. import json_codec
from ..responses import request_id_of, retry_after_of
from .models import PAGE_SIZE

MAX_LIFE_SECONDS: Final = 24 * 3600
"""The longest time to live that can be requested; for most accounts the platform allows less."""
_TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
_QUOTA_STATUSES = frozenset({400, 402, 403, 409, 429})
_QUOTA_WORDS = ("quota", "concurrent", "maximum number", "insufficient", "resource limit", "exceeds the limit")
_MAX_QUOTED_CHARS = 500


@dataclass(frozen=True, slots=True)
class PlatformRequest:
    """One request to the control plane.

    Attributes:
        action: What it does, for error messages: "cannot <action>".
        path: The path with its query.
        is_idempotent: Whether it may be sent twice.
        bearer: Whether it needs the key as bearer token, like the list of templates.
        max_seconds: Its total time limit, if less than `platform_timeout`.
    """

    action: str
    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    is_idempotent: bool = True
    bearer: bool = False
    max_seconds: float = math.inf


def about_sandbox(
    sandbox_id: str,
    action: str,
    method: str,
    ending: str = "",
    body: Mapping[str, object] | None = None,
    *,
    version: str = "",
    max_seconds: float = math.inf,
) -> PlatformRequest:
    """Return a request about one sandbox; its ID is escaped in the path."""
    return PlatformRequest(
        f"{action} sandbox {sandbox_id!r}",
        method,
        f"{version}/sandboxes/{quote(sandbox_id, safe='')}{ending}",
        b"" if body is None else json_codec.dump(body),
        max_seconds=max_seconds,
    )


def create_request(
    spec: SandboxSpec, template_id: str, labels: Mapping[str, str], *, is_legacy: bool
) -> PlatformRequest:
    """Return the request that creates a sandbox.

    Raises:
        ConfigurationError: The platform doesn't support these settings.
    """
    body: dict[str, object] = {
        "templateID": template_id,
        "timeout": whole_seconds(spec.timeout_seconds),
        "metadata": dict(labels),
        "envVars": dict(spec.env_vars),
        "secure": True,
        "autoPause": spec.auto_pause or spec.auto_resume,
    }
    if is_legacy:
        if spec.private_traffic:
            raise ConfigurationError(
                "private_traffic needs a newer domain of the platform than this one; set PPIO_DOMAIN or domain="
            )
        body["allowInternetAccess"] = spec.internet_access
    else:
        body["allow_internet_access"] = spec.internet_access  # the one name here that is not in camel case
        body["autoResume"] = {"enabled": spec.auto_resume}
        if spec.private_traffic:
            body["network"] = {"allowPublicTraffic": False}
    return PlatformRequest("create a sandbox", "POST", "/sandboxes", json_codec.dump(body), is_idempotent=False)


def list_request(labels: Mapping[str, str], page_token: str | None, max_seconds: float = math.inf) -> PlatformRequest:
    """Return the request that lists sandboxes with these strings in their metadata, a page at a time."""
    # Percent-encoded three times: by us, as a form, and as a value of the query.
    wanted = urlencode({quote(name): quote(value) for name, value in labels.items()})
    query = {"metadata": wanted, "state": "running,paused", "limit": str(PAGE_SIZE)}
    if page_token:
        query["nextToken"] = page_token
    path = f"/v2/sandboxes?{urlencode(query)}"
    return PlatformRequest("list sandboxes", "GET", path, max_seconds=max_seconds)


def whole_seconds(seconds: float) -> int:
    """Return a time to live as whole seconds.

    Raises:
        ConfigurationError: It is out of bounds.
    """
    if not 0 < seconds <= MAX_LIFE_SECONDS:
        raise ConfigurationError(
            f"the time to live of a sandbox is more than 0 and at most {MAX_LIFE_SECONDS} seconds, not {seconds!r}"
        )
    return math.ceil(seconds)


def error_of(
    status: int, headers: Mapping[str, str], value: object, action: str, *, unix_now: float
) -> PPIOAgentRuntimeError:
    """Return the exception for an unexpected response.

    Args:
        status: HTTP status.
        headers: Found by lower-case names.
        value: The decoded body.
        action: What was requested, for "cannot <action>".
        unix_now: The time, in unix seconds, for a `Retry-After` that is a date.
    """
    fields = value if isinstance(value, dict) else {}
    message = _message(value)
    reason = f"cannot {action}: the platform responded with {status}" + (f" ({message})" if message else "")
    if status // 100 == 3 and (location := headers.get("location")):
        reason += f" and redirects to {location.partition('?')[0]!r}: is PPIO_API_URL right?"
    facts: dict[str, Any] = {"status_code": status, "request_id": _request_id(headers, fields)}
    if status in _QUOTA_STATUSES and any(word in message.lower() for word in _QUOTA_WORDS):
        return QuotaExceededError(f"{reason}; close sandboxes, or request a larger quota", **facts)
    if status in {401, 403}:
        return AuthenticationError(f"{reason}; check the key (PPIO_API_KEY or api_key=) and its permissions", **facts)
    facts["retry_after"] = retry_after_of(headers, unix_now=unix_now)
    if status == 429:
        return RateLimitedError(reason, **facts)
    return PlatformError(reason, retryable=status in _TRANSIENT_STATUSES, **facts)


def is_refusal(error: PPIOAgentRuntimeError) -> bool:
    """Return whether nothing was done: the request was never sent, or refused by a rate limit."""
    return error.retryable if isinstance(error, NetworkError) else isinstance(error, RateLimitedError)


def is_lost(error: PPIOAgentRuntimeError) -> bool:
    """Return whether the request may have been executed, although there is an error or no response."""
    if isinstance(error, NetworkError):
        return not error.retryable
    return isinstance(error, PlatformError) and (error.status_code is None or error.status_code >= 500)


def may_retry(error: PPIOAgentRuntimeError, *, is_idempotent: bool) -> bool:
    """Return whether a request may be retried after this error."""
    if isinstance(error, TotalTimeoutError):
        return False
    return is_refusal(error) or (is_idempotent and is_lost(error))


def not_created(error: PPIOAgentRuntimeError) -> PPIOAgentRuntimeError:
    """Return the error for a sandbox that wasn't created; errors about the key or a rate limit stay unchanged."""
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
        return ""  # a gateway's HTML page
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"


def _request_id(headers: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    found = request_id_of(headers, fields) or headers.get("x-trace-id") or fields.get("requestId")
    return found if isinstance(found, str) and found else None
