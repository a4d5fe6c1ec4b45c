"""How a sandbox comes to be: a directory with a port, a copy of the agent, a supervisor that starts it, a record."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from socket import socket
from typing import TYPE_CHECKING

from ppio_agent_models import SandboxCreationError

from .._core.credentials import with_session_key
from .._sandbox import SandboxSpec
from . import bell
from .copying import copy_folder
from .ending import discard, remove
from .home import Home, new_sandbox_id
from .locks import Lock
from .names import APP_FOLDER, LOCK_FILE
from .ports import reserve_port
from .records import write_record
from .sources import Source
from .starting import start_supervisor

if TYPE_CHECKING:
    from .records import Record

PYTHON_VARIABLE = "PPIO_AGENT_PYTHON"
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""What agents are told of the caller's environment, besides `LC_*`. Everything else may be a secret."""


def make(home: Home, spec: SandboxSpec, *, template_id: str, source: Source, python: str) -> Record:
    """Make a sandbox and start its agent, without waiting for it to answer.

    The caller holds the session's lock. If it is killed meanwhile, the next caller removes what it left (`burial`).

    Raises:
        SandboxCreationError: The agent could not be copied or started; nothing is left behind.
    """
    with _reserved(home, spec, template_id=template_id, python=python) as (directory, record, reservation):
        try:
            copy_folder(source.folder, os.path.join(directory, APP_FOLDER), without=home.root)
            bell.hang_up(directory)
            variables = with_session_key(record["token"], {**source.env_vars, **spec.env_vars})
            environment = agent_environment(variables, port=record["port"])
            command = [python, "-m", "ppio_agent_runtime", source.entrypoint]
            started = start_supervisor(directory, command, environment, reservation=reservation)
            record["supervisor"], record["agent"] = started
        except (OSError, ValueError) as error:
            # ValueError: a zero byte in a variable, or "=" in its name.
            raise SandboxCreationError(f"no sandbox could be made from {template_id!r}: {error}") from error
        record["state"] = "running"
        record["start_timeout_seconds"] = source.start_timeout_seconds
        record["created_at"] = time.time()
        record["due_at"] = record["created_at"] + spec.timeout_seconds
        write_record(directory, record)
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
            f"{chosen!r} is no program that can be run; agents need a Python interpreter with ppio-agent-runtime, "
            f"which `python=` or {PYTHON_VARIABLE} names"
        )
    return os.path.abspath(found)  # With its links: a virtual environment is known by the path of its interpreter.


def agent_environment(variables: Mapping[str, str], *, port: int) -> dict[str, str]:
    """Return the whole environment of an agent."""
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


@contextmanager
def _reserved(home: Home, spec: SandboxSpec, *, template_id: str, python: str) -> Iterator[tuple[str, Record, socket]]:
    """Give a new directory with a first record, locked, and a port; nothing stays if the block fails."""
    with ExitStack() as held:
        with home.lock():  # Nobody takes the port, or the directory for a dead creator's, before the record is written.
            reservation = held.enter_context(reserve_port(home.root, home.used_ports()))
            port = reservation.getsockname()[1]
            sandbox_id = new_sandbox_id(spec.session_id, port)
            directory = home.sandbox(sandbox_id)
            os.mkdir(directory, 0o700)
            held.enter_context(Lock(os.path.join(directory, LOCK_FILE)))
            record = _first_record(spec, sandbox_id=sandbox_id, template_id=template_id, python=python, port=port)
            write_record(directory, record)
        try:
            yield directory, record, reservation
        except BaseException:
            # While the lock is held: a supervisor that waits for it finds no record then, and ends what it started.
            remove(discard(directory))
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
        "state": "making",
        "created_at": 0,
        "due_at": 0,
        "rest_seconds": 0,
        "supervisor": None,
        "agent": None,
        "exit_code": None,
        "output": "",
        "log_bytes": 0,
    }
