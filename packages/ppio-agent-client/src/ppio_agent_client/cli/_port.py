"""Ports of this machine: which are free, and who has one that is not."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from ._failures import CommandError

_LISTENS: Final = "0A"
_HIGHEST: Final = 65535


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there.

    Raises:
        CommandError: The address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in _taken_errors():
            return False
        raise CommandError(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}") from error
    return True


def next_free(host: str, port: int) -> int:
    """Return the first free port after `port`."""
    for candidate in range(port + 1, min(port + 100, _HIGHEST + 1)):
        if is_free(host, candidate):
            return candidate
    raise CommandError(f"no port from {port} to {port + 99} is free on {host}.")


def holder(port: int) -> str:
    """Return who listens on a port, such as `python (pid 4711)`, as far as this user may know."""
    found = None
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        found = _holder_by_proc(port) if sys.platform == "linux" else _holder_by_lsof(port)
    return found or "another program"


def _taken_errors() -> set[int]:
    import errno

    return {errno.EADDRINUSE, errno.EACCES} | {getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)}


def _holder_by_proc(port: int) -> str | None:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            rows = [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
            inodes |= {row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port}
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if links and process.name.isdecimal() and _has_open(process, links):
            name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            return f"{name} (pid {process.name})"
    return None


def _has_open(process: Path, links: set[str]) -> bool:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in links:
                    return True
    return False


def _holder_by_lsof(port: int) -> str | None:
    lsof = shutil.which("lsof")
    if lsof is None:
        return None
    told = subprocess.run(
        [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], capture_output=True, timeout=5, check=False
    )
    facts = {line[0]: line[1:] for line in told.stdout.decode("utf-8", "replace").splitlines() if line}
    return f"{facts['c']} (pid {facts['p']})" if {"c", "p"} <= facts.keys() else None
