"""Cleans up after those who cannot: supervisors and creators that were killed, records that served their time."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from . import bell
from .ending import discard, remove, retire
from .home import Home
from .locks import Lock
from .logs import tail
from .names import LOCK_FILE, SUPERVISOR_LOG_FILE
from .processes import kill_group
from .records import read_record

if TYPE_CHECKING:
    from .records import Record

logger = logging.getLogger("ppio_agent_client")

ENDED_SECONDS = 600.0
"""How long the record of an ended sandbox is kept."""


def is_supervised(directory: str, record: Record) -> bool:
    """Return whether somebody looks after the sandbox: its supervisor, or while it is being made its creator."""
    return record["state"] == "making" or bell.is_heard(directory)


def bury_the_dead(home: Home) -> None:
    """Put away every sandbox whose supervisor or creator was killed. Living ones are not touched."""
    for sandbox_id in home.sandbox_ids():
        directory = home.sandbox(sandbox_id)
        record = read_record(directory)
        if record is None or record["state"] == "making":
            _remove_unfinished(home, directory)
        elif not bell.is_heard(directory):
            bury(directory)


def bury(directory: str) -> None:
    """Put a sandbox away whose supervisor was killed, with whatever the kernel left of its processes."""
    try:
        with Lock(os.path.join(directory, LOCK_FILE)):
            record = read_record(directory)
            if record is None or is_supervised(directory, record):
                return
            if record["agent"] and not kill_group(record["agent"]):
                logger.warning("some processes of the local sandbox %s would not end", record["sandbox_id"])
            last_words = tail(os.path.join(directory, SUPERVISOR_LOG_FILE)).rpartition("\n")[2] or "it was killed"
            logger.warning("the local sandbox %s lost its supervisor: %s", record["sandbox_id"], last_words)
            trash = retire(directory, record, -signal.SIGKILL)
    except FileNotFoundError:
        return  # Somebody else did it.
    remove(trash)


def forget_the_past(home: Home) -> None:
    """Remove records of sandboxes that ended long ago, and what others did not finish removing."""
    for name in os.listdir(home.ended):
        path = os.path.join(home.ended, name)
        try:
            if time.time() - os.stat(path).st_mtime > ENDED_SECONDS:
                os.unlink(path)
        except FileNotFoundError:
            continue
    for name in os.listdir(home.trash):
        remove(os.path.join(home.trash, name))


def _remove_unfinished(home: Home, directory: str) -> None:
    """Remove a sandbox whose creator was killed; one that is still at work holds the lock."""
    try:
        with home.lock():  # A creator makes its directory, locks it and writes the record under this lock.
            lock = Lock(os.path.join(directory, LOCK_FILE))
            if not lock.acquire(wait=False):
                return
            record = read_record(directory)
            # Its supervisor, if it came that far, finds no record and ends what it started.
            trash = discard(directory) if record is None or record["state"] == "making" else None
            lock.release()
    except FileNotFoundError:
        return
    if trash:
        remove(trash)
