"""The servers under test, each a process of its own on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from . import proc

APPS = Path(__file__).parent / "apps"
_PING = "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class App:
    """A program in `apps`, how to start it, and how it wants to be asked.

    Attributes:
        path: Where it takes invocations.
        ping: Where it tells that it is up.
        stream_path: Where it takes those that are answered with events, if that is elsewhere.
        wrap: Makes the body of an invocation of a payload.
        wrap_stream: Makes the body of one that is answered with events.
        burst_seconds: How long a burst of requests takes at least: enough for some answers.
    """

    name: str
    program: str
    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)
    path: str = "/invocations"
    ping: str = "/ping"
    stream_path: str = ""
    wrap: Callable[[bytes], bytes] = bytes
    wrap_stream: Callable[[bytes], bytes] = bytes
    burst_seconds: int = 1

    def with_variables(self, name: str, **variables: str) -> App:
        """Return the same program under another name, with more variables."""
        return replace(self, name=name, variables=self.variables | variables)


RAW = App("raw", "raw.py")
OURS = App("ours", "ours.py")


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """Return this environment without settings of ours; with compiled modules kept, as of installed packages."""
    foreign = ("PPIO_", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return clean | {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir(), "ppio-agent-bench-pycache"))}


class Server:
    """One running app; leaving the block ends it.

    Attributes:
        ready_seconds: From the start of the process to the first 200 of `/ping`, or what it has instead.
    """

    def __init__(self, app: App, mode: str = "echo") -> None:
        self.app = app
        self.port = free_port()
        variables = environment() | {"PORT": str(self.port), "MODE": mode} | app.variables
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        self._folder = tempfile.TemporaryDirectory()  # some peers write files where they are started
        command = [app.python, str(APPS / app.program)]
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command, cwd=self._folder.name, env=variables, stdout=self._log, stderr=self._log
        )
        try:
            self._wait(began + 120)
        except BaseException:
            self.close()
            raise
        self.ready_seconds = time.perf_counter() - began

    def _wait(self, until: float) -> None:
        while time.perf_counter() < until:
            if self._process.poll() is not None:
                self._log.seek(0)
                raise RuntimeError(f"{self.app.name} ended: {self._log.read().decode(errors='replace')[-400:]}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(_PING.format(path=self.app.ping).encode())
                if connection.recv(4096).startswith(b"HTTP/1.1 200"):
                    return
            time.sleep(0.002)
        raise RuntimeError(f"{self.app.name} did not answer {self.app.ping} within two minutes")

    def cpu_seconds(self) -> float:
        """Return its processor time, user and system."""
        return proc.cpu_seconds(self._process.pid)

    def megabytes(self) -> float:
        """Return its resident memory."""
        return proc.megabytes(self._process.pid)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
