"""Locks that show other processes of this machine that a process is alive: each holds one on a file of its own."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]


class ProcessLock:
    """A lock that the system releases when its process ends in any way (flock(2)).

    Args:
        path: A file that nobody else uses.

    Raises:
        OSError: The file cannot be made, or this system has no such locks.
    """

    def __init__(self, path: Path) -> None:
        if fcntl is None:
            raise OSError("it needs file locks of a POSIX system")
        self._path = path
        self._process = os.getpid()
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        _held.add(self)

    def release(self) -> None:
        """Release it, and remove the file."""
        if os.getpid() == self._process:
            with suppress(OSError):
                self._path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Close the file. The lock stays with a process that was forked from this one, or from which this one was."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_held: weakref.WeakSet[ProcessLock] = weakref.WeakSet()


def _let_all_go() -> None:
    for lock in list(_held):
        lock.let_go()


if fcntl is not None:  # else a process that died would look alive for as long as a child lives that it has forked
    os.register_at_fork(after_in_child=_let_all_go)


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the lock on a file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
