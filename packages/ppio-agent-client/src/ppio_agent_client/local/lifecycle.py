"""Changes to sandboxes, their end, and the cleanup after a process that was killed before it could do it.

The record is changed first, then the processes, then the supervisor is notified, all under the lock. The supervisor
reaps the agent only under that lock, so that no other process can get the agent's ID while the lock is held.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .directory import discard, remove, tail
from .processes import kill_group, kill_process, signal_group

if TYPE_CHECKING:
    from .directory import Record, SandboxDirectory
    from .paths import Paths

    Change = Callable[[Record], signal.Signals | None]
    """Changes a record, and returns the signal to send to the agent afterwards."""

logger: logging.Logger = logging.getLogger("ppio_agent_client")

MAX_PAUSE_SECONDS = 24 * 3600.0
"""A sandbox that is paused longer than this is terminated."""
TERMINATE_WAIT_SECONDS = 10.0
"""How long `terminate` waits for the supervisor to end the sandbox, and then for the supervisor itself to end."""
ENDED_SECONDS = 600.0
"""How long the record of an ended sandbox is kept."""


def is_living(record: Record) -> bool:
    """Return whether a sandbox can be used: running or paused, and not expired."""
    return record["state"] in ("running", "paused") and time.time() < record["due_at"]


def extend(timeout_seconds: float) -> Change:
    """Return a change that sets the time to live, from now; for a paused sandbox from when it is resumed."""

    def change(record: Record) -> None:
        if record["state"] == "paused":
            record["rest_seconds"] = timeout_seconds
        else:
            record["due_at"] = time.time() + timeout_seconds

    return change


def pause(record: Record) -> signal.Signals | None:
    """Stop its processes, and keep the rest of its time to live; does nothing to a paused one."""
    if record["state"] == "paused":
        return None
    now = time.time()
    record["state"] = "paused"
    record["rest_seconds"] = record["due_at"] - now
    record["due_at"] = now + MAX_PAUSE_SECONDS
    return signal.SIGSTOP


def resume(record: Record) -> signal.Signals | None:
    """Continue its processes for the rest of its time to live; does nothing to a running one."""
    if record["state"] == "running":
        return None
    record["state"] = "running"
    record["due_at"] = time.time() + record["rest_seconds"]
    return signal.SIGCONT


def apply(directory: SandboxDirectory, change: Change) -> Record | None:
    """Change a sandbox that has not ended, and return its new record; None if it has."""
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
    """Kill the sandbox's processes and wait until it is removed; return whether it was running before."""
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
            kill_process(record["supervisor"])  # It hangs, or was stopped. `clean_up` does the rest.
        if waited > 2 * TERMINATE_WAIT_SECONDS:
            break
        time.sleep(step)
        step = min(step * 1.5, 0.05)
    clean_up(directory)


def clean_up_dead(paths: Paths) -> None:
    """Remove every sandbox whose supervisor or creator was killed; running ones are left alone."""
    for sandbox_id in paths.sandbox_ids():
        directory = paths.sandbox(sandbox_id)
        record = directory.read()
        if record is None and directory.has_supervisor():
            continue  # Another version may have written the record; its supervisor still ends the sandbox.
        if record is None or record["state"] == "creating":
            _remove_unfinished(paths, directory)
        elif not directory.has_supervisor():
            clean_up(directory)


def clean_up(directory: SandboxDirectory) -> None:
    """Remove a sandbox whose supervisor was killed, and end the processes that are left."""
    try:
        with directory.lock():
            record = directory.read()
            if record is None or directory.is_supervised(record):
                return
            if record["agent"] and not kill_group(record["agent"]):
                logger.warning("some processes of the local sandbox %s would not end", record["sandbox_id"])
            last_words = tail(directory.supervisor_log).rpartition("\n")[2] or "it was killed"
            logger.warning("the local sandbox %s lost its supervisor: %s", record["sandbox_id"], last_words)
            trash = directory.retire(record, -signal.SIGKILL)
    except FileNotFoundError:
        return  # Another process did it.
    remove(trash)


def forget_ended(paths: Paths) -> None:
    """Remove records of sandboxes that ended long ago, and finish interrupted removals."""
    for name in os.listdir(paths.ended):
        path = os.path.join(paths.ended, name)
        try:
            if time.time() - os.stat(path).st_mtime > ENDED_SECONDS:
                os.unlink(path)
        except FileNotFoundError:
            continue
    for name in os.listdir(paths.trash):
        remove(os.path.join(paths.trash, name))


def _remove_unfinished(paths: Paths, directory: SandboxDirectory) -> None:
    """Remove a sandbox whose creator was killed; one that is still at work holds the lock."""
    try:
        with paths.lock():  # A creator holds this lock until its directory is locked and has a record.
            lock = directory.lock()
            if not lock.acquire(wait=False):
                return
            record = directory.read()
            # Its supervisor, if there is one already, finds no record and ends the agent.
            trash = discard(directory.path) if record is None or record["state"] == "creating" else None
            lock.release()
    except FileNotFoundError:
        return
    if trash:
        remove(trash)
