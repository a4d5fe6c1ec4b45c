"""An agent as a real process: started from a program's text, signalled, and waited for."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import environment
from .raw_http import LIMIT_SECONDS

_LISTENS = re.compile(r"listens on (http://\S+)")

PRELUDE = """
import asyncio, contextlib, os, sys, threading, time
from pathlib import Path
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

folder = Path(__file__).parent

def say(word):
    (folder / word).touch()

def heard(word):
    return (folder / word).exists()

async def passed(word):
    while not heard(word):
        await asyncio.sleep(0.005)

def wait(word):
    while not heard(word):
        time.sleep(0.005)
"""


class AgentProcess:
    """A running agent. The program and the test talk through empty files: `say` makes one, `wait` waits for one."""

    def __init__(self, folder: Path, program: str, **variables: str) -> None:
        self._folder = folder
        (folder / "agent.py").write_text(PRELUDE + program + "\napp.run()\n")
        self.process = subprocess.Popen(
            [sys.executable, folder / "agent.py"],
            env=environment(PPIO_AGENT_HOST="127.0.0.1", PPIO_AGENT_PORT="0", **variables),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return "".join(self._lines)

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        line = self.wait_for_log("listens on")
        found = _LISTENS.search(line)
        assert found is not None
        return found[1]

    def say(self, word: str) -> None:
        (self._folder / word).touch()

    def heard(self, word: str) -> bool:
        return (self._folder / word).exists()

    def wait_for_log(self, words: str) -> str:
        """Return the first line of the log that has these words in it."""

        def found() -> str | None:
            return next((line for line in self._lines if words in line), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() or not self._reader.is_alive(), LIMIT_SECONDS), self.log
        line = found()
        assert line is not None, self.log
        return line

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self.process.wait(LIMIT_SECONDS)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as log:
            for line in log:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextmanager
def agent_process(folder: Path, program: str, **variables: str) -> Iterator[AgentProcess]:
    """Run a program that makes `app`, and kill it at the end of the block if it still runs."""
    agent = AgentProcess(folder, program, **variables)
    try:
        yield agent
    finally:
        agent.process.kill()
        agent.wait()
