"""Commands as processes that are forked from one that has imported all: imports cost more than most commands.

Such a process has its own environment, folder, pipes and exit, and ends as an interpreter does. What depends on how an
interpreter starts (its locale, its flags, what is imported when) needs a process that is started anew.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn, Self

from .processes import environment

PIPE_BYTES: Final = 32768
"""What a pipe takes at once, as standard input."""
_LENGTH: Final = 8
_MODULES: Final = ("ppio_agent_client", "rich.console", "rich.table", "yaml", "typer.rich_utils")


class Forge:
    """Runs commands; use it as a context manager. One at a time."""

    def __enter__(self) -> Self:
        self._ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            command, cwd=root, env=environment(), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._process.wait(60)

    def run(
        self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str], stdin: str, seconds: float
    ) -> tuple[int, str, str]:
        """Run a command to the end of its output, that of the processes it leaves behind included.

        Returns:
            Its exit code, what it wrote to standard output, and to standard error.
        """
        pipes = [os.pipe() for _ in range(3)]
        (their_in, our_in), (our_out, their_out), (our_err, their_err) = pipes
        task = json.dumps({"arguments": list(arguments), "folder": str(folder), "variables": dict(variables)}).encode()
        socket.send_fds(self._ours, [len(task).to_bytes(_LENGTH)], [their_in, their_out, their_err])
        self._ours.sendall(task)
        for each in (their_in, their_out, their_err):
            os.close(each)
        with os.fdopen(our_in, "wb") as writer:
            writer.write(stdin.encode())
        out, err = _read_both(our_out, our_err, seconds)
        self._ours.settimeout(seconds)
        code = int.from_bytes(self._ours.recv(_LENGTH), signed=True)
        return code, out.decode(), err.decode()


def _read_both(out: int, err: int, seconds: float) -> tuple[bytes, bytes]:
    said = {out: b"", err: b""}
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for each in said:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            assert ready, f"the command did not end within {seconds:g} s; it said {said}"
            for key, _ in ready:
                if piece := os.read(key.fd, 65536):
                    said[key.fd] += piece
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return said[out], said[err]


def _serve(channel: socket.socket) -> int | None:
    """Fork for each task; return its exit code in the process that was forked, and None when no more is asked."""
    from ppio_agent_client.cli.__main__ import main

    while True:
        head, files, _, _ = socket.recv_fds(channel, _LENGTH, 3)
        if not head:
            return None
        text = b""
        while len(text) < int.from_bytes(head):
            text += channel.recv(65536)
        child = os.fork()
        if child == 0:
            channel.close()
            task = json.loads(text)
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            # Anew, because those of a file remember that they can seek, which a pipe cannot.
            sys.stdin, sys.stdout, sys.stderr = (open(number, mode, closefd=False) for number, mode in enumerate("rww"))  # noqa: SIM115  # they end with the process
            os.environ.clear()
            os.environ.update(task["variables"])
            os.chdir(task["folder"])
            sys.argv[1:] = task["arguments"]
            return main()
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        channel.sendall(os.waitstatus_to_exitcode(status).to_bytes(_LENGTH, signed=True))


def _main() -> NoReturn:
    from ppio_agent_client.cli.commands import COMMANDS

    for name in (*_MODULES, *(f"ppio_agent_client.cli.commands.{command}" for command in COMMANDS)):
        import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        code = _serve(channel)
    sys.exit(code)


if __name__ == "__main__":
    _main()
