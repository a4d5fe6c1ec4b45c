"""Creates a sandbox: a directory with a port, a copy of the agent, a supervisor that starts it, a record."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ppio_agent_models import SandboxCreationError
from ppio_agent_models._entrypoint import serves_by_itself

from .._core.credentials import with_session_key
from .agent_folder import copy_folder
from .directory import discard, open_log, read_json, remove, tail, write_json
from .paths import new_sandbox_id
from .supervisor import STARTED

if TYPE_CHECKING:
    from .._sandbox import SandboxSpec
    from .agent_folder import AgentFolder
    from .directory import Agent, Record, SandboxDirectory, Supervisor
    from .paths import Paths

PYTHON_VARIABLE = "PPIO_AGENT_PYTHON"
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""Variables of the caller's environment that agents get, besides `LC_*`. Any other may be a secret."""
_START_SECONDS = 60.0
"""How long a supervisor may take to report that it started the agent; normally milliseconds."""
FIRST_PORT = 20000
LAST_PORT = 31999
"""Below the ephemeral ports (Linux: from 32768, else from 49152), which could be taken before the agent starts."""
IS_RESERVABLE = sys.platform == "linux"
"""Whether an agent can listen on a port that is reserved for it.

On Linux a server that sets SO_REUSEADDR, as servers do, gets a port to which others with that option are bound unless
they listen (socket(7)); programs that only look for a free port do not get it. Elsewhere it would not get it either."""


def create_sandbox(paths: Paths, spec: SandboxSpec, *, template_id: str, source: AgentFolder, python: str) -> Record:
    """Create a sandbox and start its agent, without waiting until it responds.

    The caller holds the session's lock. If it is killed meanwhile, the next caller cleans up (`lifecycle`).

    Raises:
        SandboxCreationError: The agent could not be copied or started; nothing is left behind.
    """
    with _reserved(paths, spec, template_id=template_id, python=python) as (directory, record, reservation):
        try:
            copy_folder(source.folder, directory.app, without=paths.root)
            directory.make_wakeup_fifo()
            variables = with_session_key(record["token"], {**source.env_vars, **spec.env_vars})
            environment = agent_environment(variables, port=record["port"])
            command = [python, *_arguments(directory.app, source.entrypoint)]
            started = start_supervisor(directory, command, environment, reservation=reservation)
            record["supervisor"], record["agent"] = started
        except (OSError, ValueError) as error:
            # ValueError: a zero byte in a variable, or "=" in its name.
            raise SandboxCreationError(f"no sandbox could be started from {template_id!r}: {error}") from error
        record["state"] = "running"
        record["start_timeout_seconds"] = source.start_timeout_seconds
        record["created_at"] = time.time()
        record["due_at"] = record["created_at"] + spec.timeout_seconds
        directory.write(record)
    return record


def chosen_python(python: str | None) -> str:
    """Return the interpreter for agents: the argument, else `PPIO_AGENT_PYTHON`, else the one that runs this.

    Raises:
        SandboxCreationError: There is no such program.
    """
    chosen = python or os.environ.get(PYTHON_VARIABLE) or sys.executable
    found = shutil.which(os.path.expanduser(chosen))
    if found is None:
        raise SandboxCreationError(
            f"{chosen!r} cannot be run; agents need a Python interpreter with ppio-agent-runtime, "
            f"which `python=` or {PYTHON_VARIABLE} names"
        )
    return os.path.abspath(found)  # Links are kept, because a virtual environment is found by its interpreter's path.


def agent_environment(variables: Mapping[str, str], *, port: int) -> dict[str, str]:
    """Return the complete environment of an agent."""
    inherited = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}
    return {
        "PATH": os.defpath,
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        **variables,
        "PPIO_AGENT_HOST": "127.0.0.1",
        "PPIO_AGENT_PORT": str(port),
    }


def _arguments(folder: str, entrypoint: str) -> list[str]:
    """Return Python's arguments: those of the runtime, or of `script` for a script with its own server."""
    if entrypoint.endswith(".py"):
        with open(os.path.join(folder, entrypoint), "rb") as file:
            if serves_by_itself(file.read()):
                return [os.path.join(os.path.dirname(os.path.abspath(__file__)), "script.py"), entrypoint]
    return ["-m", "ppio_agent_runtime", entrypoint]


@contextmanager
def _reserved(
    paths: Paths, spec: SandboxSpec, *, template_id: str, python: str
) -> Iterator[tuple[SandboxDirectory, Record, socket.socket]]:
    """Yield a new locked directory with a first record, and a reserved port; all is removed if the block fails."""
    with ExitStack() as held:
        with paths.lock():  # Until there is a record, so that no other process takes the port or removes the directory.
            reservation = held.enter_context(reserve_port(paths.root, paths.used_ports()))
            port = reservation.getsockname()[1]
            sandbox_id = new_sandbox_id(spec.session_id, port)
            directory = paths.sandbox(sandbox_id)
            os.mkdir(directory.path, 0o700)
            held.enter_context(directory.lock())
            record = _first_record(spec, sandbox_id=sandbox_id, template_id=template_id, python=python, port=port)
            directory.write(record)
        try:
            yield directory, record, reservation
        except BaseException:
            # While the lock is held: a supervisor that waits for it finds no record then, and ends what it started.
            remove(discard(directory.path))
            raise


def _first_record(spec: SandboxSpec, *, sandbox_id: str, template_id: str, python: str, port: int) -> Record:
    return {
        "sandbox_id": sandbox_id,
        "session_id": spec.session_id,
        "template_id": template_id,
        "python": python,
        "port": port,
        "token": secrets.token_urlsafe(32),
        "metadata": dict(spec.metadata),
        "start_timeout_seconds": 0,
        "state": "creating",
        "created_at": 0,
        "due_at": 0,
        "rest_seconds": 0,
        "supervisor": None,
        "agent": None,
        "exit_code": None,
        "output": "",
        "log_bytes": 0,
    }


def start_supervisor(
    directory: SandboxDirectory, command: Sequence[str], environment: Mapping[str, str], *, reservation: socket.socket
) -> tuple[Supervisor, Agent]:
    """Start the supervisor of a sandbox, which starts `command` with exactly this environment.

    The supervisor is a daemon: it has its own session and outlives the caller, from which it only inherits the
    reservation of the agent's port, as its standard input.

    Raises:
        SandboxCreationError: It could not start the command, or itself.
        OSError: It could not be executed.
        ValueError: The environment cannot be passed to a process.
    """
    package = os.path.dirname(os.path.abspath(__file__))
    log = open_log(directory.supervisor_log)
    try:
        process = subprocess.Popen(
            [sys.executable or command[0], "-I", "-S", package, directory.path, *command],
            stdin=reservation.fileno() if IS_RESERVABLE else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(log)
    said = _output_of(process).decode("utf-8", "replace").split("\n")
    if said[0] != STARTED:
        problem = (
            said[0] or tail(directory.supervisor_log) or f"the supervisor ended with exit code {process.returncode}"
        )
        raise SandboxCreationError(f"the agent could not be started: {problem}")
    _, pid, started, agent, agent_started, session = said
    return {"pid": int(pid), "started": started}, {"pid": int(agent), "started": agent_started, "session": int(session)}


def _output_of(process: subprocess.Popen[bytes]) -> bytes:
    """Return the supervisor's output until it closes the pipe, and reap its parent process."""
    try:
        said, _ = process.communicate(timeout=_START_SECONDS)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise SandboxCreationError(f"the agent was not started within {_START_SECONDS:g} s") from error
        raise
    return said


def reserve_port(root: str, used: Collection[int]) -> socket.socket:
    """Return a socket bound to the next port that is neither in `used` nor taken by another program.

    The search continues where the last one ended, so that a port is reused as late as possible, and a client of a
    terminated sandbox doesn't reach another agent. The caller holds the home's lock, and closes the socket.

    Raises:
        SandboxCreationError: All are taken.
    """
    counter = os.path.join(root, "next-port")
    count = LAST_PORT - FIRST_PORT + 1
    start = _offset(read_json(counter))
    for step in range(count):
        offset = (start + step) % count
        port = FIRST_PORT + offset
        if port not in used and (reservation := _bound(port)):
            write_json(counter, offset + 1)
            return reservation
    raise SandboxCreationError(
        f"all ports from {FIRST_PORT} to {LAST_PORT} on 127.0.0.1 are in use; end some sandboxes"
    )


def _offset(stored: object) -> int:
    # A random start, so that two homes seldom choose the same port.
    return stored if isinstance(stored, int) else int.from_bytes(os.urandom(2), "big")


def _bound(port: int) -> socket.socket | None:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        return None
    # Only now: with the option, the port of another reservation would have seemed free.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return bound
