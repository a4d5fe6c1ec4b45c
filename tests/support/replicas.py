"""Replicas of an agent: processes with a port that they keep, which are ended in any way and started again."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .agent_process import PRELUDE
from .gates import eventually
from .processes import environment

CHARGING = """
import os, signal

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def charge(payload):
    if payload["prompt"] == "hello":
        return "hello"
    with open(folder / "charges", "a") as charges:
        charges.write("charged\\n")
    os.kill(os.getpid(), getattr(signal, payload["prompt"]))
    await asyncio.sleep(3600)
"""
"""An agent whose charge ends its own process by the signal that its prompt names."""


def free_port() -> int:
    """Return a port that stays free while its replica is away: one that no system gives out by itself (RFC 6335)."""
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Replica:
    """One replica.

    Attributes:
        port: Where it listens, in each of its lives.
        restarts: It is started again whenever it has ended.
        starts: How often it was started.
    """

    def __init__(self, folder: Path, program: str, run: str = "", **variables: str) -> None:
        self._program = folder / "agent.py"
        self._program.write_text(f"{PRELUDE}{program}\napp.run({run})\n")
        self.port = free_port()
        self._variables = {"PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": str(self.port)} | variables
        self.restarts = False
        self.starts = 0
        self._lock = threading.Lock()  # around the decision to start it again
        self._log = (folder / f"{self.port}.log").open("ab")
        self.process = self._start()

    def restart_when_ended(self) -> threading.Thread:
        """Start it again on its port whenever it has ended, until `restarts` is False."""
        self.restarts = True
        thread = threading.Thread(target=self._keep, name=f"replica-{self.port}")
        thread.start()
        return thread

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        self.process.send_signal(number)

    def wait_until_up(self) -> None:
        """Wait until it listens."""
        eventually(lambda: listens(self.port), f"the replica on port {self.port} listens")

    def stop(self) -> None:
        """Let it drain, and wait for its end."""
        self._restart_no_more()
        self.process.terminate()
        self.process.wait()

    def end(self) -> None:
        """Kill it, and let go of its log."""
        self._restart_no_more()
        self.process.kill()
        self.process.wait()
        self._log.close()

    def _restart_no_more(self) -> None:
        with self._lock:
            self.restarts = False

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        return subprocess.Popen(
            [sys.executable, self._program],
            env=environment(**self._variables),
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    def _keep(self) -> None:
        while self.restarts:
            self.process.wait()
            with self._lock:
                if self.restarts:
                    self.process = self._start()


@contextmanager
def replicas(
    count: int, folder: Path, program: str, *, run: str = "", restart: bool = False, **variables: str
) -> Iterator[list[Replica]]:
    """Yield replicas that listen, and kill them at the end. They share `folder`, in which the program is.

    Args:
        count: How many.
        folder: Where their program and logs are.
        program: It makes `app`.
        run: Arguments of `app.run`.
        restart: Start each again whenever it has ended.
        variables: Further environment.
    """
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            replica = Replica(folder, program, run, **variables)
            thread = replica.restart_when_ended() if restart else None
            if thread is not None:
                stack.callback(thread.join)
            stack.callback(replica.end)
            made.append(replica)
        for replica in made:
            replica.wait_until_up()
        yield made
