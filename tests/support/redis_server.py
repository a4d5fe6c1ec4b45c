"""A real Redis or Valkey server for tests, on a port of its own.

Tests use redis-server, or valkey-server where it alone is installed or `REDIS_SERVER` says so; the store's own suite
uses each that is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .gates import eventually
from .ports import free_port

WAIT_SECONDS = 60.0
SERVERS = [program for program in ("redis-server", "valkey-server") if shutil.which(program)]
SERVER = os.environ.get("REDIS_SERVER") or (SERVERS or ["redis-server"])[0]
needs_redis_server = pytest.mark.skipif(
    shutil.which(SERVER) is None, reason=f"{SERVER} is not installed: apt-get install {SERVER}"
)


class Redis:
    """The server, which can be killed, stopped and started again. It keeps nothing on disk unless `options` say so."""

    def __init__(self, folder: Path, *options: str, program: str = SERVER) -> None:
        self._folder = folder
        self._options = options
        self._program = program
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        arguments += self._options
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments, "--dir", str(self._folder)], stdout=log, stderr=log
            )
        eventually(self._answers, "Redis answers")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> bytes:
        """Send one command in the inline form and return the beginning of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(1 << 20)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False


@contextmanager
def redis_server(folder: Path, *options: str, program: str = SERVER) -> Iterator[Redis]:
    """Yield a server that answers, and kill it at the end."""
    server = Redis(folder, *options, program=program)
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        server.kill()
