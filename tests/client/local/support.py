"""What the tests of local sandboxes share: waiting for things, asking agents, looking at processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from ppio_agent_client._sandbox import Sandbox, SandboxSpec
from ppio_agent_client.local.directory import SandboxDirectory
from ppio_agent_client.local.processes import Process, processes
from ppio_agent_client.local.store import LocalStore

if TYPE_CHECKING:
    from ppio_agent_client.local.directory import Record

T = TypeVar("T")
WAIT_SECONDS = 60.0


def eventually(look: Callable[[], T]) -> T:
    """Return the first true thing that `look` answers."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS:g} s in vain"
        time.sleep(0.005)
    return seen


class Place:
    """A home with a template in it, and everything that runs there.

    Attributes:
        python: A program that starts the stand-in agent in place of the runtime.
        template: A folder with an agent that says "hello" when it starts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home mit Ünï cödé"
        self.template = folder / "an agent — 代理"
        self.template.mkdir(parents=True)
        (self.template / "main.py").write_text("print('hello')\n")
        self.python = folder / "a python"
        stand_in = Path(__file__).with_name("stand_in_agent.py")
        self.python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S -u '{stand_in}' \"$@\"\n")
        self.python.chmod(0o700)
        self.store = self.another_store()

    def another_store(self) -> LocalStore:
        return LocalStore(self.home, python=str(self.python))

    def spec(self, session_id: str = "a session", *, life: float = 600, **more: Any) -> SandboxSpec:
        facts: dict[str, Any] = {"template_id": str(self.template), **more}
        return SandboxSpec(session_id=session_id, timeout_seconds=life, **facts)

    def create(self, session_id: str = "a session", *, life: float = 600, **more: Any) -> Sandbox:
        """Make a sandbox and wait until its agent answers."""
        sandbox = self.store.create(self.spec(session_id, life=life, **more))
        eventually(lambda: answers(sandbox))
        return sandbox

    def ended(self, sandbox_id: str) -> Sandbox:
        """Wait until a sandbox has ended and was put away."""

        def look() -> list[Sandbox]:
            sandbox = self.store.get(sandbox_id)
            return [sandbox] if sandbox is not None and sandbox.exit_code is not None else []

        return eventually(look)[0]

    def directory(self, sandbox_id: str) -> Path:
        return self.home / "sandboxes" / sandbox_id

    def record(self, sandbox_id: str) -> Record:
        record = SandboxDirectory(str(self.directory(sandbox_id))).read()
        assert record is not None
        return record

    def agent_pid(self, sandbox_id: str) -> int:
        agent = self.record(sandbox_id)["agent"]
        assert agent is not None
        return agent["pid"]

    def supervisor_pid(self, sandbox_id: str) -> int:
        supervisor = self.record(sandbox_id)["supervisor"]
        assert supervisor is not None
        return supervisor["pid"]

    def left_behind(self) -> list[Process]:
        """Return every process that was started from here: each works in the folder or is told its path."""
        return [process for process in processes() if process.pid != os.getpid() and self._is_mine(process.pid)]

    def clear(self) -> None:
        while left := self.left_behind():
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def _is_mine(self, pid: int) -> bool:
        process = Path(f"/proc/{pid}")
        with suppress(OSError):
            told = (process / "cwd").readlink(), os.fsdecode((process / "cmdline").read_bytes())
            return any(str(self.folder) in str(each) for each in told)
        return False


def ask(sandbox: Sandbox, act: str, **query: object) -> dict[str, Any]:
    """Let the stand-in agent do something and return what it answers."""
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=WAIT_SECONDS)
    try:
        connection.request("GET", f"/{act}?{urlencode(query)}")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def answers(sandbox: Sandbox) -> bool:
    with suppress(ConnectionError):
        return "status" in ask(sandbox, "ping")
    return False


def lives(pid: int) -> bool:
    return any(process.pid == pid for process in processes())


def state_of(pid: int) -> str:
    """Return the letter that the kernel gives a process's state, such as T for stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def in_another_process(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program that uses the client, as another user of the same home would."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
