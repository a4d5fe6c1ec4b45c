"""Changes to living sandboxes: the record first, then the processes, then the supervisor, all under the lock.

The supervisor reaps the agent only under that lock, so that the id of the agent stays its own while it is held.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .cleanup import clean_up
from .conversion import is_living
from .processes import kill_process, signal_group

if TYPE_CHECKING:
    from .directory import Record, SandboxDirectory

    Change = Callable[[Record], signal.Signals | None]
    """Edits a record and names the signal that the agent gets afterwards."""

MAX_PAUSE_SECONDS = 24 * 3600.0
"""A sandbox that is paused longer than this is terminated: a paused life is kept, not endless."""
TERMINATE_WAIT_SECONDS = 10.0
"""How long `terminate` waits for the supervisor to end the sandbox, and then for the end of the supervisor."""


def extend(timeout_seconds: float) -> Change:
    """Let it live for so long from now; a paused one from when it is resumed."""

    def change(record: Record) -> None:
        if record["state"] == "paused":
            record["rest_seconds"] = timeout_seconds
        else:
            record["due_at"] = time.time() + timeout_seconds

    return change


def pause(record: Record) -> signal.Signals | None:
    """Stop it and keep the rest of its life; a paused one stays as it is."""
    if record["state"] == "paused":
        return None
    now = time.time()
    record["state"] = "paused"
    record["rest_seconds"] = record["due_at"] - now
    record["due_at"] = now + MAX_PAUSE_SECONDS
    return signal.SIGSTOP


def resume(record: Record) -> signal.Signals | None:
    """Let it go on with the rest of its life; a running one stays as it is."""
    if record["state"] == "running":
        return None
    record["state"] = "running"
    record["due_at"] = time.time() + record["rest_seconds"]
    return signal.SIGCONT


def apply(directory: SandboxDirectory, change: Change) -> Record | None:
    """Change a living sandbox and return its new record; None when there is no living one."""
    try:
        with directory.lock():
            record = directory.read()
            if record is None or not is_living(record) or not directory.is_supervised(record):
                return None
            number = change(record)
            directory.write(record)
            if number is not None and (record["agent"] is None or not signal_group(record["agent"], number)):
                return None  # The agent has just ended; its supervisor is about to notice.
            directory.wake_supervisor()
            return record
    except FileNotFoundError:
        return None


def terminate(directory: SandboxDirectory) -> bool:
    """Kill whatever runs in the sandbox and wait until it is put away; return whether it was living until then."""
    try:
        with directory.lock():
            record = directory.read()
            if record is None or record["agent"] is None:
                return False
            was_living = is_living(record) and directory.is_supervised(record)
            signal_group(record["agent"], signal.SIGKILL)  # First: a full disk must not keep it alive.
            record["state"] = "terminating"
            record["due_at"] = time.time()
            directory.write(record)
    except FileNotFoundError:
        return False
    directory.wake_supervisor()
    _wait_for_the_end(directory, record)
    return was_living


def _wait_for_the_end(directory: SandboxDirectory, record: Record) -> None:
    began = time.monotonic()
    step = 0.001
    while os.path.exists(directory.path) and directory.has_supervisor():
        waited = time.monotonic() - began
        if waited > TERMINATE_WAIT_SECONDS and record["supervisor"] is not None:
            kill_process(record["supervisor"])  # It hangs, or was stopped. `clean_up` does its work.
        if waited > 2 * TERMINATE_WAIT_SECONDS:
            break
        time.sleep(step)
        step = min(step * 1.5, 0.05)
    clean_up(directory)
