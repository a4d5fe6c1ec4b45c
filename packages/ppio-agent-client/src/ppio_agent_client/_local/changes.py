"""Changes to living sandboxes: the record first, then the processes, then the bell, all under the sandbox's lock.

The supervisor reaps the agent only under that lock, so that the id of the agent stays its own while it is held.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import bell
from .burial import bury, is_supervised
from .locks import Lock
from .names import LOCK_FILE
from .processes import kill_process, signal_group
from .records import read_record, write_record
from .views import is_living

if TYPE_CHECKING:
    from .records import Record

    Change = Callable[[Record], signal.Signals | None]
    """Edits a record and names the signal that the agent gets afterwards."""

MAX_PAUSE_SECONDS = 24 * 3600.0
"""A sandbox that is paused longer than this is ended: a paused life is kept, not endless."""
KILL_WAIT_SECONDS = 10.0
"""How long `end` waits for the supervisor to end the sandbox, and then for the end of the supervisor."""


def extending(timeout_seconds: float) -> Change:
    """Let it live for so long from now; a paused one from its waking."""

    def change(record: Record) -> None:
        if record["state"] == "paused":
            record["rest_seconds"] = timeout_seconds
        else:
            record["due_at"] = time.time() + timeout_seconds

    return change


def pausing(record: Record) -> signal.Signals | None:
    """Stop it and keep the rest of its life; a paused one stays as it is."""
    if record["state"] == "paused":
        return None
    now = time.time()
    record["state"] = "paused"
    record["rest_seconds"] = record["due_at"] - now
    record["due_at"] = now + MAX_PAUSE_SECONDS
    return signal.SIGSTOP


def resuming(record: Record) -> signal.Signals | None:
    """Let it go on with the rest of its life; a running one stays as it is."""
    if record["state"] == "running":
        return None
    record["state"] = "running"
    record["due_at"] = time.time() + record["rest_seconds"]
    return signal.SIGCONT


def apply(directory: str, change: Change) -> Record | None:
    """Change a living sandbox and return its new record; None when there is no living one."""
    try:
        with Lock(os.path.join(directory, LOCK_FILE)):
            record = read_record(directory)
            if record is None or not is_living(record) or not is_supervised(directory, record):
                return None
            number = change(record)
            write_record(directory, record)
            if number is not None and (record["agent"] is None or not signal_group(record["agent"], number)):
                return None  # The agent has just ended; its supervisor is about to notice.
            bell.ring(directory)
            return record
    except FileNotFoundError:
        return None


def end(directory: str) -> bool:
    """Kill whatever runs in the sandbox and wait until it is put away; return whether it was living until then."""
    try:
        with Lock(os.path.join(directory, LOCK_FILE)):
            record = read_record(directory)
            if record is None or record["agent"] is None:
                return False
            was_living = is_living(record) and is_supervised(directory, record)
            signal_group(record["agent"], signal.SIGKILL)  # First: a full disk must not keep it alive.
            record["state"] = "ending"
            record["due_at"] = time.time()
            write_record(directory, record)
    except FileNotFoundError:
        return False
    bell.ring(directory)
    _wait_for_the_end(directory, record)
    return was_living


def _wait_for_the_end(directory: str, record: Record) -> None:
    began = time.monotonic()
    pause = 0.001
    while os.path.exists(directory) and bell.is_heard(directory):
        waited = time.monotonic() - began
        if waited > KILL_WAIT_SECONDS and record["supervisor"] is not None:
            kill_process(record["supervisor"])  # It hangs, or was stopped. `bury` does its work.
        if waited > 2 * KILL_WAIT_SECONDS:
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    bury(directory)
