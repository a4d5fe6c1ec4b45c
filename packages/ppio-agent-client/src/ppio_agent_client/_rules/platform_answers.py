"""What the control plane of the PPIO platform answers: sandboxes, templates, or what went wrong.

Fields may be missing and others may come; only a sandbox without an id is no sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

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

from . import platform_marks
from .platform_addresses import is_domain
from .platform_marks import Marks
from .responses import request_id_of, retry_after_of

REFUSED_KEY_STATUSES = frozenset({401, 403})
TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
"""Answers after which a call that is as good twice as once is sent again."""

_QUOTA_WORDS = ("quota", "concurrent", "maximum number", "insufficient", "resource limit", "exceeds the limit")
_MAX_QUOTED_CHARS = 500
_LABEL = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class MadeSandbox:
    """What `create` and `connect` answer.

    Attributes:
        sandbox_id: As it stands in addresses and paths.
        template_id: The platform's own id of the template.
        domain: Of its addresses; None for the configured one.
        envd_token: What its envd wants; None where it wants nothing.
        envd_version: Such as `"0.4.2"`.
        traffic_token: What its other addresses want; None where they are public.
    """

    sandbox_id: str
    template_id: str
    domain: str | None = None
    envd_token: str | None = field(default=None, repr=False)
    envd_version: str = ""
    traffic_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SeenSandbox:
    """What `info` and the list say of a sandbox of ours.

    Attributes:
        made: What the answer has of that; the list has no domain and no tokens.
        marks: What we wrote into its metadata.
        alias: The template's other name.
        state: Whether it sleeps.
        started_at: When it was made.
        ends_at: When it ends by itself.
    """

    made: MadeSandbox
    marks: Marks
    alias: str
    state: Literal["running", "paused"]
    started_at: datetime
    ends_at: datetime | None

    def is_made_from(self, template: str) -> bool:
        """Tell whether `template` is a name of what it was made from."""
        return template in {self.made.template_id, self.marks.template, self.alias}


def made_sandbox(value: Any, *, is_legacy: bool) -> MadeSandbox:
    """Return what a `create` or `connect` made.

    Raises:
        PlatformError: The answer names no sandbox.
    """
    fields = value if isinstance(value, dict) else {}
    sandbox_id = _text(fields, "sandboxID")
    if not sandbox_id:
        raise PlatformError("the platform answered without a sandboxID; is base_url the address of its API?")
    if is_legacy and (client_id := _text(fields, "clientID")) and not sandbox_id.endswith(f"-{client_id}"):
        sandbox_id = f"{sandbox_id}-{client_id}"  # the older dialect's addresses have both
    domain = _text(fields, "domain") or None
    if _LABEL.fullmatch(sandbox_id) is None or not (domain is None or is_domain(domain)):
        # They become an address to which tokens are sent.
        raise PlatformError(
            f"the platform named a sandbox {sandbox_id!r} of the domain {domain!r}, which has no address"
        )
    return MadeSandbox(
        sandbox_id=sandbox_id,
        template_id=_text(fields, "templateID"),
        domain=domain,
        envd_token=_text(fields, "envdAccessToken") or None,
        envd_version=_text(fields, "envdVersion"),
        traffic_token=_text(fields, "trafficAccessToken") or None,
    )


def seen_sandbox(value: Any, *, is_legacy: bool) -> SeenSandbox | None:
    """Return what an `info` or one item of a list says; None when the sandbox is not one of this SDK."""
    fields = value if isinstance(value, dict) else {}
    marks = platform_marks.read(fields.get("metadata"))
    if marks is None or not _text(fields, "sandboxID"):
        return None
    return SeenSandbox(
        made=made_sandbox(fields, is_legacy=is_legacy),
        marks=marks,
        alias=_text(fields, "alias"),
        state="paused" if _text(fields, "state").lower() in {"paused", "pausing"} else "running",
        started_at=moment(fields.get("startedAt")) or _EPOCH,
        ends_at=moment(fields.get("endAt")),
    )


def seen_sandboxes(value: Any, *, is_legacy: bool) -> list[SeenSandbox]:
    """Return the sandboxes of ours in one page of a list."""
    items = value.get("sandboxes") if isinstance(value, dict) else value
    found = (seen_sandbox(item, is_legacy=is_legacy) for item in (items if isinstance(items, list) else ()))
    return [each for each in found if each is not None]


def oldest_first(sandboxes: list[SeenSandbox]) -> list[SeenSandbox]:
    """Return the sandboxes in the order that every process agrees on."""
    return sorted(sandboxes, key=lambda each: (each.started_at, each.made.sandbox_id))


def moment(value: Any) -> datetime | None:
    """Return a date of the platform's, UTC where it names no zone; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def failure(
    status: int, headers: Mapping[str, str], value: Any, what: str, *, unix_now: float
) -> PPIOAgentRuntimeError:
    """Return the exception for an answer that is none of the ones its call expects.

    Args:
        status: HTTP status.
        headers: Found by lower-case names.
        value: The decoded body.
        what: What was asked, to stand behind "cannot".
        unix_now: The time, in unix seconds, for a `Retry-After` that is a date.
    """
    fields = value if isinstance(value, dict) else {}
    said = _said(value)
    reason = f"cannot {what}: the platform answered {status}" + (f" ({said})" if said else "")
    facts: dict[str, Any] = {"status_code": status, "request_id": _request_id(headers, fields)}
    if _is_about_quota(status, said):
        return QuotaExceededError(f"{reason}; close sandboxes, or ask for a larger quota", **facts)
    if status in REFUSED_KEY_STATUSES:
        return AuthenticationError(f"{reason}; check the key (PPIO_API_KEY or api_key=) and what it may do", **facts)
    retry_after = retry_after_of(headers, unix_now=unix_now)
    if status == 429:
        return RateLimitedError(reason, retry_after=retry_after, **facts)
    transient = status in TRANSIENT_STATUSES
    return PlatformError(reason, retry_after=retry_after, retryable=transient, **facts)


def is_refusal(error: PPIOAgentRuntimeError) -> bool:
    """Tell whether an error says that nothing was done: never sent, or turned away before anybody looked at it."""
    return error.retryable if isinstance(error, NetworkError) else isinstance(error, RateLimitedError)


def is_lost(error: PPIOAgentRuntimeError) -> bool:
    """Tell whether what was asked for may have been done, although the answer is an error or none."""
    if isinstance(error, NetworkError):
        return not error.retryable
    return isinstance(error, PlatformError) and (error.status_code is None or error.status_code >= 500)


def may_repeat(error: PPIOAgentRuntimeError, *, is_repeatable: bool) -> bool:
    """Tell whether a request that came to this error may be sent again."""
    if isinstance(error, TotalTimeoutError):
        return False
    return is_refusal(error) or (is_repeatable and is_lost(error))


def not_created(error: PPIOAgentRuntimeError) -> PPIOAgentRuntimeError:
    """Return the error of a sandbox that was not made; one that is about the key or the rate stays what it is."""
    if not isinstance(error, PlatformError):
        return error
    return SandboxCreationError(
        error.message,
        status_code=error.status_code,
        request_id=error.request_id,
        retry_after=error.retry_after,
        retryable=error.retryable,
    )


def _is_about_quota(status: int, said: str) -> bool:
    words = said.lower()
    return status in {400, 402, 403, 409, 429} and any(word in words for word in _QUOTA_WORDS)


def _said(value: Any) -> str:
    said = value
    if isinstance(value, dict):
        said = value.get("message") or value.get("error") or value.get("detail")
        if isinstance(said, dict):
            said = said.get("message")
    text = said.strip() if isinstance(said, str) else ""
    if text.startswith("<"):
        return ""  # the page of a gateway
    return text if len(text) <= _MAX_QUOTED_CHARS else text[:_MAX_QUOTED_CHARS] + "…"


def _request_id(headers: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    found = request_id_of(headers, fields) or headers.get("x-trace-id") or fields.get("requestId")
    return found if isinstance(found, str) and found else None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
