"""Derives the state of a session from its sandbox and ping, and makes the errors of its lifecycle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import ppio_agent_models as models
from ppio_agent_models import (
    DEFAULT_SANDBOX_SECONDS,
    ConfigurationError,
    SandboxCreationError,
    SandboxGoneError,
    SandboxPausedError,
    SandboxStartTimeoutError,
)

from .._sandbox import Sandbox, SandboxSpec

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
PAUSE_GROWTH = 1.4
PING_SECONDS = 5.0
"""Longest time of one ping while waiting; a runtime gives its ping handler 2 seconds."""
LAST_PING_SECONDS = 1.0
"""Minimum time for a ping, even if less is left of the start's time, so that an error can include its response."""
_QUOTED_LINES = 5
# SIGINT, SIGKILL and SIGTERM are how sandboxes are closed; any other end is the agent's own.
_ORDINARY_ENDS = frozenset({None, 0, -2, -9, -15})


def sandbox_spec(
    session_id: str,
    template_id: str,
    config: models.SandboxConfig | None,
    *,
    timeout_seconds: float | None,
    metadata: Mapping[str, str] | None,
    is_new: bool,
) -> SandboxSpec:
    """Return the spec of a sandbox from `config`, with the time to live and further metadata if given."""
    wanted = config or models.SandboxConfig()
    if "://" in template_id:
        raise ConfigurationError(f"{template_id!r} is an address and no template: call an agent that runs by attach()")
    return SandboxSpec(
        session_id=session_id,
        template_id=template_id,
        timeout_seconds=wanted.timeout_seconds if timeout_seconds is None else timeout_seconds,
        env_vars=dict(wanted.env_vars),
        metadata={**wanted.metadata, **(metadata or {})},
        memory_limit=wanted.memory_limit,
        cpu_limit=wanted.cpu_limit,
        auto_pause=wanted.auto_pause,
        auto_resume=wanted.auto_resume,
        private_traffic=wanted.private_traffic,
        internet_access=wanted.internet_access,
        is_new=is_new,
    )


def pauses() -> Iterator[float]:
    """Yield growing pauses between two pings, in seconds, without end."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS)


def is_ready(answer: models.PingResponse | Exception) -> bool:
    """Return whether the agent accepts work, from the outcome of a ping; a busy agent does."""
    return isinstance(answer, models.PingResponse) and answer.status is not models.PingStatus.UNHEALTHY


def ended_early(sandbox: Sandbox | None, template_id: str) -> SandboxCreationError:
    """Return the error of an agent that ended while it started, with its last output."""
    output = "" if sandbox is None else sandbox.output
    how = how_it_ended(None if sandbox is None else sandbox.exit_code)
    return SandboxCreationError(
        f"the agent of template {template_id!r} ended while it started ({how}){last_lines(output)}", output=output
    )


def never_ready(
    sandbox: Sandbox, answer: models.PingResponse | Exception, sandbox_now: Sandbox | None
) -> SandboxStartTimeoutError:
    """Return the error of an agent that did not become healthy in time, with the outcome of its last ping."""
    output = sandbox_now.output if sandbox_now is not None else ""
    if isinstance(answer, models.PingResponse):
        said = f"its last ping returned {answer.status.value}" + (f": {answer.message}" if answer.message else "")
    else:
        said = f"its last ping failed: {answer}"
    return SandboxStartTimeoutError(
        f"the agent of template {sandbox.template_id!r} was not healthy within {sandbox.start_timeout_seconds:g} s; "
        f"{said}{last_lines(output)}",
        output=output,
    )


def how_it_ended(exit_code: int | None) -> str:
    """Return a description of how a process ended."""
    if exit_code is None:
        return "exit code unknown"
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def last_lines(output: str) -> str:
    """Return the last lines of an agent's output, to append to a message."""
    lines = output.strip().splitlines()[-_QUOTED_LINES:]
    return "; its last output:\n" + "\n".join(lines) if lines else ""


def gone_error(session_id: str, sandbox: Sandbox | None) -> SandboxGoneError:
    """Return the error of a session whose sandbox has ended."""
    output = "" if sandbox is None else sandbox.output
    if sandbox is None or sandbox.exit_code in _ORDINARY_ENDS:
        return SandboxGoneError(
            f"the sandbox of session {session_id!r} was closed or expired; create a new session", output=output
        )
    return SandboxGoneError(
        f"the agent of session {session_id!r} ended by itself ({how_it_ended(sandbox.exit_code)}); "
        f"create a new session{last_lines(output)}",
        output=output,
    )


def paused_error(session_id: str) -> SandboxPausedError:
    """Return the error of a session whose sandbox is paused."""
    return SandboxPausedError(f"the sandbox of session {session_id!r} is paused; call resume() on the session first")


def other_template_error(session_id: str, bound: str | None, wanted: str) -> SandboxCreationError:
    """Return the error of a session ID that is used with another template."""
    return SandboxCreationError(
        f"session {session_id!r} runs template {bound!r}, not {wanted!r}; close it first or choose another session id"
    )


def status_of(sandbox: Sandbox | None, answer: models.PingResponse | None) -> models.SessionStatus:
    """Return the state of a session.

    `sandbox` is None if its provider no longer knows it; `answer` is None if the ping failed, or was not sent.
    """
    if sandbox is None:
        return models.SessionStatus.CLOSED
    if sandbox.state == "ended":
        return models.SessionStatus.CLOSED if sandbox.exit_code in _ORDINARY_ENDS else models.SessionStatus.ERROR
    if sandbox.state == "paused":
        return models.SessionStatus.PAUSED
    return status_of_ping(answer)


def status_of_ping(answer: models.PingResponse | None) -> models.SessionStatus:
    """Return the state of a running agent."""
    if answer is None:
        return models.SessionStatus.INACTIVE
    return models.SessionStatus.ERROR if answer.status is models.PingStatus.UNHEALTHY else models.SessionStatus.ACTIVE


def life_of(sandbox: Sandbox) -> float:
    """Return the time to live of a sandbox, in seconds, for a client that did not create it.

    If the provider doesn't know it, that is the time from creation to expiry, which is longer after an extension, so a
    refresh never shortens it.
    """
    if sandbox.life_seconds is not None:
        return sandbox.life_seconds
    if sandbox.expires_at is None:
        return float(DEFAULT_SANDBOX_SECONDS)
    return max(1.0, (sandbox.expires_at - sandbox.created_at).total_seconds())


def until_extended(life_seconds: float, since: float | None) -> float:
    """Return how many seconds to wait before the next extension, when the last one was `since` seconds ago.

    None means unknown. If more than half of the time to live is over, an extension has failed, so it is retried sooner.
    """
    if since is None:
        return 0.0
    half = life_seconds / 2
    return half - since if since < half else min(half, max(1.0, (life_seconds - since) / 4))
