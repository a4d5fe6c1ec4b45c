"""The bell of a sandbox: a FIFO that its supervisor listens to for as long as it lives.

Ringing means "look at your record again" and carries nothing else, so rings may merge and none needs an answer. That
somebody listens is also the proof that the supervisor lives: the kernel hangs up for it however it ends, and a process
that happens to get its id later does not listen.
"""

from __future__ import annotations

import os

from .names import BELL_FILE


def hang_up(directory: str) -> None:
    """Put a bell into the sandbox's directory."""
    os.mkfifo(os.path.join(directory, BELL_FILE), 0o600)


def listen(directory: str) -> int:
    """Return a descriptor, not blocking, that becomes readable when the bell is rung."""
    # Opened for writing as well: a FIFO whose last writer left would be readable for ever.
    return os.open(os.path.join(directory, BELL_FILE), os.O_RDWR | os.O_NONBLOCK)


def ring(directory: str) -> bool:
    """Wake the supervisor; False when there is none."""
    return _call(directory, b".")


def is_heard(directory: str) -> bool:
    """Return whether the sandbox's supervisor lives, without waking it."""
    return _call(directory, b"")


def _call(directory: str, message: bytes) -> bool:
    try:
        descriptor = os.open(os.path.join(directory, BELL_FILE), os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        # ENXIO when nobody listens, ENOENT when the directory is gone.
        return False
    try:
        if message:
            os.write(descriptor, message)
    except BlockingIOError:
        return True  # Full of rings that are not heard yet: it will be.
    except BrokenPipeError:
        return False
    finally:
        os.close(descriptor)
    return True
