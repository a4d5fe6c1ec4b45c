"""File locks that work between threads and processes, and that the kernel releases when their owner dies."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Lock:
    """An advisory lock on a file (`flock`), which is created if it is missing.

    Each object opens the file itself, so two of them exclude each other within one process too. The descriptor is
    closed on exec, so no child inherits the lock. A shared lock allows other shared locks.
    """

    def __init__(self, path: str, *, shared: bool = False) -> None:
        self._path = path
        self._shared = shared
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Acquire the lock; with `wait=False`, return False if it is held elsewhere.

        Raises:
            FileNotFoundError: The directory of the file was removed.
        """
        import fcntl  # POSIX only; the package itself must be importable everywhere.

        mode = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock; does nothing if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            import fcntl

            # Not by closing alone: a process that the caller forked meanwhile has the descriptor too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
