"""A sandbox as plain data: what providers take and give, whatever kind of place they stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a sandbox is made from.

    Attributes:
        session_id: The session it will belong to, 1 to 256 characters of any text.
        template_id: The provider's name for what runs in it.
        timeout_seconds: Its life from now, in seconds.
        env_vars: Environment of the agent's process, on top of the template's own.
        metadata: Strings to find it by.
        memory_limit: Such as `"512Mi"`; None for the provider's default.
        cpu_limit: Such as `"1"` or `"1000m"`; None for the provider's default.
        auto_pause: Pause it at the end of its life instead of ending it, where the provider can.
        auto_resume: Let a request wake it then, where the provider can.
        private_traffic: Close its addresses to all who have not its traffic token, where it has one.
        internet_access: Whether it reaches the internet, where the provider can forbid that.
        is_new: The session id was made up for it: nobody can have a sandbox of it yet.
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
    """A sandbox as its provider saw it at one moment.

    Attributes:
        sandbox_id: The provider's name for it.
        session_id: The session it belongs to.
        template_id: What it was made from.
        url: Where its agent listens, without a trailing slash.
        state: `running` (the agent may still be starting), `paused`, or `ended`.
        created_at: When it was made, UTC.
        expires_at: When it ends by itself, UTC; None while it is paused.
        life_seconds: How long it was made for; None where nobody knows.
        wakes: Whether a request to its agent wakes it when it is paused.
        start_timeout_seconds: How long its agent may take until `/ping` answers.
        headers: Headers that every request to its agent needs, such as a traffic token.
        metadata: The strings it was made with.
        exit_code: How the agent's process ended: its exit code, or minus the signal; None while it runs.
        output: The last lines that the agent printed, where its provider knows them.
        created: False when `create` joined a sandbox that lived already.
        is_partial: `url` and `headers` may lack something that only `get` of its provider tells, as in long lists.
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
    """A part of what the agent of a session has written.

    Attributes:
        text: What it wrote since the last page; empty when there is nothing new.
        cursor: Where the next page begins.
        is_over: Whether the agent has ended, so that nothing follows.
        exit_code: How it ended, as in `Sandbox`.
    """

    text: str = field(repr=False)
    cursor: str
    is_over: bool = False
    exit_code: int | None = None
