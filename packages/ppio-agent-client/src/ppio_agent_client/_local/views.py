"""Records as callers see them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .._sandbox import Sandbox

if TYPE_CHECKING:
    from .records import Record

_NO_RUNTIME = "No module named ppio_agent_runtime"


def is_living(record: Record) -> bool:
    """Return whether a sandbox can be used: running or paused, and its time is not over."""
    return record["state"] in ("running", "paused") and time.time() < record["due_at"]


def as_sandbox(record: Record, *, created: bool = True) -> Sandbox:
    """Return the sandbox that a record tells of; one whose time is over has ended, although it may still drain."""
    living = is_living(record)
    paused = record["state"] == "paused"
    return Sandbox(
        sandbox_id=record["sandbox_id"],
        session_id=record["session_id"],
        template_id=record["template_id"],
        url=f"http://127.0.0.1:{record['port']}",
        state=("paused" if paused else "running") if living else "ended",
        created_at=datetime.fromtimestamp(record["created_at"], UTC),
        expires_at=None if paused and living else datetime.fromtimestamp(record["due_at"], UTC),
        start_timeout_seconds=record["start_timeout_seconds"],
        headers={"Authorization": f"Bearer {record.get('token', '')}"},
        metadata=record["metadata"],
        exit_code=record["exit_code"],
        output=_with_hint(record),
        created=created,
    )


def _with_hint(record: Record) -> str:
    output = record["output"]
    if _NO_RUNTIME not in output:
        return output
    python = record["python"]
    return (
        f"{output}\nppio-agent-runtime is not installed for {python!r}: run `{python} -m pip install "
        "ppio-agent-runtime`, or set PPIO_AGENT_PYTHON to an interpreter that has it."
    )
