"""Records and logs as callers see them.

A log is read a page at a time, by somebody who comes back with a cursor: `<sandbox>:<bytes read>`.
"""

from __future__ import annotations

import codecs
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .._sandbox import LogPage, Sandbox

if TYPE_CHECKING:
    from .directory import Record, SandboxDirectory

_NO_RUNTIME = "No module named ppio_agent_runtime"
PAGE_BYTES = 256 * 1024


def is_living(record: Record) -> bool:
    """Return whether a sandbox can be used: running or paused, and its time is not over."""
    return record["state"] in ("running", "paused") and time.time() < record["due_at"]


def to_sandbox(record: Record, *, created: bool = True) -> Sandbox:
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


def living_log_page(directory: SandboxDirectory, record: Record, cursor: str | None) -> LogPage:
    """Return what an agent has written since the cursor; at most one page."""
    start = _position(record, cursor)
    try:
        with open(directory.log, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if start > length:  # It was cut meanwhile: go on at its end, as `tail -f` does.
                start = length
            file.seek(start)
            data = file.read(PAGE_BYTES)
    except FileNotFoundError:
        data = b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    unfinished = len(decoder.getstate()[0])  # A character of which a part is still to come.
    return LogPage(text=text, cursor=f"{record['sandbox_id']}:{start + len(data) - unfinished}")


def ended_log_page(record: Record, cursor: str | None) -> LogPage:
    """Return the end of what is kept of an agent that has ended, as far as the cursor has not seen it."""
    written = record.get("log_bytes", 0)
    output = record["output"].encode() + b"\n" if record["output"] else b""
    unseen = max(0, written - _position(record, cursor))
    text = output[-unseen:].decode("utf-8", "ignore") if unseen else ""
    return LogPage(text=text, cursor=f"{record['sandbox_id']}:{written}", is_over=True, exit_code=record["exit_code"])


def _position(record: Record, cursor: str | None) -> int:
    sandbox_id, _, position = (cursor or "").rpartition(":")
    return int(position) if sandbox_id == record["sandbox_id"] and position.isdecimal() else 0
