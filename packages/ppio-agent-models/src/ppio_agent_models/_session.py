"""Sessions and the sandboxes they live in."""

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
    """The sandbox runs and the agent answers."""
    PAUSED = "paused"
    """The sandbox sleeps with its memory; `resume()` wakes it."""
    INACTIVE = "inactive"
    """The sandbox runs, the agent in it does not answer."""
    CLOSED = "closed"
    """The sandbox is gone: closed or expired."""
    ERROR = "error"
    """The agent says that it is unhealthy, or its process crashed."""


class SessionInfo(Contract):
    """A session as plain data.

    Attributes:
        expires_at: When the sandbox ends by itself; None while it is paused or when nobody knows.
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
    """How a sandbox is made.

    Attributes:
        timeout_seconds: Life of the sandbox from its start, in seconds; `refresh()` starts it anew.
        memory_limit: Such as `"512Mi"` or `"1Gi"`. On the platform a template's sandboxes are all of one size, given
            when it is built: one that has less is an error, and nothing changes it.
        cpu_limit: Such as `"1"` or `"1000m"`; as `memory_limit`.
        env_vars: Environment of the agent's process.
        metadata: Strings to find the sandbox by.
        auto_pause: Whether it is paused at the end of its life, and not ended. On the platform.
        auto_resume: Whether a request wakes it then; it brings `auto_pause` with it. On the platform.
        private_traffic: Whether its addresses are closed to all who have not its traffic token, which its session
            sends. On the platform, not in its older domains.
        internet_access: Whether it reaches the internet. On the platform.
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
