"""Cleans up after those who cannot: supervisors and creators that were killed, records that were kept long enough."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from .directory import discard, remove, tail
from .processes import kill_group

if TYPE_CHECKING:
    from .directory import SandboxDirectory
    from .paths import Paths

logger = logging.getLogger("ppio_agent_client")

ENDED_SECONDS = 600.0
"""How long the record of an ended sandbox is kept."""


def clean_up_dead(paths: Paths) -> None:
    """Put away every sandbox whose supervisor or creator was killed. Living ones are not touched."""
    for sandbox_id in paths.sandbox_ids():
        directory = paths.sandbox(sandbox_id)
        record = directory.read()
        if record is None and directory.has_supervisor():
            continue  # Whoever wrote that record may understand it; if nobody does, its supervisor ends it.
        if record is None or record["state"] == "creating":
            _remove_unfinished(paths, directory)
        elif not directory.has_supervisor():
            clean_up(directory)


def clean_up(directory: SandboxDirectory) -> None:
    """Put a sandbox away whose supervisor was killed, with whatever the kernel left of its processes."""
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
        return  # Somebody else did it.
    remove(trash)


def forget_ended(paths: Paths) -> None:
    """Remove records of sandboxes that ended long ago, and what others did not finish removing."""
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
        with paths.lock():  # A creator makes its directory, locks it and writes the record under this lock.
            lock = directory.lock()
            if not lock.acquire(wait=False):
                return
            record = directory.read()
            # Its supervisor, if it came that far, finds no record and ends what it started.
            trash = discard(directory.path) if record is None or record["state"] == "creating" else None
            lock.release()
    except FileNotFoundError:
        return
    if trash:
        remove(trash)
