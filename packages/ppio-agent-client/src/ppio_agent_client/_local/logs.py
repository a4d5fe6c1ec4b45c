"""The log of an agent: a file that the agent writes itself, kept bounded from outside."""

from __future__ import annotations

import os

MAX_LOG_BYTES = 10 * 1024 * 1024
"""The log is cut to its last part when a look at it finds it longer than this."""
_KEPT_BYTES = 1024 * 1024
_TAIL_LINES = 20
_TAIL_BYTES = 8 * 1024


def open_log(path: str) -> int:
    """Return a descriptor that always writes at the end of the file, so that the file can be cut meanwhile."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def size(path: str) -> int:
    """Return how many bytes a log has; 0 when there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def tail(path: str) -> str:
    """Return the last lines of a log: at most 20, at most 8 KiB; empty when there is no log."""
    try:
        text = _last_bytes(path, _TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    # A character that was cut in two at the front became a replacement sign of up to three bytes.
    lines = "\n".join(text.splitlines()[-_TAIL_LINES:])
    return lines.encode()[-_TAIL_BYTES:].decode("utf-8", "ignore")


def cut(path: str) -> None:
    """Drop the beginning of a log that grew too long. What the agent writes at this very moment may be lost.

    The kept part is written over the beginning before the rest goes, so that a reader never finds the file empty.
    """
    try:
        if os.path.getsize(path) <= MAX_LOG_BYTES:
            return
        kept = _last_bytes(path, _KEPT_BYTES).partition(b"\n")[2]
        with open(path, "r+b") as file:
            file.write(b"[earlier output was dropped]\n" + kept)
            file.truncate()
    except FileNotFoundError:
        return


def _last_bytes(path: str, count: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - count))
        return file.read(count)
