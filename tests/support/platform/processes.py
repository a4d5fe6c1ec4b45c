"""Real processes of a sandbox: their events for whoever listens, and all that they brought into the world."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

SANDBOX_VARIABLE: Final = "PPIO_SANDBOX_ID"
"""The variable by which everything that runs in a sandbox is known, daemons of daemons included."""

Event = dict[str, Any]


class Process:
    """One process that envd started. It goes on whether anybody listens or not."""

    def __init__(self, config: dict[str, Any], tag: str | None, popen: subprocess.Popen[bytes]) -> None:
        self.config = config
        self.tag = tag
        self.pid = popen.pid
        self.deadline_passed = False
        self.end: Event | None = None
        self.ended = asyncio.Event()
        self._popen = popen
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._loop = asyncio.get_running_loop()

    @classmethod
    def start(
        cls,
        arguments: list[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        config: dict[str, Any],
        tag: str | None,
        heard: Callable[[str, bytes], None],
    ) -> Process:
        """Start it; `heard` gets all output, with the stream's name, in the loop's thread.

        Raises:
            OSError: It cannot be started.
        """
        popen = subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        process = cls(config, tag, popen)
        readers = [
            threading.Thread(target=process._read, args=(name, pipe, heard), name="platform-pipe", daemon=True)
            for name, pipe in (("stdout", popen.stdout), ("stderr", popen.stderr))
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=process._wait, args=(readers,), name="platform-wait", daemon=True).start()
        return process

    @property
    def has_ended(self) -> bool:
        """Whether it is over, told or not."""
        return self.end is not None or state_of(self.pid) in "ZX"

    def listen(self) -> asyncio.Queue[Event]:
        """Return a queue with all events from now on; the last one is `end`."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        if self.end is not None:
            queue.put_nowait(self.end)
        else:
            self._listeners.add(queue)
        return queue

    def forget(self, queue: asyncio.Queue[Event]) -> None:
        self._listeners.discard(queue)

    def signal(self, number: int) -> None:
        """Signal the leader only, as envd does."""
        with suppress(ProcessLookupError):
            self._popen.send_signal(number)

    def pass_deadline(self) -> None:
        """Kill it: its time is over."""
        if self.end is None:
            self.deadline_passed = True
            self.signal(signal.SIGKILL)

    def _read(self, name: str, pipe: Any, heard: Callable[[str, bytes], None]) -> None:
        with pipe:
            while data := os.read(pipe.fileno(), 65536):
                self._tell(self._hear, name, data, heard)

    def _hear(self, name: str, data: bytes, heard: Callable[[str, bytes], None]) -> None:
        heard(name, data)
        self._publish({"data": {name: base64.b64encode(data).decode()}})

    def _wait(self, readers: list[threading.Thread]) -> None:
        code = self._popen.wait()
        for reader in readers:
            reader.join(0.3)  # what it left behind may hold the pipes for ever
        self._tell(self._finish, code)

    def _finish(self, code: int) -> None:
        status = f"exit status {code}" if code >= 0 else f"signal: {signal.strsignal(-code) or -code}".lower()
        end: dict[str, Any] = {"exitCode": code if code >= 0 else -1, "exited": code >= 0, "status": status}
        if code != 0:
            end["error"] = status
        self.end = {"end": end}
        self._publish(self.end)
        self._listeners.clear()
        self.ended.set()

    def _publish(self, event: Event) -> None:
        for queue in self._listeners:
            queue.put_nowait(event)

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(what, *arguments)


def living(sandbox_id: str) -> set[int]:
    """Return the ids of all processes that run in a sandbox, whoever started them."""
    found = set()
    variable = f"{SANDBOX_VARIABLE}={sandbox_id}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError), open(f"/proc/{entry.name}/environ", "rb") as file:
                if variable in file.read().split(b"\0"):
                    found.add(int(entry.name))
    return found


def signal_all(sandbox_id: str, number: int) -> None:
    """Signal everything in a sandbox, until nothing new turns up; return from SIGSTOP when all of it stands still."""
    done: set[int] = set()
    while new := living(sandbox_id) - done:
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        done |= new
        while number == signal.SIGSTOP and any(state_of(pid) not in "TtZX" for pid in new):
            time.sleep(0.001)


def state_of(pid: int) -> str:
    """Return the kernel's letter for the state of a process; `X` when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "X"
