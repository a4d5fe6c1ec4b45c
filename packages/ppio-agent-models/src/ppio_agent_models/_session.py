"""Sessions and their sandboxes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from ._base import Contract
from ._headers import DEFAULT_SANDBOX_SECONDS


class SessionStatus(StrEnum):
    """The state of a session's sandbox and of the agent in it."""

    ACTIVE = "active"
    """The sandbox is running, and the agent responds."""
    PAUSED = "paused"
    """The sandbox is paused with its memory; `resume()` wakes it."""
    INACTIVE = "inactive"
    """The sandbox is running, but its agent doesn't respond."""
    CLOSED = "closed"
    """The sandbox is gone: closed or expired."""
    ERROR = "error"
    """The agent reports that it is unhealthy, or its process crashed."""


class SessionInfo(Contract):
    """A session as plain data.

    Attributes:
        expires_at: When the sandbox ends by itself; None while it is paused, or if that isn't known.
    """

    session_id: str
    sandbox_id: str | None = None
    template_id: str | None = None
    status: SessionStatus
    host_url: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SandboxConfig(Contract):
    """Settings of a new sandbox.

    Attributes:
        timeout_seconds: Time to live of the sandbox from its start, in seconds; `refresh()` restarts it.
        memory_limit: Such as `"512Mi"` or `"1Gi"`. On the platform, all sandboxes of a template have the size that it
            was built with, which this can't change: if that is less, creating the sandbox raises an error.
        cpu_limit: Such as `"1"` or `"1000m"`; see `memory_limit`.
        env_vars: Environment of the agent's process.
        metadata: Strings to find the sandbox by.
        auto_pause: Whether it is paused, not ended, at the end of its time to live. Platform only.
        auto_resume: Whether a request then wakes it; implies `auto_pause`. Platform only.
        private_traffic: Whether its addresses refuse requests without its traffic token, which its session sends.
            Platform only, except for its older domains.
        internet_access: Whether it can reach the internet. Platform only.
    """

    timeout_seconds: int = Field(default=DEFAULT_SANDBOX_SECONDS, gt=0)
    memory_limit: str | None = None
    cpu_limit: str | None = None
    env_vars: dict[str, str] = Field(default_factory=dict, repr=False)
    metadata: dict[str, str] = Field(default_factory=dict)
    auto_pause: bool = False
    auto_resume: bool = False
    private_traffic: bool = False
    internet_access: bool = True
