"""The command line as real processes: run to the end with pipes, or looked at through a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect

from .forked import PIPE_BYTES, Forge
from .ports import free_port
from .processes import environment

PPIO_AGENT = (sys.executable, "-m", "ppio_agent_client.cli")
LIMIT_SECONDS = 120
_PAGE_IS_AT = re.compile(r"is at (http://127\.0\.0\.1:\d+)")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]")


@dataclass(frozen=True)
class Finished:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error, as the JSON document in the last line of standard error."""
        return json.loads(self.err.splitlines()[-1])["error"]


class CommandLine:
    """Runs `ppio-agent` in a folder of its own, with a home of its own and nothing of ours in the environment.

    Args:
        folder: Where it runs.
        home: Where its local sandboxes are.
        program: What is run.
        forge: Runs `PPIO_AGENT` faster, where nothing but variables of ours is set.
    """

    def __init__(
        self, folder: Path, home: Path, program: tuple[str, ...] = PPIO_AGENT, forge: Forge | None = None
    ) -> None:
        self.folder = folder
        self.home = home
        self._program = program
        self._forge = forge

    def variables(self, extra: Mapping[str, str]) -> dict[str, str]:
        return environment(**{"PPIO_AGENT_HOME": str(self.home), "PIP_NO_INDEX": "1", **extra})

    def run(self, *arguments: str | Path, stdin: str = "", **variables: str) -> Finished:
        """Run a command with pipes to its end."""
        plain = all(name.startswith("PPIO_") for name in variables) and len(stdin) < PIPE_BYTES // 4
        if self._forge is not None and plain:
            return Finished(
                *self._forge.run(list(map(str, arguments)), self.folder, self.variables(variables), stdin, 100)
            )
        ended = subprocess.run(
            [*self._program, *map(str, arguments)],
            cwd=self.folder,
            env=self.variables(variables),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=100,
        )
        return Finished(ended.returncode, ended.stdout, ended.stderr)

    def start(
        self,
        *arguments: str | Path,
        stdin: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Start a command with its output in a pipe."""
        return subprocess.Popen(
            [*self._program, *map(str, arguments)],
            cwd=self.folder,
            env=self.variables(variables),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    @contextmanager
    def terminal(self, *arguments: str | Path, **variables: str) -> Iterator[Terminal]:
        """Run a command in a terminal of 80 columns, or as many as COLUMNS says; it is ended with the block."""
        child = pexpect.spawn(
            self._program[0],
            [*self._program[1:], *map(str, arguments)],
            cwd=str(self.folder),
            env=self.variables(
                {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "80", "LINES": "40"} | variables
            ),
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(40, int(variables.get("COLUMNS", "80"))),
            timeout=LIMIT_SECONDS,
        )
        try:
            yield Terminal(child)
        finally:
            try:
                child.close(force=True)
            except pexpect.ExceptionPexpect:  # it was killed, and pexpect gives it 0.1 s to be gone
                child.wait()

    @contextmanager
    def console(self, *arguments: str, **variables: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """Run `ppio-agent console`, and give the page's address and the process; it is ended with the block."""
        process = subprocess.Popen(
            [*self._program, "console", "--port", str(free_port()), *arguments],
            cwd=self.folder,
            env=self.variables(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            found = _PAGE_IS_AT.search(process.stdout.readline())
            assert found is not None
            yield found[1], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(LIMIT_SECONDS)
            assert process.stdout is not None
            process.stdout.close()


class Terminal:
    """A command that somebody sits in front of."""

    def __init__(self, child: pexpect.spawn[str]) -> None:
        self._child = child
        self._seen: list[str] = []

    @property
    def pid(self) -> int:
        assert self._child.pid is not None
        return self._child.pid

    def wait_for(self, pattern: str) -> str:
        """Wait until a regular expression appears on the screen, and return what it matched."""
        self._child.expect(pattern)
        self._seen += [str(self._child.before), str(self._child.after)]
        return str(self._child.after)

    def wait_for_prompt(self, sign: str) -> None:
        """Wait until a line editor has drawn its prompt, and takes keys."""
        self.wait_for(rf"{sign}[^\r\n]*\x1b\[\?25h")

    def type(self, text: str) -> None:
        self._child.sendline(text)

    def press(self, key: str) -> None:
        """Press keys, without Enter."""
        self._child.send(key)

    def shows_typing(self) -> bool:
        """Return whether the terminal shows what is typed, as it does for a program that has changed nothing."""
        return bool(self._child.getecho())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._child.sendintr()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        self._child.expect(pexpect.EOF)
        self._seen.append(str(self._child.before))
        self._child.close()
        code = self._child.exitstatus
        assert code is not None, f"ended by signal {self._child.signalstatus}"
        return int(code)

    @property
    def screen(self) -> str:
        """What was shown so far, without colours."""
        return _ESCAPES.sub("", "".join(self._seen)).replace("\r\n", "\n")

    @property
    def raw(self) -> str:
        return "".join(self._seen)
