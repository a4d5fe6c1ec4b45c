"""The agent of `dev`: its own process group, restarted on the same port."""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .errors import CommandError
from .messages import tr
from .project import child_program

STREAM_SECONDS: Final = 2
"""Seconds for which a stream may continue after a save."""
_GRACE_SECONDS: Final = STREAM_SECONDS + 2
"""Seconds for which an agent may shut down before its group is killed."""
_PAUSE_SECONDS: Final = 0.05
_LOOK_SECONDS: Final = 20
"""Seconds to wait for a page: on a busy machine the first one is slow, because FastAPI is imported for it."""
_TAKEN_ERRORS: Final = {errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)}
_LISTENS: Final = "0A"
_HIGHEST: Final = 65535


class DevAgent:
    """Runs one agent at a time; the agent and its child processes are stopped together.

    Args:
        python: The interpreter.
        folder: Its working directory.
        host: Address to listen on.
        port: Port to listen on.
        on_ready: Called in another thread when `/ping` responds.
        on_event: Called in another thread with each event of the agent's process, see `subprocesses/serve`.
        on_end: Called in another thread when it exits by itself, with its exit code and whether it had been ready.
    """

    def __init__(
        self,
        python: str,
        folder: Path,
        host: str,
        port: int,
        *,
        on_ready: Callable[[], None],
        on_event: Callable[[dict[str, Any]], None],
        on_end: Callable[[int, bool], None],
    ) -> None:
        self.host = host
        self.port = port
        self._python = python
        self._folder = folder
        self._on_ready = on_ready
        self._on_event = on_event
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(
        self, entrypoint: str, variables: Mapping[str, str], *, script: str | None, reads_input: bool = True
    ) -> None:
        """Start it; `on_ready` or `on_end` is called with the outcome.

        Args:
            entrypoint: The entrypoint in the manifest.
            variables: The whole environment.
            script: The program that runs an entrypoint with its own server; None for an app of ours.
            reads_input: Whether it inherits standard input, for a debugger, instead of an empty one.
        """
        self._stopping.clear()
        ours, theirs = (-1, -1) if sys.platform == "win32" else os.pipe()[::-1]
        where = {"PPIO_AGENT_HOST": self.host, "PPIO_AGENT_PORT": str(self.port)}
        arguments = [script, entrypoint] if script else [entrypoint, "--host", self.host, "--port", str(self.port)]
        try:
            self._process = subprocess.Popen(
                [self._python, "-c", child_program("serve"), str(theirs), *arguments],
                cwd=self._folder,
                env={**variables, **where},
                stdin=None if reads_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # Its events; what the agent prints goes to standard error.
                **_apart(theirs),
            )
        finally:
            if theirs >= 0:
                os.close(theirs)
        self._threads = [
            threading.Thread(target=self._watch, args=[self._process, ours], daemon=True),
            threading.Thread(target=self._read, args=[self._process], daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop it and its process group, and return when they have ended."""
        process, self._process = self._process, None
        self._stopping.set()
        if process is None:
            return
        try:
            if process.poll() is None:
                _signal_group(process, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_SECONDS)
        finally:
            _signal_group(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            process.wait()
            for thread in self._threads:
                thread.join()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # The last line may be incomplete.
                    self._on_event(json.loads(line))

    def _watch(self, process: subprocess.Popen[bytes], lifeline: int) -> None:
        ready = False
        try:
            while not ready and process.poll() is None and not self._stopping.wait(_PAUSE_SECONDS):
                ready = bool(self.media_type_of("/ping"))
            if ready:
                self._on_ready()
            code = process.wait()
            if not self._stopping.is_set():
                self._on_end(code, ready)
        finally:
            if lifeline >= 0:
                os.close(lifeline)

    def media_type_of(self, path: str) -> str | None:
        """Return the media type of the agent's response to a browser's `GET`; None if that is an error."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        connection = http.client.HTTPConnection(host, self.port, timeout=_LOOK_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": "text/html"})
            answer = connection.getresponse()
            return answer.headers.get_content_type() if answer.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _apart(lifeline: int) -> dict[str, Any]:
    """Return the options that keep Ctrl-C from reaching the agent first and pass it its end of the lifeline."""
    if sys.platform == "win32":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True, "pass_fds": [lifeline]}


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if sys.platform == "win32":
        process.terminate()  # Kills immediately; Windows has no gentler way.
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there.

    Raises:
        CommandError: The address is not local to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno in _TAKEN_ERRORS:
            return False
        raise CommandError(
            tr(
                "cannot listen on {address}: {reason}",
                address=f"{host}:{port}",
                reason=getattr(error, "strerror", None) or error,
            )
        ) from error
    return True


def next_free(host: str, port: int) -> int:
    """Return the first free port after `port`."""
    for candidate in range(port + 1, min(port + 100, _HIGHEST + 1)):
        if is_free(host, candidate):
            return candidate
    raise CommandError(tr("no port from {first} to {last} is free on {host}.", first=port, last=port + 99, host=host))


def holder(port: int) -> str:
    """Return the program that listens on a port, such as `python (pid 4711)`, as far as this user may see it."""
    found = None
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        found = _holder_by_proc(port) if sys.platform == "linux" else _holder_by_lsof(port)
    return found or tr("another program")


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
