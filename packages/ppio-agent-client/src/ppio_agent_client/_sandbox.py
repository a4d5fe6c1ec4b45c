"""A sandbox as plain data: what all providers take and return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a provider needs to create a sandbox.

    Attributes:
        session_id: The session it will belong to, 1 to 256 characters of any text.
        template_id: The provider's ID of the template.
        timeout_seconds: Its time to live from now, in seconds.
        env_vars: Environment of the agent's process, in addition to the template's own.
        metadata: Strings to find it by.
        memory_limit: Such as `"512Mi"`; None for the provider's default.
        cpu_limit: Such as `"1"` or `"1000m"`; None for the provider's default.
        auto_pause: Pause it at the end of its time to live instead of ending it, if the provider can.
        auto_resume: Let a request wake it then, if the provider can.
        private_traffic: Refuse requests to its addresses without its traffic token, if it has one.
        internet_access: Whether it can reach the internet, if the provider can forbid that.
        is_new: The session ID was just generated, so it can't have a sandbox yet.
    """

    session_id: str
    template_id: str
    timeout_seconds: float
    env_vars: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, str] = field(default_factory=dict)
    memory_limit: str | None = None
    cpu_limit: str | None = None
    auto_pause: bool = False
    auto_resume: bool = False
    private_traffic: bool = False
    internet_access: bool = True
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The state of a sandbox at one moment, from its provider.

    Attributes:
        sandbox_id: The provider's ID of it.
        session_id: The session it belongs to.
        template_id: The template it was created from.
        url: The URL of its agent, without a trailing slash.
        state: `running` (the agent may still be starting), `paused`, or `ended`.
        created_at: When it was created, UTC.
        expires_at: When it ends by itself, UTC; None while it is paused.
        life_seconds: The time to live that it was created with, in seconds; None if not known.
        wakes: Whether a request to its agent wakes it when it is paused.
        start_timeout_seconds: How long its agent may take until `/ping` responds.
        headers: Headers that every request to its agent needs, such as a traffic token.
        metadata: The strings it was created with.
        exit_code: How the agent's process ended: its exit code, or minus the signal; None while it runs.
        output: The last lines that the agent printed, if its provider has them.
        created: False if `create` joined a sandbox that was already running.
        is_partial: `url` and `headers` may be incomplete, as in long lists; the provider's `get` returns all of them.
    """

    sandbox_id: str
    session_id: str
    template_id: str
    url: str
    state: Literal["running", "paused", "ended"]
    created_at: datetime
    expires_at: datetime | None
    life_seconds: float | None = None
    wakes: bool = False
    start_timeout_seconds: float = 60.0
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    output: str = field(default="", repr=False, compare=False)
    created: bool = True
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """One page of the log of a session's agent.

    Attributes:
        text: What the agent wrote since the last page; empty if there is nothing new.
        cursor: Where the next page begins.
        is_over: Whether the agent has ended, so that nothing follows.
        exit_code: How it ended, as in `Sandbox`.
    """

    text: str = field(repr=False)
    cursor: str
    is_over: bool = False
    exit_code: int | None = None
