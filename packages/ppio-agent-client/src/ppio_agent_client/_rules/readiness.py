"""When an agent that was just started is ready, and what to say when it never will be."""

from __future__ import annotations

from collections.abc import Iterator

import ppio_agent_models as models
from ppio_agent_models import SandboxCreationError, SandboxStartTimeoutError

from .._sandbox import Sandbox

FIRST_PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
PAUSE_GROWTH = 1.4
PING_SECONDS = 5.0
"""Longest time of one ping while waiting; a runtime gives its ping handler 2 seconds."""
LAST_PING_SECONDS = 1.0
"""What a ping gets however little of the start's time is left, so that its answer can be told."""
_QUOTED_LINES = 5


def pauses() -> Iterator[float]:
    """Yield the pauses between two pings, in seconds, growing, without end."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS)


def is_ready(answer: models.PingResponse | Exception) -> bool:
    """Tell whether a ping's outcome says that the agent takes work; a busy agent does."""
    return isinstance(answer, models.PingResponse) and answer.status is not models.PingStatus.UNHEALTHY


def ended_early(sandbox: Sandbox | None, template_id: str) -> SandboxCreationError:
    """Return the error of an agent that ended while it started, with its last words."""
    output = "" if sandbox is None else sandbox.output
    how = how_it_ended(None if sandbox is None else sandbox.exit_code)
    return SandboxCreationError(
        f"the agent of template {template_id!r} ended while it started ({how}){last_lines(output)}", output=output
    )


def never_ready(
    sandbox: Sandbox, answer: models.PingResponse | Exception, sandbox_now: Sandbox | None
) -> SandboxStartTimeoutError:
    """Return the error of an agent that did not become healthy in time, with what its last ping said."""
    output = sandbox_now.output if sandbox_now is not None else ""
    if isinstance(answer, models.PingResponse):
        said = f"its last ping said {answer.status.value}" + (f": {answer.message}" if answer.message else "")
    else:
        said = f"its last ping failed: {answer}"
    return SandboxStartTimeoutError(
        f"the agent of template {sandbox.template_id!r} was not healthy within {sandbox.start_timeout_seconds:g} s; "
        f"{said}{last_lines(output)}",
        output=output,
    )


def how_it_ended(exit_code: int | None) -> str:
    """Return the end of a process in words."""
    if exit_code is None:
        return "exit code unknown"
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"


def last_lines(output: str) -> str:
    """Return the tail of what an agent printed, to be put behind a sentence."""
    lines = output.strip().splitlines()[-_QUOTED_LINES:]
    return "; its last output:\n" + "\n".join(lines) if lines else ""
